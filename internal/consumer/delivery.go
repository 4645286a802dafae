package consumer

import (
	"sync/atomic"
	"time"

	"tributary/internal/base/list"
	"tributary/internal/messages"
	"tributary/internal/operate/telemetry"
	"tributary/internal/writer"
)

// delivery is one message as one receive brought it: the commands for the writer, those that can never be written, and the
// receipt handle. One goroutine at a time owns it. The poller fills it. The writer owns its Group from Submit until Settled.
// After that it belongs to the batcher, letter round or timer that it was given to last. Fields with another guard say so.
type delivery struct {
	writer.Group
	consumer *Consumer
	message  Message
	// texts are the commands' own texts, and positions their positions in the message, both in the order of Group.Writes. They
	// are nil for a message of one command, whose text is text.
	texts        []string
	positions    []int
	text         string
	bad          []badCommand     // commands that can never be written
	inLetterRoom bool             // it counts against letterRoom instead of room
	suspended    bool             // it goes back: a tenant is suspended, or an earlier message of its FIFO group went back for that
	back         writer.Admission // why it is nacked, valid from then on
	later        *delivery        // the next message of its FIFO group in the same receive; nil: there is none
	receivedAt   time.Time
	letters      letterRounds // guards itself
	tries        int          // failed batch calls in which it was the first to be tried again
	maybeDeleted bool         // a delete failed with its outcome unknown
	givenUp      atomic.Bool  // by GiveUp: it is nacked at the next opportunity

	// held.mu guards the rest once the delivery is on the held list.
	state    deliveryState
	node     list.Node[delivery] // in held.list while listed
	deadline time.Time           // when the message becomes visible
	commands int                 // what it counts against its room; only its owner changes it
	bytes    int                 // likewise; it never changes
}

// deliveryState is where a delivery is with respect to its visibility timeout. The state diagram is in docs/architecture.md.
type deliveryState uint8

const (
	fresh              deliveryState = iota // it is not held yet
	listed                                  // it is on the held list, and extended when it is due
	extending                               // a call that extends it is under way
	retrying                                // an extension failed; the next tick tries again
	unextended                              // it is held but no longer extended: the last extension failed for good, or 12 hours are over
	nackAfterExtending                      // it is nacked as soon as the extension under way has ended
	nacking                                 // it waits for its nack, or the nack is under way
	done                                    // it was deleted, nacked or left
)

// badCommand is a command that can never be written.
type badCommand struct {
	position int // -1: the whole body
	kind     int // see kindOf
	tenant   string
	text     string
	why      *messages.Error
}

// decode fills a delivery from a message. It returns scratch, grown, for the next message.
func (c *Consumer) decode(d *delivery, m *Message, r *ruling, scratch []messages.Decoded) []messages.Decoded {
	d.consumer, d.message = c, *m
	d.Owner, d.Hold, d.Redelivered = d, c.cfg.FIFO, m.ReceiveCount > 1
	d.bytes = len(m.Body) + len(m.ReceiptHandle) + len(m.TraceHeader) + len(m.Attributes.TenantID) + len(m.Attributes.TraceParent) + len(m.Attributes.TraceState)
	for i := range m.Others {
		d.bytes += m.Others[i].size()
	}
	decoded, err := messages.Decode(c.cfg.Types, scratch, m.Body, &d.message.Attributes)
	if err != nil {
		d.commands = 1
		d.bad = []badCommand{{position: -1, text: m.Body, why: err}}
		return decoded[:0]
	}
	d.commands = len(decoded)
	if r != nil {
		d.suspended = r.suspends(decoded)
	}
	good := 0
	for i := range decoded {
		e := &decoded[i]
		if e.Err == nil && c.cfg.RequireVersion && e.Command.Version == 0 {
			e.Err = &messages.Error{Reason: messages.ReasonVersionRequired, Field: "version", Detail: "it is missing, and this worker accepts only commands with a version"}
		}
		if e.Err == nil && r != nil && !d.suspended {
			e.Err = r.letter(e.Command.TenantID)
		}
		if e.Err == nil {
			good++
			continue
		}
		d.bad = append(d.bad, badCommand{position: i, kind: kindOf(&e.Command), tenant: e.Command.TenantID, text: e.Text, why: e.Err})
	}
	if good == 0 {
		return decoded
	}
	d.Writes = make([]writer.Write, good)
	if len(decoded) == 1 {
		d.Writes[0].Command, d.text = decoded[0].Command, decoded[0].Text
		return decoded
	}
	d.texts, d.positions = make([]string, good), make([]int, good)
	at := 0
	for i := range decoded {
		if e := &decoded[i]; e.Err == nil {
			d.Writes[at].Command, d.texts[at], d.positions[at] = e.Command, e.Text, i
			at++
		}
	}
	return decoded
}

// described returns what a trace says of the message.
func (d *delivery) described(queue string, now time.Time) *telemetry.Message {
	m := &d.message
	tenant := m.Attributes.TenantID
	if tenant == "" && len(d.Writes) > 0 {
		tenant = d.Writes[0].Command.TenantID
	}
	return &telemetry.Message{
		Queue: queue, ID: m.ID, Tenant: tenant, Commands: d.commands, Bytes: len(m.Body), Receives: m.ReceiveCount, ReceivedAt: now,
		TraceParent: m.Attributes.TraceParent, TraceState: m.Attributes.TraceState, XRay: m.TraceHeader,
	}
}

// refused returns the bad command that a refused write becomes.
func (d *delivery) refused(i int) badCommand {
	w := &d.Writes[i]
	b := badCommand{kind: kindOf(&w.Command), tenant: w.Command.TenantID, text: d.text, why: w.Refusal}
	if d.texts != nil {
		b.position, b.text = d.positions[i], d.texts[i]
	}
	return b
}

// forget drops what a message carried. The deliveries of one receive share memory, and one of them may be held for long. The
// writer may also keep a part of a write, to remember its key.
func (d *delivery) forget() {
	for i := range d.Writes {
		d.Writes[i].Command, d.Writes[i].Refusal = messages.Command{}, nil
	}
	d.Writes, d.texts, d.positions, d.bad = nil, nil, nil, nil
	d.text, d.message.Body, d.message.Others = "", "", nil
	d.letters.forget()
}

package consumer

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/telemetry"
	"tributary/internal/writer"
)

// delivery is one message as it was received: the commands that the writer holds for it, those that can never be
// written, and its receipt.
type delivery struct {
	writer.Group
	consumer *Consumer
	message  Message
	// texts are the commands' own texts by their position in the message, and positions those of Group.Writes; both
	// are nil for a message of one command, whose text is text.
	texts      []string
	positions  []int
	text       string
	bad        []badCommand
	commands   int // what it counts against the room, or against waiting; the held list's mutex guards it from when it is buried
	bytes      int
	waits      bool // it has left the room for waiting; bury and those that settle its letters' rounds use it, one after the other
	receivedAt time.Time

	deadline     time.Time // when the message becomes visible; the held list's mutex guards it
	tries        atomic.Int32
	maybeDeleted bool // a delete failed with its outcome unknown; its batch alone uses it
	letters      letterRound
	// The rest is guarded by the held list's mutex.
	done       bool // it was deleted, handed back or left
	listed     bool // it stands in the list
	extending  bool // an extension is under way
	leaving    bool // it is being handed back
	prev, next *delivery
}

// badCommand is a command that can never be written.
type badCommand struct {
	position int // -1: the whole body
	kind     int // see kindOf
	tenant   string
	text     string
	why      *messages.Error
}

// decode fills a delivery from a message.
func (c *Consumer) decode(d *delivery, m *Message, scratch []messages.Decoded) []messages.Decoded {
	d.consumer, d.message = c, *m
	d.Owner, d.Hold = d, c.cfg.FIFO
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
	good := 0
	for i := range decoded {
		e := &decoded[i]
		if e.Err == nil && c.cfg.RequireVersion && e.Command.Version == 0 {
			e.Err = &messages.Error{Reason: messages.ReasonVersionRequired, Field: "version", Detail: "it is missing, and this worker accepts commands with a version alone"}
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

// described is what a trace tells of the message.
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

// Settled implements writer.Owner: every command that the writer held has its outcome.
func (d *delivery) Settled(*writer.Group) { d.consumer.settle(d) }

// settle decides what becomes of a message whose commands all have their outcome.
func (c *Consumer) settle(d *delivery) {
	back := false
	for i := range d.Writes {
		back = back || d.Writes[i].Outcome == writer.HandedBack
	}
	if back {
		c.handBack(d)
		return
	}
	c.count(d)
	for i := range d.Writes {
		if d.Writes[i].Outcome == writer.Refused {
			d.bad = append(d.bad, d.refused(i))
		}
	}
	if len(d.bad) > 0 {
		c.bury(d)
		return
	}
	c.deletes.add(d)
}

func (d *delivery) refused(i int) badCommand {
	w := &d.Writes[i]
	b := badCommand{kind: kindOf(&w.Command), tenant: w.Command.TenantID, text: d.text, why: w.Refusal}
	if d.texts != nil {
		b.position, b.text = d.positions[i], d.texts[i]
	}
	return b
}

// count tells the metrics of the outcomes of a message's commands, but for those that end as dead letters: those count when
// their letters are sent.
func (c *Consumer) count(d *delivery) {
	settled := 0
	for i := range d.Writes {
		w := &d.Writes[i]
		outcome := w.Outcome
		if outcome == writer.Pending { // the writer never took it
			outcome = writer.HandedBack
		}
		if outcome == writer.Refused {
			continue
		}
		if outcome != writer.HandedBack {
			settled++
		}
		c.outcomes[kindOf(&w.Command)][outcome].Inc()
		c.metrics.TenantCommands(w.Command.TenantID, outcome.String(), 1)
		if outcome < writer.Refused && !d.message.SentAt.IsZero() {
			c.metrics.CommandDuration.Observe(w.SettledAt.Sub(d.message.SentAt).Seconds())
		}
	}
	c.commands.Add(int64(settled))
}

// finish ends a delivery. It must be called once, by who has deleted the message, handed it back or given it up.
func (c *Consumer) finish(d *delivery, outcome string, counter *atomic.Int64) {
	if !c.held.remove(d) {
		return
	}
	counter.Add(1)
	defer d.forget()
	if d.Span.Recorded() {
		reason := ""
		if len(d.bad) > 0 {
			reason = string(d.bad[0].why.Reason)
		}
		d.Span.Settled(outcome, reason)
	}
	c.metrics.Settled.WithLabelValues(outcome).Inc()
	if d.waits {
		c.waiting.leave(d.commands, d.bytes)
	} else {
		c.room.release(d.commands, d.bytes)
	}
	c.gauge()
}

// forget lets go of what a message carried. Deliveries of one receive share memory, and the last of them may be held for
// long; and what the writer remembers of a key may be part of a write.
func (d *delivery) forget() {
	for i := range d.Writes {
		d.Writes[i].Command, d.Writes[i].Refusal = messages.Command{}, nil
	}
	d.Writes, d.texts, d.positions, d.bad = nil, nil, nil, nil
	d.text, d.message.Body, d.message.Others = "", "", nil
	d.letters.forget()
}

// delete deletes a batch of messages, and tries again while their receipts are valid.
func (c *Consumer) delete(batch []*delivery) {
	handles := make([]string, len(batch))
	for i, d := range batch {
		handles[i] = d.message.ReceiptHandle
	}
	ctx, cancel := context.WithTimeout(c.calls, sendTimeout)
	failures, err := c.queue.Delete(ctx, handles)
	cancel()
	c.answers.Add(1)
	if err != nil {
		c.log.Error("delete failed", "messages", len(batch), "error", err)
		failures = all(len(batch))
		for _, d := range batch {
			d.maybeDeleted = true
		}
	}
	failed := make([]bool, len(batch))
	var again []*delivery
	for _, f := range failures {
		failed[f.Index] = true
		if d := batch[f.Index]; !f.Final && time.Now().Before(c.held.deadline(d)) {
			again = append(again, d)
			continue
		} else if f.Final && d.maybeDeleted {
			// Its receipt is good for nothing any more because the call whose answer was lost has deleted it.
			c.finish(d, "deleted", &c.deleted)
			continue
		}
		c.log.Warn("message can't be deleted and will be received again", "message_id", batch[f.Index].message.ID, "code", f.Code)
		c.finish(batch[f.Index], "left", &c.left)
	}
	for i, d := range batch {
		if !failed[i] {
			c.finish(d, "deleted", &c.deleted)
		}
	}
	c.tryAgain(again, func() { c.deletes.add(again...) })
}

// tryAgain adds deliveries to a batcher once more after a pause, or gives them up when draining is over.
func (c *Consumer) tryAgain(again []*delivery, add func()) {
	if len(again) == 0 {
		return
	}
	sleep(c.calls, backoff(int(again[0].tries.Add(1))))
	if c.calls.Err() == nil {
		add()
		return
	}
	for _, d := range again {
		c.finish(d, "left", &c.left)
	}
}

func all(n int) []Failure {
	f := make([]Failure, n)
	for i := range f {
		f[i].Index = i
	}
	return f
}

// handBack gives a message back to the queue, whole.
func (c *Consumer) handBack(d *delivery) {
	d.bad = nil // what can't be written is found again when the message is
	c.count(d)
	if c.held.leave(d) {
		c.handBacks.add(d)
	}
}

// changeBack makes a batch of messages visible again: at once while draining, else after a delay that grows.
func (c *Consumer) changeBack(batch []*delivery) {
	changes := make([]Visibility, len(batch))
	now := time.Now()
	for i, d := range batch {
		changes[i].ReceiptHandle = d.message.ReceiptHandle
		if !c.draining.Load() {
			changes[i].Timeout = handBackDelay(d.message.ReceiveCount, c.cfg.MaxReceives, rand.Float64())
		}
	}
	ctx, cancel := context.WithTimeout(c.calls, sendTimeout)
	failures, err := c.queue.ChangeVisibility(ctx, changes)
	cancel()
	c.answers.Add(1)
	if err != nil {
		c.log.Error("hand back failed", "messages", len(batch), "error", err)
		failures = all(len(batch))
	}
	failed := make([]bool, len(batch))
	var again []*delivery
	for _, f := range failures {
		failed[f.Index] = true
		if d := batch[f.Index]; !f.Final && now.Before(c.held.deadline(d)) {
			again = append(again, d)
			continue
		}
		c.finish(batch[f.Index], "left", &c.left)
	}
	for i, d := range batch {
		if !failed[i] {
			c.park(now.Add(changes[i].Timeout))
			c.finish(d, "handed_back", &c.handedBack)
		}
	}
	c.tryAgain(again, func() { c.handBacks.add(again...) })
}

// park notes a message that SQS keeps away until then.
func (c *Consumer) park(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked.add(until)
}

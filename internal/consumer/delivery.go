package consumer

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
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
	commands   int // what it counts against the room
	bytes      int
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
	position int           // -1: the whole body
	kind     messages.Kind // 0 where it could not be read
	tenant   string
	text     string
	why      *messages.Error
}

// decode fills a delivery from a message.
func (c *Consumer) decode(d *delivery, m *Message, scratch []messages.Decoded) []messages.Decoded {
	d.consumer, d.message = c, *m
	d.Owner, d.Hold = d, c.cfg.FIFO
	d.bytes = len(m.Body) + len(m.ReceiptHandle)
	decoded, err := messages.Decode(scratch, m.Body, &d.message.Attributes)
	if err != nil {
		d.commands = 1
		d.bad = []badCommand{{position: -1, tenant: m.Attributes.TenantID, text: m.Body, why: err}}
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
		d.bad = append(d.bad, badCommand{position: i, kind: e.Command.Kind, tenant: e.Command.TenantID, text: e.Text, why: e.Err})
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
	b := badCommand{kind: w.Command.Kind, tenant: w.Command.TenantID, text: d.text, why: w.Refusal}
	if d.texts != nil {
		b.position, b.text = d.positions[i], d.texts[i]
	}
	return b
}

// count tells the metrics of the outcomes of a message's commands.
func (c *Consumer) count(d *delivery) {
	for i := range d.bad {
		c.outcomes[d.bad[i].kind][writer.Refused].Inc()
		tenant := d.bad[i].tenant
		if messages.CheckTenantID(tenant) != nil {
			tenant = metrics.OtherTenants // it may be anything
		}
		c.metrics.TenantCommands(tenant, writer.Refused.String(), 1)
	}
	settled := len(d.bad)
	for i := range d.Writes {
		w := &d.Writes[i]
		outcome := w.Outcome
		if outcome == writer.Pending { // the writer never took it
			outcome = writer.HandedBack
		}
		if outcome != writer.HandedBack {
			settled++
		}
		c.outcomes[w.Command.Kind][outcome].Inc()
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
	c.room.release(d.commands, d.bytes)
	c.gauge()
}

// forget lets go of what a message carried. Deliveries of one receive share memory, and the last of them may be held for
// long; and what the writer remembers of a key may be part of a write.
func (d *delivery) forget() {
	for i := range d.Writes {
		d.Writes[i].Command, d.Writes[i].Refusal = messages.Command{}, nil
	}
	d.Writes, d.texts, d.positions, d.bad = nil, nil, nil, nil
	d.text, d.message.Body = "", ""
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
	c.mu.Lock()
	for i, d := range batch {
		changes[i].ReceiptHandle = d.message.ReceiptHandle
		if !c.draining.Load() {
			changes[i].Timeout = handBackDelay(d.message.ReceiveCount, c.cfg.MaxReceives, rand.Float64())
			c.parked.add(now.Add(changes[i].Timeout))
		}
	}
	c.mu.Unlock()
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
			c.finish(d, "handed_back", &c.handedBack)
		}
	}
	c.tryAgain(again, func() { c.handBacks.add(again...) })
}

// bury sends a message's dead letters; the message is deleted when the last has been accepted.
func (c *Consumer) bury(d *delivery) {
	letters := make([]Letter, 0, len(d.bad))
	for i := range d.bad {
		b := &d.bad[i]
		l, ok := newLetter(&d.message, c.cfg.QueueName, b.position, b.tenant, b.text, b.why, c.cfg.LetterBytes)
		if !ok {
			c.log.Warn("dead letter exceeds SQS's limit; the message is left to the queue's redrive policy",
				"message_id", d.message.ID, "bytes", l.Size(), "limit", c.cfg.LetterBytes, "reason", b.why.Reason)
			c.finish(d, "left", &c.left)
			return
		}
		l.delivery = d
		letters = append(letters, l)
	}
	d.letters.out = len(letters)
	c.letters.add(letters...)
}

// letterRound is how far a message's letters are. They go in rounds: what was refused is sent again when the last of
// the round has its answer, so that a message is never settled while a letter of it is under way.
type letterRound struct {
	mu      sync.Mutex
	out     int      // letters without an answer in this round; guarded by mu
	refused []Letter // guarded by mu
	sent    int      // in all rounds; guarded by mu
	rounds  int      // over; guarded by mu
}

// answered notes what became of a letter. over says that it was the round's last; again is then what was refused.
func (r *letterRound) answered(l Letter, accepted bool) (over bool, again []Letter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if accepted {
		r.sent++
	} else {
		r.refused = append(r.refused, l)
	}
	if r.out--; r.out > 0 {
		return false, nil
	}
	again, r.refused = r.refused, nil
	r.out = len(again)
	r.rounds++
	return true, again
}

// progress is how many letters were accepted, in how many rounds.
func (r *letterRound) progress() (sent, rounds int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent, r.rounds
}

// sendLetters sends a batch of letters in calls of no more bytes than SQS takes.
func (c *Consumer) sendLetters(batch []Letter) {
	for len(batch) > 0 {
		n, bytes := 0, 0
		for n < len(batch) && (n == 0 || bytes+batch[n].Size() <= c.cfg.LetterBytes) {
			bytes += batch[n].Size()
			n++
		}
		c.sendSome(batch[:n])
		batch = batch[n:]
	}
}

// sendSome sends letters by one call. Of messages whose round is over, it goes on with the next round after a pause;
// what nothing was sent or written of goes back to the queue after some, and everything does while closing.
func (c *Consumer) sendSome(batch []Letter) {
	ctx, cancel := context.WithTimeout(c.calls, sendTimeout)
	failures, err := c.dlq.Send(ctx, batch)
	cancel()
	c.answers.Add(1)
	if err != nil {
		c.log.Error("dead letters can't be sent", "letters", len(batch), "error", err)
		failures = all(len(batch))
	}
	failed := make([]bool, len(batch))
	for _, f := range failures {
		failed[f.Index] = true
	}
	var again []Letter
	pause := 0
	for i, l := range batch {
		if !failed[i] {
			c.deadLetters.Add(1)
			c.metrics.DeadLetters.WithLabelValues(l.Attributes["reason"]).Inc()
		}
		d := l.delivery
		over, refused := d.letters.answered(l, !failed[i])
		if !over {
			continue
		}
		sent, rounds := d.letters.progress()
		switch {
		case len(refused) == 0:
			c.deletes.add(d)
		case c.closing.Load() || rounds >= lettersGiveBack && sent == 0 && !d.Touched():
			if c.held.leave(d) {
				c.handBacks.add(d)
			}
		case !time.Now().Before(c.held.deadline(d)):
			// It could not be extended any more: somebody receives it again, and sends its letters.
			c.finish(d, "left", &c.left)
		default:
			again = append(again, refused...)
			pause = max(pause, rounds)
		}
	}
	if len(again) == 0 {
		return
	}
	sleep(c.calls, backoff(pause))
	if c.calls.Err() == nil {
		c.letters.add(again...)
		return
	}
	for _, l := range again {
		c.finish(l.delivery, "left", &c.left)
	}
}

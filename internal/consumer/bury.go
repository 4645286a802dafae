package consumer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/writer"
)

// lettersAtOnce is how many letters of a message may be under way, so that one message can't fill the way of all others' letters.
const lettersAtOnce = 40

// bury sends a message's dead letters; the message is deleted when the last has been accepted.
//
// The letters go in rounds of lettersAtOnce. What fails is sent again in the next round, after a pause, and in calls that no
// other message's letters are in. What SQS refuses for good is sent once more in an envelope that SQS always takes; if that is
// refused as well, the message is left to the queue's redrive policy.
func (c *Consumer) bury(d *delivery) {
	if !c.lettersFit(d) {
		return
	}
	before := d.commands
	c.held.shrink(d, len(d.bad)) // what is written needs no room any more
	if d.waits = c.waiting.enter(d.commands, d.bytes); d.waits {
		c.room.release(before, d.bytes)
	} else {
		c.room.release(before-d.commands, 0)
	}
	if !d.waits && d.commands > c.waiting.commands && c.mayGoBack(d) {
		c.giveBack(d) // or it alone would keep the worker from receiving for long
		return
	}
	c.sendNext(d)
}

// lettersFit says whether SQS takes all of a message's letters, and leaves the message if not.
func (c *Consumer) lettersFit(d *delivery) bool {
	// An envelope adds less than once the text, the reason less than the 8 KiB.
	attributes := d.bytes - len(d.message.Body) + 8<<10
	for i := range d.bad {
		b := &d.bad[i]
		if attributes+2*len(b.text) <= c.cfg.LetterBytes {
			continue
		}
		if l, ok := newLetter(&d.message, c.cfg.QueueName, b, c.cfg.LetterBytes); !ok {
			c.log.Warn("dead letter exceeds SQS's limit; the message is left to the queue's redrive policy",
				"message_id", d.message.ID, "bytes", l.Size(), "limit", c.cfg.LetterBytes, "reason", b.why.Reason)
			c.metrics.LettersFailed.WithLabelValues(metrics.LetterGivenUp).Inc()
			c.finish(d, "left", &c.left)
			return false
		}
	}
	return true
}

// mayGoBack says whether a message may go back although part of it is written: not to a FIFO queue, which would give it out again after
// later ones of its group that are written.
func (c *Consumer) mayGoBack(d *delivery) bool { return !c.cfg.FIFO || !d.Touched() }

// giveBack hands a message back whose letters can't be sent.
func (c *Consumer) giveBack(d *delivery) {
	if c.held.leave(d) {
		c.handBacks.add(d)
	}
}

// separation says how far a message's letters are kept from others.
type separation uint8

const (
	together separation = iota
	ownCalls            // in calls of the message's own, for a call failed that others' letters were in
	oneByOne            // each in a call of its own, for a call of the message's own failed
)

// letterRound is how far a message's letters are. A round is over when each of its letters has its answer, so that a message is never
// settled while a letter of it is under way.
type letterRound struct {
	mu      sync.Mutex
	next    int      // of the message's bad commands, the first that no letter was made of; guarded by mu
	out     int      // letters without an answer in this round; guarded by mu
	refused []Letter // to be sent again; guarded by mu
	sent    int      // in all rounds; guarded by mu
	failed  int      // rounds in a row in which none was accepted; guarded by mu
	success bool     // one was accepted in this round; guarded by mu
	lost    bool     // one can't be sent in any form; guarded by mu
	apart   separation
}

// begin starts a round and returns its letters, and how they go. Without letters all are sent.
func (r *letterRound) begin(d *delivery) (letters []Letter, apart separation) {
	c := d.consumer
	r.mu.Lock()
	defer r.mu.Unlock()
	letters, r.refused = r.refused, nil
	for ; len(letters) < lettersAtOnce && r.next < len(d.bad); r.next++ {
		l, _ := newLetter(&d.message, c.cfg.QueueName, &d.bad[r.next], c.cfg.LetterBytes) // it fits: lettersFit
		l.delivery = d
		letters = append(letters, l)
	}
	r.out, r.success = len(letters), false
	return letters, r.apart
}

// verdict is what became of a letter.
type verdict uint8

const (
	accepted  verdict = iota
	sendAgain         // as it is now
	unsendable
)

// answered notes what became of a letter and says whether it was the round's last.
func (r *letterRound) answered(l Letter, v verdict) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch v {
	case accepted:
		r.sent++
		r.success = true
	case sendAgain:
		r.refused = append(r.refused, l)
	case unsendable:
		r.lost = true
	}
	if r.out--; r.out > 0 {
		return false
	}
	if r.failed++; r.success {
		r.failed = 0
	}
	return true
}

// separate keeps a message's letters further away from others.
func (r *letterRound) separate(to separation) {
	r.mu.Lock()
	r.apart = max(r.apart, to)
	r.mu.Unlock()
}

func (r *letterRound) forget() {
	r.mu.Lock()
	r.refused = nil
	r.mu.Unlock()
}

// sendNext begins a message's next round, or deletes the message when there is none.
func (c *Consumer) sendNext(d *delivery) {
	letters, apart := d.letters.begin(d)
	switch {
	case len(letters) == 0:
		c.deletes.add(d)
	case apart == together:
		c.letters.add(letters...)
	default:
		size := 10
		if apart == oneByOne {
			size = 1
		}
		for len(letters) > 0 {
			n := min(size, len(letters))
			c.apart.add(letters[:n:n])
			letters = letters[n:]
		}
	}
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

// sendSome sends letters by one call and goes on with the messages whose rounds are over.
func (c *Consumer) sendSome(batch []Letter) {
	ctx, cancel := context.WithTimeout(c.calls, sendTimeout)
	failures, err := c.dlq.Send(ctx, batch)
	cancel()
	c.answers.Add(1)
	if err != nil {
		c.log.Error("dead letters can't be sent", "letters", len(batch), "error", err)
		failures = all(len(batch))
		separate(batch)
	}
	verdicts := make([]verdict, len(batch))
	for _, f := range failures {
		verdicts[f.Index] = c.judgeLetter(&batch[f.Index], f, err)
	}
	c.trouble.saw(time.Now(), len(batch)-len(failures), failures, err)
	for i, l := range batch {
		if verdicts[i] == accepted {
			c.countLetter(&l)
		}
		if l.delivery.letters.answered(l, verdicts[i]) {
			c.roundOver(l.delivery)
		}
	}
}

// separate keeps the letters of a call that failed apart from now on: one of them may be why.
func separate(batch []Letter) {
	to := oneByOne
	for i := range batch {
		if batch[i].delivery != batch[0].delivery {
			to = ownCalls
		}
	}
	for i := range batch {
		batch[i].delivery.letters.separate(to)
	}
}

// judgeLetter decides on a letter that was not accepted. It changes one that SQS will never take as it is.
func (c *Consumer) judgeLetter(l *Letter, f Failure, call error) verdict {
	id, index := l.delivery.message.ID, l.Attributes["source_index"]
	if call != nil || !f.Final {
		if call == nil {
			c.log.Warn("dead letter refused, and sent again", "message_id", id, "source_index", index, "code", f.Code)
		}
		c.metrics.LettersFailed.WithLabelValues(metrics.LetterRetried).Inc()
		return sendAgain
	}
	if !l.enclosed {
		c.log.Warn("dead letter refused for good, and sent in an envelope", "message_id", id, "source_index", index, "code", f.Code)
		if l.enclose(); l.Size() <= c.cfg.LetterBytes {
			c.metrics.LettersFailed.WithLabelValues(metrics.LetterRetried).Inc()
			return sendAgain
		}
	}
	c.log.Error("dead letter refused in every form; the message is left to the queue's redrive policy",
		"message_id", id, "source_index", index, "code", f.Code, "reason", l.Attributes["reason"])
	c.metrics.LettersFailed.WithLabelValues(metrics.LetterGivenUp).Inc()
	return unsendable
}

// countLetter tells the metrics of a letter that was sent. The tenant is the one that sent the message, where that is known.
func (c *Consumer) countLetter(l *Letter) {
	c.deadLetters.Add(1)
	c.commands.Add(1)
	c.metrics.DeadLetters.WithLabelValues(l.Attributes["reason"]).Inc()
	c.outcomes[l.command.kind][writer.Refused].Inc()
	tenant := l.command.tenant
	if a := &l.delivery.message.Attributes; a.TenantID != "" {
		tenant = a.TenantID
	}
	if messages.CheckTenantID(tenant) != nil {
		tenant = metrics.OtherTenants // it may be anything
	}
	c.metrics.TenantCommands(tenant, writer.Refused.String(), 1)
}

// roundOver goes on with a message whose round is over. What nothing was sent or written of goes back to the queue after some rounds,
// everything does while closing, and so does what finds no place to wait.
func (c *Consumer) roundOver(d *delivery) {
	r := &d.letters
	r.mu.Lock()
	again, lost, sent, failed := len(r.refused) > 0, r.lost, r.sent, r.failed
	r.mu.Unlock()
	switch {
	case lost:
		c.finish(d, "left", &c.left)
	case !again:
		c.sendNext(d)
	case c.closing.Load() || failed >= lettersGiveBack && sent == 0 && !d.Touched():
		c.giveBack(d)
	case c.calls.Err() != nil || !time.Now().Before(c.held.deadline(d)):
		// It could not be extended any more: somebody receives it again, and sends its letters.
		c.finish(d, "left", &c.left)
	case !d.waits && !c.enterWaiting(d) && c.mayGoBack(d):
		c.giveBack(d)
	case !c.retries.add(d, backoff(failed), c.sendNext):
		c.giveBack(d)
	}
}

// enterWaiting moves a message from the room to those that wait, if it fits.
func (c *Consumer) enterWaiting(d *delivery) bool {
	if d.waits = c.waiting.enter(d.commands, d.bytes); d.waits {
		c.room.release(d.commands, d.bytes)
	}
	return d.waits
}

// retries are the messages whose letters are sent again after a pause. They hold no goroutine meanwhile: others' letters have their
// turn.
type retries struct {
	mu     sync.Mutex
	timers map[*delivery]*time.Timer // guarded by mu
	closed bool                      // guarded by mu
}

// add calls do with the delivery after a pause, or says that it is too late for that.
func (r *retries) add(d *delivery, pause time.Duration, do func(*delivery)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.timers == nil {
		r.timers = map[*delivery]*time.Timer{}
	}
	r.timers[d] = time.AfterFunc(pause, func() {
		r.mu.Lock()
		_, waits := r.timers[d]
		delete(r.timers, d)
		r.mu.Unlock()
		if waits {
			do(d)
		}
	})
	return true
}

// close ends all pauses and returns the messages, which are the caller's now.
func (r *retries) close() []*delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var all []*delivery
	for d, t := range r.timers {
		t.Stop()
		all = append(all, d)
	}
	r.timers = nil
	return all
}

// trouble is since when letters can't be sent.
type trouble struct {
	mu     sync.Mutex
	since  time.Time // zero: the last call brought letters over; guarded by mu
	latest time.Time // guarded by mu
	what   string    // guarded by mu
}

// saw notes a call that brought so many letters over.
func (t *trouble) saw(now time.Time, sent int, failures []Failure, call error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sent > 0 {
		t.since = time.Time{}
		return
	}
	if t.since.IsZero() {
		t.since = now
	}
	t.latest = now
	if t.what = fmt.Sprint("refused: ", failures[0].Code); call != nil {
		t.what = call.Error()
	}
}

// troubleLasts is how long letters count as not sent after a failure that nothing followed.
const troubleLasts = time.Minute

// LettersFail is since when no dead letter could be sent although some were tried, and why; zero: they can.
func (c *Consumer) LettersFail() (since time.Time, why string) {
	t := &c.trouble
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.latest) > troubleLasts {
		return time.Time{}, ""
	}
	return t.since, t.what
}

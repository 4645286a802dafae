package consumer

import (
	"sync"
	"time"
)

// maxLettersPerRound limits the letters of one message that are under way, so that it can't hold up the letters of all others.
const maxLettersPerRound = 40

// separation is how far a message's letters are kept apart from others.
type separation uint8

const (
	together separation = iota
	ownCalls            // in calls of the message's own, because a call failed that had letters of others
	oneByOne            // each in its own call, because a call of the message's own failed
)

// letterRounds is the progress of one message's letters. A round is over when each of its letters has an answer, so a message
// never ends while a letter of it is under way.
type letterRounds struct {
	mu         sync.Mutex
	next       int        // index of the first bad command that has no letter yet; guarded by mu
	unanswered int        // letters of this round; guarded by mu
	again      []Letter   // letters for the next round; guarded by mu
	sent       int        // letters accepted in all rounds; guarded by mu
	failed     int        // rounds in a row in which no letter was accepted; guarded by mu
	success    bool       // a letter was accepted in this round; guarded by mu
	lost       bool       // a letter can't be sent in any form; guarded by mu
	apart      separation // guarded by mu
}

// begin starts a round. It returns the round's letters, none if all are sent, and how far they are kept apart. There are no letters for
// tenants that are erased by then.
func (r *letterRounds) begin(d *delivery) (letters []Letter, apart separation) {
	c := d.consumer
	r.mu.Lock()
	defer r.mu.Unlock()
	rules := c.rule(time.Now())
	for _, l := range r.again {
		if rules.drops(l.command, &d.message) {
			c.countDropped(l.command)
			continue
		}
		letters = append(letters, l)
	}
	r.again = nil
	for ; len(letters) < maxLettersPerRound && r.next < len(d.bad); r.next++ {
		if b := &d.bad[r.next]; rules.drops(b, &d.message) {
			c.countDropped(b)
			continue
		}
		l, _ := newLetter(&d.message, c.cfg.QueueName, &d.bad[r.next], c.cfg.LetterBytes) // lettersFit has checked the size
		l.delivery = d
		letters = append(letters, l)
	}
	r.unanswered, r.success = len(letters), false
	return letters, r.apart
}

// answered records the result of a letter and reports whether the round is over.
func (r *letterRounds) answered(l Letter, v verdict) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch v {
	case accepted:
		r.sent++
		r.success = true
	case sendAgain:
		r.again = append(r.again, l)
	case unsendable:
		r.lost = true
	}
	if r.unanswered--; r.unanswered > 0 {
		return false
	}
	if r.failed++; r.success {
		r.failed = 0
	}
	return true
}

// result returns the state after a round: whether letters go again, whether one is lost, how many letters were accepted, and
// how many rounds in a row have failed.
func (r *letterRounds) result() (again, lost bool, sent, failed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.again) > 0, r.lost, r.sent, r.failed
}

// separate keeps the letters apart from others, at least as far as to.
func (r *letterRounds) separate(to separation) {
	r.mu.Lock()
	r.apart = max(r.apart, to)
	r.mu.Unlock()
}

// forget drops the letters.
func (r *letterRounds) forget() {
	r.mu.Lock()
	r.again = nil
	r.mu.Unlock()
}

// retries are the messages that pause before their next round. They occupy no goroutine meanwhile, so letters of others go on.
type retries struct {
	mu     sync.Mutex
	timers map[*delivery]*time.Timer // guarded by mu
	closed bool                      // guarded by mu
}

// add calls next with the delivery after a pause. It returns false, and does nothing, after close.
func (r *retries) add(d *delivery, pause time.Duration, next func(*delivery)) bool {
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
			next(d)
		}
	})
	return true
}

// take ends the pause of a message. It returns false if the message has none. Otherwise the caller owns the message.
func (r *retries) take(d *delivery) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, waits := r.timers[d]
	if waits {
		t.Stop()
		delete(r.timers, d)
	}
	return waits
}

// close ends all pauses and returns the messages. The caller owns them.
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

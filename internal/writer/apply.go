package writer

import (
	"time"

	"tributary/internal/messages"
	"tributary/internal/tenants"
)

// One item that makes DynamoDB fail must not keep others from being written. After soloFailures calls that failed without a
// reason, a write is tried alone. If that fails too, while less than the share faultShare of all calls fail, the write is at
// fault and not the table. From then on it shares no call, and its key pauses between the tries, for longer each time.
const (
	soloFailures = 3
	faultShare   = 0.5
)

// answer is the result of a call.
type answer struct {
	verdict verdict
	left    []int           // verdict passed: the indexes of the writes that DynamoDB left over
	units   Units           // that the call has consumed, as far as the answer says
	refusal *messages.Error // verdicts invalid and spoiled
}

// apply gives the writes of an answered call their outcomes, or puts them back.
func (s *scheduler) apply(now time.Time, c *call, a answer) {
	s.calls--
	c.era.calls--
	if c.probe != nil {
		s.applyProbe(now, c, a)
		return
	}
	switch a.verdict {
	case passed:
		s.limiter.succeeded()
		s.passed(now, c, a.left)
	case stale, already:
		s.limiter.succeeded()
		outcome := Stale
		if a.verdict == already {
			outcome = Written
		}
		s.written(now, c, c.writes[0], outcome)
		s.wrote(c.writes[0].queue.tenant, 1, now)
	case spoiled:
		s.limiter.succeeded()
		s.refuse(now, c.writes[0], a.refusal)
	case invalid:
		s.limiter.succeeded()
		s.invalid(now, c, a.refusal)
	case throttledTenant:
		s.limiter.succeeded() // the table itself is well
		if parts := byTenant(c.writes); len(parts) > 1 {
			if !c.retried {
				parts = []*call{{writes: c.writes, retried: true}}
			}
			s.retry(now, parts...)
			break
		}
		t := c.writes[0].queue.tenant
		s.putAllBack(now, c.writes)
		s.throttled(t, len(c.writes), now)
	case throttledTable:
		s.limiter.failed(c.started, now, s.jitter())
		s.putAllBack(now, c.writes)
	case trouble:
		s.trouble(now, c)
	}
	if c.limited && s.scarce() {
		s.handBackOverLimit(now, c)
	}
}

// passed handles a call that DynamoDB carried out, except for the writes whose indexes are in left.
func (s *scheduler) passed(now time.Time, c *call, left []int) {
	if len(left) == 0 {
		for _, w := range c.writes {
			t := w.queue.tenant
			if t.ruled {
				s.written(now, c, w, Written)
			} else {
				s.settleInFlight(now, w, Written, nil)
			}
			if t.window > 0 || t.refused > 0.01 {
				s.wrote(t, 1, now)
			}
		}
		return
	}
	s.events.unprocessed += len(left)
	leftOver := make([]bool, len(c.writes))
	for _, i := range left {
		leftOver[i] = true
	}
	for i, w := range c.writes {
		if !leftOver[i] {
			t := w.queue.tenant
			s.written(now, c, w, Written)
			s.wrote(t, 1, now)
		}
	}
	refused := map[*tenant]int{}
	for i := len(c.writes) - 1; i >= 0; i-- {
		if w := c.writes[i]; leftOver[i] {
			refused[w.queue.tenant]++
			s.putBack(now, w)
		}
	}
	for t, n := range refused {
		s.throttled(t, n, now)
	}
}

// invalid handles a call that DynamoDB refused as invalid: it is halved until the bad write is alone, which is then a suspect.
func (s *scheduler) invalid(now time.Time, c *call, refusal *messages.Error) {
	switch half := len(c.writes) / 2; {
	case s.closed || s.doubt.refusing:
		s.putAllBack(now, c.writes)
	case half == 0 && s.bars(c.writes[0]):
		s.putBack(now, c.writes[0])
	case half == 0:
		s.doubt.suspects = append(s.doubt.suspects, suspect{c.writes[0], refusal})
	default:
		s.retry(now, &call{writes: c.writes[:half]}, &call{writes: c.writes[half:]})
	}
}

// trouble handles a call that failed with its outcome unknown.
func (s *scheduler) trouble(now time.Time, c *call) {
	if w := c.writes[0]; len(c.writes) == 1 && w.failures >= soloFailures && (w.alone || s.limiter.share < faultShare) {
		if s.limiter.failures > 0 { // nothing has passed since another failure: it may be the table after all
			s.limiter.failed(c.started, now, s.jitter())
		}
		s.pause(now, w)
		return
	}
	s.limiter.failed(c.started, now, s.jitter())
	for i := len(c.writes) - 1; i >= 0; i-- {
		w := c.writes[i]
		w.failures++
		w.charged = false
		w.group.touched = true // it may have been written
		if w.failures >= soloFailures && len(c.writes) > 1 {
			s.retry(now, &call{writes: c.writes[i : i+1 : i+1], conditional: c.conditional})
			continue
		}
		s.putBack(now, w)
	}
}

// pause puts back a write that failed alone while others passed, and pauses its key.
func (s *scheduler) pause(now time.Time, w *Write) {
	longest := min(maxBackoff, baseBackoff<<min(w.failures-soloFailures, 10))
	w.failures++
	w.charged = false
	w.alone, w.group.touched = true, true // it may have been written
	kq := w.queue
	kq.paused = true
	until := now.Add(longest/2 + time.Duration(s.jitter()*float64(longest/2)))
	s.paused = append(s.paused, pausedKey{kq, until})
	s.wakeAt = earliest(s.wakeAt, until)
	s.putBack(now, w)
}

// wrote records that writes of a tenant passed.
func (s *scheduler) wrote(t *tenant, n int, now time.Time) {
	limited := t.backingOff()
	t.wrote(n)
	if limited && !t.backingOff() {
		s.limited--
	}
	s.recount(t, now)
}

// throttled lets a tenant back off. A stalled tenant hands back what exceeds its share.
func (s *scheduler) throttled(t *tenant, n int, now time.Time) {
	s.events.throttled = append(s.events.throttled, t.id)
	if t.held == 0 && s.tenants[t.id] != t {
		return // the tenant's last writes were handed back while this call was under way
	}
	if !t.backingOff() {
		s.limited++
	}
	t.throttled(n, now, s.jitter())
	if t.stalled(now) && s.scarce() {
		s.handBackExcess(t, now)
	}
	s.recount(t, now)
}

// settleInFlight settles a write that was in flight. The writes that it overtook are superseded by it, or, if it was refused,
// promoted in its place.
func (s *scheduler) settleInFlight(now time.Time, w *Write, o Outcome, refusal *messages.Error) {
	kq := w.queue
	s.leaveFlight(kq, w)
	switch {
	case o == Refused:
		kq.promoteOvertaken(w)
	case !w.Versioned():
		kq.writtenRank = max(kq.writtenRank, w.rank)
	}
	overtaken := w.overtook
	w.overtook = nil
	s.settle(now, w, o, refusal)
	for overtaken != nil {
		next := overtaken.overtook
		overtaken.overtook, overtaken.overtakenBy = nil, nil
		s.waiting--
		s.settle(now, overtaken, Superseded, nil)
		overtaken = next
	}
	s.retireOrPlace(kq, false)
	s.recount(kq.tenant, now)
}

// putBack returns a write that was in flight to the head of its key's queue and of its tenant's queue. What the rules say of its
// tenant may have changed in the meantime.
func (s *scheduler) putBack(now time.Time, w *Write) {
	kq, g := w.queue, w.group
	s.leaveFlight(kq, w)
	if w.charged {
		s.refund(kq.tenant, w, now)
	}
	erase := kq.tenant.verdict == tenants.Drop && w.was == nil
	switch {
	case s.closed || g.abandoned:
		kq.promoteOvertaken(w)
		s.settle(now, w, HandedBack, nil)
	case erase && !w.mayBeInTable():
		kq.promoteOvertaken(w)
		s.settle(now, w, Erased, nil)
	default:
		if erase {
			w.deleteKey()
		}
		s.waiting++
		kq.putBack(w)
	}
	s.retireOrPlace(kq, true)
	s.recount(kq.tenant, now)
	if s.barred > 0 && kq.tenant.suspended() {
		s.handBackSuspended(now, g)
	}
}

// putAllBack puts the writes of a call back in their order.
func (s *scheduler) putAllBack(now time.Time, writes []*Write) {
	for i := len(writes) - 1; i >= 0; i-- {
		s.putBack(now, writes[i])
	}
}

func (s *scheduler) leaveFlight(kq *keyQueue, w *Write) {
	kq.inFlight = nil
	kq.tenant.inFlight--
	w.group.inFlight--
}

// settle gives a write its outcome. The write has left its queue, and no longer counts as waiting or in flight.
func (s *scheduler) settle(now time.Time, w *Write, o Outcome, refusal *messages.Error) {
	t, g := w.queue.tenant, w.group
	if w.was != nil {
		w.Command, w.was = *w.was, nil
		if o != HandedBack {
			o, refusal = Erased, nil
		}
	}
	w.Outcome, w.Refusal, w.SettledAt = o, refusal, now
	t.units -= int(w.cost)
	t.held--
	t.heldBytes -= int(w.bytes)
	s.held--
	s.heldBytes -= int(w.bytes)
	if o != HandedBack && o != Erased {
		g.touched = true
	}
	w.group = nil // the queue of its key may be part of the write, and outlives the message
	if g.pending--; g.pending == 0 {
		s.settled = append(s.settled, g)
	}
}

package writer

import (
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
)

// call is what one goroutine of the pool sends: up to 25 unversioned writes, one versioned write, or a probe. The scheduler
// owns it, except between nextCall and apply: then the goroutine that sends it may read it.
type call struct {
	writes      []*Write
	probe       *messages.Command // see doubt
	suspects    []suspect         // the writes that the probe decides on
	conditional bool
	retried     bool // it was refused once as a whole
	limited     bool // one of its writes has a tenant with a limit
	late        bool // its answer came when the rules under which it began were too old
	started     time.Time
	era         *era // in which it began
}

// source is where the next call comes from.
type source uint8

const (
	noSource source = iota // nothing is due
	fromDoubt
	fromRetries
	fromConditionalRing
	fromBatchRing
)

// due returns the source of the next call at now. When nothing is due it returns when to ask again unless something happens
// before; zero: only when something happens.
func (s *scheduler) due(now time.Time) (source, time.Time) {
	if s.closed {
		return noSource, time.Time{}
	}
	s.wake(now)
	if s.era.rules.TooOld(now) {
		return noSource, time.Time{} // the next Obey will ask
	}
	if !s.limiter.allows(s.calls, now) {
		if s.calls == 0 {
			return noSource, s.limiter.notBefore
		}
		return noSource, time.Time{} // the next answer will ask
	}
	probe, next := s.doubt.due(now)
	switch {
	case probe:
		return fromDoubt, time.Time{}
	case s.doubt.refusing:
		return noSource, next
	}
	next = earliest(s.wakeAt, next)
	batch := &s.rings[batchRing]
	full := batch.ready >= limits.DynamoDBBatchWrites || batch.ready > 0 && (s.calls == 0 || !now.Before(batch.since.Add(s.cfg.Linger)))
	switch {
	case len(s.retries) > 0:
		return fromRetries, time.Time{}
	case s.rings[conditionalRing].ready > 0 && (!full || s.batchLast):
		return fromConditionalRing, time.Time{}
	case full:
		return fromBatchRing, time.Time{}
	case batch.ready > 0:
		return noSource, earliest(next, batch.since.Add(s.cfg.Linger))
	}
	return noSource, next
}

// nextCall makes the next call. When nothing is due it returns nil and when to ask again, as due does.
func (s *scheduler) nextCall(now time.Time) (*call, time.Time) {
	from, next := s.due(now)
	var c *call
	switch from {
	case noSource:
		return nil, next
	case fromDoubt:
		c = s.doubt.probe()
	case fromRetries:
		c = s.retries[0]
		s.retries[0] = nil
		s.retries = s.retries[1:]
		c.limited = len(s.buckets) > 0
	case fromConditionalRing:
		c = s.gather(conditionalRing, 1, now)
		s.batchLast = false
	case fromBatchRing:
		c = s.gather(batchRing, limits.DynamoDBBatchWrites, now)
		s.rings[batchRing].since = now
		s.batchLast = true
	}
	c.started, c.era = now, s.era
	s.calls++
	s.era.calls++
	return c, time.Time{}
}

// gather takes up to n writes out of a ring, in the order of its round-robin.
func (s *scheduler) gather(from, n int, now time.Time) *call {
	r := &s.rings[from]
	c := &call{conditional: from == conditionalRing, writes: make([]*Write, 0, min(n, r.ready))}
	for len(c.writes) < n && r.ready > 0 {
		q := r.turn()
		t, kq := q.tenant, q.keys.First()
		w := kq.waiting.First()
		if w.alone && len(c.writes) > 0 {
			break
		}
		q.remove(kq)
		kq.waiting.Remove(&w.node)
		kq.inFlight = w
		w.group.inFlight++
		t.inFlight++
		s.waiting--
		q.deficit -= int(w.units)
		if t.bucket != nil {
			c.limited = true
			s.charge(t, w, now)
		}
		c.writes = append(c.writes, w)
		if q.deficit <= 0 {
			r.endTurn(q)
		}
		s.recount(t, now)
		if w.alone {
			break
		}
	}
	return c
}

// retry sets calls aside that are sent before anything else. Their writes still count as in flight.
func (s *scheduler) retry(now time.Time, calls ...*call) {
	for _, c := range calls {
		if s.barred > 0 {
			c.writes = s.withoutBarred(now, c.writes)
		}
		if len(c.writes) > 0 {
			s.retries = append(s.retries, c)
		}
	}
	if s.closed || s.doubt.refusing {
		s.dissolve(now)
	}
}

// dissolve puts the writes of retries and the suspects back into their queues.
func (s *scheduler) dissolve(now time.Time) {
	retries, suspects := s.retries, s.doubt.suspects
	s.retries, s.doubt.suspects = nil, nil
	for _, c := range retries {
		s.putAllBack(now, c.writes)
	}
	for _, x := range suspects {
		x.write.suspected = false
		s.putBack(now, x.write)
	}
}

// unsent takes back a call that was not sent.
func (s *scheduler) unsent(now time.Time, c *call) {
	s.calls--
	c.era.calls--
	if c.probe == nil {
		s.putAllBack(now, c.writes)
		return
	}
	s.doubt.probing = false
	s.doubt.suspects = append(c.suspects, s.doubt.suspects...)
	if s.doubt.refusing || s.closed {
		s.dissolve(now)
	}
}

// byTenant splits the writes of a call that was refused twice as a whole into calls of one tenant each.
func byTenant(writes []*Write) []*call {
	var parts []*call
	at := map[*tenant]int{}
	for _, w := range writes {
		t := w.queue.tenant
		i, ok := at[t]
		if !ok {
			i = len(parts)
			at[t] = i
			parts = append(parts, &call{retried: true})
		}
		parts[i].writes = append(parts[i].writes, w)
	}
	return parts
}

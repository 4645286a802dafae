package writer

import (
	"time"

	"tributary/internal/messages"
	"tributary/internal/tenants"
)

// This file is how the scheduler obeys the rules of operators (package tenants, docs/architecture.md).
//
// Each tenant's state has what the rules say of it: a verdict, and a bucket if it is limited. The state is looked up when it is
// made, and again at each obey. So the path of a command asks for nothing. A tenant is barred while its verdict is not Write:
//
//   - Suspended: the tenant has no room, so none of its writes becomes part of a call. Whole groups go back, as far as they may.
//   - Erased: its writes are settled unwritten. A write that may be in the table becomes a delete of its key (Write.was).
//
// A write that comes back from a call meets the rules of that moment: in putBack, retry and written.

// era is the time for which the scheduler obeys one set of rules.
type era struct {
	rules    *tenants.Rules
	suspends bool // some tenant
	calls    int  // under way that began in it
}

// over reports whether the era's rules are too old to write by.
func (e *era) over() bool { return e.rules != nil && e.rules.TooOld(time.Now()) }

// obey replaces the rules.
func (s *scheduler) obey(now time.Time, rules *tenants.Rules) {
	s.older = append(s.older, s.era)
	s.era = &era{rules: rules}
	rules.All(func(d *tenants.Decision) bool {
		s.era.suspends = d.Status == tenants.Suspended
		return !s.era.suspends
	})
	s.endEras()
	for id, b := range s.buckets {
		limit := rules.WriteLimit(id)
		if limit.Rate == 0 || s.tenants[id] == nil && b.full(now) {
			delete(s.buckets, id)
			continue
		}
		b.obey(limit, now)
	}
	changed := false
	for _, t := range s.tenants {
		before := t.verdict
		s.judge(t, now)
		changed = changed || t.verdict != before
		s.recount(t, now)
	}
	if s.barred == 0 {
		return
	}
	if changed {
		s.dissolve(now) // some of these writes may be barred
	}
	s.enforce(now)
}

// endEras forgets earlier eras of which no call is under way.
func (s *scheduler) endEras() {
	kept := s.older[:0]
	for _, e := range s.older {
		if e.calls > 0 {
			kept = append(kept, e)
		}
	}
	clear(s.older[len(kept):])
	s.older = kept
}

// confirmed returns the newest revision for which no call is under way that began under an older one.
func (s *scheduler) confirmed() int64 {
	s.endEras()
	oldest := s.era
	if len(s.older) > 0 {
		oldest = s.older[0]
	}
	if oldest.rules == nil {
		return 0
	}
	return oldest.rules.Revision
}

// judge looks up what the rules say of a tenant.
func (s *scheduler) judge(t *tenant, now time.Time) {
	d := s.era.rules.Of(t.id)
	if t.verdict != tenants.Write {
		s.barred--
	}
	t.verdict, t.gone, t.bucket = d.Verdict(now), d != nil && d.Status == tenants.Erased, nil
	if t.verdict != tenants.Write {
		s.barred++
	}
	if t.ruled = t.verdict != tenants.Write; t.ruled || d == nil {
		return
	}
	limit := s.era.rules.WriteLimit(t.id)
	if limit.Rate == 0 {
		return
	}
	if t.bucket = s.buckets[t.id]; t.bucket == nil {
		t.bucket = newBucket(limit, now)
		s.buckets[t.id] = t.bucket
	}
	t.ruled = true
}

// suspends reports whether a tenant of the group is suspended.
func (s *scheduler) suspends(now time.Time, g *Group) bool {
	last := ""
	for i := range g.Writes {
		id := g.Writes[i].Command.TenantID
		if id == last {
			continue
		}
		last = id
		if t := s.tenants[id]; t != nil {
			if t.suspended() {
				return true
			}
		} else if v := s.era.rules.Of(id).Verdict(now); v == tenants.Wait || v == tenants.Letter {
			return true
		}
	}
	return false
}

// bars reports whether the write may not be sent as it is.
func (s *scheduler) bars(w *Write) bool {
	return w.queue.tenant.verdict != tenants.Write && w.was == nil
}

// withoutBarred puts the barred writes of a call back and returns the others.
func (s *scheduler) withoutBarred(now time.Time, writes []*Write) []*Write {
	var kept []*Write
	for _, w := range writes {
		if !s.bars(w) {
			kept = append(kept, w)
		}
	}
	if len(kept) == len(writes) {
		return writes
	}
	for i := len(writes) - 1; i >= 0; i-- {
		if s.bars(writes[i]) {
			s.putBack(now, writes[i])
		}
	}
	return kept
}

// enforce settles or hands back what barred tenants hold, as far as that is possible now. It looks at all key queues: decisions
// are rare, and some writes wait where no tenant's queue shows them.
func (s *scheduler) enforce(now time.Time) {
	var erased, suspended []*Write
	for _, kq := range s.keyQueues {
		switch {
		case kq.empty() || kq.tenant.verdict == tenants.Write:
		case kq.tenant.verdict == tenants.Drop:
			erased = kq.appendWaiting(erased)
		default:
			suspended = kq.appendWaiting(suspended)
		}
	}
	for _, w := range erased {
		if w.was == nil {
			s.eraseWaiting(now, w)
		}
	}
	for _, w := range suspended {
		if w.group != nil { // otherwise it went back with another write of its group
			s.handBackSuspended(now, w.group)
		}
	}
}

// appendWaiting appends all writes that wait for the key, the overtaken ones included.
func (kq *keyQueue) appendWaiting(to []*Write) []*Write {
	for w := kq.waiting.Last(); w != nil; w = w.node.Prev() {
		for o := w; o != nil; o = o.overtook {
			to = append(to, o)
		}
	}
	if kq.inFlight != nil {
		for o := kq.inFlight.overtook; o != nil; o = o.overtook {
			to = append(to, o)
		}
	}
	return to
}

// handBackSuspended hands a group back because of a suspension, and with it the later messages of its FIFO group. If one of them
// must stay, all do, so that their order stays.
func (s *scheduler) handBackSuspended(now time.Time, g *Group) {
	for l := g; l != nil; l = l.Later {
		if l.pending > 0 && !s.mayGoBack(l) {
			return // the next obey tries again
		}
	}
	s.handBack(now, g, Suspended)
	s.bringBack(now, g.Later)
}

// mayGoBack reports whether a group can go back as a whole. It stays while one of its writes is in flight, or was overtaken by one in
// flight, because the answer may settle it; and when it is touched, unless the writer drains.
func (s *scheduler) mayGoBack(g *Group) bool {
	if g.inFlight > 0 || g.touched && !s.draining {
		return false
	}
	for i := range g.Writes {
		if w := &g.Writes[i]; w.Outcome == Pending && w.queue != nil && w.fliesWithSuperior() {
			return false
		}
	}
	return true
}

// fliesWithSuperior reports whether the write was overtaken by one in flight.
func (w *Write) fliesWithSuperior() bool {
	top := w
	for top.overtakenBy != nil {
		top = top.overtakenBy
	}
	return top != w && w.queue.inFlight == top
}

// bringBack hands back a group and those after it, because an earlier message of their FIFO group goes back. Those that the writer has
// not taken yet are refused.
func (s *scheduler) bringBack(now time.Time, g *Group) {
	for ; g != nil; g = g.Later {
		switch {
		case !g.submitted:
			g.back = Suspended
		case g.pending > 0:
			s.handBack(now, g, Suspended)
		}
	}
}

// mayBeInTable reports whether the table may hold what the write puts, although it was not settled as written.
func (w *Write) mayBeInTable() bool { return w.failures > 0 || w.group.Redelivered }

// deleteKey turns a write of an erased tenant into an unversioned delete of its key. It is in no queue.
func (w *Write) deleteKey() {
	was := w.Command
	w.was, w.Command = &was, messages.Delete(was.Type, was.TenantID, was.ID)
	w.rank, w.alone, w.suspected = w.group.Received, false, false
}

// keepToErase decides on a write of an erased tenant that has just been received. It settles the write, or turns it into a delete
// that is to be queued and returns true.
func (s *scheduler) keepToErase(now time.Time, w *Write, kq *keyQueue) bool {
	if w.mayBeInTable() {
		w.deleteKey()
		return true
	}
	w.queue = kq
	s.waiting--
	s.settle(now, w, Erased, nil)
	if kq.empty() && kq.writtenRank == 0 {
		s.retire(kq)
	}
	return false
}

// eraseWaiting settles a write of an erased tenant that waits, or turns it into a delete that waits.
func (s *scheduler) eraseWaiting(now time.Time, w *Write) {
	kq := w.queue
	kq.withdraw(w)
	if w.mayBeInTable() {
		w.deleteKey()
		kq.add(w)
	} else {
		s.waiting--
		s.settle(now, w, Erased, nil)
	}
	s.retireOrPlace(kq, false)
	s.recount(kq.tenant, now)
}

// written settles a write that is in the table, or is stale. If its tenant was erased while the call was under way, and the
// erasure may not have waited for the call, its key is deleted first.
func (s *scheduler) written(now time.Time, c *call, w *Write, o Outcome) {
	t := w.queue.tenant
	if t.bucket != nil && w.used.known {
		s.correct(t, w, now)
	}
	w.charged = false
	if t.verdict == tenants.Drop && w.was == nil && (c.late || t.gone) {
		w.failures++ // so that it counts as one that may be in the table
		w.group.touched = true
		s.putBack(now, w)
		return
	}
	s.settleInFlight(now, w, o, nil)
}

// refuse settles a write that can never be written. For an erased tenant there are no dead letters.
func (s *scheduler) refuse(now time.Time, w *Write, refusal *messages.Error) {
	if w.queue.tenant.verdict == tenants.Drop && w.was == nil {
		s.putBack(now, w)
		return
	}
	s.settleInFlight(now, w, Refused, refusal)
}

// charge lets a tenant's bucket pay for a write that becomes part of a call.
func (s *scheduler) charge(t *tenant, w *Write, now time.Time) {
	w.charged = true
	if t.bucket.take(float64(w.cost), now) {
		s.events.limited = append(s.events.limited, t.id)
	}
}

// refund pays back for a write that was not written.
func (s *scheduler) refund(t *tenant, w *Write, now time.Time) {
	if t.bucket != nil {
		t.bucket.take(-float64(w.cost), now)
	}
	w.charged = false
}

// correct lets a tenant's bucket pay what a write has consumed instead of the estimate.
func (s *scheduler) correct(t *tenant, w *Write, now time.Time) {
	more := w.used.table() + w.used.index()
	if w.charged {
		more -= float64(w.cost)
	}
	t.bucket.take(more, now)
}

// giveTurn decides for how long a group stays away because a tenant of it is over its limit.
func (s *scheduler) giveTurn(g *Group, now time.Time) {
	g.away = 0
	cost := 0
	for i := range g.Writes {
		c := &g.Writes[i].Command
		_, _, units := s.sizes(c)
		if cost += units; i+1 < len(g.Writes) && g.Writes[i+1].Command.TenantID == c.TenantID {
			continue
		}
		if t := s.tenants[c.TenantID]; t != nil && t.bucket != nil {
			g.away = max(g.away, t.bucket.away(cost, t.units, now))
		}
		cost = 0
	}
}

// handBackOverLimit lets the limited tenants of a call hand back what exceeds their shares.
func (s *scheduler) handBackOverLimit(now time.Time, c *call) {
	for _, w := range c.writes {
		if t := w.queue.tenant; t.atLimit && t.overLimit(now) {
			s.handBackExcess(t, now)
			s.recount(t, now)
		}
	}
}

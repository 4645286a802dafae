package writer

import "time"

// handBackExcess hands whole groups back, the last received first, until the tenant holds no more than its share. It skips
// groups that must be held, are touched, or have a write in flight.
func (s *scheduler) handBackExcess(t *tenant, now time.Time) {
	commands, bytes := s.share()
	why := Stalled
	if t.overLimit(now) {
		why = Limited
	}
	for i := range t.queues {
		q := &t.queues[i]
		for kq := q.keys.Last(); kq != nil && (t.held > commands || t.heldBytes > bytes); {
			g := kq.waiting.Last().group
			prev := kq.node.Prev()
			if g.Hold || g.touched || g.inFlight > 0 {
				kq = prev
				continue
			}
			if why == Limited {
				s.giveTurn(g, now)
			}
			s.handBack(now, g, why)
			if kq.tenantQueue != q { // otherwise an overtaken write was promoted, and is next
				kq = prev
			}
			if kq != nil && kq.tenantQueue != q { // prev held another write of the group
				kq = q.keys.Last()
			}
		}
	}
}

// handBack hands back the writes of a group that are neither settled nor in flight.
func (s *scheduler) handBack(now time.Time, g *Group, why Admission) {
	g.back = why
	for i := range g.Writes {
		w := &g.Writes[i]
		if w.Outcome != Pending || w.queue == nil || w.queue.inFlight == w {
			continue
		}
		s.handBackWrite(now, w)
	}
}

// handBackWrite hands back a write that waits or was overtaken.
func (s *scheduler) handBackWrite(now time.Time, w *Write) {
	kq := w.queue
	kq.withdraw(w)
	s.waiting--
	s.settle(now, w, HandedBack, nil)
	s.retireOrPlace(kq, false)
	s.recount(kq.tenant, now)
}

// abandon hands back the unwritten writes of a group: those that wait at once, those in flight when they come back.
func (s *scheduler) abandon(now time.Time, g *Group) {
	if g.pending == 0 {
		return
	}
	g.abandoned = true
	s.handBack(now, g, Closed)
}

// drain makes stalled tenants hand back what they can, now and from here on, and suspended ones all.
func (s *scheduler) drain(now time.Time) {
	s.draining = true
	if s.barred > 0 {
		s.enforce(now)
	}
	for _, t := range s.tenants {
		if t.stalled(now) {
			s.handBackExcess(t, now)
		}
	}
}

// close hands everything back: the writes that wait at once, those in flight when their call comes back.
func (s *scheduler) close(now time.Time) {
	s.closed = true
	s.dissolve(now)
	for _, kq := range s.keyQueues {
		for w := kq.waiting.First(); w != nil; w = kq.waiting.First() {
			s.handBackWrite(now, w)
		}
		if f := kq.inFlight; f != nil {
			for f.overtook != nil {
				s.handBackWrite(now, f.overtook)
			}
		}
	}
}

package writer

import (
	"strings"
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/table"
	"tributary/internal/tenants"
)

// scheduler decides what is sent when. It is plain state: it has no lock, no goroutine and no clock. The Writer calls it under
// Writer.mu and passes the time.
//
//   - submit puts writes into the queues of their keys, and those into the queues of their tenants.
//   - nextCall makes a call of what is ready: round-robin over tenants, at most one write per key.
//   - apply gives every write of an answered call its outcome, or puts it back at the head of its queues.
//
// Nothing is ever searched for: a key queue is in its tenant's queue exactly when one of its writes waits, none is in flight,
// and it is not paused.
type scheduler struct {
	cfg       Config
	tenants   map[string]*tenant
	keyQueues map[table.Key]*keyQueue
	rings     [ringCount]ring
	retries   []*call     // parts of calls that failed as a whole; their writes still count as in flight
	doubt     doubt       // whether the table refuses single writes, or all
	sleeping  sleepers    // tenants that back off or are at their limits
	paused    []pausedKey // unsorted: there are few
	wakeAt    time.Time   // the earliest end of a tenant's backoff or a key queue's pause
	recent    []*keyQueue // a ring buffer: key queues in the order in which they became empty; some have writes again
	emptied   uint64      // how many times a key queue has become empty
	limiter   limiter
	calls     int // calls under way
	waiting   int // writes that are neither settled nor in flight
	submitted uint64
	held      int // writes that are not settled
	heldBytes int
	limited   int                // tenants that back off
	atLimit   int                // tenants whose buckets are empty
	barred    int                // tenants whose writes may not be written: suspended or erased
	era       *era               // the present one
	older     []*era             // earlier ones in which calls began that are under way
	buckets   map[string]*bucket // of limited tenants
	indexes   []int              // in how many indexes an item can be, by the position of its type
	batchLast bool               // the last call from a ring was a batch, so a conditional write may go before a full batch
	draining  bool               // stalled tenants hand back what they can
	closed    bool               // everything is handed back
	jitter    func() float64     // a random number in [0, 1)
	settled   []*Group           // since the Writer last collected them
	events    events             // since the Writer last collected them
}

// events is what metrics need to know of the scheduler's steps.
type events struct {
	unprocessed int
	throttled   []string // tenants, one entry per refusal
	limited     []string // tenants, one entry each time that one has used up its limit
}

func newScheduler(cfg Config, jitter func() float64) *scheduler {
	return &scheduler{
		cfg:       cfg,
		tenants:   map[string]*tenant{},
		keyQueues: map[table.Key]*keyQueue{},
		recent:    make([]*keyQueue, maxRecentKeys),
		limiter:   newLimiter(cfg.Writers),
		jitter:    jitter,
		era:       new(era),
		buckets:   map[string]*bucket{},
		indexes:   indexCounts(cfg.Types),
	}
}

// submit accepts a group. It refuses the whole group when one of its tenants is suspended, or is stalled and holds its share
// already.
func (s *scheduler) submit(now time.Time, g *Group) Admission {
	if refused := s.refuses(now, g); refused != Admitted {
		return refused
	}
	g.submitted, g.back, g.arrived, g.pending = true, Admitted, now, len(g.Writes)
	var t *tenant
	for i := range g.Writes {
		w := &g.Writes[i]
		c := &w.Command
		s.submitted++
		w.group, w.submitted = g, s.submitted
		if w.rank = c.Version; w.rank == 0 {
			w.rank = g.Received
		}
		bytes, units, cost := s.sizes(c)
		w.bytes, w.units, w.cost = int32(bytes), int32(units), int32(cost) //nolint:gosec // of an item of 400 KB
		if t == nil || t.id != c.TenantID {
			if t != nil {
				s.recount(t, now)
			}
			t = s.tenant(c.TenantID, now)
		}
		t.units += cost
		t.held++
		t.heldBytes += bytes
		s.held++
		s.heldBytes += bytes
		s.waiting++
		key := table.KeyOf(c)
		kq := s.keyQueues[key]
		if kq == nil {
			kq = s.newKeyQueue(w, key, t)
		}
		kq.tenant = t // an empty key queue may have outlived its first tenant state
		if t.verdict == tenants.Drop && !s.keepToErase(now, w, kq) {
			continue
		}
		if w.was == nil && !w.Versioned() && w.rank > 0 && w.rank < kq.writtenRank {
			w.queue = kq
			s.waiting--
			s.settle(now, w, Superseded, nil)
			continue
		}
		kq.add(w)
		s.place(kq, false)
	}
	if t != nil {
		s.recount(t, now)
	}
	return Admitted
}

// sizes returns the bytes of a command's item, the write units that it costs the table, and those with the indexes.
func (s *scheduler) sizes(c *messages.Command) (bytes, units, cost int) {
	bytes = table.Size(c)
	units = max(1, (bytes+limits.DynamoDBWriteUnitBytes-1)/limits.DynamoDBWriteUnitBytes)
	return bytes, units, units * (1 + s.indexesOf(c))
}

// refuses says whether a group is refused, and why.
func (s *scheduler) refuses(now time.Time, g *Group) Admission {
	switch {
	case s.closed:
		return Closed
	case g.back == Suspended || s.era.suspends && s.suspends(now, g):
		s.bringBack(now, g.Later)
		return Suspended
	case !g.Hold && s.limited+s.atLimit > 0 && s.scarce():
		refused := s.overShare(g, now)
		if refused == Limited {
			s.giveTurn(g, now)
		}
		return refused
	}
	return Admitted
}

// newKeyQueue makes the queue of a key. It may outlive its first write by far, so it must not keep the message in memory,
// neither by its strings nor as a part of a write among many.
func (s *scheduler) newKeyQueue(w *Write, key table.Key, t *tenant) *keyQueue {
	kq := &w.ownQueue
	if len(w.group.Writes) > 1 {
		kq = new(keyQueue)
	}
	key.TenantID, key.ID = t.id, strings.Clone(key.ID)
	kq.key = key
	s.keyQueues[key] = kq
	return kq
}

func (s *scheduler) tenant(id string, now time.Time) *tenant {
	t := s.tenants[id]
	if t == nil {
		t = &tenant{id: strings.Clone(id)} // a substring would keep the message in memory
		for i := range t.queues {
			t.queues[i].tenant, t.queues[i].ring = t, &s.rings[i]
		}
		s.tenants[t.id] = t
		if s.era.rules.Len() > 0 {
			s.judge(t, now)
		}
	}
	return t
}

// scarce reports whether half of the room is taken. From then on others could soon miss what a stalled tenant holds.
func (s *scheduler) scarce() bool {
	return s.draining || s.held > s.cfg.MaxInFlight/2 || s.heldBytes > s.cfg.MaxInFlightBytes/2
}

// share returns how much a stalled tenant may hold. All tenants that back off or are at their limits may together hold half of
// the room. The other half is left to the rest.
func (s *scheduler) share() (commands, bytes int) {
	if s.draining {
		return 0, 0
	}
	n := max(1, s.limited+s.atLimit)
	return max(1, min(s.cfg.TenantShare, s.cfg.MaxInFlight/2/n)), max(1, min(s.cfg.TenantShareBytes, s.cfg.MaxInFlightBytes/2/n))
}

// overShare says whether the group is refused because a stalled tenant would hold more than its share with it.
func (s *scheduler) overShare(g *Group, now time.Time) Admission {
	commands, bytes := s.share()
	var t *tenant
	n, b := 0, 0
	for i := range g.Writes {
		c := &g.Writes[i].Command
		if t == nil || t.id != c.TenantID {
			if t = s.tenants[c.TenantID]; t == nil {
				continue
			}
			n, b = 0, 0
		}
		n++
		b += table.Size(c)
		// A tenant that holds nothing is always let in, however large the message.
		if t.stalled(now) && (s.draining || t.held > 0 && (t.held+n > commands || t.heldBytes+b > bytes)) {
			if t.overLimit(now) {
				return Limited
			}
			return Stalled
		}
	}
	return Admitted
}

// place puts a key queue into its tenant's queue for the ring of its first write, or takes it out, as its state demands.
func (s *scheduler) place(kq *keyQueue, front bool) {
	var q *tenantQueue
	if first := kq.waiting.First(); first != nil && kq.inFlight == nil && !kq.paused {
		ring := batchRing
		if first.Versioned() {
			ring = conditionalRing
		}
		q = &kq.tenant.queues[ring]
	}
	if kq.tenantQueue == q {
		return
	}
	if kq.tenantQueue != nil {
		kq.tenantQueue.remove(kq)
	}
	switch {
	case q == nil:
	case front:
		q.pushFront(kq)
	default:
		q.pushBack(kq)
	}
}

// retireOrPlace updates a key queue after one of its writes has left it or come back.
func (s *scheduler) retireOrPlace(kq *keyQueue, front bool) {
	if kq.empty() {
		s.retire(kq)
	}
	s.place(kq, front)
}

// maxRecentKeys bounds how many idle keys keep the rank of their last write. A slow ReceiveMessage answer can deliver a write
// older than the one already in the table; the remembered rank lets the scheduler drop it. 4,096 covers several receives by
// every poller.
const maxRecentKeys = 4096

// retire forgets an empty key queue: at once, or after maxRecentKeys others have become empty.
func (s *scheduler) retire(kq *keyQueue) {
	if kq.writtenRank == 0 {
		delete(s.keyQueues, kq.key)
		return
	}
	s.emptied++
	kq.emptied = s.emptied
	slot := &s.recent[s.emptied%maxRecentKeys]
	if old := *slot; old != nil && old.emptied+maxRecentKeys == s.emptied && old.empty() {
		delete(s.keyQueues, old.key)
	}
	*slot = kq
}

// recount updates the rings to what a tenant may send now. It forgets a tenant that holds nothing and does not sleep.
func (s *scheduler) recount(t *tenant, now time.Time) {
	room := t.room(now)
	for i := range t.queues {
		q := &t.queues[i]
		q.ring.count(q, min(q.length, room), now)
	}
	if at := t.wakes(); now.Before(at) && s.sleeping.put(t, at) {
		s.wakeAt = earliest(s.wakeAt, at)
	}
	if (t.ruled || t.atLimit) && t.pausing(now) != t.atLimit {
		s.countAtLimit(t, !t.atLimit)
	}
	if t.held == 0 && !t.asleep {
		s.forget(t)
	}
}

// countAtLimit counts a tenant that has come to its limit, or has left it.
func (s *scheduler) countAtLimit(t *tenant, at bool) {
	if t.atLimit = at; at {
		s.atLimit++
	} else {
		s.atLimit--
	}
}

// forget drops the state of a tenant that holds nothing.
func (s *scheduler) forget(t *tenant) {
	if t.backingOff() {
		t.window = 0
		s.limited--
	}
	if t.atLimit {
		s.countAtLimit(t, false)
	}
	if t.verdict != tenants.Write {
		t.verdict = tenants.Write
		s.barred--
	}
	delete(s.tenants, t.id)
}

// wake ends the backoffs and pauses that are over at now.
func (s *scheduler) wake(now time.Time) {
	if s.wakeAt.IsZero() || now.Before(s.wakeAt) {
		return
	}
	for t := s.sleeping.pop(now); t != nil; t = s.sleeping.pop(now) {
		s.recount(t, now) // it sleeps again if its backoff is not over
	}
	s.wakeAt = s.sleeping.next()
	paused := s.paused
	s.paused = nil
	for _, p := range paused {
		if now.Before(p.until) {
			s.paused = append(s.paused, p)
			s.wakeAt = earliest(s.wakeAt, p.until)
			continue
		}
		kq := p.queue
		kq.paused = false
		if kq.waiting.First() != nil {
			s.place(kq, true)
			s.recount(kq.tenant, now)
		}
	}
}

// earliest returns the earlier of two times. The zero time means none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

package writer

import (
	"strings"
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/table"
)

// One item that makes DynamoDB fail must take no others down with it. After loneFailures calls that failed without
// saying why, a write is tried alone. When that fails too, and of all calls fewer than ownFault do, the write itself is at
// fault and not the table: from then on it flies alone, and its key rests between the tries, for longer each time.
const (
	loneFailures = 3
	ownFault     = 0.5
)

// call is what one goroutine of the pool sends: up to 25 unversioned writes, or one that is versioned, or a probe.
type call struct {
	writes      []*Write
	probe       *messages.Command // see doubt
	suspects    []suspect         // on which the probe decides
	conditional bool
	retried     bool // it was refused once as a whole
	started     time.Time
}

// answer is what became of a call.
type answer struct {
	verdict verdict
	left    []int           // verdict passed: the indexes of the writes that DynamoDB left over
	refusal *messages.Error // verdict invalid
}

// scheduler decides what flies when. It is plain state: it has no lock, no goroutine and no clock. The Writer
// calls it under its mutex and gives it the time.
//
//   - submit puts writes into the lines of their keys, and lines into the queues of their tenants.
//   - take makes the next call of what is ready: round-robin over tenants, one write a key.
//   - apply gives every write of a call its outcome, or puts it back at the head of its line and queue.
//
// A line stands in its tenant's queue exactly when it has a write that waits, none that flies, and does not rest, so
// nothing is ever searched for.
type scheduler struct {
	cfg       Config
	tenants   map[string]*tenant
	lines     map[table.Key]*line
	lanes     [lanes]lane
	retries   []*call   // parts of calls that failed as a whole: their writes still count as flying
	doubt     doubt     // whether the table refuses single writes, or all
	sleepers  []*tenant // who back off, unsorted: few do
	resting   []*line   // whose write is at fault, unsorted
	wakeAt    time.Time // the earliest end of a tenant's backoff or a line's rest
	recent    []*line   // a ring: lines that became empty, in this order, some of them no longer so
	retired   uint64    // how many times a line has become empty
	limiter   limiter
	flying    int // calls under way
	waiting   int // writes that are neither settled nor flying
	submitted uint64
	held      int // writes that are not settled
	heldBytes int
	limited   int // tenants that back off
	odd       bool
	draining  bool // stalled tenants hand back what they can
	closed    bool // everything is handed back
	jitter    func() float64
	settled   []*Group // since they were last collected
	events    events
}

// events counts what the scheduler saw, for metrics; the Writer collects it after every step.
type events struct {
	unprocessed int
	throttled   []string // tenants, once a refusal
}

func newScheduler(cfg Config, jitter func() float64) *scheduler {
	return &scheduler{
		cfg:     cfg,
		tenants: map[string]*tenant{},
		lines:   map[table.Key]*line{},
		recent:  make([]*line, recentLines),
		limiter: newLimiter(cfg.Writers),
		jitter:  jitter,
	}
}

// submit takes a group in, or refuses it whole because a tenant of it is stalled and holds its share already.
func (s *scheduler) submit(now time.Time, g *Group) bool {
	if s.closed || (!g.Hold && s.limited > 0 && s.scarce() && s.overShare(g, now)) {
		return false
	}
	g.pending = len(g.Writes)
	var t *tenant
	for i := range g.Writes {
		w := &g.Writes[i]
		c := &w.Command
		s.submitted++
		w.group, w.bytes, w.arrived, w.submitted = g, table.Size(c), now, s.submitted
		if w.rank = c.Version; w.rank == 0 {
			w.rank = g.Received
		}
		w.units = max(1, (w.bytes+limits.DynamoDBWriteUnitBytes-1)/limits.DynamoDBWriteUnitBytes)
		if t == nil || t.id != c.TenantID {
			if t != nil {
				s.recount(t, now)
			}
			t = s.tenant(c.TenantID)
		}
		t.held++
		t.heldBytes += w.bytes
		s.held++
		s.heldBytes += w.bytes
		s.waiting++
		key := table.KeyOf(c)
		l := s.lines[key]
		if l == nil {
			l = s.line(w, key, t)
		}
		l.tenant = t // an empty line may have outlived the tenant that it began with
		if !w.Versioned() && w.rank > 0 && w.rank < l.landed {
			w.line = l
			s.waiting--
			s.settle(now, w, Superseded, nil)
			continue
		}
		l.add(w)
		s.enqueue(l, false)
	}
	if t != nil {
		s.recount(t, now)
	}
	return true
}

// line makes the line of a key. It may stay for long after the write that began it is settled, and must not keep the message
// in memory: neither by its strings nor by being part of a write of many.
func (s *scheduler) line(w *Write, key table.Key, t *tenant) *line {
	l := &w.own
	if len(w.group.Writes) > 1 {
		l = new(line)
	}
	key.TenantID, key.ID = t.id, strings.Clone(key.ID)
	l.key = key
	s.lines[key] = l
	return l
}

func (s *scheduler) tenant(id string) *tenant {
	t := s.tenants[id]
	if t == nil {
		t = &tenant{id: strings.Clone(id)} // not to keep the message in memory
		for i := range t.queues {
			t.queues[i].tenant, t.queues[i].lane = t, &s.lanes[i]
		}
		s.tenants[id] = t
	}
	return t
}

// scarce says that what a stalled tenant holds could soon be missing elsewhere: half of the room is taken.
func (s *scheduler) scarce() bool {
	return s.draining || s.held > s.cfg.MaxInFlight/2 || s.heldBytes > s.cfg.MaxInFlightBytes/2
}

// share is what a stalled tenant may hold. All who back off together may hold half of the room, so that the other half
// is left to those who don't.
func (s *scheduler) share() (commands, bytes int) {
	if s.draining {
		return 0, 0
	}
	n := max(1, s.limited)
	return max(1, min(s.cfg.TenantShare, s.cfg.MaxInFlight/2/n)), max(1, min(s.cfg.TenantShareBytes, s.cfg.MaxInFlightBytes/2/n))
}

func (s *scheduler) overShare(g *Group, now time.Time) bool {
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
			return true
		}
	}
	return false
}

// enqueue puts a line into its tenant's queue for the lane of its first write, or takes it out, as its state demands.
func (s *scheduler) enqueue(l *line, front bool) {
	var q *queue
	if l.first != nil && l.flying == nil && !l.resting {
		lane := laneBatch
		if l.first.Versioned() {
			lane = laneConditional
		}
		q = &l.tenant.queues[lane]
	}
	if l.queue == q {
		return
	}
	if l.queue != nil {
		l.queue.remove(l)
	}
	switch {
	case q == nil:
	case front:
		q.pushFront(l)
	default:
		q.pushBack(l)
	}
}

// recount brings the lanes up to date with what a tenant may fly now, and forgets a tenant that has nothing left.
func (s *scheduler) recount(t *tenant, now time.Time) {
	room := t.room(now)
	for i := range t.queues {
		q := &t.queues[i]
		q.lane.count(q, min(q.length, room), now)
	}
	if !t.asleep && now.Before(t.notBefore) {
		t.asleep = true
		s.sleepers = append(s.sleepers, t)
		s.wakeAt = earliest(s.wakeAt, t.notBefore)
	}
	if t.held == 0 && !t.asleep {
		if t.backingOff() {
			t.window = 0
			s.limited--
		}
		delete(s.tenants, t.id)
	}
}

// wake lets tenants fly again whose backoff has passed, and lines whose rest has.
func (s *scheduler) wake(now time.Time) {
	if s.wakeAt.IsZero() || now.Before(s.wakeAt) {
		return
	}
	s.wakeAt = time.Time{}
	sleepers, resting := s.sleepers, s.resting
	s.sleepers, s.resting = nil, nil
	for _, t := range sleepers {
		t.asleep = false
		s.recount(t, now)
	}
	for _, l := range resting {
		if now.Before(l.notBefore) {
			s.resting = append(s.resting, l)
			s.wakeAt = earliest(s.wakeAt, l.notBefore)
			continue
		}
		l.resting = false
		if l.first != nil {
			s.enqueue(l, true)
			s.recount(l.tenant, now)
		}
	}
}

// earliest is the earlier of two times, of which the zero time is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// kind is where the next call comes from.
type kind uint8

const (
	nothing kind = iota
	probe
	retried
	conditional
	batch
)

// due says what the next call would be made of at now; where there is nothing, when to ask again unless something
// happens before (zero: only then).
func (s *scheduler) due(now time.Time) (kind, time.Time) {
	if s.closed {
		return nothing, time.Time{}
	}
	s.wake(now)
	if !s.limiter.allows(s.flying, now) {
		if s.flying == 0 {
			return nothing, s.limiter.notBefore
		}
		return nothing, time.Time{} // a call that comes back asks
	}
	probing, next := s.doubt.due(now)
	switch {
	case probing:
		return probe, time.Time{}
	case s.doubt.refusing:
		return nothing, next
	}
	next = earliest(s.wakeAt, next)
	b := &s.lanes[laneBatch]
	full := b.ready >= limits.DynamoDBBatchWrites || b.ready > 0 && (s.flying == 0 || !now.Before(b.since.Add(s.cfg.Linger)))
	switch {
	case len(s.retries) > 0:
		return retried, time.Time{}
	case s.lanes[laneConditional].ready > 0 && (!full || s.odd):
		return conditional, time.Time{}
	case full:
		return batch, time.Time{}
	case b.ready > 0:
		return nothing, earliest(next, b.since.Add(s.cfg.Linger))
	}
	return nothing, next
}

// take makes the next call, or returns nil and when to ask again as due does.
func (s *scheduler) take(now time.Time) (*call, time.Time) {
	k, next := s.due(now)
	var c *call
	switch k {
	case nothing:
		return nil, next
	case probe:
		c = s.doubt.take()
	case retried:
		c = s.retries[0]
		s.retries[0] = nil
		s.retries = s.retries[1:]
	case conditional:
		c = s.gather(laneConditional, 1, now)
		s.odd = false
	case batch:
		c = s.gather(laneBatch, limits.DynamoDBBatchWrites, now)
		s.lanes[laneBatch].since = now
		s.odd = true
	}
	c.started = now
	s.flying++
	return c, time.Time{}
}

// gather takes up to n writes out of a lane, in the order of its round-robin.
func (s *scheduler) gather(lane, n int, now time.Time) *call {
	ln := &s.lanes[lane]
	c := &call{conditional: lane == laneConditional, writes: make([]*Write, 0, min(n, ln.ready))}
	for len(c.writes) < n && ln.ready > 0 {
		q := ln.turn()
		t, l := q.tenant, q.head
		w := l.first
		if w.alone && len(c.writes) > 0 {
			break
		}
		q.remove(l)
		l.unlink(w)
		l.flying = w
		w.group.flying++
		t.inFlight++
		s.waiting--
		q.deficit -= w.units
		c.writes = append(c.writes, w)
		if q.deficit <= 0 {
			ln.pass(q)
		}
		s.recount(t, now)
		if w.alone {
			break
		}
	}
	return c
}

// apply gives the writes of a call their outcomes.
func (s *scheduler) apply(now time.Time, c *call, a answer) {
	s.flying--
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
		s.land(now, c.writes[0], outcome, nil)
		s.wrote(c.writes[0].line.tenant, 1, now)
	case spoiled:
		s.limiter.succeeded()
		s.land(now, c.writes[0], Refused, a.refusal)
	case invalid:
		s.limiter.succeeded()
		switch half := len(c.writes) / 2; {
		case s.closed || s.doubt.refusing:
			s.putAllBack(now, c.writes)
		case half == 0:
			s.doubt.suspects = append(s.doubt.suspects, suspect{c.writes[0], a.refusal})
		default:
			s.retry(now, &call{writes: c.writes[:half]}, &call{writes: c.writes[half:]})
		}
	case throttledTenant:
		s.limiter.succeeded() // the table is well
		if parts := byTenant(c.writes); len(parts) > 1 {
			if !c.retried {
				parts = []*call{{writes: c.writes, retried: true}}
			}
			s.retry(now, parts...)
			break
		}
		t := c.writes[0].line.tenant
		s.putAllBack(now, c.writes)
		s.throttled(t, len(c.writes), now)
	case throttledTable:
		s.limiter.failed(c.started, now, s.jitter())
		s.putAllBack(now, c.writes)
	case trouble:
		if w := c.writes[0]; len(c.writes) == 1 && w.failures >= loneFailures && (w.alone || s.limiter.share < ownFault) {
			if s.limiter.failures > 0 { // nothing has passed since another failure: it may be the table after all
				s.limiter.failed(c.started, now, s.jitter())
			}
			s.rest(now, w)
			break
		}
		s.limiter.failed(c.started, now, s.jitter())
		for i := len(c.writes) - 1; i >= 0; i-- {
			w := c.writes[i]
			w.failures++
			w.group.touched = true // it may have been written
			if w.failures >= loneFailures && len(c.writes) > 1 {
				s.retry(now, &call{writes: c.writes[i : i+1 : i+1], conditional: c.conditional})
				continue
			}
			s.putBack(now, w)
		}
	}
}

// passed settles a call that DynamoDB carried out but for the writes whose indexes are in left.
func (s *scheduler) passed(now time.Time, c *call, left []int) {
	if len(left) == 0 {
		for _, w := range c.writes {
			t := w.line.tenant
			s.land(now, w, Written, nil)
			if t.window > 0 || t.refused > 0.01 {
				s.wrote(t, 1, now)
			}
		}
		return
	}
	s.events.unprocessed += len(left)
	over := make([]bool, len(c.writes))
	for _, i := range left {
		over[i] = true
	}
	for i, w := range c.writes {
		if !over[i] {
			t := w.line.tenant
			s.land(now, w, Written, nil)
			s.wrote(t, 1, now)
		}
	}
	refused := map[*tenant]int{}
	for i := len(c.writes) - 1; i >= 0; i-- {
		if w := c.writes[i]; over[i] {
			refused[w.line.tenant]++
			s.putBack(now, w)
		}
	}
	for t, n := range refused {
		s.throttled(t, n, now)
	}
}

// wrote notes that writes of a tenant passed.
func (s *scheduler) wrote(t *tenant, n int, now time.Time) {
	limited := t.backingOff()
	t.wrote(n)
	if limited && !t.backingOff() {
		s.limited--
	}
	s.recount(t, now)
}

// throttled lets a tenant back off, and hands back what it holds beyond its share.
func (s *scheduler) throttled(t *tenant, n int, now time.Time) {
	s.events.throttled = append(s.events.throttled, t.id)
	if t.held == 0 && s.tenants[t.id] != t {
		return // all that it held was handed back while it flew
	}
	if !t.backingOff() {
		s.limited++
	}
	t.throttled(n, now, s.jitter())
	if t.stalled(now) && s.scarce() {
		s.shed(t, now)
	}
	s.recount(t, now)
}

// shed hands back whole groups, the last received first, until the tenant holds no more than its share. Groups
// that must be held, that are touched or of which something flies are left.
func (s *scheduler) shed(t *tenant, now time.Time) {
	commands, bytes := s.share()
	for i := range t.queues {
		q := &t.queues[i]
		for l := q.tail; l != nil && (t.held > commands || t.heldBytes > bytes); {
			g := l.last.group
			prev := l.prev
			if g.Hold || g.touched || g.flying > 0 {
				l = prev
				continue
			}
			s.handBack(now, g)
			if l.queue != q { // else what was overtaken stands in its place
				l = prev
			}
			if l != nil && l.queue != q { // it held another write of the group
				l = q.tail
			}
		}
	}
}

// handBack settles what still waits of a group as handed back.
func (s *scheduler) handBack(now time.Time, g *Group) {
	for i := range g.Writes {
		w := &g.Writes[i]
		l := w.line
		if w.Outcome != Pending || l == nil || l.flying == w {
			continue
		}
		t := l.tenant
		// An overtaken write's superior flies or waits; either way the line itself stays as it is.
		l.withdraw(w)
		s.waiting--
		s.settle(now, w, HandedBack, nil)
		s.tidy(l, false)
		s.recount(t, now)
	}
}

// putBack returns a write that flew to the head of its line and of its tenant's queue.
func (s *scheduler) putBack(now time.Time, w *Write) {
	l := w.line
	s.alight(l, w)
	if s.closed || w.group.abandoned {
		s.disinherit(l, w)
		s.settle(now, w, HandedBack, nil)
	} else {
		s.waiting++
		l.putBack(w)
	}
	s.tidy(l, true)
	s.recount(l.tenant, now)
}

// putAllBack puts the writes of a call back in their order.
func (s *scheduler) putAllBack(now time.Time, writes []*Write) {
	for i := len(writes) - 1; i >= 0; i-- {
		s.putBack(now, writes[i])
	}
}

// rest puts back a write that has failed alone while others pass, and lets its key rest.
func (s *scheduler) rest(now time.Time, w *Write) {
	longest := min(backoffMax, backoffBase<<min(w.failures-loneFailures, 10))
	w.failures++
	w.alone, w.group.touched = true, true // it may have been written
	l := w.line
	l.resting, l.notBefore = true, now.Add(longest/2+time.Duration(s.jitter()*float64(longest/2)))
	s.resting = append(s.resting, l)
	s.wakeAt = earliest(s.wakeAt, l.notBefore)
	s.putBack(now, w)
}

// land settles a write that flew, and with it what it had overtaken; where it was refused, what it had overtaken
// comes back.
func (s *scheduler) land(now time.Time, w *Write, o Outcome, refusal *messages.Error) {
	l := w.line
	s.alight(l, w)
	switch {
	case o == Refused:
		s.disinherit(l, w)
	case !w.Versioned():
		l.landed = max(l.landed, w.rank)
	}
	over := w.over
	w.over = nil
	s.settle(now, w, o, refusal)
	for over != nil {
		next := over.over
		over.over, over.by = nil, nil
		s.waiting--
		s.settle(now, over, Superseded, nil)
		over = next
	}
	s.tidy(l, false)
	s.recount(l.tenant, now)
}

func (s *scheduler) alight(l *line, w *Write) {
	l.flying = nil
	l.tenant.inFlight--
	w.group.flying--
}

// disinherit puts what w had overtaken into w's place.
func (s *scheduler) disinherit(l *line, w *Write) {
	heir := w.over
	if heir == nil {
		return
	}
	w.over, heir.by = nil, nil
	l.putBack(heir)
}

// tidy puts a line where it belongs after a change.
func (s *scheduler) tidy(l *line, front bool) {
	if l.empty() {
		s.retire(l)
	}
	s.enqueue(l, front)
}

// recentLines is for how many keys the order of what was written is remembered when nothing of theirs is here any more: a
// few rounds of receives by all pollers. An answer of SQS's that takes longer than another's may bring a write that was
// received before what is in the table already.
const recentLines = 4096

// retire forgets an empty line: at once, or when recentLines others have become empty after it.
func (s *scheduler) retire(l *line) {
	if l.landed == 0 {
		delete(s.lines, l.key)
		return
	}
	s.retired++
	l.retired = s.retired
	slot := &s.recent[s.retired%recentLines]
	if old := *slot; old != nil && old.retired+recentLines == s.retired && old.empty() {
		delete(s.lines, old.key)
	}
	*slot = l
}

func (s *scheduler) settle(now time.Time, w *Write, o Outcome, refusal *messages.Error) {
	w.Outcome, w.Refusal, w.SettledAt = o, refusal, now
	t, g := w.line.tenant, w.group
	t.held--
	t.heldBytes -= w.bytes
	s.held--
	s.heldBytes -= w.bytes
	if o != HandedBack {
		g.touched = true
	}
	w.group = nil // the line of its key may be part of it, and outlives the message
	if g.pending--; g.pending == 0 {
		s.settled = append(s.settled, g)
	}
}

// retry sets calls aside that are sent before anything else. Their writes count as flying.
func (s *scheduler) retry(now time.Time, calls ...*call) {
	s.retries = append(s.retries, calls...)
	if s.closed || s.doubt.refusing {
		s.dissolve(now)
	}
}

// dissolve puts back what was set aside to be sent or judged before anything else.
func (s *scheduler) dissolve(now time.Time) {
	retries, suspects := s.retries, s.doubt.suspects
	s.retries, s.doubt.suspects = nil, nil
	for _, c := range retries {
		s.putAllBack(now, c.writes)
	}
	for _, x := range suspects {
		s.putBack(now, x.write)
	}
}

// byTenant splits writes into calls of one tenant each, which were refused as part of a whole already.
func byTenant(writes []*Write) []*call {
	var parts []*call
	at := map[*tenant]int{}
	for _, w := range writes {
		t := w.line.tenant
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

// abandon hands back what is not written of a group: at once what waits, and what flies when it comes back.
func (s *scheduler) abandon(now time.Time, g *Group) {
	if g.pending == 0 {
		return
	}
	g.abandoned = true
	s.handBack(now, g)
}

// drain makes stalled tenants hand back what they can, now and from here on.
func (s *scheduler) drain(now time.Time) {
	s.draining = true
	for _, t := range s.tenants {
		if t.stalled(now) {
			s.shed(t, now)
		}
	}
}

// close hands everything back: at once what waits, and what flies when its call comes back.
func (s *scheduler) close(now time.Time) {
	s.closed = true
	s.dissolve(now)
	for _, l := range s.lines {
		for w := l.first; w != nil; w = l.first {
			s.handBackLine(now, l, w)
		}
		if f := l.flying; f != nil {
			for f.over != nil {
				s.handBackLine(now, l, f.over)
			}
		}
	}
}

func (s *scheduler) handBackLine(now time.Time, l *line, w *Write) {
	l.withdraw(w)
	s.waiting--
	s.settle(now, w, HandedBack, nil)
	s.tidy(l, false)
	s.recount(l.tenant, now)
}

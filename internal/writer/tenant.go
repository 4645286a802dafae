package writer

import "time"

// Two lanes: writes without versions share calls, versioned ones have a call each.
const (
	laneBatch = iota
	laneConditional
	lanes
)

// A tenant whose leftovers or key range are throttled backs off: it waits for a random part of a time that
// doubles with every refusal in a row (full jitter), and afterwards flies no more writes at once than its window
// has room for. The window shrinks with a refusal, grows with every write, and is forgotten when it is wide again.
const (
	backoffBase = 25 * time.Millisecond
	backoffMax  = 3 * time.Second
	windowFloor = 4    // while some of the tenant's writes pass
	windowWide  = 1024 // beyond this the tenant is limited no more
)

// A tenant that backs off is stalled, and may hold only its share, when it can't use more: half of its writes or more
// are refused, or they wait for long although most pass, because more arrive than its partition takes. A stray leftover,
// or a tenant of which each fiftieth write is refused, is no reason to hand messages back.
const (
	stalledRefusals = 0.5
	stalledWait     = 2 * time.Second
	refusedWeight   = 1.0 / 16 // of one write in the running average
)

// tenant is what the scheduler knows of one tenant.
type tenant struct {
	id        string
	queues    [lanes]queue
	held      int // writes that are here, those overtaken included
	heldBytes int
	inFlight  int
	window    int       // most writes in flight, 0: no limit. A tenant with a window backs off.
	refusals  int       // in a row, with no write in between
	refused   float64   // share of its writes that were refused: a running average
	notBefore time.Time // nothing flies before
	asleep    bool      // it is among the scheduler's sleepers
}

// backingOff says that the tenant's flights are limited.
func (t *tenant) backingOff() bool { return t.window > 0 }

// stalled says that the tenant may hold only its share.
func (t *tenant) stalled(now time.Time) bool {
	if !t.backingOff() {
		return false
	}
	if t.refused >= stalledRefusals {
		return true
	}
	for i := range t.queues {
		if l := t.queues[i].head; l != nil && now.Sub(l.first.arrived) > stalledWait {
			return true
		}
	}
	return false
}

// throttled notes that n writes of the tenant were refused at now. jitter is in [0, 1).
func (t *tenant) throttled(n int, now time.Time, jitter float64) {
	for range n {
		t.refused += (1 - t.refused) * refusedWeight
	}
	floor := windowFloor
	if t.refusals > 0 {
		floor = 1
	}
	flying := t.inFlight
	if t.window > 0 {
		flying = min(flying, t.window)
	}
	t.window = max(floor, flying*7/10)
	longest := backoffMax
	if t.refusals < 10 {
		longest = min(backoffMax, backoffBase<<t.refusals)
	}
	t.refusals++
	t.notBefore = now.Add(time.Duration(jitter * float64(longest)))
}

// wrote notes that n writes of the tenant passed.
func (t *tenant) wrote(n int) {
	t.refusals = 0
	for range n {
		t.refused -= t.refused * refusedWeight
	}
	if t.window == 0 {
		return
	}
	if t.window += n; t.window > windowWide {
		t.window = 0
	}
}

// room is how many writes more may fly at now.
func (t *tenant) room(now time.Time) int {
	switch {
	case now.Before(t.notBefore):
		return 0
	case t.window == 0:
		return int(^uint(0) >> 1)
	}
	return max(0, t.window-t.inFlight)
}

// queue is the lines of one tenant that have a write to fly, in one lane.
type queue struct {
	tenant  *tenant
	lane    *lane
	head    *line
	tail    *line
	length  int
	deficit int // write units that it may still take in this round
	counted int // what it adds to lane.ready
	prev    *queue
	next    *queue // its neighbours in the lane's ring; nil: not in the ring
}

func (q *queue) pushBack(l *line) {
	l.queue, l.prev, l.next = q, q.tail, nil
	if q.tail == nil {
		q.head = l
	} else {
		q.tail.next = l
	}
	q.tail = l
	q.length++
}

func (q *queue) pushFront(l *line) {
	l.queue, l.prev, l.next = q, nil, q.head
	if q.head == nil {
		q.tail = l
	} else {
		q.head.prev = l
	}
	q.head = l
	q.length++
}

func (q *queue) remove(l *line) {
	if l.prev == nil {
		q.head = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		q.tail = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.queue, l.prev, l.next = nil, nil, nil
	q.length--
}

// quantum is how many write units a tenant takes in its turn: few, so that tenants interleave, and enough that
// a tenant of large items does not send the round-robin around hundreds of times.
const quantum = 8

// lane is the ring of the tenants that have something to fly now, served by deficit round-robin in write units.
type lane struct {
	cursor *queue
	ready  int       // writes that could fly now
	since  time.Time // when ready last rose from 0, or when a call last left some of them behind
}

// count sets what q adds to ready, and puts it into the ring or takes it out.
func (ln *lane) count(q *queue, n int, now time.Time) {
	if n == q.counted {
		return
	}
	if ln.ready == 0 {
		ln.since = now
	}
	ln.ready += n - q.counted
	q.counted = n
	switch {
	case n > 0 && q.next == nil:
		if ln.cursor == nil {
			q.prev, q.next = q, q
			ln.cursor = q
			return
		}
		q.prev, q.next = ln.cursor.prev, ln.cursor
		q.prev.next, q.next.prev = q, q
	case n == 0 && q.next != nil:
		if ln.cursor == q {
			ln.cursor = q.next
		}
		if q.next == q {
			ln.cursor = nil
		}
		q.prev.next, q.next.prev = q.next, q.prev
		q.prev, q.next = nil, nil
		q.deficit = min(q.deficit, 0) // who has nothing to send saves nothing
	}
}

// turn is the queue whose turn it is. There is one whenever ready is over 0.
func (ln *lane) turn() *queue {
	for ln.cursor.deficit <= 0 {
		ln.cursor.deficit += quantum
		ln.cursor = ln.cursor.next
	}
	return ln.cursor
}

// pass ends q's turn.
func (ln *lane) pass(q *queue) {
	if ln.cursor == q {
		ln.cursor = q.next
	}
}

package writer

import (
	"time"

	"tributary/internal/base/list"
)

// There are two rings: unversioned writes share calls, and each versioned write has a call of its own.
const (
	batchRing = iota
	conditionalRing
	ringCount
)

// quantum is how many write units a tenant may send in one turn. It is small, so that tenants interleave. It is large enough
// that a tenant with large items does not send the round-robin around hundreds of times.
const quantum = 8

// ring is the tenants that have something to send now. It is served by deficit round-robin in write units. The scheduler owns
// it, under Writer.mu.
type ring struct {
	next  *tenantQueue // whose turn it is
	ready int          // writes that could be sent now
	since time.Time    // when ready last rose from 0, or when a call last left some of them behind
}

// tenantQueue is the key queues of one tenant that have a write to send through one ring. The scheduler owns it, under
// Writer.mu.
type tenantQueue struct {
	tenant  *tenant
	ring    *ring
	keys    list.List[keyQueue]
	length  int          // of keys
	deficit int          // write units that it may still send in this round
	counted int          // its part of ring.ready
	prev    *tenantQueue // its neighbours in the ring; nil: it is not in the ring
	next    *tenantQueue
}

func (q *tenantQueue) pushBack(kq *keyQueue) {
	kq.tenantQueue = q
	q.keys.PushBack(&kq.node, kq)
	q.length++
}

func (q *tenantQueue) pushFront(kq *keyQueue) {
	kq.tenantQueue = q
	q.keys.PushFront(&kq.node, kq)
	q.length++
}

func (q *tenantQueue) remove(kq *keyQueue) {
	kq.tenantQueue = nil
	q.keys.Remove(&kq.node)
	q.length--
}

// count sets q's part of ready to n, and puts q into the ring or takes it out.
func (r *ring) count(q *tenantQueue, n int, now time.Time) {
	if n == q.counted {
		return
	}
	if r.ready == 0 {
		r.since = now
	}
	r.ready += n - q.counted
	q.counted = n
	switch {
	case n > 0 && q.next == nil:
		if r.next == nil {
			q.prev, q.next = q, q
			r.next = q
			return
		}
		q.prev, q.next = r.next.prev, r.next
		q.prev.next, q.next.prev = q, q
	case n == 0 && q.next != nil:
		if r.next == q {
			r.next = q.next
		}
		if q.next == q {
			r.next = nil
		}
		q.prev.next, q.next.prev = q.next, q.prev
		q.prev, q.next = nil, nil
		q.deficit = min(q.deficit, 0) // a tenant with nothing to send saves no units
	}
}

// turn returns the queue whose turn it is. There is one whenever ready is over 0.
func (r *ring) turn() *tenantQueue {
	for r.next.deficit <= 0 {
		r.next.deficit += quantum
		r.next = r.next.next
	}
	return r.next
}

// endTurn passes q's turn on.
func (r *ring) endTurn(q *tenantQueue) {
	if r.next == q {
		r.next = q.next
	}
}

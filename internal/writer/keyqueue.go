package writer

import (
	"time"

	"tributary/internal/base/list"
	"tributary/internal/table"
)

// keyQueue holds the writes to one key. At most one of them is in flight. The others wait in the order in which they were
// received. The scheduler owns it, under Writer.mu.
//
// Overtaking: when two writes of one kind follow each other, only the superior is sent. Between versioned writes the higher
// version is superior, between unversioned ones the later receive, whichever was submitted first. The other write stays
// attached to the superior (Write.overtook). It is settled once the superior is durable, and takes the superior's place when
// that one fails for good. A versioned write never overtakes an unversioned one, nor the reverse.
type keyQueue struct {
	key         table.Key
	tenant      *tenant
	inFlight    *Write
	waiting     list.List[Write]    // without the overtaken
	tenantQueue *tenantQueue        // the queue that it is in, or nil
	node        list.Node[keyQueue] // its place there

	writtenRank int64  // the rank of the last unversioned write that became durable; 0: none
	emptied     uint64 // scheduler.emptied when it last became empty
	paused      bool   // its write is at fault: nothing is sent until scheduler.paused says so
}

// pausedKey is the queue of a key that pauses, and until when.
type pausedKey struct {
	queue *keyQueue
	until time.Time
}

func (kq *keyQueue) empty() bool { return kq.waiting.First() == nil && kq.inFlight == nil }

// add puts a write that has just been received into the queue.
func (kq *keyQueue) add(w *Write) {
	w.queue = kq
	tail := kq.waiting.Last()
	if tail == nil {
		tail = kq.inFlight
	}
	switch {
	case tail == nil || tail.Versioned() != w.Versioned():
		kq.waiting.PushBack(&w.node, w)
	case tail.beats(w):
		attach(tail, w)
	case tail == kq.inFlight:
		kq.waiting.PushBack(&w.node, w)
	default:
		kq.waiting.Replace(&tail.node, &w.node, w)
		w.overtook, tail.overtakenBy = tail, w
	}
}

// putBack puts a write before all that wait: one that returns from a call, or one whose superior failed for good.
func (kq *keyQueue) putBack(w *Write) {
	head := kq.waiting.First()
	switch {
	case head == nil || head.Versioned() != w.Versioned():
		kq.waiting.PushFront(&w.node, w)
	case w.beats(head):
		kq.waiting.Replace(&head.node, &w.node, w)
		attach(w, head)
	default:
		attach(head, w)
	}
}

// beats reports whether w is superior to another write of its kind. Of equal versions the first stays.
func (w *Write) beats(other *Write) bool {
	if w.rank != other.rank {
		return w.rank > other.rank
	}
	return w.submitted > other.submitted != w.Versioned()
}

// attach adds w, and every write that w has overtaken, to those that superior has overtaken. The highest comes first.
func attach(superior, w *Write) {
	for w != nil {
		rest := w.overtook
		at := superior
		for at.overtook != nil && at.overtook.beats(w) {
			at = at.overtook
		}
		w.overtook = at.overtook
		if w.overtook != nil {
			w.overtook.overtakenBy = w
		}
		at.overtook, w.overtakenBy = w, at
		w = rest
	}
}

// detach removes an overtaken write from its superior's chain.
func detach(w *Write) {
	w.overtakenBy.overtook = w.overtook
	if w.overtook != nil {
		w.overtook.overtakenBy = w.overtakenBy
	}
	w.overtook, w.overtakenBy = nil, nil
}

// withdraw removes a write that waits or was overtaken. The newest write that it overtook takes its place.
func (kq *keyQueue) withdraw(w *Write) {
	if w.overtakenBy != nil {
		detach(w)
		return
	}
	next := w.overtook
	if next == nil {
		kq.waiting.Remove(&w.node)
		return
	}
	w.overtook, next.overtakenBy = nil, nil
	kq.waiting.Replace(&w.node, &next.node, next)
}

// promoteOvertaken puts the newest write that w overtook in w's place. w is no longer in the queue.
func (kq *keyQueue) promoteOvertaken(w *Write) {
	next := w.overtook
	if next == nil {
		return
	}
	w.overtook, next.overtakenBy = nil, nil
	kq.putBack(next)
}

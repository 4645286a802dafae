package consumer

import (
	"sync"
	"time"
)

// batcher gathers entries into batches of at most size and has them sent by at most most goroutines, which it
// starts when there is something to do. A part-filled batch waits for linger. What is added is bounded by who adds: every
// entry belongs to a delivery that is held.
type batcher[T any] struct {
	size   int
	most   int
	linger time.Duration
	send   func([]T) // owns the slice

	mu      sync.Mutex
	pending []T         // what waits is pending[next:]; guarded by mu
	next    int         // guarded by mu
	active  int         // goroutines that send; guarded by mu
	overdue bool        // linger has passed for what is pending; guarded by mu
	armed   bool        // the timer runs; guarded by mu
	timer   *time.Timer // guarded by mu
	closed  bool        // nothing waits any more; guarded by mu
	dropped bool        // nothing is taken any more; guarded by mu
	wg      sync.WaitGroup
}

func newBatcher[T any](size, most int, linger time.Duration, send func([]T)) *batcher[T] {
	return &batcher[T]{size: size, most: most, linger: linger, send: send}
}

func (b *batcher[T]) add(entries ...T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped {
		return
	}
	b.pending = append(b.pending, entries...)
	b.run()
}

// take removes the first n entries. Entries move down only when as many have been taken as are left, so that each moves
// once on average however many wait.
func (b *batcher[T]) take(n int) []T {
	batch := make([]T, n)
	copy(batch, b.pending[b.next:])
	clear(b.pending[b.next : b.next+n])
	if b.next += n; b.next >= len(b.pending)-b.next {
		rest := copy(b.pending, b.pending[b.next:])
		clear(b.pending[rest:])
		b.pending, b.next = b.pending[:rest], 0
	}
	return batch
}

func (b *batcher[T]) waiting() int { return len(b.pending) - b.next }

// run starts a goroutine if a batch is due, or sees to it that one is started when it will be.
func (b *batcher[T]) run() {
	switch {
	case b.due():
		if b.active < b.most {
			b.active++
			b.wg.Go(b.loop)
		}
	case b.waiting() > 0 && !b.armed:
		b.armed = true
		if b.timer == nil {
			b.timer = time.AfterFunc(b.linger, b.ring)
		} else {
			b.timer.Reset(b.linger)
		}
	}
}

func (b *batcher[T]) due() bool {
	return b.waiting() >= b.size || b.waiting() > 0 && (b.overdue || b.closed)
}

func (b *batcher[T]) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed, b.overdue = false, true
	b.run()
}

func (b *batcher[T]) loop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.due() {
		batch := b.take(min(b.waiting(), b.size))
		b.overdue = false // what is left has not waited long
		if b.armed && b.timer.Stop() {
			b.armed = false
		}
		b.run() // a second goroutine, if there is another batch
		b.mu.Unlock()
		b.send(batch)
		b.mu.Lock()
	}
	b.active--
	b.run()
}

// close sends what is pending without waiting for more, now and from here on, and returns when all is sent.
// Entries may still be added meanwhile by what is being sent.
func (b *batcher[T]) close() {
	b.mu.Lock()
	b.closed = true
	b.run()
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// drop forgets what is pending, and whatever is added from here on. What is being sent goes on.
func (b *batcher[T]) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped, b.pending, b.next = true, nil, 0
}

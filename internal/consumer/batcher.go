package consumer

import (
	"sync"
	"time"
)

// batcher gathers entries into batches of at most maxSize. At most maxSends goroutines send them; they are started when there is
// something to send. A batch that is not full waits for linger. The batcher needs no bound of its own: every entry belongs to a
// delivery that is held, and those are bounded.
type batcher[T any] struct {
	maxSize  int           // set once
	maxSends int           // set once
	linger   time.Duration // set once
	send     func([]T)     // set once; owns the slice that it is given

	mu      sync.Mutex
	pending []T         // pending[next:] waits; guarded by mu
	next    int         // guarded by mu
	active  int         // goroutines that send; guarded by mu
	overdue bool        // linger is over for the entries that wait; guarded by mu
	armed   bool        // the timer runs; guarded by mu
	timer   *time.Timer // guarded by mu
	closed  bool        // batches go without lingering; guarded by mu
	dropped bool        // entries are dropped; guarded by mu
	wg      sync.WaitGroup
}

func newBatcher[T any](maxSize, maxSends int, linger time.Duration, send func([]T)) *batcher[T] {
	return &batcher[T]{maxSize: maxSize, maxSends: maxSends, linger: linger, send: send}
}

// add adds entries. It never blocks.
func (b *batcher[T]) add(entries ...T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped {
		return
	}
	b.pending = append(b.pending, entries...)
	b.run()
}

// shift removes the first n entries and returns them. The others move down only when as many have been removed as are left, so
// that each entry moves once on average. The caller holds mu.
func (b *batcher[T]) shift(n int) []T {
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

// run starts a goroutine if a batch is due, and otherwise sets the timer for when it will be. The caller holds mu.
func (b *batcher[T]) run() {
	switch {
	case b.due():
		if b.active < b.maxSends {
			b.active++
			b.wg.Go(b.loop)
		}
	case b.waiting() > 0 && !b.armed:
		b.armed = true
		if b.timer == nil {
			b.timer = time.AfterFunc(b.linger, b.lingerOver)
		} else {
			b.timer.Reset(b.linger)
		}
	}
}

func (b *batcher[T]) due() bool {
	return b.waiting() >= b.maxSize || b.waiting() > 0 && (b.overdue || b.closed)
}

// lingerOver is the timer's function.
func (b *batcher[T]) lingerOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed, b.overdue = false, true
	b.run()
}

// loop sends batches as long as one is due.
func (b *batcher[T]) loop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.due() {
		batch := b.shift(min(b.waiting(), b.maxSize))
		b.overdue = false // the entries that are left have not waited long
		if b.armed && b.timer.Stop() {
			b.armed = false
		}
		b.run() // starts a second goroutine if another batch is due
		b.mu.Unlock()
		b.send(batch)
		b.mu.Lock()
	}
	b.active--
	b.run()
}

// close sends the entries that wait, without lingering, and returns when all are sent. A send under way may still add entries;
// they are sent too.
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

// drop drops the entries that wait, and all that are added later. Sends under way go on.
func (b *batcher[T]) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped, b.pending, b.next = true, nil, 0
}

package consumer

import (
	"sync"
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/base/list"
)

// held tracks the deliveries that are neither deleted, nacked nor left.
type held struct {
	mu       sync.Mutex
	list     list.List[delivery] // the listed ones, by deadline, the earliest first; guarded by mu
	retrying []*delivery         // guarded by mu
	count    int                 // guarded by mu
	commands int                 // of all deliveries; guarded by mu
	bytes    int                 // of all deliveries; guarded by mu
	awaited  bool                // drain waits for empty; guarded by mu
	closed   bool                // removals are ignored from here on; guarded by mu
	empty    chan struct{}       // closed by remove or close when drain waits; set by New
}

// add appends the deliveries of one receive.
func (h *held) add(ds []delivery) {
	h.mu.Lock()
	for i := range ds {
		h.append(&ds[i])
		h.commands += ds[i].commands
		h.bytes += ds[i].bytes
	}
	h.count += len(ds)
	h.mu.Unlock()
}

// append puts a delivery at the end of the list. The caller holds mu.
func (h *held) append(d *delivery) {
	d.state = listed
	h.list.PushBack(&d.node, d)
}

// unlist takes a delivery off the list, if it is on it. The caller holds mu and sets the new state.
func (h *held) unlist(d *delivery) {
	if d.state == listed {
		h.list.Remove(&d.node)
	}
}

// remove ends a delivery and reports whether it was held.
func (h *held) remove(d *delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.state == done || h.closed {
		return false
	}
	h.unlist(d)
	d.state = done
	h.commands -= d.commands
	h.bytes -= d.bytes
	if h.count--; h.count == 0 {
		h.signal()
	}
	return true
}

// signal lets drain return. The caller holds mu.
func (h *held) signal() {
	if h.awaited {
		h.awaited = false
		close(h.empty)
	}
}

// close lets drain return and returns how many deliveries are held. They stay so.
func (h *held) close() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.signal()
	return h.count
}

// shrink lowers the number of commands that a delivery counts for.
func (h *held) shrink(d *delivery, commands int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands -= d.commands - commands
	d.commands = commands
}

func (h *held) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// load returns the commands and bytes held.
func (h *held) load() (commands, bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commands, h.bytes
}

func (h *held) deadline(d *delivery) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return d.deadline
}

// drain waits until nothing is held, or until close. Nothing may be added from here on.
func (h *held) drain() {
	h.mu.Lock()
	if h.count == 0 || h.closed {
		h.mu.Unlock()
		return
	}
	h.awaited = true
	h.mu.Unlock()
	<-h.empty
}

// due returns the deliveries to extend at now: those with less than half of the timeout left, and those whose last extension
// failed. The caller must call extended for each. expired are those that SQS would no longer extend, because they have been
// in flight for nearly 12 hours. They stay held, unextended.
func (h *held) due(now time.Time, timeout time.Duration) (extend, expired []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	consider := func(d *delivery) {
		if now.Sub(d.receivedAt)+timeout > limits.SQSMaxVisibility {
			d.state = unextended
			expired = append(expired, d)
			return
		}
		d.state = extending
		extend = append(extend, d)
	}
	for _, d := range h.retrying {
		if d.state == retrying {
			consider(d)
		}
	}
	h.retrying = nil
	for d := h.list.First(); d != nil && d.deadline.Sub(now) < timeout/2; d = h.list.First() {
		h.list.Remove(&d.node)
		consider(d)
	}
	return extend, expired
}

// extension is the result of extending a delivery.
type extension uint8

const (
	renewed extension = iota // the timeout began anew
	retry                    // it failed; the next tick tries again
	lost                     // it failed for good
)

// extended records the result of an extension. deadline is the new one, if it was renewed. It reports whether the delivery must
// be nacked now: startNack was called while the extension was under way.
func (h *held) extended(d *delivery, result extension, deadline time.Time) (nack bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.state == done {
		return false
	}
	if result == renewed {
		d.deadline = deadline
	}
	if d.state == nackAfterExtending {
		d.state = nacking
		return true
	}
	switch result {
	case renewed:
		h.append(d)
	case retry:
		d.state = retrying
		h.retrying = append(h.retrying, d)
	case lost:
		d.state = unextended
	}
	return false
}

// startNack ends the extensions of a delivery, because a later one would hide the message again. It reports whether the
// delivery can be nacked now. If not, an extension is under way and extended will report it.
func (h *held) startNack(d *delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch d.state {
	case done:
		return false
	case extending, nackAfterExtending:
		d.state = nackAfterExtending
		return false
	}
	h.unlist(d)
	d.state = nacking
	return true
}

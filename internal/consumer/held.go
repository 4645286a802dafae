package consumer

import (
	"context"
	"sync"
	"time"

	"tributary/internal/aws/limits"
)

// held is the list of deliveries that are neither deleted, handed back nor left, by the time at which they become
// visible again, the earliest first.
type held struct {
	mu    sync.Mutex
	first *delivery   // guarded by mu
	last  *delivery   // guarded by mu
	again []*delivery // whose extension failed, beside the list: they are the most pressing; guarded by mu
	count int         // guarded by mu
	// What the deliveries carry.
	commands int  // guarded by mu
	bytes    int  // guarded by mu
	waited   bool // drain waits; guarded by mu
	closed   bool // nothing is taken out any more; guarded by mu
	empty    chan struct{}
}

// add appends deliveries of one receive.
func (h *held) add(ds []delivery) {
	h.mu.Lock()
	for i := range ds {
		h.push(&ds[i])
		h.commands += ds[i].commands
		h.bytes += ds[i].bytes
	}
	h.count += len(ds)
	h.mu.Unlock()
}

func (h *held) push(d *delivery) {
	d.listed = true
	d.prev, d.next = h.last, nil
	if h.last == nil {
		h.first = d
	} else {
		h.last.next = d
	}
	h.last = d
}

// unlist takes a delivery out of the list, if it is there.
func (h *held) unlist(d *delivery) {
	if !d.listed {
		return
	}
	d.listed = false
	if d.prev == nil {
		h.first = d.next
	} else {
		d.prev.next = d.next
	}
	if d.next == nil {
		h.last = d.prev
	} else {
		d.next.prev = d.prev
	}
	d.prev, d.next = nil, nil
}

// remove takes a delivery out and says whether it was there.
func (h *held) remove(d *delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.done || h.closed {
		return false
	}
	d.done = true
	h.unlist(d)
	h.commands -= d.commands
	h.bytes -= d.bytes
	if h.count--; h.count == 0 && h.waited {
		h.waited = false
		close(h.empty)
	}
	return true
}

// close ends the list, whatever is under way, and says how many deliveries are left in it.
func (h *held) close() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.waited {
		h.waited = false
		close(h.empty)
	}
	return h.count
}

// shrink says that a delivery carries no more than so many commands now.
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

// load is how many commands are held, and how many bytes.
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

// drain waits until nothing is held. Nothing may be added any more.
func (h *held) drain() {
	h.mu.Lock()
	if h.count == 0 {
		h.mu.Unlock()
		return
	}
	h.waited = true
	h.mu.Unlock()
	<-h.empty
}

// due takes out of the list what must be extended at now: what has less than half of the timeout left. Each comes back
// by extended. What has been held so long that SQS would not extend it any more is returned apart, and stays.
func (h *held) due(now time.Time, timeout time.Duration) (extend, expired []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	take := func(d *delivery) {
		if now.Sub(d.receivedAt)+timeout > limits.SQSMaxVisibility {
			expired = append(expired, d)
			return
		}
		d.extending = true
		extend = append(extend, d)
	}
	for _, d := range h.again {
		if !d.done && !d.leaving {
			take(d)
		}
	}
	h.again = nil
	for d := h.first; d != nil && d.deadline.Sub(now) < timeout/2; d = h.first {
		h.unlist(d)
		take(d)
	}
	return extend, expired
}

// extended ends an extension, which gave the delivery a new deadline (the one that it had: try again; zero: it failed,
// and is not tried again). It says whether the delivery is to be handed back now, because that was asked for meanwhile.
func (h *held) extended(d *delivery, deadline time.Time) (handBack bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.extending = false
	failed := deadline.Equal(d.deadline)
	if !deadline.IsZero() {
		d.deadline = deadline
	}
	switch {
	case d.done || d.leaving:
		return !d.done
	case failed:
		h.again = append(h.again, d)
	case !deadline.IsZero():
		h.push(d)
	}
	return false
}

// leave ends the extensions of a delivery that is to be handed back, for an extension after that would hide the
// message again. It says whether it can be handed back now; otherwise extended will say so.
func (h *held) leave(d *delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.leaving = true
	h.unlist(d)
	return !d.extending
}

// extend keeps messages invisible while they are held, until ctx ends.
func (c *Consumer) extend(ctx context.Context) {
	tick := time.NewTicker(max(100*time.Millisecond, c.cfg.VisibilityTimeout/16))
	defer tick.Stop()
	sends := newBatcher(limits.SQSBatchEntries, mostSends/4, 0, c.extendBatch)
	for {
		select {
		case <-ctx.Done():
			sends.close()
			return
		case <-tick.C:
		}
		extend, expired := c.held.due(time.Now(), c.cfg.VisibilityTimeout)
		if len(extend) > 0 {
			sends.add(extend...)
		}
		for _, d := range expired {
			c.log.Warn("message was held for 12 hours, the longest that SQS allows, and goes back to the queue", "message_id", d.message.ID)
			c.writer.Abandon(&d.Group)
		}
	}
}

func (c *Consumer) extendBatch(batch []*delivery) {
	changes := make([]Visibility, len(batch))
	for i, d := range batch {
		changes[i] = Visibility{d.message.ReceiptHandle, c.cfg.VisibilityTimeout}
	}
	started := time.Now()
	ctx, cancel := context.WithTimeout(c.calls, sendTimeout)
	failures, err := c.queue.ChangeVisibility(ctx, changes)
	cancel()
	if err != nil {
		c.log.Error("extend visibility failed", "messages", len(batch), "error", err)
		failures = all(len(batch))
	}
	now := time.Now()
	deadlines := make([]time.Time, len(batch))
	for i := range deadlines {
		deadlines[i] = started.Add(c.cfg.VisibilityTimeout)
	}
	for _, f := range failures {
		// A refusal that is final, or a receipt that has run out, means that the message is somebody else's or will
		// be. What it carries is written all the same, and deleting it may still succeed.
		deadlines[f.Index] = time.Time{}
		d := c.held.deadline(batch[f.Index])
		until := d
		if err != nil { // an extension whose answer was lost may have taken place
			until = d.Add(c.cfg.VisibilityTimeout)
		}
		if !f.Final && now.Before(until) {
			deadlines[f.Index] = d // the next tick tries again
		}
	}
	for i, d := range batch {
		if c.held.extended(d, deadlines[i]) {
			c.handBacks.add(d)
		}
	}
}

package consumer

import (
	"math/rand/v2"
	"time"
)

// GiveUp nacks the messages with these receipt handles as soon as that is safe: what waits to be written at once, what is part of
// a call when the call is answered, what waits for its letters before the next round. It returns how many of them are still
// undecided, which means that they may yet be written or dead-lettered. Those that are nacked or wait for their nack don't
// count. A message that was received a moment ago can escape, so the caller asks again until none is undecided.
func (c *Consumer) GiveUp(handles map[string]bool) (undecided int) {
	for _, d := range c.held.listed(handles) {
		d.givenUp.Store(true)
		c.writer.Abandon(&d.Group)
		if c.retries.take(d) {
			c.nack(d)
		}
	}
	return len(c.held.listed(handles))
}

// listed returns the deliveries with these receipt handles that are on the list. Those that are nacked are not.
func (h *held) listed(handles map[string]bool) []*delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []*delivery
	for d := h.list.First(); d != nil; d = d.node.Next() {
		if handles[d.message.ReceiptHandle] {
			found = append(found, d)
		}
	}
	return found
}

// NackDelay returns how long a message that was received so often stays invisible when it is nacked now.
func (c *Consumer) NackDelay(receives int) time.Duration {
	return nackDelay(receives, c.cfg.MaxReceives, rand.Float64())
}

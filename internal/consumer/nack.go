package consumer

import (
	"math/rand/v2"
	"time"

	"tributary/internal/aws/limits"
)

// nackUnwritten nacks a message whose commands the writer handed back or never took. Its bad commands are found again at the
// next receive.
func (c *Consumer) nackUnwritten(d *delivery) {
	d.bad = nil
	c.count(d)
	c.nack(d)
}

// nack makes a message visible again, as part of a batch. If an extension of it is under way, extendBatch nacks it instead.
func (c *Consumer) nack(d *delivery) {
	if c.held.startNack(d) {
		c.nacks.add(d)
	}
}

// nackChanges returns the visibility changes that nack a batch.
func (c *Consumer) nackChanges(batch []*delivery) []Visibility {
	changes := make([]Visibility, len(batch))
	for i, d := range batch {
		changes[i].ReceiptHandle = d.message.ReceiptHandle
		if !c.draining.Load() {
			changes[i].Timeout = nackDelay(d.message.ReceiveCount, c.cfg.MaxReceives, rand.Float64())
		}
	}
	return changes
}

// Bounds of the delay of a nacked message.
const (
	minNackDelay = time.Second
	maxNackDelay = 15 * time.Minute
)

// nackDelay returns how long a message that was received so often stays invisible when it is nacked. The delay doubles with
// each receive. It begins such that a minute of throttling takes at most a tenth of maxReceives (0: the queue has none), or one
// receive, which is always possible. jitter is in [0, 1) and only adds.
func nackDelay(receives, maxReceives int, jitter float64) time.Duration {
	first := minNackDelay
	if maxReceives > 0 {
		if n := max(1, maxReceives/10); n < 6 { // with 6, 1+2+4+8+16+32 s is a minute anyway
			first = (time.Minute / time.Duration(int(1)<<n-1)).Truncate(time.Second) + time.Second
		}
	}
	d := maxNackDelay
	if receives < 12 {
		d = min(d, first<<max(0, receives-1))
	}
	return min(maxNackDelay, d+time.Duration(jitter*float64(d)/2))
}

// SQS counts a delayed message as in flight, and a queue whose limit is reached gives nothing out. maxDelayed limits the
// messages that one worker delays. maxQueueInFlight limits those of the queue that are in flight, at all workers, while this
// worker delays another.
const (
	maxDelayed       = limits.SQSInFlight / 4
	maxQueueInFlight = limits.SQSInFlight / 2
)

// delayed counts the messages that were nacked with a delay and are still invisible. Consumer.mu guards it.
type delayed struct {
	count   int
	buckets map[int64]int // by the second in which they become visible
}

// add counts a message that becomes visible at until.
func (p *delayed) add(until time.Time) {
	if p.buckets == nil {
		p.buckets = map[int64]int{}
	}
	p.buckets[until.Unix()+1]++
	p.count++
}

// at returns how many messages are still invisible at now.
func (p *delayed) at(now time.Time) int {
	for second, n := range p.buckets {
		if second <= now.Unix() {
			p.count -= n
			delete(p.buckets, second)
		}
	}
	return p.count
}

// noteDelayed counts a message that SQS hides until a time.
func (c *Consumer) noteDelayed(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delayed.add(until)
}

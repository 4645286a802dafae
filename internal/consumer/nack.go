package consumer

import (
	"math/rand/v2"
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/writer"
)

// nackUnwritten nacks a message whose commands the writer handed back or never took. Its bad commands are found again at the
// next receive.
func (c *Consumer) nackUnwritten(d *delivery, why writer.Admission) {
	d.bad, d.back = nil, why
	c.count(d)
	c.nack(d)
}

// nack makes a message visible again, as part of a batch. If an extension of it is under way, extendBatch nacks it instead.
func (c *Consumer) nack(d *delivery) {
	if c.held.startNack(d) {
		c.nacks.add(d)
	}
}

// nackChanges returns the visibility changes that nack a batch at now.
func (c *Consumer) nackChanges(batch []*delivery, now time.Time) []Visibility {
	changes := make([]Visibility, len(batch))
	for i, d := range batch {
		changes[i].ReceiptHandle = d.message.ReceiptHandle
		if !c.draining.Load() {
			changes[i].Timeout = c.delayOf(d, now, rand.Float64())
		}
	}
	return changes
}

// delayOf returns how long a nacked message stays invisible from now on. jitter is in [0, 1).
func (c *Consumer) delayOf(d *delivery, now time.Time, jitter float64) time.Duration {
	switch receives := d.message.ReceiveCount; d.back {
	case writer.Suspended:
		return suspensionDelay(receives, c.cfg.MaxReceives, now.Sub(d.receivedAt), jitter)
	case writer.Limited:
		return turnDelay(d.Away(), jitter)
	default:
		return nackDelay(receives, c.cfg.MaxReceives, jitter)
	}
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
	if receives < 16 {
		d = min(d, first<<max(0, receives-1))
	}
	return min(maxNackDelay, d+time.Duration(jitter*float64(d)/2))
}

// turnDelay returns how long a message stays invisible whose tenant has used up its limit, and whose turn comes after a time. Jitter, in
// [0, 1), takes up to an eighth of it, so that those who are far from their turn don't come back at once.
func turnDelay(away time.Duration, jitter float64) time.Duration {
	return max(minNackDelay, away-time.Duration(jitter*float64(away)/8))
}

// suspensionDelays are the delays of a message whose tenant is suspended, by its receives; the last one repeats. With them a day
// takes nine receives. A suspension may last for days, and its end is not urgent.
var suspensionDelays = [...]time.Duration{
	30 * time.Second, 2 * time.Minute, 8 * time.Minute, 32 * time.Minute, 128 * time.Minute, 6 * time.Hour,
}

// suspensionReceives is how many receives a day of suspension takes with all of suspensionDelays, and minSuspensionReceives without
// any but the last. Each delay that is left out saves one.
const (
	suspensionReceives    = 9
	minSuspensionReceives = 4
)

// suspensionDelay returns how long a message stays invisible that is nacked because of a suspension. It was received so often, and
// held for a time since. A day of suspension takes at most a tenth of maxReceives (0: the queue has none), or four receives if that
// is more. Jitter, in [0, 1), adds up to a tenth. SQS hides a message for at most twelve hours from its receive.
func suspensionDelay(receives, maxReceives int, held time.Duration, jitter float64) time.Duration {
	step := max(0, receives-1)
	if maxReceives > 0 {
		step += max(0, suspensionReceives-max(minSuspensionReceives, maxReceives/10))
	}
	d := suspensionDelays[min(step, len(suspensionDelays)-1)]
	d += time.Duration(jitter * float64(d) / 10)
	return max(minNackDelay, min(d, limits.SQSMaxVisibility-held-time.Minute)) // a minute for the call
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
	swept   int64         // the second in which at last looked at the buckets
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
	if now.Unix() == p.swept { // with delays of hours there are thousands of buckets
		return p.count
	}
	p.swept = now.Unix()
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

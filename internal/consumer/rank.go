package consumer

import "time"

// rank sets the time of each message's first receive, by SQS's clock, as its rank among unversioned writes to one key. Pollers
// run concurrently, so messages may reach the writer in another order than SQS gave them out.
//
// SQS's hosts disagree by milliseconds. A message delivered for the first time, by a receive that began after message M had
// arrived here, ranks after M whatever its timestamp says. A FIFO queue needs no ranking: it gives the messages of a group to
// one poller at a time, in order. before is latestFirstReceive as it was when the receive began.
func (c *Consumer) rank(now time.Time, received []Message, before int64, deliveries []delivery) {
	if c.cfg.FIFO {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range received {
		m, at := &received[i], int64(0) // unknown
		if !m.FirstReceivedAt.IsZero() {
			at = c.clock.plausible(m.FirstReceivedAt.UnixMilli(), now, m.ReceiveCount <= 1)
		}
		if m.ReceiveCount <= 1 && at > 0 {
			if c.cfg.Ended == nil {
				at = max(at, before)
			}
			c.latestFirstReceive = max(c.latestFirstReceive, at)
		}
		deliveries[i].Received = at
	}
}

// maxSkew limits how far a time from SQS may run ahead of this worker's estimate of SQS's clock. It is far more than an answer
// ever takes, and far less than would do harm.
const maxSkew = time.Minute

// believeAfter is how many first receives in a row must have an implausible time before it is believed. Then this machine's
// clock is wrong, or SQS's clock was set.
const believeAfter = 16

// queueClock checks the times that SQS gives. Without it, one message from the future would make all later messages look old,
// and their unversioned writes would be dropped until that time had come. Consumer.mu guards it.
type queueClock struct {
	base        time.Time     // of this machine, at the start; its monotonic reading goes on from there
	ahead       time.Duration // how far SQS's clock is ahead of it, by the smallest difference seen; negative: behind
	implausible int           // first receives in a row with an implausible time
}

// plausible returns a time from SQS, in milliseconds. If it is implausible, it returns the present by SQS's clock instead. fresh
// means that SQS set the time just now.
func (k *queueClock) plausible(at int64, now time.Time, fresh bool) int64 {
	here := k.base.UnixMilli() + now.Sub(k.base).Milliseconds()
	ahead := time.Duration(at-here) * time.Millisecond
	switch likely := ahead <= k.ahead+maxSkew; {
	case likely && fresh:
		k.ahead, k.implausible = min(k.ahead, ahead), 0
	case !likely && fresh:
		k.implausible++
	}
	if k.implausible >= believeAfter {
		k.ahead, k.implausible = ahead, 0
	}
	if ahead <= k.ahead+maxSkew {
		return at
	}
	return here + k.ahead.Milliseconds()
}

package consumer

import (
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/aws/queues"
)

// Delays of messages that are handed back because their tenant backs off.
const (
	handBackMin = time.Second
	handBackMax = 15 * time.Minute
)

// handBackDelay is how long a message that was received so often stays away when it is handed back. The delay
// doubles with every receive, and begins such that a minute of throttling uses up at most a tenth of the queue's
// maxReceiveCount (0: it has none), but for the one hand-back that is always possible. jitter is in [0, 1) and only ever adds.
func handBackDelay(receives, maxReceives int, jitter float64) time.Duration {
	first := handBackMin
	if maxReceives > 0 {
		if n := max(1, maxReceives/10); n < 6 { // 1+2+4+8+16+32 s is a minute anyway
			first = (time.Minute / time.Duration(int(1)<<n-1)).Truncate(time.Second) + time.Second
		}
	}
	d := handBackMax
	if receives < 12 {
		d = min(d, first<<max(0, receives-1))
	}
	return min(handBackMax, d+time.Duration(jitter*float64(d)/2))
}

// tightReceives is the maxReceiveCount below which throttling may dead-letter what is not at fault.
const tightReceives = queues.TightReceives

// parked counts the messages that were handed back with a delay and are still away: SQS counts them as in flight.
type parked struct {
	count   int
	buckets map[int64]int // by the second in which they come back
}

// mostParked is how many messages one worker lets be away, and mostQueueInFlight how many of the queue may be in flight, at
// all workers, for another to go: where SQS's limit is reached nobody receives anything.
const (
	mostParked        = limits.SQSInFlight / 4
	mostQueueInFlight = limits.SQSInFlight / 2
)

func (p *parked) add(until time.Time) {
	if p.buckets == nil {
		p.buckets = map[int64]int{}
	}
	p.buckets[until.Unix()+1]++
	p.count++
}

func (p *parked) at(now time.Time) int {
	for second, n := range p.buckets {
		if second <= now.Unix() {
			p.count -= n
			delete(p.buckets, second)
		}
	}
	return p.count
}

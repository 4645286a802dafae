package writer

import "time"

// Pauses between the probes of an outage: short, so that its end is noticed at once.
const (
	probePauseMin = 20 * time.Millisecond
	probePauseMax = 250 * time.Millisecond
)

// limiter says how many calls may be under way while the table, the account or the network is in trouble, which
// is everybody's. It follows the share of calls that fail: once a round trip with failures it cuts the number by half of
// that share, so that a stray failure costs next to nothing and an outage halves it every time. It adds one a call up to
// where the trouble began and one a round trip beyond. When the number has come down to one and that one fails too,
// it probes: one call at a time, with short pauses.
type limiter struct {
	most      float64
	limit     float64
	threshold float64 // up to here the number grows by one a call
	share     float64 // of calls that failed: a running average
	lastCut   time.Time
	failures  int // in a row
	notBefore time.Time
}

// shareWeight is the weight of one call in the share of calls that fail.
const shareWeight = 1.0 / 16

func newLimiter(most int) limiter {
	return limiter{most: float64(most), limit: float64(most), threshold: float64(most)}
}

// allows says whether one more call may start beside flying others.
func (l *limiter) allows(flying int, now time.Time) bool {
	return flying < int(l.limit) && !now.Before(l.notBefore)
}

// succeeded notes that DynamoDB answered a call.
func (l *limiter) succeeded() {
	l.failures = 0
	l.share -= l.share * shareWeight
	l.notBefore = time.Time{}
	if l.limit < l.threshold {
		l.limit = min(l.most, l.limit+1)
		return
	}
	l.limit = min(l.most, l.limit+1/l.limit)
}

// failed notes that a call that had started at started failed at now. jitter is in [0, 1).
func (l *limiter) failed(started, now time.Time, jitter float64) {
	l.failures++
	before := l.share
	l.share += (1 - l.share) * shareWeight
	if started.Before(l.lastCut) {
		return // the number was cut while it was under way
	}
	l.lastCut = now
	if l.limit <= 1 {
		pause := min(probePauseMax, probePauseMin<<min(l.failures, 8))
		l.notBefore = now.Add(pause/2 + time.Duration(jitter*float64(pause/2)))
		return
	}
	cut := l.limit * (1 - before/2)
	if l.failures == 1 {
		// Further cuts of an outage say nothing of how much the table bears once it is over.
		l.threshold = max(1, cut)
	}
	if cut < 2 {
		cut = 1
	}
	l.limit = cut
}

// probing says that the limiter lets one call at a time through.
func (l *limiter) probing() bool { return l.limit <= 1 && l.failures > 0 }

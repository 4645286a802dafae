package writer

import "time"

// Bounds of the pause between calls in an outage. They are short, so that its end is noticed at once.
const (
	minProbePause = 20 * time.Millisecond
	maxProbePause = 250 * time.Millisecond
)

// limiter limits how many calls may be under way while the table, the account or the network is in trouble, which concerns
// all tenants. The scheduler owns it, under Writer.mu.
//
// It follows the share of calls that fail. In a round trip with failures it cuts the limit once, by half of that share: a
// single failure costs next to nothing, and an outage halves the limit each time. Each success raises the limit by one up to
// the value where the trouble began, and by one per round trip beyond. When the limit is down to one and that call fails too,
// the limiter probes: one call at a time, with short pauses.
type limiter struct {
	maxCalls  float64
	limit     float64
	threshold float64   // up to here the limit grows by one per call
	share     float64   // of calls that failed: a running average
	lastCut   time.Time // of the limit
	failures  int       // in a row
	notBefore time.Time // no call starts before
}

// shareWeight is the weight of one call in the share of calls that fail.
const shareWeight = 1.0 / 16

func newLimiter(maxCalls int) limiter {
	n := float64(maxCalls)
	return limiter{maxCalls: n, limit: n, threshold: n}
}

// allows reports whether a call may start at now while so many are under way.
func (l *limiter) allows(calls int, now time.Time) bool {
	return calls < int(l.limit) && !now.Before(l.notBefore)
}

// succeeded records that DynamoDB answered a call.
func (l *limiter) succeeded() {
	l.failures = 0
	l.share -= l.share * shareWeight
	l.notBefore = time.Time{}
	if l.limit < l.threshold {
		l.limit = min(l.maxCalls, l.limit+1)
		return
	}
	l.limit = min(l.maxCalls, l.limit+1/l.limit)
}

// failed records that a call failed at now, which had started at started. jitter is in [0, 1).
func (l *limiter) failed(started, now time.Time, jitter float64) {
	l.failures++
	before := l.share
	l.share += (1 - l.share) * shareWeight
	if started.Before(l.lastCut) {
		return // the limit was cut while the call was under way
	}
	l.lastCut = now
	if l.limit <= 1 {
		pause := min(maxProbePause, minProbePause<<min(l.failures, 8))
		l.notBefore = now.Add(pause/2 + time.Duration(jitter*float64(pause/2)))
		return
	}
	cut := l.limit * (1 - before/2)
	if l.failures == 1 {
		// The first cut shows what the table could not bear. The further cuts of an outage show nothing about that.
		l.threshold = max(1, cut)
	}
	if cut < 2 {
		cut = 1
	}
	l.limit = cut
}

// probing reports whether the limiter lets only one call at a time through.
func (l *limiter) probing() bool { return l.limit <= 1 && l.failures > 0 }

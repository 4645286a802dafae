package writer

import "time"

// Pauses between the probes of an outage: short, so that its end is noticed at once.
const (
	probePauseMin = 20 * time.Millisecond
	probePauseMax = 250 * time.Millisecond
)

// limiter says how many calls may be under way while the table, the account or the network is in trouble, which
// is everybody's. It halves the number once a round trip when calls fail, adds one a call up to half of where the
// trouble began and one a round trip beyond (AIMD with a slow start), and when the number has come down to one and
// that one fails too, it probes: one call at a time, with short pauses.
type limiter struct {
	most      float64
	limit     float64
	threshold float64
	lastCut   time.Time
	failures  int // in a row
	notBefore time.Time
}

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
	if !started.Before(l.lastCut) {
		if l.limit > 1 {
			// The first cuts of an outage say nothing of how much the table bears once it is over.
			if l.failures == 1 {
				l.threshold = max(1, l.limit/2)
			}
			l.limit = max(1, float64(int(l.limit/2)))
			l.lastCut = now
			return
		}
		l.lastCut = now
		pause := min(probePauseMax, probePauseMin<<min(l.failures, 8))
		l.notBefore = now.Add(pause/2 + time.Duration(jitter*float64(pause/2)))
	}
}

// probing says that the limiter lets one call at a time through.
func (l *limiter) probing() bool { return l.limit <= 1 && l.failures > 0 }

package writer

import (
	"time"

	"tributary/internal/tenants"
)

// A tenant backs off when DynamoDB leaves its writes over or throttles its key range. It pauses for a random part of a time
// that doubles with each refusal in a row (full jitter). After that it may have only as many writes in flight as its window
// allows. The window shrinks with a refusal, grows with each write, and is dropped once it is wide again.
const (
	baseBackoff = 25 * time.Millisecond
	maxBackoff  = 3 * time.Second
	minWindow   = 4    // while some of the tenant's writes pass
	maxWindow   = 1024 // beyond this the tenant is no longer limited
)

// A tenant that backs off is stalled when it can't use more than it holds. Either half of its writes or more are refused, or
// they pass but wait for long, because more arrive than its partition takes. A tenant with a limit is stalled when it holds more
// than the limit lets it write within that time. A stalled tenant may hold only its share. A single leftover, or one refused write
// in fifty, is no reason to hand messages back.
const (
	stalledRefusals = 0.5
	stalledWait     = 2 * time.Second
	refusedWeight   = 1.0 / 16 // of one write in the running average
)

// tenant is the scheduler's state of one tenant, under Writer.mu.
type tenant struct {
	id        string
	queues    [ringCount]tenantQueue
	held      int // writes held, overtaken ones included
	heldBytes int
	inFlight  int       // writes
	window    int       // how many writes may be in flight; 0: no limit. A tenant with a window backs off.
	refusals  int       // in a row, with no write in between
	refused   float64   // share of its writes that were refused: a running average
	notBefore time.Time // nothing is sent before

	// What the rules say, as of the last Obey or when the state was made. See rules.go.
	ruled   bool // they say something: it has a verdict other than Write, or a bucket
	verdict tenants.Verdict
	gone    bool    // verdict Drop: its items were removed already
	atLimit bool    // its bucket is empty; counted in scheduler.atLimit
	asleep  bool    // it is in scheduler.sleeping
	bucket  *bucket // of its limit; nil: it has none
	units   int     // that the writes held will consume, by estimate
	place   int     // in scheduler.sleeping; valid while asleep
}

// backingOff reports whether the tenant's writes in flight are limited.
func (t *tenant) backingOff() bool { return t.window > 0 }

// overLimit reports whether the tenant holds more than its limit lets it write soon.
func (t *tenant) overLimit(now time.Time) bool {
	return t.bucket != nil && t.bucket.short(t.units, stalledWait, now)
}

// stalled reports whether the tenant may hold only its share.
func (t *tenant) stalled(now time.Time) bool {
	if t.overLimit(now) {
		return true
	}
	if !t.backingOff() {
		return false
	}
	if t.refused >= stalledRefusals {
		return true
	}
	for i := range t.queues {
		if kq := t.queues[i].keys.First(); kq != nil && now.Sub(kq.waiting.First().group.arrived) > stalledWait {
			return true
		}
	}
	return false
}

// throttled records that n writes of the tenant were refused at now. jitter is in [0, 1).
func (t *tenant) throttled(n int, now time.Time, jitter float64) {
	for range n {
		t.refused += (1 - t.refused) * refusedWeight
	}
	floor := minWindow
	if t.refusals > 0 {
		floor = 1
	}
	inFlight := t.inFlight
	if t.window > 0 {
		inFlight = min(inFlight, t.window)
	}
	t.window = max(floor, inFlight*7/10)
	longest := maxBackoff
	if t.refusals < 10 {
		longest = min(maxBackoff, baseBackoff<<t.refusals)
	}
	t.refusals++
	t.notBefore = now.Add(time.Duration(jitter * float64(longest)))
}

// wrote records that n writes of the tenant passed.
func (t *tenant) wrote(n int) {
	t.refusals = 0
	for range n {
		t.refused -= t.refused * refusedWeight
	}
	if t.window == 0 {
		return
	}
	if t.window += n; t.window > maxWindow {
		t.window = 0
	}
}

// room returns how many more writes of the tenant may be sent at now.
func (t *tenant) room(now time.Time) int {
	switch {
	case now.Before(t.notBefore) || t.ruled && t.stopped(now):
		return 0
	case t.window == 0:
		return int(^uint(0) >> 1)
	}
	return max(0, t.window-t.inFlight)
}

// stopped reports whether the rules let the tenant send nothing at now.
func (t *tenant) stopped(now time.Time) bool { return t.suspended() || t.pausing(now) }

// pausing reports whether the tenant waits because its bucket was empty.
func (t *tenant) pausing(now time.Time) bool {
	return t.bucket != nil && now.Before(t.bucket.notBefore)
}

// wakes returns when the tenant's room may grow by time alone.
func (t *tenant) wakes() time.Time {
	if t.ruled && t.bucket != nil && t.held > 0 && t.bucket.notBefore.After(t.notBefore) {
		return t.bucket.notBefore
	}
	return t.notBefore
}

// suspended reports whether nothing of the tenant may be written.
func (t *tenant) suspended() bool { return t.verdict == tenants.Wait || t.verdict == tenants.Letter }

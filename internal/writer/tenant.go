package writer

import "time"

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
// they pass but wait for long, because more arrive than its partition takes. A stalled tenant may hold only its share. A
// single leftover, or one refused write in fifty, is no reason to hand messages back.
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
	sleeping  bool      // it is in scheduler.sleeping
}

// backingOff reports whether the tenant's writes in flight are limited.
func (t *tenant) backingOff() bool { return t.window > 0 }

// stalled reports whether the tenant may hold only its share.
func (t *tenant) stalled(now time.Time) bool {
	if !t.backingOff() {
		return false
	}
	if t.refused >= stalledRefusals {
		return true
	}
	for i := range t.queues {
		if kq := t.queues[i].keys.First(); kq != nil && now.Sub(kq.waiting.First().arrived) > stalledWait {
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
	case now.Before(t.notBefore):
		return 0
	case t.window == 0:
		return int(^uint(0) >> 1)
	}
	return max(0, t.window-t.inFlight)
}

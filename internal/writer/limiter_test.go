package writer

import (
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := newLimiter(64)
	if !l.allows(63, now) || l.allows(64, now) {
		t.Fatal("the limit is not where it should be")
	}

	// All calls that were under way when trouble began cost one cut.
	started := now
	now = now.Add(10 * time.Millisecond)
	for range 64 {
		l.failed(started, now, 0)
	}
	if l.limit < 63 {
		t.Errorf("after one round trip of failures the limit is %v", l.limit)
	}
	started = now
	now = now.Add(10 * time.Millisecond)
	before := l.limit
	for range 64 {
		l.failed(started, now, 0)
	}
	if l.limit > before*0.52 {
		t.Errorf("after a second one it is %v, want about half of %v", l.limit, before)
	}

	// An outage: round trip after round trip.
	for range 20 {
		started = now
		now = now.Add(10 * time.Millisecond)
		l.failed(started, now, 0.5)
	}
	if !l.probing() || l.limit != 1 {
		t.Fatalf("after twenty failed round trips the limit is %v", l.limit)
	}
	if l.allows(0, now) || !l.allows(0, now.Add(maxProbePause)) || l.allows(1, now.Add(maxProbePause)) {
		t.Error("an outage is probed by one call at a time, with a short pause")
	}

	// The end of the outage: the probe passes, then every call does.
	now = now.Add(maxProbePause)
	flights := 0
	for ; l.limit < 64 && flights < 10_000; flights++ {
		l.succeeded()
	}
	if l.probing() || !l.allows(63, now) {
		t.Error("not back after success")
	}
	if flights > 64+64*3 { // nearly all of it by one a call

		t.Errorf("full concurrency took %d calls", flights)
	}
}

// With one lost answer in a hundred the limit stays. With half of them it does not.
func TestLimiterFollowsTheShareOfFailures(t *testing.T) {
	for _, test := range []struct {
		oneIn       int
		least, most float64
	}{{100, 60, 64}, {2, 1, 12}} {
		l := newLimiter(64)
		now := time.Unix(1_700_000_000, 0)
		for i := range 20_000 {
			started := now
			now = now.Add(100 * time.Microsecond)
			if i%test.oneIn == 0 {
				l.failed(started.Add(-5*time.Millisecond), now, 0)
			} else {
				l.succeeded()
			}
		}
		if l.limit < test.least || l.limit > test.most {
			t.Errorf("one call in %d fails: the limit is %v, want %v to %v", test.oneIn, l.limit, test.least, test.most)
		}
	}
}

func TestTenantBackoff(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ten := &tenant{inFlight: 20}
	var waits []time.Duration
	for range 10 {
		ten.throttled(1, now, 1)
		waits = append(waits, ten.notBefore.Sub(now))
	}
	for i, w := range waits {
		if want := min(maxBackoff, baseBackoff<<i); w != want {
			t.Errorf("wait %d is %v, want %v", i, w, want)
		}
	}
	if ten.window != 1 {
		t.Errorf("after ten refusals in a row the window is %d, want 1", ten.window)
	}
	ten.throttled(1, now, 0)
	if !ten.notBefore.Equal(now) {
		t.Error("full jitter reaches down to no wait at all")
	}
	ten.inFlight = 0
	for range 2000 {
		ten.wrote(1)
	}
	if ten.backingOff() || ten.refusals != 0 {
		t.Error("a tenant whose writes pass should be limited no more")
	}

	ten = &tenant{inFlight: 20}
	ten.throttled(1, now, 0)
	if ten.window != 14 || ten.room(now) != 0 {
		t.Errorf("the first refusal leaves a window of %d, want 14", ten.window)
	}
}

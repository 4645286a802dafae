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

	// All that was under way when trouble began counts as one failure.
	started := now
	now = now.Add(10 * time.Millisecond)
	for range 64 {
		l.failed(started, now, 0)
	}
	if l.limit != 32 {
		t.Errorf("after one round trip of failures the limit is %v, want 32", l.limit)
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
	if l.allows(0, now) || !l.allows(0, now.Add(probePauseMax)) || l.allows(1, now.Add(probePauseMax)) {
		t.Error("an outage is probed by one call at a time, with a short pause")
	}

	// Its end: the probe passes, then every call does.
	now = now.Add(probePauseMax)
	flights := 0
	for ; l.limit < 64 && flights < 10_000; flights++ {
		l.succeeded()
	}
	if l.probing() || !l.allows(63, now) {
		t.Error("not back after success")
	}
	// 31 calls to half, then a call more a round trip: 32+33+…+63 calls.
	if flights > 31+1600 {
		t.Errorf("full concurrency took %d calls", flights)
	}
}

func TestALoneFailureHalves(t *testing.T) {
	l := newLimiter(64)
	now := time.Unix(1_700_000_000, 0)
	l.failed(now, now.Add(time.Millisecond), 0)
	if l.limit != 32 || l.threshold != 32 {
		t.Fatalf("limit %v, threshold %v", l.limit, l.threshold)
	}
	for range 32 { // a round trip of successes: about one call more
		l.succeeded()
	}
	if l.limit < 32.9 || l.limit > 33.1 {
		t.Errorf("a round trip later the limit is %v, want about 33", l.limit)
	}
}

func TestTenantBackoff(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ten := &tenant{inFlight: 20}
	var waits []time.Duration
	for range 10 {
		ten.throttled(now, 1)
		waits = append(waits, ten.notBefore.Sub(now))
	}
	for i, w := range waits {
		if want := min(backoffMax, backoffBase<<i); w != want {
			t.Errorf("wait %d is %v, want %v", i, w, want)
		}
	}
	if ten.window != 1 {
		t.Errorf("after ten refusals in a row the window is %d, want 1", ten.window)
	}
	ten.throttled(now, 0)
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
	ten.throttled(now, 0)
	if ten.window != 14 || ten.room(now) != 0 {
		t.Errorf("the first refusal leaves a window of %d, want 14", ten.window)
	}
}

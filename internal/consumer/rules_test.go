package consumer

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/aws/limits"
)

// TestSuspensionTakesFewReceives: a day takes at most a tenth of maxReceiveCount, or four receives if that is more. A message may
// have been received before.
func TestSuspensionTakesFewReceives(t *testing.T) {
	for _, maxReceives := range []int{0, 1, 3, 10, 20, 40, 50, 60, 70, 80, 90, 99, 100, 1000} {
		allowed := max(minSuspensionReceives, maxReceives/10)
		if maxReceives == 0 {
			allowed = 10
		}
		for _, before := range []int{0, 1, 5, 50} {
			receives, at, last := 0, time.Duration(0), time.Duration(0)
			for at < 24*time.Hour { // jitter 0 is the shortest
				receives++
				d := suspensionDelay(before+receives, maxReceives, 0, 0)
				if d < last {
					t.Errorf("maxReceiveCount %d: delay %d is %v, shorter than the %v before", maxReceives, receives, d, last)
				}
				last = d
				at += d
			}
			if receives > allowed {
				t.Errorf("maxReceiveCount %d: a day of suspension takes %d receives, %d are allowed", maxReceives, receives, allowed)
			}
		}
	}
}

func TestSuspensionDelay(t *testing.T) {
	for _, test := range []struct {
		receives, maxReceives int
		held                  time.Duration
		jitter                float64
		want                  time.Duration
	}{
		{1, 100, 0, 0, 30 * time.Second},
		{2, 100, 0, 0, 2 * time.Minute},
		{3, 100, 0, 0, 8 * time.Minute},
		{4, 100, 0, 0, 32 * time.Minute},
		{5, 100, 0, 0, 128 * time.Minute},
		{6, 100, 0, 0, 6 * time.Hour},
		{99, 100, 0, 0, 6 * time.Hour},
		{1, 0, 0, 0, 30 * time.Second},
		{0, 0, 0, 0, 30 * time.Second}, // an endpoint that does not count
		{1, 0, 0, .5, 31500 * time.Millisecond},
		{6, 0, 0, .99, 6*time.Hour + 2138400*time.Millisecond},
		{1, 80, 0, 0, 2 * time.Minute},
		{1, 10, 0, 0, 6 * time.Hour},
		{6, 100, 7 * time.Hour, 0, 5*time.Hour - time.Minute},
		{6, 100, limits.SQSMaxVisibility, 0, minNackDelay},
	} {
		if got := suspensionDelay(test.receives, test.maxReceives, test.held, test.jitter); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestTurnDelay: a message comes back a little before its turn, and never at once.
func TestTurnDelay(t *testing.T) {
	for _, test := range []struct {
		away   time.Duration
		jitter float64
		want   time.Duration
	}{
		{0, .5, minNackDelay},
		{1100 * time.Millisecond, .99, minNackDelay},
		{80 * time.Second, 0, 80 * time.Second},
		{80 * time.Second, .5, 75 * time.Second},
	} {
		if got := turnDelay(test.away, test.jitter); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestChain: each message of a FIFO group knows the next.
func TestChain(t *testing.T) {
	ds := make([]delivery, 5)
	for i, group := range []string{"a", "b", "a", "c", "a"} {
		ds[i].message.GroupID = group
	}
	chain(ds)
	for i, next := range []int{2, -1, 4, -1, -1} {
		if next < 0 && ds[i].later != nil || next >= 0 && (ds[i].later != &ds[next] || ds[i].Later != &ds[next].Group) {
			t.Errorf("after message %d comes %p", i, ds[i].later)
		}
	}
}

// TestAgesOfSuspendedTenantsAreApart: what waits for a suspended tenant is no backlog. The later ones of its FIFO group wait as well.
func TestAgesOfSuspendedTenantsAreApart(t *testing.T) {
	now := time.Date(2026, 1, 31, 15, 0, 0, 0, time.UTC)
	type message struct {
		age       time.Duration
		group     string
		suspended bool
	}
	for name, test := range map[string]struct {
		messages          []message
		oldest, suspended float64 // seconds; -1: as it was
	}{
		"none suspended":     {[]message{{4 * time.Second, "", false}, {9 * time.Second, "", false}}, 9, -1},
		"one suspended":      {[]message{{4 * time.Second, "", false}, {time.Hour, "", true}, {2 * time.Hour, "", true}}, 4, 7200},
		"all suspended":      {[]message{{time.Hour, "", true}}, -1, 3600},
		"the group waits":    {[]message{{time.Hour, "a", true}, {2 * time.Hour, "a", false}, {3 * time.Hour, "a", false}, {time.Second, "b", false}}, 1, 10800},
		"not those before":   {[]message{{time.Hour, "a", false}, {time.Minute, "a", true}}, 3600, 60},
		"unknown send times": {[]message{{-1, "", false}, {-1, "", true}}, -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsumer(t, Config{}, silent{}, nil)
			c.metrics.OldestAge.Set(-1)
			c.metrics.SuspendedAge.Set(-1)
			received, deliveries := make([]Message, len(test.messages)), make([]delivery, len(test.messages))
			for i, m := range test.messages {
				if m.age > 0 {
					received[i].SentAt = now.Add(-m.age)
				}
				deliveries[i].suspended, deliveries[i].message.GroupID = m.suspended, m.group
			}
			if test.messages[0].group != "" {
				chain(deliveries)
			}
			c.gaugeAges(now, received, deliveries)
			if oldest, suspended := testutil.ToFloat64(c.metrics.OldestAge), testutil.ToFloat64(c.metrics.SuspendedAge); oldest != test.oldest || suspended != test.suspended {
				t.Errorf("%v and %v, want %v and %v", oldest, suspended, test.oldest, test.suspended)
			}
		})
	}
}

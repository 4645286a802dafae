package consumer

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/aws/limits"
	"tributary/internal/tenants"
	"tributary/internal/writer"
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

// meter adds up what tenants use.
type meter struct {
	mu   sync.Mutex
	used map[string]tenants.Usage // guarded by mu
}

func (m *meter) Used(tenant string, u *tenants.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.used[tenant]
	sum.Add(u)
	m.used[strings.Clone(tenant)] = sum
}

func deleteUser(tenant, id string) string {
	return fmt.Sprintf(`{"type":"delete_user","tenant_id":"%s","user_id":"%s"}`, tenant, id)
}

func suspended(tenant string, letters bool) *tenants.Rules {
	return tenants.NewRules(1, time.Time{}, 1, 1, []*tenants.Decision{{Tenant: tenant, Status: tenants.Suspended, Letters: letters, Reason: "unpaid"}})
}

// TestRules: what becomes of messages whose tenants are suspended or erased.
func TestRules(t *testing.T) {
	for name, test := range map[string]struct {
		rules    *tenants.Rules
		fifo     bool
		inFlight int // of the queue
		bodies   []string
		want     []string // a part of an event for each message
		letters  int      // reasons tenant_suspended
		overflow float64
	}{
		"one that waits": {rules: suspended("a", false), bodies: []string{deleteUser("a", "1"), deleteUser("b", "1")}, want: []string{"m0/1 visible in 3", "deleted m1/1"}},
		"two tenants wait together": {
			rules: suspended("a", false), bodies: []string{"[" + deleteUser("b", "1") + "," + deleteUser("a", "1") + `,{"type":"x"}]`}, want: []string{"m0/1 visible in 3"},
		},
		"a dead letter, and the other command is written": {
			rules: suspended("a", true), bodies: []string{"[" + deleteUser("b", "1") + "," + deleteUser("a", "1") + "]"}, want: []string{"deleted m0/1"}, letters: 1,
		},
		"too many are delayed": {
			rules: suspended("a", false), inFlight: maxQueueInFlight, bodies: []string{deleteUser("a", "1")}, want: []string{"deleted m0/1"}, letters: 1, overflow: 1,
		},
		"too many are delayed on a FIFO queue": {
			rules: suspended("a", false), fifo: true, inFlight: maxQueueInFlight, bodies: []string{deleteUser("a", "1")}, want: []string{"m0/1 visible in 3"},
		},
		"an erased tenant": {
			rules:  tenants.NewRules(1, time.Time{}, 1, 1, []*tenants.Decision{{Tenant: "a", Status: tenants.Erased}}),
			bodies: []string{"[" + deleteUser("b", "1") + "," + deleteUser("a", "1") + "]"}, want: []string{"deleted m0/1"},
		},
		"bad commands of an erased tenant": {
			rules: tenants.NewRules(1, time.Time{}, 1, 1, []*tenants.Decision{{Tenant: "a", Status: tenants.Erased}}),
			bodies: []string{
				"[" + deleteUser("b", "1") + `,{"type":"put_user","tenant_id":"a","user_id":"1"}]`, `{"type":"put_user","tenant_id":"a","user_id":"#"}`,
			}, want: []string{"deleted m0/1", "deleted m1/1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				used := meter{used: map[string]tenants.Usage{}}
				w := startWorld(t, Config{FIFO: test.fifo, Rules: func() *tenants.Rules { return test.rules }, Meter: &used}, 0)
				w.c.writer.(*writer.Writer).Obey(test.rules)
				w.c.QueueInFlight(test.inFlight)
				for i, body := range test.bodies {
					w.send(fmt.Sprint("m", i), body)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				events := strings.Join(w.events, "\n")
				for _, want := range test.want {
					if !strings.Contains(events, want) {
						t.Errorf("%q did not happen:\n%s", want, events)
					}
				}
				letters := 0
				for _, l := range w.letters.letters {
					if l.Attributes["reason"] == "tenant_suspended" && l.Attributes["command_tenant_id"] == "a" && strings.HasSuffix(l.Attributes["detail"], "unpaid") {
						letters++
					}
				}
				if letters != test.letters || testutil.ToFloat64(w.c.metrics.Overflowed) != test.overflow {
					t.Errorf("%d letters of a suspended tenant, %v overflowed", letters, testutil.ToFloat64(w.c.metrics.Overflowed))
				}
				if name == "an erased tenant" && (used.used["a"] != tenants.Usage{Erased: 1} || used.used["b"] != tenants.Usage{Written: 1}) {
					t.Errorf("used: %+v", used.used)
				}
				if name == "bad commands of an erased tenant" && (len(w.letters.letters) > 0 || used.used["a"] != tenants.Usage{Erased: 2}) {
					t.Errorf("%d letters, used: %+v", len(w.letters.letters), used.used)
				}
				if test.letters > 0 && used.used["a"] != (tenants.Usage{DeadLettered: 1}) {
					t.Errorf("used: %+v", used.used)
				}
				w.stop()
				<-w.ended
			})
		})
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
			synctest.Test(t, func(t *testing.T) {
				w := startWorld(t, Config{}, 0)
				w.c.metrics.OldestAge.Set(-1)
				w.c.metrics.SuspendedAge.Set(-1)
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
				w.c.gaugeAges(now, received, deliveries)
				if oldest, suspended := testutil.ToFloat64(w.c.metrics.OldestAge), testutil.ToFloat64(w.c.metrics.SuspendedAge); oldest != test.oldest || suspended != test.suspended {
					t.Errorf("%v and %v, want %v and %v", oldest, suspended, test.oldest, test.suspended)
				}
				w.stop()
				<-w.ended
			})
		})
	}
}

func erased(revision int64, until time.Time, names ...string) *tenants.Rules {
	var all []*tenants.Decision
	for _, name := range names {
		all = append(all, &tenants.Decision{Tenant: name, Status: tenants.Erasing})
	}
	return tenants.NewRules(revision, until, 1, 1, all)
}

// TestLettersOfATenantThatIsErasedMeanwhile: a call that carries letters holds the confirmation of newer rules back, and no call that
// begins under newer rules carries letters of a tenant that they erase.
func TestLettersOfATenantThatIsErasedMeanwhile(t *testing.T) {
	const ofB = `{"type":"delete_user","tenant_id":"b","user_id":""}`
	synctest.Test(t, func(t *testing.T) {
		var rules atomic.Pointer[tenants.Rules]
		rules.Store(erased(1, time.Time{}))
		w := startWorld(t, Config{Rules: rules.Load}, 0)
		w.letters.latency = 5 * time.Second
		confirmed := func(want int64) {
			t.Helper()
			synctest.Wait()
			if got := w.c.Confirmed(); got != want {
				t.Errorf("after %v revision %d is confirmed, want %d", time.Since(w.begun), got, want)
			}
		}
		w.send("under way", bad)
		time.Sleep(time.Second)
		confirmed(1)
		rules.Store(erased(2, time.Time{}, "acme"))
		confirmed(1)
		time.Sleep(5 * time.Second)
		confirmed(2)

		rules.Store(erased(3, time.Time{}))
		w.letters.latency, w.letters.down = 0, true
		w.send("both", "["+bad+","+ofB+"]")
		time.Sleep(3 * time.Second)
		rules.Store(erased(4, time.Time{}, "acme"))
		w.letters.mu.Lock()
		w.letters.down = false
		w.letters.mu.Unlock()
		time.Sleep(30 * time.Second)
		confirmed(4)

		rules.Store(erased(5, time.Time{}))
		w.send("in a batch", bad)
		time.Sleep(letterLinger / 2)
		rules.Store(erased(6, time.Time{}, "acme"))
		time.Sleep(time.Second)

		rules.Store(erased(7, time.Now()))
		w.send("too old", bad)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if w.letters.of("too old") != 0 {
			t.Error("a letter was sent although the rules are too old")
		}
		rules.Store(erased(8, time.Now().Add(time.Hour)))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for id, want := range map[string]int{"under way": 1, "both": 1, "in a batch": 0, "too old": 1} {
			if got := w.letters.of(id); got != want {
				t.Errorf("message %q has %d letters, want %d", id, got, want)
			}
		}
		w.stop()
		if s := <-w.ended; s.Deleted != 4 {
			t.Errorf("%v", s)
		}
	})
}

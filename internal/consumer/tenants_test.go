package consumer_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/consumer"
	"tributary/internal/tenants"
)

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
			rules: suspended("a", false), inFlight: consumer.MaxQueueInFlight, bodies: []string{deleteUser("a", "1")}, want: []string{"deleted m0/1"}, letters: 1, overflow: 1,
		},
		"too many are delayed on a FIFO queue": {
			rules: suspended("a", false), fifo: true, inFlight: consumer.MaxQueueInFlight, bodies: []string{deleteUser("a", "1")}, want: []string{"m0/1 visible in 3"},
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
				w := startWorld(t, consumer.Config{FIFO: test.fifo, Rules: func() *tenants.Rules { return test.rules }, Meter: &used}, 0)
				w.writer.Obey(test.rules)
				w.c.QueueInFlight(test.inFlight)
				for i, body := range test.bodies {
					w.send(fmt.Sprint("m", i), body)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				w.mu.Lock()
				events := strings.Join(w.events, "\n")
				w.mu.Unlock()
				for _, want := range test.want {
					if !strings.Contains(events, want) {
						t.Errorf("%q did not happen:\n%s", want, events)
					}
				}
				letters := 0
				for _, l := range w.dead() {
					if l.Attributes["reason"] == "tenant_suspended" && l.Attributes["command_tenant_id"] == "a" && strings.HasSuffix(l.Attributes["detail"], "unpaid") {
						letters++
					}
				}
				if letters != test.letters || testutil.ToFloat64(w.metrics.Overflowed) != test.overflow {
					t.Errorf("%d letters of a suspended tenant, %v overflowed", letters, testutil.ToFloat64(w.metrics.Overflowed))
				}
				if name == "an erased tenant" && (used.used["a"] != tenants.Usage{Erased: 1} || used.used["b"] != tenants.Usage{Written: 1}) {
					t.Errorf("used: %+v", used.used)
				}
				if name == "bad commands of an erased tenant" && (len(w.dead()) > 0 || used.used["a"] != tenants.Usage{Erased: 2}) {
					t.Errorf("%d letters, used: %+v", len(w.dead()), used.used)
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
		w := startWorld(t, consumer.Config{Rules: rules.Load}, 0)
		w.change(func(s *script) { s.letters = 5 * time.Second })
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
		w.change(func(s *script) { s.letters, s.down = 0, true })
		w.send("both", "["+bad+","+ofB+"]")
		time.Sleep(3 * time.Second)
		rules.Store(erased(4, time.Time{}, "acme"))
		w.change(func(s *script) { s.down = false })
		time.Sleep(30 * time.Second)
		confirmed(4)

		rules.Store(erased(5, time.Time{}))
		w.send("in a batch", bad)
		time.Sleep(consumer.LetterLinger / 2)
		rules.Store(erased(6, time.Time{}, "acme"))
		time.Sleep(time.Second)

		rules.Store(erased(7, time.Now()))
		w.send("too old", bad)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if w.lettersOf("too old") != 0 {
			t.Error("a letter was sent although the rules are too old")
		}
		rules.Store(erased(8, time.Now().Add(time.Hour)))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for id, want := range map[string]int{"under way": 1, "both": 1, "in a batch": 0, "too old": 1} {
			if got := w.lettersOf(id); got != want {
				t.Errorf("message %q has %d letters, want %d", id, got, want)
			}
		}
		w.stop()
		if s := <-w.ended; s.Deleted != 4 {
			t.Errorf("%v", s)
		}
	})
}

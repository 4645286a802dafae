package control

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/tenants"
)

func TestAgentObeysWithinSeconds(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		a, b := w.start(w.process("all")), w.start(w.process("consume"))
		wait(time.Minute)
		revision := w.suspend("acme")
		began := time.Now()
		waiting, err := w.store.Await(t.Context(), revision, 30*time.Second)
		if err != nil || len(waiting.Confirmed) != 2 || waiting.Took != time.Since(began) || waiting.Took > 6*time.Second {
			t.Fatalf("%v, %v", &waiting, err)
		}
		for _, p := range []*process{a, b} {
			if d := p.Rules().Of("acme"); d.Verdict(time.Now()) != tenants.Wait || d.By != "ann@desk" {
				t.Errorf("obeys %+v", d)
			}
			if !strings.Contains(p.log.String(), `msg="decision about tenant is obeyed" tenant=acme status=suspended by=ann@desk`) {
				t.Errorf("log %s", &p.log)
			}
		}
		if _, _, err := w.store.Decide(t.Context(), "acme", "resume", func(d tenants.Decision) (tenants.Decision, error) {
			return tenants.Resume(d, false, "bob@desk", time.Now())
		}); err != nil {
			t.Fatal(err)
		}
		wait(tenants.ReadEvery)
		if a.Rules().Len() != 0 || !strings.Contains(a.log.String(), `msg="decision about tenant is obeyed" tenant=acme status=active by=bob@desk`) {
			t.Errorf("%d decisions, log %s", a.Rules().Len(), &a.log)
		}
	})
}

// TestLeaseCountsFromTheBeginningOfTheRead: the time that a read takes is not added to the lease.
func TestLeaseCountsFromTheBeginningOfTheRead(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.process("all")
		p.slow.Store(int64(3 * time.Second))
		w.start(p)
		wait(time.Minute)
		if until, asked := p.Rules().Until, time.Unix(0, p.asked.Load()); !until.Equal(asked.Add(tenants.Lease)) {
			t.Errorf("asked at %v, the lease ends at %v", asked, until)
		}
	})
}

// TestAPausedAgentLosesItsLease: the lease ends by the clock, not by what the agent does.
func TestAPausedAgentLosesItsLease(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		wait(time.Minute)
		p.slow.Store(int64(time.Hour)) // its next call does not come back
		until := p.Rules().Until
		wait(time.Until(until) - 1)
		if p.Rules().TooOld(time.Now()) {
			t.Error("the lease ended early")
		}
		wait(1)
		if !p.Rules().TooOld(time.Now()) {
			t.Error("it may write although it is paused")
		}
		p.slow.Store(0)
		wait(time.Hour + tenants.ReadEvery)
		if p.Rules().TooOld(time.Now()) {
			t.Error("it may not write although it goes on")
		}
	})
}

func TestOutageEndsTheLeaseAndNotTheRules(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.suspend("acme")
		p, other := w.start(w.process("all")), w.start(w.process("all"))
		wait(time.Minute)
		p.down.Store(&refusal{code: "ThrottlingException"})
		until := p.Rules().Until
		wait(time.Until(until) - 1)
		if p.Rules().TooOld(time.Now()) {
			t.Error("the lease ended early")
		}
		wait(1)
		if !p.Rules().TooOld(time.Now()) || p.Rules().Of("acme") == nil {
			t.Error("the rules hold on after the lease, or are gone")
		}
		wait(time.Minute)
		if got := p.Rules().Writers; got != 2 {
			t.Errorf("a worker that can't look shares the limits among %d", got)
		}
		if n := strings.Count(p.log.String(), "can't be read"); n != 1 {
			t.Errorf("said %d times: %s", n, &p.log)
		}
		if s := p.Status(); !s.Governed || s.Error == "" || s.Age < 60 {
			t.Errorf("status %+v", s)
		}
		if got := other.Rules().Writers; got != 1 {
			t.Errorf("the other shares the limits among %d", got)
		}
		p.down.Store(nil)
		wait(tenants.ReadEvery)
		if p.Rules().TooOld(time.Now()) || !strings.Contains(p.log.String(), "can be read again") || p.Status().Error != "" {
			t.Errorf("it does not go on: %s", &p.log)
		}
	})
}

func TestWithoutPermissionAWorkerIsNotGoverned(t *testing.T) {
	for _, denied := range []refusal{{"AccessDeniedException", ""}, {"AccessDeniedException", "Query"}, {"ResourceNotFoundException", ""}, {"ValidationException", ""}} {
		within(t, func(t *testing.T, w *world) {
			p := w.process("all")
			p.down.Store(&denied)
			w.start(p)
			wait(10 * time.Minute)
			if p.Rules() != nil || p.Status().Governed {
				t.Error("it is governed")
			}
			if n := strings.Count(p.log.String(), "\n"); n != 1 || !strings.Contains(p.log.String(), "dynamodb:GetItem") {
				t.Errorf("%v: the log has %d lines: %s", denied, n, &p.log)
			}
			if n := p.calls.Load(); n > 24 {
				t.Errorf("%v: %d calls in ten minutes", denied, n)
			}
			p.down.Store(nil)
			wait(time.Minute)
			if p.Rules() == nil || !p.Status().Governed {
				t.Error("it is not governed although it may be")
			}
			p.down.Store(&denied)
			wait(time.Minute)
			if !p.Rules().TooOld(time.Now()) {
				t.Error("a worker that was governed writes on without a lease")
			}
		})
	}
}

// TestOutageAtTheStart: a worker that can't read yet writes nothing, for it can't know who was erased.
func TestOutageAtTheStart(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.process("all")
		p.down.Store(&refusal{code: "ThrottlingException"})
		w.start(p)
		wait(time.Minute)
		if r := p.Rules(); r == nil || !r.TooOld(time.Now()) {
			t.Errorf("it may write by %+v", r)
		}
		p.down.Store(nil)
		wait(tenants.ReadEvery)
		if r := p.Rules(); r == nil || r.TooOld(time.Now()) {
			t.Errorf("it may not write by %+v", r)
		}
	})
}

func TestLimitsAreSharedAmongTheLiving(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		a, b := w.start(w.process("all")), w.start(w.process("consume"))
		q := w.start(w.process("query"))
		wait(11 * time.Second)
		shared := func(p *process, writers, readers int) {
			t.Helper()
			if r := p.Rules(); r.Writers != writers || r.Readers != readers {
				t.Errorf("limits are shared by %d and %d, want %d and %d", r.Writers, r.Readers, writers, readers)
			}
		}
		shared(a, 2, 2)
		shared(b, 2, 2)
		shared(q, 2, 2)
		b.kill()
		killed := time.Now()
		wait(10 * time.Second)
		shared(a, 2, 2)
		for a.Rules().Writers == 2 {
			wait(100 * time.Millisecond)
		}
		if took := time.Since(killed); took > 30*time.Second {
			t.Errorf("its part was taken over after %v", took)
		}
		shared(a, 1, 2)
		wait(removeAfter + tenants.ReadEvery)
		if workers, err := w.store.Workers(t.Context(), true); err != nil || len(workers) != 2 {
			t.Errorf("workers %+v, %v", workers, err)
		}
	})
}

func TestALeavingWorkerIsNotWaitedFor(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		wait(time.Second)
		if workers, err := w.store.Workers(t.Context(), true); err != nil || len(workers) != 1 || workers[0].ID != p.ID() {
			t.Fatalf("workers %+v, %v", workers, err)
		}
		p.leave()
		waiting, err := w.store.Await(t.Context(), w.suspend("acme"), 30*time.Second)
		if err != nil || waiting.Took != 0 || !strings.HasPrefix(waiting.String(), "no worker is alive") {
			t.Errorf("%v, %v", &waiting, err)
		}
	})
}

func TestConfirmationComesWithTheLastOldCall(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		wait(time.Minute)
		p.confirmed.Store(0) // a call that began before is under way
		revision := w.suspend("acme")
		waiting, err := w.store.Await(t.Context(), revision, 30*time.Second)
		late, ok := errors.AsType[*UnconfirmedError](err)
		if !ok || waiting.Took != 30*time.Second || len(late.Waiting.Missing) != 1 || !strings.Contains(err.Error(), p.ID()) {
			t.Fatalf("%v, %v", &waiting, err)
		}
		p.confirmed.Store(revision)
		if waiting, err = w.store.Await(t.Context(), revision, 30*time.Second); err != nil || waiting.Took > time.Second {
			t.Errorf("%v, %v", &waiting, err)
		}
	})
}

// TestADeadWorkerIsWaitedForAsLongAsItMayWrite: those who suspend wait until it counts as dead, those who erase until its lease and
// its longest call are over.
func TestADeadWorkerIsWaitedForAsLongAsItMayWrite(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		wait(time.Second)
		p.kill()
		revision := w.suspend("acme")
		waiting, err := w.store.Await(t.Context(), revision, 30*time.Second)
		if err != nil || waiting.Took > tenants.DeadAfter || waiting.Took < 20*time.Second || len(waiting.Dead) != 1 {
			t.Errorf("suspend: %+v, %v", waiting, err)
		}
		if waiting, err = w.store.AwaitQuiet(t.Context(), revision, time.Minute); err != nil || waiting.Took != Presumed || len(waiting.Dead) != 1 {
			t.Errorf("erase: %+v, %v", waiting, err)
		}
		wait(2 * time.Minute)
		if waiting, err = w.store.Await(t.Context(), revision, 30*time.Second); err != nil || waiting.Took != proveLife {
			t.Errorf("suspend later: %+v, %v", waiting, err)
		}
	})
}

// TestKilledBetweenDecisionAndRevision: workers see the decision within a minute, and deciding again confirms it.
func TestKilledBetweenDecisionAndRevision(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		wait(time.Minute)
		d := tenants.Decision{Tenant: "acme", Status: tenants.Suspended}
		if _, err := w.store.write(t.Context(), "acme", func(tenants.Decision) (tenants.Decision, error) { return d, nil }); err != nil {
			t.Fatal(err)
		}
		wait(rereadEvery + tenants.ReadEvery)
		if p.Rules().Of("acme") == nil {
			t.Error("the decision is not obeyed")
		}
		if waiting, err := w.store.Await(t.Context(), w.suspend("acme"), 30*time.Second); err != nil || len(waiting.Confirmed) != 1 {
			t.Errorf("%v, %v", &waiting, err)
		}
	})
}

// TestClocksDiffer: a worker whose clock is off by an hour is alive for all others.
func TestClocksDiffer(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		put := func(beat, confirmed int64, off time.Duration) {
			t.Helper()
			now := time.Now().Add(off)
			other := Worker{ID: "other", Host: "h", Role: "all", Updated: now, Beat: beat, Confirmed: confirmed, Expires: now.Add(workerStays)}
			in := workerItem(&other)
			if _, err := p.cfg.API.PutItem(t.Context(), putItem(in)); err != nil {
				t.Fatal(err)
			}
		}
		for _, off := range []time.Duration{-time.Hour, time.Hour} {
			put(1, 0, off)
			wait(tenants.TellEvery)
			put(2, 0, off)
			wait(tenants.ReadEvery)
			if p.Rules().Writers != 2 {
				t.Errorf("clock off by %v: shared by %d", off, p.Rules().Writers)
			}
			revision := w.suspend("acme")
			waiting, err := w.store.Await(t.Context(), revision, 5*time.Second)
			if _, late := errors.AsType[*UnconfirmedError](err); !late || len(waiting.Missing) == 0 {
				t.Errorf("clock off by %v: %+v, %v", off, waiting, err)
			}
			wait(time.Minute)
			if p.Rules().Writers != 1 {
				t.Errorf("clock off by %v: the dead one has a part", off)
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.suspend("acme")
		p := w.start(w.process("all"))
		r := prometheus.NewPedanticRegistry()
		p.Register(r)
		wait(2 * time.Second)
		if err := testutil.GatherAndCompare(r, strings.NewReader(`
# HELP tributary_control_age_seconds Time since the control partition was last read, or since the start. The worker writes nothing from 20 seconds on. 0 while it is not governed.
# TYPE tributary_control_age_seconds gauge
tributary_control_age_seconds 2
# HELP tributary_tenants_suspended Tenants that are suspended, as this worker obeys it.
# TYPE tributary_tenants_suspended gauge
tributary_tenants_suspended 1
# HELP tributary_workers_alive Workers that are alive, as this one sees it, itself included.
# TYPE tributary_workers_alive gauge
tributary_workers_alive 1
`)); err != nil {
			t.Error(err)
		}
		if s := p.Status(); s.Revision != 1 || s.Confirmed != 1 || s.Decisions != 1 || s.Writers != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestAgeOfAWorkerThatNeverRead: it holds its writes, so its age grows from the start. One that may not read is not governed: its age is 0.
func TestAgeOfAWorkerThatNeverRead(t *testing.T) {
	for code, want := range map[string]float64{"InternalServerError": 90, "AccessDeniedException": 0} {
		within(t, func(t *testing.T, w *world) {
			p := w.process("all")
			p.down.Store(&refusal{code: code})
			began := time.Now()
			w.start(p)
			wait(time.Until(began.Add(90 * time.Second)))
			if got := p.Status().Age; got != want {
				t.Errorf("%s: the age is %v, want %v", code, got, want)
			}
			p.down.Store(nil)
			wait(2 * time.Minute)
			if got := p.Status(); got.Age > 6 || !got.Governed {
				t.Errorf("%s: after a read: %+v", code, got)
			}
		})
	}
}

// TestAnIdleWorkerCostsLittle counts the calls of ten minutes: the ADR promises few.
func TestAnIdleWorkerCostsLittle(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		before := p.calls.Load()
		wait(10 * time.Minute)
		// 120 to 133 looks with the jitter, each of a GetItem and a Query, ten reads of the decisions, 60 items of its own.
		if n := p.calls.Load() - before; n > 2*134+10+61 {
			t.Errorf("%d calls", n)
		}
	})
}

// TestWake: a process that was paused looks at once, and is not held up while its lease lasts.
func TestWake(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("lambda"))
		wait(tenants.ReadEvery / 2)
		before, began := p.calls.Load(), time.Now()
		p.Wake(t.Context())
		synctest.Wait()
		if p.calls.Load() != before || time.Since(began) > 0 {
			t.Errorf("it has looked %v too early, and waited %v", tenants.ReadEvery/2, time.Since(began))
		}

		p.slow.Store(int64(time.Second))
		p.down.Store(&refusal{code: "ThrottlingException"})
		wait(tenants.Lease + tenants.ReadEvery)
		p.down.Store(nil)
		w.suspend("acme")
		began = time.Now()
		p.Wake(t.Context())
		if took := time.Since(began); p.Rules().TooOld(time.Now()) || p.Rules().Of("acme") == nil || took > 10*time.Second {
			t.Errorf("after %v the rules are %+v", took, p.Rules())
		}

		p.down.Store(&refusal{code: "ThrottlingException"})
		wait(tenants.Lease + tenants.ReadEvery)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began = time.Now()
		p.Wake(ctx)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it waited for %v, although its time was over after 3s", took)
		}
	})
}

// TestTooOldRulesAreReadInAHurry: a worker that writes nothing because it can't look looks again sooner.
func TestTooOldRulesAreReadInAHurry(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := w.start(w.process("all"))
		p.down.Store(&refusal{code: "ThrottlingException"})
		wait(time.Minute)
		p.down.Store(nil)
		wait(hurry + time.Millisecond)
		if p.Rules().TooOld(time.Now()) {
			t.Error("the rules are still too old")
		}
	})
}

// TestALambdaTakesItsPart: of the limits of write units, and not of those of requests.
func TestALambdaTakesItsPart(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		all := w.start(w.process("all"))
		w.start(w.process("lambda"))
		wait(tenants.ReadEvery + time.Second)
		if r := all.Rules(); r.Writers != 2 || r.Readers != 1 {
			t.Errorf("%d writers, %d readers", r.Writers, r.Readers)
		}
	})
}

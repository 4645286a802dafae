package writer

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/tenants"
)

// obey makes the rig obey decisions, as "a suspended" or "a erasing". They don't get old.
func (r *rig) obey(decisions ...string) { r.s.obey(r.now, rulesOf(1, time.Time{}, decisions...)) }

func rulesOf(revision int64, until time.Time, decisions ...string) *tenants.Rules {
	var ds []*tenants.Decision
	for _, text := range decisions {
		tenant, status, _ := strings.Cut(text, " ")
		s, known := tenants.ParseStatus(status)
		if !known {
			panic(text)
		}
		ds = append(ds, &tenants.Decision{Tenant: tenant, Status: s})
	}
	return tenants.NewRules(revision, until, 1, 1, ds)
}

// redeliver submits a group that was received before.
func (r *rig) redeliver(name string, commands ...string) {
	r.offer(name, &Group{Redelivered: true}, commands...)
}

// offer submits a group with settings, as submit does.
func (r *rig) offer(name string, g *Group, commands ...string) Admission {
	g.Owner, g.Writes = nobody{}, make([]Write, len(commands))
	for i, c := range commands {
		g.Writes[i].Command = order(c)
	}
	r.groups[name] = g
	return r.s.submit(r.now, g)
}

func TestSuspension(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*rig)
		want map[string]string
	}{
		{"what waits goes back, others are written", func(r *rig) {
			r.submit("a", "a/1", "a/2@1")
			r.submit("b", "b/1")
			r.obey("a suspended")
			r.apply(r.mustTake("b/1"), answer{})
		}, map[string]string{"a": "handed_back handed_back", "b": "written"}},
		{"a message with another tenant goes back whole", func(r *rig) {
			r.submit("ab", "a/1", "b/1")
			r.obey("b suspended")
		}, map[string]string{"ab": "handed_back handed_back"}},
		{"one that must be held because of a share goes back too", func(r *rig) {
			r.offer("fifo", &Group{Hold: true}, "a/1")
			r.obey("a suspended")
		}, map[string]string{"fifo": "handed_back"}},
		{"one in flight keeps its outcome", func(r *rig) {
			r.submit("a", "a/1")
			c := r.mustTake("a/1")
			r.obey("a suspended")
			r.apply(c, answer{})
		}, map[string]string{"a": "written"}},
		{"one in flight that was left over goes back", func(r *rig) {
			r.submit("a", "a/1", "a/2")
			c := r.mustTake("a/1 a/2")
			r.obey("a suspended")
			r.apply(c, answer{left: []int{0, 1}})
		}, map[string]string{"a": "handed_back handed_back"}},
		{"parts of a refused batch go back", func(r *rig) {
			r.submit("a", "a/1", "a/2")
			c := r.mustTake("a/1 a/2")
			r.obey("a suspended")
			r.s.apply(r.now, c, refusedAlone)
		}, map[string]string{"a": "handed_back handed_back"}},
		{"parts that wait to be sent go back", func(r *rig) {
			r.submit("a", "a/1", "a/2", "b/1")
			r.s.apply(r.now, r.mustTake("a/1 a/2 b/1"), answer{verdict: throttledTenant})
			r.obey("a suspended")
		}, map[string]string{"a": "handed_back handed_back handed_back"}},
		{"a suspect goes back", func(r *rig) {
			r.submit("a", "a/1")
			r.refuse("a/1")
			r.obey("a suspended")
		}, map[string]string{"a": "handed_back"}},
		{"what is touched is held until it is resumed", func(r *rig) {
			r.submit("a", "a/1", "a/2")
			r.apply(r.mustTake("a/1 a/2"), answer{left: []int{1}})
			r.obey("a suspended")
			r.now = r.now.Add(time.Minute)
			r.mustTake("")
			r.check(map[string]string{"a": "written pending"})
			r.obey()
			r.apply(r.mustTake("a/2"), answer{})
		}, map[string]string{"a": "written written"}},
		{"what is touched goes back when the writer drains", func(r *rig) {
			r.submit("a", "a/1", "a/2")
			r.apply(r.mustTake("a/1 a/2"), answer{left: []int{1}})
			r.obey("a suspended")
			r.s.drain(r.now)
		}, map[string]string{"a": "written handed_back"}},
		{"a write that may have been written is held", func(r *rig) {
			r.submit("a", "a/1")
			c := r.mustTake("a/1")
			r.obey("a suspended")
			r.apply(c, answer{verdict: trouble})
			r.check(map[string]string{"a": "pending"})
			r.s.close(r.now)
		}, map[string]string{"a": "handed_back"}},
		{"what one in flight has overtaken waits for its answer", func(r *rig) {
			r.submit("1", "a/1")
			r.submit("2", "a/1")
			c := r.mustTake("a/1")
			r.obey("a suspended")
			r.check(map[string]string{"1": "pending"})
			r.apply(c, answer{})
		}, map[string]string{"1": "superseded", "2": "written"}},
		{"a paused key goes back", func(r *rig) {
			r.submit("a", "a/1", "a/2")
			r.s.pauseForTest(r, "a/1 a/2")
			r.obey("a suspended")
			r.check(map[string]string{"a": "pending pending"}) // it may have been written
			r.s.close(r.now)
		}, map[string]string{"a": "handed_back handed_back"}},
		{"letters are refused in the same way", func(r *rig) {
			r.s.obey(r.now, tenants.NewRules(1, time.Time{}, 1, 1, []*tenants.Decision{{Tenant: "a", Status: tenants.Suspended, Letters: true}}))
			if got := r.offer("a", &Group{}, "b/1", "a/1"); got != Suspended {
				r.t.Errorf("a suspended tenant's group: %v", got)
			}
		}, map[string]string{"a": "pending pending"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, Config{})
			test.do(r)
			r.check(test.want)
			if !r.s.closed {
				r.s.close(r.now)
			}
			r.empty()
			barred := 0
			for _, a := range r.s.tenants {
				if a.verdict != tenants.Write {
					barred++
				}
			}
			if r.s.barred != barred {
				t.Errorf("%d tenants count as barred, and %d are", r.s.barred, barred)
			}
		})
	}
}

// pauseForTest lets a call fail until its writes are tried alone, and pauses the key of the first.
func (s *scheduler) pauseForTest(r *rig, call string) {
	for range soloFailures {
		r.now = r.now.Add(time.Minute)
		r.apply(r.mustTake(call), answer{verdict: trouble})
	}
	s.limiter.share = 0
	r.apply(r.take(), answer{verdict: trouble})
	if len(s.paused) != 1 {
		r.t.Fatalf("%d keys pause", len(s.paused))
	}
}

// TestAFIFOGroupGoesBackTogether: the later messages of a group go back with one, or none does.
func TestAFIFOGroupGoesBackTogether(t *testing.T) {
	links := func() (first, second, third *Group) {
		first, second, third = &Group{Hold: true}, &Group{Hold: true}, &Group{Hold: true}
		first.Later, second.Later = second, third
		return first, second, third
	}
	t.Run("all go back", func(t *testing.T) {
		r := newRig(t, Config{})
		first, second, third := links()
		r.offer("1", first, "a/1", "b/k")
		r.offer("2", second, "b/k")
		r.obey("a suspended")
		r.check(map[string]string{"1": "handed_back handed_back", "2": "handed_back"})
		if got := r.offer("3", third, "c/1"); got != Suspended || first.Back() != Suspended || second.Back() != Suspended {
			t.Errorf("one that came later: %v; back: %v and %v", got, first.Back(), second.Back())
		}
		r.empty()
	})
	t.Run("all are held with one that is touched", func(t *testing.T) {
		r := newRig(t, Config{})
		first, second, _ := links()
		r.offer("1", first, "a/1")
		r.offer("2", second, "b/1", "b/2")
		r.apply(r.mustTake("a/1 b/1 b/2"), answer{left: []int{0, 2}})
		r.obey("a suspended")
		r.check(map[string]string{"1": "pending", "2": "written pending"})
		r.now = r.now.Add(time.Minute)
		r.apply(r.mustTake("b/2"), answer{})
		r.obey("a suspended") // the agent obeys every five seconds
		r.check(map[string]string{"1": "handed_back", "2": "written written"})
		r.empty()
	})
	t.Run("one that is refused takes later ones along", func(t *testing.T) {
		r := newRig(t, Config{})
		first, second, _ := links()
		r.obey("a suspended")
		if one, two := r.offer("1", first, "a/1"), r.offer("2", second, "b/1"); one != Suspended || two != Suspended {
			t.Errorf("taken: %v, %v", one, two)
		}
	})
}

func TestErasure(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*rig)
		want map[string]string
	}{
		{"what waits is dropped, others are written", func(r *rig) {
			r.submit("ab", "a/1", "a/1@2", "b/1")
			r.submit("a", "a/1")
			r.obey("a erasing")
			r.check(map[string]string{"ab": "erased erased pending", "a": "erased"})
			r.apply(r.mustTake("b/1"), answer{})
		}, map[string]string{"ab": "erased erased written"}},
		{"what comes is dropped", func(r *rig) {
			r.obey("a erasing")
			r.submit("a", "a/1", "a/2@1")
		}, map[string]string{"a": "erased erased"}},
		{"what comes again is deleted before", func(r *rig) {
			r.obey("a erasing")
			r.redeliver("a", "a/1", "-a/2@7")
			r.check(map[string]string{"a": "pending pending"})
			c := r.mustTake("a/1 a/2")
			for _, w := range c.writes {
				if !w.Command.Delete || w.Versioned() {
					r.t.Errorf("%+v is sent", w.Command)
				}
			}
			r.apply(c, answer{})
			if got := show(&call{writes: []*Write{&r.groups["a"].Writes[1]}}); got != "a/2@7" {
				r.t.Errorf("the command is %s afterwards", got)
			}
		}, map[string]string{"a": "erased erased"}},
		{"what waits and came again is deleted before", func(r *rig) {
			r.redeliver("a", "a/1@1")
			r.obey("a erased")
			r.apply(r.mustTake("a/1"), answer{})
		}, map[string]string{"a": "erased"}},
		{"a delete that fails is tried again", func(r *rig) {
			r.obey("a erased")
			r.redeliver("a", "a/1@1")
			r.apply(r.mustTake("a/1"), answer{verdict: trouble})
			r.now = r.now.Add(time.Minute)
			r.apply(r.mustTake("a/1"), answer{left: []int{0}})
			r.now = r.now.Add(time.Minute)
			r.apply(r.mustTake("a/1"), answer{})
		}, map[string]string{"a": "erased"}},
		{"one in flight keeps its outcome", func(r *rig) {
			r.submit("a", "a/1")
			c := r.mustTake("a/1")
			r.obey("a erasing")
			r.apply(c, answer{})
		}, map[string]string{"a": "written"}},
		{"one in flight is deleted if the erasure has not waited", func(r *rig) {
			r.submit("a", "a/1@5")
			c := r.mustTake("a/1@5")
			r.obey("a erased")
			r.apply(c, answer{})
			r.check(map[string]string{"a": "pending"})
			r.apply(r.mustTake("a/1"), answer{})
		}, map[string]string{"a": "erased"}},
		{"likewise if its answer was late", func(r *rig) {
			r.submit("a", "a/1")
			c := r.mustTake("a/1")
			r.obey("a erasing")
			c.late = true
			r.apply(c, answer{})
			r.apply(r.mustTake("a/1"), answer{})
		}, map[string]string{"a": "erased"}},
		{"one that was left over is dropped", func(r *rig) {
			r.submit("a", "a/1", "a/2")
			c := r.mustTake("a/1 a/2")
			r.obey("a erasing")
			r.apply(c, answer{left: []int{1}})
		}, map[string]string{"a": "written erased"}},
		{"one that may have been written is deleted", func(r *rig) {
			r.submit("a", "a/1")
			c := r.mustTake("a/1")
			r.obey("a erasing")
			r.apply(c, answer{verdict: trouble})
			r.now = r.now.Add(time.Minute)
			r.apply(r.mustTake("a/1"), answer{})
		}, map[string]string{"a": "erased"}},
		{"a refused one is no dead letter", func(r *rig) {
			r.submit("a", "a/1@1")
			c := r.mustTake("a/1@1")
			r.obey("a erasing")
			r.s.apply(r.now, c, answer{verdict: spoiled, refusal: refusedAlone.refusal})
		}, map[string]string{"a": "erased"}},
		{"a suspect is dropped", func(r *rig) {
			r.submit("a", "a/1")
			r.refuse("a/1")
			probe := r.mustTake("probe")
			r.obey("a erasing")
			r.apply(probe, answer{})
		}, map[string]string{"a": "erased"}},
		{"parts that wait to be sent are dropped", func(r *rig) {
			r.submit("ab", "a/1", "b/1")
			r.s.apply(r.now, r.mustTake("a/1 b/1"), answer{verdict: invalid})
			r.obey("a erasing")
			r.apply(r.mustTake("b/1"), answer{})
		}, map[string]string{"ab": "erased written"}},
		{"what one in flight has overtaken is dropped", func(r *rig) {
			r.submit("1", "a/1")
			r.submit("2", "a/1")
			c := r.mustTake("a/1")
			r.obey("a erasing")
			r.check(map[string]string{"1": "erased", "2": "pending"})
			r.apply(c, answer{})
		}, map[string]string{"2": "written"}},
		{"deletes of one key overtake each other", func(r *rig) {
			r.obey("a erasing")
			r.redeliver("1", "a/1", "a/1@9")
			r.redeliver("2", "a/1")
			r.apply(r.mustTake("a/1"), answer{})
		}, map[string]string{"1": "erased erased", "2": "erased"}},
		{"a delete hides no later write after the erasure is over", func(r *rig) {
			r.obey("a erasing")
			r.received = 5
			r.redeliver("old", "a/1@1000")
			r.apply(r.mustTake("a/1"), answer{})
			r.obey()
			r.received = 6
			r.submit("new", "a/1")
			r.apply(r.mustTake("a/1"), answer{})
		}, map[string]string{"old": "erased", "new": "written"}},
		{"closing hands back what would be deleted", func(r *rig) {
			r.obey("a erasing")
			r.redeliver("a", "a/1@3")
			r.s.close(r.now)
			if c := r.groups["a"].Writes[0].Command; c.Version != 3 || c.Delete {
				r.t.Errorf("the command is %+v afterwards", c)
			}
		}, map[string]string{"a": "handed_back"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, Config{})
			test.do(r)
			r.check(test.want)
			r.empty()
		})
	}
}

func TestAnErasureExpires(t *testing.T) {
	r := newRig(t, Config{})
	rules := tenants.NewRules(1, time.Time{}, 1, 1, []*tenants.Decision{{Tenant: "a", Status: tenants.Erased, Expires: r.now.Add(time.Hour)}})
	r.s.obey(r.now, rules)
	r.submit("dropped", "a/1")
	r.now = r.now.Add(time.Hour)
	r.s.obey(r.now, rules)
	r.submit("written", "a/1")
	r.apply(r.mustTake("a/1"), answer{})
	r.check(map[string]string{"dropped": "erased", "written": "written"})
}

func TestConfirmed(t *testing.T) {
	r := newRig(t, Config{})
	obey := func(revision int64) { r.s.obey(r.now, rulesOf(revision, time.Time{})) }
	check := func(want int64) {
		t.Helper()
		if got := r.s.confirmed(); got != want {
			t.Errorf("confirmed %d, want %d", got, want)
		}
	}
	check(0)
	r.submit("1", "a/1")
	first := r.mustTake("a/1")
	obey(3)
	check(0)
	r.submit("2", "a/2@1")
	second := r.mustTake("a/2@1")
	obey(5)
	obey(5)
	check(0)
	r.apply(first, answer{})
	check(3)
	r.s.unsent(r.now, second)
	check(5)
	r.apply(r.mustTake("a/2@1"), answer{})
	check(5)
	if len(r.s.older) != 0 {
		t.Errorf("%d eras are remembered", len(r.s.older))
	}
	r.empty()
}

// TestNothingIsSentByOldRules: neither writes nor probes, until newer rules are there.
func TestNothingIsSentByOldRules(t *testing.T) {
	r := newRig(t, Config{})
	until := r.now.Add(20 * time.Second)
	r.s.obey(r.now, rulesOf(1, until))
	r.submit("suspect", "a/1@1")
	r.refuse("a/1@1")
	r.submit("waits", "a/2")
	r.now = until
	if c, next := r.s.nextCall(r.now); c != nil || !next.IsZero() {
		t.Errorf("took %q, next %v", show(c), next)
	}
	r.s.obey(r.now, rulesOf(1, until.Add(time.Second)))
	probe := r.mustTake("probe")
	r.s.unsent(r.now, probe) // the goroutine was paused
	r.now = until.Add(time.Second)
	r.mustTake("")
	r.s.obey(r.now, rulesOf(1, until.Add(time.Minute)))
	r.apply(r.mustTake("probe"), answer{})
	r.apply(r.mustTake("a/1@1"), answer{})
	r.apply(r.mustTake("a/2"), answer{})
	r.check(map[string]string{"suspect": "written", "waits": "written"})
	r.empty()
}

// paused is a table whose calls take a time, and that counts what it is asked.
type paused struct {
	takes time.Duration
	puts  int
	dels  int
	units Units
}

func (p *paused) BatchWrite(_ context.Context, writes []*Write) ([]int, Units, error) {
	for _, w := range writes {
		if w.Command.Delete {
			p.dels++
		} else {
			p.puts++
		}
	}
	time.Sleep(p.takes)
	return nil, p.units, nil
}

func (p *paused) PutVersion(context.Context, *Write) (Units, error) { return Units{}, nil }
func (p *paused) Probe(context.Context, *messages.Command) error    { return nil }
func (p *paused) run(t *testing.T, log *bytes.Buffer) (*Writer, func()) {
	w := New(Config{Writers: 1}.Defaults(), p, &metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10).Writer, slog.New(slog.NewTextHandler(log, nil)))
	done := make(chan struct{})
	go func() { w.Run(t.Context()); close(done) }()
	return w, func() { w.Close(); <-done }
}

// TestAnAnswerAfterTheLease: it is kept until newer rules say whether the tenant was erased in the meantime.
func TestAnAnswerAfterTheLease(t *testing.T) {
	for name, test := range map[string]struct {
		obey      *tenants.Rules // nil: the writer is closed
		want      Outcome
		dels      int
		confirmed int64
	}{
		"nothing was decided":   {rulesOf(2, time.Time{}), Written, 0, 2},
		"the tenant was erased": {rulesOf(2, time.Time{}, "a erasing"), Erased, 1, 2},
		"the writer is closed":  {nil, HandedBack, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				p := &paused{takes: 30 * time.Second}
				w, stop := p.run(t, &log)
				w.Obey(rulesOf(1, time.Now().Add(tenants.Lease)))
				o := &tally{outcomes: map[Outcome]int{}}
				submit(w, o, "a/1")
				time.Sleep(31 * time.Second)
				synctest.Wait()
				p.takes = 0
				submit(w, o, "b/1")
				synctest.Wait()
				if len(o.outcomes) != 0 || !w.Stats().TooOld || p.puts != 1 {
					t.Errorf("by old rules: %v, %+v, %d puts", o.outcomes, w.Stats(), p.puts)
				}
				if test.obey == nil {
					stop()
					if o.outcomes[HandedBack] != 2 {
						t.Errorf("outcomes: %v", o.outcomes)
					}
					return
				}
				w.Obey(test.obey)
				synctest.Wait()
				if o.outcomes[test.want] == 0 || o.groups != 2 || p.dels != test.dels || w.Confirmed() != test.confirmed {
					t.Errorf("outcomes %v, %d deletes, confirmed %d", o.outcomes, p.dels, w.Confirmed())
				}
				if got := strings.Count(log.String(), "level=WARN"); got != 1 || strings.Count(log.String(), "writing goes on") != 1 {
					t.Errorf("the log: %s", log.String())
				}
				stop()
			})
		})
	}
}

// meter adds up what tenants use. The calls of these tests are made one after the other.
type meter map[string]tenants.Usage

func (m meter) Used(tenant string, u *tenants.Usage) {
	sum := m[tenant]
	sum.Add(u)
	m[tenant] = sum
}

// TestUsage: each tenant gets its part of what a call has consumed. What no answer tells is estimated, and kept apart.
func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		commands string
		answer   answer
		want     map[string]tenants.Usage
	}{
		"a batch": {"a/1 b/1 -b/2", answer{units: Units{Table: 3, Index: 2}}, map[string]tenants.Usage{
			"a": {Writes: 1, Bytes: 50, TableUnits: 1, IndexUnits: 1}, "b": {Writes: 2, Deletes: 1, Bytes: 69, TableUnits: 2, IndexUnits: 1},
		}},
		"leftovers": {"a/1 b/1", answer{units: Units{Table: 1, Index: 1}, left: []int{0}}, map[string]tenants.Usage{
			"b": {Writes: 1, Bytes: 50, TableUnits: 1, IndexUnits: 1},
		}},
		"an endpoint that does not count": {"a/1", answer{}, map[string]tenants.Usage{
			"a": {Writes: 1, Bytes: 50, EstimatedTableUnits: 1, EstimatedIndexUnits: 1},
		}},
		"a lost answer":               {"a/1 a/2", answer{verdict: trouble}, map[string]tenants.Usage{"a": {EstimatedTableUnits: 2, EstimatedIndexUnits: 2}}},
		"a condition that is not met": {"a/1@1", answer{verdict: stale}, map[string]tenants.Usage{"a": {EstimatedTableUnits: 1}}},
		"a throttle":                  {"a/1", answer{verdict: throttledTable}, map[string]tenants.Usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.submit("m", strings.Fields(test.commands)...)
			c := r.take()
			attribute(c, test.answer.left, test.answer.units)
			got := meter{}
			if measure(got, c, test.answer); !maps.Equal(got, test.want) {
				t.Errorf("used %+v, want %+v", got, test.want)
			}
		})
	}
}

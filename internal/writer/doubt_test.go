package writer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/test/support/commands"
)

var refusedAlone = answer{verdict: invalid, refusal: &messages.Error{Reason: messages.ReasonRefused, Detail: "no"}}

// refuse answers a call of one write without answering the probe that follows.
func (r *rig) refuse(want string) { r.s.apply(r.now, r.mustTake(want), refusedAlone) }

func TestDoubt(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*rig)
		want map[string]string
	}{
		{"the table takes the probe: the write is refused, at once", func(r *rig) {
			r.submit("bad", "a/1")
			r.refuse("a/1")
			r.check(map[string]string{"bad": "pending"})
			r.apply(r.mustTake("probe"), answer{})
			r.refuse("a/1")
			r.check(map[string]string{"bad": "pending"})
			r.apply(r.mustTake("probe"), answer{})
		}, map[string]string{"bad": "dead_lettered"}},
		{"the table was repaired before the probe: the write passes", func(r *rig) {
			r.submit("good", "a/1", "a/2@1")
			r.apply(r.mustTake("a/1"), answer{})
			r.refuse("a/2@1")
			r.apply(r.mustTake("probe"), answer{})
			r.apply(r.mustTake("a/2@1"), answer{})
		}, map[string]string{"good": "written written"}},
		{"the table refuses the second probe: the write goes back and is doubted anew", func(r *rig) {
			r.submit("bad", "a/1")
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), answer{})
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), refusedAlone)
			r.now = r.now.Add(time.Second)
			r.apply(r.mustTake("probe"), answer{})
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), answer{})
			r.check(map[string]string{"bad": "pending"})
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), answer{})
		}, map[string]string{"bad": "dead_lettered"}},
		{"other writes are sent beside the probe", func(r *rig) {
			r.submit("bad", "a/1")
			r.submit("behind", "a/1@2")
			r.refuse("a/1")
			r.submit("good", "a/2")
			probe := r.mustTake("probe")
			r.now = r.now.Add(time.Second)
			r.apply(r.mustTake("a/2"), answer{})
			r.check(map[string]string{"good": "written", "bad": "pending"})
			r.apply(probe, answer{})
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), answer{})
			r.apply(r.mustTake("a/1@2"), answer{})
		}, map[string]string{"bad": "dead_lettered", "behind": "written"}},
		{"the table refuses the probe: all are held until it takes one", func(r *rig) {
			r.submit("m", "a/1")
			r.refuse("a/1")
			r.submit("n", "a/2", "b/1")
			r.apply(r.mustTake("probe"), refusedAlone)
			for range 20 {
				if c, next := r.s.nextCall(r.now); c != nil || !next.After(r.now) || next.Sub(r.now) > maxDoubtPause {
					r.t.Fatalf("took %q, next %v", show(c), next.Sub(r.now))
				} else {
					r.now = next
				}
				r.apply(r.mustTake("probe"), refusedAlone)
			}
			r.check(map[string]string{"m": "pending", "n": "pending pending"})
			r.now = r.now.Add(maxDoubtPause)
			r.apply(r.mustTake("probe"), answer{})
			r.apply(r.mustTake("a/1 a/2 b/1"), answer{})
		}, map[string]string{"m": "written", "n": "written written"}},
		{"a bad one among those that were held is refused alone afterwards", func(r *rig) {
			r.submit("m", "a/1")
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), refusedAlone)
			r.now = r.now.Add(time.Second)
			r.apply(r.mustTake("probe"), answer{})
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), answer{})
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), answer{})
		}, map[string]string{"m": "dead_lettered"}},
		{"writes in flight when the table began to refuse are held", func(r *rig) {
			r.submit("m", "a/1@1")
			r.submit("n", "a/2@1")
			r.submit("o", "a/3", "a/4")
			batch := r.mustTake("a/3 a/4")
			second := r.mustTake("a/1@1")
			r.refuse("a/2@1")
			r.apply(r.mustTake("probe"), refusedAlone)
			r.s.apply(r.now, second, refusedAlone)
			r.s.apply(r.now, batch, refusedAlone)
			if c := r.take(); c != nil || r.s.waiting != 4 {
				r.t.Fatalf("took %q, %d wait", show(c), r.s.waiting)
			}
			r.s.abandon(r.now, r.groups["m"]) // held writes can be handed back
		}, map[string]string{"m": "handed_back", "n": "pending", "o": "pending pending"}},
		{"parts of a batch that wait are held", func(r *rig) {
			r.submit("m", "a/1", "a/2", "a/3")
			r.s.apply(r.now, r.mustTake("a/1 a/2 a/3"), refusedAlone)
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), refusedAlone)
			if c := r.take(); c != nil || r.s.waiting != 3 {
				r.t.Fatalf("took %q, %d wait", show(c), r.s.waiting)
			}
			r.now = r.now.Add(time.Second)
			r.apply(r.mustTake("probe"), answer{})
			r.apply(r.mustTake("a/1 a/2 a/3"), answer{})
		}, map[string]string{"m": "written written written"}},
		{"a probe decides on its shape alone", func(r *rig) {
			r.submit("put", "a/1@1")
			r.submit("delete", "-a/2@1")
			r.refuse("a/1@1")
			first := r.mustTake("probe")
			r.refuse("a/2@1")
			r.apply(first, answer{})
			r.apply(r.mustTake("probe"), answer{}) // the delete's
			r.refuse("a/1@1")
			r.apply(r.mustTake("probe"), answer{})
			r.check(map[string]string{"put": "dead_lettered", "delete": "pending"})
			r.refuse("a/2@1")
			r.apply(r.mustTake("probe"), answer{})
		}, map[string]string{"delete": "dead_lettered"}},
		{"one probe for many", func(r *rig) {
			r.submit("m", "a/1@1", "a/2@1", "a/3@1")
			calls := []*call{r.mustTake("a/1@1"), r.mustTake("a/2@1"), r.mustTake("a/3@1")}
			for _, c := range calls {
				r.s.apply(r.now, c, refusedAlone)
			}
			r.apply(r.mustTake("probe"), answer{})
			for _, c := range []*call{r.mustTake("a/1@1"), r.mustTake("a/2@1"), r.mustTake("a/3@1")} {
				r.s.apply(r.now, c, refusedAlone)
			}
			r.apply(r.mustTake("probe"), answer{})
		}, map[string]string{"m": "dead_lettered dead_lettered dead_lettered"}},
		{"a probe that is throttled says nothing, and is sent again", func(r *rig) {
			r.submit("m", "a/1")
			r.refuse("a/1")
			for _, v := range []verdict{throttledTenant, trouble, throttledTable} {
				r.apply(r.mustTake("probe"), answer{verdict: v})
				r.check(map[string]string{"m": "pending"})
				if c := r.take(); c != nil {
					r.t.Fatalf("took %q", show(c))
				}
				r.now = r.now.Add(maxDoubtPause)
			}
			r.apply(r.mustTake("probe"), answer{})
			r.refuse("a/1")
			r.apply(r.mustTake("probe"), answer{})
		}, map[string]string{"m": "dead_lettered"}},
		{"an item without a usable version puts no table in doubt", func(r *rig) {
			r.submit("m", "a/1@1")
			r.s.apply(r.now, r.mustTake("a/1@1"), answer{verdict: spoiled, refusal: refusedAlone.refusal})
		}, map[string]string{"m": "dead_lettered"}},
		{"closing hands suspects back", func(r *rig) {
			r.submit("probed", "a/1@1")
			r.submit("suspect", "-a/2@1")
			r.refuse("a/1@1")
			probe := r.mustTake("probe")
			r.refuse("a/2@1")
			r.s.close(r.now)
			r.check(map[string]string{"suspect": "handed_back", "probed": "pending"})
			r.apply(probe, answer{verdict: trouble})
		}, map[string]string{"probed": "handed_back"}},
		{"a write that is refused after closing is handed back", func(r *rig) {
			r.submit("m", "a/1")
			c := r.mustTake("a/1")
			r.s.close(r.now)
			r.s.apply(r.now, c, refusedAlone)
		}, map[string]string{"m": "handed_back"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, Config{})
			test.do(r)
			r.check(test.want)
			if !r.s.closed {
				r.s.close(r.now)
			}
			r.empty()
		})
	}
}

// TestProbeLike: a probe is a good command of a tenant that no command can have.
func TestProbeLike(t *testing.T) {
	if messages.CheckTenantID(probeTenant) == nil {
		t.Error("a command can have a probe's key")
	}
	for _, like := range []messages.Command{commands.PutUser("t", "u", "n", "e"), commands.PutOrder("t", "o", "u", "7"), commands.DeleteUser("t", "u"), commands.DeleteOrder("t", "o")} {
		plain, high, more := like, commands.Version(like, 1<<60), commands.Version(like, 1)
		more.Attributes = `{"a":1}`
		for _, c := range []messages.Command{plain, high, more} {
			if c.Delete && c.Attributes != "" {
				continue
			}
			p := *probeLike(&c)
			if p.Type != c.Type || p.Delete != c.Delete || p.Values.Given() != c.Values.Given() || (p.Version > 0) != (c.Version > 0) || (p.Attributes == "") != (c.Attributes == "") {
				t.Errorf("%+v is not like %+v", p, c)
			}
			p.TenantID = "t"
			if err := p.Validate(); err != nil {
				t.Errorf("%+v: %v", p, err)
			}
		}
	}
}

// otherTable refuses everything until a time, as a table with other keys does. Afterwards it refuses only the order named bad.
type otherTable struct {
	until time.Time

	mu     sync.Mutex
	calls  int // guarded by mu
	probes int // guarded by mu
}

func (f *otherTable) BatchWrite(_ context.Context, writes []*Write) ([]int, Units, error) {
	for _, w := range writes {
		if w.Command.Get("order_id") == "bad" {
			return nil, Units{}, f.answer(&f.calls, true)
		}
	}
	return nil, Units{}, f.answer(&f.calls, false)
}

func (f *otherTable) PutVersion(_ context.Context, w *Write) (Units, error) {
	return Units{}, f.answer(&f.calls, w.Command.Get("order_id") == "bad")
}

func (f *otherTable) Probe(context.Context, *messages.Command) error {
	return f.answer(&f.probes, false)
}

func (f *otherTable) answer(count *int, bad bool) error {
	time.Sleep(5 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	*count++
	if bad || time.Now().Before(f.until) {
		return &smithy.GenericAPIError{Code: "ValidationException", Message: "words that nothing goes by"}
	}
	return nil
}

// TestATableWithOtherKeysEmptiesNoQueue: a table that refuses every write costs no command, and is logged once.
func TestATableWithOtherKeysEmptiesNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &otherTable{until: time.Now().Add(5 * time.Minute)}
		m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
		var log bytes.Buffer
		w := New(Config{}.Defaults(), f, &m.Writer, slog.New(slog.NewTextHandler(&log, nil)))
		done := make(chan struct{})
		go func() { w.Run(t.Context()); close(done) }()
		o := &tally{outcomes: map[Outcome]int{}}
		for i := range 200 {
			submit(w, o, fmt.Sprintf("t%d/%d", i%10, i), fmt.Sprintf("t%d/v%d@1", i%10, i))
		}
		time.Sleep(5*time.Minute - time.Second)
		synctest.Wait()
		if s := w.Stats(); len(o.outcomes) != 0 || !s.Refusing || !s.Outage || s.Waiting != 400 {
			t.Errorf("after five minutes: %v, %+v", o.outcomes, s)
		}
		if f.calls > 250 || f.probes < 50 || f.probes > 150 {
			t.Errorf("%d calls and %d probes", f.calls, f.probes)
		}
		if n := strings.Count(log.String(), "level="); n != 1 || !strings.Contains(log.String(), "words that nothing goes by") {
			t.Errorf("%d lines in the log: %s", n, log.String())
		}
		if v := testutil.ToFloat64(m.Refusing); v != 1 {
			t.Errorf("the metric is %v", v)
		}
		submit(w, o, "a/bad")
		time.Sleep(time.Second + maxDoubtPause + time.Second)
		synctest.Wait()
		if s := w.Stats(); o.outcomes[Written] != 400 || o.outcomes[Refused] != 1 || s.Refusing || s.Outage {
			t.Errorf("after its end: %v, %+v", o.outcomes, s)
		}
		if v := testutil.ToFloat64(m.Refusing); v != 0 || strings.Count(log.String(), "level=") != 2 {
			t.Errorf("the metric is %v, the log %s", v, log.String())
		}
		w.Close()
		<-done
	})
}

// TestABadCommandOfAnIdleWorkerIsRefusedAtOnce: it takes two calls of its own and two probes.
func TestABadCommandOfAnIdleWorkerIsRefusedAtOnce(t *testing.T) {
	for _, bad := range []string{"a/bad", "a/bad@1"} {
		synctest.Test(t, func(t *testing.T) {
			f := &otherTable{}
			m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
			w := New(Config{}.Defaults(), f, &m.Writer, slog.New(slog.DiscardHandler))
			done := make(chan struct{})
			go func() { w.Run(t.Context()); close(done) }()
			o := &tally{outcomes: map[Outcome]int{}}
			submit(w, o, bad)
			time.Sleep(21 * time.Millisecond)
			synctest.Wait()
			if o.outcomes[Refused] != 1 || f.calls != 2 || f.probes != 2 {
				t.Errorf("%s: %v after %d calls and %d probes", bad, o.outcomes, f.calls, f.probes)
			}
			w.Close()
			<-done
		})
	}
}

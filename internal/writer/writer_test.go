package writer

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/table"
)

// slowTable takes latency for every call and refuses what DynamoDB refuses. It fails calls that begin before down.
type slowTable struct {
	t       *testing.T
	latency time.Duration
	down    time.Time

	mu       sync.Mutex
	inFlight map[table.Key]bool
	calls    int
	maxCalls int // calls at once
	now      int
	done     []time.Time
}

func (f *slowTable) BatchWrite(ctx context.Context, writes []*Write) ([]int, Units, error) {
	if len(writes) == 0 || len(writes) > 25 {
		f.t.Errorf("a batch of %d", len(writes))
	}
	return nil, Units{}, f.call(ctx, writes)
}

func (f *slowTable) PutVersion(ctx context.Context, w *Write) (Units, error) {
	return Units{}, f.call(ctx, []*Write{w})
}

func (f *slowTable) Probe(ctx context.Context, _ *messages.Command) error { return f.call(ctx, nil) }

func (f *slowTable) call(ctx context.Context, writes []*Write) error {
	f.mu.Lock()
	f.calls++
	f.now++
	f.maxCalls = max(f.maxCalls, f.now)
	down, latency := time.Now().Before(f.down), f.latency
	for _, w := range writes {
		k := table.KeyOf(&w.Command)
		if f.inFlight[k] {
			f.t.Errorf("two writes to %s %s in flight", k.PK(), k.SK())
		}
		f.inFlight[k] = true
	}
	f.mu.Unlock()
	var err error
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		err = ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now--
	for _, w := range writes {
		delete(f.inFlight, table.KeyOf(&w.Command))
	}
	if down {
		return fmt.Errorf("the table is down")
	}
	f.done = append(f.done, time.Now())
	return err
}

// tally is an Owner that counts outcomes.
type tally struct {
	mu       sync.Mutex
	outcomes map[Outcome]int
	groups   int
}

func (o *tally) Settled(g *Group) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.groups++
	for i := range g.Writes {
		o.outcomes[g.Writes[i].Outcome]++
	}
}

func start(t *testing.T, cfg Config, f *slowTable) (*Writer, *tally, func()) {
	f.t, f.inFlight = t, map[table.Key]bool{}
	w := New(cfg.Defaults(), f, &metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10).Writer, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { w.Run(t.Context()); close(done) }()
	return w, &tally{outcomes: map[Outcome]int{}}, func() { w.Close(); <-done }
}

func submit(w *Writer, o Owner, commands ...string) bool {
	g := &Group{Owner: o, Writes: make([]Write, len(commands))}
	for i, c := range commands {
		g.Writes[i].Command = order(c)
	}
	return w.Submit(g) == Admitted
}

func TestPoolWritesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowTable{latency: 5 * time.Millisecond}
		w, o, stop := start(t, Config{Writers: 8, Linger: 5 * time.Millisecond}, f)
		begun := time.Now()
		for i := range 1000 {
			submit(w, o, fmt.Sprintf("t%d/%d", i%10, i))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if o.outcomes[Written] != 1000 {
			t.Fatalf("outcomes: %v", o.outcomes)
		}
		// There are 40 full batches, at most eight at once. A batch that is not full may go first, while no call is under way.
		if f.calls > 41 || f.maxCalls != 8 {
			t.Errorf("%d calls, %d at once", f.calls, f.maxCalls)
		}
		if took := f.done[len(f.done)-1].Sub(begun); took > 6*f.latency {
			t.Errorf("took %v", took)
		}
		stop()
	})
}

func TestALoneCommandGoesAtOnceAndASecondLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowTable{latency: 100 * time.Millisecond}
		w, o, stop := start(t, Config{Linger: 5 * time.Millisecond}, f)
		begun := time.Now()
		submit(w, o, "a/1")
		synctest.Wait()
		submit(w, o, "a/2")
		time.Sleep(2 * time.Millisecond)
		submit(w, o, "a/3")
		time.Sleep(time.Second)
		stop()
		if len(f.done) != 2 || f.done[0].Sub(begun) != 100*time.Millisecond || f.done[1].Sub(begun) != 105*time.Millisecond {
			t.Errorf("calls ended after %v", f.done)
		}
	})
}

func TestOutageEndsQuickly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowTable{latency: 5 * time.Millisecond}
		w, o, stop := start(t, Config{Linger: time.Millisecond}, f)
		f.mu.Lock()
		f.down = time.Now().Add(5 * time.Second)
		f.mu.Unlock()
		for i := range 5000 {
			submit(w, o, fmt.Sprintf("t%d/%d", i%10, i))
		}
		time.Sleep(5*time.Second - time.Millisecond)
		synctest.Wait()
		if !w.Stats().Outage || w.Stats().Concurrency != 1 {
			t.Errorf("after five seconds of failures: %+v", w.Stats())
		}
		f.mu.Lock()
		probes := f.calls
		f.mu.Unlock()
		if probes > 300 {
			t.Errorf("%d calls during five seconds of outage", probes)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if o.outcomes[Written] != 5000 || w.Stats().Concurrency < 32 {
			t.Errorf("two seconds after its end: %v, %+v", o.outcomes, w.Stats())
		}
		stop()
	})
}

func TestACallThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowTable{latency: time.Hour}
		w, o, stop := start(t, Config{CallTimeout: 3 * time.Second}, f)
		submit(w, o, "a/1")
		synctest.Wait()
		f.mu.Lock()
		f.latency = time.Millisecond
		f.mu.Unlock()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if o.outcomes[Written] != 1 || f.calls != 2 {
			t.Errorf("outcomes %v after %d calls", o.outcomes, f.calls)
		}
		stop()
	})
}

func TestCloseWaitsForCallsAndHandsBackTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowTable{latency: time.Second}
		w, o, stop := start(t, Config{Writers: 1}, f)
		for i := range 60 {
			submit(w, o, fmt.Sprint("a/", i))
		}
		synctest.Wait()
		begun := time.Now()
		stop()
		if took := time.Since(begun); took != time.Second {
			t.Errorf("close took %v, want the one second that the call under way needs", took)
		}
		if o.groups != 60 || o.outcomes[Written]+o.outcomes[HandedBack] != 60 || o.outcomes[Written] == 0 {
			t.Errorf("outcomes: %v", o.outcomes)
		}
		if submit(w, o, "a/late") {
			t.Error("taken after close")
		}
	})
}

func TestVersionedWritesFlyOneACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowTable{latency: 5 * time.Millisecond}
		w, o, stop := start(t, Config{Writers: 8}, f)
		for i := range 64 {
			submit(w, o, fmt.Sprintf("a/%d@1", i))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if f.calls != 64 || f.maxCalls != 8 || o.outcomes[Written] != 64 {
			t.Errorf("%d calls, %d at once, %v", f.calls, f.maxCalls, o.outcomes)
		}
		stop()
	})
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Defaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for name, c := range map[string]Config{
		"writers":          {Writers: -1},
		"linger":           {Linger: time.Minute},
		"share over all":   {MaxInFlight: 10, TenantShare: 11},
		"bytes below 1MiB": {MaxInFlightBytes: 1000},
		"timeout":          {CallTimeout: -1},
	} {
		if c.Defaults().Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkTakeApply(b *testing.B) {
	for _, of := range []struct {
		name       string
		attributes string
	}{
		{"plain", ""},
		{"attributes", `{"lines":[` + strings.Repeat(`{"sku":"A-1","quantity":2},`, 1000) + `0]}`},
	} {
		b.Run(of.name, func(b *testing.B) { benchmarkTakeApply(b, of.attributes) })
	}
}

func benchmarkTakeApply(b *testing.B, attributes string) {
	s := newScheduler(Config{}.Defaults(), func() float64 { return 0.5 })
	now := time.Now()
	const n = 1000
	groups := make([]Group, n)
	for i := range groups {
		groups[i].Writes = make([]Write, 1)
		c := &groups[i].Writes[0].Command
		*c = order(fmt.Sprintf("tenant-%d/order-%d", i%100, i))
		c.Attributes = attributes
		if err := c.Validate(); err != nil { // as all that are decoded are
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range groups {
			c := groups[i].Writes[0].Command
			groups[i] = Group{Writes: groups[i].Writes}
			groups[i].Writes[0] = Write{Command: c}
			s.submit(now, &groups[i])
		}
		for c, _ := s.nextCall(now); c != nil; c, _ = s.nextCall(now) {
			s.apply(now, c, answer{})
		}
		s.settled = s.settled[:0]
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "commands/s")
}

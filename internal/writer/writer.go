// Package writer brings commands into the DynamoDB table: a pool of goroutines pulls batches from one scheduler that
// keeps every tenant's writes in a queue of their own, never lets two writes to one key fly at once, and gives
// every write an outcome of its own.
package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/telemetry"
)

// Table is what the writer asks of DynamoDB. Errors are the SDK's typed errors, which say whose a refusal is.
// Neither call may be retried below this interface: a retry would sleep inside a batch.
type Table interface {
	// BatchWrite carries out up to 25 unversioned writes to different keys by BatchWriteItem and returns the indexes of
	// those that DynamoDB left over.
	BatchWrite(ctx context.Context, writes []*Write) (left []int, err error)
	// PutVersion carries out one versioned write, on the condition that the item has no version or a lower one.
	PutVersion(ctx context.Context, w *Write) error
	// Probe sends a write that DynamoDB checks and that takes no effect, and returns nil if nothing but that kept it from
	// taking effect.
	Probe(ctx context.Context, c *messages.Command) error
}

// Config are the writer's settings.
type Config struct {
	// Writers is how many calls may be under way at once.
	Writers int
	// Linger is how long a part-filled batch may wait while other calls are under way.
	Linger time.Duration
	// MaxInFlight and MaxInFlightBytes are the room that the consumer admits into; the writer only takes shares of it.
	MaxInFlight      int
	MaxInFlightBytes int
	// TenantShare and TenantShareBytes are the most that one tenant may hold while it backs off.
	TenantShare      int
	TenantShareBytes int
	// CallTimeout is after how long a call is given up, with its outcome unknown.
	CallTimeout time.Duration
}

// Defaults of the settings that the consumer and the command line share.
const (
	DefaultMaxInFlight      = 10_000
	DefaultMaxInFlightBytes = 64 << 20
)

// Defaults fills what is zero.
func (c Config) Defaults() Config {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Writers, 64)
	set(&c.MaxInFlight, DefaultMaxInFlight)
	set(&c.MaxInFlightBytes, DefaultMaxInFlightBytes)
	set(&c.TenantShare, max(1, c.MaxInFlight/10))
	set(&c.TenantShareBytes, max(1, c.MaxInFlightBytes/10))
	if c.CallTimeout == 0 {
		c.CallTimeout = 10 * time.Second
	}
	return c
}

// Validate reports every setting that is out of range.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Writers >= 1 && c.Writers <= 4096, "--writers is %d: it must be 1 to 4096", c.Writers)
	check(c.Linger >= 0 && c.Linger <= time.Second, "--linger is %v: it must be 0s to 1s", c.Linger)
	check(c.MaxInFlight >= 1, "--max-in-flight is %d: it must be at least 1", c.MaxInFlight)
	check(c.MaxInFlightBytes >= 1<<20, "--max-in-flight-bytes is %d: it must be at least 1 MiB, the size of one message", c.MaxInFlightBytes)
	if len(errs) > 0 {
		return errors.Join(errs...) // what follows from these would be wrong as well
	}
	check(c.TenantShare >= 1 && c.TenantShare <= c.MaxInFlight, "a tenant's share is %d commands: it must be 1 to max-in-flight, %d", c.TenantShare, c.MaxInFlight)
	check(c.TenantShareBytes >= 1 && c.TenantShareBytes <= c.MaxInFlightBytes, "a tenant's share is %d bytes: it must be 1 to max-in-flight-bytes, %d", c.TenantShareBytes, c.MaxInFlightBytes)
	check(c.CallTimeout > 0, "call-timeout is %v: it must be over 0s", c.CallTimeout)
	return errors.Join(errs...)
}

// Writer owns the writes that were submitted until they are settled.
type Writer struct {
	cfg     Config
	table   Table
	metrics *metrics.Writer
	log     *slog.Logger

	tracing   *telemetry.Tracing // nil: off
	tableName string             // as spans name it

	mu      sync.Mutex
	changed *sync.Cond  // something may be due
	s       *scheduler  // guarded by mu
	timer   *time.Timer // rings when something may be due by the passing of time; guarded by mu
	alarm   time.Time   // when it rings; zero: not set; guarded by mu

	answers atomic.Uint64
}

// New makes a writer. Its Run must be called for anything to be written.
func New(cfg Config, t Table, m *metrics.Writer, log *slog.Logger) *Writer {
	w := &Writer{cfg: cfg, table: t, metrics: m, log: log, s: newScheduler(cfg, rand.Float64)}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// Trace makes calls to the table of that name have spans. It is called before Run, or not at all.
func (w *Writer) Trace(t *telemetry.Tracing, table string) { w.tracing, w.tableName = t, table }

// span begins a call's span, if anything that it writes is traced.
func (w *Writer) span(ctx context.Context, c *call, operation string) (context.Context, telemetry.Span) {
	if w.tracing == nil {
		return ctx, telemetry.Span{}
	}
	of := make([]telemetry.Span, len(c.writes))
	for i, x := range c.writes {
		of[i] = x.group.Span
	}
	return w.tracing.Write(ctx, operation, w.tableName, of)
}

// Submit hands a group over, never blocks, and says whether the writer took it. It does not when a tenant of the
// group backs off and holds its share already, nor after Close: the group is then untouched. A group that later writes have
// overtaken whole before it came is settled, and its owner told, before Submit returns.
func (w *Writer) Submit(g *Group) bool {
	now := time.Now()
	w.mu.Lock()
	ok := w.s.submit(now, g)
	if ok {
		w.nudge(now)
	}
	overtaken := len(w.s.settled) > 0 // it is g: whoever settles others collects them before the mutex is free
	w.s.settled = nil
	w.mu.Unlock()
	if overtaken {
		g.Owner.Settled(g)
	}
	return ok
}

// Abandon hands back what is not written of a group: what waits at once, what flies when it comes back unwritten.
// The owner is told as always.
func (w *Writer) Abandon(g *Group) {
	w.step(func(now time.Time) { w.s.abandon(now, g) })
}

// Drain makes stalled tenants hand back, now and from here on, what is untouched.
func (w *Writer) Drain() {
	w.step(func(now time.Time) { w.s.drain(now) })
}

// Close hands back all that waits, refuses further groups and lets Run return once no call is under way.
func (w *Writer) Close() {
	w.step(func(now time.Time) { w.s.close(now) })
}

// step changes the scheduler's state and tells the owners of what was settled by it.
func (w *Writer) step(change func(now time.Time)) {
	now := time.Now()
	w.mu.Lock()
	change(now)
	settled, seen := w.collect()
	w.changed.Broadcast()
	w.mu.Unlock()
	w.tell(settled, seen)
}

func (w *Writer) collect() ([]*Group, events) {
	settled, seen := w.s.settled, w.s.events
	w.s.settled, w.s.events = nil, events{}
	return settled, seen
}

func (w *Writer) tell(settled []*Group, seen events) {
	w.metrics.Unprocessed.Add(float64(seen.unprocessed))
	for _, t := range seen.throttled {
		w.metrics.TenantThrottled(t)
	}
	for _, g := range settled {
		g.Owner.Settled(g)
	}
}

// Run sends calls until Close was called and none is under way. ctx is the context of the calls.
func (w *Writer) Run(ctx context.Context) {
	var pool sync.WaitGroup
	for range w.cfg.Writers {
		pool.Go(func() {
			for c := w.next(); c != nil; c = w.next() {
				w.send(ctx, c)
			}
		})
	}
	pool.Wait()
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
}

// next waits for a call to be due. It returns nil when the writer is closed.
func (w *Writer) next() *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.s.closed {
		now := time.Now()
		c, next := w.s.take(now)
		if c != nil {
			w.nudge(now)
			return c
		}
		w.wakeAt(next, now)
		w.changed.Wait()
	}
	return nil
}

// nudge wakes one more goroutine if something is due at now, and sees to it that one wakes when it will be.
func (w *Writer) nudge(now time.Time) {
	k, next := w.s.due(now)
	if k != nothing {
		w.changed.Signal()
		return
	}
	w.wakeAt(next, now)
}

// wakeAt sets the alarm unless it is set to an earlier time.
func (w *Writer) wakeAt(at, now time.Time) {
	if at.IsZero() || !w.alarm.IsZero() && !at.Before(w.alarm) {
		return
	}
	w.alarm = at
	if w.timer == nil {
		w.timer = time.AfterFunc(at.Sub(now), w.ring)
		return
	}
	w.timer.Reset(at.Sub(now))
}

func (w *Writer) ring() {
	w.mu.Lock()
	w.alarm = time.Time{}
	w.changed.Signal()
	w.mu.Unlock()
}

// send carries out a call and gives its writes their outcomes.
func (w *Writer) send(ctx context.Context, c *call) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.CallTimeout)
	defer cancel()
	a, err := w.carryOut(ctx, c)
	w.answers.Add(1)
	now := time.Now()
	if a.verdict == trouble || a.verdict == throttledTable {
		w.log.Warn("DynamoDB call failed", "commands", len(c.writes), "timed_out", timedOut(err), "error", err)
	}
	w.mu.Lock()
	before := w.s.doubt
	w.s.apply(now, c, a)
	refusing := w.s.doubt.refusing
	settled, seen := w.collect()
	w.nudge(now)
	if w.s.closed {
		w.changed.Broadcast()
	}
	w.mu.Unlock()
	switch {
	case refusing && !before.refusing:
		w.log.Error("DynamoDB refuses every write like one that is known to be good; all writes are held until it takes one: "+
			"compare the keys and indexes of the table, for example with worker doctor", "type", c.probe.Name(), "error", err)
		w.metrics.Refusing.Set(1)
	case before.refusing && !refusing:
		w.log.Info("DynamoDB takes writes again", "after", now.Sub(before.since))
		w.metrics.Refusing.Set(0)
	}
	w.tell(settled, seen)
}

// carryOut sends a call and judges the answer.
func (w *Writer) carryOut(ctx context.Context, c *call) (a answer, err error) {
	if c.probe != nil {
		err = w.table.Probe(ctx, c.probe)
		a.verdict, a.refusal = judge(err, c.probe.Version)
		return a, err
	}
	operation := "BatchWriteItem"
	if c.conditional {
		operation = "PutItem"
	}
	ctx, span := w.span(ctx, c, operation)
	if c.conditional {
		err = w.table.PutVersion(ctx, c.writes[0])
		a.verdict, a.refusal = judge(err, c.writes[0].Command.Version)
	} else {
		w.metrics.BatchCommands.Observe(float64(len(c.writes)))
		a.left, err = w.table.BatchWrite(ctx, c.writes)
		a.verdict, a.refusal = judge(err, 0)
	}
	span.LeftOver(len(a.left))
	span.Fail(a.verdict.failure())
	span.End()
	return a, err
}

// Answers is how many calls have come back, whatever they brought.
func (w *Writer) Answers() uint64 { return w.answers.Load() }

// Stats is a snapshot of the writer's load.
type Stats struct {
	Waiting     int // commands that wait to be written
	Calls       int // calls under way
	Concurrency int // calls that may be under way
	BackingOff  int // tenants that back off
	Outage      bool
	Refusing    bool // DynamoDB refuses even a write that is known to be good: all are held
}

// Stats returns a snapshot.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{
		Waiting: w.s.waiting, Calls: w.s.flying, Concurrency: int(w.s.limiter.limit),
		BackingOff: w.s.limited, Outage: w.s.limiter.probing() || w.s.doubt.refusing, Refusing: w.s.doubt.refusing,
	}
}

// Package writer writes commands to the DynamoDB table. A pool of goroutines pulls calls from one scheduler. The scheduler
// keeps a queue per tenant, has at most one write per key in flight, and gives every write an outcome of its own.
package writer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/telemetry"
	"tributary/internal/tenants"
)

// Table is DynamoDB as the writer uses it. Errors are the SDK's typed errors, which tell a bad write from a throttle or an
// outage. An implementation must not retry: a retry would sleep inside a batch.
type Table interface {
	// BatchWrite makes up to 25 unversioned writes to different keys with BatchWriteItem. It returns the indexes of those that
	// DynamoDB left over, and the units that the call has consumed.
	BatchWrite(ctx context.Context, writes []*Write) (left []int, units Units, err error)
	// PutVersion makes one versioned write, on the condition that the item has no version or a lower one. It returns the units that
	// the call has consumed.
	PutVersion(ctx context.Context, w *Write) (Units, error)
	// Probe sends a write that DynamoDB checks but that takes no effect. It returns nil if the table would have taken it.
	Probe(ctx context.Context, c *messages.Command) error
}

// Writer owns the writes that were submitted until they are settled.
type Writer struct {
	// Set by New and Trace, before Run.
	cfg       Config
	table     Table
	metrics   *metrics.Writer
	log       *slog.Logger
	tracing   *telemetry.Tracing // nil: off
	tableName string             // for spans

	mu      sync.Mutex
	changed *sync.Cond  // on mu: a call may be due
	s       *scheduler  // guarded by mu
	timer   *time.Timer // wakes a goroutine when time makes a call due; nil until it is needed; guarded by mu
	alarm   time.Time   // when the timer fires; zero: not set; guarded by mu
	stopped bool        // it was logged that the rules are too old to write by; guarded by mu

	answered atomic.Uint64 // calls
}

// New makes a writer. Nothing is written before Run.
func New(cfg Config, t Table, m *metrics.Writer, log *slog.Logger) *Writer {
	w := &Writer{cfg: cfg, table: t, metrics: m, log: log, s: newScheduler(cfg, rand.Float64)}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// Trace turns on spans for calls, which name the table. It must be called before Run.
func (w *Writer) Trace(t *telemetry.Tracing, table string) { w.tracing, w.tableName = t, table }

// span begins a call's span, if a message of it is traced.
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

// Submit offers a group to the writer and says whether the writer took it. It never blocks. The writer refuses a group, and leaves
// it as it is, when one of its tenants is suspended, or is stalled and holds its share, and after Close. If nothing is left to
// write, because writes that are durable have overtaken the whole group or its tenant is erased, it is settled, and its owner told,
// before Submit returns.
func (w *Writer) Submit(g *Group) Admission {
	now := time.Now()
	w.mu.Lock()
	admission := w.s.submit(now, g)
	if admission == Admitted {
		w.nudge(now)
	}
	overtaken := len(w.s.settled) > 0 // it is g: every other step collects what it settled before it unlocks mu
	w.s.settled = nil
	w.mu.Unlock()
	if overtaken {
		g.Owner.Settled(g)
	}
	return admission
}

// Obey makes the writer follow the decisions of operators, from now on and for what it holds. Until it is called, and after it is
// called with nil, nothing is decided about any tenant and the rules don't get old. It is called again whenever the rules were read,
// also if nothing has changed in them but Until: the writer sends nothing once they are too old.
func (w *Writer) Obey(rules *tenants.Rules) {
	resumed := false
	w.step(func(now time.Time) {
		w.s.obey(now, rules)
		if w.stopped && !rules.TooOld(now) {
			w.stopped, resumed = false, true
		}
	})
	if resumed {
		w.log.Info("decisions about tenants can be read again; writing goes on")
	}
}

// Confirmed returns the newest revision of the rules for which no call is under way that began under older ones. 0: there is none.
func (w *Writer) Confirmed() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.s.confirmed()
}

// Abandon hands back the unwritten writes of a group: those that wait at once, those in flight when they come back. The owner
// is told as always.
func (w *Writer) Abandon(g *Group) {
	w.step(func(now time.Time) { w.s.abandon(now, g) })
}

// Drain makes stalled tenants hand back their untouched groups, and suspended ones all, now and from here on.
func (w *Writer) Drain() {
	w.step(func(now time.Time) { w.s.drain(now) })
}

// Close hands back all writes that wait and refuses further groups. Run returns once no call is under way.
func (w *Writer) Close() {
	w.step(func(now time.Time) { w.s.close(now) })
}

// step changes the scheduler's state, and tells the owners of the groups that this settled.
func (w *Writer) step(change func(now time.Time)) {
	now := time.Now()
	w.mu.Lock()
	change(now)
	settled, seen := w.collect()
	w.changed.Broadcast()
	w.mu.Unlock()
	w.tell(settled, seen)
}

// collect takes what the scheduler has to report. The caller holds mu.
func (w *Writer) collect() ([]*Group, events) {
	settled, seen := w.s.settled, w.s.events
	w.s.settled, w.s.events = nil, events{}
	return settled, seen
}

// tell reports to metrics and owners. The caller does not hold mu, because an owner may submit again.
func (w *Writer) tell(settled []*Group, seen events) {
	w.metrics.Unprocessed.Add(float64(seen.unprocessed))
	for _, t := range seen.throttled {
		w.metrics.TenantThrottled(t)
	}
	for _, t := range seen.limited {
		w.metrics.TenantLimited(t)
	}
	for _, g := range settled {
		g.Owner.Settled(g)
	}
}

// Run sends calls until Close was called and no call is under way. ctx is the context of the calls.
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

// next waits until a call is due and returns it. It returns nil when the writer is closed.
func (w *Writer) next() *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.s.closed {
		now := time.Now()
		c, next := w.s.nextCall(now)
		if c != nil {
			w.nudge(now)
			return c
		}
		if w.sayTooOld(now) {
			continue
		}
		w.wakeAt(next, now)
		w.changed.Wait()
	}
	return nil
}

// sayTooOld logs, once, that the rules are too old to write by at now. It reports whether it has: then it has released mu meanwhile.
// The caller holds mu.
func (w *Writer) sayTooOld(now time.Time) bool {
	if w.stopped || !w.s.era.rules.TooOld(now) {
		return false
	}
	w.stopped = true
	w.mu.Unlock()
	w.log.Warn("decisions about tenants could not be read for too long; all writes are held until they can", "lease", tenants.Lease)
	w.mu.Lock()
	return true
}

// nudge wakes one more goroutine if a call is due at now, and otherwise when one will be. The caller holds mu.
func (w *Writer) nudge(now time.Time) {
	from, next := w.s.due(now)
	if from != noSource || w.s.era.rules.TooOld(now) && !w.stopped { // which is to be logged
		w.changed.Signal()
		return
	}
	w.wakeAt(next, now)
}

// wakeAt sets the alarm unless it is set to an earlier time. The caller holds mu.
func (w *Writer) wakeAt(at, now time.Time) {
	if at.IsZero() || !w.alarm.IsZero() && !at.Before(w.alarm) {
		return
	}
	w.alarm = at
	if w.timer == nil {
		w.timer = time.AfterFunc(at.Sub(now), w.wakeOne)
		return
	}
	w.timer.Reset(at.Sub(now))
}

// wakeOne is the timer's function.
func (w *Writer) wakeOne() {
	w.mu.Lock()
	w.alarm = time.Time{}
	w.changed.Signal()
	w.mu.Unlock()
}

// send makes a call and applies the answer.
func (w *Writer) send(ctx context.Context, c *call) {
	if c.era.over() { // the goroutine was paused for long
		w.step(func(now time.Time) { w.s.unsent(now, c) })
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.CallTimeout)
	defer cancel()
	a, err := w.ask(ctx, c)
	w.answered.Add(1)
	if c.limited || w.cfg.Meter != nil {
		attribute(c, a.left, a.units)
	}
	if w.cfg.Meter != nil {
		measure(w.cfg.Meter, c, a)
	}
	now := time.Now()
	if a.verdict == trouble || a.verdict == throttledTable {
		w.log.Warn("DynamoDB call failed", "commands", len(c.writes), "timed_out", timedOut(err), "error", err)
	}
	w.mu.Lock()
	if c.late = c.era.rules.TooOld(now); c.late && c.probe == nil {
		now = w.awaitRules(now, &a)
	}
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
		w.log.Error("DynamoDB refuses even a write that is known to be good; all writes are held until it takes one. "+
			"Compare the keys and indexes of the table, for example with worker doctor", "type", c.probe.Name(), "error", err)
		w.metrics.Refusing.Set(1)
	case before.refusing && !refusing:
		w.log.Info("DynamoDB takes writes again", "after", now.Sub(before.since))
		w.metrics.Refusing.Set(0)
	}
	w.tell(settled, seen)
}

// awaitRules keeps an answer that came when the rules were too old, until newer ones are there: they may say that a tenant of the
// call was erased in the meantime. If the writer is closed first, it is as if the answer was lost. It returns the time. The caller
// holds mu.
func (w *Writer) awaitRules(now time.Time, a *answer) time.Time {
	for w.s.era.rules.TooOld(now) {
		if w.s.closed {
			*a = answer{verdict: trouble}
			return now
		}
		if !w.sayTooOld(now) {
			w.changed.Wait()
		}
		now = time.Now()
	}
	return now
}

// ask sends a call to the table and judges the answer.
func (w *Writer) ask(ctx context.Context, c *call) (a answer, err error) {
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
		a.units, err = w.table.PutVersion(ctx, c.writes[0])
		a.verdict, a.refusal = judge(err, c.writes[0].Command.Version)
	} else {
		w.metrics.BatchCommands.Observe(float64(len(c.writes)))
		a.left, a.units, err = w.table.BatchWrite(ctx, c.writes)
		a.verdict, a.refusal = judge(err, 0)
	}
	span.LeftOver(len(a.left))
	span.Fail(a.verdict.failure())
	span.End()
	return a, err
}

// AnsweredCalls returns how many calls have been answered or have failed.
func (w *Writer) AnsweredCalls() uint64 { return w.answered.Load() }

// Stats is a snapshot of the writer's load.
type Stats struct {
	Waiting     int  // commands that wait to be written
	Calls       int  // calls under way
	Concurrency int  // calls that may be under way
	BackingOff  int  // tenants that back off
	AtLimit     int  // tenants that wait because they have used up their limits
	Barred      int  // tenants of which something is held, and that are suspended or erased
	TooOld      bool // the rules are too old to write by: all writes are held until they are read again
	Outage      bool // no call succeeds: one at a time tries
	Refusing    bool // DynamoDB refuses even a write that is known to be good: all are held
}

// Stats returns a snapshot.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{
		Waiting: w.s.waiting, Calls: w.s.calls, Concurrency: int(w.s.limiter.limit),
		BackingOff: w.s.limited, Outage: w.s.limiter.probing() || w.s.doubt.refusing, Refusing: w.s.doubt.refusing,
		AtLimit: w.s.atLimit, Barred: w.s.barred, TooOld: w.s.era.rules.TooOld(time.Now()),
	}
}

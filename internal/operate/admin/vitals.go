package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"tributary/internal/aws/awsclient"
)

// Times by which Vitals judges.
const (
	// ProbeEvery is the time between two probes of queue and table; the queue's also brings its depth.
	ProbeEvery = 15 * time.Second
	// probeTimeout is how long one probe may take.
	probeTimeout = 10 * time.Second
	// failingAfter is how long a service that once answered may fail before the worker is not ready: long enough for
	// a blip, short enough for an outage to stop a rollout.
	failingAfter = time.Minute
	// stuckAfter is how long nothing may move. It is far above every wait that is intended: the timeout of a call, the longest
	// backoff of a tenant, the probes of an outage.
	stuckAfter = 3 * time.Minute
)

// Vitals judge whether a worker is ready and whether it is stuck. They probe queue and table every ProbeEvery.
//
// Ready: both have answered, neither has failed for a minute, the writer is not in an outage for a minute, dead letters
// have not failed for a minute, and the worker is not draining. Healthy: not (work has been held, and the table has answered every probe, for three
// minutes in which nothing moved). An outage of AWS therefore makes a worker not ready but never unhealthy: a
// restart would not help, and would cost the work in flight.
type Vitals struct {
	cfg VitalsConfig

	mu       sync.Mutex
	queue    service   // guarded by mu
	table    service   // guarded by mu
	letters  service   // guarded by mu
	outage   time.Time // since when the writer is in one; zero: it is not; guarded by mu
	still    stillness // guarded by mu
	draining bool      // guarded by mu
}

// VitalsConfig configures Vitals. A function that is nil is not called: a worker of the role query has no queue.
type VitalsConfig struct {
	Queue func(context.Context) error // asks SQS
	Table func(context.Context) error // asks DynamoDB
	// Letters asks SQS about the dead-letter queue. A failure is logged and leaves the worker ready: commands are
	// still written, and those that can't be written wait.
	Letters func(context.Context) error
	// Held is how many commands the worker holds.
	Held func() int
	// Moved grows with every command settled and every call to DynamoDB that came back, whatever it brought: tenants
	// that back off and calls that fail are not a stuck pool.
	Moved func() uint64
	// Outage reports whether the writer is in an outage of DynamoDB.
	Outage func() bool
	// Log gets the whole error when a service begins to fail, and a line when it answers again. Reports carry less. It may be nil.
	Log *slog.Logger
	// LettersFail returns since when dead letters fail, and why. A zero time means that they do not.
	LettersFail func() (since time.Time, why string)
}

// service is the state of a service by its probes.
type service struct {
	asked    bool
	answered bool      // ever
	since    time.Time // of the first failure in a row; zero: the last probe was answered
	err      error
}

// stillness is since when work is held and nothing moves.
type stillness struct {
	since time.Time // zero: things move, or nothing is held
	moved uint64
	held  int
}

// NewVitals makes vitals that know nothing yet: not ready, and healthy.
func NewVitals(cfg VitalsConfig) *Vitals {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Vitals{cfg: cfg}
}

// Run probes until ctx ends.
func (v *Vitals) Run(ctx context.Context) {
	tick := time.NewTicker(ProbeEvery)
	defer tick.Stop()
	for {
		v.probe(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Drain makes the worker not ready from now on.
func (v *Vitals) Drain() {
	v.mu.Lock()
	v.draining = true
	v.mu.Unlock()
}

func (v *Vitals) probe(ctx context.Context) {
	ask := func(f func(context.Context) error) error {
		within, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		return f(within)
	}
	var queue, table, letters error
	var all sync.WaitGroup
	if v.cfg.Queue != nil {
		all.Go(func() { queue = ask(v.cfg.Queue) })
	}
	if v.cfg.Table != nil {
		all.Go(func() { table = ask(v.cfg.Table) })
	}
	if v.cfg.Letters != nil {
		all.Go(func() { letters = ask(v.cfg.Letters) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tell("queue", &v.queue, queue)
	v.tell("table", &v.table, table)
	v.queue.saw(now, queue)
	v.table.saw(now, table)
	v.letters.saw(now, letters)
	if v.cfg.Outage != nil {
		switch out := v.cfg.Outage(); {
		case !out:
			v.outage = time.Time{}
		case v.outage.IsZero():
			v.outage = now
		}
	}
	if v.cfg.Held != nil {
		v.still.saw(now, v.cfg.Held(), v.cfg.Moved(), table == nil && v.outage.IsZero())
	}
}

// tell logs that a service begins to fail, or answers again; s is what was seen before.
func (v *Vitals) tell(name string, s *service, err error) {
	switch {
	case err != nil && s.since.IsZero():
		v.cfg.Log.Warn("a probe failed: the worker is not ready if this lasts", "service", name, "error", awsclient.Explain(err))
	case err == nil && !s.since.IsZero():
		v.cfg.Log.Info("a probe is answered again", "service", name)
	}
}

func (s *service) saw(now time.Time, err error) {
	s.asked, s.err = true, err
	switch {
	case err == nil:
		s.answered, s.since = true, time.Time{}
	case s.since.IsZero():
		s.since = now
	}
}

func (s *stillness) saw(now time.Time, held int, moved uint64, tableAnswers bool) {
	if held == 0 || moved != s.moved || !tableAnswers {
		*s = stillness{moved: moved}
		return
	}
	if s.since.IsZero() {
		s.since = now
	}
	s.held = held
}

// Ready is the report for /readyz.
func (v *Vitals) Ready() Report {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	checks := []Check{{Name: "running", OK: !v.draining, Detail: "the worker takes work"}}
	if v.draining {
		checks[0].Detail = "the worker is shutting down"
	}
	if v.cfg.Queue != nil {
		checks = append(checks, v.queue.check(now, "queue"))
	}
	if v.cfg.Table != nil {
		checks = append(checks, v.table.check(now, "table"))
	}
	if v.cfg.Letters != nil {
		c := v.letters.check(now, "dead-letter queue")
		c.OK = true
		checks = append(checks, c)
	}
	if v.cfg.Outage != nil {
		c := Check{Name: "writes", OK: true, Detail: "DynamoDB takes writes"}
		if !v.outage.IsZero() {
			c.OK = now.Sub(v.outage) < failingAfter
			c.Detail = fmt.Sprintf("DynamoDB has refused all writes for %s: one call at a time tries until it answers", ago(now, v.outage))
		}
		checks = append(checks, c)
	}
	if v.cfg.LettersFail != nil {
		c := Check{Name: "dead_letters", OK: true, Detail: "the dead-letter queue takes letters, or there are none"}
		if since, why := v.cfg.LettersFail(); !since.IsZero() {
			c.OK = now.Sub(since) < failingAfter
			c.Detail = fmt.Sprintf("no dead letter could be sent for %s: %s", ago(now, since), why)
		}
		checks = append(checks, c)
	}
	return NewReport(checks...)
}

func (s *service) check(now time.Time, name string) Check {
	c := Check{Name: name}
	switch {
	case !s.asked:
		c.Detail = "not asked yet"
	case s.err == nil:
		c.OK, c.Detail = true, "answers"
	case !s.answered:
		c.Detail = fmt.Sprintf("has never answered: %s", brief(s.err))
	default:
		c.OK = now.Sub(s.since) < failingAfter
		c.Detail = fmt.Sprintf("has failed for %s: %s", ago(now, s.since), brief(s.err))
	}
	return c
}

// brief is what a report says of an error: AWS's code alone where there is one, for AWS's texts name accounts, roles and
// resources. The log has the rest.
func brief(err error) string {
	if refusal, ok := errors.AsType[smithy.APIError](err); ok {
		return refusal.ErrorCode() + " (the log says more)"
	}
	return awsclient.Explain(err).Error()
}

// Health is the report for /healthz.
func (v *Vitals) Health() Report {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	c := Check{Name: "progress", OK: true, Detail: "work moves, or there is none"}
	if s := v.still.since; !s.IsZero() {
		c.OK = now.Sub(s) < stuckAfter
		c.Detail = fmt.Sprintf("%d commands are held, DynamoDB answers, and nothing has moved for %s", v.still.held, ago(now, s))
	}
	return NewReport(c)
}

func ago(now, since time.Time) time.Duration { return now.Sub(since).Round(time.Second) }

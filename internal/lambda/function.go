// Package lambda runs the engine as an AWS Lambda function behind an event source mapping of SQS. The engine, a consumer and a
// writer, lives as long as the environment. Each invocation puts its records into the engine's queue, waits for the end of each,
// and reports those that are not durable. Invocations side by side share the engine.
package lambda

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"tributary/internal/consumer"
)

// Engine is the consumer as a function uses it.
type Engine interface {
	GiveUp(handles map[string]bool) (undecided int)
	NackDelay(receives int) time.Duration
}

// Parts are what serves the invocations of one environment.
type Parts struct {
	Source *Source
	Engine Engine
	// Counts returns what the engine has counted since it began.
	Counts func() Counts
	// Flush sends the traces of what is done. Nil: there are none.
	Flush func(context.Context)
	// Begins is called when an invocation begins, and Ends before it is answered. Several may be under way. Nil: nothing is to be done.
	Begins, Ends func(context.Context)
}

// Config is the function's settings.
type Config struct {
	// Queue is the name of the queue that the event source mapping reads.
	Queue string
	FIFO  bool
	// Margin is how long before its deadline an invocation stops working, at most half of its time.
	Margin time.Duration
	// Patience is how long an invocation goes on while none of its messages comes to an end.
	Patience time.Duration
}

// CallTimeout and SendTimeout are the longest that a write and a call to SQS may take. Then a call that was under way when an
// invocation stopped, and the nack that follows it, are over within Margin.
func (c Config) CallTimeout() time.Duration { return min(10*time.Second, c.Margin/2) }

// SendTimeout: see CallTimeout.
func (c Config) SendTimeout() time.Duration { return c.Margin / 4 }

// Validate reports every setting that is out of range.
func (c Config) Validate() error {
	if c.Margin < 200*time.Millisecond || c.Margin > time.Minute {
		return fmt.Errorf("--deadline-margin is %v: it must be 200ms to 1m", c.Margin)
	}
	if c.Patience <= 0 {
		return fmt.Errorf("--patience is %v: it must be more than 0s", c.Patience)
	}
	return nil
}

// Function answers invocations, several at once if Lambda asks for it. It implements the handler of aws-lambda-go.
type Function struct {
	cfg    Config
	start  func(context.Context) (*Parts, error)
	log    *slog.Logger
	emit   *emitter
	active *Active

	mu    sync.Mutex
	parts *Parts // nil: start has not succeeded yet; guarded by mu
}

// New makes a function. start makes the parts; after an error it is called again by the next invocation.
func New(cfg Config, start func(context.Context) (*Parts, error), out Output, active *Active, log *slog.Logger) *Function {
	return &Function{cfg: cfg, start: start, log: log, emit: newEmitter(out), active: active}
}

// Prepare starts the engine, unless it runs.
func (f *Function) Prepare(ctx context.Context) (*Parts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parts != nil {
		return f.parts, nil
	}
	parts, err := f.start(ctx)
	if err != nil {
		return nil, err
	}
	f.parts = parts
	return parts, nil
}

// Invoke works on one event and returns the answer. After an error Lambda treats the whole batch as failed. No answer is given
// while a call that may still write is under way, even beyond the deadline: Lambda then ends the environment, and all messages
// of the invocation come back.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	began := time.Now()
	request := ""
	if about, ok := lambdacontext.FromContext(ctx); ok {
		request = about.AwsRequestID
	}
	defer f.active.begin(request)()
	entries, err := scanEvent(string(payload))
	if err == nil {
		err = f.checkQueue(entries)
	}
	if err != nil {
		f.log.Error("event refused", "error", err)
		return nil, err
	}
	p, err := f.Prepare(ctx)
	if err != nil {
		f.log.Error("the function can't work", "error", err)
		return nil, err
	}
	for i := range entries {
		if why := entries[i].damaged; why != nil {
			f.log.Error("message can't be read and is left on the queue", "queue", f.cfg.Queue, "message_id", entries[i].ID, "error", why)
		}
	}
	if p.Begins != nil {
		p.Begins(ctx)
	}
	b := p.Source.put(began, entries)
	f.settle(ctx, p, b)
	if f.cfg.FIFO {
		f.holdGroups(ctx, p, b)
	}
	p.Source.forget(b)
	failed := report(b.records, f.cfg.FIFO)
	if p.Ends != nil {
		p.Ends(ctx)
	}
	if p.Flush != nil {
		p.Flush(ctx)
	}
	f.emit.line(request, began, b.records, failed, p.Counts)
	return answer(b.records, failed), nil
}

// checkQueue refuses records of another queue: their receipt handles mean nothing to this one.
func (f *Function) checkQueue(entries []entry) error {
	for i := range entries {
		if q := entries[i].queue; q != f.cfg.Queue {
			return &EventError{fmt.Sprintf("record %d is of queue %.80q, and TRIBUTARY_QUEUE is %s", i, q, f.cfg.Queue)}
		}
	}
	return nil
}

// times are the moments at which an invocation ends its work.
type times struct {
	stop time.Time // nothing more is begun
	last time.Time // nacks are no longer waited for
}

// timesOf returns the times for an invocation that begins at now. Without a deadline it has a year.
func (c Config) timesOf(now, deadline time.Time) times {
	margin := min(c.Margin, deadline.Sub(now)/2)
	return times{stop: deadline.Add(-margin), last: deadline.Add(-margin / 8)}
}

// settle waits until each record of a batch is durable or has failed. It gives up those that are left at the end of the
// invocation's time, and when none has come to an end for as long as Patience.
func (f *Function) settle(ctx context.Context, p *Parts, b *batch) {
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.AddDate(1, 0, 0)
	}
	t := f.cfg.timesOf(now, deadline)
	if f.await(p, b, t.stop) {
		return
	}
	handles, never := p.Source.stop(b)
	f.log.Warn("invocation gives up messages", "messages", len(handles)+len(never), "deadline_in", time.Until(deadline))
	p.Engine.GiveUp(handles)
	within, cancel := context.WithDeadline(context.WithoutCancel(ctx), t.last)
	defer cancel()
	p.Source.nack(within, never, func(r *record) time.Duration {
		r.delay = p.Engine.NackDelay(r.message.ReceiveCount)
		return r.delay
	})
	tick := time.NewTicker(giveUpEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-tick.C:
		}
		undecided := p.Engine.GiveUp(handles)
		if undecided == 0 && p.Source.admitted(b) && !time.Now().Before(t.last) {
			f.log.Warn("SQS did not change the visibility of all messages in time: the others come back after the queue's visibility timeout")
			return
		}
	}
}

// giveUpEvery is how often messages are given up that escaped before.
const giveUpEvery = 20 * time.Millisecond

// await waits until the batch is settled and returns true. It returns false at stop, or after Patience without progress.
func (f *Function) await(p *Parts, b *batch, stop time.Time) bool {
	for {
		at := p.Source.latest(b).Add(f.cfg.Patience)
		if stop.Before(at) {
			at = stop
		}
		timer := time.NewTimer(time.Until(at))
		select {
		case <-b.done:
			timer.Stop()
			return true
		case <-timer.C:
		}
		if now := time.Now(); !now.Before(stop) || !now.Before(p.Source.latest(b).Add(f.cfg.Patience)) {
			return false
		}
	}
}

// holdGroups makes what is durable and yet reported visible again together with the failed messages of its group. Otherwise it
// would hold up its group for the whole of the queue's visibility timeout.
func (f *Function) holdGroups(ctx context.Context, p *Parts, b *batch) {
	delays := map[string]time.Duration{}
	var followers []*record
	for i, failed := range report(b.records, true) {
		r := b.records[i]
		if !failed {
			continue
		}
		if r.state == durable {
			followers = append(followers, r)
			continue
		}
		delays[r.message.GroupID] = max(delays[r.message.GroupID], r.delay)
	}
	p.Source.nack(context.WithoutCancel(ctx), followers, func(r *record) time.Duration { return delays[r.message.GroupID] })
}

var _ consumer.Queue = (*Source)(nil)

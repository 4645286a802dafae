// Package consumer brings messages from the queue to the writer and settles them. It receives within bounds, decodes, and keeps
// messages invisible while they are held. When the last command of a message has its outcome, it sends the message's dead
// letters and deletes it, or makes it visible again.
package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/telemetry"
	"tributary/internal/writer"
)

// Writer is the writer as the consumer uses it.
type Writer interface {
	Submit(*writer.Group) writer.Admission
	Abandon(*writer.Group)
	Drain()
	Close()
}

// Summary counts messages by their end: Received is the sum of Deleted, HandedBack and Left, and of those still held.
type Summary struct {
	Received    int64 `json:"received"`
	Deleted     int64 `json:"deleted"`
	HandedBack  int64 `json:"handed_back"`
	Left        int64 `json:"left"` // neither deleted nor nacked: they come back after the visibility timeout
	DeadLetters int64 `json:"dead_letters"`
	Commands    int64 `json:"commands"` // settled: written, superseded, stale, dead-lettered or erased
	// Unfinished counts those of Left that were held when the time for draining was over.
	Unfinished int64 `json:"unfinished,omitempty"`
}

func (s Summary) String() string {
	return fmt.Sprintf("%d messages received: %d deleted, %d handed back, %d left on the queue; %d commands settled, %d dead letters",
		s.Received, s.Deleted, s.HandedBack, s.Left, s.Commands, s.DeadLetters)
}

// Consumer owns the messages that it received until each is deleted, nacked or left.
type Consumer struct {
	// Set by New and Trace, before Run. The parts that have state guard it themselves.
	cfg     Config
	queue   Queue
	dlq     DeadLetterQueue
	writer  Writer
	metrics *metrics.Consumer
	log     *slog.Logger
	tracing *telemetry.Tracing // nil: off

	// outcomes are the counters of metrics.Commands. They are looked up once, because a look-up costs more than counting.
	outcomes [][writer.Erased + 1]prometheus.Counter // by kindOf

	room          *room
	letterRoom    *letterRoom
	held          held
	deletes       *batcher[*delivery]
	nacks         *batcher[*delivery]
	letters       *batcher[Letter]
	ownCalls      *batcher[[]Letter] // one call each: letters that are kept apart from those of other messages
	retries       retries
	overflow      overflow
	letterCalls   letterCalls
	letterTrouble letterTrouble

	// calls is the context of calls to SQS. It ends when the time for draining is over, not when draining begins. Run sets it
	// before it starts a goroutine.
	calls context.Context

	mu                 sync.Mutex
	pollers            pollerCount // guarded by mu
	delayed            delayed     // guarded by mu
	latestFirstReceive int64       // in milliseconds by SQS's clock; guarded by mu
	clock              queueClock  // guarded by mu

	draining atomic.Bool
	closing  atomic.Bool            // the time for draining is nearly over: a message that can't be settled at once is nacked
	problem  atomic.Pointer[string] // of the last receive; nil: it succeeded

	answered      atomic.Uint64 // calls that settle messages
	queueInFlight atomic.Int64  // messages, of all consumers of the queue

	received, deadLetters, commands atomic.Int64
	finished                        [ends]atomic.Int64 // messages
}

// kindOf returns the index of a command's counters in outcomes.
func kindOf(c *messages.Command) int {
	switch {
	case c.Type == nil:
		return 0
	case c.Delete:
		return 2*c.Type.Position + 2
	}
	return 2*c.Type.Position + 1
}

// New makes a consumer. Nothing happens before Run.
func New(cfg Config, q Queue, dlq DeadLetterQueue, w Writer, m *metrics.Consumer, log *slog.Logger) *Consumer {
	c := &Consumer{
		cfg: cfg, queue: q, dlq: dlq, writer: w, metrics: m, log: log,
		room: newRoom(cfg.MaxInFlight, cfg.MaxInFlightBytes), letterRoom: newLetterRoom(cfg.MaxInFlight, cfg.MaxInFlightBytes),
	}
	names := []string{"unknown"} // commands that could not be decoded
	for _, t := range cfg.Types.Types {
		names = append(names, t.Put, t.Delete) // in the order of kindOf
	}
	c.outcomes = make([][writer.Erased + 1]prometheus.Counter, len(names))
	for kind, name := range names {
		for outcome := writer.Written; outcome <= writer.Erased; outcome++ {
			c.outcomes[kind][outcome] = m.Commands.WithLabelValues(name, outcome.String())
		}
	}
	c.held.empty = make(chan struct{})
	gather := deleteLinger
	if cfg.Ended != nil {
		gather = 0
	}
	c.deletes = newBatcher(limits.SQSBatchEntries, maxSends, gather, c.deleteBatch)
	c.nacks = newBatcher(limits.SQSBatchEntries, maxSends, nackLinger, c.nackBatch)
	c.letters = newBatcher(limits.SQSBatchEntries, maxSends, letterLinger, c.sendLetters)
	c.ownCalls = newBatcher(1, maxSends/4, 0, func(calls [][]Letter) { c.sendLetters(calls[0]) })
	c.clock.base = time.Now()
	return c
}

// Trace turns on spans for messages. It must be called before Run.
func (c *Consumer) Trace(t *telemetry.Tracing) { c.tracing = t }

// Run receives until ctx ends, and then drains. The order of stopping, senders before receivers:
//
//  1. No receive begins. Long polls under way finish, because an abandoned one would still take messages. The messages that
//     they bring are nacked at once.
//  2. The writer finishes what is held. Stalled tenants hand back their untouched messages.
//  3. When seven eighths of DrainTimeout are over, the writer is closed: it hands back what it has not written.
//  4. Deletes, dead letters and nacks are flushed. Visibility is extended until then.
//
// When DrainTimeout is over, calls under way are cancelled and calls that have not begun are dropped. Their messages are left.
// Run returns then, or earlier when every message is settled.
func (c *Consumer) Run(ctx context.Context) Summary {
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	c.calls = calls

	extending, stopExtending := context.WithCancel(calls)
	var extender sync.WaitGroup
	extender.Go(func() { c.extend(extending) })

	var pollers sync.WaitGroup
	c.mu.Lock()
	c.pollers.running = 1
	c.mu.Unlock()
	pollers.Go(func() { c.poll(ctx, &pollers) })

	<-ctx.Done()
	c.draining.Store(true)
	c.log.Info("draining", "messages", c.held.len())
	defer c.limitDrain(stop)()
	c.finishHeld(&pollers)

	c.letters.close()
	c.ownCalls.close()
	c.deletes.close()
	stopExtending()
	extender.Wait() // it may nack a message that it was extending
	c.nacks.close()
	unfinished := int64(c.held.close())
	c.metrics.Settled.WithLabelValues(left.String()).Add(float64(unfinished))
	summary := c.Summary()
	summary.Left += unfinished
	summary.Unfinished = unfinished
	return summary
}

// closeAfter is when the writer is closed: the rest of DrainTimeout is for nacking what it hands back.
func (c *Consumer) closeAfter() time.Duration { return c.cfg.DrainTimeout - c.cfg.DrainTimeout/8 }

// limitDrain sets the timers that keep draining within DrainTimeout. cancel ends the context of calls. The function that it
// returns stops the timers.
func (c *Consumer) limitDrain(cancel context.CancelFunc) (stop func()) {
	closing := time.AfterFunc(c.closeAfter(), func() {
		c.closing.Store(true)
		for _, d := range c.retries.close() {
			c.nack(d)
		}
	})
	over := time.AfterFunc(c.cfg.DrainTimeout, func() {
		cancel()
		c.letters.drop()
		c.ownCalls.drop()
		c.deletes.drop()
		c.nacks.drop()
	})
	return func() {
		closing.Stop()
		over.Stop()
	}
}

// finishHeld waits until the pollers have ended and no message is held, or until the time for draining is over. It closes the
// writer in between.
func (c *Consumer) finishHeld(pollers *sync.WaitGroup) {
	c.writer.Drain()
	received := make(chan struct{})
	go func() { pollers.Wait(); close(received) }() // ends with the pollers, at the latest when the context of calls ends
	settled := make(chan struct{})
	go func() { <-received; c.held.drain(); close(settled) }() // ends when nothing is held, at the latest with held.close
	closing := time.NewTimer(c.closeAfter())
	defer closing.Stop()
	select {
	case <-settled:
	case <-closing.C:
	}
	c.writer.Close()
	select {
	case <-settled:
	case <-c.calls.Done():
		<-received
	}
}

// Summary counts the messages so far. A message that is held counts only in Received.
func (c *Consumer) Summary() Summary {
	return Summary{
		Received: c.received.Load(), Deleted: c.finished[deleted].Load(), HandedBack: c.finished[nacked].Load(), Left: c.finished[left].Load(),
		DeadLetters: c.deadLetters.Load(), Commands: c.commands.Load(),
	}
}

// AnsweredCalls returns how many calls that settle messages have been answered or have failed.
func (c *Consumer) AnsweredCalls() uint64 { return c.answered.Load() }

// QueueInFlight tells the consumer how many messages of the queue are in flight now, at all consumers. Near SQS's limit it
// holds messages instead of nacking them with a delay.
func (c *Consumer) QueueInFlight(messages int) { c.queueInFlight.Store(int64(messages)) }

// Stats is a snapshot of the consumer's load.
type Stats struct {
	Messages int // held
	Commands int // held
	Bytes    int // held
	Pollers  int
	Draining bool
	// Problem is the error of the last receive, or "" if it succeeded.
	Problem string
}

// Stats returns a snapshot.
func (c *Consumer) Stats() Stats {
	s := Stats{Messages: c.held.len(), Draining: c.draining.Load()}
	s.Commands, s.Bytes = c.held.load()
	c.mu.Lock()
	s.Pollers = c.pollers.running
	c.mu.Unlock()
	if p := c.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// gauge tells the metrics how much is held.
func (c *Consumer) gauge() {
	commands, bytes := c.held.load()
	c.metrics.InFlight.Set(float64(commands))
	c.metrics.InFlightBytes.Set(float64(bytes))
}

// backoff returns how long to wait after so many failures in a row.
func backoff(failures int) time.Duration { return retryPause(failures, rand.Float64()) }

// retryPause is backoff with a given jitter, in [0, 1).
func retryPause(failures int, jitter float64) time.Duration {
	d := min(maxRetryPause, minRetryPause<<min(failures, 10))
	return d/2 + time.Duration(jitter*float64(d/2))
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

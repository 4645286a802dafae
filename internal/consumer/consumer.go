// Package consumer brings messages from the queue to the writer and settles them: it receives within bounds, decodes,
// keeps messages invisible while they are held, and when a message's last command has its outcome, deletes it, sends
// its dead letters first, or hands it back.
package consumer

import (
	"context"
	"errors"
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
	"tributary/internal/schema"
	"tributary/internal/writer"
)

// Writer is what the consumer asks of the writer.
type Writer interface {
	Submit(*writer.Group) bool
	Abandon(*writer.Group)
	Drain()
	Close()
}

// Config are the consumer's settings.
type Config struct {
	// QueueName is what dead letters name as their source.
	QueueName string
	// FIFO says that the queue keeps groups in order: messages are held, never handed back for a tenant's share.
	FIFO bool
	// VisibilityTimeout is the queue's own.
	VisibilityTimeout time.Duration
	// MaxReceives is the maxReceiveCount of the queue's redrive policy; 0: it has none.
	MaxReceives int
	// LetterBytes is the most that a message of the dead-letter queue may have.
	LetterBytes int
	// MaxInFlight and MaxInFlightBytes bound what is held.
	MaxInFlight      int
	MaxInFlightBytes int
	// DrainTimeout is how long stopping may take. It should be longer than one long poll.
	DrainTimeout time.Duration
	// RequireVersion refuses commands without a version.
	RequireVersion bool
	// Types are the types of the commands.
	Types *schema.Set
}

// DefaultDrainTimeout is longer than two long polls.
const DefaultDrainTimeout = 45 * time.Second

// Defaults fills what is zero.
func (c Config) Defaults() Config {
	if c.VisibilityTimeout == 0 {
		c.VisibilityTimeout = 30 * time.Second
	}
	if c.LetterBytes == 0 {
		c.LetterBytes = limits.SQSMessageBytes
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = writer.DefaultMaxInFlight
	}
	if c.MaxInFlightBytes == 0 {
		c.MaxInFlightBytes = writer.DefaultMaxInFlightBytes
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	if c.Types == nil {
		c.Types = schema.Builtin()
	}
	return c
}

// Validate reports every setting that is out of range.
func (c Config) Validate() error {
	var errs []error
	if c.VisibilityTimeout < 2*time.Second || c.VisibilityTimeout > limits.SQSVisibilityMax {
		errs = append(errs, fmt.Errorf("the queue's visibility timeout is %v: it must be 2s to %v for messages to be held", c.VisibilityTimeout, limits.SQSVisibilityMax))
	}
	if c.MaxInFlight < limits.SQSBatchEntries {
		errs = append(errs, fmt.Errorf("--max-in-flight is %d: it must be at least %d, one receive", c.MaxInFlight, limits.SQSBatchEntries))
	}
	if c.DrainTimeout < time.Second {
		errs = append(errs, fmt.Errorf("--drain-timeout is %v: it must be at least 1s", c.DrainTimeout))
	}
	return errors.Join(errs...)
}

// TightReceives says that the queue's redrive policy is so tight that a tenant's throttling could use it up.
func (c Config) TightReceives() bool { return c.MaxReceives > 0 && c.MaxReceives < tightReceives }

// Times that nobody needs to set.
const (
	deleteLinger    = 25 * time.Millisecond // how long a part-filled batch of deletes may wait
	handBackLinger  = 20 * time.Millisecond
	letterLinger    = 10 * time.Millisecond
	mostSends       = 64 // calls of one kind under way at once
	receiveTimeout  = limits.SQSLongPollMax + 10*time.Second
	sendTimeout     = 10 * time.Second
	retryMin        = 50 * time.Millisecond
	retryMax        = 5 * time.Second
	lettersGiveBack = 6 // failed tries to send a letter after which an untouched message is handed back
)

// Summary is what became of the messages: Received is the sum of Deleted, HandedBack and Left.
type Summary struct {
	Received    int64 `json:"received"`
	Deleted     int64 `json:"deleted"`
	HandedBack  int64 `json:"handed_back"`
	Left        int64 `json:"left"` // their receipt was lost, or the end came first: they come back after the visibility timeout
	DeadLetters int64 `json:"dead_letters"`
	Commands    int64 `json:"commands"` // settled: written, overtaken, stale or dead-lettered
	// Unfinished are those of Left that were held when the time for draining was over.
	Unfinished int64 `json:"unfinished,omitempty"`
}

func (s Summary) String() string {
	return fmt.Sprintf("%d messages received: %d deleted, %d handed back, %d left on the queue; %d commands settled, %d dead letters",
		s.Received, s.Deleted, s.HandedBack, s.Left, s.Commands, s.DeadLetters)
}

// Consumer owns the messages that it received until each is deleted, handed back or left.
type Consumer struct {
	cfg     Config
	queue   Queue
	dlq     DeadLetterQueue
	writer  Writer
	metrics *metrics.Consumer
	log     *slog.Logger
	tracing *telemetry.Tracing // nil: off

	// outcomes are the counters of metrics.Commands by kindOf, found once: looking a label up costs more than counting.
	outcomes [][writer.HandedBack + 1]prometheus.Counter

	room      *room
	waiting   *waiting
	held      held
	deletes   *batcher[*delivery]
	handBacks *batcher[*delivery]
	letters   *batcher[Letter]
	apart     *batcher[[]Letter] // calls that letters of other messages are kept out of
	retries   retries
	trouble   trouble
	calls     context.Context // of calls to SQS: ends when draining is over, not when it begins

	mu     sync.Mutex
	crew   crew   // guarded by mu
	parked parked // guarded by mu
	latest int64  // the latest time of a first receive, in milliseconds by SQS's clock; guarded by mu
	clock  clock  // guarded by mu

	draining atomic.Bool
	closing  atomic.Bool // what can't be settled at once is handed back
	problem  atomic.Pointer[string]

	answers       atomic.Uint64
	queueInFlight atomic.Int64

	received, deleted, handedBack, left, deadLetters, commands atomic.Int64
}

// kindOf returns the place of a command's counters in outcomes.
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
	c := &Consumer{cfg: cfg, queue: q, dlq: dlq, writer: w, metrics: m, log: log, room: newRoom(cfg.MaxInFlight, cfg.MaxInFlightBytes), waiting: newWaiting(cfg.MaxInFlight, cfg.MaxInFlightBytes)}
	names := []string{"unknown"} // what could not be decoded
	for _, t := range cfg.Types.Types {
		names = append(names, t.Put, t.Delete) // as kindOf counts them
	}
	c.outcomes = make([][writer.HandedBack + 1]prometheus.Counter, len(names))
	for kind, name := range names {
		for outcome := writer.Written; outcome <= writer.HandedBack; outcome++ {
			c.outcomes[kind][outcome] = m.Commands.WithLabelValues(name, outcome.String())
		}
	}
	c.held.empty = make(chan struct{})
	c.deletes = newBatcher(limits.SQSBatchEntries, mostSends, deleteLinger, c.delete)
	c.handBacks = newBatcher(limits.SQSBatchEntries, mostSends, handBackLinger, c.changeBack)
	c.letters = newBatcher(limits.SQSBatchEntries, mostSends, letterLinger, c.sendLetters)
	c.apart = newBatcher(1, mostSends/4, 0, func(calls [][]Letter) { c.sendLetters(calls[0]) })
	c.clock.base = time.Now()
	return c
}

// Trace makes messages have spans. It is called before Run, or not at all.
func (c *Consumer) Trace(t *telemetry.Tracing) { c.tracing = t }

// Run receives until ctx ends, and then drains. The order of stopping, senders before receivers:
//
//  1. No receive begins any more. Long polls under way finish, for one that is abandoned still takes messages, and
//     what they bring is handed back at once.
//  2. The writer finishes what is held; tenants that back off hand back what is untouched.
//  3. Shortly before DrainTimeout is over the writer is closed: what it has not written is handed back.
//  4. Deletes, dead letters and hand-backs are flushed. Visibility is extended up to here.
//
// When DrainTimeout is over, calls under way are cancelled, and what has not begun is dropped: its messages are left.
// Run returns when every message is settled, or then.
func (c *Consumer) Run(ctx context.Context) Summary {
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	c.calls = calls

	extending, stopExtending := context.WithCancel(calls)
	var extender sync.WaitGroup
	extender.Go(func() { c.extend(extending) })

	var pollers sync.WaitGroup
	c.mu.Lock()
	c.crew.pollers = 1
	c.mu.Unlock()
	pollers.Go(func() { c.poll(ctx, &pollers) })

	<-ctx.Done()
	c.draining.Store(true)
	c.log.Info("draining", "messages", c.held.len())
	last := time.AfterFunc(c.cfg.DrainTimeout-c.cfg.DrainTimeout/8, func() {
		c.closing.Store(true)
		for _, d := range c.retries.close() {
			c.giveBack(d)
		}
	})
	defer last.Stop()
	over := time.AfterFunc(c.cfg.DrainTimeout, func() {
		stop()
		c.letters.drop()
		c.apart.drop()
		c.deletes.drop()
		c.handBacks.drop()
	})
	defer over.Stop()

	c.writer.Drain()
	received := make(chan struct{})
	go func() { pollers.Wait(); close(received) }() // ends with the polls, which calls ends at the latest
	settled := make(chan struct{})
	go func() { <-received; c.held.drain(); close(settled) }() // or with held.close
	closing := time.NewTimer(c.cfg.DrainTimeout - c.cfg.DrainTimeout/8)
	defer closing.Stop()
	select {
	case <-settled:
	case <-closing.C:
	}
	c.writer.Close()
	select {
	case <-settled:
	case <-calls.Done():
		<-received
	}
	c.letters.close()
	c.apart.close()
	c.deletes.close()
	stopExtending()
	extender.Wait() // it may hand back what it was extending
	c.handBacks.close()
	unfinished := int64(c.held.close())
	c.metrics.Settled.WithLabelValues("left").Add(float64(unfinished))
	summary := c.Summary()
	summary.Left += unfinished
	summary.Unfinished = unfinished
	return summary
}

// Summary says what became of the messages so far; what is held is in none of its parts but Received.
func (c *Consumer) Summary() Summary {
	return Summary{
		Received: c.received.Load(), Deleted: c.deleted.Load(), HandedBack: c.handedBack.Load(), Left: c.left.Load(),
		DeadLetters: c.deadLetters.Load(), Commands: c.commands.Load(),
	}
}

// Answers is how many calls that settle messages have come back, whatever they brought.
func (c *Consumer) Answers() uint64 { return c.answers.Load() }

// QueueInFlight tells how many messages of the queue are in flight just now, those of all of its consumers: where SQS's limit
// is near, messages are held instead of handed back with a delay.
func (c *Consumer) QueueInFlight(messages int) { c.queueInFlight.Store(int64(messages)) }

// Stats is a snapshot of the consumer's load.
type Stats struct {
	Messages int
	Commands int
	Bytes    int
	Pollers  int
	Draining bool
	// Problem is the last failure to receive, or "" when the last receive succeeded.
	Problem string
}

// Stats returns a snapshot.
func (c *Consumer) Stats() Stats {
	s := Stats{Messages: c.held.len(), Draining: c.draining.Load()}
	s.Commands, s.Bytes = c.held.load()
	c.mu.Lock()
	s.Pollers = c.crew.pollers
	c.mu.Unlock()
	if p := c.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// poll receives until ctx ends or the crew is too large. It starts further pollers.
func (c *Consumer) poll(ctx context.Context, pollers *sync.WaitGroup) {
	var decoded []messages.Decoded
	failures := 0
	for {
		reserved, ok := c.room.reserve(ctx, limits.SQSBatchEntries)
		if !ok {
			c.leave()
			return
		}
		c.mu.Lock()
		before := c.latest
		c.mu.Unlock()
		// The receive has the context of calls, not ctx: stopping must not abandon it.
		call, cancel := context.WithTimeout(c.calls, receiveTimeout)
		received, err := c.queue.Receive(call, limits.SQSBatchEntries, limits.SQSLongPollMax)
		cancel()
		if err != nil {
			c.room.settle(reserved, 0, 0, 0)
			text := err.Error()
			c.problem.Store(&text)
			c.log.Error("receive failed", "queue", c.cfg.QueueName, "error", err)
			sleep(ctx, backoff(failures))
			failures++
			continue
		}
		failures = 0
		c.problem.Store(nil)
		decoded = c.take(received, before, reserved, decoded)
		c.mu.Lock()
		start, end := c.crew.received(len(received))
		c.metrics.Pollers.Set(float64(c.crew.pollers))
		c.mu.Unlock()
		if start {
			pollers.Go(func() { c.poll(ctx, pollers) })
		}
		if end {
			return
		}
	}
}

// leave takes a poller off the crew.
func (c *Consumer) leave() {
	c.mu.Lock()
	c.crew.pollers--
	c.metrics.Pollers.Set(float64(c.crew.pollers))
	c.mu.Unlock()
}

// take decodes what was received and hands it to the writer. Before is c.latest when the receive began.
func (c *Consumer) take(received []Message, before int64, reserved reservation, scratch []messages.Decoded) []messages.Decoded {
	now := time.Now()
	deliveries := make([]delivery, len(received))
	commands, bytes := 0, 0
	var oldest time.Time
	c.order(received, before, deliveries)
	for i := range received {
		d := &deliveries[i]
		scratch = c.decode(d, &received[i], scratch[:0])
		if c.tracing != nil {
			d.Span = c.tracing.Process(d.described(c.cfg.QueueName, now))
		}
		d.receivedAt, d.deadline = now, now.Add(c.cfg.VisibilityTimeout)
		commands += d.commands
		bytes += d.bytes
		oldest = earlier(oldest, received[i].SentAt)
	}
	clear(scratch)
	c.room.settle(reserved, len(received), commands, bytes)
	c.received.Add(int64(len(received)))
	c.metrics.Received.Add(float64(len(received)))
	if !oldest.IsZero() {
		c.metrics.OldestAge.Set(now.Sub(oldest).Seconds())
	}
	c.held.add(deliveries)
	c.gauge()
	for i := range deliveries {
		c.submit(&deliveries[i])
	}
	return scratch
}

// order says when each message was first received, by SQS's clock: pollers are not as fast as each other, and what two of
// them received one after the other may reach the writer in any order. SQS is many machines, whose clocks differ by some
// milliseconds; so what comes for the first time, by a receive that began when another's messages were here, counts as
// received after those whatever its time says. A FIFO queue gives the messages of a group to one poller at a time, in order.
func (c *Consumer) order(received []Message, before int64, deliveries []delivery) {
	if c.cfg.FIFO {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range received {
		m, at := &received[i], int64(0) // unknown
		if !m.FirstReceivedAt.IsZero() {
			at = c.clock.plausible(m.FirstReceivedAt.UnixMilli(), now, m.ReceiveCount <= 1)
		}
		if m.ReceiveCount <= 1 && at > 0 {
			at = max(at, before)
			c.latest = max(c.latest, at)
		}
		deliveries[i].Received = at
	}
}

// gauge tells the metrics how much is held.
func (c *Consumer) gauge() {
	commands, bytes := c.held.load()
	c.metrics.InFlight.Set(float64(commands))
	c.metrics.InFlightBytes.Set(float64(bytes))
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// submit hands a delivery to the writer, or settles what needs no writing.
func (c *Consumer) submit(d *delivery) {
	switch {
	case c.draining.Load():
		c.handBack(d)
	case len(d.Writes) == 0:
		c.settle(d)
	case c.writer.Submit(&d.Group):
	default:
		c.mu.Lock()
		full := c.parked.at(time.Now()) >= mostParked || c.queueInFlight.Load() >= mostQueueInFlight
		c.mu.Unlock()
		d.Hold = d.Hold || full
		if !full || !c.writer.Submit(&d.Group) {
			c.handBack(d)
		}
	}
}

// backoff is how long to wait after so many failures in a row.
func backoff(failures int) time.Duration {
	return retryPause(failures, rand.Float64())
}

func retryPause(failures int, jitter float64) time.Duration {
	d := min(retryMax, retryMin<<min(failures, 10))
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

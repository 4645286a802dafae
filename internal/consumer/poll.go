package consumer

import (
	"context"
	"sync"
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/writer"
)

// poll receives until ctx ends or there are too many pollers. It starts further pollers.
func (c *Consumer) poll(ctx context.Context, pollers *sync.WaitGroup) {
	var decoded []messages.Decoded
	failures := 0
	for {
		reserved, ok := c.room.reserve(ctx, limits.SQSBatchEntries)
		if !ok {
			c.endPoller()
			return
		}
		c.mu.Lock()
		before := c.latestFirstReceive
		c.mu.Unlock()
		// The receive has the context of calls, not ctx: stopping must not abandon it.
		call, cancel := context.WithTimeout(c.calls, receiveTimeout)
		received, err := c.queue.Receive(call, limits.SQSBatchEntries, limits.SQSMaxLongPoll)
		cancel()
		if err != nil {
			c.room.correct(reserved, 0, 0, 0)
			text := err.Error()
			c.problem.Store(&text)
			c.log.Error("receive failed", "queue", c.cfg.QueueName, "error", err)
			sleep(ctx, backoff(failures))
			failures++
			continue
		}
		failures = 0
		c.problem.Store(nil)
		if c.standIn(received) {
			pollers.Go(func() { c.poll(ctx, pollers) })
		}
		decoded = c.admit(time.Now(), received, before, reserved, decoded)
		if c.cfg.Ended != nil {
			continue // one poller, whatever comes
		}
		c.mu.Lock()
		start, end := c.pollers.received(len(received))
		c.metrics.Pollers.Set(float64(c.pollers.running))
		c.mu.Unlock()
		if start {
			pollers.Go(func() { c.poll(ctx, pollers) })
		}
		if end {
			return
		}
	}
}

// largeReceive is the size in bytes beyond which reading and decoding a receive takes as long as a call. For pairedReceives
// receives after one, the last two pollers both stay: another large receive would hold up the only one.
const (
	largeReceive   = 256 << 10
	pairedReceives = 512
)

// standIn reports whether another poller should start because the only one is about to decode large messages, and smaller
// ones would wait behind them.
func (c *Consumer) standIn(received []Message) bool {
	bytes := 0
	for i := range received {
		bytes += len(received[i].Body)
	}
	if bytes < largeReceive || c.cfg.Ended != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pollers.paired = pairedReceives
	if c.pollers.running > 1 {
		return false
	}
	c.pollers.running++
	return true
}

func (c *Consumer) endPoller() {
	c.mu.Lock()
	c.pollers.running--
	c.metrics.Pollers.Set(float64(c.pollers.running))
	c.mu.Unlock()
}

// admit decodes the messages of one receive, puts them on the held list and submits them. before is latestFirstReceive as it
// was when the receive began. admit returns scratch, grown, for the next receive.
func (c *Consumer) admit(now time.Time, received []Message, before int64, reserved reservation, scratch []messages.Decoded) []messages.Decoded {
	deliveries := make([]delivery, len(received))
	commands, bytes := 0, 0
	c.rank(now, received, before, deliveries)
	ruling := c.rule(now)
	for i := range received {
		d := &deliveries[i]
		scratch = c.decode(d, &received[i], ruling, scratch[:0])
		if c.tracing != nil {
			d.Span = c.tracing.Process(d.described(c.cfg.QueueName, now))
		}
		d.receivedAt, d.deadline = now, now.Add(c.cfg.VisibilityTimeout)
		commands += d.commands
		bytes += d.bytes
	}
	clear(scratch)
	c.room.correct(reserved, len(received), commands, bytes)
	c.received.Add(int64(len(received)))
	c.metrics.Received.Add(float64(len(received)))
	if c.cfg.FIFO {
		chain(deliveries)
	}
	c.gaugeAges(now, received, deliveries)
	c.held.add(deliveries)
	c.gauge()
	for i := range deliveries {
		c.submit(now, &deliveries[i])
	}
	return scratch
}

// gaugeAges reports how old the messages of one receive are. Those that wait for suspended tenants have a gauge of their own: they
// grow old as operators want it, and are no backlog.
func (c *Consumer) gaugeAges(now time.Time, received []Message, deliveries []delivery) {
	var oldest, oldestSuspended time.Time
	for i := range deliveries {
		if d := &deliveries[i]; !d.suspended {
			oldest = earlier(oldest, received[i].SentAt)
			continue
		} else if d.later != nil {
			d.later.suspended = true // it has to go back as well
		}
		oldestSuspended = earlier(oldestSuspended, received[i].SentAt)
	}
	if !oldest.IsZero() {
		c.metrics.OldestAge.Set(now.Sub(oldest).Seconds())
	}
	if !oldestSuspended.IsZero() {
		c.metrics.SuspendedAge.Set(now.Sub(oldestSuspended).Seconds())
	}
}

// submit gives a delivery to the writer. It nacks the delivery while draining, when a tenant is suspended, and when the writer
// refuses it because a tenant is over its share. If too many messages are delayed already, the writer has to hold it instead.
func (c *Consumer) submit(now time.Time, d *delivery) {
	switch {
	case c.draining.Load() || d.givenUp.Load():
		c.nackUnwritten(d, writer.Closed)
		return
	case d.suspended:
		c.nackSuspended(d)
		return
	case len(d.Writes) == 0:
		c.conclude(d)
		return
	}
	admission := c.writer.Submit(&d.Group)
	if (admission == writer.Stalled || admission == writer.Limited) && c.crowded(now) {
		d.Hold = true
		admission = c.writer.Submit(&d.Group)
	}
	switch admission {
	case writer.Admitted: // the writer owns it
	case writer.Suspended:
		c.nackSuspended(d)
	default:
		c.nackUnwritten(d, admission)
	}
}

// crowded reports whether too many messages are delayed.
func (c *Consumer) crowded(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.delayed.at(now) >= maxDelayed || c.queueInFlight.Load() >= maxQueueInFlight
}

// earlier returns the earlier of two times. The zero time means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// maxPollers limits the receives under way.
const maxPollers = 64

// growAfter is how many receives in a row, of all pollers together, must come back full before another poller starts. A few
// may be chance, more are a backlog. At the start one is enough.
const growAfter = 8

// pollerCount decides how many pollers run, by how full receives come back. At least one always runs. Consumer.mu guards it.
type pollerCount struct {
	running    int
	fill       float64 // messages per receive: a running average
	full       int     // full receives in a row
	paired     int     // receives for which two pollers stay
	sawPartial bool    // a receive that was not full has come back
}

// received records a receive of n messages by one poller. It reports whether another poller should start, or this one end.
func (p *pollerCount) received(n int) (start, end bool) {
	p.fill += (float64(n) - p.fill) / 4
	if n == limits.SQSBatchEntries {
		p.full++
		if p.sawPartial && p.full < growAfter || p.running == maxPollers {
			return false, false
		}
		p.running++
		return true, false
	}
	p.full, p.sawPartial = 0, true
	if p.paired > 0 && n > 0 {
		if p.paired--; p.running <= 2 {
			return false, false
		}
	}
	// Would one poller fewer receive as much, with fuller receives?
	if p.running > 1 && (n == 0 || p.fill*float64(p.running) < 1.05*limits.SQSBatchEntries*float64(p.running-1)) {
		p.running--
		p.fill = p.fill * float64(p.running+1) / float64(p.running)
		return false, true
	}
	return false, false
}

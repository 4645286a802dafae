package consumer

import (
	"context"
	"time"

	"tributary/internal/aws/limits"
)

// extend keeps messages invisible while they are held, until ctx ends.
func (c *Consumer) extend(ctx context.Context) {
	tick := time.NewTicker(max(100*time.Millisecond, c.cfg.VisibilityTimeout/16))
	defer tick.Stop()
	sends := newBatcher(limits.SQSBatchEntries, maxSends/4, 0, c.extendBatch)
	for {
		select {
		case <-ctx.Done():
			sends.close()
			return
		case <-tick.C:
		}
		extend, expired := c.held.due(time.Now(), c.cfg.VisibilityTimeout)
		if len(extend) > 0 {
			sends.add(extend...)
		}
		for _, d := range expired {
			c.log.Warn("message was held for 12 hours, the longest that SQS allows, and goes back to the queue", "message_id", d.message.ID)
			c.writer.Abandon(&d.Group)
		}
	}
}

// extendBatch extends a batch of messages, and nacks those for which that was asked meanwhile.
func (c *Consumer) extendBatch(batch []*delivery) {
	timeout := c.cfg.VisibilityTimeout
	changes := make([]Visibility, len(batch))
	for i, d := range batch {
		changes[i] = Visibility{d.message.ReceiptHandle, timeout}
	}
	started := time.Now()
	failed, err := c.callBatch(len(batch), func(ctx context.Context) ([]Failure, error) { return c.queue.ChangeVisibility(ctx, changes) })
	if err != nil {
		c.log.Error("extend visibility failed", "messages", len(batch), "error", err)
	}
	now := time.Now()
	for i, d := range batch {
		until := c.held.deadline(d)
		if err != nil { // the answer was lost; the extension may have taken place
			until = until.Add(timeout)
		}
		if c.held.extended(d, extensionResult(failed.of(i), until, now), started.Add(timeout)) {
			c.nacks.add(d)
		}
	}
}

// extensionResult returns the result of an extension with failure f (nil: none) of a message that is invisible until a time. A
// failure is for good if SQS says so, or if the message is visible again: another receiver has it, or will. Its commands are
// written all the same, and deleting it may still succeed.
func extensionResult(f *Failure, until, now time.Time) extension {
	switch {
	case f == nil:
		return renewed
	case f.Final || !now.Before(until):
		return lost
	}
	return retry
}

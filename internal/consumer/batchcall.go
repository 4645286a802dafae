package consumer

import (
	"context"
	"time"
)

// batchFailures are the failures of a batch call, by entry; nil: there are none.
type batchFailures []*Failure

// of returns the failure of entry i, or nil if it succeeded.
func (f batchFailures) of(i int) *Failure {
	if f == nil {
		return nil
	}
	return f[i]
}

// callBatch makes one batch call of n entries, with a time-out, and returns the failures. If the call fails as a whole, each
// entry has failed, but not for good.
func (c *Consumer) callBatch(n int, call func(context.Context) ([]Failure, error)) (batchFailures, error) {
	ctx, cancel := context.WithTimeout(c.calls, sendTimeout)
	defer cancel()
	failures, err := call(ctx)
	if err == nil && len(failures) == 0 {
		return nil, nil
	}
	failed := make(batchFailures, n)
	if err != nil {
		unknown := &Failure{}
		for i := range failed {
			failed[i] = unknown
		}
		return failed, err
	}
	for i := range failures {
		failed[failures[i].Index] = &failures[i]
	}
	return failed, nil
}

// finishBatch ends the deliveries of a batch call by their failures. A delivery whose failure is not final goes into batches
// again after a pause, as long as its receipt is valid at now. finish ends the others; its f is nil for a success.
func (c *Consumer) finishBatch(batch []*delivery, failed batchFailures, now time.Time, batches *batcher[*delivery], finish func(i int, f *Failure)) {
	var again []*delivery
	for i, d := range batch {
		if f := failed.of(i); f != nil && !f.Final && now.Before(c.held.deadline(d)) {
			again = append(again, d)
		} else {
			finish(i, f)
		}
	}
	if len(again) == 0 {
		return
	}
	again[0].tries++
	sleep(c.calls, backoff(again[0].tries))
	if c.calls.Err() == nil {
		batches.add(again...)
		return
	}
	for _, d := range again { // the time for draining is over
		c.finish(d, left)
	}
}

// deleteBatch deletes a batch of messages.
func (c *Consumer) deleteBatch(batch []*delivery) {
	handles := make([]string, len(batch))
	for i, d := range batch {
		handles[i] = d.message.ReceiptHandle
	}
	failed, err := c.callBatch(len(batch), func(ctx context.Context) ([]Failure, error) { return c.queue.Delete(ctx, handles) })
	c.answered.Add(1)
	if err != nil {
		c.log.Error("delete failed", "messages", len(batch), "error", err)
		for _, d := range batch {
			d.maybeDeleted = true
		}
	}
	c.finishBatch(batch, failed, time.Now(), c.deletes, func(i int, f *Failure) {
		d := batch[i]
		if f == nil || f.Final && d.maybeDeleted { // the call whose answer was lost has deleted it: the receipt is no longer valid
			c.finish(d, deleted)
			return
		}
		c.log.Warn("message can't be deleted and will be received again", "message_id", d.message.ID, "code", f.Code)
		c.finish(d, left)
	})
}

// nackBatch makes a batch of messages visible again: at once while draining, otherwise after a delay that grows.
func (c *Consumer) nackBatch(batch []*delivery) {
	now := time.Now()
	changes := c.nackChanges(batch, now)
	failed, err := c.callBatch(len(batch), func(ctx context.Context) ([]Failure, error) { return c.queue.ChangeVisibility(ctx, changes) })
	c.answered.Add(1)
	if err != nil {
		c.log.Error("hand back failed", "messages", len(batch), "error", err)
	}
	c.finishBatch(batch, failed, now, c.nacks, func(i int, f *Failure) {
		if f != nil {
			c.finish(batch[i], left)
			return
		}
		c.noteDelayed(now.Add(changes[i].Timeout))
		c.finish(batch[i], nacked)
	})
}

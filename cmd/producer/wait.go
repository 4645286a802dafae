package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tributary/internal/send/importer"
	"tributary/internal/send/publish"
)

// SQS counts approximately: an empty queue is believed when it was empty so many times in a row.
const (
	waitPoll     = time.Second
	emptyInARow  = 3
	reportEvery  = 5 * time.Second
	waitFailures = 5
)

// waitEmpty returns when the queue is empty. It reports how far the workers are.
func waitEmpty(ctx context.Context, to *connection, most time.Duration, talk io.Writer) error {
	within, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return watchDepth(within, talk, func() (publish.Depth, error) { return to.queue.Depth(within, to.admin) })
}

func watchDepth(ctx context.Context, talk io.Writer, depth func() (publish.Depth, error)) error {
	started := time.Now()
	reported, before := started, int64(-1)
	empty, failures := 0, 0
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for {
		d, err := depth()
		switch now := time.Now(); {
		case ctx.Err() != nil:
		case err != nil:
			if failures++; failures == waitFailures {
				return err
			}
		case d.Total() == 0:
			failures = 0
			if empty++; empty == emptyInARow {
				_, _ = fmt.Fprintf(talk, "the queue is empty after %.1f s\n", now.Sub(started).Seconds())
				return nil
			}
		default:
			empty, failures = 0, 0
			if since := now.Sub(reported); since >= reportEvery || before < 0 {
				speed := ""
				if before >= 0 {
					speed = fmt.Sprintf(", %s messages/s", importer.Thousands(int64(float64(before-d.Total())/since.Seconds())))
				}
				_, _ = fmt.Fprintf(talk, "waiting: about %s messages visible, %s in flight%s\n",
					importer.Thousands(d.Visible), importer.Thousands(d.InFlight), speed)
				reported, before = now, d.Total()
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errors.New("the queue was not empty in time: is a worker running? (--wait-most says how long to wait)")
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

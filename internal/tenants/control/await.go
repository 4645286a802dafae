package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tributary/internal/tenants"
)

// Times of those who wait for workers.
const (
	lookEvery = 500 * time.Millisecond
	// proveLife is how long a worker whose item looks old has to show that it is alive. It is more than TellEvery.
	proveLife = tenants.TellEvery + 2*time.Second
	// LongestCall is how long a worker's call to DynamoDB takes at most.
	LongestCall = 15 * time.Second
	// Presumed is the time without a sign of life after which a worker can't write any more by what it obeyed then: its lease is
	// over, and so is the call that it began last. A reader that sees the worker's item for the first time counts from then.
	Presumed = tenants.Lease + LongestCall
	// maxKnown bounds the workers that an answer names.
	maxKnown = 10
)

// Waiting says which workers obey a revision.
type Waiting struct {
	Confirmed []Worker      // obey it, and have no older call under way
	Missing   []Worker      // are alive, or may be, and have not confirmed it
	Dead      []Worker      // did not confirm it, and are not alive
	Took      time.Duration // since Await began
}

// String says in words how far it is: "in force on 2 of 3 workers after 4.2 s".
func (w *Waiting) String() string {
	all := len(w.Confirmed) + len(w.Missing)
	if all == 0 {
		return "no worker is alive: it is in force for each that starts"
	}
	workers := "workers"
	if all == 1 {
		workers = "worker"
	}
	return fmt.Sprintf("in force on %d of %d %s after %.1f s", len(w.Confirmed), all, workers, w.Took.Seconds())
}

// UnconfirmedError says which workers have not confirmed a revision in time.
type UnconfirmedError struct {
	Revision int64
	Waiting  Waiting
}

func (e *UnconfirmedError) Error() string {
	var names []string
	for i := range e.Waiting.Missing {
		if i == maxKnown {
			names = append(names, fmt.Sprintf("%d more", len(e.Waiting.Missing)-i))
			break
		}
		w := &e.Waiting.Missing[i]
		names = append(names, fmt.Sprintf("%s, which has confirmed revision %d", w.Name(), w.Confirmed))
	}
	return fmt.Sprintf("revision %d is not confirmed after %.1f s by %s", e.Revision, e.Waiting.Took.Seconds(), strings.Join(names, ", by "))
}

// Await waits until all workers that are alive have confirmed the revision. The error is an *UnconfirmedError where some have not
// when timeout is over.
func (s *Store) Await(ctx context.Context, revision int64, timeout time.Duration) (Waiting, error) {
	return s.await(ctx, revision, timeout, tenants.DeadAfter, tenants.DeadAfter-proveLife)
}

// AwaitQuiet is Await for those who need to know that nothing is written by an older revision any more. A worker that does not
// confirm counts as dead only Presumed after it was last seen alive, and the time in its item proves nothing.
func (s *Store) AwaitQuiet(ctx context.Context, revision int64, timeout time.Duration) (Waiting, error) {
	return s.await(ctx, revision, timeout, Presumed, 0)
}

func (s *Store) await(ctx context.Context, revision int64, timeout, deadAfter, trust time.Duration) (Waiting, error) {
	began := time.Now()
	observed := census{trust: trust}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		workers, err := s.Workers(ctx, true)
		if err != nil {
			return Waiting{}, err
		}
		now := time.Now()
		observed.look(now, workers)
		w := observed.waiting(now, revision, deadAfter)
		w.Took = now.Sub(began)
		if len(w.Missing) == 0 {
			return w, nil
		}
		if w.Took >= timeout {
			return w, &UnconfirmedError{revision, w}
		}
		select {
		case <-ctx.Done():
			return w, ctx.Err()
		case <-ticker.C:
		}
	}
}

// waiting sorts the workers by what they have confirmed.
func (c *census) waiting(now time.Time, revision int64, deadAfter time.Duration) Waiting {
	var w Waiting
	for _, s := range c.seen {
		switch alive := s.isAlive(now, deadAfter); {
		case alive && s.Confirmed >= revision:
			w.Confirmed = append(w.Confirmed, s.Worker)
		case alive:
			w.Missing = append(w.Missing, s.Worker)
		case s.Confirmed < revision:
			w.Dead = append(w.Dead, s.Worker)
		}
	}
	for _, list := range [][]Worker{w.Confirmed, w.Missing, w.Dead} {
		slices.SortFunc(list, func(a, b Worker) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID)) })
	}
	return w
}

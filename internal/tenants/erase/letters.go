package erase

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"tributary/internal/operate/deadletters"
)

// Times of looking for letters.
const (
	// letterPatience is how long the step waits for letters that it can't see. Those that a killed command held are visible after
	// 15 minutes.
	letterPatience = 20 * time.Minute
	lookAgain      = 15 * time.Second
)

// letters removes the tenant's letters until a look at the whole dead-letter queue finds none. A look does not see letters that
// somebody else holds, nor all of a FIFO queue's: what is in the way of letters has to go first.
func (r *run) letters(ctx context.Context) error {
	_, err := r.dropLetters(ctx, Letters)
	return err
}

// dropLetters returns how many it has removed.
func (r *run) dropLetters(ctx context.Context, step Step) (removed int, _ error) {
	patience := time.Now().Add(letterPatience)
	for {
		found, err := r.lookFor(ctx, r.tenant)
		if err != nil {
			return removed, err
		}
		if err := r.settlePending(ctx, found); err != nil {
			return removed, err
		}
		if len(found.ids) > 0 {
			n, err := r.drop(ctx, found)
			removed += n
			r.progress(step, removed)
			if err != nil {
				return removed, err
			}
			if n > 0 {
				patience = time.Now().Add(letterPatience)
				continue
			}
		} else if found.walked.Elsewhere == 0 && found.walked.Unseen == 0 && !found.walked.Full {
			return removed, r.save(ctx, func(c *Certificate) { c.Letters.Shared = found.shared })
		}
		if !time.Now().Before(patience) {
			return removed, &UnseenError{r.Box.Name, found.walked}
		}
		if r.Waiting != nil {
			r.Waiting(found.walked, patience)
		}
		select {
		case <-ctx.Done():
			return removed, ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// UnseenError says that letters are on the dead-letter queue that could not be looked at.
type UnseenError struct {
	Queue  string
	Walked deadletters.Walked
}

func (e *UnseenError) Error() string {
	if e.Walked.Full {
		return fmt.Sprintf("%s holds more letters than can be looked at: redrive or drop those of other tenants first (worker dlq)", e.Queue)
	}
	return fmt.Sprintf("%s holds letters that can't be seen: about %d in flight elsewhere, about %d behind others: stop other readers of the queue, or redrive or drop what is in front",
		e.Queue, e.Walked.Elsewhere, e.Walked.Unseen)
}

// foundLetters are the tenant's letters as one look found them.
type foundLetters struct {
	ids    map[string]time.Time // when each was sent
	shared int
	walked deadletters.Walked
}

// lookFor finds the tenant's letters. It leaves all letters where they are.
func (e *Eraser) lookFor(ctx context.Context, tenant string) (foundLetters, error) {
	found := foundLetters{ids: map[string]time.Time{}}
	walked, err := e.Box.Each(ctx, &deadletters.Filter{}, func(l *deadletters.Letter) error {
		switch l.Holds(e.Types, tenant) {
		case deadletters.HoldsAll:
			found.ids[l.ID] = l.SentAt
		case deadletters.HoldsSome:
			found.shared++
		}
		return nil
	})
	found.walked = walked
	return found, err
}

// settlePending counts what an earlier run had found and removed before it was killed: what it had found and is not there now.
func (r *run) settlePending(ctx context.Context, found foundLetters) error {
	pending, before := r.cert.Letters, 0
	if pending.Pending == 0 {
		return nil
	}
	if found.walked.Elsewhere > 0 || found.walked.Unseen > 0 {
		return nil // they may be there
	}
	for _, sent := range found.ids {
		if !sent.After(pending.PendingAt) {
			before++
		}
	}
	return r.save(ctx, func(c *Certificate) {
		if c.Letters.PendingAt.Equal(pending.PendingAt) {
			c.Letters = LetterSums{Removed: pending.Removed + max(0, pending.Pending-before), Shared: c.Letters.Shared}
		}
	})
}

// drop removes letters that were found. It notes how many they are before, so that a count is right although it is killed.
func (r *run) drop(ctx context.Context, found foundLetters) (int, error) {
	if r.cert.Letters.Pending == 0 { // otherwise an earlier run's could not be counted yet
		newest := slices.MaxFunc(slices.Collect(maps.Values(found.ids)), time.Time.Compare)
		if err := r.save(ctx, func(c *Certificate) { c.Letters.Pending, c.Letters.PendingAt = len(found.ids), newest }); err != nil {
			return 0, err
		}
	}
	shown := make(map[string]bool, len(found.ids))
	for id, sent := range found.ids {
		if !sent.After(r.cert.Letters.PendingAt) { // those that came since have their turn when these are counted
			shown[id] = true
		}
	}
	if len(shown) == 0 {
		return 0, nil
	}
	dropped, _, err := r.Box.Drop(ctx, &deadletters.Filter{}, shown)
	if err != nil {
		return dropped.Dropped, err // what is left is counted from what is pending
	}
	removed := r.cert.Letters.Removed + dropped.Dropped
	if r.cert.Letters.Pending != len(shown) || dropped.Dropped != len(shown) {
		return dropped.Dropped, nil // the next look counts what is gone
	}
	return dropped.Dropped, r.save(ctx, func(c *Certificate) {
		c.Letters = LetterSums{Removed: max(c.Letters.Removed, removed), Shared: c.Letters.Shared}
	})
}

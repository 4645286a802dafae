package deadletters

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/time/rate"

	"tributary/internal/aws/limits"
)

// SendAPI is the part of SQS that sends to the target of a redrive.
type SendAPI interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// Target is the queue that letters are sent back to.
type Target struct {
	API  SendAPI
	URL  string
	FIFO bool
	// Rate is how many letters a second are sent at most, from RateMin; 0 means no limit.
	Rate float64
}

// RateMin is the slowest redrive: the letters of one receive are sent well before they are visible again.
const RateMin = 0.1

// Moved counts the outcomes of a redrive.
type Moved struct {
	Sent    int `json:"sent"`    // accepted by the queue, and removed
	Refused int `json:"refused"` // by the queue, or withheld: they stay
	// Doubled letters were accepted by the queue but could not be removed: another redrive sends them again.
	Doubled int `json:"doubled"`
	// Refusals are the first few refusals, in words.
	Refusals []string `json:"refusals,omitempty"`
}

func (m *Moved) refuse(why string) {
	if m.Refused++; len(m.Refusals) < maxRefusals {
		m.Refusals = append(m.Refusals, why)
	}
}

// maxRefusals is how many refusals are told in words.
const maxRefusals = 5

// Redrive sends the letters that the filter chooses to the target. A letter is removed from the dead-letter queue
// only once the target has accepted it: whatever happens, it is in one queue at least. An error of the target or
// the dead-letter queue as a whole ends it; the counts are right then, too.
func (b *Box) Redrive(ctx context.Context, f *Filter, to *Target) (Moved, Walked, error) {
	limiter, readers := rate.NewLimiter(rate.Inf, 1), parallel
	if to.Rate > 0 {
		// One reader: its letters must be sent before they become visible again.
		limiter, readers = rate.NewLimiter(rate.Limit(to.Rate), 1), 1
	}
	var mu sync.Mutex // guards moved
	var moved Moved
	walked, err := b.walk(ctx, readers, func(ctx context.Context, w *walk, letters []*Letter) error {
		mu.Lock()
		letters = slices.DeleteFunc(letters, func(l *Letter) bool {
			why := l.Withheld()
			if why == "" || !f.Match(l) {
				return false
			}
			moved.refuse(l.ID + ": " + why)
			return true
		})
		mu.Unlock()
		for _, batch := range batches(f, letters, to.FIFO) {
			for range batch {
				if err := limiter.Wait(ctx); err != nil {
					return err // interrupted: these were not sent
				}
			}
			if err := redrive(ctx, w, to, batch, &mu, &moved); err != nil {
				return err
			}
		}
		return nil
	})
	return moved, walked, err
}

// batches divides the letters that the filter chooses into what one call may send.
func batches(f *Filter, letters []*Letter, fifo bool) [][]*Letter {
	var all [][]*Letter
	var batch []*Letter
	size := 0
	for _, l := range letters {
		if !f.Match(l) {
			continue
		}
		e := l.entry(fifo)
		n := entryBytes(&e)
		if len(batch) > 0 && size+n > limits.SQSBatchBytes {
			all, batch, size = append(all, batch), nil, 0
		}
		batch, size = append(batch, l), size+n
	}
	if len(batch) > 0 {
		all = append(all, batch)
	}
	return all
}

// redrive sends one batch, and removes those letters that were accepted; also where ctx has ended.
func redrive(ctx context.Context, w *walk, to *Target, batch []*Letter, mu *sync.Mutex, moved *Moved) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	entries := make([]types.SendMessageBatchRequestEntry, len(batch))
	for i, l := range batch {
		entries[i] = l.entry(to.FIFO)
		entries[i].Id = id(i)
	}
	took := w.send()
	out, err := to.API.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &to.URL, Entries: entries})
	if err != nil {
		took(nil)
		return fmt.Errorf("send to queue: %w", err)
	}
	var sent []*Letter
	var ids []string
	for _, ok := range out.Successful {
		ids = append(ids, aws.ToString(ok.MessageId))
		if l := byID(batch, ok.Id); l != nil {
			sent = append(sent, l)
		}
	}
	took(ids)
	if len(sent) > 0 {
		err = w.remove(ctx, sent)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, l := range sent {
		if l.removed {
			moved.Sent++
		} else {
			moved.Doubled++
		}
	}
	for _, failed := range out.Failed {
		id := ""
		if l := byID(batch, failed.Id); l != nil {
			id = l.ID
		}
		moved.refuse(fmt.Sprintf("%s: %s: %s", id, aws.ToString(failed.Code), aws.ToString(failed.Message)))
	}
	return err
}

// Dropped counts the outcomes of a drop.
type Dropped struct {
	Dropped int `json:"dropped"` // for good
	Kept    int `json:"kept"`    // by SQS, although it was asked to remove them
	Unshown int `json:"unshown"` // left, because they were not among those that may be dropped
}

// Drop removes the letters that the filter chooses for good; where shown is not nil, only those whose ids are in it: an
// operator who agreed to delete the shown letters has not agreed to delete later ones.
func (b *Box) Drop(ctx context.Context, f *Filter, shown map[string]bool) (Dropped, Walked, error) {
	var mu sync.Mutex // guards dropped
	var dropped Dropped
	walked, err := b.walk(ctx, parallel, func(ctx context.Context, w *walk, letters []*Letter) error {
		var chosen []*Letter
		unshown := 0
		for _, l := range letters {
			switch {
			case !f.Match(l):
			case shown != nil && !shown[l.ID]:
				unshown++
			default:
				chosen = append(chosen, l)
			}
		}
		var err error
		if len(chosen) > 0 {
			err = w.remove(ctx, chosen)
		}
		mu.Lock()
		defer mu.Unlock()
		dropped.Unshown += unshown
		for _, l := range chosen {
			if l.removed {
				dropped.Dropped++
			} else {
				dropped.Kept++
			}
		}
		return err
	})
	return dropped, walked, err
}

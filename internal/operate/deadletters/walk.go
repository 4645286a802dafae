package deadletters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"

	"tributary/internal/aws/limits"
	"tributary/internal/aws/queues"
	"tributary/internal/schema"
)

// SQS has no call that looks at a message without receiving it. A walk receives every letter with a visibility
// timeout that is longer than the walk, so that none comes twice, holds what it doesn't remove, and gives all of
// that back at its end, whatever ends it: visibility 0 makes a letter visible at once. It holds receipts, not
// bodies.
//
// Letters that arrive while the walk is under way are none of its business: they are held like the others, and not
// visited. SQS's clock tells them, to the second. A redriven command that fails again within that second would be
// redriven for ever: it is told exactly, by the id under which the queue took it.
const (
	// visibility is how long letters stay invisible where the program is killed and can't give them back.
	visibility = 15 * time.Minute
	// maxHeld is how many letters a walk holds at most. SQS allows 120,000 in flight, over all readers.
	maxHeld = 100_000
	// maxSent is how many of these ids a walk remembers: it takes far longer to send as many than the clock needs
	// to tell what comes back.
	maxSent = 100_000
	// emptyWait is the long poll after which the queue counts as read to its end. A long poll asks all of SQS's
	// servers, a short one only some ("Amazon SQS short and long polling").
	emptyWait = 1 * time.Second
	// parallel is how many receive, or give back, side by side.
	parallel = 8
	// finishTimeout bounds a call that is finished although the walk was interrupted.
	finishTimeout = 30 * time.Second
)

// QueueAPI is the part of SQS that a walk calls.
type QueueAPI interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
}

// Box is a dead-letter queue.
type Box struct {
	API  QueueAPI
	Name string
	URL  string
	FIFO bool
	// Types are the types of the commands in letters; nil means the built-in ones.
	Types *schema.Set
	// Hold is how many letters a walk holds at most; 0 means 100,000.
	Hold int
	// Progress is told every few seconds how many letters were looked at. It may be nil.
	Progress func(looked int)
}

func (b *Box) types() *schema.Set {
	if b.Types == nil {
		return schema.Builtin()
	}
	return b.Types
}

// OpenAPI is the part of SQS that Open and a walk call.
type OpenAPI interface {
	queues.API
	QueueAPI
}

// Open finds a dead-letter queue by its name or URL. The error is a *queues.NotFoundError if there is none.
func Open(ctx context.Context, api OpenAPI, nameOrURL string) (*Box, error) {
	url, err := queues.URL(ctx, api, nameOrURL)
	if err != nil {
		return nil, err
	}
	return &Box{API: api, Name: queues.Name(nameOrURL), URL: url, FIFO: queues.IsFIFO(nameOrURL)}, nil
}

// Walked reports how far a walk came.
type Walked struct {
	Looked int  `json:"looked"` // letters that were there when it began and were visited
	Full   bool `json:"full"`   // it ended because it held as many as it may: there may be more
	// Elsewhere is how many letters somebody else had received when the walk began, approximately. They were not
	// seen.
	Elsewhere int `json:"elsewhere"`
	// Unseen is how many more letters SQS counted than were looked at, approximately. Of a FIFO queue, earlier ones
	// of their message groups are in the way; of a standard queue, as many messages are in flight as SQS allows,
	// which a long poll answers with silence ("Amazon SQS message quotas").
	Unseen int `json:"unseen"`
	// Stuck letters could not be given back: they become visible by themselves within 15 minutes.
	Stuck int `json:"stuck"`
}

type walk struct {
	box   *Box
	began time.Time // by SQS's clock
	visit func(context.Context, *walk, []*Letter) error

	mu      sync.Mutex        // guards what follows
	held    map[string]string // receipts by the letters' ids
	looked  int
	over    bool                   // SQS lets no more be in flight
	sent    map[string]bool        // by the ids under which the queue took what was redriven
	sending map[chan struct{}]bool // one for each call that redrives now, closed when its ids are in sent
}

// walk visits every letter once, up to ten at a time and by several readers at once, and gives back what visit
// didn't remove.
func (b *Box) walk(ctx context.Context, readers int, visit func(context.Context, *walk, []*Letter) error) (Walked, error) {
	queue, err := queues.ReadURL(ctx, b.API, b.Name, b.URL)
	if err != nil {
		return Walked{}, err
	}
	depth := queue.Depth()
	w := &walk{box: b, began: began(queue), visit: visit, held: map[string]string{}, sent: map[string]bool{}, sending: map[chan struct{}]bool{}}
	stopProgress := w.report()
	group, groupCtx := errgroup.WithContext(ctx)
	for range readers {
		group.Go(func() error { return w.read(groupCtx) })
	}
	err = group.Wait()
	stopProgress()
	if err == nil {
		err = ctx.Err()
	}
	walked := Walked{Looked: w.looked, Full: w.isFull(), Elsewhere: int(depth.InFlight)}
	if err == nil {
		walked.Unseen = max(0, int(depth.Visible)-w.looked)
	}
	walked.Stuck = w.nack(context.WithoutCancel(ctx))
	return walked, err
}

// began is the time from which letters are new to a walk that begins now, by SQS's clock. The Date header has whole seconds, so
// letters of the current second count as older.
func began(queue *queues.Attributes) time.Time {
	now := queue.ServerTime
	if now.IsZero() {
		now = queue.LocalTime
	}
	return now.Add(time.Second)
}

// report tells box.Progress how far the walk is, until the returned function is called.
func (w *walk) report() (stop func()) {
	if w.box.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				w.mu.Lock()
				looked := w.looked
				w.mu.Unlock()
				w.box.Progress(looked)
			}
		}
	})
	return func() {
		close(done)
		reporter.Wait()
	}
}

// read receives until the queue is read to its end, the walk holds what it may, or ctx ends.
func (w *walk) read(ctx context.Context) error {
	lastNew := time.Now()
	for ctx.Err() == nil && !w.isFull() {
		received, err := w.receive(ctx)
		if _, over := errors.AsType[*types.OverLimit](err); over {
			w.mu.Lock()
			w.over = true
			w.mu.Unlock()
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive from dead-letter queue: %w", err)
		}
		if len(received) == 0 {
			return nil
		}
		letters, fresh := w.take(received)
		if fresh {
			lastNew = time.Now()
		} else if time.Since(lastNew) > visibility {
			return nil // a slow walk, whose own letters come round again: by now all others came too
		}
		if len(letters) == 0 {
			continue
		}
		if err := w.visit(ctx, w, letters); err != nil {
			return err
		}
	}
	return nil
}

// receive is not abandoned when ctx ends: SQS would still deliver letters, which would then stay invisible.
func (w *walk) receive(ctx context.Context) ([]types.Message, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	out, err := w.box.API.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:                    &w.box.URL,
		MaxNumberOfMessages:         limits.SQSBatchEntries,
		VisibilityTimeout:           int32(visibility / time.Second),
		WaitTimeSeconds:             int32(emptyWait / time.Second),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// send notes that a call redrives, until what it returns is told the ids under which the queue took the letters.
func (w *walk) send() (took func(ids []string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := make(chan struct{})
	w.sending[done] = true
	return func(ids []string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, id := range ids[:min(len(ids), maxSent-len(w.sent))] {
			w.sent[id] = true
		}
		delete(w.sending, done)
		close(done)
	}
}

// awaitSends waits for the calls that redrive now: their letters may come back before their answers do.
func (w *walk) awaitSends() {
	w.mu.Lock()
	sending := slices.Collect(maps.Keys(w.sending))
	w.mu.Unlock()
	for _, done := range sending {
		<-done // within finishTimeout
	}
}

// take notes the receipts of what was received, and returns the letters to visit. fresh says whether any was new
// to the walk.
func (w *walk) take(received []types.Message) (letters []*Letter, fresh bool) {
	w.awaitSends()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range received {
		l := newLetter(w.box.types(), &received[i])
		_, again := w.held[l.ID]
		w.held[l.ID] = l.receipt // the newest receipt is the one that counts
		if again {
			continue
		}
		fresh = true
		if l.SentAt.Before(w.began) && !w.sent[l.SourceMessageID] {
			w.looked++
			letters = append(letters, l)
		}
	}
	return letters, fresh
}

func (b *Box) hold() int {
	if b.Hold > 0 {
		return b.Hold
	}
	return maxHeld
}

func (w *walk) isFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over || len(w.held) >= w.box.hold()
}

// remove deletes letters from the dead-letter queue, at most ten, and marks those that are gone. What SQS refuses
// to delete is tried once more.
//
// It finishes even after ctx has ended, so that ctrl-C does not leave a letter sent but not removed.
func (w *walk) remove(ctx context.Context, letters []*Letter) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	for range 2 {
		var entries []types.DeleteMessageBatchRequestEntry
		for i, l := range letters {
			if !l.removed {
				entries = append(entries, types.DeleteMessageBatchRequestEntry{Id: id(i), ReceiptHandle: &l.receipt})
			}
		}
		if len(entries) == 0 {
			break
		}
		out, err := w.box.API.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &w.box.URL, Entries: entries})
		if err != nil {
			return fmt.Errorf("remove from dead-letter queue: %w", err)
		}
		for _, ok := range out.Successful {
			if l := byID(letters, ok.Id); l != nil {
				l.removed = true
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range letters {
		if l.removed {
			delete(w.held, l.ID)
		}
	}
	return nil
}

// id names the entry of a batch call that stands at index i.
func id(i int) *string {
	text := strconv.Itoa(i)
	return &text
}

// byID returns the letter of an entry in an answer, or nil.
func byID(letters []*Letter, id *string) *Letter {
	if id == nil {
		return nil
	}
	i, err := strconv.Atoi(*id)
	if err != nil || i < 0 || i >= len(letters) {
		return nil
	}
	return letters[i]
}

// nack makes the letters that the walk still holds visible. It returns how many failed.
func (w *walk) nack(ctx context.Context) int {
	receipts := make(chan string, len(w.held)) // room for all, so that sending never blocks
	for _, receipt := range w.held {
		receipts <- receipt
	}
	close(receipts)
	var workers sync.WaitGroup
	var stuck int
	for range parallel {
		workers.Go(func() {
			for {
				batch := make([]string, 0, limits.SQSBatchEntries)
				for receipt := range receipts {
					if batch = append(batch, receipt); len(batch) == limits.SQSBatchEntries {
						break
					}
				}
				if len(batch) == 0 {
					return
				}
				n := w.nackBatch(ctx, batch)
				w.mu.Lock()
				stuck += n
				w.mu.Unlock()
			}
		})
	}
	workers.Wait()
	return stuck
}

func (w *walk) nackBatch(ctx context.Context, receipts []string) (stuck int) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(receipts))
	for i := range receipts {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{Id: id(i), ReceiptHandle: &receipts[i], VisibilityTimeout: 0}
	}
	out, err := w.box.API.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &w.box.URL, Entries: entries})
	if err != nil {
		return len(receipts)
	}
	for _, failed := range out.Failed {
		if !failed.SenderFault {
			stuck++ // a sender's fault is a receipt that has run out: the letter is visible already
		}
	}
	return stuck
}

package lambda

import (
	"context"
	"strconv"
	"sync"
	"time"

	"tributary/internal/aws/awsjson"
	"tributary/internal/aws/limits"
	"tributary/internal/consumer"
)

// state is how far a record has come.
type state uint8

const (
	waiting state = iota // the engine has not received it
	given                // the engine has it
	failed               // it was nacked or left, or the engine never received it
	durable              // its commands are durable or dead-lettered
)

// record is one message of an invocation. Source.mu guards its state and delay.
type record struct {
	message consumer.Message // its receipt handle is that of SQS
	handle  string           // the receipt handle that the engine knows it by; none is used twice
	state   state
	delay   time.Duration // for which it was nacked; 0: it was not
}

// batch is the records of one invocation.
type batch struct {
	records  []*record
	open     int       // records that are waiting or given; guarded by Source.mu
	progress time.Time // when a record last became durable or failed; guarded by Source.mu
	settled  bool      // open is 0, and done is closed; guarded by Source.mu
	stopped  bool      // records that fail to be nacked are not tried again; guarded by Source.mu
	done     chan struct{}
}

// Visibilities changes the visibility timeouts of messages on SQS: it is the one call of a consumer.Queue that a function makes.
type Visibilities interface {
	ChangeVisibility(ctx context.Context, changes []consumer.Visibility) ([]consumer.Failure, error)
}

// Source is the queue as the engine sees it inside a function. Invocations put records in. Receive gives each of them out once, in
// order. Delete makes no call, because Lambda deletes what an invocation doesn't report. ChangeVisibility goes to SQS: Lambda
// itself would leave what is reported invisible for the whole of the queue's visibility timeout. It implements consumer.Queue.
type Source struct {
	sqs      Visibilities
	patience time.Duration // how long a call to SQS may take

	mu      sync.Mutex
	pending []*record        // waiting, in order; guarded by mu
	inHand  []*record        // given out by the last receive; guarded by mu
	records map[string]owned // by handle, of invocations that are not answered; guarded by mu
	last    uint64           // the last handle given; guarded by mu
	arrived chan struct{}    // has room for one signal: pending is no longer empty
	closed  chan struct{}    // Receive returns at once
}

type owned struct {
	*record
	batch *batch
}

// NewSource makes a source without records. A call to SQS may take as long as patience.
func NewSource(sqs Visibilities, patience time.Duration) *Source {
	return &Source{sqs: sqs, patience: patience, records: map[string]owned{}, arrived: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Close lets Receive return at once. It may be called once.
func (s *Source) Close() { close(s.closed) }

// put adds the records of an invocation. A damaged one has failed already.
func (s *Source) put(now time.Time, entries []entry) *batch {
	b := &batch{records: make([]*record, len(entries)), progress: now, done: make(chan struct{})}
	all := make([]record, len(entries))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		r := &all[i]
		b.records[i] = r
		r.message = entries[i].Message
		if entries[i].damaged != nil {
			r.state = failed
			continue
		}
		s.last++
		r.handle = strconv.FormatUint(s.last, 10)
		s.records[r.handle] = owned{r, b}
		s.pending = append(s.pending, r)
		b.open++
	}
	b.closeIfSettled()
	s.signal()
	return b
}

// closeIfSettled closes done when no record is open. The caller holds Source.mu.
func (b *batch) closeIfSettled() {
	if b.open == 0 && !b.settled {
		b.settled = true
		close(b.done)
	}
}

// signal wakes Receive if there is something to give out. The caller holds mu.
func (s *Source) signal() {
	if len(s.pending) == 0 {
		return
	}
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// Receive implements consumer.Queue. One goroutine calls it.
func (s *Source) Receive(ctx context.Context, most int, wait time.Duration) ([]consumer.Message, error) {
	if got := s.take(most); len(got) > 0 {
		return got, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-s.arrived:
		case <-timer.C:
			return nil, nil
		case <-s.closed:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if got := s.take(most); len(got) > 0 {
			return got, nil
		}
	}
}

// take gives out up to so many records.
func (s *Source) take(most int) []consumer.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(most, len(s.pending))
	s.inHand = append(s.inHand[:0], s.pending[:n]...)
	messages := make([]consumer.Message, n)
	for i, r := range s.pending[:n] {
		r.state = given
		messages[i] = r.message
		messages[i].ReceiptHandle = r.handle
	}
	clear(s.pending[:n])
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil
	}
	return messages
}

// Delete implements consumer.Queue. The end of a message counts, not its delete: see Ended.
func (s *Source) Delete(context.Context, []string) ([]consumer.Failure, error) { return nil, nil }

// ChangeVisibility implements consumer.Queue. The consumer calls it only to nack, because no invocation lasts long enough for an
// extension. A message whose invocation has been answered is left alone: another receiver may have it by now. Failures of
// an invocation that has to end are final, so that they are not tried again.
func (s *Source) ChangeVisibility(ctx context.Context, changes []consumer.Visibility) ([]consumer.Failure, error) {
	asked, at := s.translate(changes)
	if len(asked) == 0 {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	failures, err := s.sqs.ChangeVisibility(within, asked)
	if err != nil {
		failures = make([]consumer.Failure, len(asked))
		for i := range failures {
			failures[i] = consumer.Failure{Index: i, Code: awsjson.NoAnswer}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range asked {
		if r, known := s.records[changes[at[i]].ReceiptHandle]; known {
			r.delay = asked[i].Timeout
		}
	}
	for i := range failures {
		failures[i].Index = at[failures[i].Index]
		if r, known := s.records[changes[failures[i].Index].ReceiptHandle]; !known || r.batch.stopped {
			failures[i].Final = true
		}
	}
	return failures, nil
}

// translate returns the changes of messages whose invocations are not answered, with the receipt handles of SQS, and the index of
// each.
func (s *Source) translate(changes []consumer.Visibility) (asked []consumer.Visibility, at []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range changes {
		if r, known := s.records[c.ReceiptHandle]; known {
			asked = append(asked, consumer.Visibility{ReceiptHandle: r.message.ReceiptHandle, Timeout: c.Timeout})
			at = append(at, i)
		}
	}
	return asked, at
}

// Ended is the consumer's Config.Ended.
func (s *Source) Ended(handle string, deleted bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	r, known := s.records[handle]
	if !known || r.state != given {
		return
	}
	r.state = failed
	if deleted {
		r.state = durable
	}
	r.batch.open--
	r.batch.progress = now
	r.batch.closeIfSettled()
}

// stop ends the giving out of a batch's records. It returns the handles of those that the engine has, and the records that it
// will never have: they have failed, and the caller nacks them.
func (s *Source) stop(b *batch) (handles map[string]bool, never []*record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.stopped = true
	handles = map[string]bool{}
	for _, r := range b.records {
		switch r.state {
		case given:
			handles[r.handle] = true
		case waiting:
			r.state = failed
			b.open--
			never = append(never, r)
		}
	}
	if len(never) > 0 {
		rest := s.pending[:0:0]
		for _, r := range s.pending {
			if r.state == waiting {
				rest = append(rest, r)
			}
		}
		s.pending = rest
	}
	b.closeIfSettled()
	return handles, never
}

// latest returns when a record of the batch last became durable or failed.
func (s *Source) latest(b *batch) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.progress
}

// admitted reports whether the engine knows each record of the batch that Receive gave out. The poller has those of one receive
// in hand until it asks for the next.
func (s *Source) admitted(b *batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.inHand {
		if o := s.records[r.handle]; o.batch == b {
			return false
		}
	}
	return true
}

// nack makes records invisible for a time, ten in a call, and several calls at once. It tries each call once.
func (s *Source) nack(ctx context.Context, records []*record, delay func(*record) time.Duration) {
	var calls sync.WaitGroup
	slots := make(chan struct{}, maxNackCalls)
	for len(records) > 0 {
		part := records[:min(len(records), limits.SQSBatchEntries)]
		records = records[len(part):]
		changes := make([]consumer.Visibility, len(part))
		for i, r := range part {
			changes[i] = consumer.Visibility{ReceiptHandle: r.message.ReceiptHandle, Timeout: delay(r)}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			calls.Wait()
			return
		}
		calls.Go(func() {
			within, cancel := context.WithTimeout(ctx, s.patience)
			defer cancel()
			// One that fails comes back all the same, only later.
			_, _ = s.sqs.ChangeVisibility(within, changes)
			<-slots
		})
	}
	calls.Wait()
}

// maxNackCalls limits the calls that one nack has under way.
const maxNackCalls = 32

// forget takes a batch out of the source, because its invocation is answered. From here on its records don't change, and its
// messages may have other receivers.
func (s *Source) forget(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range b.records {
		delete(s.records, r.handle)
	}
}

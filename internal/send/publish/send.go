package publish

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/limits"
	"tributary/internal/aws/queues"
)

// API lists the SQS calls that publishing makes. The publisher does its own retries: see Client.
type API interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// Client returns an SQS client for a publisher to a queue: one that leaves retrying to it.
func Client(cfg aws.Config, nameOrURL string) *sqs.Client {
	return queues.Client(cfg, nameOrURL, func(o *sqs.Options) { o.Retryer = aws.NopRetryer{} })
}

// Names of message attributes, and their type.
const (
	attributeTenant      = "tenant_id"
	attributeTraceParent = "traceparent"
	attributeTraceState  = "tracestate"
	attributeType        = "String"
)

// traceBytes is the most that a trace context takes: W3C's traceparent has 55 bytes, and 512 of tracestate are to be
// passed on ("Trace Context", section 3.3.1.5).
const traceBytes = 55 + 512

// trace gives the message a trace context; one that is too long is left out.
func (m *message) trace(parent, state string) {
	if len(parent)+len(state) > traceBytes || parent == "" {
		return
	}
	m.traceparent, m.tracestate = parent, state
	m.bytes += len(attributeTraceParent) + len(attributeType) + len(parent)
	if state != "" {
		m.bytes += len(attributeTraceState) + len(attributeType) + len(state)
	}
}

// RefusedError says that SQS refused a message for good.
type RefusedError struct {
	Code, Message string // as SQS reported them
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Pauses between attempts: full jitter under a ceiling that doubles.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// sendAll is one sender.
func (p *Publisher) sendAll() {
	for {
		batch := p.take()
		if batch == nil {
			return
		}
		if err := p.send(batch); err != nil {
			p.fail(err)
			return
		}
	}
}

// take waits for the messages of the next call; nil means that there will be none.
func (p *Publisher) take() []*message {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.failed == nil {
		batch, full := p.pick()
		if len(batch) > 0 && (full || p.hurry || p.closed) {
			p.remove(batch)
			return batch
		}
		if p.closed && len(p.waiting) == 0 {
			return nil
		}
		p.changed.Wait()
	}
	return nil
}

// pick chooses the messages that may share a call now, the longest waiting first, and says whether it is full.
func (p *Publisher) pick() (batch []*message, full bool) {
	size := 0
	var held map[packKey]struct{} // FIFO: groups with a message in this batch
	for _, m := range p.waiting {
		if p.queue.FIFO {
			if _, flying := p.flying[m.key]; flying {
				continue
			}
			if _, taken := held[m.key]; taken {
				continue
			}
		}
		if size+m.bytes > limits.SQSBatchBytes {
			return batch, true
		}
		if batch = append(batch, m); len(batch) == limits.SQSBatchEntries {
			return batch, true
		}
		size += m.bytes
		if p.queue.FIFO {
			if held == nil {
				held = map[packKey]struct{}{}
			}
			held[m.key] = struct{}{}
		}
	}
	return batch, false
}

// remove takes a batch out of the waiting messages.
func (p *Publisher) remove(batch []*message) {
	kept, next := p.waiting[:0], 0
	for _, m := range p.waiting { // the batch has the order of waiting
		if next < len(batch) && batch[next] == m {
			next++
			p.queued -= m.bytes
			if p.queue.FIFO {
				p.flying[m.key] = struct{}{}
			}
			continue
		}
		kept = append(kept, m)
	}
	clear(p.waiting[len(kept):])
	if p.waiting = kept; len(kept) == 0 || p.queued < waitingBytes && !p.closed {
		p.hurry = false
	}
	p.changed.Broadcast()
}

// flushLate seals packs that have lingered, and lets part-filled calls go.
func (p *Publisher) flushLate() {
	tick := time.NewTicker(max(time.Millisecond, p.cfg.Linger/4))
	defer tick.Stop()
	for {
		var now time.Time
		select {
		case <-p.ctx.Done():
			return
		case now = <-tick.C:
		}
		p.mu.Lock()
		late := now.Add(-p.cfg.Linger)
		for p.oldest != nil && !p.oldest.since.After(late) && p.queued < waitingBytes {
			p.sealNow(p.oldest)
		}
		if len(p.waiting) > 0 && !p.waiting[0].since.After(late) {
			p.hurry = true
			p.changed.Broadcast()
		}
		done := p.failed != nil || p.closed
		p.mu.Unlock()
		if done {
			return
		}
	}
}

// send sends a batch to SQS. It sends refused entries again, alone, until all are accepted or patience ends.
func (p *Publisher) send(batch []*message) error {
	lastAccepted := time.Now()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		refused, problem, err := p.call(batch)
		if err != nil {
			return err
		}
		if len(refused) == 0 {
			return nil
		}
		if len(refused) < len(batch) {
			lastAccepted, pause = time.Now(), firstPause
		}
		if time.Since(lastAccepted) > p.cfg.Patience {
			return fmt.Errorf("send to queue %s: nothing was accepted for %v: %w", p.queue.Name, p.cfg.Patience, problem)
		}
		batch = refused
		timer := time.NewTimer(rand.N(pause))
		select {
		case <-p.ctx.Done():
			timer.Stop()
			return context.Cause(p.ctx)
		case <-timer.C:
		}
	}
}

// call makes one SendMessageBatch and returns the entries to send again, and why. The error means that no retry
// can succeed.
func (p *Publisher) call(batch []*message) (refused []*message, problem, err error) {
	in := sqs.SendMessageBatchInput{QueueUrl: &p.queue.URL, Entries: make([]types.SendMessageBatchRequestEntry, len(batch))}
	bytes := 0
	for i, m := range batch {
		in.Entries[i] = p.entry(m, strconv.Itoa(i))
		bytes += m.bytes
	}
	out, err := p.api.SendMessageBatch(p.ctx, &in)
	if err != nil {
		p.record(bytes, nil, 0)
		if p.ctx.Err() == nil && retryable.IsErrorRetryable(err) {
			return batch, err, nil
		}
		return nil, nil, fmt.Errorf("send to queue %s: %w", p.queue.Name, err)
	}
	// An entry counts as accepted only if SQS says so.
	var accepted []*message
	ok := make([]bool, len(batch))
	for i := range out.Successful {
		if n, err := strconv.Atoi(aws.ToString(out.Successful[i].Id)); err == nil && n >= 0 && n < len(batch) && !ok[n] {
			ok[n] = true
			accepted = append(accepted, batch[n])
		}
	}
	for i, m := range batch {
		if !ok[i] {
			refused = append(refused, m)
		}
	}
	p.record(bytes, accepted, len(refused))
	for i := range out.Failed {
		f := &out.Failed[i]
		why := &RefusedError{Code: aws.ToString(f.Code), Message: aws.ToString(f.Message)}
		problem = why
		if _, throttled := retry.DefaultThrottleErrorCodes[why.Code]; f.SenderFault && !throttled {
			return nil, nil, fmt.Errorf("send to queue %s: SQS refuses a message of tenant %s: %w", p.queue.Name, p.tenantOf(batch, f), why)
		}
	}
	if problem == nil {
		problem = &RefusedError{Code: "NoAnswer", Message: "SQS said nothing of an entry"}
	}
	return refused, problem, nil
}

// retryable knows the SDK's own classes of errors worth another try; its pauses are not used.
var retryable = retry.NewStandard()

func (p *Publisher) tenantOf(batch []*message, f *types.BatchResultErrorEntry) string {
	n, err := strconv.Atoi(aws.ToString(f.Id))
	if err != nil || n < 0 || n >= len(batch) {
		return "?"
	}
	return batch[n].key.tenant
}

// record counts a call and its results.
func (p *Publisher) record(bytes int, accepted []*message, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Calls++
	p.stats.Units += int64(max(1, (bytes+limits.SQSBillingBytes-1)/limits.SQSBillingBytes))
	p.stats.Refused += int64(refused)
	for _, m := range accepted {
		p.stats.Commands += int64(m.commands)
		p.stats.WriteUnits += m.units
		p.stats.Messages++
		p.stats.Bytes += int64(m.bytes)
		p.cuts[m.cut-p.accepted]--
		delete(p.flying, m.key)
	}
	p.changed.Broadcast()
}

func (p *Publisher) entry(m *message, id string) types.SendMessageBatchRequestEntry {
	attributes := map[string]types.MessageAttributeValue{attributeTenant: text(&m.key.tenant)}
	if m.traceparent != "" {
		attributes[attributeTraceParent] = text(&m.traceparent)
		if m.tracestate != "" {
			attributes[attributeTraceState] = text(&m.tracestate)
		}
	}
	e := types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &m.body, MessageGroupId: &m.key.group, MessageAttributes: attributes}
	if p.queue.FIFO {
		e.MessageDeduplicationId = aws.String(p.deduplicationID(m))
	}
	return e
}

func text(value *string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String(attributeType), StringValue: value}
}

// deduplicationID is a hash of the message's content and of where in its scope it stood.
func (p *Publisher) deduplicationID(m *message) string {
	h := sha256.New()
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(m.at))
	for _, part := range []string{p.cfg.Scope, "\x00", m.key.group, "\x00", string(at[:]), m.body} {
		_, _ = h.Write([]byte(part)) // never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

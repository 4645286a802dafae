package queue

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/base/rawjson"
)

// SendMessage and SendMessageBatch.
//
// As AWS: sizes, characters, up to ten message attributes and their types, the trace header, both MD5 sums, delays,
// message groups on standard queues, and on FIFO queues deduplication for five minutes, by id or by content.
// Differs: nothing that is known.
// Missing: nothing throttles.

type sendInput struct {
	QueueUrl *string //nolint:staticcheck // the wire name
	send
}

func (s *Server) sendMessage(_ *call, in *sendInput) (any, error) {
	q, err := s.lookup(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	m, delay, refusal := in.message(q)
	if refusal != nil {
		return nil, refusal
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.send(m, delay, time.Now()), nil
}

// send takes a message in and says what its sender is told.
func (q *queue) send(m *message, delay time.Duration, now time.Time) sendResult {
	known := q.post(m, delay, now)
	out := sendResult{
		MessageId: known.id.String(), SequenceNumber: sequence(known.sequence),
		MD5OfMessageBody: hex.EncodeToString(m.sum[:]), MD5OfMessageAttributes: attributesSum(m.selected(everything)),
	}
	if m.trace != "" {
		out.MD5OfMessageSystemAttributes = attributesSum(map[string]types.MessageAttributeValue{
			"AWSTraceHeader": {DataType: new("String"), StringValue: &m.trace},
		})
	}
	return out
}

var everything = []string{"All"}

// sequence is a SequenceNumber, 20 digits; 0 is none.
func sequence(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("1887%016d", n*256)
}

type sendEntry struct {
	Id *string //nolint:staticcheck // the wire name
	send
	prepared *message
	delay    time.Duration
	refusal  *apiError
}

type sendBatchInput struct {
	QueueUrl *string //nolint:staticcheck // the wire name
	Entries  []sendEntry
}

// decode reads the call in one pass: it is the one that everything is sent by, and its bodies are large.
func (in *sendBatchInput) decode(text string) error {
	r := reader{Scanner: rawjson.New(text)}
	for r.Open('{'); r.More('}'); {
		switch r.Name() {
		case "QueueUrl":
			in.QueueUrl = r.optional()
		case "Entries":
			if r.Peek() == 'n' {
				r.Null()
				continue
			}
			for r.Open('['); r.More(']'); {
				in.Entries = append(in.Entries, sendEntry{})
				r.entry(&in.Entries[len(in.Entries)-1])
			}
		default:
			r.Skip()
		}
	}
	if err := r.End(); err != nil {
		return err
	}
	return r.err
}

// reader reads entries. Its first error stays.
type reader struct {
	rawjson.Scanner
	err error
}

func (r *reader) entry(e *sendEntry) {
	for r.Open('{'); r.More('}'); {
		switch r.Name() {
		case "Id":
			e.Id = r.optional()
		case "MessageBody":
			e.MessageBody = r.optional()
		case "MessageGroupId":
			e.MessageGroupId = r.optional()
		case "MessageDeduplicationId":
			e.MessageDeduplicationId = r.optional()
		case "DelaySeconds":
			r.other(&e.DelaySeconds)
		case "MessageAttributes":
			r.other(&e.MessageAttributes)
		case "MessageSystemAttributes":
			r.other(&e.MessageSystemAttributes)
		default:
			r.Skip()
		}
	}
}

// optional reads a string or null. What is no Unicode becomes U+FFFD, as in the other calls.
func (r *reader) optional() *string {
	if r.Peek() == 'n' {
		r.Null()
		return nil
	}
	s := r.OwnString()
	if r.NotText() {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return &s
}

// other reads what is small.
func (r *reader) other(to any) {
	if text := r.Skip(); r.err == nil && text != "" {
		r.err = json.Unmarshal([]byte(text), to)
	}
}

func (s *Server) sendMessageBatch(_ *call, in *sendBatchInput) (any, error) {
	total := 0
	for i := range in.Entries {
		total += in.Entries[i].size()
	}
	if total > maxBatchBytes {
		return nil, fail("BatchRequestTooLong", legacy+"BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxBatchBytes, total)
	}
	q, err := s.lookup(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	for i := range in.Entries[:min(len(in.Entries), maxBatchEntries)] { // sums of large bodies take time: the queue is not held
		e := &in.Entries[i]
		e.prepared, e.delay, e.refusal = e.message(q)
	}
	return batch(q, "SendMessageBatch", in.Entries,
		func(e *sendEntry) *string { return e.Id },
		func(q *queue, e *sendEntry, now time.Time) (sendResult, *apiError) {
			if e.refusal != nil {
				return sendResult{}, e.refusal
			}
			out := q.send(e.prepared, e.delay, now)
			out.ID = text(e.Id)
			return out, nil
		})
}

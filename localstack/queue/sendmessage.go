package queue

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
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

func (s *Server) sendMessageBatch(_ *call, in *struct {
	QueueUrl *string //nolint:staticcheck // the wire name
	Entries  []sendEntry
}) (any, error) {
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

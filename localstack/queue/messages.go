package queue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/limits"
)

// The answers have types of their own, since the SDK's would write null for what AWS leaves out.

type sendResult struct {
	ID                           string `json:"Id,omitempty"`
	MessageId                    string //nolint:staticcheck // the wire name
	MD5OfMessageBody             string
	MD5OfMessageAttributes       string `json:",omitempty"`
	MD5OfMessageSystemAttributes string `json:",omitempty"`
	SequenceNumber               string `json:",omitempty"`
}

type entryError struct {
	ID          string `json:"Id"`
	SenderFault bool
	Code        string
	Message     string
}

type batchResult[T any] struct {
	Successful []T          `json:",omitempty"`
	Failed     []entryError `json:",omitempty"`
}

type entryID struct {
	ID string `json:"Id"`
}

type received struct {
	MessageId              string //nolint:staticcheck // the wire name
	ReceiptHandle          string
	MD5OfBody              string
	Body                   string
	Attributes             map[string]string            `json:",omitempty"`
	MD5OfMessageAttributes string                       `json:",omitempty"`
	MessageAttributes      map[string]receivedAttribute `json:",omitempty"`
}

type receivedAttribute struct {
	DataType    *string
	StringValue *string `json:",omitempty"`
	BinaryValue []byte  `json:",omitempty"`
}

type sendInput struct {
	QueueUrl *string //nolint:staticcheck // the wire name
	send
}

func (s *Server) sendMessage(_ *call, in *sendInput) (any, error) {
	var out sendResult
	err := s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		result, err := q.send(&in.send, now)
		if err != nil {
			return err
		}
		out = result
		return nil
	})
	return out, err
}

func (q *queue) send(in *send, now time.Time) (sendResult, *apiError) {
	m, delay, err := in.message(q)
	if err != nil {
		return sendResult{}, err
	}
	known := q.post(m, delay, now)
	out := sendResult{
		MessageId: known.id, SequenceNumber: known.sequence,
		MD5OfMessageBody: m.bodyMD5, MD5OfMessageAttributes: attributesSum(m.attributes),
	}
	if m.trace != "" {
		out.MD5OfMessageSystemAttributes = attributesSum(map[string]types.MessageAttributeValue{
			"AWSTraceHeader": {DataType: new("String"), StringValue: &m.trace},
		})
	}
	return out, nil
}

type sendEntry struct {
	Id *string //nolint:staticcheck // the wire name
	send
}

func (s *Server) sendMessageBatch(_ *call, in *struct {
	QueueUrl *string //nolint:staticcheck // the wire name
	Entries  []sendEntry
}) (any, error) {
	total := 0
	for i := range in.Entries {
		total += in.Entries[i].size()
	}
	if total > limits.SQSBatchBytes {
		return nil, fail("BatchRequestTooLong", legacy+"BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", limits.SQSBatchBytes, total)
	}
	return batch(s, "SendMessageBatch", in.QueueUrl, in.Entries,
		func(e *sendEntry) *string { return e.Id },
		func(q *queue, e *sendEntry, now time.Time) (sendResult, *apiError) {
			out, err := q.send(&e.send, now)
			out.ID = text(e.Id)
			return out, err
		})
}

func (s *Server) deleteMessage(_ *call, in *sqs.DeleteMessageInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if err := q.delete(text(in.ReceiptHandle), now); err != nil {
			return err
		}
		return nil
	})
}

func (s *Server) deleteMessageBatch(_ *call, in *sqs.DeleteMessageBatchInput) (any, error) {
	return batch(s, "DeleteMessageBatch", in.QueueUrl, in.Entries,
		func(e *types.DeleteMessageBatchRequestEntry) *string { return e.Id },
		func(q *queue, e *types.DeleteMessageBatchRequestEntry, now time.Time) (entryID, *apiError) {
			return entryID{text(e.Id)}, q.delete(text(e.ReceiptHandle), now)
		})
}

func (s *Server) changeMessageVisibility(_ *call, in *struct {
	sqs.ChangeMessageVisibilityInput
	VisibilityTimeout *int32
}) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if in.VisibilityTimeout == nil {
			return errMissing("VisibilityTimeout")
		}
		if err := q.change(text(in.ReceiptHandle), *in.VisibilityTimeout, now); err != nil {
			return err
		}
		return nil
	})
}

func (s *Server) changeMessageVisibilityBatch(_ *call, in *sqs.ChangeMessageVisibilityBatchInput) (any, error) {
	return batch(s, "ChangeMessageVisibilityBatch", in.QueueUrl, in.Entries,
		func(e *types.ChangeMessageVisibilityBatchRequestEntry) *string { return e.Id },
		func(q *queue, e *types.ChangeMessageVisibilityBatchRequestEntry, now time.Time) (entryID, *apiError) {
			return entryID{text(e.Id)}, q.change(text(e.ReceiptHandle), e.VisibilityTimeout, now)
		})
}

// batch checks the entries of a batch call against the rules that all of them share, then does each by itself.
func batch[E, R any](s *Server, operation string, url *string, entries []E, id func(*E) *string,
	do func(*queue, *E, time.Time) (R, *apiError),
) (any, error) {
	var out batchResult[R]
	err := s.with(url, func(q *queue, now time.Time) error {
		if len(entries) == 0 {
			return fail("EmptyBatchRequest", legacy+"EmptyBatchRequest", "There should be at least one %sRequestEntry in the request.", operation)
		}
		if len(entries) > limits.SQSBatchEntries {
			return fail("TooManyEntriesInBatchRequest", legacy+"TooManyEntriesInBatchRequest", "Maximum number of entries per request are %d. You have sent %d.", limits.SQSBatchEntries, len(entries))
		}
		seen := make(map[string]bool, len(entries))
		for i := range entries {
			name := text(id(&entries[i]))
			if name == "" {
				return errMissing(fmt.Sprintf("%sRequestEntry.%d.Id", operation, i+1))
			}
			if !batchID(name) {
				return fail("InvalidBatchEntryId", legacy+"InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
			}
			if seen[name] {
				return fail("BatchEntryIdsNotDistinct", legacy+"BatchEntryIdsNotDistinct", "Id %s repeated.", name)
			}
			seen[name] = true
		}
		for i := range entries {
			result, err := do(q, &entries[i], now)
			if err != nil {
				out.Failed = append(out.Failed, entryError{ID: *id(&entries[i]), SenderFault: true, Code: err.code, Message: err.message})
				continue
			}
			out.Successful = append(out.Successful, result)
		}
		return nil
	})
	return out, err
}

// batchID holds for an id of a batch entry, and for a queue's name.
func batchID(s string) bool {
	return s != "" && len(s) <= 80 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// receiveInput has pointers where the SDK's type can't tell 0 from nothing.
type receiveInput struct {
	sqs.ReceiveMessageInput
	AttributeNames      []types.MessageSystemAttributeName // the older name of MessageSystemAttributeNames
	MaxNumberOfMessages *int32
	VisibilityTimeout   *int32
	WaitTimeSeconds     *int32
}

func (in *receiveInput) check() *apiError {
	if n := in.MaxNumberOfMessages; n != nil && (*n < 1 || *n > limits.SQSBatchEntries) {
		return errValue("MaxNumberOfMessages", *n, "Must be between 1 and 10, if provided.")
	}
	if n := in.WaitTimeSeconds; n != nil && (*n < 0 || *n > 20) {
		return errValue("WaitTimeSeconds", *n, "Must be >= 0 and <= 20, if provided.")
	}
	if n := in.VisibilityTimeout; n != nil && (*n < 0 || *n > 43_200) {
		return errValue("VisibilityTimeout", *n, "Must be >= 0 and <= 43200, if provided.")
	}
	for _, name := range in.MessageSystemAttributeNames {
		if !slices.Contains(name.Values(), name) {
			return fail("InvalidAttributeName", "InvalidAttributeName", "Unknown Attribute %s.", name)
		}
	}
	return nil
}

func (s *Server) receiveMessage(c *call, in *receiveInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	in.MessageSystemAttributeNames = append(in.MessageSystemAttributeNames, in.AttributeNames...)
	most := 1
	if in.MaxNumberOfMessages != nil {
		most = int(*in.MaxNumberOfMessages)
	}
	handles, messages, err := s.poll(c, in, most)
	if err != nil {
		return nil, err
	}
	var out struct {
		Messages []received `json:",omitempty"`
	}
	for i := range messages {
		m := &messages[i]
		r := received{
			MessageId: m.id, ReceiptHandle: handles[i], MD5OfBody: m.bodyMD5, Body: m.body,
			Attributes: s.systemAttributes(m, in.MessageSystemAttributeNames),
		}
		if chosen := selected(m.attributes, in.MessageAttributeNames); chosen != nil {
			r.MD5OfMessageAttributes = attributesSum(chosen)
			r.MessageAttributes = make(map[string]receivedAttribute, len(chosen))
			for name, a := range chosen {
				r.MessageAttributes[name] = receivedAttribute{a.DataType, a.StringValue, a.BinaryValue}
			}
		}
		out.Messages = append(out.Messages, r)
	}
	return out, nil
}

// poll receives, and where nothing is there waits: for an arrival, for a message that becomes visible by itself,
// for the end of the wait, or for the client to hang up, after which nothing is taken.
func (s *Server) poll(c *call, in *receiveInput, most int) (handles []string, messages []message, err error) {
	var deadline time.Time
	for {
		var arrived <-chan struct{}
		var wait time.Duration
		err := s.with(in.QueueUrl, func(q *queue, now time.Time) error {
			timeout := q.settings.visibility
			if in.VisibilityTimeout != nil {
				timeout = time.Duration(*in.VisibilityTimeout) * time.Second
			}
			longest := q.settings.wait
			if in.WaitTimeSeconds != nil {
				longest = time.Duration(*in.WaitTimeSeconds) * time.Second
			}
			if deadline.IsZero() {
				deadline = now.Add(longest)
			}
			messages = q.receive(most, timeout, now)
			for i := range messages {
				handles = append(handles, q.handle(&messages[i]))
			}
			if len(messages) == 0 && longest == 0 && !q.fifo && q.inFlight >= s.options.InFlightLimit {
				return fail("OverLimit", "OverLimit", "Too many messages are in flight: at most %d.", s.options.InFlightLimit)
			}
			arrived = q.arrived
			wait = deadline.Sub(now)
			if next := q.next(); !next.IsZero() {
				wait = min(wait, next.Sub(now))
			}
			return nil
		})
		if err != nil || len(messages) > 0 || !time.Now().Before(deadline) || s.ctx.Err() != nil {
			return handles, messages, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-arrived:
		case <-timer.C:
		case <-c.ctx.Done():
		case <-s.ctx.Done():
		}
		timer.Stop()
		if c.ctx.Err() != nil {
			return nil, nil, nil
		}
	}
}

// systemAttributes are what a receive asked for of what SQS itself knows about a message.
func (s *Server) systemAttributes(m *message, names []types.MessageSystemAttributeName) map[string]string {
	if len(names) == 0 {
		return nil
	}
	milliseconds := func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
	all := map[types.MessageSystemAttributeName]string{
		types.MessageSystemAttributeNameSenderId:                         s.options.Account,
		types.MessageSystemAttributeNameSentTimestamp:                    milliseconds(m.sent),
		types.MessageSystemAttributeNameApproximateReceiveCount:          strconv.Itoa(m.receives),
		types.MessageSystemAttributeNameApproximateFirstReceiveTimestamp: milliseconds(m.firstReceived),
		types.MessageSystemAttributeNameMessageGroupId:                   m.group,
		types.MessageSystemAttributeNameMessageDeduplicationId:           m.dedup,
		types.MessageSystemAttributeNameSequenceNumber:                   m.sequence,
		types.MessageSystemAttributeNameAWSTraceHeader:                   m.trace,
		types.MessageSystemAttributeNameDeadLetterQueueSourceArn:         m.source,
	}
	out := make(map[string]string, len(all))
	for name, value := range all {
		if value != "" && (slices.Contains(names, name) || slices.Contains(names, types.MessageSystemAttributeNameAll)) {
			out[string(name)] = value
		}
	}
	return out
}

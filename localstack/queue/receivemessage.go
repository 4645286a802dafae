package queue

import (
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// ReceiveMessage.
//
// As AWS: up to ten messages, long polls, visibility timeouts of the call or the queue, system and message attributes by
// name or prefix, redrive at the receive that is one too many, retention, the limit of messages in flight; FIFO queues
// give a group's messages in order and hold the group while one of them is in flight.
// Differs: a standard queue gives messages in the order in which they became visible, and each once. A long poll that
// its client abandons takes nothing.
// Missing: ReceiveRequestAttemptId (ignored).

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

// receiveInput has pointers where the SDK's type can't tell 0 from nothing.
type receiveInput struct {
	sqs.ReceiveMessageInput
	AttributeNames      []types.MessageSystemAttributeName // the older name of MessageSystemAttributeNames
	MaxNumberOfMessages *int32
	VisibilityTimeout   *int32
	WaitTimeSeconds     *int32
}

func (in *receiveInput) check() *apiError {
	if n := in.MaxNumberOfMessages; n != nil && (*n < 1 || *n > maxBatchEntries) {
		return errValue("MaxNumberOfMessages", *n, "Must be between 1 and 10, if provided.")
	}
	if n := in.WaitTimeSeconds; n != nil && (*n < 0 || *n > maxWaitSeconds) {
		return errValue("WaitTimeSeconds", *n, "Must be >= 0 and <= 20, if provided.")
	}
	if n := in.VisibilityTimeout; n != nil && (*n < 0 || *n > maxVisibilitySeconds) {
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
	messages, err := s.poll(c, in, most)
	if err != nil {
		return nil, err
	}
	var out struct {
		Messages []received `json:",omitempty"`
	}
	for i := range messages {
		m := &messages[i]
		r := received{
			MessageId: m.id.String(), ReceiptHandle: m.handle, MD5OfBody: hex.EncodeToString(m.sum[:]), Body: m.body,
			Attributes: s.systemAttributes(&m.message, in.MessageSystemAttributeNames),
		}
		if chosen := m.selected(in.MessageAttributeNames); chosen != nil {
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
func (s *Server) poll(c *call, in *receiveInput, most int) (messages []taken, err error) {
	var deadline time.Time
	for {
		var arrived <-chan struct{}
		var wait time.Duration
		err := s.with(in.QueueUrl, func(q *queue, now time.Time) error {
			configured := q.settings.Load()
			timeout := configured.visibility
			if in.VisibilityTimeout != nil {
				timeout = time.Duration(*in.VisibilityTimeout) * time.Second
			}
			longest := configured.wait
			if in.WaitTimeSeconds != nil {
				longest = time.Duration(*in.WaitTimeSeconds) * time.Second
			}
			if deadline.IsZero() {
				deadline = now.Add(longest)
			}
			messages = q.receive(most, timeout, now)
			if len(messages) == 0 && longest == 0 && !q.fifo && q.inFlight >= s.options.InFlightLimit {
				return fail("OverLimit", "OverLimit", "Too many messages are in flight: at most %d.", s.options.InFlightLimit)
			}
			arrived = q.arrived
			wait = deadline.Sub(now)
			if next, ok := q.next(); ok {
				wait = min(wait, next.Sub(now))
			}
			return nil
		})
		if err != nil || len(messages) > 0 || !time.Now().Before(deadline) || s.ctx.Err() != nil {
			return messages, err
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
			return nil, nil
		}
	}
}

// systemAttributes are what a receive asked for of what SQS itself knows about a message.
func (s *Server) systemAttributes(m *message, names []types.MessageSystemAttributeName) map[string]string {
	if len(names) == 0 {
		return nil
	}
	milliseconds := func(t int64) string { return strconv.FormatInt(t/int64(time.Millisecond), 10) }
	all := map[types.MessageSystemAttributeName]string{
		types.MessageSystemAttributeNameSenderId:                         s.options.Account,
		types.MessageSystemAttributeNameSentTimestamp:                    milliseconds(m.sent),
		types.MessageSystemAttributeNameApproximateReceiveCount:          strconv.Itoa(int(m.receives)),
		types.MessageSystemAttributeNameApproximateFirstReceiveTimestamp: milliseconds(m.firstReceived),
		types.MessageSystemAttributeNameMessageGroupId:                   m.group,
		types.MessageSystemAttributeNameMessageDeduplicationId:           m.dedup,
		types.MessageSystemAttributeNameSequenceNumber:                   sequence(m.sequence),
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

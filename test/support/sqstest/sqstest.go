// Package sqstest is the sending side of an SQS queue in memory, for tests: it keeps what it accepted and refuses what
// SQS refuses, so that a wrong call fails the test.
package sqstest

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// Message is one that the queue accepted.
type Message struct {
	Body, Group, Deduplication string
	Attributes                 map[string]string
	At                         time.Time
}

// Commands decodes the message as the worker does; it panics where the worker would dead-letter anything.
func (m *Message) Commands() []messages.Command {
	decoded, bad := messages.Decode(schema.Builtin(), nil, m.Body, &messages.Attributes{TenantID: m.Attributes["tenant_id"]})
	if bad != nil {
		panic(bad)
	}
	list := make([]messages.Command, len(decoded))
	for i, d := range decoded {
		if d.Err != nil {
			panic(d.Err)
		}
		list[i] = d.Command
	}
	return list
}

// Queue is one queue. Its exported fields are set before the first call.
type Queue struct {
	FIFO         bool
	MessageBytes int           // MaximumMessageSize; 0: the limit of SQS
	Latency      time.Duration // of each call
	// Refuse is asked of every entry: a code means that SQS refuses it, "" that it is accepted.
	Refuse func(call, entry int, e *types.SendMessageBatchRequestEntry) string
	// Fail is asked of every call: an error is its answer, before or after the entries were accepted.
	Fail func(call int) (err error, accepted bool)

	mu       sync.Mutex
	messages []Message
	calls    int
	wrong    []string
	flying   map[string]int // calls under way, by group
	ids      map[string]time.Time
}

// Throttled is an error as the SDK gives it when SQS throttles.
func Throttled() error {
	return &smithy.GenericAPIError{Code: "RequestThrottled", Message: "Rate exceeded", Fault: smithy.FaultClient}
}

// Denied is an error that no retry changes.
func Denied() error {
	return &smithy.GenericAPIError{Code: "AccessDenied", Message: "no", Fault: smithy.FaultClient}
}

// Messages are those accepted, in order.
func (q *Queue) Messages() []Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]Message(nil), q.messages...)
}

// Calls is how many calls there were.
func (q *Queue) Calls() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls
}

// Wrong are the calls that SQS would have refused, or that broke the order of a FIFO group.
func (q *Queue) Wrong() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string(nil), q.wrong...)
}

// idForm is what SQS takes as the id of an entry, groupForm as group and deduplication id ("SendMessageBatchRequestEntry").
var (
	idForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)
	groupForm = regexp.MustCompile("^[A-Za-z0-9!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]{1,128}$")
)

// SendMessageBatch behaves as SQS does.
func (q *Queue) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	q.mu.Lock()
	call := q.calls
	q.calls++
	if problem := q.check(in); problem != "" {
		q.wrong = append(q.wrong, problem)
		q.mu.Unlock()
		return nil, &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: problem, Fault: smithy.FaultClient}
	}
	if q.FIFO {
		if q.flying == nil {
			q.flying, q.ids = map[string]int{}, map[string]time.Time{}
		}
		seen := map[string]bool{}
		for _, e := range in.Entries {
			group := *e.MessageGroupId
			if q.flying[group] > 0 || seen[group] {
				q.wrong = append(q.wrong, "two messages of group "+group+" under way: a refused one would be overtaken")
			}
			seen[group] = true
		}
		for group := range seen {
			q.flying[group]++
			defer func() {
				q.mu.Lock()
				q.flying[group]--
				q.mu.Unlock()
			}()
		}
	}
	q.mu.Unlock()
	if q.Latency > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(q.Latency):
		}
	}
	var failure error
	if q.Fail != nil {
		var accepted bool
		if failure, accepted = q.Fail(call); failure != nil && !accepted {
			return nil, failure
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	out := &sqs.SendMessageBatchOutput{}
	for i := range in.Entries {
		e := &in.Entries[i]
		if q.Refuse != nil {
			if code := q.Refuse(call, i, e); code != "" {
				out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: &code, Message: aws.String("refused"), SenderFault: code != "InternalError"})
				continue
			}
		}
		q.accept(e)
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id, MessageId: aws.String(fmt.Sprint(len(q.messages)))})
	}
	if failure != nil {
		return nil, failure
	}
	return out, nil
}

func (q *Queue) accept(e *types.SendMessageBatchRequestEntry) {
	m := Message{Body: *e.MessageBody, Group: aws.ToString(e.MessageGroupId), Deduplication: aws.ToString(e.MessageDeduplicationId),
		Attributes: map[string]string{}, At: time.Now()}
	for name, value := range e.MessageAttributes {
		m.Attributes[name] = *value.StringValue
	}
	if q.FIFO {
		if at, known := q.ids[m.Deduplication]; known && m.At.Sub(at) < limits.SQSDeduplication {
			return
		}
		q.ids[m.Deduplication] = m.At
	}
	q.messages = append(q.messages, m)
}

// check says why SQS would refuse the call.
func (q *Queue) check(in *sqs.SendMessageBatchInput) string {
	if len(in.Entries) == 0 || len(in.Entries) > limits.SQSBatchEntries {
		return fmt.Sprintf("%d entries", len(in.Entries))
	}
	most := limits.SQSMessageBytes
	if q.MessageBytes > 0 {
		most = q.MessageBytes
	}
	total, ids := 0, map[string]bool{}
	for _, e := range in.Entries {
		id := aws.ToString(e.Id)
		if !idForm.MatchString(id) || ids[id] {
			return fmt.Sprintf("entry id %q", id)
		}
		ids[id] = true
		size := len(aws.ToString(e.MessageBody))
		if size == 0 {
			return "an empty body"
		}
		for name, value := range e.MessageAttributes {
			if aws.ToString(value.StringValue) == "" {
				return "empty attribute " + name
			}
			size += len(name) + len(*value.DataType) + len(*value.StringValue)
		}
		if total += size; size > most {
			return fmt.Sprintf("a message of %d bytes", size)
		}
		for _, r := range *e.MessageBody {
			if r == utf8.RuneError || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
				return fmt.Sprintf("character %#x in a body", r)
			}
		}
		if !groupForm.MatchString(aws.ToString(e.MessageGroupId)) {
			return fmt.Sprintf("group %q", aws.ToString(e.MessageGroupId))
		}
		if q.FIFO != (e.MessageDeduplicationId != nil) || q.FIFO && !groupForm.MatchString(*e.MessageDeduplicationId) {
			return fmt.Sprintf("deduplication id %q", aws.ToString(e.MessageDeduplicationId))
		}
	}
	if total > limits.SQSBatchBytes {
		return fmt.Sprintf("a batch of %d bytes", total)
	}
	return ""
}

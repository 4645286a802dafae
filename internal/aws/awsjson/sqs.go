package awsjson

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	smithyendpoints "github.com/aws/smithy-go/endpoints"

	"tributary/internal/base/rawjson"
	"tributary/internal/consumer"
	"tributary/internal/messages"
)

// Queue makes a consumer's calls to one SQS queue. It implements consumer.Queue.
type Queue struct {
	client client
	url    string
	fixed  string // what a ReceiveMessage asks for besides its numbers
}

// NewQueue makes a Queue with the settings of an SDK client: its region, credentials and endpoint.
func NewQueue(s *sqs.Client, transport http.RoundTripper, queueURL string, observe Observer) *Queue {
	o := s.Options()
	q := &Queue{
		url: queueURL,
		client: client{
			service: "sqs", target: "AmazonSQS.", signingName: "sqs", region: o.Region,
			credentials: o.Credentials, signer: v4.NewSigner(), wire: newWire(transport), observe: observe,
			endpoint: func(ctx context.Context, _ aws.Credentials) (smithyendpoints.Endpoint, error) {
				return o.EndpointResolverV2.ResolveEndpoint(ctx, sqs.EndpointParameters{
					Region: aws.String(o.Region), Endpoint: o.BaseEndpoint,
					UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
					UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
				})
			},
		},
	}
	q.fixed = `{"QueueUrl":` + string(rawjson.AppendString(nil, queueURL)) +
		`,"MessageSystemAttributeNames":["ApproximateReceiveCount","SentTimestamp","ApproximateFirstReceiveTimestamp","MessageGroupId","AWSTraceHeader"]` +
		`,"MessageAttributeNames":["All"],"MaxNumberOfMessages":`
	return q
}

// Receive implements consumer.Queue by ReceiveMessage.
func (q *Queue) Receive(ctx context.Context, most int, wait time.Duration) ([]consumer.Message, error) {
	b := make([]byte, 0, len(q.fixed)+32)
	b = append(b, q.fixed...)
	b = strconv.AppendInt(b, int64(most), 10)
	b = append(b, `,"WaitTimeSeconds":`...)
	b = strconv.AppendInt(b, int64(wait/time.Second), 10)
	b = append(b, '}')
	answer, err := q.client.call(ctx, "ReceiveMessage", b)
	if err != nil {
		return nil, err
	}
	received, err := scanMessages(answer, most)
	if err != nil {
		return nil, fmt.Errorf("sqs ReceiveMessage: read answer: %w", err)
	}
	return received, nil
}

// scanMessages reads an answer of ReceiveMessage. Nothing in the messages shares the answer's memory, which is far
// larger than what is kept of it.
func scanMessages(answer string, most int) ([]consumer.Message, error) {
	received := make([]consumer.Message, 0, most)
	var scratch []byte
	s := rawjson.New(answer)
	for s.Open('{'); s.More('}'); {
		if s.Name() != "Messages" || s.Peek() != '[' {
			s.Skip()
			continue
		}
		for s.Open('['); s.More(']'); {
			m, err := scanMessage(&s, &scratch)
			if err != nil {
				return nil, err
			}
			received = append(received, m)
		}
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	return received, nil
}

// scanMessage reads a message. It may use scratch as it likes.
func scanMessage(s *rawjson.Scanner, scratch *[]byte) (m consumer.Message, err error) {
	sum := ""
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "MessageId":
			m.ID = ownText(s)
		case "ReceiptHandle":
			m.ReceiptHandle = ownText(s)
		case "Body":
			m.Body = ownText(s)
		case "MD5OfBody":
			sum = text(s)
		case "Attributes":
			for s.Open('{'); s.More('}'); {
				switch s.Name() {
				case "ApproximateReceiveCount":
					m.ReceiveCount, _ = strconv.Atoi(text(s))
				case "SentTimestamp":
					m.SentAt = scanTime(s)
				case "ApproximateFirstReceiveTimestamp":
					m.FirstReceivedAt = scanTime(s)
				case "MessageGroupId":
					m.GroupID = ownText(s)
				case "AWSTraceHeader":
					m.TraceHeader = ownText(s)
				default:
					s.Skip()
				}
			}
		case "MessageAttributes":
			for s.Open('{'); s.More('}'); {
				name := s.Name()
				a := scanAttribute(s)
				switch {
				case name == "tenant_id" && (a.Text == "" || !messages.IsText(a.Type)):
					m.Attributes.TenantID = messages.UnreadableTenant
				case name == "tenant_id":
					m.Attributes.TenantID = a.Text
					continue
				case name == "traceparent" && a.Text != "":
					m.Attributes.TraceParent = a.Text
					continue
				case name == "tracestate" && a.Text != "":
					m.Attributes.TraceState = a.Text
					continue
				}
				a.Name = strings.Clone(name)
				m.Others = append(m.Others, a)
			}
		default:
			s.Skip()
		}
	}
	if err := s.Err(); err != nil {
		return m, err
	}
	if sum != "" {
		*scratch = append((*scratch)[:0], m.Body...)
		if got := md5.Sum(*scratch); hex.EncodeToString(got[:]) != sum {
			return m, fmt.Errorf("the body of message %s does not have the MD5 sum %s that SQS gives", m.ID, sum)
		}
	}
	return m, nil
}

// scanTime reads milliseconds since 1970 that are written as a string.
func scanTime(s *rawjson.Scanner) time.Time {
	ms, err := strconv.ParseInt(text(s), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// scanAttribute reads the type and the value of a message attribute.
func scanAttribute(s *rawjson.Scanner) (a consumer.Attribute) {
	if s.Peek() != '{' {
		s.Skip()
		return a
	}
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "StringValue":
			a.Text = ownText(s)
		case "BinaryValue":
			a.Binary, _ = base64.StdEncoding.AppendDecode(nil, []byte(text(s))) // what SQS wrote
		case "DataType":
			if a.Type = text(s); a.Type == "String" {
				a.Type = "String" // usual, and then nothing is kept of the answer
			} else {
				a.Type = strings.Clone(a.Type)
			}
		default:
			s.Skip()
		}
	}
	return a
}

// Delete implements consumer.Queue by DeleteMessageBatch.
func (q *Queue) Delete(ctx context.Context, handles []string) ([]consumer.Failure, error) {
	b := q.entries(len(handles), 0)
	for i, handle := range handles {
		b = appendEntry(b, i, handle)
		b = append(b, '}')
	}
	return q.batch(ctx, "DeleteMessageBatch", b, len(handles))
}

// ChangeVisibility implements consumer.Queue by ChangeMessageVisibilityBatch.
func (q *Queue) ChangeVisibility(ctx context.Context, changes []consumer.Visibility) ([]consumer.Failure, error) {
	b := q.entries(len(changes), 32)
	for i, c := range changes {
		b = appendEntry(b, i, c.ReceiptHandle)
		b = append(b, `,"VisibilityTimeout":`...)
		b = strconv.AppendInt(b, int64((c.Timeout+time.Second-1)/time.Second), 10)
		b = append(b, '}')
	}
	return q.batch(ctx, "ChangeMessageVisibilityBatch", b, len(changes))
}

func (q *Queue) entries(n, more int) []byte {
	b := make([]byte, 0, len(q.url)+64+n*(480+more))
	b = append(b, `{"QueueUrl":`...)
	b = rawjson.AppendString(b, q.url)
	return append(b, `,"Entries":[`...)
}

func appendEntry(b []byte, i int, handle string) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	b = append(b, `{"Id":"`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `","ReceiptHandle":`...)
	return rawjson.AppendString(b, handle)
}

func (q *Queue) batch(ctx context.Context, operation string, b []byte, entries int) ([]consumer.Failure, error) {
	answer, err := q.client.call(ctx, operation, append(b, "]}"...))
	if err != nil {
		return nil, err
	}
	failures, err := scanFailures(answer, entries)
	if err != nil {
		return nil, fmt.Errorf("sqs %s: read answer: %w", operation, err)
	}
	return failures, nil
}

// scanFailures reads which of so many entries an answer to a batch call lists as failed.
func scanFailures(answer string, entries int) (failures []consumer.Failure, err error) {
	s := rawjson.New(answer)
	for s.Open('{'); s.More('}'); {
		if s.Name() != "Failed" || s.Peek() != '[' {
			s.Skip()
			continue
		}
		for s.Open('['); s.More(']'); {
			var f consumer.Failure
			for s.Open('{'); s.More('}'); {
				switch s.Name() {
				case "Id":
					if f.Index, err = strconv.Atoi(text(&s)); err != nil {
						return nil, fmt.Errorf("an entry's id is none that was sent: %w", err)
					}
				case "Code":
					f.Code = ownText(&s)
				case "SenderFault":
					f.Final = s.Peek() == 't'
					s.Skip()
				default:
					s.Skip()
				}
			}
			if f.Index < 0 || f.Index >= entries {
				return nil, fmt.Errorf("entry %d was not sent", f.Index)
			}
			failures = append(failures, f)
		}
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	return failures, nil
}

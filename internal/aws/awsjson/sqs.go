package awsjson

import (
	"context"
	"crypto/fips140"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	smithyendpoints "github.com/aws/smithy-go/endpoints"

	"tributary/internal/aws/limits"
	"tributary/internal/base/rawjson"
	"tributary/internal/consumer"
	"tributary/internal/messages"
)

// Queue makes a consumer's calls to one SQS queue. It implements consumer.Queue.
type Queue struct {
	client     client
	url        string
	fixed      string // what a ReceiveMessage asks for besides its numbers
	unreadable Unreadable
}

// Unreadable is told of every message that was received and can't be read: its body differs from its checksum, or it has no
// receipt. Such a message stays on the queue, and is received again after its visibility timeout.
type Unreadable func(messageID string, why error)

// NewQueue makes a Queue with the settings of an SDK client: its region, credentials and endpoint.
func NewQueue(s *sqs.Client, transport http.RoundTripper, queueURL string, observe Observer, unreadable Unreadable) *Queue {
	o := s.Options()
	q := &Queue{
		url: queueURL, unreadable: unreadable,
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
	received, err := scanMessages(answer, most, q.unreadable)
	if err != nil {
		return nil, fmt.Errorf("sqs ReceiveMessage: read answer: %w", err)
	}
	return received, nil
}

// scanMessages reads an answer of ReceiveMessage. Nothing in the messages shares the answer's memory, which is far
// larger than what is kept of it. A message that can't be read costs its neighbours nothing.
func scanMessages(answer string, most int, unreadable Unreadable) ([]consumer.Message, error) {
	received := make([]consumer.Message, 0, most)
	var scratch []byte
	listed, other := false, ""
	s := rawjson.New(answer)
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		if name != "Messages" {
			if name != "ResponseMetadata" { // some emulators'
				other = name
			}
			s.Skip()
			continue
		}
		listed = true
		if s.Peek() != '[' {
			s.Skip()
			continue
		}
		for s.Open('['); s.More(']'); {
			m, err := scanMessage(&s, &scratch)
			if s.Err() != nil {
				return nil, s.Err()
			}
			if err != nil {
				unreadable(m.ID, err)
				continue
			}
			received = append(received, m)
		}
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	if !listed && other != "" { // SQS answers {} where there are no messages
		return nil, fmt.Errorf("it has %q and no Messages: SQS would not answer so", other)
	}
	return received, nil
}

// scanMessage reads a message. It may use scratch as it likes. The error says why the message can't be read; the scanner has
// an error of its own where the answer can't be read.
func scanMessage(s *rawjson.Scanner, scratch *[]byte) (m consumer.Message, err error) {
	if s.Peek() != '{' {
		s.Skip()
		return m, errors.New("it is not an object")
	}
	sum := ""
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "MessageId":
			m.ID = ownText(s)
		case "ReceiptHandle":
			m.ReceiptHandle = ownText(s)
		case "Body":
			if s.Peek() != '"' {
				err = errors.New("its body is not a string")
			}
			m.Body = ownText(s)
		case "MD5OfBody":
			sum = text(s)
		case "Attributes":
			if s.Peek() != '{' {
				s.Skip()
				continue
			}
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
			if s.Peek() != '{' {
				s.Skip()
				err = errors.New("its attributes are not an object")
				continue
			}
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
	switch {
	case err != nil || s.Err() != nil:
	case m.ReceiptHandle == "":
		err = errors.New("it has no receipt handle")
	case sum != "":
		*scratch = append((*scratch)[:0], m.Body...)
		if got := checksum(*scratch); hex.EncodeToString(got[:]) != sum {
			err = fmt.Errorf("its body has the MD5 sum %x, SQS gives %.40q", got, sum)
		}
	}
	return m, err
}

// checksum is SQS's of a body. It finds damage and guards no secret, so FIPS 140's rules for cryptography don't concern it:
// with GODEBUG=fips140=only MD5 would panic.
func checksum(body []byte) (sum [md5.Size]byte) {
	if fips140.Enforced() {
		fips140.WithoutEnforcement(func() { sum = md5.Sum(body) })
		return sum
	}
	return md5.Sum(body)
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

// NoAnswer is the code of an entry about which the answer to a batch call says nothing. What became of it is not known.
const NoAnswer = "NoAnswer"

// scanFailures reads which of so many entries an answer to a batch call doesn't list as successful.
func scanFailures(answer string, entries int) (failures []consumer.Failure, err error) {
	var told [limits.SQSBatchEntries]bool
	s := rawjson.New(answer)
	for s.Open('{'); s.More('}'); {
		failed := false
		switch s.Name() {
		case "Failed":
			failed = true
		case "Successful":
		default:
			s.Skip()
			continue
		}
		if s.Peek() != '[' {
			s.Skip()
			continue
		}
		for s.Open('['); s.More(']'); {
			f := consumer.Failure{Index: -1}
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
			told[f.Index] = true
			if failed {
				failures = append(failures, f)
			}
		}
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	for i, known := range told[:entries] {
		if !known {
			failures = append(failures, consumer.Failure{Index: i, Code: NoAnswer})
		}
	}
	return failures, nil
}

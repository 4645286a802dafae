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
	"slices"
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
)

// Queue makes a consumer's calls to one SQS queue. It implements consumer.Queue.
type Queue struct {
	client     client
	url        string
	fixed      string // a ReceiveMessage request up to its numbers
	unreadable Unreadable
}

// Unreadable is called for every received message that can't be read: its body differs from its checksum, or it has no receipt
// handle. Such a message stays on the queue and is received again after its visibility timeout.
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
func (q *Queue) Receive(ctx context.Context, max int, wait time.Duration) ([]consumer.Message, error) {
	b := make([]byte, 0, len(q.fixed)+32)
	b = append(b, q.fixed...)
	b = strconv.AppendInt(b, int64(max), 10)
	b = append(b, `,"WaitTimeSeconds":`...)
	b = strconv.AppendInt(b, int64(wait/time.Second), 10)
	b = append(b, '}')
	var received []consumer.Message
	err := q.client.call(ctx, "ReceiveMessage", b, func(answer string) (err error) {
		received, err = scanMessages(answer, max, q.unreadable)
		return err
	})
	return received, err
}

// scanMessages reads an answer to ReceiveMessage. The messages share no memory with the answer, which is far larger than the
// part that is kept. A message that can't be read is passed to unreadable, and its neighbours are returned.
func scanMessages(answer string, max int, unreadable Unreadable) ([]consumer.Message, error) {
	received := make([]consumer.Message, 0, max)
	var scratch []byte
	listed, other := false, ""
	s := rawjson.New(answer)
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		if name != "Messages" {
			if name != "ResponseMetadata" { // some emulators send it
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

// scanMessage reads a message. It may overwrite scratch. The error says why the message can't be read; the scanner has an error
// of its own if the answer can't be read.
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
				a.Name = name
				m.AddAttribute(a)
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

// checksum is the sum that SQS computes of a body. It finds damage and guards no secret, so the rules of FIPS 140 for
// cryptography do not apply to it. With GODEBUG=fips140=only MD5 would otherwise panic.
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
			a.Binary, _ = base64.StdEncoding.AppendDecode(nil, []byte(text(s))) // SQS encoded it
		case "DataType":
			if a.Type = text(s); a.Type == "String" {
				a.Type = "String" // the usual type; the constant keeps none of the answer alive
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
	var failures []consumer.Failure
	err := q.client.call(ctx, operation, append(b, "]}"...), func(answer string) (err error) {
		if failures, err = scanFailures(answer, entries); err != nil {
			return err
		}
		if len(failures) == entries && !slices.ContainsFunc(failures, func(f consumer.Failure) bool { return f.Code != NoAnswer }) {
			return errSilent
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSilent) {
		return nil, err
	}
	return failures, nil
}

// errSilent refuses an answer that mentions no entry of the batch. Each of its entries has failed with NoAnswer.
var errSilent = errors.New("it mentions none of the entries")

// NoAnswer is the code of an entry that the answer to a batch call does not mention. Its outcome is unknown.
const NoAnswer = "NoAnswer"

// scanFailures returns the entries that an answer to a batch call does not list as successful.
func scanFailures(answer string, entries int) (failures []consumer.Failure, err error) {
	var mentioned [limits.SQSBatchEntries]bool
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
						return nil, fmt.Errorf("an entry has an id that was not sent: %w", err)
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
			mentioned[f.Index] = true
			if failed {
				failures = append(failures, f)
			}
		}
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	for i, known := range mentioned[:entries] {
		if !known {
			failures = append(failures, consumer.Failure{Index: i, Code: NoAnswer})
		}
	}
	return failures, nil
}

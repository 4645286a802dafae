package queue_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/localstack/queue"
)

// direct sends the SDK's requests to a handler without a network, so that synctest's clock rules.
type direct struct{ handler http.Handler }

func (d direct) Do(r *http.Request) (*http.Response, error) {
	r.Host = "localhost"
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func client(t *testing.T, o queue.Options) *sqs.Client {
	t.Helper()
	server := queue.NewServer(o)
	t.Cleanup(server.Close)
	return sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://localhost"), HTTPClient: direct{server},
		Credentials: credentials.NewStaticCredentialsProvider("x", "y", ""), RetryMaxAttempts: 1,
	})
}

// scene is a client with one queue in a bubble.
type scene struct {
	*testing.T
	*sqs.Client
	url *string
}

// play runs a test in a bubble, with a queue of the given name and attributes.
func play(t *testing.T, name string, attributes map[string]string, test func(*scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, Client: client(t, queue.Options{InFlightLimit: 12})}
		s.url = s.create(name, attributes)
		test(s)
	})
}

func (s *scene) create(name string, attributes map[string]string) *string {
	s.Helper()
	out, err := s.CreateQueue(s.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		s.Fatalf("create queue %s: %v", name, err)
	}
	return out.QueueUrl
}

func (s *scene) send(body string, change ...func(*sqs.SendMessageInput)) *sqs.SendMessageOutput {
	s.Helper()
	in := &sqs.SendMessageInput{QueueUrl: s.url, MessageBody: &body}
	for _, c := range change {
		c(in)
	}
	out, err := s.SendMessage(s.Context(), in)
	if err != nil {
		s.Fatalf("send %q: %v", body, err)
	}
	return out
}

func group(id string) func(*sqs.SendMessageInput) {
	return func(in *sqs.SendMessageInput) { in.MessageGroupId = &id }
}

// receive takes up to ten messages from url without waiting.
func (s *scene) receive(url *string) []types.Message {
	s.Helper()
	out, err := s.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		s.Fatalf("receive: %v", err)
	}
	return out.Messages
}

func bodies(messages []types.Message) string {
	var out []string
	for _, m := range messages {
		out = append(out, *m.Body)
	}
	return strings.Join(out, " ")
}

func (s *scene) wantBodies(what string, messages []types.Message, want string) {
	s.Helper()
	if got := bodies(messages); got != want {
		s.Errorf("%s: received %q, want %q", what, got, want)
	}
}

func (s *scene) remove(m types.Message) error {
	_, err := s.DeleteMessage(s.Context(), &sqs.DeleteMessageInput{QueueUrl: s.url, ReceiptHandle: m.ReceiptHandle})
	return err
}

func (s *scene) arn(url *string) string {
	s.Helper()
	out, err := s.GetQueueAttributes(s.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{"QueueArn"}})
	if err != nil {
		s.Fatalf("get ARN: %v", err)
	}
	return out.Attributes["QueueArn"]
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestVisibilityTimeout(t *testing.T) {
	play(t, "q", map[string]string{"VisibilityTimeout": "30"}, func(s *scene) {
		s.send("a")
		first := s.receive(s.url)
		s.wantBodies("at once", first, "a")
		time.Sleep(30*time.Second - time.Nanosecond)
		s.wantBodies("just before the timeout", s.receive(s.url), "")
		time.Sleep(time.Nanosecond)
		again := s.receive(s.url)
		s.wantBodies("at the timeout", again, "a")
		if n := again[0].Attributes["ApproximateReceiveCount"]; n != "2" {
			t.Errorf("receive count is %s, want 2", n)
		}
		if *first[0].ReceiptHandle == *again[0].ReceiptHandle {
			t.Error("two receives gave the same handle")
		}
		if err := s.remove(first[0]); err != nil {
			t.Errorf("delete by the old handle: %v, want success", err)
		}
		for range 2 { // deleting is idempotent
			if err := s.remove(again[0]); err != nil {
				t.Errorf("delete: %v", err)
			}
		}
		time.Sleep(time.Minute)
		s.wantBodies("after the delete", s.receive(s.url), "")
	})
}

func TestChangeVisibility(t *testing.T) {
	play(t, "q", nil, func(s *scene) {
		change := func(m types.Message, seconds int32) error {
			_, err := s.ChangeMessageVisibility(s.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: s.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
			return err
		}
		s.send("a")
		m := s.receive(s.url)[0]
		if err := change(m, 100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(99 * time.Second)
		s.wantBodies("before the extended timeout", s.receive(s.url), "")
		if err := change(m, 43_200-98); code(err) != "InvalidParameterValue" {
			t.Errorf("more than 12 hours from the receive: %v", err)
		}
		if err := change(m, 43_200-99); err != nil {
			t.Errorf("12 hours from the receive: %v", err)
		}
		if err := change(m, 0); err != nil {
			t.Fatal(err)
		}
		if err := change(m, 10); !is[*types.MessageNotInflight](err) {
			t.Errorf("change after giving back: %v", err)
		}
		s.wantBodies("given back", s.receive(s.url), "a")
	})
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestLongPoll(t *testing.T) {
	wake := map[string]struct {
		after time.Duration
		do    func(*scene, context.CancelFunc)
		want  string
	}{
		"arrival":    {3 * time.Second, func(s *scene, _ context.CancelFunc) { s.send("a") }, "a"},
		"timeout":    {20 * time.Second, func(*scene, context.CancelFunc) {}, ""},
		"disconnect": {5 * time.Second, func(_ *scene, hangUp context.CancelFunc) { hangUp() }, ""},
	}
	for name, test := range wake {
		t.Run(name, func(t *testing.T) {
			play(t, "q", map[string]string{"ReceiveMessageWaitTimeSeconds": "20"}, func(s *scene) {
				ctx, cancel := context.WithCancel(s.Context())
				defer cancel()
				start := time.Now()
				woken := make(chan struct{})
				time.AfterFunc(test.after, func() {
					test.do(s, cancel)
					close(woken)
				})
				out, err := s.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: s.url})
				if took := time.Since(start); took != test.after {
					t.Errorf("took %v, want %v", took, test.after)
				}
				<-woken
				if name == "disconnect" {
					if err == nil {
						t.Error("no error after hanging up")
					}
					s.send("b")
					s.wantBodies("behind a client that went away", s.receive(s.url), "b")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				s.wantBodies("long poll", out.Messages, test.want)
			})
		})
	}
	t.Run("attributes that change meanwhile", func(t *testing.T) {
		play(t, "q", map[string]string{"ReceiveMessageWaitTimeSeconds": "20"}, func(s *scene) {
			set := func(name, value string) {
				if _, err := s.SetQueueAttributes(s.Context(), &sqs.SetQueueAttributesInput{QueueUrl: s.url, Attributes: map[string]string{name: value}}); err != nil {
					t.Error(err)
				}
			}
			start := time.Now()
			time.AfterFunc(2*time.Second, func() { set("ReceiveMessageWaitTimeSeconds", "0") })
			time.AfterFunc(3*time.Second, func() { set("VisibilityTimeout", "7") })
			time.AfterFunc(5*time.Second, func() { s.send("a") })
			s.wantBodies("the poll keeps its wait", s.receive(s.url), "a")
			if took := time.Since(start); took != 5*time.Second {
				t.Errorf("took %v, want 5 s", took)
			}
			time.Sleep(7 * time.Second)
			s.wantBodies("it took the message by the later timeout", s.receive(s.url), "a")
		})
	})
	t.Run("expiry of a delay and of a visibility timeout", func(t *testing.T) {
		play(t, "q", map[string]string{"DelaySeconds": "2", "VisibilityTimeout": "7", "ReceiveMessageWaitTimeSeconds": "20"}, func(s *scene) {
			s.send("a")
			for _, want := range []time.Duration{2 * time.Second, 7 * time.Second} {
				start := time.Now()
				s.wantBodies("poll", s.receive(s.url), "a")
				if took := time.Since(start); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
			}
		})
	})
}

func TestRedrive(t *testing.T) {
	play(t, "dead", nil, func(s *scene) {
		dead := s.url
		s.url = s.create("q", map[string]string{"VisibilityTimeout": "1", "RedrivePolicy": `{"deadLetterTargetArn":"` + s.arn(dead) + `","maxReceiveCount":"2"}`})
		id := *s.send("a").MessageId
		var sent string
		for range 2 {
			m := s.receive(s.url)
			s.wantBodies("a try", m, "a")
			sent = m[0].Attributes["SentTimestamp"]
			time.Sleep(time.Second)
		}
		s.wantBodies("the dead-letter queue before the third receive", s.receive(dead), "")
		s.wantBodies("the third receive", s.receive(s.url), "")
		letters := s.receive(dead)
		s.wantBodies("the dead-letter queue", letters, "a")
		m := letters[0]
		if *m.MessageId != id || m.Attributes["SentTimestamp"] != sent || m.Attributes["DeadLetterQueueSourceArn"] != s.arn(s.url) {
			t.Errorf("letter %+v, want id %s, sent %s and the source's ARN", m, id, sent)
		}
	})
}

func TestFIFO(t *testing.T) {
	fifo := map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true", "VisibilityTimeout": "10"}
	t.Run("order and blocking", func(t *testing.T) {
		play(t, "q.fifo", fifo, func(s *scene) {
			for _, m := range []string{"a1", "b1", "a2", "a3"} {
				s.send(m, group(m[:1]))
			}
			out, err := s.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url, MaxNumberOfMessages: 2})
			if err != nil {
				t.Fatal(err)
			}
			s.wantBodies("first two", out.Messages, "a1 a2")
			other := s.receive(s.url)
			s.wantBodies("group a is blocked", other, "b1")
			for _, m := range []types.Message{out.Messages[0], other[0]} {
				if err := s.remove(m); err != nil {
					t.Fatal(err)
				}
			}
			s.wantBodies("group a is blocked by a2 still", s.receive(s.url), "")
			time.Sleep(10 * time.Second)
			s.wantBodies("after the timeout, in order", s.receive(s.url), "a2 a3")
			if err := s.remove(out.Messages[1]); code(err) != "InvalidParameterValue" {
				t.Errorf("delete by an expired handle: %v", err)
			}
		})
	})
	t.Run("blocked by a later message in flight", func(t *testing.T) {
		play(t, "q.fifo", fifo, func(s *scene) {
			s.send("a1", group("a"))
			s.send("a2", group("a"))
			taken := s.receive(s.url)
			if _, err := s.ChangeMessageVisibility(s.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: s.url, ReceiptHandle: taken[0].ReceiptHandle, VisibilityTimeout: 0}); err != nil {
				t.Fatal(err)
			}
			s.wantBodies("a1 is visible, a2 in flight", s.receive(s.url), "")
			if err := s.remove(taken[1]); err != nil {
				t.Fatal(err)
			}
			s.wantBodies("a2 is gone", s.receive(s.url), "a1")
		})
	})
	t.Run("deduplication", func(t *testing.T) {
		play(t, "q.fifo", fifo, func(s *scene) {
			first := s.send("a", group("g"))
			if err := s.remove(s.receive(s.url)[0]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5*time.Minute - time.Nanosecond)
			again := s.send("a", group("h"))
			if *again.MessageId != *first.MessageId || *again.SequenceNumber != *first.SequenceNumber {
				t.Errorf("sent %+v, then %+v: want the same id and number", first, again)
			}
			s.wantBodies("a duplicate, though deleted", s.receive(s.url), "")
			time.Sleep(time.Nanosecond)
			third := s.send("a", group("g"))
			s.wantBodies("after five minutes", s.receive(s.url), "a")
			if *third.SequenceNumber <= *first.SequenceNumber {
				t.Errorf("sequence number %s is not behind %s", *third.SequenceNumber, *first.SequenceNumber)
			}
		})
	})
	t.Run("deduplication by group", func(t *testing.T) {
		play(t, "q.fifo", map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true", "DeduplicationScope": "messageGroup"}, func(s *scene) {
			s.send("a", group("g"))
			s.send("a", group("h"))
			s.wantBodies("both groups", s.receive(s.url), "a a")
		})
	})
}

func TestRetention(t *testing.T) {
	play(t, "q", map[string]string{"MessageRetentionPeriod": "60"}, func(s *scene) {
		s.send("old")
		time.Sleep(59 * time.Second)
		s.send("new")
		time.Sleep(time.Second)
		s.wantBodies("after retention", s.receive(s.url), "new")
	})
}

func TestInFlightLimit(t *testing.T) {
	play(t, "q", nil, func(s *scene) { // the scene's limit is 12
		for range 13 {
			s.send("a")
		}
		s.receive(s.url)
		if n := len(s.receive(s.url)); n != 2 {
			t.Errorf("received %d, want the 2 up to the limit", n)
		}
		if _, err := s.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url}); !is[*types.OverLimit](err) {
			t.Errorf("a receive over the limit: %v", err)
		}
	})
}

func TestRefusedSends(t *testing.T) {
	attribute := func(name, kind, value string) func(*sqs.SendMessageInput) {
		return func(in *sqs.SendMessageInput) {
			if in.MessageAttributes == nil {
				in.MessageAttributes = make(map[string]types.MessageAttributeValue)
			}
			in.MessageAttributes[name] = types.MessageAttributeValue{DataType: &kind, StringValue: &value}
		}
	}
	eleven := func(in *sqs.SendMessageInput) {
		for i := range 11 {
			attribute(fmt.Sprint("a", i), "String", "x")(in)
		}
	}
	mega := strings.Repeat("x", 1<<20)
	tests := map[string]struct {
		queue  string
		body   string
		change func(*sqs.SendMessageInput)
		want   string // empty: accepted
	}{
		"1 MiB":                      {"q", mega, nil, ""},
		"over 1 MiB":                 {"q", mega + "x", nil, "InvalidParameterValue"},
		"1 MiB and an attribute":     {"q", mega, attribute("a", "String", "x"), "InvalidParameterValue"},
		"empty body":                 {"q", "", nil, "MissingParameter"},
		"control character":          {"q", "a\x01b", nil, "InvalidMessageContents"},
		"U+FFFF":                     {"q", "a\uFFFF", nil, "InvalidMessageContents"},
		"tab, line feed, emoji":      {"q", "\t\n\r😀", nil, ""},
		"ten attributes":             {"q", "a", func(in *sqs.SendMessageInput) { eleven(in); delete(in.MessageAttributes, "a0") }, ""},
		"eleven attributes":          {"q", "a", eleven, "InvalidParameterValue"},
		"empty attribute":            {"q", "a", attribute("a", "String", ""), "InvalidParameterValue"},
		"attribute of another type":  {"q", "a", attribute("a", "Text", "x"), "InvalidParameterValue"},
		"custom type":                {"q", "a", attribute("a", "Number.int", "7"), ""},
		"number that is none":        {"q", "a", attribute("a", "Number", "seven"), "InvalidParameterValue"},
		"number with an exponent":    {"q", "a", attribute("a", "Number", "-1.5E+10"), ""},
		"NaN":                        {"q", "a", attribute("a", "Number", "NaN"), "InvalidParameterValue"},
		"infinity":                   {"q", "a", attribute("a", "Number", "-Inf"), "InvalidParameterValue"},
		"hexadecimal number":         {"q", "a", attribute("a", "Number", "0x10p0"), "InvalidParameterValue"},
		"attribute name AWS.x":       {"q", "a", attribute("AWS.x", "String", "x"), "InvalidParameterValue"},
		"attribute with control":     {"q", "a", attribute("a", "String", "\x00"), "InvalidParameterValue"},
		"delay over 15 minutes":      {"q", "a", func(in *sqs.SendMessageInput) { in.DelaySeconds = 901 }, "InvalidParameterValue"},
		"group on a standard queue":  {"q", "a", group("tenantA"), ""},
		"group of 129":               {"q", "a", group(strings.Repeat("g", 129)), "InvalidParameterValue"},
		"group with a blank":         {"q", "a", group("a b"), "InvalidParameterValue"},
		"deduplication id, standard": {"q", "a", func(in *sqs.SendMessageInput) { in.MessageDeduplicationId = aws.String("x") }, "InvalidParameterValue"},
		"FIFO without a group":       {"q.fifo", "a", nil, "MissingParameter"},
		"FIFO without deduplication": {"q.fifo", "a", group("g"), "InvalidParameterValue"},
		"no such queue":              {"other", "a", nil, "AWS.SimpleQueueService.NonExistentQueue"},
		"system attribute of no trace": {"q", "a", func(in *sqs.SendMessageInput) {
			in.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{"Other": {DataType: aws.String("String"), StringValue: aws.String("x")}}
		}, "InvalidParameterValue"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, "q", nil, func(s *scene) {
				s.create("q.fifo", map[string]string{"FifoQueue": "true"})
				in := &sqs.SendMessageInput{QueueUrl: aws.String("http://localhost/000000000000/" + test.queue), MessageBody: &test.body}
				if test.change != nil {
					test.change(in)
				}
				_, err := s.SendMessage(s.Context(), in)
				if test.want == "" && err != nil || test.want != "" && code(err) != test.want {
					t.Errorf("error %v, want %q", err, test.want)
				}
			})
		})
	}
}

func TestBatches(t *testing.T) {
	entries := func(ids ...string) (out []types.SendMessageBatchRequestEntry) {
		for _, id := range ids {
			out = append(out, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: aws.String("body")})
		}
		return out
	}
	large := entries("a", "b")
	large[0].MessageBody, large[1].MessageBody = aws.String(strings.Repeat("x", 1<<19)), aws.String(strings.Repeat("x", 1<<19+1))
	tests := map[string]struct {
		entries []types.SendMessageBatchRequestEntry
		refused func(error) bool
	}{
		"empty":     {entries(), is[*types.EmptyBatchRequest]},
		"eleven":    {entries("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"), is[*types.TooManyEntriesInBatchRequest]},
		"same ids":  {entries("a", "a"), is[*types.BatchEntryIdsNotDistinct]},
		"bad id":    {entries("a b"), is[*types.InvalidBatchEntryId]},
		"over 1MiB": {large, is[*types.BatchRequestTooLong]},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, "q", nil, func(s *scene) {
				if test.entries == nil {
					test.entries = []types.SendMessageBatchRequestEntry{}
				}
				_, err := s.SendMessageBatch(s.Context(), &sqs.SendMessageBatchInput{QueueUrl: s.url, Entries: test.entries})
				if !test.refused(err) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
	play(t, "q", nil, func(s *scene) {
		mixed := entries("good", "bad")
		mixed[1].MessageBody = aws.String("\x00")
		out, err := s.SendMessageBatch(s.Context(), &sqs.SendMessageBatchInput{QueueUrl: s.url, Entries: mixed})
		if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "bad" || *out.Failed[0].Code != "InvalidMessageContents" {
			t.Errorf("one bad entry: %+v, %v", out, err)
		}
	})
}

func TestCreateQueue(t *testing.T) {
	play(t, "q", map[string]string{"VisibilityTimeout": "30"}, func(s *scene) {
		tests := []struct {
			name       string
			attributes map[string]string
			want       string
		}{
			{"q", nil, ""},
			{"q", map[string]string{"VisibilityTimeout": "30"}, ""},
			{"q", map[string]string{"VisibilityTimeout": "31"}, "QueueAlreadyExists"},
			{"r", map[string]string{"VisibilityTimeout": "43201"}, "InvalidAttributeValue"},
			{"r", map[string]string{"Colour": "red"}, "InvalidAttributeName"},
			{"r.fifo", nil, "InvalidParameterValue"},
			{"r", map[string]string{"FifoQueue": "true"}, "InvalidParameterValue"},
			{"a b", nil, "InvalidParameterValue"},
			{"r", map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:none","maxReceiveCount":1}`}, "InvalidParameterValue"},
		}
		for _, test := range tests {
			_, err := s.CreateQueue(s.Context(), &sqs.CreateQueueInput{QueueName: &test.name, Attributes: test.attributes})
			if test.want == "" && err != nil || test.want != "" && code(err) != test.want {
				t.Errorf("create %s with %v: %v, want %q", test.name, test.attributes, err, test.want)
			}
		}
	})
}

func TestRefusedAttributes(t *testing.T) {
	const q, other = "arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:sqs:us-east-1:000000000000:other"
	redrive := func(target string) string { return `{"deadLetterTargetArn":"` + target + `","maxReceiveCount":1}` }
	eleven := `"` + strings.Join(slices.Repeat([]string{other}, 11), `","`) + `"`
	tests := map[string]struct{ attribute, value, want string }{
		"redrive":                     {"RedrivePolicy", redrive(other), ""},
		"redrive to itself":           {"RedrivePolicy", redrive(q), "InvalidParameterValue"},
		"allow all":                   {"RedriveAllowPolicy", `{"redrivePermission":"allowAll"}`, ""},
		"allow none":                  {"RedriveAllowPolicy", `{"redrivePermission":"denyAll"}`, ""},
		"allow a queue":               {"RedriveAllowPolicy", `{"redrivePermission":"byQueue","sourceQueueArns":["` + other + `"]}`, ""},
		"allow no more":               {"RedriveAllowPolicy", "", ""},
		"allow, not JSON":             {"RedriveAllowPolicy", `{`, "InvalidParameterValue"},
		"allow, a list":               {"RedriveAllowPolicy", `[]`, "InvalidParameterValue"},
		"allow without permission":    {"RedriveAllowPolicy", `{}`, "InvalidParameterValue"},
		"allow by another permission": {"RedriveAllowPolicy", `{"redrivePermission":"some"}`, "InvalidParameterValue"},
		"allow all and a queue":       {"RedriveAllowPolicy", `{"redrivePermission":"allowAll","sourceQueueArns":["` + other + `"]}`, "InvalidParameterValue"},
		"allow queues, but no queue":  {"RedriveAllowPolicy", `{"redrivePermission":"byQueue","sourceQueueArns":[]}`, "InvalidParameterValue"},
		"allow eleven queues":         {"RedriveAllowPolicy", `{"redrivePermission":"byQueue","sourceQueueArns":[` + eleven + `]}`, "InvalidParameterValue"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, "q", nil, func(s *scene) {
				s.create("other", nil)
				_, err := s.SetQueueAttributes(s.Context(), &sqs.SetQueueAttributesInput{QueueUrl: s.url, Attributes: map[string]string{test.attribute: test.value}})
				if test.want == "" && err != nil || test.want != "" && code(err) != test.want {
					t.Errorf("error %v, want %q", err, test.want)
				}
			})
		})
	}
}

func TestAttributesAndCounts(t *testing.T) {
	play(t, "q", nil, func(s *scene) {
		s.send("a")
		s.send("b")
		s.send("c", func(in *sqs.SendMessageInput) { in.DelaySeconds = 60 })
		if _, err := s.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url}); err != nil {
			t.Fatal(err)
		}
		out, err := s.GetQueueAttributes(s.Context(), &sqs.GetQueueAttributesInput{QueueUrl: s.url, AttributeNames: []types.QueueAttributeName{"All"}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"ApproximateNumberOfMessages": "1", "ApproximateNumberOfMessagesNotVisible": "1", "ApproximateNumberOfMessagesDelayed": "1",
			"VisibilityTimeout": "30", "MessageRetentionPeriod": "345600", "MaximumMessageSize": "1048576", "DelaySeconds": "0",
			"ReceiveMessageWaitTimeSeconds": "0", "SqsManagedSseEnabled": "true", "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q",
		}
		for name, value := range want {
			if out.Attributes[name] != value {
				t.Errorf("%s is %q, want %q", name, out.Attributes[name], value)
			}
		}
		if _, err := s.PurgeQueue(s.Context(), &sqs.PurgeQueueInput{QueueUrl: s.url}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		s.wantBodies("purged", s.receive(s.url), "")
		if _, err := s.PurgeQueue(s.Context(), &sqs.PurgeQueueInput{QueueUrl: s.url}); !is[*types.PurgeQueueInProgress](err) {
			t.Errorf("purge within a minute: %v", err)
		}
	})
}

func TestReceivedAttributes(t *testing.T) {
	play(t, "q", nil, func(s *scene) {
		s.send("a", group("tenantA"), func(in *sqs.SendMessageInput) {
			in.MessageAttributes = map[string]types.MessageAttributeValue{
				"trace.parent": {DataType: aws.String("String"), StringValue: aws.String("p")},
				"trace.state":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1}},
				"tenant_id":    {DataType: aws.String("String"), StringValue: aws.String("tenantA")},
			}
			in.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1")}}
		})
		out, err := s.ReceiveMessage(s.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: s.url, MessageAttributeNames: []string{"trace.*"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"AWSTraceHeader", "MessageGroupId"},
		})
		if err != nil {
			t.Fatal(err)
		}
		m := out.Messages[0]
		if len(m.MessageAttributes) != 2 || string(m.MessageAttributes["trace.state"].BinaryValue) != "\x00\x01" {
			t.Errorf("attributes %v, want the two of trace.*", m.MessageAttributes)
		}
		if len(m.Attributes) != 2 || m.Attributes["AWSTraceHeader"] != "Root=1" || m.Attributes["MessageGroupId"] != "tenantA" {
			t.Errorf("system attributes %v", m.Attributes)
		}
	})
}

func TestHandles(t *testing.T) {
	play(t, "q", nil, func(s *scene) {
		s.send("a")
		m := s.receive(s.url)[0]
		for _, handle := range []string{"nonsense", "YWJj"} {
			if err := s.remove(types.Message{ReceiptHandle: &handle}); !is[*types.ReceiptHandleIsInvalid](err) {
				t.Errorf("delete by %q: %v", handle, err)
			}
		}
		s.url = s.create("other", nil)
		if err := s.remove(m); !is[*types.ReceiptHandleIsInvalid](err) {
			t.Errorf("delete by another queue's handle: %v", err)
		}
	})
}

func TestListQueues(t *testing.T) {
	play(t, "b1", nil, func(s *scene) {
		s.create("a1", nil)
		s.create("a2", nil)
		s.create("a3", nil)
		var names []string
		pages := sqs.NewListQueuesPaginator(s.Client, &sqs.ListQueuesInput{QueueNamePrefix: aws.String("a"), MaxResults: aws.Int32(2)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(s.Context())
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, fmt.Sprint(len(page.QueueUrls)))
		}
		if got := strings.Join(names, ","); got != "2,1" {
			t.Errorf("pages of %s queues, want 2,1", got)
		}
	})
}

// BenchmarkBatches sends, receives and deletes over HTTP, ten messages a call.
func BenchmarkBatches(b *testing.B) {
	server := queue.NewServer(queue.Options{})
	defer server.Close()
	h := httptest.NewServer(server)
	defer h.Close()
	c := sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: &h.URL, Credentials: credentials.NewStaticCredentialsProvider("x", "y", "")})
	ctx := b.Context()
	made, err := c.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("q")})
	if err != nil {
		b.Fatal(err)
	}
	url := made.QueueUrl
	send := &sqs.SendMessageBatchInput{QueueUrl: url}
	for i := range 10 {
		send.Entries = append(send.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(strings.Repeat("x", 200))})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.SendMessageBatch(ctx, send); err != nil {
			b.Fatal(err)
		}
		out, err := c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})
		if err != nil {
			b.Fatal(err)
		}
		remove := &sqs.DeleteMessageBatchInput{QueueUrl: url}
		for i, m := range out.Messages {
			remove.Entries = append(remove.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: m.ReceiptHandle})
		}
		if _, err := c.DeleteMessageBatch(ctx, remove); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10/b.Elapsed().Seconds(), "messages/s")
}

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"tributary/internal/aws/limits"
)

// backend answers every call with one body, and keeps the requests.
type backend struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	answer string
}

func newBackend(t *testing.T) *backend {
	b := &backend{answer: "{}"}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bodies = append(b.bodies, string(body))
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = w.Write([]byte(b.answer))
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.bodies)
}

// rig is a front before a backend, with clients that do not retry.
type rig struct {
	*backend
	front *Front
	url   string
	ddb   *dynamodb.Client
	sqs   *sqs.Client
	clock time.Time
}

func newRig(t *testing.T, config Config) *rig {
	t.Helper()
	r := &rig{backend: newBackend(t), clock: time.Unix(1e9, 0)}
	front, err := New(Backends{DynamoDB: r.URL, SQS: r.URL}, 7, config)
	if err != nil {
		t.Fatal(err)
	}
	front.now = func() time.Time { return r.clock }
	server := httptest.NewServer(front)
	t.Cleanup(server.Close)
	t.Cleanup(front.Close)
	r.front, r.url = front, server.URL
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Logger: logging.Nop{},
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} }}
	r.ddb, r.sqs = dynamodb.NewFromConfig(cfg), sqs.NewFromConfig(cfg)
	return r
}

func item(pk, sk string, size int) map[string]ddbtypes.AttributeValue {
	s := func(v string) ddbtypes.AttributeValue { return &ddbtypes.AttributeValueMemberS{Value: v} }
	return map[string]ddbtypes.AttributeValue{"PK": s(pk), "SK": s(sk), "x": s(strings.Repeat("x", size))}
}

func (r *rig) put(pk string) error {
	_, err := r.ddb.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: aws.String("T"), Item: item(pk, "s", 10)})
	return err
}

func (r *rig) batch(items ...map[string]ddbtypes.AttributeValue) (*dynamodb.BatchWriteItemOutput, error) {
	var writes []ddbtypes.WriteRequest
	for _, i := range items {
		writes = append(writes, ddbtypes.WriteRequest{PutRequest: &ddbtypes.PutRequest{Item: i}})
	}
	return r.ddb.BatchWriteItem(context.Background(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]ddbtypes.WriteRequest{"T": writes}})
}

func (r *rig) receive() (*sqs.ReceiveMessageOutput, error) {
	return r.sqs.ReceiveMessage(context.Background(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://q/0/q")})
}

func always(f Fault, operations ...string) Config {
	return Config{Rules: []Rule{{Fault: f, Rate: 1, Operations: operations, MaxDelay: time.Nanosecond}}}
}

func TestPassesOnWhatNoRuleIsFor(t *testing.T) {
	r := newRig(t, always(ErrorBefore, "DeleteItem"))
	r.answer = `{"Messages":[{"MessageId":"m","Body":"b","MD5OfBody":"92eb5ffee6ae2fec3ad71c777531578f"}]}`
	out, err := r.receive()
	if err != nil || len(out.Messages) != 1 || *out.Messages[0].MessageId != "m" {
		t.Fatalf("got %+v, %v", out, err)
	}
	if got := r.calls(); len(got) != 1 || got[0] != `{"QueueUrl":"http://q/0/q"}` {
		t.Errorf("the backend was asked %q", got)
	}
	if got := r.front.Counts(); len(got) != 1 || got["calls ReceiveMessage"] != 1 {
		t.Errorf("counts are %v", got)
	}
}

func TestFaultsOfWholeCalls(t *testing.T) {
	throttled := func(reason string) func(error) bool {
		return func(err error) bool {
			var e *ddbtypes.ProvisionedThroughputExceededException
			if !errors.As(err, &e) {
				return false
			}
			if reason == "" {
				return len(e.ThrottlingReasons) == 0
			}
			return len(e.ThrottlingReasons) == 1 && *e.ThrottlingReasons[0].Reason == reason && strings.HasSuffix(*e.ThrottlingReasons[0].Resource, ":table/T")
		}
	}
	noAnswer := func(err error) bool {
		var api smithy.APIError
		return err != nil && !errors.As(err, &api)
	}
	for _, tc := range []struct {
		fault Fault
		done  bool // whether the backend saw the call
		want  func(error) bool
	}{
		{Delay, true, func(err error) bool { return err == nil }},
		{ResetBefore, false, noAnswer},
		{ResetAfter, true, noAnswer},
		{Cut, true, noAnswer},
		{ErrorBefore, false, func(err error) bool { var e *ddbtypes.InternalServerError; return errors.As(err, &e) }},
		{ErrorAfter, true, func(err error) bool { var e *ddbtypes.InternalServerError; return errors.As(err, &e) }},
		{ThrottleKeyRange, false, throttled("TableWriteKeyRangeThroughputExceeded")},
		{ThrottleTable, false, throttled("TableWriteProvisionedThroughputExceeded")},
		{ThrottleBare, false, throttled("")},
		{ThrottleAccount, false, func(err error) bool {
			var e *ddbtypes.ThrottlingException
			return errors.As(err, &e) && len(e.ThrottlingReasons) == 1 && *e.ThrottlingReasons[0].Reason == "TableWriteAccountLimitExceeded"
		}},
	} {
		t.Run(string(tc.fault), func(t *testing.T) {
			r := newRig(t, always(tc.fault))
			if err := r.put("t"); !tc.want(err) {
				t.Errorf("got error %v", err)
			}
			if done := len(r.calls()) == 1; done != tc.done {
				t.Errorf("the backend saw the call: %v, want %v", done, tc.done)
			}
			if got := r.front.Counts(); got[string(tc.fault)+" PutItem"] != 1 {
				t.Errorf("counts are %v", got)
			}
		})
	}
}

func TestFaultsOfSQS(t *testing.T) {
	r := newRig(t, always(ResetAfter, "ReceiveMessage"))
	if _, err := r.receive(); err == nil || len(r.calls()) != 1 {
		t.Errorf("a lost answer: error %v, %d calls at the backend", err, len(r.calls()))
	}
	r = newRig(t, always(ThrottleBare))
	var throttled *sqstypes.RequestThrottled
	if _, err := r.receive(); !errors.As(err, &throttled) {
		t.Errorf("a throttle: error %v", err)
	}
	r = newRig(t, always(ErrorAfter))
	var api smithy.APIError
	if _, err := r.receive(); !errors.As(err, &api) || api.ErrorCode() != "InternalFailure" || len(r.calls()) != 1 {
		t.Errorf("a 500: error %v, %d calls at the backend", err, len(r.calls()))
	}
}

func TestBucketOfAPartitionKey(t *testing.T) {
	r := newRig(t, Config{WriteUnits: 2})
	out, err := r.batch(item("hot", "1", 0), item("hot", "2", 0), item("hot", "3", 0), item("cold", "1", 0))
	if err != nil {
		t.Fatal(err)
	}
	left := out.UnprocessedItems["T"]
	if len(left) != 1 || left[0].PutRequest.Item["SK"].(*ddbtypes.AttributeValueMemberS).Value != "3" {
		t.Errorf("unprocessed are %v, want hot 3 alone", left)
	}
	if got := r.calls(); len(got) != 1 || strings.Count(got[0], "PutRequest") != 3 {
		t.Errorf("the backend was asked %q, want 3 writes", got)
	}
	// Nothing could be written at all: an exception, as AWS has it.
	var refused *ddbtypes.ProvisionedThroughputExceededException
	if _, err = r.batch(item("hot", "3", 0)); !errors.As(err, &refused) || len(refused.ThrottlingReasons) != 1 || *refused.ThrottlingReasons[0].Reason != "TableWriteKeyRangeThroughputExceeded" {
		t.Errorf("got error %v", err)
	}
	if err := r.put("hot"); !errors.As(err, &refused) {
		t.Errorf("PutItem: got error %v", err)
	}
	if err := r.put("cold"); err != nil {
		t.Errorf("another tenant: got error %v", err)
	}
	if len(r.calls()) != 2 {
		t.Errorf("the backend saw %d calls, want 2", len(r.calls()))
	}
	r.clock = r.clock.Add(500 * time.Millisecond) // one unit
	if err := r.put("hot"); err != nil {
		t.Errorf("after half a second: got error %v", err)
	}
	if err := r.put("hot"); err == nil {
		t.Errorf("a second put after half a second was let through")
	}
	want := Counts{"calls BatchWriteItem": 2, "calls PutItem": 4, "unprocessed-bucket BatchWriteItem": 2, "throttle-bucket BatchWriteItem": 1, "throttle-bucket PutItem": 2}
	if got := r.front.Counts(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counts are %v, want %v", got, want)
	}
}

func TestALargeItemOverdrawsItsBucket(t *testing.T) {
	r := newRig(t, Config{WriteUnits: 2})
	if _, err := r.batch(item("t", "1", 5000)); err != nil { // 5 units
		t.Fatal(err)
	}
	for second, want := range []bool{false, false, true} { // -3, -1, +1
		if err := r.put("t"); (err == nil) != want {
			t.Errorf("after %d s: got error %v", second, err)
		}
		r.clock = r.clock.Add(time.Second)
	}
}

func TestUnprocessedJoinsThoseOfTheBackend(t *testing.T) {
	r := newRig(t, Config{Rules: []Rule{{Fault: Unprocessed, Rate: 0.5}}})
	r.answer = `{"UnprocessedItems":{"T":[{"DeleteRequest":{"Key":{"PK":{"S":"theirs"},"SK":{"S":"s"}}}}]},"ConsumedCapacity":[]}`
	var items []map[string]ddbtypes.AttributeValue
	for i := range 25 {
		items = append(items, item("t", fmt.Sprint(i), 0))
	}
	out, err := r.batch(items...)
	if err != nil {
		t.Fatal(err)
	}
	passed := strings.Count(r.calls()[0], "PutRequest")
	ours := len(out.UnprocessedItems["T"]) - 1
	if passed+ours != 25 || ours < 3 || passed < 3 || ours != r.front.Counts()["unprocessed BatchWriteItem"] {
		t.Errorf("%d writes were passed on and %d left unprocessed of 25", passed, ours)
	}
}

func TestWhatTheBackendRefusesIsNotHidden(t *testing.T) {
	var items []map[string]ddbtypes.AttributeValue
	for i := range 26 {
		items = append(items, item("t", fmt.Sprint(i), 0))
	}
	with := func(name string, v ddbtypes.AttributeValue) []map[string]ddbtypes.AttributeValue {
		changed := item("t", "s", 0)
		if changed[name] = v; v == nil {
			delete(changed, name)
		}
		return []map[string]ddbtypes.AttributeValue{items[0], changed}
	}
	s := func(v string) ddbtypes.AttributeValue { return &ddbtypes.AttributeValueMemberS{Value: v} }
	n := func(v string) ddbtypes.AttributeValue { return &ddbtypes.AttributeValueMemberN{Value: v} }
	exact := limits.DynamoDBItemBytes - len("PK"+"t"+"SK"+"s"+"x")
	fits := with("x", s(strings.Repeat("x", exact)))
	r := newRig(t, always(Unprocessed))
	if _, err := r.batch(fits...); err == nil || len(r.calls()) > 0 {
		t.Errorf("items of 400 KB and less: got error %v and %d calls at the backend, want a throttle and none", err, len(r.calls()))
	}
	for name, items := range map[string][]map[string]ddbtypes.AttributeValue{
		"26 writes": items, "a key twice": {items[0], items[0]}, "no PK": with("PK", nil), "no SK": with("SK", nil),
		"an empty PK": with("PK", s("")), "an empty SK": with("SK", s("")), "a PK that is a number": with("PK", n("1")),
		"too long a PK":      with("PK", s(strings.Repeat("p", limits.DynamoDBPartitionKeyBytes+1))),
		"too long a SK":      with("SK", s(strings.Repeat("s", limits.DynamoDBSortKeyBytes+1))),
		"a byte over 400 KB": with("x", s(strings.Repeat("x", exact+1))),
		"an empty index key": with("user_id", s("")), "no number": with("x", n("one")),
	} {
		before := len(r.calls())
		if _, err := r.batch(items...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := r.calls()[before:]; len(got) != 1 || strings.Count(got[0], "PutRequest") != len(items) {
			t.Errorf("%s did not reach the backend whole", name)
		}
	}
}

func TestEntriesFailAlone(t *testing.T) {
	r := newRig(t, Config{Rules: []Rule{{Fault: FailEntry, Rate: 0.5, Operations: []string{"DeleteMessageBatch"}}}})
	r.answer = `{"Successful":[],"Failed":[{"Id":"theirs","Code":"x","SenderFault":true}]}`
	var entries []sqstypes.DeleteMessageBatchRequestEntry
	for i := range 10 {
		entries = append(entries, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint("e", i)), ReceiptHandle: aws.String("h")})
	}
	in := &sqs.DeleteMessageBatchInput{QueueUrl: aws.String("http://q/0/q"), Entries: entries}
	out, err := r.sqs.DeleteMessageBatch(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	passed := strings.Count(r.calls()[0], "ReceiptHandle")
	if ours := len(out.Failed) - 1; passed+ours != 10 || ours == 0 || passed == 0 {
		t.Errorf("%d entries were passed on and %d failed, of 10", passed, len(out.Failed)-1)
	}
	if err := r.front.Set(always(FailEntry)); err != nil {
		t.Fatal(err)
	}
	if out, err = r.sqs.DeleteMessageBatch(t.Context(), in); err != nil || len(out.Failed) != 10 || out.Failed[0].SenderFault || len(r.calls()) != 1 {
		t.Errorf("all failing: %d of 10 failed, error %v, %d calls at the backend", len(out.Failed), err, len(r.calls()))
	}
}

func TestTheSeedDecides(t *testing.T) {
	run := func(seed uint64) (pattern string) {
		f, err := New(Backends{}, seed, Config{Rules: []Rule{{Fault: ErrorBefore, Rate: 0.3}}})
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			pattern += fmt.Sprint(f.begin(dynamoDB, "PutItem", nil, nil).hit(ErrorBefore))[:1]
		}
		return pattern
	}
	first := run(1)
	if run(1) != first {
		t.Error("one seed has two runs")
	}
	if run(2) == first {
		t.Error("two seeds have one run")
	}
	if n := strings.Count(first, "t"); n < 40 || n > 80 {
		t.Errorf("%d of 200 calls failed at a rate of 0.3", n)
	}
}

func TestConfigIsValidated(t *testing.T) {
	for _, bad := range []Config{
		{Rules: []Rule{{Fault: "explode", Rate: 1}}}, {Rules: []Rule{{Fault: Cut, Rate: 1.5}}}, {Rules: []Rule{{Fault: Cut, Rate: -1}}},
		{Rules: []Rule{{Fault: Delay, Rate: 1}}}, {WriteUnits: -1}, {Burst: -1},
	} {
		if _, err := New(Backends{}, 1, bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if _, err := New(Backends{SQS: "localhost:1"}, 1, Config{}); err == nil {
		t.Error("a backend without scheme is accepted")
	}
}

func TestControl(t *testing.T) {
	r := newRig(t, Config{})
	ask := func(method, path, body string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		b, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(bytes.TrimSpace(b))
	}
	const faults = `{"rules":[{"fault":"error-before","rate":1}]}`
	if status, body := ask("PUT", "/faults", faults); status != 200 || body != faults {
		t.Errorf("PUT /faults: %d %s", status, body)
	}
	if err := r.put("t"); err == nil {
		t.Error("the faults were not changed")
	}
	if status, body := ask("PUT", "/faults", `{"rules":[{"fault":"no"}]}`); status != 400 || !strings.Contains(body, `"no"`) {
		t.Errorf("PUT of a wrong fault: %d %s", status, body)
	}
	if status, body := ask("GET", "/faults", ""); status != 200 || body != faults {
		t.Errorf("GET /faults: %d %s", status, body)
	}
	var counts Counts
	if _, body := ask("GET", "/counts", ""); json.Unmarshal([]byte(body), &counts) != nil || counts["error-before PutItem"] != 1 {
		t.Errorf("GET /counts: %s", body)
	}
	if status, _ := ask("GET", "/", ""); status != 404 {
		t.Errorf("GET /: %d", status)
	}
}

func TestAClientThatLeavesEndsTheCallBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	left := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		cancel() // not before the call is here: the front would not have made it
		<-r.Context().Done()
		close(left)
	}))
	defer slow.Close()
	front, err := New(Backends{SQS: slow.URL}, 1, Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front)
	defer server.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "AmazonSQS.ReceiveMessage")
	if response, err := http.DefaultClient.Do(request); err == nil {
		_ = response.Body.Close()
		t.Fatal("the abandoned call was answered")
	}
	<-left // or the test times out
}

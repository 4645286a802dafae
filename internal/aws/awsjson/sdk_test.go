package awsjson

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/awsclient"
	"tributary/internal/consumer"
	"tributary/internal/messages"
	"tributary/internal/table"
	"tributary/internal/writer"
	"tributary/test/support/commands"
)

// These tests hold what is hand-made here against the SDK: the same call is made through both, to a server that
// records the request and gives both the same answer.

// recorder answers every request with what it was last told, and keeps the request.
type recorder struct {
	mu      sync.Mutex
	request *http.Request
	body    []byte
	status  int
	header  map[string]string
	answer  string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.request = in
	r.body, _ = io.ReadAll(in.Body)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Requestid", "request-1")
	for k, v := range r.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.answer)
}

func (r *recorder) set(status int, answer string) {
	r.mu.Lock()
	r.status, r.answer, r.header = status, answer, nil
	r.mu.Unlock()
}

type pair struct {
	t          *testing.T
	r          *recorder
	sqs        *sqs.Client
	ddb        *dynamodb.Client
	queue      *Queue
	table      *Table
	units      float64
	unreadable []string // ids, and why
	outcomes   []string // of the calls: operation and outcome
}

const queueURL = "https://sqs.eu-central-1.amazonaws.com/123456789012/commands"

// eachWire runs a test over both ways of sending.
func eachWire(t *testing.T, test func(*testing.T, *pair)) {
	t.Run("direct", func(t *testing.T) { test(t, newPair(t, func(t http.RoundTripper) http.RoundTripper { return t })) })
	t.Run("net/http", func(t *testing.T) {
		test(t, newPair(t, func(t http.RoundTripper) http.RoundTripper { return hidden{t} }))
	})
}

// hidden hides what a transport is.
type hidden struct{ http.RoundTripper }

func newPair(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) *pair {
	r := &recorder{status: 200, answer: "{}"}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	cfg := aws.Config{
		Region: "eu-central-1", BaseEndpoint: aws.String(server.URL),
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", "TOKEN"),
		HTTPClient:  awsclient.OwnBody(server.Client()),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
	p := &pair{t: t, r: r, sqs: sqs.NewFromConfig(cfg), ddb: dynamodb.NewFromConfig(cfg)}
	observe := func(_, operation, outcome string, _ time.Duration) {
		p.outcomes = append(p.outcomes, operation+" "+outcome)
	}
	p.queue = NewQueue(p.sqs, wrap(server.Client().Transport), queueURL, observe,
		func(id string, why error) { p.unreadable = append(p.unreadable, id+": "+why.Error()) })
	p.table = NewTable(p.ddb, wrap(server.Client().Transport), commands.Types, "Multi\"Tenant", 45*24*time.Hour, observe, func(u float64) { p.units += u })
	return p
}

// recorded is what of a request must be the same whoever sent it.
func (p *pair) recorded() map[string]any {
	p.t.Helper()
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	var body any
	d := json.NewDecoder(bytes.NewReader(p.r.body))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		p.t.Fatalf("body %s: %v", p.r.body, err)
	}
	in := p.r.request
	p.checkSignature(in, p.r.body)
	return map[string]any{
		"method": in.Method, "path": in.URL.Path, "target": in.Header.Get("X-Amz-Target"), "type": in.Header.Get("Content-Type"),
		"length": in.ContentLength == int64(len(p.r.body)), "body": body,
	}
}

// checkSignature signs the request again with the SDK's signer, as the service does, and compares.
func (p *pair) checkSignature(in *http.Request, body []byte) {
	p.t.Helper()
	authorization := in.Header.Get("Authorization")
	at, err := time.Parse("20060102T150405Z", in.Header.Get("X-Amz-Date"))
	if err != nil {
		p.t.Fatalf("X-Amz-Date: %v", err)
	}
	_, scope, _ := strings.Cut(authorization, "Credential=AKID/")
	parts := strings.Split(scope, "/") // date/region/service/aws4_request…
	_, list, _ := strings.Cut(authorization, "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	again, _ := http.NewRequest(in.Method, "http://"+in.Host+in.URL.RequestURI(), nil)
	again.ContentLength = in.ContentLength
	for _, name := range strings.Split(list, ";") {
		if name != "host" && name != "content-length" && name != "x-amz-date" && name != "x-amz-security-token" {
			again.Header.Set(name, in.Header.Get(name))
		}
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(p.t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET", SessionToken: "TOKEN"}, again, hex.EncodeToString(sum[:]), parts[2], parts[1], at)
	if err != nil {
		p.t.Fatal(err)
	}
	if got := again.Header.Get("Authorization"); got != authorization {
		p.t.Errorf("signature\n%s, want\n%s", authorization, got)
	}
}

// both makes a call through the SDK and through this package and compares the requests.
func (p *pair) both(theirs, ours func(context.Context) error) {
	p.t.Helper()
	if err := theirs(p.t.Context()); err != nil {
		p.t.Fatalf("the SDK: %v", err)
	}
	want := p.recorded()
	if err := ours(p.t.Context()); err != nil {
		p.t.Fatalf("ours: %v", err)
	}
	if got := p.recorded(); !reflect.DeepEqual(got, want) {
		p.t.Errorf("request\n%v, want\n%v", got, want)
	}
}

// random makes what goes into requests and answers, awkward characters among it.
type random struct{ *rand.Rand }

var alphabet = []rune("abcXYZ019 -_.:@=+/\\\"'<>&\t\n\r\u007f\u0080é漢\u2028\U0001F600")

func (r random) text(max int) string {
	out := make([]rune, r.IntN(max+1))
	for i := range out {
		out[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(out)
}

func (r random) command(i int) messages.Command {
	tenant, user, order := "tenant-"+strconv.Itoa(r.IntN(3)), strings.ReplaceAll(fmt.Sprint(i, "é/\"", r.IntN(99)), "#", ""), fmt.Sprint("o", i, "漢\\", r.IntN(99))
	var c messages.Command
	switch r.IntN(4) {
	case 0:
		c = commands.PutUser(tenant, user, r.text(20), r.text(20))
	case 1:
		c = commands.PutOrder(tenant, order, user, strconv.Itoa(r.IntN(1000))+"."+strconv.Itoa(1+r.IntN(9)))
	case 2:
		c = commands.DeleteUser(tenant, user)
	case 3:
		c = commands.DeleteOrder(tenant, order)
	}
	if !c.Delete && r.IntN(2) == 0 {
		c.Attributes = `{"a":[1.5,"x\u00e9",null,true,{"b":{}}],"n":` + strconv.Itoa(r.IntN(1e6)) + `,"` + strconv.Itoa(i) + `":"` + "漢" + `"}`
	}
	if r.IntN(2) == 0 {
		c.Version = 1 + r.Int64N(1<<62)
	}
	return c
}

func TestRequestsAreTheSDKs(t *testing.T) { eachWire(t, testRequestsAreTheSDKs) }

func testRequestsAreTheSDKs(t *testing.T, p *pair) {
	r := random{rand.New(rand.NewPCG(1, 2))}
	for range 50 {
		most, wait := 1+r.IntN(10), 1+r.IntN(20) // the SDK can't say 0
		p.r.set(200, "{}")
		p.both(func(ctx context.Context) error {
			_, err := p.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
				QueueUrl: aws.String(queueURL), MaxNumberOfMessages: int32(most), WaitTimeSeconds: int32(wait),
				MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"ApproximateReceiveCount", "SentTimestamp", "ApproximateFirstReceiveTimestamp", "MessageGroupId", "AWSTraceHeader"},
				MessageAttributeNames:       []string{"All"},
			})
			return err
		}, func(ctx context.Context) error {
			_, err := p.queue.Receive(ctx, most, time.Duration(wait)*time.Second)
			return err
		})

		n := 1 + r.IntN(10)
		handles := make([]string, n)
		changes := make([]consumer.Visibility, n)
		deletes := &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(queueURL)}
		visible := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: aws.String(queueURL)}
		for i := range n {
			handles[i] = "h" + r.text(40)
			seconds := 1 + r.IntN(43200)
			changes[i] = consumer.Visibility{ReceiptHandle: handles[i], Timeout: time.Duration(seconds)*time.Second - time.Duration(r.IntN(1e9))}
			id := aws.String(strconv.Itoa(i))
			deletes.Entries = append(deletes.Entries, sqstypes.DeleteMessageBatchRequestEntry{Id: id, ReceiptHandle: &handles[i]})
			visible.Entries = append(visible.Entries, sqstypes.ChangeMessageVisibilityBatchRequestEntry{Id: id, ReceiptHandle: &handles[i], VisibilityTimeout: int32(seconds)})
		}
		p.both(func(ctx context.Context) error { _, err := p.sqs.DeleteMessageBatch(ctx, deletes); return err },
			func(ctx context.Context) error { _, err := p.queue.Delete(ctx, handles); return err })
		p.both(func(ctx context.Context) error {
			_, err := p.sqs.ChangeMessageVisibilityBatch(ctx, visible)
			return err
		},
			func(ctx context.Context) error { _, err := p.queue.ChangeVisibility(ctx, changes); return err })

		writes := make([]*writer.Write, 1+r.IntN(25))
		var requests []ddbtypes.WriteRequest
		for i := range writes {
			writes[i] = &writer.Write{Command: r.command(i)}
			writes[i].Command.Version = 0
			if c := &writes[i].Command; c.Delete {
				requests = append(requests, ddbtypes.WriteRequest{DeleteRequest: &ddbtypes.DeleteRequest{Key: table.KeyAttributes(table.KeyOf(c))}})
			} else {
				requests = append(requests, ddbtypes.WriteRequest{PutRequest: &ddbtypes.PutRequest{Item: table.Item(c)}})
			}
		}
		p.r.set(200, `{"UnprocessedItems":{}}`)
		p.both(func(ctx context.Context) error {
			_, err := p.ddb.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
				RequestItems: map[string][]ddbtypes.WriteRequest{"Multi\"Tenant": requests}, ReturnConsumedCapacity: "INDEXES",
			})
			return err
		}, func(ctx context.Context) error { _, _, err := p.table.BatchWrite(ctx, writes); return err })

		w := &writer.Write{Command: r.command(0)}
		w.Command.Version = 1 + r.Int64N(1<<62)
		now := time.Now()
		item := table.Item(&w.Command)
		if w.Command.Delete {
			item = table.Tombstone(&w.Command, now.Add(45*24*time.Hour))
		}
		p.r.set(200, `{"ConsumedCapacity":{"TableName":"T","CapacityUnits":1}}`)
		p.both(func(ctx context.Context) error {
			_, err := p.ddb.PutItem(ctx, &dynamodb.PutItemInput{
				TableName: aws.String("Multi\"Tenant"), Item: item, ConditionExpression: aws.String("attribute_not_exists(version) OR version < :v"),
				ExpressionAttributeValues:           map[string]ddbtypes.AttributeValue{":v": &ddbtypes.AttributeValueMemberN{Value: strconv.FormatInt(w.Command.Version, 10)}},
				ReturnValuesOnConditionCheckFailure: "ALL_OLD", ReturnConsumedCapacity: "INDEXES",
			})
			return err
		}, func(ctx context.Context) error {
			if w.Command.Delete { // the time is an argument below PutVersion
				return p.table.client.call(ctx, "PutItem", p.table.appendPut(nil, w, now), func(string) error { return nil })
			}
			_, err := p.table.PutVersion(ctx, w)
			return err
		})
		p.both(func(ctx context.Context) error {
			_, err := p.ddb.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("Multi\"Tenant"), Item: item, ConditionExpression: aws.String("attribute_exists(PK)")})
			return err
		}, func(ctx context.Context) error {
			if w.Command.Delete {
				return p.table.client.call(ctx, "PutItem", p.table.appendProbe(nil, &w.Command, now), func(string) error { return nil })
			}
			return p.table.Probe(ctx, &w.Command)
		})
	}
}

func TestProbe(t *testing.T) { eachWire(t, testProbe) }

// testProbe: only that no item has the probe's key is an answer of yes.
func testProbe(t *testing.T, p *pair) {
	c := random{rand.New(rand.NewPCG(7, 8))}.command(1)
	p.r.set(400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}`)
	if err := p.table.Probe(t.Context(), &c); err != nil {
		t.Errorf("a probe that took no effect: %v", err)
	}
	for _, answer := range []string{
		`{"__type":"com.amazon.coral.validate#ValidationException","message":"bad"}`,
		`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow"}`,
		`<html>`,
	} {
		p.r.set(400, answer)
		if err := p.table.Probe(t.Context(), &c); err == nil {
			t.Errorf("%s is taken for yes", answer)
		}
	}
	p.r.set(200, `<html>maintenance</html>`)
	if err := p.table.Probe(t.Context(), &c); err == nil {
		t.Error("an answer that is not DynamoDB's is taken for yes")
	}
}

func TestMessagesAreTheSDKs(t *testing.T) { eachWire(t, testMessagesAreTheSDKs) }

func testMessagesAreTheSDKs(t *testing.T, p *pair) {
	r := random{rand.New(rand.NewPCG(3, 4))}
	for range 100 {
		var list []map[string]any
		for range r.IntN(11) {
			body := r.text(200)
			sum := md5.Sum([]byte(body))
			m := map[string]any{
				"MessageId": r.text(36), "ReceiptHandle": "h" + r.text(60), "Body": body, "MD5OfBody": hex.EncodeToString(sum[:]),
				"Attributes": map[string]string{
					"ApproximateReceiveCount": strconv.Itoa(r.IntN(50)), "SentTimestamp": strconv.Itoa(1_700_000_000_000 + r.IntN(1e9)),
					"ApproximateFirstReceiveTimestamp": strconv.Itoa(1_700_000_000_000 + r.IntN(1e9)),
					"MessageGroupId":                   r.text(20), "AWSTraceHeader": r.text(20), "SenderId": "x",
				},
			}
			if r.IntN(2) == 0 {
				value := func() map[string]any {
					switch r.IntN(6) {
					case 0:
						return map[string]any{"DataType": "Binary", "BinaryValue": []byte(r.text(20) + "x")}
					case 1:
						return map[string]any{"StringValue": "7", "DataType": "Number"}
					case 2:
						return map[string]any{"StringValue": r.text(20), "DataType": "String.of-ours"}
					}
					return map[string]any{"StringValue": r.text(20), "DataType": "String", "BinaryValue": nil}
				}
				m["MessageAttributes"] = map[string]any{"tenant_id": value(), "traceparent": value(), "tracestate": value(), "other": value()}
			}
			list = append(list, m)
		}
		answer := map[string]any{"Messages": list, "ResponseMetadata": map[string]any{"a": []int{1, 2}}}
		if len(list) == 0 {
			delete(answer, "Messages")
		}
		text, _ := json.Marshal(answer)
		p.r.set(200, string(text))
		out, err := p.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10},
			func(o *sqs.Options) { o.DisableMessageChecksumValidation = true })
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.queue.Receive(t.Context(), 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(out.Messages) {
			t.Fatalf("%d messages, want %d", len(got), len(out.Messages))
		}
		for i, m := range out.Messages {
			attribute := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
			count, _ := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
			sent, _ := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64)
			first, _ := strconv.ParseInt(m.Attributes["ApproximateFirstReceiveTimestamp"], 10, 64)
			want := consumer.Message{
				FirstReceivedAt: time.UnixMilli(first),
				ID:              *m.MessageId, ReceiptHandle: *m.ReceiptHandle, Body: *m.Body, GroupID: m.Attributes["MessageGroupId"],
				ReceiveCount: count, SentAt: time.UnixMilli(sent), TraceHeader: m.Attributes["AWSTraceHeader"],
				Attributes: messages.Attributes{TraceParent: attribute("traceparent"), TraceState: attribute("tracestate")},
			}
			for _, name := range slices.Sorted(maps.Keys(m.MessageAttributes)) { // as JSON has them
				v := m.MessageAttributes[name]
				text := aws.ToString(v.StringValue)
				switch {
				case name == "tenant_id" && text != "" && strings.HasPrefix(*v.DataType, "String"):
					want.Attributes.TenantID = text
					continue
				case name == "tenant_id":
					want.Attributes.TenantID = messages.UnreadableTenant
				case name != "other" && text != "":
					continue
				}
				want.Others = append(want.Others, consumer.Attribute{Name: name, Type: *v.DataType, Text: text, Binary: v.BinaryValue})
			}
			if !reflect.DeepEqual(got[i], want) {
				t.Errorf("message\n%+v, want\n%+v", got[i], want)
			}
		}
	}
}

// A message that can't be read costs its neighbours nothing. The SDK refuses all of them.
func TestAnUnreadableMessageIsLeftAlone(t *testing.T) {
	eachWire(t, testAnUnreadableMessageIsLeftAlone)
}

func testAnUnreadableMessageIsLeftAlone(t *testing.T, p *pair) {
	sum := func(body string) string {
		s := md5.Sum([]byte(body))
		return hex.EncodeToString(s[:])
	}
	p.r.set(200, `{"Messages":[
		{"MessageId":"1","ReceiptHandle":"h1","Body":"a","MD5OfBody":"`+sum("a")+`"},
		{"MessageId":"2","ReceiptHandle":"h2","Body":"a","MD5OfBody":"00000000000000000000000000000000"},
		{"MessageId":"3","Body":"a","MD5OfBody":"`+sum("a")+`"},
		7,
		{"MessageId":"5","ReceiptHandle":"h5","Body":{"type":"put_user"}},
		{"MessageId":"6","ReceiptHandle":"h6","Body":"b","MD5OfBody":"`+sum("b")+`","Attributes":null}]}`)
	got, err := p.queue.Receive(t.Context(), 10, 0)
	want := []consumer.Message{{ID: "1", ReceiptHandle: "h1", Body: "a"}, {ID: "6", ReceiptHandle: "h6", Body: "b"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("received %+v, %v; want %+v", got, err, want)
	}
	why := []string{
		`2: its body has the MD5 sum 0cc175b9c0f1b6a831c399e269772661, SQS gives "00000000000000000000000000000000"`,
		"3: it has no receipt handle", ": it is not an object", "5: its body is not a string",
	}
	if !reflect.DeepEqual(p.unreadable, why) {
		t.Errorf("unreadable %q, want %q", p.unreadable, why)
	}
}

// Only an answer that was accepted counts as ok. Before, a call was counted when its answer had come, whatever the answer said.
func TestARefusedAnswerIsNotCountedAsOK(t *testing.T) {
	eachWire(t, testARefusedAnswerIsNotCountedAsOK)
}

func testARefusedAnswerIsNotCountedAsOK(t *testing.T, p *pair) {
	w := &writer.Write{Command: random{rand.New(rand.NewPCG(7, 8))}.command(1)}
	calls := map[string]func(){
		"BatchWriteItem":               func() { _, _, _ = p.table.BatchWrite(t.Context(), []*writer.Write{w}) },
		"PutItem":                      func() { _, _ = p.table.PutVersion(t.Context(), w) },
		"ReceiveMessage":               func() { _, _ = p.queue.Receive(t.Context(), 10, 0) },
		"DeleteMessageBatch":           func() { _, _ = p.queue.Delete(t.Context(), []string{"a"}) },
		"ChangeMessageVisibilityBatch": func() { _, _ = p.queue.ChangeVisibility(t.Context(), make([]consumer.Visibility, 1)) },
	}
	check := func(operation, answer, outcome string) {
		t.Helper()
		p.outcomes = nil
		p.r.set(200, answer)
		calls[operation]()
		if want := []string{operation + " " + outcome}; !slices.Equal(p.outcomes, want) {
			t.Errorf("answer %s: counted as %q, want %q", answer, p.outcomes, want)
		}
	}
	for operation := range calls {
		check(operation, `{"message":"welcome"}`, "error")
		check(operation, `<html>`, "error")
	}
	check("BatchWriteItem", `{"UnprocessedItems":{}}`, "ok")
	check("PutItem", `{"ConsumedCapacity":{"CapacityUnits":1}}`, "ok")
	check("ReceiveMessage", `{}`, "ok")
	for _, operation := range []string{"DeleteMessageBatch", "ChangeMessageVisibilityBatch"} {
		check(operation, `{"Successful":[{"Id":"0"}]}`, "ok")
		check(operation, `{"Failed":[{"Id":"0","SenderFault":false,"Code":"InternalError"}]}`, "ok")
	}
}

// An answer of 200 that doesn't say that something was done has not done it.
func TestSilenceIsNoSuccess(t *testing.T) { eachWire(t, testSilenceIsNoSuccess) }

func testSilenceIsNoSuccess(t *testing.T, p *pair) {
	w := &writer.Write{Command: random{rand.New(rand.NewPCG(7, 8))}.command(1)}
	for _, answer := range []string{`{}`, `{"message":"welcome"}`, `{"UnprocessedItems":null}`, `{"UnprocessedItems":[]}`, `{"ConsumedCapacity":null}`} {
		p.r.set(200, answer)
		if _, _, err := p.table.BatchWrite(t.Context(), []*writer.Write{w}); err == nil {
			t.Errorf("BatchWriteItem takes %s", answer)
		}
		if _, err := p.table.PutVersion(t.Context(), w); (err == nil) != (answer == `{}`) { // endpoints that don't count
			t.Errorf("PutItem takes %s: %v", answer, err)
		}
		if messages, err := p.queue.Receive(t.Context(), 10, 0); (err == nil) != (answer == `{}`) || len(messages) > 0 {
			t.Errorf("ReceiveMessage takes %s: %v", answer, err)
		}
		unknown := []consumer.Failure{{Index: 0, Code: NoAnswer}, {Index: 1, Code: NoAnswer}}
		if got, err := p.queue.Delete(t.Context(), []string{"a", "b"}); err != nil || !reflect.DeepEqual(got, unknown) {
			t.Errorf("DeleteMessageBatch takes %s: %+v, %v", answer, got, err)
		}
		if got, err := p.queue.ChangeVisibility(t.Context(), make([]consumer.Visibility, 2)); err != nil || !reflect.DeepEqual(got, unknown) {
			t.Errorf("ChangeMessageVisibilityBatch takes %s: %+v, %v", answer, got, err)
		}
		letters := DeadLetters{Client: p.sqs, URL: queueURL}
		if got, err := letters.Send(t.Context(), make([]consumer.Letter, 2)); err != nil || !reflect.DeepEqual(got, unknown) {
			t.Errorf("SendMessageBatch takes %s: %+v, %v", answer, got, err)
		}
	}
	p.r.set(200, `{"Successful":[{"Id":"1"}],"Failed":[{"Id":"2","SenderFault":true,"Code":"X"}]}`)
	want := []consumer.Failure{{Index: 2, Code: "X", Final: true}, {Index: 0, Code: NoAnswer}}
	if got, err := p.queue.Delete(t.Context(), []string{"a", "b", "c"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("of three entries, one without an answer: %+v, %v", got, err)
	}
	p.r.set(200, `{"UnprocessedItems":{}}`)
	if _, _, err := p.table.BatchWrite(t.Context(), []*writer.Write{w}); err != nil {
		t.Error(err)
	}
	p.r.set(200, `{"ConsumedCapacity":{"TableName":"T","CapacityUnits":1}}`)
	if _, err := p.table.PutVersion(t.Context(), w); err != nil {
		t.Error(err)
	}
}

func TestBatchAnswersAreTheSDKs(t *testing.T) { eachWire(t, testBatchAnswersAreTheSDKs) }

func testBatchAnswersAreTheSDKs(t *testing.T, p *pair) {
	p.r.set(200, `{"Successful":[{"Id":"0"}],"Failed":[{"Id":"2","SenderFault":true,"Code":"ReceiptHandleIsInvalid","Message":"a \"b\""},{"Message":null,"Code":"InternalError","SenderFault":false,"Id":"1"}]}`)
	handles := []string{"a", "b", "c"}
	entries := []sqstypes.DeleteMessageBatchRequestEntry{{Id: aws.String("0"), ReceiptHandle: aws.String("a")}}
	out, err := p.sqs.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	var want []consumer.Failure
	for _, f := range out.Failed {
		i, _ := strconv.Atoi(*f.Id)
		want = append(want, consumer.Failure{Index: i, Code: *f.Code, Final: f.SenderFault})
	}
	got, err := p.queue.Delete(t.Context(), handles)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("failures %+v (%v), want %+v", got, err, want)
	}
}

func TestUnprocessedItemsAreTheSDKs(t *testing.T) { eachWire(t, testUnprocessedItemsAreTheSDKs) }

func testUnprocessedItemsAreTheSDKs(t *testing.T, p *pair) {
	r := random{rand.New(rand.NewPCG(5, 6))}
	for range 100 {
		writes := make([]*writer.Write, 25)
		keys := map[string]int{}
		var left []string
		for i := range writes {
			writes[i] = &writer.Write{Command: r.command(i)}
			writes[i].Command.Version = 0
			c := &writes[i].Command
			k := table.KeyOf(c)
			keys[k.PK()+" "+k.SK()] = i
			if r.IntN(5) == 0 {
				if c.Delete {
					left = append(left, `{"DeleteRequest":{"Key":`+string(table.AppendKey(nil, k))+`}}`)
				} else {
					left = append(left, `{"PutRequest":{"Item":`+string(table.AppendItem(nil, c))+`}}`)
				}
			}
		}
		r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		answer := `{"UnprocessedItems":{"Multi\"Tenant":[` + strings.Join(left, ",") + `]},"ConsumedCapacity":[{"TableName":"T","CapacityUnits":12.5,"Table":{"CapacityUnits":9},"GlobalSecondaryIndexes":{"i":{"CapacityUnits":3},"j":{"CapacityUnits":0.5}}},{"CapacityUnits":1}],"ItemCollectionMetrics":{}}`
		p.r.set(200, answer)
		p.r.header = map[string]string{"X-Amz-Crc32": strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(answer))), 10)}
		out, err := p.ddb.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]ddbtypes.WriteRequest{"T": {{}}}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[int]bool{}
		for _, u := range out.UnprocessedItems["Multi\"Tenant"] {
			item := u.PutRequest
			var key map[string]ddbtypes.AttributeValue
			if item != nil {
				key = item.Item
			} else {
				key = u.DeleteRequest.Key
			}
			want[keys[key["PK"].(*ddbtypes.AttributeValueMemberS).Value+" "+key["SK"].(*ddbtypes.AttributeValueMemberS).Value]] = true
		}
		p.units = 0
		indexes, units, err := p.table.BatchWrite(t.Context(), writes)
		got := map[int]bool{}
		for _, i := range indexes {
			got[i] = true
		}
		if err != nil || !reflect.DeepEqual(got, want) || len(got) != len(indexes) || p.units != 13.5 || units != (writer.Units{Table: 10, Index: 3.5}) {
			t.Fatalf("left %v, %v units, %+v (%v), want %v", indexes, p.units, units, err, want)
		}
	}
	p.r.set(200, `{"UnprocessedItems":{"T":[{"PutRequest":{"Item":{"PK":{"S":"tenant#x"},"SK":{"S":"user#y"}}}}]}}`)
	if _, _, err := p.table.BatchWrite(t.Context(), []*writer.Write{{Command: r.command(1)}}); err == nil {
		t.Error("an item that was not sent came back and nobody minds")
	}
}

func TestABrokenAnswerIsAnError(t *testing.T) { eachWire(t, testABrokenAnswerIsAnError) }

func testABrokenAnswerIsAnError(t *testing.T, p *pair) {
	w := &writer.Write{Command: random{rand.New(rand.NewPCG(7, 8))}.command(1)}
	p.r.set(200, `{"UnprocessedItems":{}}`)
	p.r.header = map[string]string{"X-Amz-Crc32": "1"}
	if _, _, err := p.table.BatchWrite(t.Context(), []*writer.Write{w}); err == nil {
		t.Error("a wrong CRC32 is taken")
	}
	p.r.set(200, `{"Failed":[{"Id":"1","Code":"InternalError","SenderFault":false}]}`)
	if _, err := p.queue.Delete(t.Context(), []string{"h"}); err == nil {
		t.Error("an entry that was not sent failed and nobody minds")
	}
	for _, answer := range []string{``, `{`, `<html>maintenance</html>`, `{"UnprocessedItems":{"T":[{"PutRequest":`, `{"Messages":[{"Body":"a"`, `[]`} {
		p.r.set(200, answer)
		if _, _, err := p.table.BatchWrite(t.Context(), []*writer.Write{w}); err == nil {
			t.Errorf("BatchWriteItem takes %q", answer)
		}
		if _, err := p.queue.Receive(t.Context(), 10, 0); err == nil {
			t.Errorf("ReceiveMessage takes %q", answer)
		}
		if _, err := p.queue.Delete(t.Context(), []string{"h"}); err == nil {
			t.Errorf("DeleteMessageBatch takes %q", answer)
		}
		if _, err := p.table.PutVersion(t.Context(), w); err == nil {
			t.Errorf("PutItem takes %q", answer)
		}
	}
}

func TestErrorsAreTheSDKs(t *testing.T) { eachWire(t, testErrorsAreTheSDKs) }

func testErrorsAreTheSDKs(t *testing.T, p *pair) {
	w := &writer.Write{Command: random{rand.New(rand.NewPCG(9, 10))}.command(1)}
	w.Command.Version = 7
	for _, test := range []struct {
		status int
		answer string
	}{
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow","ThrottlingReasons":[{"reason":"TableWriteKeyRangeThroughputExceeded","resource":"arn:aws:dynamodb:eu-central-1:123456789012:table/T"},{"reason":"X"}]}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow"}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#RequestLimitExceeded","message":"account"}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed","Item":{"version":{"N":"7"}}}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionConflictException","message":"busy"}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ReplicatedWriteConflictException","message":"busy"}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","Message":"no item"}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ItemCollectionSizeLimitExceededException","message":"big"}`},
		{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"no table"}`},
		{400, `{"__type":"com.amazon.coral.validate#ValidationException","message":"bad"}`},
		{400, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}`},
		{500, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"oops"}`},
	} {
		p.r.set(test.status, test.answer)
		_, theirs := p.ddb.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("T"), Item: map[string]ddbtypes.AttributeValue{}})
		_, ours := p.table.PutVersion(t.Context(), w)
		sameError(t, test.answer, ours, theirs)
	}
	for _, test := range []struct {
		status int
		answer string
	}{
		{400, `{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"gone"}`},
		{403, `{"__type":"com.amazonaws.sqs#OverLimit","message":"120,000"}`},
		{404, `{"__type":"com.amazonaws.sqs#ReceiptHandleIsInvalid","message":"handle"}`},
		{403, `{"__type":"com.amazonaws.sqs#RequestThrottled","message":"slow"}`},
		{403, `{"__type":"com.amazon.coral.service#AccessDenied","message":"no"}`},
		{503, `{"message":"no type"}`},
		{502, `<html>bad gateway</html>`},
	} {
		p.r.set(test.status, test.answer)
		_, theirs := p.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL)})
		_, ours := p.queue.Receive(t.Context(), 10, 0)
		if test.status >= 502 { // the SDK has no code for these
			if ours == nil || outcomeOf(ours) != "failed" {
				t.Errorf("%s: %v", test.answer, ours)
			}
			continue
		}
		sameError(t, test.answer, ours, theirs)
	}
}

// sameError compares the service's error within two errors of calls: its type and all of its fields.
func sameError(t *testing.T, answer string, ours, theirs error) {
	t.Helper()
	var a, b smithy.APIError
	if !errors.As(ours, &a) || !errors.As(theirs, &b) {
		t.Errorf("%s: %v, want %v", answer, ours, theirs)
		return
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s: %#v, want %#v", answer, a, b)
	}
	var with interface{ ServiceRequestID() string }
	if !errors.As(ours, &with) || with.ServiceRequestID() != "request-1" {
		t.Errorf("%s: no request id in %v", answer, ours)
	}
}

func TestClockSkewIsFollowed(t *testing.T) { eachWire(t, testClockSkewIsFollowed) }

func testClockSkewIsFollowed(t *testing.T, p *pair) {
	p.r.set(403, `{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired"}`)
	p.r.header = map[string]string{"Date": time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)}
	_, _ = p.queue.Receive(t.Context(), 1, 0)
	p.r.set(200, "{}")
	if _, err := p.queue.Receive(t.Context(), 1, 0); err != nil {
		t.Fatal(err)
	}
	at, _ := time.Parse("20060102T150405Z", p.r.request.Header.Get("X-Amz-Date"))
	if off := time.Since(at) - time.Hour; off.Abs() > 5*time.Second {
		t.Errorf("signed for %v, want an hour ago", at)
	}
	// Our clock is mended.
	p.r.set(403, `{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature not yet current"}`)
	p.r.header = map[string]string{"Date": time.Now().UTC().Format(http.TimeFormat)}
	_, _ = p.queue.Receive(t.Context(), 1, 0)
	p.r.set(200, "{}")
	_, _ = p.queue.Receive(t.Context(), 1, 0)
	at, _ = time.Parse("20060102T150405Z", p.r.request.Header.Get("X-Amz-Date"))
	if off := time.Since(at); off.Abs() > 5*time.Second {
		t.Errorf("signed for %v, want now", at)
	}
}

// A tombstone's end is a time by AWS's clock: DynamoDB removes it, not we.
func TestATombstoneFollowsAWSsClock(t *testing.T) { eachWire(t, testATombstoneFollowsAWSsClock) }

func testATombstoneFollowsAWSsClock(t *testing.T, p *pair) {
	const ahead = 60 * 24 * time.Hour
	w := &writer.Write{Command: commands.Version(commands.DeleteUser("t", "u"), 7)}
	p.r.set(403, `{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired"}`)
	p.r.header = map[string]string{"Date": time.Now().Add(ahead).UTC().Format(http.TimeFormat)}
	_, _ = p.table.PutVersion(t.Context(), w)
	p.r.set(200, `{"ConsumedCapacity":{"TableName":"T","CapacityUnits":1}}`)
	if _, err := p.table.PutVersion(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	var sent struct {
		Item map[string]struct{ N string }
	}
	if err := json.Unmarshal(p.r.body, &sent); err != nil {
		t.Fatal(err)
	}
	expires, err := strconv.ParseInt(sent.Item[table.TTLAttribute].N, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Until(time.Unix(expires, 0)) - ahead - 45*24*time.Hour; off.Abs() > time.Minute {
		t.Errorf("the tombstone expires %v from what it should", off)
	}
}

// SQS has taken letters whatever their checksums say: sending them again would double them without end.
func TestAWrongSumOfALetterFailsNothing(t *testing.T) {
	p := newPair(t, func(t http.RoundTripper) http.RoundTripper { return t })
	p.r.set(200, `{"Successful":[{"Id":"0","MessageId":"m0","MD5OfMessageBody":"00000000000000000000000000000000"},{"Id":"1","MessageId":"m1","MD5OfMessageBody":"00000000000000000000000000000000"}]}`)
	letters := DeadLetters{Client: p.sqs, URL: queueURL}
	if failures, err := letters.Send(t.Context(), []consumer.Letter{{Body: "a"}, {Body: "b"}}); err != nil || len(failures) > 0 {
		t.Errorf("failures %+v, %v", failures, err)
	}
}

func BenchmarkBatchWriteRequest(b *testing.B) {
	t := &Table{name: []byte(`"MultiTenantTable"`)}
	writes := make([]*writer.Write, 25)
	for i := range writes {
		writes[i] = &writer.Write{Command: commands.PutOrder("tenant-0001", fmt.Sprintf("0192f0a1-7c3e-7000-8000-%012d", i), "0192f0a1-7c3e-7111-8111-000000000001", "150.00")}
	}
	b.ReportAllocs()
	buffer := make([]byte, 0, 64<<10)
	for b.Loop() {
		buffer = t.appendBatch(buffer[:0], writes)
	}
	b.ReportMetric(float64(b.N)*25/b.Elapsed().Seconds(), "commands/s")
}

func BenchmarkReceiveAnswer(b *testing.B) {
	var list []map[string]any
	for i := range 10 {
		body := fmt.Sprintf(`{"type":"put_order","tenant_id":"tenant-0001","order_id":"0192f0a1-7c3e-7000-8000-%012d","user_id":"0192f0a1-7c3e-7111-8111-000000000001","order_amount":"150.00"}`, i)
		sum := md5.Sum([]byte(body))
		list = append(list, map[string]any{
			"MessageId": "00000000-0000-4000-8000-000000000000", "ReceiptHandle": strings.Repeat("h", 400), "Body": body, "MD5OfBody": hex.EncodeToString(sum[:]),
			"Attributes": map[string]string{"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000", "MessageGroupId": "tenant-0001"},
		})
	}
	text, _ := json.Marshal(map[string]any{"Messages": list})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scanMessages(string(text), 10, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10/b.Elapsed().Seconds(), "messages/s")
}

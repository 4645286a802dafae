package lambda

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"tributary/internal/consumer"
	"tributary/internal/messages"
)

// example is an event as Lambda's documentation shows it, with one record of a FIFO queue and attributes of both kinds.
const example = `{"Records":[{
  "messageId":"059f36b4-87a3-44ab-83d2-661975830a7d","receiptHandle":"AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...","body":"Test \"message\".",
  "attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"1545082649183","SequenceNumber":"18849496460467696128","MessageGroupId":"1",
    "SenderId":"AIDAIENQZJOLO23YVJ4VO","MessageDeduplicationId":"1","ApproximateFirstReceiveTimestamp":"1545082649185","AWSTraceHeader":"Root=1"},
  "messageAttributes":{"tenant_id":{"stringValue":"tenantA","stringListValues":[],"binaryListValues":[],"dataType":"String"},
    "traceparent":{"stringValue":"00-1-2-01","stringListValues":[],"binaryListValues":[],"dataType":"String"},
    "raw":{"binaryValue":"AQI=","stringListValues":[],"binaryListValues":[],"dataType":"Binary"}},
  "md5OfBody":"c0d3cba7b7bdd80b19c3a41b5d47ba8e","md5OfMessageAttributes":"x","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:fifo.fifo","awsRegion":"us-east-2"}]}`

func TestScanEvent(t *testing.T) {
	text := strings.Replace(example, "c0d3cba7b7bdd80b19c3a41b5d47ba8e", checksum(`Test "message".`), 1)
	entries, err := scanEvent(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{{queue: "fifo.fifo", Message: consumer.Message{
		ID: "059f36b4-87a3-44ab-83d2-661975830a7d", ReceiptHandle: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...", Body: `Test "message".`, GroupID: "1", ReceiveCount: 3,
		SentAt: time.UnixMilli(1545082649183), FirstReceivedAt: time.UnixMilli(1545082649185), TraceHeader: "Root=1",
		Attributes: messages.Attributes{TenantID: "tenantA", TraceParent: "00-1-2-01"}, Others: []consumer.Attribute{{Name: "raw", Type: "Binary", Binary: []byte{1, 2}}},
	}}}
	if !reflect.DeepEqual(entries, want) {
		t.Errorf("got %+v\nwant %+v", entries, want)
	}
	entries, err = scanEvent(example)
	if err != nil || entries[0].damaged == nil {
		t.Errorf("a wrong checksum: %v, %+v", err, entries)
	}
	entries, err = scanEvent(strings.Replace(text, `"Test \"message\"."`, `7`, 1))
	if err != nil || entries[0].damaged == nil {
		t.Errorf("a body that is no string: %v, %+v", err, entries)
	}
}

// FuzzScanEvent compares with the events of aws-lambda-go: what it reads as records of SQS with ids is read alike.
func FuzzScanEvent(f *testing.F) {
	f.Add(example)
	f.Add(`{"Records":[]}`)
	f.Add(`{"Records":[{"messageId":"a","receiptHandle":"b","body":"\ud83d\ude00","eventSource":"aws:sqs"}],"x":[1,{}]}`)
	f.Add(`{"Records":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := scanEvent(text)
		if err != nil {
			if _, ours := errors.AsType[*EventError](err); !ours {
				t.Errorf("error %T", err)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("not JSON, and yet read: %+v", entries)
		}
		var theirs events.SQSEvent
		if json.Unmarshal([]byte(text), &theirs) != nil {
			return // a value of another type, which is skipped here
		}
		if len(entries) != len(theirs.Records) {
			return // encoding/json takes records for Records too
		}
		for i, e := range entries {
			if e.ID == "" || e.ReceiptHandle == "" {
				t.Errorf("record %d can't be reported: %+v", i, e)
			}
		}
	})
}

// TestEventsAgree compares with the events of aws-lambda-go, in both directions.
func TestEventsAgree(t *testing.T) {
	value := "tenantA"
	made := events.SQSEvent{Records: []events.SQSMessage{{
		MessageId: "m", ReceiptHandle: "r", Body: "b\u2028\"é\x01", Attributes: map[string]string{"ApproximateReceiveCount": "2"}, EventSource: "aws:sqs", EventSourceARN: "arn:aws:sqs:r:1:q",
		MessageAttributes: map[string]events.SQSMessageAttribute{"tenant_id": {StringValue: &value, DataType: "String"}},
	}}}
	text, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := scanEvent(string(text))
	if err != nil || len(entries) != 1 || entries[0].Body != made.Records[0].Body || entries[0].Attributes.TenantID != value || entries[0].ReceiveCount != 2 {
		t.Errorf("%v: %+v", err, entries)
	}
	var back struct {
		Failures []struct {
			ID string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	records := []*record{{message: consumer.Message{ID: "a\"b"}}, {message: consumer.Message{ID: "c"}, state: durable}}
	if err := json.Unmarshal(answer(records, report(records, false)), &back); err != nil || len(back.Failures) != 1 || back.Failures[0].ID != `a"b` {
		t.Errorf("%v: %+v", err, back)
	}
}

// TestReport: a row is the states of records with their groups, and which of them are reported.
func TestReport(t *testing.T) {
	for _, c := range []struct {
		groups string
		states []state
		fifo   bool
		want   string
	}{
		{"aaa", []state{durable, durable, durable}, true, "..."},
		{"aaa", []state{durable, failed, durable}, false, ".x."},
		{"aaa", []state{durable, failed, durable}, true, ".xx"},
		{"aba", []state{failed, durable, durable}, true, "x.x"},
		{"abab", []state{durable, given, failed, durable}, true, ".xxx"},
		{"ab", []state{waiting, given}, false, "xx"},
		{"", nil, true, ""},
	} {
		records := make([]*record, len(c.states))
		for i := range records {
			records[i] = &record{state: c.states[i], message: consumer.Message{GroupID: c.groups[i : i+1]}}
		}
		got := ""
		for _, reported := range report(records, c.fifo) {
			if reported {
				got += "x"
			} else {
				got += "."
			}
		}
		if got != c.want {
			t.Errorf("groups %s, states %v, FIFO %v: %s, want %s", c.groups, c.states, c.fifo, got, c.want)
		}
	}
}

func TestTimes(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct{ left, stop, last time.Duration }{
		{time.Minute, 55 * time.Second, 59375 * time.Millisecond},
		{10 * time.Second, 5 * time.Second, 9375 * time.Millisecond},
		{4 * time.Second, 2 * time.Second, 3750 * time.Millisecond}, // a margin of half of it
		{0, 0, 0},
	} {
		got := Config{Margin: 5 * time.Second}.timesOf(now, now.Add(c.left))
		if got.stop.Sub(now) != c.stop || got.last.Sub(now) != c.last {
			t.Errorf("with %v left: stop after %v, last after %v; want %v, %v", c.left, got.stop.Sub(now), got.last.Sub(now), c.stop, c.last)
		}
	}
	if c := (Config{Margin: 5 * time.Second}); c.CallTimeout()+c.SendTimeout() >= c.Margin || c.CallTimeout() != 2500*time.Millisecond {
		t.Errorf("a call may take %v and a nack %v of %v", c.CallTimeout(), c.SendTimeout(), c.Margin)
	}
	if os.Getenv("AWS_LAMBDA_FUNCTION_NAME") == "" && newEmitter(nil).function != "unknown" {
		t.Error("a function without a name")
	}
}

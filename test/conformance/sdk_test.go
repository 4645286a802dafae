package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/logging"
)

// The tests here pin down what surprised us in the SDK itself. One that fails after an upgrade is good news: see what
// was built around it, and docs/aws-behaviour.md.

// answering serves one answer to every call and records the last request's body.
func answering(t *testing.T, header http.Header, body string) (endpoint string, asked func() string) {
	var last string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		last = string(b)
		for name, values := range header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() string { return last }
}

func TestSDKLeavesZerosOutOfAReceive(t *testing.T) {
	endpoint, asked := answering(t, nil, "{}")
	client := sqs.NewFromConfig(Config(t, endpoint))
	_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://q/0/q"), WaitTimeSeconds: 0, VisibilityTimeout: 0})
	if err != nil {
		t.Fatal(err)
	}
	// So neither a short poll nor a receive without invisibility can be asked for where the queue's own settings differ.
	if got := asked(); got != `{"QueueUrl":"http://q/0/q"}` {
		t.Errorf("a receive sends %s", got)
	}
	_, err = client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: aws.String("http://q/0/q"), ReceiptHandle: aws.String("h"), VisibilityTimeout: 0})
	if err != nil {
		t.Fatal(err)
	}
	if got := asked(); !strings.Contains(got, `"VisibilityTimeout":0`) {
		t.Errorf("giving a message back sends %s", got)
	}
}

func TestSDKCallsTheEndpointAndNotTheQueueURL(t *testing.T) {
	endpoint, asked := answering(t, nil, "{}")
	client := sqs.NewFromConfig(Config(t, endpoint))
	// The host of a queue URL is never called: a front or proxy before SQS needs no rewriting of URLs.
	if _, err := client.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: aws.String("http://nowhere.invalid/0/q")}); err != nil || asked() == "" {
		t.Errorf("got %v, and the endpoint was asked %q", err, asked())
	}
}

func TestSDKFailsAReceiveWholeOverOneDigest(t *testing.T) {
	endpoint, _ := answering(t, nil, `{"Messages":[{"MessageId":"1","Body":"a","MD5OfBody":"0cc175b9c0f1b6a831c399e269772661"},{"MessageId":"2","Body":"b","MD5OfBody":"00000000000000000000000000000000"}]}`)
	out, err := sqs.NewFromConfig(Config(t, endpoint)).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://q/0/q")})
	if err == nil {
		t.Errorf("got %d messages and no error", len(out.Messages))
	}
}

func TestSDKTakesABadChecksumForAWarning(t *testing.T) {
	for name, header := range map[string]http.Header{"wrong": {"X-Amz-Crc32": {"1"}}, "absent": nil} {
		t.Run(name, func(t *testing.T) {
			endpoint, _ := answering(t, header, `{"Item":{"PK":{"S":"x"}}}`)
			var log bytes.Buffer
			cfg := Config(t, endpoint)
			cfg.Logger = logging.NewStandardLogger(&log)
			out, err := dynamodb.NewFromConfig(cfg).GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("T"), Key: row("x", "y")})
			// The answer is returned as if nothing were wrong, and the warning goes to standard error by default.
			if err != nil || text(out.Item["PK"]) != "x" || !strings.Contains(log.String(), "checksum") {
				t.Errorf("got %v, %v, log %q", out, err, log.String())
			}
		})
	}
}

func TestSDKHandsBackUnprocessedItemsAsSuccess(t *testing.T) {
	endpoint, _ := answering(t, nil, `{"UnprocessedItems":{"T":[{"PutRequest":{"Item":{"PK":{"S":"x"}}}}]}}`)
	out, err := dynamodb.NewFromConfig(Config(t, endpoint)).BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{
		RequestItems: map[string][]types.WriteRequest{"T": {put(row("x", "y"))}}})
	if err != nil || len(out.UnprocessedItems["T"]) != 1 {
		t.Errorf("got %v, %v", out, err)
	}
}

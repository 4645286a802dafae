package stack_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"tributary/localstack/stack"
)

// Each request is one line: the operation, how it ended, and of a refusal the beginning of its answer.
func TestRequestLog(t *testing.T) {
	s := stack.New(stack.Options{})
	defer s.Close()
	var out bytes.Buffer
	handler := stack.Logged(s, slog.New(slog.NewJSONHandler(&out, nil)))
	for _, r := range []struct {
		method, path, target, body string
		status                     float64
		operation, refusal         string
	}{
		{"POST", "/", "AmazonSQS.CreateQueue", `{"QueueName":"q"}`, 200, "AmazonSQS.CreateQueue", ""},
		{"POST", "/", "AmazonSQS.GetQueueUrl", `{"QueueName":"none"}`, 400, "AmazonSQS.GetQueueUrl", "QueueDoesNotExist"},
		{"POST", "/", "DynamoDB_20120810.PutItem", `{"TableName":"none","Item":{}}`, 400, "DynamoDB_20120810.PutItem", "ResourceNotFoundException"},
		{"GET", "/health", "", "", 200, "GET /health", ""},
	} {
		out.Reset()
		request := httptest.NewRequest(r.method, r.path, strings.NewReader(r.body))
		if r.target != "" {
			request.Header.Set("X-Amz-Target", r.target)
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("%s: the log is %q, %v", r.operation, out.String(), err)
		}
		refusal, _ := line["error"].(string)
		if line["operation"] != r.operation || line["status"] != r.status || line["request_bytes"] != float64(len(r.body)) ||
			line["response_bytes"] != float64(answer.Body.Len()) || (r.refusal == "") != (refusal == "") || !strings.Contains(refusal, r.refusal) {
			t.Errorf("%s: the log is %s", r.operation, out.String())
		}
	}
}

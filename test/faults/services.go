package faults

import (
	"encoding/json"
	"net/http"
)

// service holds the difference between the two services: the wording of their errors.
type service int

const (
	dynamoDB service = iota + 1
	simpleQueue
)

var services = map[string]service{"DynamoDB_20120810": dynamoDB, "AmazonSQS": simpleQueue}

// newAnswer makes an answer of the front's own.
func newAnswer(status int, v any) *answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings, maps and slices go in
	}
	a := &answer{status: status, header: http.Header{
		"Content-Type":     {"application/x-amz-json-1.0"},
		"X-Amzn-Requestid": {"FAULTFRONT"},
	}}
	a.replace(body)
	return a
}

func (s service) serverError() *answer {
	if s == simpleQueue {
		a := newAnswer(http.StatusInternalServerError, map[string]string{
			"__type": "com.amazonaws.sqs#InternalFailure", "message": "We encountered an internal error. Please try again."})
		a.header.Set("X-Amzn-Query-Error", "InternalFailure;Receiver")
		return a
	}
	return newAnswer(http.StatusInternalServerError, map[string]string{
		"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "Internal server error"})
}

// throttle words the refusal of a whole call ("Diagnosing throttling", DynamoDB developer guide).
func (s service) throttle(fault Fault, operation, table string) *answer {
	if s == simpleQueue {
		a := newAnswer(http.StatusForbidden, map[string]string{
			"__type": "com.amazonaws.sqs#RequestThrottled", "message": "The request was denied due to request throttling."})
		a.header.Set("X-Amzn-Query-Error", "RequestThrottled;Sender")
		return a
	}
	kind := "Write"
	if operation == "Query" || operation == "GetItem" || operation == "BatchGetItem" || operation == "Scan" {
		kind = "Read"
	}
	// The two exceptions do not spell the member alike.
	exception, member, reason := "ProvisionedThroughputExceededException", "ThrottlingReasons", ""
	switch fault {
	case ThrottleKeyRange:
		reason = "Table" + kind + "KeyRangeThroughputExceeded"
	case ThrottleTable:
		reason = "Table" + kind + "ProvisionedThroughputExceeded"
	case ThrottleAccount:
		exception, member, reason = "ThrottlingException", "throttlingReasons", "Table"+kind+"AccountLimitExceeded"
	}
	out := map[string]any{
		"__type":  "com.amazonaws.dynamodb.v20120810#" + exception,
		"message": "Throughput exceeds the current capacity of your table or index.",
	}
	if reason != "" {
		out[member] = []map[string]string{{
			"reason": reason, "resource": "arn:aws:dynamodb:us-east-1:000000000000:table/" + table}}
	}
	return newAnswer(http.StatusBadRequest, out)
}

// Package stack is the AWS that Tributary needs, in one HTTP handler and in memory: SQS and DynamoDB.
// It is a development tool and belongs in no deployed program.
package stack

import (
	"encoding/json"
	"net/http"
	"strings"

	"tributary/localstack/dynamo"
	"tributary/localstack/queue"
)

// Options say what the stack claims to be and how fast its table is.
type Options struct {
	Region     string // of ARNs; us-east-1 where empty
	Account    string // of ARNs; 000000000000 where empty
	WriteUnits int    // write units a second that each partition key has; 0: no throttling
}

// Stack is an http.Handler that answers for both services.
type Stack struct {
	Queues *queue.Server
	Tables *dynamo.Server
}

// New makes a Stack with neither queues nor tables. Close ends what it does in the background.
func New(o Options) *Stack {
	return &Stack{
		Queues: queue.NewServer(queue.Options{Region: o.Region, Account: o.Account}),
		Tables: dynamo.NewServer(dynamo.Options{Region: o.Region, Account: o.Account, WriteUnits: o.WriteUnits}),
	}
}

// Close answers the long polls that wait and stops what runs in the background.
func (s *Stack) Close() { s.Queues.Close() }

// ServeHTTP passes a request on by its X-Amz-Target header.
func (s *Stack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.Header.Get("X-Amz-Target")
	switch {
	case strings.HasPrefix(target, queue.Target):
		s.Queues.ServeHTTP(w, r)
	case strings.HasPrefix(target, dynamo.Target):
		s.Tables.ServeHTTP(w, r)
	case target == "" && r.Method == http.MethodGet && r.URL.Path == "/health":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"services":{"dynamodb":"running","sqs":"running"}}` + "\n"))
	case target == "" && r.Method == http.MethodGet && r.URL.Path == "/status":
		s.serveStatus(w)
	default:
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{ // a client that went away needs no answer
			"__type":  "com.amazon.coral.service#UnknownOperationException",
			"message": "This server has SQS and DynamoDB, by the AWS JSON protocol (POST with X-Amz-Target) only.",
		})
	}
}

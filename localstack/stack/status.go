package stack

import (
	"encoding/json"
	"net/http"

	"tributary/localstack/dynamo"
	"tributary/localstack/queue"
)

// Status is what a stack holds, as GET /status gives it.
type Status struct {
	Tables []dynamo.TableStatus `json:"tables"`
	Queues []queue.Status       `json:"queues"`
}

// Status counts what the stack holds.
func (s *Stack) Status() Status {
	return Status{Tables: s.Tables.Status(), Queues: s.Queues.Status()}
}

func (s *Stack) serveStatus(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(s.Status()) // a client that went away needs no answer
}

// SQSOperations are the names of the operations of SQS, sorted.
func SQSOperations() []string { return queue.Operations() }

// DynamoDBOperations are the names of the operations of DynamoDB, sorted.
func DynamoDBOperations() []string { return dynamo.Operations() }

// Package stack is the AWS that Tributary needs, in one HTTP handler: SQS and DynamoDB.
// It is a development tool and belongs in no deployed program.
package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"tributary/localstack/dynamo"
	"tributary/localstack/queue"
	"tributary/localstack/store"
)

// Options say what the stack claims to be and how fast its table is.
type Options struct {
	Region     string // of ARNs; us-east-1 where empty
	Account    string // of ARNs; 000000000000 where empty
	WriteUnits int    // write units a second that each partition key has; 0: no throttling
	Data       string // directory in which Open keeps what the stack holds; empty: nothing is kept
}

// Stack is an http.Handler that answers for both services.
type Stack struct {
	Queues *queue.Server
	Tables *dynamo.Server
	store  *store.Store
}

// Open makes a Stack that has what is kept in o.Data, and keeps there what it holds from now on. The error is a
// *store.DamagedError where the file there is not what was written.
func Open(o Options) (*Stack, error) {
	s := New(o)
	if o.Data == "" {
		return s, nil
	}
	kept, err := store.Open(o.Data)
	if err != nil {
		return nil, err
	}
	queues, tables := s.Queues.Restorer(), s.Tables.Restorer()
	err = kept.Load(func(kind, key, value string) error {
		for _, apply := range []func(_, _, _ string) (bool, error){queues.Apply, tables.Apply} {
			if mine, err := apply(kind, key, value); mine || err != nil {
				return err
			}
		}
		return fmt.Errorf("nothing here has %q", kind)
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(queues.Finish(), tables.Finish()); err != nil {
		return nil, errors.Join(err, kept.Close())
	}
	err = kept.Begin(func(set func(kind, key, value string)) {
		s.Queues.Dump(set)
		s.Tables.Dump(set)
	})
	if err != nil {
		return nil, err
	}
	s.store = kept
	s.Queues.Keep(kept)
	s.Tables.Keep(kept)
	return s, nil
}

// New makes a Stack with neither queues nor tables, which keeps nothing.
func New(o Options) *Stack {
	return &Stack{
		Queues: queue.NewServer(queue.Options{Region: o.Region, Account: o.Account}),
		Tables: dynamo.NewServer(dynamo.Options{Region: o.Region, Account: o.Account, WriteUnits: o.WriteUnits}),
	}
}

// Close answers the long polls that wait. It may be called twice.
func (s *Stack) Close() { s.Queues.Close() }

// Flush writes what is kept and closes its file. Nothing may be under way: a change after it is refused or lost.
func (s *Stack) Flush() error { return s.store.Close() }

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

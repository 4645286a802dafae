// Package dynamo is Amazon DynamoDB in memory, for a developer's machine and for tests: the AWS JSON 1.0
// protocol over HTTP. It refuses what DynamoDB refuses, and can throttle each partition key. It checks no
// credentials. It has no streams, no transactions and no PartiQL; what each operation does as AWS does, what differs and
// what is missing stands before the operation.
//
// Expressions are read once a call, before any item is looked at: a wrong one is refused on an empty table too.
package dynamo

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"

	"tributary/localstack/store"
)

// Target is what the X-Amz-Target header of a request for DynamoDB begins with.
const Target = "DynamoDB_20120810."

// Options change what a Server claims to be, and how fast it is. The zero value is ready to use.
type Options struct {
	Region     string // of ARNs; us-east-1 where empty
	Account    string // of ARNs; 000000000000 where empty
	WriteUnits int    // write units a second that each partition key of a table has; 0: no throttling
}

// Server is an http.Handler with the tables behind it.
type Server struct {
	options Options
	store   *store.Store

	mu     sync.RWMutex // guards the map; a table has a lock of its own
	tables map[string]*table
}

// NewServer makes a Server without tables.
func NewServer(o Options) *Server {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Account == "" {
		o.Account = "000000000000"
	}
	return &Server{options: o, tables: make(map[string]*table)}
}

// operations by name.
var operations = map[string]func(*Server, []byte) (any, error){
	"CreateTable":               handle((*Server).createTable),
	"DescribeTable":             handle((*Server).describeTable),
	"UpdateTable":               handle((*Server).updateTable),
	"DeleteTable":               handle((*Server).deleteTable),
	"ListTables":                handle((*Server).listTables),
	"DescribeTimeToLive":        handle((*Server).describeTimeToLive),
	"UpdateTimeToLive":          handle((*Server).updateTimeToLive),
	"DescribeContinuousBackups": handle((*Server).describeContinuousBackups),
	"UpdateContinuousBackups":   handle((*Server).updateContinuousBackups),
	"PutItem":                   handle((*Server).putItem),
	"GetItem":                   handle((*Server).getItem),
	"UpdateItem":                handle((*Server).updateItem),
	"DeleteItem":                handle((*Server).deleteItem),
	"BatchWriteItem":            handle((*Server).batchWriteItem),
	"Query":                     handle((*Server).query),
	"Scan":                      handle((*Server).scan),
}

// handle makes an operation of a method with an input of its own. Methods take the locks that they need; items never
// change, so that an answer is encoded without a lock.
func handle[In any](method func(*Server, *In) (any, error)) func(*Server, []byte) (any, error) {
	return func(s *Server, body []byte) (any, error) {
		var in In
		if quick, ok := any(&in).(interface{ decode(*decoder) }); ok {
			d := newDecoder(string(body))
			quick.decode(d)
			if err := d.end(); err != nil {
				return nil, err
			}
		} else if err := json.Unmarshal(body, &in); err != nil {
			return nil, asAPIError(err)
		}
		out, err := method(s, &in)
		// What the answer tells of has to outlive the process, and a refusal may tell of what another call wrote.
		if kept := s.store.Wait(); kept != nil {
			return nil, kept
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}

// ServeHTTP answers one request of the AWS JSON 1.0 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	out, err := s.serve(w, r)
	body, _ := out.([]byte)
	if err != nil {
		var e *apiError
		if !errors.As(err, &e) {
			e = &apiError{code: "InternalFailure", message: err.Error(), status: http.StatusInternalServerError}
		}
		answer := map[string]any{"__type": e.shape(), "message": e.message}
		for name, field := range e.fields {
			answer[name] = field
		}
		status = e.httpStatus()
		if body, err = json.Marshal(answer); err != nil {
			body = []byte("{}") // an item that was decoded can be encoded
		}
	}
	if string(body) == "null" {
		body = []byte("{}")
	}
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	operation, found := operations[strings.TrimPrefix(r.Header.Get("X-Amz-Target"), Target)]
	if r.Method != http.MethodPost || !found {
		return nil, &apiError{code: "UnknownOperationException", message: fmt.Sprintf("The operation %q is not one of DynamoDB's that this server knows.", r.Header.Get("X-Amz-Target"))}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &apiError{code: "RequestEntityTooLargeException", message: "Request size exceeded: at most 16 MB", status: http.StatusRequestEntityTooLarge}
	}
	if err != nil {
		return nil, errSerialization("read request: %v", err)
	}
	return operation(s, body)
}

// Package queue is Amazon SQS in memory, for a developer's machine and for tests: the AWS JSON 1.0 protocol over HTTP,
// standard and FIFO queues. It checks no credentials. What each operation does as AWS does, what differs and what is
// missing stands before the operation.
//
// Each queue has its own lock. Time passes lazily: what became visible since is shown by the next call that looks, and a
// long poll sleeps no longer than until the next message that becomes visible by itself.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"tributary/localstack/store"
)

// Target is what the X-Amz-Target header of a request for SQS begins with.
const Target = "AmazonSQS."

// Options change what a Server claims to be. The zero value is ready to use.
type Options struct {
	Region        string // of queue ARNs; us-east-1 where empty
	Account       string // of queue ARNs and URLs; 000000000000 where empty
	InFlightLimit int    // most messages of a queue in flight; 120,000, as on AWS, where zero
}

// Server is an http.Handler with the queues behind it.
type Server struct {
	options Options
	store   *store.Store
	ctx     context.Context // ends with Close: long polls return
	cancel  context.CancelFunc
	counter atomic.Uint64 // of messages, receives and sequence numbers

	mu     sync.RWMutex // guards the map; a queue has a lock of its own, which is taken before this one
	queues map[string]*queue
}

// NewServer makes a Server without queues. Close ends its long polls.
func NewServer(o Options) *Server {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Account == "" {
		o.Account = "000000000000"
	}
	if o.InFlightLimit == 0 {
		o.InFlightLimit = maxInFlight
	}
	s := &Server{options: o, queues: make(map[string]*queue)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close answers the long polls that wait. It may be called twice.
func (s *Server) Close() { s.cancel() }

// operations by name. Each decodes its own input from the body.
var operations = map[string]func(*Server, *call) (any, error){
	"CreateQueue":                  handle((*Server).createQueue),
	"GetQueueUrl":                  handle((*Server).getQueueURL),
	"DeleteQueue":                  handle((*Server).deleteQueue),
	"ListQueues":                   handle((*Server).listQueues),
	"GetQueueAttributes":           handle((*Server).getQueueAttributes),
	"SetQueueAttributes":           handle((*Server).setQueueAttributes),
	"PurgeQueue":                   handle((*Server).purgeQueue),
	"SendMessage":                  handle((*Server).sendMessage),
	"SendMessageBatch":             handle((*Server).sendMessageBatch),
	"ReceiveMessage":               handle((*Server).receiveMessage),
	"DeleteMessage":                handle((*Server).deleteMessage),
	"DeleteMessageBatch":           handle((*Server).deleteMessageBatch),
	"ChangeMessageVisibility":      handle((*Server).changeMessageVisibility),
	"ChangeMessageVisibilityBatch": handle((*Server).changeMessageVisibilityBatch),
}

// call is one request.
type call struct {
	ctx  context.Context
	base string // scheme and host that the client used, for queue URLs
	body []byte
}

// handle makes an operation of a method with an input of its own.
func handle[In any](method func(*Server, *call, *In) (any, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		var in In
		if len(c.body) > 0 {
			decode := func() error { return json.Unmarshal(c.body, &in) }
			if quick, ok := any(&in).(interface{ decode(text string) error }); ok {
				decode = func() error { return quick.decode(string(c.body)) }
			}
			if err := decode(); err != nil {
				return nil, &apiError{
					shape: coral + "SerializationException", code: "MalformedInput",
					message: "The request's body is not what the operation takes: " + err.Error(), status: http.StatusBadRequest,
				}
			}
		}
		out, err := method(s, c, &in)
		// What the answer tells of has to outlive the process.
		if kept := s.store.Wait(); kept != nil {
			return nil, kept
		}
		return out, err
	}
}

// ServeHTTP answers one request of the AWS JSON 1.0 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := uuid.NewString()
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	out, err := s.serve(w, r)
	if err != nil {
		var e *apiError
		if !errors.As(err, &e) {
			e = &apiError{shape: coral + "InternalFailure", code: "InternalFailure", message: err.Error(), status: http.StatusInternalServerError}
		}
		fault := "Sender"
		if e.status >= http.StatusInternalServerError {
			fault = "Receiver"
		}
		w.Header().Set("X-Amzn-Query-Error", e.code+";"+fault)
		w.WriteHeader(e.status)
		out = map[string]string{"__type": e.shape, "message": e.message}
	}
	if out == nil {
		out = struct{}{}
	}
	b, err := json.Marshal(out)
	if err != nil {
		b = []byte("{}") // every output is made of strings and numbers
	}
	_, _ = w.Write(b) // a client that went away needs no answer
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	operation, found := operations[strings.TrimPrefix(r.Header.Get("X-Amz-Target"), Target)]
	if r.Method != http.MethodPost || !found {
		return nil, &apiError{
			shape: coral + "UnknownOperationException", code: "InvalidAction", status: http.StatusBadRequest,
			message: fmt.Sprintf("The operation %q is not one of SQS's that this server knows; it speaks the AWS JSON protocol (POST with X-Amz-Target), not the older query protocol.", r.Header.Get("X-Amz-Target")),
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		return nil, &apiError{shape: coral + "SerializationException", code: "MalformedInput", message: "read request: " + err.Error(), status: http.StatusBadRequest}
	}
	base := "http://" + r.Host
	if r.TLS != nil {
		base = "https://" + r.Host
	}
	return operation(s, &call{ctx: r.Context(), base: base, body: body})
}

// lookup finds a queue by its URL, of which only the last part counts: host names differ between clients.
func (s *Server) lookup(url *string) (*queue, error) {
	if text(url) == "" {
		return nil, errMissing("QueueUrl")
	}
	q := s.named((*url)[strings.LastIndexByte(*url, '/')+1:])
	if q == nil {
		return nil, errNoQueue()
	}
	return q, nil
}

// named finds a queue by its name, nil where there is none.
func (s *Server) named(name string) *queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.queues[name]
}

// byARN finds a queue by its ARN, nil where there is none.
func (s *Server) byARN(arn string) *queue {
	q := s.named(arn[strings.LastIndexByte(arn, ':')+1:])
	if q == nil || q.arn != arn {
		return nil
	}
	return q
}

// with runs do on a queue, under its lock and at one moment, and then moves the dead letters that it found.
func (s *Server) with(url *string, do func(q *queue, now time.Time) error) error {
	q, err := s.lookup(url)
	if err != nil {
		return err
	}
	now := time.Now()
	q.mu.Lock()
	err = do(q, now)
	dead := q.dead
	q.dead = nil
	q.mu.Unlock()
	q.move(dead, now)
	return err
}

// number is the next number, from 1 on.
func (s *Server) number() uint64 { return s.counter.Add(1) }

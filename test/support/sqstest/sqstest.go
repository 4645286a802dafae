// Package sqstest is the sending side of an SQS queue, for tests: a script over the embedded stack. The stack keeps what
// it accepts and refuses what SQS refuses, so that a wrong call fails the test; the script makes calls fail.
package sqstest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/localstack/queue"
	"tributary/test/faults"
	"tributary/test/support/stacktest"
)

// Message is one that the queue accepted.
type Message queue.Held

// Commands decodes the message as the worker does; it panics where the worker would dead-letter anything.
func (m *Message) Commands() []messages.Command {
	decoded, bad := messages.Decode(schema.Builtin(), nil, m.Body, &messages.Attributes{TenantID: m.Attributes["tenant_id"]})
	if bad != nil {
		panic(bad)
	}
	list := make([]messages.Command, len(decoded))
	for i, d := range decoded {
		if d.Err != nil {
			panic(d.Err)
		}
		list[i] = d.Command
	}
	return list
}

// Queue is one queue. Its first three fields are set before the first call.
type Queue struct {
	FIFO         bool
	MessageBytes int           // MaximumMessageSize; 0: SQS's own
	Latency      time.Duration // of each call
	// Refuse is asked of every entry, of one at a time: a code means that SQS refuses it, "" that it is accepted.
	Refuse func(call, entry int, body string) string
	// Fail is asked of every call.
	Fail func(call int) faults.Plan

	start  sync.Once
	server *queue.Server
	front  *faults.Front
	client *sqs.Client
	url    string
	asking sync.Mutex // held while Refuse is asked

	mu     sync.Mutex // guards what follows
	wrong  []string
	flying map[string]int // calls under way, by group
}

// Throttled is what SQS does when it throttles.
func Throttled() faults.Plan { return faults.Plan{Refuse: "RequestThrottled"} }

// Denied is an error that no retry changes.
func Denied() faults.Plan { return faults.Plan{Refuse: "AccessDenied"} }

// Messages are those accepted, in order.
func (q *Queue) Messages() []Message {
	q.start.Do(q.begin)
	var list []Message
	for _, m := range q.server.Held(q.name()) {
		list = append(list, Message(m))
	}
	return list
}

// Calls is how many calls there were.
func (q *Queue) Calls() int {
	q.start.Do(q.begin)
	return q.front.Counts()["calls SendMessageBatch"]
}

// Wrong are the calls and entries that SQS refused by its own rules, and the calls that broke the order of a FIFO group.
func (q *Queue) Wrong() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string(nil), q.wrong...)
}

// SendMessageBatch implements publish.API. The queue's URL is not looked at.
func (q *Queue) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, o ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	q.start.Do(q.begin)
	if q.FIFO {
		defer q.fly(in)()
	}
	own := *in
	own.QueueUrl = &q.url
	return q.client.SendMessageBatch(ctx, &own, o...)
}

func (q *Queue) name() string {
	if q.FIFO {
		return "q.fifo"
	}
	return "q"
}

func (q *Queue) begin() {
	q.server = queue.NewServer(queue.Options{})
	q.front = faults.Over(http.HandlerFunc(q.serve), q.script)
	q.client = sqs.NewFromConfig(stacktest.Config(q.front))
	attributes := map[string]string{}
	if q.FIFO {
		attributes["FifoQueue"] = "true"
	}
	if q.MessageBytes > 0 {
		attributes["MaximumMessageSize"] = strconv.Itoa(q.MessageBytes)
	}
	made, err := q.client.CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: aws.String(q.name()), Attributes: attributes})
	if err != nil {
		panic(err) // the test asks for a queue that can't be
	}
	q.url = *made.QueueUrl
}

// script is what goes wrong with a call.
func (q *Queue) script(c *faults.Call) faults.Plan {
	var plan faults.Plan
	if c.Operation != "SendMessageBatch" {
		return plan
	}
	if q.Fail != nil {
		plan = q.Fail(c.N)
	}
	plan.Wait = q.Latency
	if q.Refuse != nil {
		var in struct {
			Entries []struct{ MessageBody string }
		}
		if err := json.Unmarshal(c.Body, &in); err != nil {
			panic(err) // the SDK wrote it
		}
		plan.Left = func(i int) string {
			q.asking.Lock()
			defer q.asking.Unlock()
			return q.Refuse(c.N, i, in.Entries[i].MessageBody)
		}
	}
	return plan
}

// serve passes a call on to the stack and notes what that refuses.
func (q *Queue) serve(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	q.server.ServeHTTP(answer, r)
	var out struct{ Failed []json.RawMessage }
	if err := json.Unmarshal(answer.Body.Bytes(), &out); answer.Code != http.StatusOK || err != nil || len(out.Failed) > 0 {
		q.note(answer.Body.String())
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (q *Queue) note(problem string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wrong = append(q.wrong, problem)
}

// fly notes the groups of a call that begins and ends with the call of what it returns.
func (q *Queue) fly(in *sqs.SendMessageBatchInput) (land func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flying == nil {
		q.flying = map[string]int{}
	}
	seen := map[string]bool{}
	for _, e := range in.Entries {
		group := aws.ToString(e.MessageGroupId)
		if q.flying[group] > 0 || seen[group] {
			q.wrong = append(q.wrong, fmt.Sprintf("two messages of group %q under way: a refused one would be overtaken", group))
		}
		seen[group] = true
	}
	for group := range seen {
		q.flying[group]++
	}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		for group := range seen {
			q.flying[group]--
		}
	}
}

package consumer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/aws/awsjson"
	"tributary/internal/consumer"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/setup"
	"tributary/internal/schema"
	"tributary/internal/writer"
	"tributary/localstack/queue"
	"tributary/localstack/stack"
	"tributary/test/faults"
	"tributary/test/support/stacktest"
)

const (
	good = `{"type":"delete_user","tenant_id":"acme","user_id":"u1"}`
	bad  = `{"type":"delete_user","tenant_id":"acme","user_id":""}`
)

// world is a consumer and a writer between the queues and the table of an embedded stack. Their calls are those of a worker, and
// lead through a script that makes some fail. Tests give messages names; a delivery is called NAME/RECEIVES.
type world struct {
	t       *testing.T
	stack   *stack.Stack
	api     *sqs.Client // past the script
	queue   string
	letters string // the dead-letter queue
	c       *consumer.Consumer
	writer  *writer.Writer
	metrics *metrics.Metrics
	begun   time.Time
	stop    context.CancelFunc
	ended   chan consumer.Summary

	mu       sync.Mutex // guards what follows
	script   script
	names    map[string]string // of messages, by SQS's ids
	handles  map[string]string // receipt handles, by delivery
	receives map[string]int    // by message
	events   []string
}

// script is what goes wrong from now on. The zero script is nothing.
type script struct {
	writes  time.Duration // how long each write takes
	stuck   string        // the user whose writes are always left over
	letters time.Duration // how long each call with letters takes
	down    bool          // the dead-letter queue is out of reach
	deletes int           // how many of the next deletes fail
	// refuse gives the code with which SQS refuses a letter, or "".
	refuse func(*letter) string
	// unheard says whether a letter makes its call fail, although the call took effect.
	unheard func(*letter) bool
}

// letter is a dead letter on its way to the stack.
type letter struct {
	source string // the name of its message
	body   string
}

// startWorld runs a consumer and a writer. Each write takes latency.
func startWorld(t *testing.T, cfg consumer.Config, latency time.Duration) *world {
	t.Helper()
	cfg = cfg.Defaults()
	w := &world{
		t: t, stack: stack.New(stack.Options{}), queue: "commands", letters: "letters",
		metrics: metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10), ended: make(chan consumer.Summary, 1),
		script: script{writes: latency}, names: map[string]string{}, handles: map[string]string{}, receives: map[string]int{},
	}
	t.Cleanup(w.stack.Close)
	if cfg.FIFO {
		w.queue, w.letters = w.queue+".fifo", w.letters+".fifo"
	}
	direct := stacktest.Config(w.stack)
	w.api = sqs.NewFromConfig(direct)
	tables := dynamodb.NewFromConfig(direct)
	does := setup.Setup{Queues: w.api, Tables: tables, Features: tables}
	if _, err := does.Run(t.Context(), &setup.Plan{Queue: w.queue, DeadLetters: w.letters, Table: "Table"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.api.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{
		QueueUrl: w.url(w.queue), Attributes: map[string]string{"VisibilityTimeout": strconv.Itoa(int(cfg.VisibilityTimeout.Seconds()))},
	}); err != nil {
		t.Fatal(err)
	}
	w.begun = time.Now()
	w.run(cfg)
	return w
}

// run starts the consumer and the writer as a worker does, over the script.
func (w *world) run(cfg consumer.Config) {
	front := faults.Over(w.stack, w.plan)
	transport, scripted := stacktest.Transport{Handler: front}, stacktest.Config(front)
	queues := sqs.NewFromConfig(scripted)
	observe := func(string, string, string, time.Duration) {}
	unreadable := func(id string, why error) { w.t.Errorf("message %s can't be read: %v", id, why) }
	log := slog.New(slog.DiscardHandler)
	table := awsjson.NewTable(dynamodb.NewFromConfig(scripted), transport, schema.Builtin(), "Table", time.Hour, observe, func(float64) {})
	w.writer = writer.New(writer.Config{Linger: time.Millisecond, CallTimeout: 10 * time.Minute}.Defaults(), table, &w.metrics.Writer, log)
	w.c = consumer.New(cfg, &watched{awsjson.NewQueue(queues, transport, *w.url(w.queue), observe, unreadable), w},
		&awsjson.DeadLetters{Client: queues, URL: *w.url(w.letters), FIFO: cfg.FIFO}, w.writer, &w.metrics.Consumer, log)
	ctx, stop := context.WithCancel(w.t.Context())
	w.stop = stop
	calls, end := context.WithCancel(w.t.Context())
	go func() {
		done := make(chan struct{})
		go func() { w.writer.Run(calls); close(done) }()
		s := w.c.Run(ctx)
		end()
		<-done
		w.ended <- s
	}()
}

func (w *world) url(name string) *string {
	return aws.String("http://stack.test/000000000000/" + name)
}

// change changes what goes wrong.
func (w *world) change(f func(*script)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.script)
}

// plan tells the front what goes wrong with a call.
func (w *world) plan(call *faults.Call) (p faults.Plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s := &w.script; call.Operation {
	case "BatchWriteItem", "PutItem":
		p.Wait = s.writes
		if s.stuck != "" {
			p.Left = stuck(call.Body, s.stuck)
		}
	case "DeleteMessageBatch":
		if s.deletes > 0 {
			s.deletes--
			p.Fault = faults.ErrorBefore
		}
	case "SendMessageBatch": // of letters: tests send commands one by one
		p.Wait = s.letters
		if s.down {
			p.Fault = faults.ResetBefore
		}
		sent := w.sent(call.Body)
		for i := range sent {
			if s.unheard != nil && s.unheard(&sent[i]) {
				p.Fault = faults.ErrorAfter
			}
		}
		if refuse := s.refuse; refuse != nil {
			p.Left = func(i int) string { return refuse(&sent[i]) }
		}
	}
	return p
}

// stuck leaves a user's writes of a BatchWriteItem undone.
func stuck(body []byte, user string) func(int) string {
	var in struct {
		RequestItems map[string][]json.RawMessage
	}
	_ = json.Unmarshal(body, &in) // the stack reports what is wrong with it
	return func(i int) string {
		if strings.Contains(string(in.RequestItems["Table"][i]), `"user#`+user+`"`) {
			return "unprocessed"
		}
		return ""
	}
}

// sent reads the letters of a SendMessageBatch. The caller holds mu.
func (w *world) sent(body []byte) []letter {
	var in struct {
		Entries []struct {
			MessageBody       string
			MessageAttributes map[string]struct{ StringValue string }
		}
	}
	_ = json.Unmarshal(body, &in) // the stack reports what is wrong with it
	sent := make([]letter, len(in.Entries))
	for i, e := range in.Entries {
		sent[i] = letter{w.names[e.MessageAttributes["source_message_id"].StringValue], e.MessageBody}
	}
	return sent
}

func (w *world) send(name, body string) {
	w.t.Helper()
	w.mu.Lock() // the consumer must not receive a message without a name
	defer w.mu.Unlock()
	in := &sqs.SendMessageInput{QueueUrl: w.url(w.queue), MessageBody: &body}
	if strings.HasSuffix(w.queue, ".fifo") {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String("group"), &name
	}
	out, err := w.api.SendMessage(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	w.names[*out.MessageId] = name
}

// left is how many messages are on the queue.
func (w *world) left() int { return len(w.stack.Queues.Held(w.queue)) }

// dead are the letters that the stack has.
func (w *world) dead() []queue.Held { return w.stack.Queues.Held(w.letters) }

// lettersOf counts the letters of a message.
func (w *world) lettersOf(name string) (n int) {
	letters := w.dead()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range letters {
		if w.names[l.Attributes["source_message_id"]] == name {
			n++
		}
	}
	return n
}

// received is how often a message was received.
func (w *world) received(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.receives[name]
}

// held are the receipt handles of deliveries.
func (w *world) held(deliveries ...string) map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	handles := map[string]bool{}
	for _, d := range deliveries {
		if w.handles[d] == "" {
			w.t.Errorf("%s was not received", d)
		}
		handles[w.handles[d]] = true
	}
	return handles
}

// delivery is what a receipt handle stands for. The caller holds mu.
func (w *world) delivery(handle string) string {
	for d, h := range w.handles {
		if h == handle {
			return d
		}
	}
	return handle
}

// note notes an event. The caller holds mu.
func (w *world) note(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf("%v ", time.Since(w.begun).Round(10*time.Millisecond))+fmt.Sprintf(format, args...))
}

func (w *world) expect(t *testing.T, events ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) != len(events) {
		t.Fatalf("events %q, want %q", w.events, events)
	}
	for i := range events {
		if w.events[i] != events[i] {
			t.Errorf("event %d is %q, want %q", i, w.events[i], events[i])
		}
	}
}

// watched is the consumer's queue. It notes what becomes of messages.
type watched struct {
	consumer.Queue
	world *world
}

func (q *watched) Receive(ctx context.Context, most int, wait time.Duration) ([]consumer.Message, error) {
	received, err := q.Queue.Receive(ctx, most, wait)
	w := q.world
	if ctx.Err() != nil {
		w.t.Error("a long poll was abandoned")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range received {
		m := &received[i]
		name := w.names[m.ID]
		w.receives[name] = m.ReceiveCount
		d := fmt.Sprintf("%s/%d", name, m.ReceiveCount)
		w.handles[d] = m.ReceiptHandle
		w.note("received %s", d)
	}
	return received, err
}

func (q *watched) Delete(ctx context.Context, handles []string) ([]consumer.Failure, error) {
	failures, err := q.Queue.Delete(ctx, handles)
	q.done(len(handles), failures, err, func(i int) string { return "deleted " + q.world.delivery(handles[i]) })
	return failures, err
}

func (q *watched) ChangeVisibility(ctx context.Context, changes []consumer.Visibility) ([]consumer.Failure, error) {
	failures, err := q.Queue.ChangeVisibility(ctx, changes)
	q.done(len(changes), failures, err, func(i int) string {
		return fmt.Sprintf("%s visible in %v", q.world.delivery(changes[i].ReceiptHandle), changes[i].Timeout)
	})
	return failures, err
}

// done notes the entries of a batch call that did not fail. The stack must refuse none for good: the consumer would have asked for what
// SQS never does.
func (q *watched) done(n int, failures []consumer.Failure, err error, event func(int) string) {
	if err != nil {
		return
	}
	failed := map[int]bool{}
	for _, f := range failures {
		failed[f.Index] = true
		if f.Final {
			q.world.t.Errorf("after %v SQS refuses an entry: %s", time.Since(q.world.begun), f.Code)
		}
	}
	q.world.mu.Lock()
	defer q.world.mu.Unlock()
	for i := range n {
		if !failed[i] {
			q.world.note("%s", event(i))
		}
	}
}

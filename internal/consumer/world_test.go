package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/writer"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

// commandQueue is a queue of an embedded stack, which has SQS's rules. Package awsjson, by which workers call SQS, imports this one, so
// the SDK's client stands in. Messages have the names that the test sends them with, and what the consumer does with them is noted.
type commandQueue struct {
	t   *testing.T
	api *sqs.Client
	url string

	mu       sync.Mutex
	messages map[string]*noted // by name
	names    map[string]string // by SQS's id
	handles  map[string]string // SQS's receipt handles; the consumer sees NAME/RECEIVES instead
	deletes  int               // how many Delete calls fail before one succeeds
	events   []string
	begun    time.Time
}

// noted is what was seen of a message.
type noted struct {
	ReceiveCount int
	deleted      bool
}

// newQueues makes a command queue and a dead-letter queue.
func newQueues(t *testing.T, visibility time.Duration, fifo bool) (*commandQueue, *letterQueue) {
	t.Helper()
	embedded := stack.New(stack.Options{})
	t.Cleanup(embedded.Close)
	api := sqs.NewFromConfig(stacktest.Config(embedded))
	create := func(name string) string {
		attributes := map[string]string{"VisibilityTimeout": strconv.Itoa(int(visibility.Seconds()))}
		if fifo {
			name += ".fifo"
			attributes["FifoQueue"], attributes["ContentBasedDeduplication"] = "true", "true"
		}
		out, err := api.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		return *out.QueueUrl
	}
	return &commandQueue{
		t: t, api: api, url: create("commands"), messages: map[string]*noted{}, names: map[string]string{}, handles: map[string]string{}, begun: time.Now(),
	}, &letterQueue{api: api, url: create("letters")}
}

func (q *commandQueue) note(format string, args ...any) {
	q.events = append(q.events, fmt.Sprintf("%v ", time.Since(q.begun).Round(10*time.Millisecond))+fmt.Sprintf(format, args...))
}

func (q *commandQueue) send(name, body string) {
	q.t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	in := &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: &body}
	if isFIFO(q.url) {
		in.MessageGroupId = aws.String("group")
	}
	out, err := q.api.SendMessage(q.t.Context(), in)
	if err != nil {
		q.t.Fatal(err)
	}
	q.names[*out.MessageId], q.messages[name] = name, new(noted)
}

func isFIFO(url string) bool { return strings.HasSuffix(url, ".fifo") }

func (q *commandQueue) Receive(ctx context.Context, most int, wait time.Duration) ([]Message, error) {
	out, err := q.api.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, MaxNumberOfMessages: int32(most), WaitTimeSeconds: int32(wait.Seconds()), //nolint:gosec // 10 and 20 at most
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if ctx.Err() != nil {
		q.t.Error("a long poll was abandoned")
	}
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var received []Message
	for _, m := range out.Messages {
		name := q.names[*m.MessageId]
		count, _ := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
		sent, _ := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64)
		q.messages[name].ReceiveCount = count
		handle := fmt.Sprintf("%s/%d", name, count)
		q.handles[handle] = *m.ReceiptHandle
		q.note("received %s", handle)
		received = append(received, Message{
			ID: name, ReceiptHandle: handle, Body: *m.Body, ReceiveCount: count, SentAt: time.UnixMilli(sent), GroupID: m.Attributes["MessageGroupId"],
		})
	}
	return received, nil
}

// failuresOf are the failures of a batch call whose entries' ids are their places.
func failuresOf(failed []types.BatchResultErrorEntry) (failures []Failure) {
	for _, f := range failed {
		i, _ := strconv.Atoi(*f.Id)
		failures = append(failures, Failure{Index: i, Code: *f.Code, Final: f.SenderFault})
	}
	return failures
}

func failedAt(failures []Failure, i int) bool {
	return slices.ContainsFunc(failures, func(f Failure) bool { return f.Index == i })
}

func (q *commandQueue) Delete(ctx context.Context, handles []string) ([]Failure, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deletes > 0 {
		q.deletes--
		return nil, errors.New("SQS is out of reach")
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(handles))
	for i := range handles {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: aws.String(cmp.Or(q.handles[handles[i]], handles[i]))}
	}
	out, err := q.api.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: entries})
	if err != nil {
		return nil, err
	}
	failures := failuresOf(out.Failed)
	for i, h := range handles {
		if !failedAt(failures, i) {
			q.note("deleted %s", h)
			name, _, _ := strings.Cut(h, "/")
			q.messages[name].deleted = true
		}
	}
	return failures, nil
}

func (q *commandQueue) ChangeVisibility(ctx context.Context, changes []Visibility) ([]Failure, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(changes))
	for i, c := range changes {
		seconds := int32((c.Timeout + time.Second - 1) / time.Second) //nolint:gosec // twelve hours at most
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: aws.String(q.handles[c.ReceiptHandle]), VisibilityTimeout: seconds}
	}
	out, err := q.api.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url, Entries: entries})
	if err != nil {
		return nil, err
	}
	failures := failuresOf(out.Failed)
	for i, c := range changes {
		if !failedAt(failures, i) {
			q.note("%s visible in %v", c.ReceiptHandle, c.Timeout)
		}
	}
	return failures, nil
}

// letterQueue is a dead-letter queue of the stack, which can be out of reach. It notes the letters that the stack has accepted.
type letterQueue struct {
	api *sqs.Client
	url string

	mu      sync.Mutex
	down    bool
	latency time.Duration
	judge   func([]Letter) ([]Failure, error) // which letters SQS refuses before it looks at them; nil: none
	letters []Letter
}

func (f *letterQueue) Send(ctx context.Context, letters []Letter) ([]Failure, error) {
	select {
	case <-time.After(f.latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errors.New("the dead-letter queue is out of reach")
	}
	var failures []Failure
	var refused error
	if f.judge != nil {
		failures, refused = f.judge(letters)
	}
	var entries []types.SendMessageBatchRequestEntry
	for i := range letters {
		if failedAt(failures, i) {
			continue
		}
		e := types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &letters[i].Body, MessageAttributes: map[string]types.MessageAttributeValue{}}
		for name, text := range letters[i].Attributes {
			e.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &text}
		}
		if isFIFO(f.url) {
			e.MessageGroupId, e.MessageDeduplicationId = &letters[i].GroupID, &letters[i].DeduplicationID
		}
		entries = append(entries, e)
	}
	if len(entries) > 0 {
		out, err := f.api.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &f.url, Entries: entries})
		if err != nil {
			return nil, err
		}
		failures = append(failures, failuresOf(out.Failed)...)
	}
	for i := range letters {
		if !failedAt(failures, i) {
			f.letters = append(f.letters, letters[i])
		}
	}
	return failures, refused
}

// of counts the letters of a message.
func (f *letterQueue) of(name string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.letters {
		if l.Attributes["source_message_id"] == name {
			n++
		}
	}
	return n
}

// slowTable accepts every write, after latency. It has no rules of DynamoDB: these tests are about messages.
type slowTable struct {
	mu      sync.Mutex
	latency time.Duration
	stuck   string // the user whose writes are always left over
}

func (f *slowTable) call(ctx context.Context) error {
	f.mu.Lock()
	latency := f.latency
	f.mu.Unlock()
	select {
	case <-time.After(latency):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *slowTable) BatchWrite(ctx context.Context, writes []*writer.Write) (left []int, units writer.Units, err error) {
	if err := f.call(ctx); err != nil {
		return nil, units, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, w := range writes {
		if f.stuck != "" && w.Command.Get("user_id") == f.stuck {
			left = append(left, i)
		}
	}
	return left, units, nil
}

func (f *slowTable) PutVersion(ctx context.Context, _ *writer.Write) (writer.Units, error) {
	return writer.Units{}, f.call(ctx)
}

func (f *slowTable) Probe(ctx context.Context, _ *messages.Command) error { return f.call(ctx) }

// world is a consumer and a writer between the queues of a stack and a table.
type world struct {
	*commandQueue
	letters *letterQueue
	table   slowTable
	c       *Consumer
	stop    context.CancelFunc
	ended   chan Summary
}

// startWorld runs a consumer and a writer.
func startWorld(t *testing.T, cfg Config, latency time.Duration) *world {
	cfg = cfg.Defaults()
	w := &world{ended: make(chan Summary, 1)}
	w.commandQueue, w.letters = newQueues(t, cfg.VisibilityTimeout, cfg.FIFO)
	w.table.latency = latency
	m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
	log := slog.New(slog.DiscardHandler)
	wr := writer.New(writer.Config{Linger: time.Millisecond, CallTimeout: 10 * time.Minute}.Defaults(), &w.table, &m.Writer, log)
	w.c = New(cfg, w.commandQueue, w.letters, wr, &m.Consumer, log)
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	calls, end := context.WithCancel(t.Context())
	go func() {
		done := make(chan struct{})
		go func() { wr.Run(calls); close(done) }()
		s := w.c.Run(ctx)
		end()
		<-done
		w.ended <- s
	}()
	return w
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

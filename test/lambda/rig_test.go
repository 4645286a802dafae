package lambda_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/queues"
	"tributary/localstack/stack"
	"tributary/test/faults"
	"tributary/test/lambda/simulator"
	"tributary/test/support/standin"
)

// bootstrap builds the function once.
var bootstrap = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "tributary-lambda-*")
	if err != nil {
		return "", err
	}
	return build(folder)
})

// build builds the function into a folder.
func build(folder string, flags ...string) (path string, err error) {
	path = filepath.Join(folder, "bootstrap")
	out, err := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, "tributary/cmd/worker")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build bootstrap: %w\n%s", err, out)
	}
	return path, nil
}

func TestMain(m *testing.M) {
	status := m.Run()
	if path, err := bootstrap(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(status)
}

// rig is a stack with a queue and a table, and the function behind a front that can fail and that sees each call.
type rig struct {
	t       *testing.T
	path    string
	sqs     *sqs.Client
	ddb     *dynamodb.Client
	front   *faults.Front
	calls   *watch
	url     string // of the stack
	through string // of the front
	name    string // of the queue
	queue   string // its URL
	letters string // URL
	fifo    bool
	folder  string
}

// watch counts the calls that may write and are under way, as far as their client waits for them. It can meddle with calls.
type watch struct {
	next http.Handler
	// meddle may answer a call itself, and returns true then. Nil: all go on.
	meddle func(operation string, body []byte, w http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	writes int // guarded by mu
}

func (w *watch) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if operation == "BatchWriteItem" || operation == "PutItem" {
		w.add(1)
		gone := context.AfterFunc(r.Context(), func() { w.add(-1) })
		defer func() {
			if gone() {
				w.add(-1)
			}
		}()
	}
	if w.meddle != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil || w.meddle(operation, body, out, r) {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.next.ServeHTTP(out, r)
}

func (w *watch) add(n int) {
	w.mu.Lock()
	w.writes += n
	w.mu.Unlock()
}

func (w *watch) underWay() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

const (
	tableName  = "MultiTenantTable"
	maxReceive = 100
)

// newRig makes everything but the mapping. The visibility timeout is in seconds.
func newRig(t *testing.T, fifo bool, visibility int) *rig {
	t.Helper()
	path, err := bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	embedded := stack.New(stack.Options{})
	t.Cleanup(embedded.Close)
	server := httptest.NewServer(embedded)
	t.Cleanup(server.Close)
	front, err := faults.New(faults.Backends{DynamoDB: server.URL, SQS: server.URL}, 1, faults.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(front.Close)
	calls := &watch{next: front}
	through := httptest.NewServer(calls)
	t.Cleanup(through.Close)
	r := &rig{
		t: t, path: path, front: front, calls: calls, url: server.URL, through: through.URL, name: "commands", fifo: fifo, folder: t.TempDir(),
		sqs: sqs.NewFromConfig(standin.Config(server.URL)), ddb: dynamodb.NewFromConfig(standin.Config(server.URL)),
	}
	if fifo {
		r.name += ".fifo"
	}
	setup := exec.CommandContext(t.Context(), path, "setup")
	setup.Env = standin.Environ(server.URL, server.URL, "TRIBUTARY_QUEUE="+r.name)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("worker setup: %v\n%s", err, out)
	}
	r.queue, r.letters = r.urlOf(r.name), r.urlOf(queues.DeadLetters(r.name))
	_, err = r.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &r.queue, Attributes: map[string]string{"VisibilityTimeout": strconv.Itoa(visibility)}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) urlOf(name string) string {
	r.t.Helper()
	out, err := r.sqs.GetQueueUrl(r.t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		r.t.Fatal(err)
	}
	return *out.QueueUrl
}

// command is the function's process with its environment.
func (r *rig) command(settings ...string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.Command(r.path)
		cmd.Env = standin.Environ(r.through, r.through, append([]string{"TRIBUTARY_QUEUE=" + r.name}, settings...)...)
		return cmd
	}
}

// config is a mapping of one invocation at a time.
func (r *rig) config(settings ...string) simulator.Config {
	return simulator.Config{
		SQS: r.sqs, QueueURL: r.queue, QueueARN: "arn:aws:sqs:us-east-1:000000000000:" + r.name, FIFO: r.fifo,
		BatchSize: 10, Wait: time.Second, Concurrency: 1, Timeout: 40 * time.Second, Command: r.command(settings...),
	}
}

// send sends bodies, on a FIFO queue in a group.
func (r *rig) send(group string, bodies ...string) {
	r.t.Helper()
	for len(bodies) > 0 {
		part := bodies[:min(10, len(bodies))]
		bodies = bodies[len(part):]
		entries := make([]types.SendMessageBatchRequestEntry, len(part))
		for i := range part {
			entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &part[i]}
			if r.fifo {
				entries[i].MessageGroupId = &group
				entries[i].MessageDeduplicationId = aws.String(fmt.Sprintf("%s-%d-%d", group, time.Now().UnixNano(), i))
			}
		}
		out, err := r.sqs.SendMessageBatch(r.t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &r.queue, Entries: entries})
		if err != nil || len(out.Failed) > 0 {
			r.t.Fatalf("send: %v, %v", err, out)
		}
	}
}

// depth returns how many messages a queue has.
func (r *rig) depth(queue string) (visible, hidden int) {
	r.t.Helper()
	out, err := r.sqs.GetQueueAttributes(r.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &queue, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		r.t.Fatal(err)
	}
	visible, _ = strconv.Atoi(out.Attributes["ApproximateNumberOfMessages"])
	hidden, _ = strconv.Atoi(out.Attributes["ApproximateNumberOfMessagesNotVisible"])
	return visible, hidden
}

// drain runs a mapping until the queue is empty. While sent is open, more is to come; nil: all is there.
func (r *rig) drain(m *simulator.Mapping, sent <-chan struct{}, within time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	if sent != nil {
		<-sent
	}
	for {
		visible, hidden := r.depth(r.queue)
		if visible+hidden == 0 {
			cancel()
			<-done
			return
		}
		select {
		case <-ctx.Done():
			<-done
			r.t.Fatalf("the queue still has %d visible and %d hidden messages after %v; %v", visible, hidden, within, &m.Stats)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/localstack/stack"
	"tributary/test/faults"
	"tributary/test/support/standin"
)

// rig is the parts of one proof. One goroutine uses it, but for send.
type rig struct {
	settings
	name, dir, binary string
	table             string

	stack    *stack.Stack
	endpoint *endpoint
	front    *faults.Front // what workers see of the endpoint
	sqs      *sqs.Client
	ddb      *dynamodb.Client
	url      string // of the endpoint
	workers  string // URL of the front
	queue    string // name
	queueURL string
	running  []*process
}

// process is a worker that runs.
type process struct {
	cmd *exec.Cmd
	log string
}

func (r *rig) say(format string, args ...any) {
	fmt.Printf("%-10s %s\n", r.name+":", fmt.Sprintf(format, args...))
}

// within makes the parts, runs a proof, and ends what it has started.
func (r *rig) within(ctx context.Context, prove func(context.Context, *rig) error) error {
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	r.stack = stack.New(stack.Options{})
	defer r.stack.Close()
	r.endpoint = newEndpoint(r.stack)
	var end func()
	var err error
	if r.url, end, err = serve(ctx, r.endpoint); err != nil {
		return err
	}
	defer end()
	if r.front, err = faults.New(faults.Backends{DynamoDB: r.url, SQS: r.url}, 1, faults.Config{}); err != nil {
		return fmt.Errorf("make front: %w", err)
	}
	defer r.front.Close()
	if r.workers, end, err = serve(ctx, r.front); err != nil {
		return err
	}
	defer end()
	r.sqs, r.ddb = sqs.NewFromConfig(standin.Config(r.url)), dynamodb.NewFromConfig(standin.Config(r.url))
	defer func() {
		for _, p := range r.running {
			p.kill()
		}
	}()
	return prove(ctx, r)
}

func serve(ctx context.Context, handler http.Handler) (url string, end func(), _ error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}

// setUp makes queue and table.
func (r *rig) setUp(ctx context.Context, queue string) error {
	r.queue = queue
	if out, err := r.operate(ctx, "setup"); err != nil {
		return fmt.Errorf("worker setup: %w\n%s", err, out)
	}
	out, err := r.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue})
	if err != nil {
		return fmt.Errorf("find queue: %w", err)
	}
	r.queueURL = *out.QueueUrl
	return nil
}

// operate runs an operator's command, past all faults.
func (r *rig) operate(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.binary, args...)
	cmd.Env = standin.Environ(r.url, r.url, "TRIBUTARY_QUEUE="+r.queue, "TRIBUTARY_TABLE="+r.table)
	return cmd.CombinedOutput()
}

// tenant runs worker tenant.
func (r *rig) tenant(ctx context.Context, args ...string) error {
	if out, err := r.operate(ctx, append([]string{"tenant"}, args...)...); err != nil {
		return fmt.Errorf("worker tenant %s: %w\n%s", args[0], err, out)
	}
	return nil
}

var started = regexp.MustCompile(`admin="?(http://[0-9.:]+)`)

// start starts a worker and waits until it runs.
func (r *rig) start(ctx context.Context, args ...string) (*process, error) {
	p := &process{log: filepath.Join(r.dir, fmt.Sprintf("worker-%d.log", len(r.running)))}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("make log: %w", err)
	}
	defer func() { _ = log.Close() }()                                                                                              // the process has its own
	p.cmd = exec.Command(r.binary, append([]string{"run", "--admin-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, args...)...) // ends with kill
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = standin.Environ(r.workers, r.workers, "TRIBUTARY_QUEUE="+r.queue, "TRIBUTARY_TABLE="+r.table), log, log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	r.running = append(r.running, p)
	return p, until(ctx, 30*time.Second, "a worker runs", func() (bool, error) {
		text, err := os.ReadFile(p.log)
		return started.Match(text), err
	})
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// stop ends a worker by SIGTERM.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // Wait tells
	if err := p.cmd.Wait(); err != nil {
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("worker ended: %w\n%s", err, log)
	}
	return nil
}

// peak is the most memory that a process has had resident, in MiB.
func peak(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return kb >> 10
}

// until waits for a condition.
func until(ctx context.Context, within time.Duration, what string, met func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); ; {
		ok, err := met()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v have passed, and not yet: %s", within, what)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// message is what is sent. A group makes it one of a FIFO queue.
type message struct{ group, body string }

func order(tenant, id string, amount, version int) string {
	body := fmt.Sprintf(`{"type":"put_order","tenant_id":%q,"order_id":%q,"user_id":"u","order_amount":"%d"`, tenant, id, amount)
	if version > 0 {
		body += fmt.Sprintf(`,"version":%d`, version)
	}
	return body + "}"
}

// send sends messages, in calls of ten.
func (r *rig) send(ctx context.Context, all ...message) error {
	for part := range slices.Chunk(all, 10) {
		entries := make([]types.SendMessageBatchRequestEntry, len(part))
		for i := range part {
			entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &part[i].body}
			if part[i].group != "" {
				entries[i].MessageGroupId = &part[i].group
				entries[i].MessageDeduplicationId = aws.String(fmt.Sprint(time.Now().UnixNano(), "-", i))
			}
		}
		out, err := r.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &r.queueURL, Entries: entries})
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if len(out.Failed) > 0 {
			return fmt.Errorf("send: %d of %d were not accepted", len(out.Failed), len(entries))
		}
	}
	return nil
}

// depth is how many messages the queue has, visible and in flight.
func (r *rig) depth(ctx context.Context) (int, error) {
	out, err := r.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &r.queueURL, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		return 0, fmt.Errorf("read queue: %w", err)
	}
	visible, _ := strconv.Atoi(out.Attributes["ApproximateNumberOfMessages"])
	hidden, _ := strconv.Atoi(out.Attributes["ApproximateNumberOfMessagesNotVisible"])
	return visible + hidden, nil
}

func (r *rig) drained(ctx context.Context, within time.Duration) error {
	return until(ctx, within, "the queue is empty", func() (bool, error) {
		n, err := r.depth(ctx)
		return n == 0, err
	})
}

// used is what worker tenant usage says, added up over all tenants.
type used struct {
	TableUnits          float64 `json:"table_units"`
	IndexUnits          float64 `json:"index_units"`
	EstimatedTableUnits float64 `json:"estimated_table_units"`
	EstimatedIndexUnits float64 `json:"estimated_index_units"`
	Written             int64   `json:"written"`
}

func (u used) exact() float64     { return u.TableUnits + u.IndexUnits }
func (u used) estimated() float64 { return u.EstimatedTableUnits + u.EstimatedIndexUnits }

func (r *rig) usage(ctx context.Context) (sum used, _ error) {
	out, err := r.operate(ctx, "tenant", "usage", "--from", "3h", "-o", "json")
	if err != nil {
		return sum, fmt.Errorf("worker tenant usage: %w\n%s", err, out)
	}
	var said struct{ Usage []used }
	if err := json.Unmarshal(out, &said); err != nil {
		return sum, fmt.Errorf("read usage: %w\n%s", err, out)
	}
	for _, u := range said.Usage {
		sum.TableUnits += u.TableUnits
		sum.IndexUnits += u.IndexUnits
		sum.EstimatedTableUnits += u.EstimatedTableUnits
		sum.EstimatedIndexUnits += u.EstimatedIndexUnits
		sum.Written += u.Written
	}
	return sum, nil
}

// stream sends orders of a tenant at a steady rate, until its context ends, and tells how long each took to become durable.
type stream struct {
	rig    *rig
	tenant string
	mu     sync.Mutex
	sent   map[string]time.Time // by id; guarded by mu
	done   chan error
	stop   context.CancelFunc
}

func (r *rig) stream(ctx context.Context, tenant string, rate int) *stream {
	within, stop := context.WithCancel(ctx)
	s := &stream{rig: r, tenant: tenant, sent: map[string]time.Time{}, done: make(chan error, 1), stop: stop}
	go func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-within.Done():
				s.done <- nil
				return
			case <-tick.C:
			}
			id := fmt.Sprintf("%s-%d-%d", tenant, time.Now().UnixNano(), n)
			s.mu.Lock()
			s.sent[id] = time.Now()
			s.mu.Unlock()
			if err := r.send(ctx, message{"", order(tenant, id, n, 0)}); err != nil {
				s.done <- err
				return
			}
		}
	}()
	return s
}

// end stops the stream and returns how long each command took, sorted.
func (s *stream) end(ctx context.Context) ([]time.Duration, error) {
	s.stop()
	if err := <-s.done; err != nil {
		return nil, err
	}
	var took []time.Duration
	for id, at := range s.sent {
		if err := until(ctx, time.Minute, "order "+id+" is durable", func() (bool, error) {
			durable := s.rig.endpoint.durableAt(s.tenant, "order#"+id)
			if !durable.IsZero() {
				took = append(took, durable.Sub(at))
			}
			return !durable.IsZero(), nil
		}); err != nil {
			return nil, err
		}
	}
	if len(took) == 0 {
		return nil, errors.New("nothing was sent")
	}
	slices.Sort(took)
	return took, nil
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(100 * time.Microsecond)
}

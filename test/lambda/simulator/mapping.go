// Package simulator stands in for Lambda: it polls a queue as an SQS event source mapping does, and speaks the Runtime API to real
// processes of the function.
//
// As AWS ("Using Lambda with Amazon SQS", "Building a custom runtime"): batches by size, window and payload; up to a number of
// invocations at once; a message that isn't reported is deleted after the answer; a whole batch is left where the function
// failed, timed out, ended or answered what can't be read; an environment is killed at its deadline and replaced; it is frozen
// between invocations.
// Differs: it has no back-off of pollers, no scaling up over time and no filters.
package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Config says what a mapping reads and how.
type Config struct {
	SQS      *sqs.Client
	QueueURL string
	QueueARN string
	FIFO     bool
	// BatchSize is up to 10,000, and 10 on a FIFO queue. Above 10 Window must be set.
	BatchSize int
	Window    time.Duration
	// Wait is the longest long poll; 0: 20 s.
	Wait time.Duration
	// Concurrency is how many invocations are under way at most. PerEnvironment of them share a process; 0: one.
	Concurrency    int
	PerEnvironment int
	// Timeout is the function's.
	Timeout time.Duration
	// Command makes the process, with its environment, but for AWS_LAMBDA_RUNTIME_API and AWS_LAMBDA_MAX_CONCURRENCY.
	Command func() *exec.Cmd
	// Freeze stops a process between invocations.
	Freeze bool
	// KillAfter, unless it is nil, is asked for each invocation when its environment is to be killed; 0: not.
	KillAfter func() time.Duration
	// Before is called before the function gets a batch, and Answered when it has answered, or failed with err. Both may be nil.
	Before   func(records []Record)
	Answered func(records []Record, failed map[string]bool, err error)
}

// Stats count what a mapping did.
type Stats struct {
	Invocations, Errors, Timeouts, Ends, Malformed atomic.Int64
	Messages, Reported, Environments               atomic.Int64
	MostReceives                                   atomic.Int64
}

func (s *Stats) String() string {
	return fmt.Sprintf("%d invocations with %d messages, of which %d were reported; %d errors, %d time-outs, %d ends, %d malformed answers; %d environments; at most %d receives of a message",
		s.Invocations.Load(), s.Messages.Load(), s.Reported.Load(), s.Errors.Load(), s.Timeouts.Load(), s.Ends.Load(), s.Malformed.Load(), s.Environments.Load(), s.MostReceives.Load())
}

// Mapping is an event source mapping and the function's environments.
type Mapping struct {
	cfg Config
	Stats

	requests atomic.Int64
	mu       sync.Mutex
	slots    []*slot // guarded by mu
	problems []error // answers that a function must not give; guarded by mu
	ended    []*environment
}

// slot is a place for an environment.
type slot struct {
	environment *environment // nil or dead: the next invocation starts one
	busy        int          // invocations
}

// New makes a mapping. Run starts it.
func New(cfg Config) *Mapping {
	if cfg.PerEnvironment == 0 {
		cfg.PerEnvironment = 1
	}
	if cfg.Wait == 0 {
		cfg.Wait = 20 * time.Second
	}
	return &Mapping{cfg: cfg}
}

// Problem joins what was wrong with answers.
func (m *Mapping) Problem() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.problems...)
}

// Run polls and invokes until ctx ends. Then it waits for the invocations under way and ends the environments.
func (m *Mapping) Run(ctx context.Context) {
	var pollers sync.WaitGroup
	for range m.cfg.Concurrency {
		pollers.Go(func() {
			for ctx.Err() == nil {
				if records := m.Gather(ctx); len(records) > 0 {
					m.work(records)
				}
			}
		})
	}
	pollers.Wait()
	m.Close()
}

// Close ends the environments.
func (m *Mapping) Close() {
	m.mu.Lock()
	slots := m.slots
	m.slots = nil
	m.mu.Unlock()
	for _, s := range slots {
		if s.environment != nil && s.environment.alive() {
			s.environment.stop()
		}
	}
}

// Processes returns the commands of all environments, those that have ended included.
func (m *Mapping) Processes() []*exec.Cmd {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*exec.Cmd
	for _, e := range m.ended {
		all = append(all, e.cmd)
	}
	return all
}

// Gather makes a batch: until it is full, its window is over, or its payload is.
func (m *Mapping) Gather(ctx context.Context) []Record {
	var batch []Record
	var until time.Time
	size := 0
	for len(batch) < m.cfg.BatchSize && ctx.Err() == nil {
		wait := m.cfg.Wait
		if len(batch) > 0 {
			if wait = min(wait, time.Until(until)); wait <= 0 {
				break
			}
		}
		most := min(10, m.cfg.BatchSize-len(batch))
		got, err := m.receive(ctx, most, wait)
		if err != nil {
			if pause(ctx, 100*time.Millisecond); len(batch) > 0 {
				break
			}
			continue
		}
		if len(got) > 0 && len(batch) == 0 {
			until = time.Now().Add(m.cfg.Window)
		}
		for i := range got {
			size += len(got[i].Body) + len(got[i].Body)/4 + 2048
		}
		batch = append(batch, got...)
		if m.cfg.Window == 0 && len(batch) > 0 || size > maxPayload-13<<20/10 {
			break
		}
	}
	return batch
}

func (m *Mapping) receive(ctx context.Context, most int, wait time.Duration) ([]Record, error) {
	// A receive under way is not abandoned: its messages would be invisible.
	out, err := m.cfg.SQS.ReceiveMessage(context.WithoutCancel(ctx), &sqs.ReceiveMessageInput{
		QueueUrl: &m.cfg.QueueURL, MaxNumberOfMessages: int32(most), WaitTimeSeconds: max(1, int32(wait/time.Second)), // 0 would be the queue's own, of 20 s

		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}, MessageAttributeNames: []string{"All"},
	}, func(o *sqs.Options) { o.Retryer = aws.NopRetryer{} })
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	records := make([]Record, len(out.Messages))
	for i, got := range out.Messages {
		r := &records[i]
		*r = Record{
			MessageID: *got.MessageId, ReceiptHandle: *got.ReceiptHandle, Body: aws.ToString(got.Body), MD5OfBody: aws.ToString(got.MD5OfBody),
			Attributes: got.Attributes, MessageAttributes: map[string]Attribute{}, EventSource: "aws:sqs", EventSourceARN: m.cfg.QueueARN, AWSRegion: "us-east-1",
		}
		for name, a := range got.MessageAttributes {
			r.MessageAttributes[name] = Attribute{
				StringValue: a.StringValue, BinaryValue: a.BinaryValue, DataType: aws.ToString(a.DataType),
				StringListValues: []string{}, BinaryListValues: [][]byte{},
			}
		}
		if n, _ := strconv.ParseInt(got.Attributes["ApproximateReceiveCount"], 10, 64); n > m.MostReceives.Load() {
			m.MostReceives.Store(n)
		}
	}
	return records, nil
}

// Event is the event of a batch.
func Event(records []Record) []byte {
	event, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		panic(err) // text and numbers can always be written
	}
	return event
}

// work invokes the function with a batch and deletes what is not reported.
func (m *Mapping) work(records []Record) {
	if m.cfg.Before != nil {
		m.cfg.Before(records)
	}
	m.Messages.Add(int64(len(records)))
	failed, err := m.Invoke(records)
	if m.cfg.Answered != nil {
		m.cfg.Answered(records, failed, err)
	}
	if err != nil {
		return // nothing is acknowledged
	}
	m.Reported.Add(int64(len(failed)))
	var done []Record
	for i := range records {
		if !failed[records[i].MessageID] {
			done = append(done, records[i])
		}
	}
	m.Remove(done)
}

// Invoke gives the function a batch and returns the ids that it reports. An error means that the batch has failed as a whole.
func (m *Mapping) Invoke(records []Record) (failed map[string]bool, err error) {
	answer, err := m.Call(Event(records))
	if err != nil {
		return nil, err
	}
	failed, err = Failures(answer, records)
	if err == nil && m.cfg.FIFO {
		err = InOrder(records, failed)
	}
	if err != nil {
		m.Malformed.Add(1)
		m.mu.Lock()
		m.problems = append(m.problems, fmt.Errorf("%w: %.500s", err, answer))
		m.mu.Unlock()
		return nil, err
	}
	return failed, nil
}

// Call gives the function an event and returns its answer.
func (m *Mapping) Call(event []byte) (answer []byte, err error) {
	e, release, err := m.environment()
	if err != nil {
		return nil, err
	}
	defer release()
	m.Invocations.Add(1)
	i := &invocation{
		id: fmt.Sprintf("00000000-0000-4000-8000-%012d", m.requests.Add(1)), event: event, deadline: time.Now().Add(m.cfg.Timeout), outcome: make(chan outcome, 1),
	}
	if m.cfg.KillAfter != nil {
		if after := m.cfg.KillAfter(); after > 0 {
			killer := time.AfterFunc(after, e.kill)
			defer killer.Stop()
		}
	}
	o := e.invoke(i, m.cfg.Timeout)
	switch {
	case o.err == nil:
	case errors.Is(o.err, errTimeout):
		m.Timeouts.Add(1)
	case errors.Is(o.err, errEnded):
		m.Ends.Add(1)
	default:
		m.Errors.Add(1)
	}
	return o.answer, o.err
}

// environment returns an environment with room for one more invocation. It starts one if there is none.
func (m *Mapping) environment() (e *environment, release func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var free *slot
	for _, s := range m.slots {
		if s.busy < m.cfg.PerEnvironment && (free == nil || s.busy > free.busy) {
			free = s
		}
	}
	if free == nil {
		free = &slot{}
		m.slots = append(m.slots, free)
	}
	if free.environment == nil || !free.environment.alive() {
		command := func() *exec.Cmd {
			cmd := m.cfg.Command()
			cmd.Env = append(cmd.Env, "AWS_LAMBDA_MAX_CONCURRENCY="+strconv.Itoa(m.cfg.PerEnvironment), "AWS_LAMBDA_FUNCTION_NAME=tributary")
			return cmd
		}
		started, err := startEnvironment(command, m.cfg.Freeze)
		if err != nil {
			return nil, nil, err
		}
		m.Environments.Add(1)
		m.ended = append(m.ended, started)
		free.environment = started
	}
	free.busy++
	return free.environment, func() {
		m.mu.Lock()
		free.busy--
		m.mu.Unlock()
	}, nil
}

// Remove deletes messages. One that is not deleted comes back.
func (m *Mapping) Remove(records []Record) {
	for len(records) > 0 {
		part := records[:min(10, len(records))]
		records = records[len(part):]
		entries := make([]types.DeleteMessageBatchRequestEntry, len(part))
		for i := range part {
			entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &part[i].ReceiptHandle}
		}
		for range 5 {
			out, err := m.cfg.SQS.DeleteMessageBatch(context.Background(), &sqs.DeleteMessageBatchInput{QueueUrl: &m.cfg.QueueURL, Entries: entries})
			if err == nil && len(out.Failed) == 0 {
				break
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

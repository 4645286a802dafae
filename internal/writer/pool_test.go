package writer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/aws/awsjson"
	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/setup"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/internal/writer"
	"tributary/localstack/stack"
	"tributary/test/faults"
	"tributary/test/support/commands"
	"tributary/test/support/stacktest"
)

// counted is the embedded stack's table behind a script. It counts what the writer does with it.
type counted struct {
	writer.Table
	t     *testing.T
	stack *stack.Stack

	mu       sync.Mutex    // guards what follows
	latency  time.Duration // of each call
	down     time.Time     // calls that begin earlier fail
	inFlight map[table.Key]bool
	calls    int
	maxCalls int // at once
	now      int // under way
	done     []time.Time
}

// start runs a writer.
func start(t *testing.T, cfg writer.Config, latency time.Duration) (*counted, *writer.Writer, *tally, func()) {
	t.Helper()
	f := &counted{t: t, stack: stack.New(stack.Options{}), latency: latency, inFlight: map[table.Key]bool{}}
	direct := stacktest.Config(f.stack)
	tables := dynamodb.NewFromConfig(direct)
	does := setup.Setup{Queues: sqs.NewFromConfig(direct), Tables: tables, Features: tables}
	if _, err := does.Run(t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "letters", Table: "Table"}); err != nil {
		t.Fatal(err)
	}
	front := faults.Over(f.stack, f.plan)
	f.Table = awsjson.NewTable(dynamodb.NewFromConfig(stacktest.Config(front)), stacktest.Transport{Handler: front}, schema.Builtin(), "Table", time.Hour,
		func(string, string, string, time.Duration) {}, func(float64) {})
	w := writer.New(cfg.Defaults(), f, &metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10).Writer, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { w.Run(t.Context()); close(done) }()
	return f, w, &tally{outcomes: map[writer.Outcome]int{}}, func() { w.Close(); <-done }
}

// plan tells the front what goes wrong with a call.
func (f *counted) plan(*faults.Call) (p faults.Plan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Wait = f.latency
	if time.Now().Before(f.down) {
		p.Fault = faults.ResetBefore
	}
	return p
}

// items is how many the table has.
func (f *counted) items() int { return int(f.stack.Tables.Status()[0].Items) }

func (f *counted) BatchWrite(ctx context.Context, writes []*writer.Write) ([]int, writer.Units, error) {
	f.begin(writes)
	left, units, err := f.Table.BatchWrite(ctx, writes)
	f.end(writes, err)
	return left, units, err
}

func (f *counted) PutVersion(ctx context.Context, w *writer.Write) (writer.Units, error) {
	f.begin([]*writer.Write{w})
	units, err := f.Table.PutVersion(ctx, w)
	f.end([]*writer.Write{w}, err)
	return units, err
}

func (f *counted) Probe(ctx context.Context, c *messages.Command) error {
	f.begin(nil)
	err := f.Table.Probe(ctx, c)
	f.end(nil, err)
	return err
}

// begin notes a call. Two writes of a key must not be in flight at once.
func (f *counted) begin(writes []*writer.Write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.now++
	f.maxCalls = max(f.maxCalls, f.now)
	for _, w := range writes {
		k := table.KeyOf(&w.Command)
		if f.inFlight[k] {
			f.t.Errorf("two writes to %s %s in flight", k.PK(), k.SK())
		}
		f.inFlight[k] = true
	}
}

// end notes a call's end. The stack must not refuse it: the writer would have asked for what DynamoDB never does.
func (f *counted) end(writes []*writer.Write, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now--
	for _, w := range writes {
		delete(f.inFlight, table.KeyOf(&w.Command))
	}
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		f.t.Errorf("DynamoDB refuses a call: %v", refused)
	}
	if err == nil {
		f.done = append(f.done, time.Now())
	}
}

// tally is an Owner that counts outcomes.
type tally struct {
	mu       sync.Mutex
	outcomes map[writer.Outcome]int
	groups   int
}

func (o *tally) Settled(g *writer.Group) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.groups++
	for i := range g.Writes {
		o.outcomes[g.Writes[i].Outcome]++
	}
}

func (o *tally) of(outcome writer.Outcome) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.outcomes[outcome]
}

// submit submits one order, written TENANT/ORDER or TENANT/ORDER@VERSION.
func submit(w *writer.Writer, o writer.Owner, text string) bool {
	c := commands.PutOrder("", "", "u", "1")
	text, version, _ := strings.Cut(text, "@")
	c.TenantID, c.ID, _ = strings.Cut(text, "/")
	_, _ = fmt.Sscan(version, &c.Version)
	return w.Submit(&writer.Group{Owner: o, Writes: []writer.Write{{Command: c}}}) == writer.Admitted
}

func TestPoolWritesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 5 * time.Millisecond
		f, w, o, stop := start(t, writer.Config{Writers: 8, Linger: 5 * time.Millisecond}, latency)
		begun := time.Now()
		for i := range 1000 {
			submit(w, o, fmt.Sprintf("t%d/%d", i%10, i))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := f.items(); o.of(writer.Written) != 1000 || n != 1000 {
			t.Fatalf("outcomes: %v, %d items", o.outcomes, n)
		}
		// There are 40 full batches, at most eight at once. A batch that is not full may go first, while no call is under way.
		if f.calls > 41 || f.maxCalls != 8 {
			t.Errorf("%d calls, %d at once", f.calls, f.maxCalls)
		}
		if took := f.done[len(f.done)-1].Sub(begun); took > 6*latency {
			t.Errorf("took %v", took)
		}
		stop()
	})
}

func TestALoneCommandGoesAtOnceAndASecondLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w, o, stop := start(t, writer.Config{Linger: 5 * time.Millisecond}, 100*time.Millisecond)
		begun := time.Now()
		submit(w, o, "a/1")
		synctest.Wait()
		submit(w, o, "a/2")
		time.Sleep(2 * time.Millisecond)
		submit(w, o, "a/3")
		time.Sleep(time.Second)
		stop()
		if len(f.done) != 2 || f.done[0].Sub(begun) != 100*time.Millisecond || f.done[1].Sub(begun) != 105*time.Millisecond {
			t.Errorf("calls ended after %v", f.done)
		}
	})
}

func TestOutageEndsQuickly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w, o, stop := start(t, writer.Config{Linger: time.Millisecond}, 5*time.Millisecond)
		f.mu.Lock()
		f.down = time.Now().Add(5 * time.Second)
		f.mu.Unlock()
		for i := range 5000 {
			submit(w, o, fmt.Sprintf("t%d/%d", i%10, i))
		}
		time.Sleep(5*time.Second - time.Millisecond)
		synctest.Wait()
		if !w.Stats().Outage || w.Stats().Concurrency != 1 {
			t.Errorf("after five seconds of failures: %+v", w.Stats())
		}
		f.mu.Lock()
		probes := f.calls
		f.mu.Unlock()
		if probes > 300 {
			t.Errorf("%d calls during five seconds of outage", probes)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if o.of(writer.Written) != 5000 || w.Stats().Concurrency < 32 {
			t.Errorf("two seconds after its end: %v, %+v", o.outcomes, w.Stats())
		}
		stop()
	})
}

func TestACallThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w, o, stop := start(t, writer.Config{CallTimeout: 3 * time.Second}, time.Hour)
		submit(w, o, "a/1")
		synctest.Wait()
		f.mu.Lock()
		f.latency = time.Millisecond
		f.mu.Unlock()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if o.of(writer.Written) != 1 || f.calls != 2 {
			t.Errorf("outcomes %v after %d calls", o.outcomes, f.calls)
		}
		stop()
	})
}

func TestCloseWaitsForCallsAndHandsBackTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w, o, stop := start(t, writer.Config{Writers: 1}, time.Second)
		for i := range 60 {
			submit(w, o, fmt.Sprint("a/", i))
		}
		synctest.Wait()
		begun := time.Now()
		stop()
		if took := time.Since(begun); took != time.Second {
			t.Errorf("close took %v, want the one second that the call under way needs", took)
		}
		if o.groups != 60 || o.of(writer.Written)+o.of(writer.HandedBack) != 60 || o.of(writer.Written) == 0 {
			t.Errorf("outcomes: %v", o.outcomes)
		}
		if submit(w, o, "a/late") {
			t.Error("taken after close")
		}
	})
}

func TestVersionedWritesFlyOneACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w, o, stop := start(t, writer.Config{Writers: 8}, 5*time.Millisecond)
		for i := range 64 {
			submit(w, o, fmt.Sprintf("a/%d@1", i))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if f.calls != 64 || f.maxCalls != 8 || o.of(writer.Written) != 64 {
			t.Errorf("%d calls, %d at once, %v", f.calls, f.maxCalls, o.outcomes)
		}
		stop()
	})
}

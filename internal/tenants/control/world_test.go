package control

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/operate/setup"
	"tributary/internal/tenants"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

const tableName = "MultiTenantTable"

// world is a table in a stack of its own.
type world struct {
	t     *testing.T
	stack *stack.Stack
	store *Store
}

// within runs a test in a bubble, where waiting costs no time.
func within(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		embedded := stack.New(stack.Options{})
		defer embedded.Close()
		cfg := stacktest.Config(embedded)
		client := dynamodb.NewFromConfig(cfg)
		s := setup.Setup{Queues: sqs.NewFromConfig(cfg), Tables: client, Features: client}
		if _, err := s.Run(t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: tableName}); err != nil {
			t.Fatal(err)
		}
		test(t, &world{t, embedded, &Store{client, tableName}})
	})
}

// process is a worker's agent, as far as a test needs one.
type process struct {
	*Agent
	log       bytes.Buffer
	confirmed atomic.Int64 // the newest that the writer confirms; maxInt64: all
	obeyed    atomic.Int64
	down      atomic.Pointer[refusal] // what DynamoDB answers
	calls     atomic.Int64
	slow      atomic.Int64 // how long a read of the revision takes, in nanoseconds
	asked     atomic.Int64 // when the last one that is answered began
	stop      context.CancelFunc
	done      chan struct{}
}

// refusal is the error of every call; of those to one operation where it names one.
type refusal struct{ code, operation string }

// ServeHTTP answers for DynamoDB.
func (p *process) serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		if down := p.down.Load(); down != nil && strings.HasSuffix(r.Header.Get("X-Amz-Target"), down.operation) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.dynamodb.v20120810#` + down.code + `","message":"refused"}`))
			return
		}
		if slow := time.Duration(p.slow.Load()); slow > 0 && strings.HasSuffix(r.Header.Get("X-Amz-Target"), "GetItem") {
			began := time.Now()
			time.Sleep(slow)
			p.asked.Store(began.UnixNano())
		}
		next.ServeHTTP(w, r)
	})
}

// process makes an agent that does not run yet.
func (w *world) process(role string) *process {
	p := &process{done: make(chan struct{})}
	p.confirmed.Store(1 << 62)
	p.Agent = NewAgent(AgentConfig{
		API: dynamodb.NewFromConfig(stacktest.Config(p.serve(w.stack))), Table: tableName, Role: role, Version: "1", Types: "f",
		Obey: func(r *tenants.Rules) {
			if r != nil {
				p.obeyed.Store(r.Revision)
			}
		},
		Confirmed: func() int64 { return min(p.obeyed.Load(), p.confirmed.Load()) },
		Log:       slog.New(slog.NewTextHandler(&p.log, nil)),
	})
	return p
}

// start begins and runs the agent until the test ends, or kill or leave is called.
func (w *world) start(p *process) *process {
	ctx, stop := context.WithCancel(w.t.Context())
	p.stop = stop
	p.Begin(ctx)
	go func() {
		p.Run(ctx)
		close(p.done)
	}()
	synctest.Wait()
	w.t.Cleanup(p.leave)
	return p
}

func (p *process) leave() {
	p.stop()
	<-p.done
}

// kill ends the agent as kill -9 would: it says nothing more.
func (p *process) kill() {
	p.down.Store(&refusal{code: "AccessDeniedException"})
	p.leave()
}

func (w *world) suspend(tenant string) int64 {
	w.t.Helper()
	_, revision, err := w.store.Decide(w.t.Context(), tenant, "suspend", func(d tenants.Decision) (tenants.Decision, error) {
		d.Status, d.By, d.At = tenants.Suspended, "ann@desk", time.Now()
		return d, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return revision
}

// wait lets time pass.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

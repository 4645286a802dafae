package admin

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
)

// world is what a worker's vitals look at.
type world struct {
	queue, table atomic.Bool // they fail
	letters      atomic.Bool // so does the dead-letter queue
	outage       atomic.Bool
	held         atomic.Int64
	moved        atomic.Uint64
}

var errDown = errors.New("no answer")

func failing(b *atomic.Bool) func(context.Context) error {
	return func(context.Context) error {
		if b.Load() {
			return errDown
		}
		return nil
	}
}

func (w *world) vitals(t *testing.T) *Vitals {
	t.Helper()
	v := NewVitals(VitalsConfig{
		Queue: failing(&w.queue), Table: failing(&w.table), Letters: failing(&w.letters), Outage: w.outage.Load,
		Held: func() int { return int(w.held.Load()) }, Moved: w.moved.Load,
	})
	if v.Ready().OK {
		t.Error("ready before anything was asked")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { v.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return v
}

func expect(t *testing.T, when string, r Report, ok bool, says string) {
	t.Helper()
	synctest.Wait()
	var details []string
	for _, c := range r.Checks {
		details = append(details, c.Detail)
	}
	if text := strings.Join(details, "; "); r.OK != ok || !strings.Contains(text, says) {
		t.Errorf("%s: ok is %v (%s), want %v with %q", when, r.OK, text, ok, says)
	}
}

func TestReadyWhenQueueAndTableAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		w.queue.Store(true)
		v := w.vitals(t)
		synctest.Wait()
		expect(t, "queue fails from the start", v.Ready(), false, "has never answered: no answer")
		w.queue.Store(false)
		time.Sleep(ProbeEvery + 1)
		expect(t, "both answer", v.Ready(), true, "answers")
		w.table.Store(true)
		time.Sleep(ProbeEvery)
		expect(t, "table fails for a moment", v.Ready(), true, "has failed for 0s")
		time.Sleep(failingAfter)
		expect(t, "table fails for long", v.Ready(), false, "has failed for 1m0s")
		w.table.Store(false)
		time.Sleep(ProbeEvery)
		expect(t, "table answers again", v.Ready(), true, "answers")
		w.outage.Store(true)
		time.Sleep(ProbeEvery)
		expect(t, "short outage", v.Ready(), true, "one call at a time")
		time.Sleep(failingAfter)
		expect(t, "long outage", v.Ready(), false, "refused all writes for 1m0s")
		w.outage.Store(false)
		time.Sleep(ProbeEvery)
		v.Drain()
		expect(t, "draining", v.Ready(), false, "shutting down")
		expect(t, "draining", v.Health(), true, "")
	})
}

// Commands are written without the dead-letter queue: it fails visibly, and stops no rollout.
func TestADeadLetterQueueThatFailsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		w.letters.Store(true)
		v := w.vitals(t)
		time.Sleep(ProbeEvery + 1)
		expect(t, "from the start", v.Ready(), true, "answers; answers; has never answered: no answer")
		w.letters.Store(false)
		time.Sleep(ProbeEvery)
		w.letters.Store(true)
		time.Sleep(ProbeEvery + failingAfter)
		expect(t, "for long", v.Ready(), true, "answers; answers; has failed for 1m0s: no answer")
	})
}

func TestStuckPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		v := w.vitals(t)
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		pass(time.Hour)
		expect(t, "idle", v.Health(), true, "there is none")

		w.held.Store(40)
		pass(stuckAfter - ProbeEvery)
		expect(t, "held for a while", v.Health(), true, "40 commands are held")
		pass(2 * ProbeEvery)
		expect(t, "held for long", v.Health(), false, "nothing has moved for 3m")

		for range 100 {
			w.moved.Add(1)
			pass(ProbeEvery)
		}
		expect(t, "moves", v.Health(), true, "work moves")

		w.outage.Store(true)
		pass(time.Hour)
		expect(t, "an outage of writes", v.Health(), true, "")
		w.outage.Store(false)
		w.table.Store(true)
		pass(time.Hour)
		expect(t, "the table does not answer", v.Health(), true, "")
		w.table.Store(false)
		pass(stuckAfter - ProbeEvery)
		expect(t, "just after an outage", v.Health(), true, "")
		pass(2 * ProbeEvery)
		expect(t, "nothing moves after an outage", v.Health(), false, "nothing has moved")
		w.held.Store(0)
		pass(ProbeEvery)
		expect(t, "all is settled", v.Health(), true, "")
	})
}

func TestHangingProbeTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewVitals(VitalsConfig{Table: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { v.Run(ctx); close(done) }()
		time.Sleep(probeTimeout + 1)
		expect(t, "hanging", v.Ready(), false, "has never answered")
		cancel()
		<-done
	})
}

// TestReportsAreBriefAndTheLogIsNot: AWS's texts name accounts and roles.
func TestReportsAreBriefAndTheLogIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := &smithy.OperationError{ServiceID: "DynamoDB", OperationName: "DescribeTable", Err: &smithy.GenericAPIError{
			Code: "AccessDeniedException", Message: "User: arn:aws:sts::123456789012:assumed-role/worker/i-1 is not authorized",
		}}
		var failing atomic.Bool
		failing.Store(true)
		var said bytes.Buffer
		v := NewVitals(VitalsConfig{Log: slog.New(slog.NewTextHandler(&said, nil)), Table: func(context.Context) error {
			if failing.Load() {
				return refused
			}
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { v.Run(ctx); close(done) }()
		time.Sleep(4*ProbeEvery + 1) // between two probes
		expect(t, "refused", v.Ready(), false, "AccessDeniedException")
		if detail := v.Ready().Checks[1].Detail; strings.Contains(detail, "arn:") || strings.Contains(detail, "User") {
			t.Errorf("the report says %q", detail)
		}
		failing.Store(false)
		time.Sleep(ProbeEvery)
		expect(t, "allowed", v.Ready(), true, "answers")
		cancel()
		<-done
		if text := said.String(); strings.Count(text, "assumed-role/worker") != 1 || strings.Count(text, "answered again") != 1 {
			t.Errorf("the log should say once what AWS says, and once that it is over:\n%s", text)
		}
	})
}

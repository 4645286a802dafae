package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/writer"
)

const (
	good = `{"type":"delete_user","tenant_id":"acme","user_id":"u1"}`
	bad  = `{"type":"delete_user","tenant_id":"acme","user_id":""}`
)

// silent is a queue and a dead-letter queue without a message and without a rule: these tests are about what the consumer makes of
// messages, which they give to it themselves.
type silent struct {
	unchanging error // of every change of a visibility
}

func (silent) Receive(context.Context, int, time.Duration) ([]Message, error) { return nil, nil }
func (silent) Delete(context.Context, []string) ([]Failure, error)            { return nil, nil }
func (silent) Send(context.Context, []Letter) ([]Failure, error)              { return nil, nil }
func (s silent) ChangeVisibility(context.Context, []Visibility) ([]Failure, error) {
	return nil, s.unchanging
}

// newConsumer makes a consumer that does not run.
func newConsumer(t *testing.T, cfg Config, q silent, w Writer) *Consumer {
	m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
	c := New(cfg.Defaults(), q, q, w, &m.Consumer, slog.New(slog.DiscardHandler))
	c.calls = t.Context()
	return c
}

// picky refuses each group that need not be held.
type picky struct{ taken int }

func (p *picky) Submit(g *writer.Group) writer.Admission {
	if !g.Hold {
		return writer.Stalled
	}
	p.taken++
	return writer.Admitted
}

func (*picky) Abandon(*writer.Group) {}
func (*picky) Drain()                {}
func (*picky) Close()                {}

func TestNothingIsNackedNearSQSsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name                   string
			delayed, queue, nacked int
		}{
			{"room", maxDelayed - 1, maxQueueInFlight - 1, 1},
			{"this worker has many away", maxDelayed, 0, 0},
			{"all workers have", 0, maxQueueInFlight, 0},
		} {
			w := &picky{}
			c := newConsumer(t, Config{}, silent{}, w)
			for range test.delayed {
				c.delayed.add(time.Now().Add(time.Hour))
			}
			c.QueueInFlight(test.queue)
			c.admit(time.Now(), []Message{{ID: "m", ReceiptHandle: "m/1", Body: good, ReceiveCount: 1}}, 0, reservation{}, nil)
			time.Sleep(time.Second)
			if n := int(c.Summary().HandedBack); n != test.nacked || w.taken != 1-test.nacked {
				t.Errorf("%s: %d handed back, %d held", test.name, n, w.taken)
			}
		}
	})
}

func TestOnlyNackedMessagesCountAsDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t, Config{}, silent{unchanging: errors.New("SQS is out of reach")}, &picky{})
		calls, stop := context.WithCancel(t.Context())
		c.calls = calls
		c.admit(time.Now(), []Message{{ID: "m", ReceiptHandle: "m/1", Body: good, ReceiveCount: 1}}, 0, reservation{}, nil)
		time.Sleep(20 * time.Second)
		c.mu.Lock()
		if n := c.delayed.at(time.Now()); n != 0 {
			t.Errorf("%d messages count as delayed, none could be nacked", n)
		}
		c.mu.Unlock()
		stop()
		c.nacks.close()
	})
}

// keeps settles each group at once, as written, and remembers their order.
type keeps struct{ received []int64 }

func (k *keeps) Submit(g *writer.Group) writer.Admission {
	k.received = append(k.received, g.Received)
	g.Writes[0].Outcome = writer.Written
	g.Owner.Settled(g)
	return writer.Admitted
}

func (*keeps) Abandon(*writer.Group) {}
func (*keeps) Drain()                {}
func (*keeps) Close()                {}

// SQS's hosts disagree by milliseconds. A message of a receive that began after another message's arrival ranks after it.
func TestOrderOfReceives(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(1_700_000_000_000 + ms) }
	for _, test := range []struct {
		name  string
		fifo  bool
		first Message // a receive brings it, and the next one was asked for
		later Message
		begun bool // after that
		want  int64
	}{
		{"as the clock says", false, Message{ReceiveCount: 1, FirstReceivedAt: at(5)}, Message{ReceiveCount: 1, FirstReceivedAt: at(9)}, true, 9},
		{"another clock is behind", false, Message{ReceiveCount: 1, FirstReceivedAt: at(5)}, Message{ReceiveCount: 1, FirstReceivedAt: at(3)}, true, 5},
		{"receives overlap", false, Message{ReceiveCount: 1, FirstReceivedAt: at(5)}, Message{ReceiveCount: 1, FirstReceivedAt: at(3)}, false, 3},
		{"it comes again", false, Message{ReceiveCount: 1, FirstReceivedAt: at(5)}, Message{ReceiveCount: 2, FirstReceivedAt: at(3)}, true, 3},
		{"what comes again says nothing of now", false, Message{ReceiveCount: 2, FirstReceivedAt: at(5)}, Message{ReceiveCount: 1, FirstReceivedAt: at(3)}, true, 3},
		{"the queue doesn't tell", false, Message{ReceiveCount: 1, FirstReceivedAt: at(5)}, Message{ReceiveCount: 1}, true, -1_700_000_000_000},
		{"a FIFO queue", true, Message{ReceiveCount: 1, FirstReceivedAt: at(5)}, Message{ReceiveCount: 1, FirstReceivedAt: at(9)}, true, -1_700_000_000_000},
	} {
		k := &keeps{}
		c := newConsumer(t, Config{FIFO: test.fifo}, silent{}, k)
		test.first.Body, test.later.Body = good, good
		c.admit(time.Now(), []Message{test.first}, c.latestFirstReceive, reservation{}, nil)
		before := c.latestFirstReceive
		if !test.begun {
			before = 0
		}
		c.admit(time.Now(), []Message{test.later}, before, reservation{}, nil)
		c.deletes.close()
		if got := k.received[1] - 1_700_000_000_000; got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestTheClockOfOneMessage(t *testing.T) {
	base := time.UnixMilli(1_700_000_000_000)
	at := func(d time.Duration) int64 { return base.Add(d).UnixMilli() }
	k := queueClock{base: base}
	for i, step := range []struct {
		now, at time.Duration
		fresh   bool
		want    time.Duration
	}{
		{time.Second, time.Second, true, time.Second},
		{2 * time.Second, time.Hour, true, 2 * time.Second},  // from the future
		{3 * time.Second, time.Hour, false, 3 * time.Second}, // it comes again
		{4 * time.Second, 4 * time.Second, true, 4 * time.Second},
		{5 * time.Second, 2 * time.Second, true, 2 * time.Second},                              // a slow answer
		{6 * time.Second, 6*time.Second + 500*time.Millisecond, true, 6500 * time.Millisecond}, // another machine's clock
	} {
		if got := k.plausible(at(step.at), base.Add(step.now), step.fresh); got != at(step.want) {
			t.Errorf("step %d: %v, want %v", i, time.Duration(got-at(0))*time.Millisecond, step.want)
		}
	}
	// A clock of this machine that is 45 days slow is noticed.
	k = queueClock{base: base}
	const days = 45 * 24 * time.Hour
	for i := range believeAfter {
		k.plausible(at(days+time.Duration(i)*time.Second), base.Add(time.Duration(i)*time.Second), true)
	}
	if got := k.plausible(at(days+time.Minute), base.Add(time.Minute), true); got != at(days+time.Minute) {
		t.Errorf("after %d messages SQS's clock is not believed", believeAfter)
	}
}

func TestAMessageFromTheFutureDoesNotMakeOthersOld(t *testing.T) {
	k := &keeps{}
	c := newConsumer(t, Config{}, silent{}, k)
	now := time.Now()
	for i, at := range []time.Time{now.Add(time.Hour), now.Add(time.Second)} {
		c.admit(time.Now(), []Message{{ID: fmt.Sprint(i), Body: good, ReceiveCount: 1, FirstReceivedAt: at}}, c.latestFirstReceive, reservation{}, nil)
	}
	c.deletes.close()
	if k.received[1] != now.Add(time.Second).UnixMilli() || k.received[0] > k.received[1] {
		t.Errorf("ranks %v, now is %d", k.received, now.UnixMilli())
	}
}

// accepting is a table without a rule.
type accepting struct{}

func (accepting) BatchWrite(context.Context, []*writer.Write) ([]int, writer.Units, error) {
	return nil, writer.Units{}, nil
}
func (accepting) PutVersion(context.Context, *writer.Write) (writer.Units, error) {
	return writer.Units{}, nil
}
func (accepting) Probe(context.Context, *messages.Command) error { return nil }

// What the writer remembers of keys must not keep messages in memory. Their bodies may be a thousand times larger than a key, and
// no longer count against the room.
func TestWhatIsDoneLeavesNoBodiesBehind(t *testing.T) {
	m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
	wr := writer.New(writer.Config{}.Defaults(), accepting{}, &m.Writer, slog.New(slog.DiscardHandler))
	var writing sync.WaitGroup
	writing.Go(func() { wr.Run(t.Context()) })
	c := newConsumer(t, Config{}, silent{}, wr)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // collects what the first one made unreachable
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	const messages = 100
	for i := range messages {
		id := fmt.Sprint(i)
		for _, body := range []string{`{"type":"delete_user","tenant_id":"acme","user_id":"` + id + `"}`, `[` + good + `,{"type":"delete_user","tenant_id":"acme","user_id":"x` + id + `"}]`} {
			body += strings.Repeat(" ", 1<<20-200)
			c.admit(time.Now(), []Message{{ID: id, Body: body, ReceiveCount: 1, FirstReceivedAt: time.Now()}}, 0, reservation{}, nil)
		}
	}
	wr.Drain()
	for c.held.len() > 0 {
		runtime.Gosched()
	}
	if after := heap(); after > before+messages<<20/4 {
		t.Errorf("%d MiB are kept of %d messages of 1 MiB that are done", (after-before)>>20, 2*messages)
	}
	wr.Close()
	writing.Wait()
}

package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
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

// fakeQueue keeps messages as SQS does. A receive waits for the first message, and hides messages for the visibility timeout.
type fakeQueue struct {
	t          *testing.T
	visibility time.Duration

	mu       sync.Mutex
	messages map[string]*fakeMessage // by id
	arrived  chan struct{}           // closed and replaced when something may have become visible
	deletes  int                     // how many Delete calls fail before one succeeds
	events   []string
	begun    time.Time
}

type fakeMessage struct {
	Message
	visibleAt time.Time
	handle    string
	deleted   bool
}

func newFakeQueue(t *testing.T, visibility time.Duration) *fakeQueue {
	return &fakeQueue{t: t, visibility: visibility, messages: map[string]*fakeMessage{}, arrived: make(chan struct{}), begun: time.Now()}
}

func (q *fakeQueue) note(format string, args ...any) {
	q.events = append(q.events, fmt.Sprintf("%v ", time.Since(q.begun).Round(10*time.Millisecond))+fmt.Sprintf(format, args...))
}

func (q *fakeQueue) send(id, body string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages[id] = &fakeMessage{Message: Message{ID: id, Body: body, SentAt: time.Now()}, visibleAt: time.Now()}
	close(q.arrived)
	q.arrived = make(chan struct{})
}

func (q *fakeQueue) Receive(ctx context.Context, most int, wait time.Duration) (out []Message, err error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		q.mu.Lock()
		for _, m := range q.messages {
			if !m.deleted && !time.Now().Before(m.visibleAt) && len(out) < most {
				m.ReceiveCount++
				m.handle = fmt.Sprintf("%s/%d", m.ID, m.ReceiveCount)
				m.visibleAt = time.Now().Add(q.visibility)
				received := m.Message
				received.ReceiptHandle = m.handle
				out = append(out, received)
				q.note("received %s", m.handle)
			}
		}
		arrived := q.arrived
		q.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-arrived:
		case <-time.After(time.Second): // a message may have become visible
		case <-deadline.C:
			return nil, nil
		case <-ctx.Done():
			q.t.Error("a long poll was abandoned")
			return nil, ctx.Err()
		}
	}
}

func (q *fakeQueue) find(handle string) *fakeMessage {
	for _, m := range q.messages {
		if m.handle == handle && !m.deleted {
			return m
		}
	}
	return nil
}

func (q *fakeQueue) Delete(_ context.Context, handles []string) (failures []Failure, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deletes > 0 {
		q.deletes--
		return nil, errors.New("SQS is out of reach")
	}
	for i, h := range handles {
		if m := q.find(h); m != nil {
			m.deleted = true
			q.note("deleted %s", h)
		} else {
			failures = append(failures, Failure{Index: i, Code: "ReceiptHandleIsInvalid", Final: true})
		}
	}
	return failures, nil
}

func (q *fakeQueue) ChangeVisibility(_ context.Context, changes []Visibility) (failures []Failure, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, c := range changes {
		if m := q.find(c.ReceiptHandle); m != nil && time.Now().Before(m.visibleAt) {
			m.visibleAt = time.Now().Add(c.Timeout)
			q.note("%s visible in %v", c.ReceiptHandle, c.Timeout)
		} else {
			failures = append(failures, Failure{Index: i, Code: "MessageNotInflight", Final: true})
		}
	}
	return failures, nil
}

// fakeLetters is a dead-letter queue that can be out of reach.
type fakeLetters struct {
	mu      sync.Mutex
	down    bool
	latency time.Duration
	judge   func([]Letter) ([]Failure, error) // nil: all are taken
	letters []Letter
}

func (f *fakeLetters) Send(ctx context.Context, letters []Letter) ([]Failure, error) {
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
	var err error
	if f.judge != nil {
		failures, err = f.judge(letters)
	}
	for i := range letters {
		if !slices.ContainsFunc(failures, func(f Failure) bool { return f.Index == i }) {
			f.letters = append(f.letters, letters[i])
		}
	}
	return failures, err
}

// of counts the letters of a message.
func (f *fakeLetters) of(id string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.letters {
		if l.Attributes["source_message_id"] == id {
			n++
		}
	}
	return n
}

// fakeTable takes latency for every call.
type fakeTable struct {
	mu      sync.Mutex
	latency time.Duration
	stuck   string // the user whose writes are always left over
}

func (f *fakeTable) call(ctx context.Context) error {
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

func (f *fakeTable) BatchWrite(ctx context.Context, writes []*writer.Write) (left []int, units writer.Units, err error) {
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

func (f *fakeTable) PutVersion(ctx context.Context, _ *writer.Write) (writer.Units, error) {
	return writer.Units{}, f.call(ctx)
}

func (f *fakeTable) Probe(ctx context.Context, _ *messages.Command) error { return f.call(ctx) }

type world struct {
	*fakeQueue
	letters fakeLetters
	table   fakeTable
	c       *Consumer
	stop    context.CancelFunc
	ended   chan Summary
}

// startWorld runs a consumer and a writer on fakes.
func startWorld(t *testing.T, cfg Config, latency time.Duration) *world {
	cfg = cfg.Defaults()
	w := &world{fakeQueue: newFakeQueue(t, cfg.VisibilityTimeout), ended: make(chan Summary, 1)}
	w.table.latency = latency
	m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
	log := slog.New(slog.DiscardHandler)
	wr := writer.New(writer.Config{Linger: time.Millisecond, CallTimeout: 10 * time.Minute}.Defaults(), &w.table, &m.Writer, log)
	w.c = New(cfg, w.fakeQueue, &w.letters, wr, &m.Consumer, log)
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

const (
	good = `{"type":"delete_user","tenant_id":"acme","user_id":"u1"}`
	bad  = `{"type":"delete_user","tenant_id":"acme","user_id":""}`
)

func TestStoppingLetsALongPollEndAndNacksWhatItBrings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 0)
		time.Sleep(5 * time.Second)
		w.stop()
		time.Sleep(3 * time.Second)
		w.send("late", good)
		s := <-w.ended
		if took := time.Since(w.begun); took < 8*time.Second || took > 8*time.Second+100*time.Millisecond {
			t.Errorf("stopped after %v", took)
		}
		w.expect(t, "8s received late/1", "8.02s late/1 visible in 0s")
		if s != (Summary{Received: 1, HandedBack: 1}) {
			t.Errorf("%v", s)
		}
	})
}

func TestStoppingFinishesWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 4*time.Second)
		w.send("one", good)
		time.Sleep(time.Second)
		w.stop()
		if s := <-w.ended; s != (Summary{Received: 1, Deleted: 1, Commands: 1}) {
			t.Errorf("%v", s)
		}
	})
}

func TestStoppingEndsInTimeWhateverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{DrainTimeout: 40 * time.Second}, 9*time.Minute)
		w.send("flies", `[`+good+`]`)
		time.Sleep(time.Second)
		w.send("waits", good) // for the same key
		time.Sleep(time.Second)
		w.stop()
		begun := time.Now()
		s := <-w.ended
		if took := time.Since(begun); took > 41*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if s.Received != 2 || s.HandedBack != 1 || s.Left != 1 {
			t.Errorf("%v", s)
		}
	})
}

func TestVisibilityIsExtendedWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{VisibilityTimeout: 32 * time.Second}, 100*time.Second)
		w.send("slow", good)
		time.Sleep(3 * time.Minute)
		w.mu.Lock()
		m := w.messages["slow"]
		if m.ReceiveCount != 1 || !m.deleted {
			t.Errorf("received %d times, deleted: %v: %q", m.ReceiveCount, m.deleted, w.events)
		}
		w.mu.Unlock()
		w.stop()
		<-w.ended
	})
}

func TestAMessageIsNackedAfterTwelveHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{VisibilityTimeout: time.Hour}, 0)
		w.letters.down = true
		w.send("mixed", `[`+good+`,`+bad+`]`) // part-written: it is held, and its letter can't be sent
		time.Sleep(11*time.Hour + 30*time.Minute)
		w.mu.Lock()
		m := w.messages["mixed"]
		if m.ReceiveCount != 1 {
			t.Errorf("a part-written message was received %d times", m.ReceiveCount)
		}
		w.mu.Unlock()
		time.Sleep(2 * time.Hour)
		w.letters.mu.Lock()
		w.letters.down = false
		w.letters.mu.Unlock()
		time.Sleep(time.Hour)
		w.mu.Lock()
		if m.ReceiveCount < 2 || !m.deleted {
			t.Errorf("received %d times, deleted: %v", m.ReceiveCount, m.deleted)
		}
		w.mu.Unlock()
		// The delivery that went back must be forgotten. Otherwise there would be one more every twelve hours, each with a letter.
		if n := len(w.letters.letters); n != 1 || w.c.held.len() != 0 {
			t.Errorf("%d letters, %d messages held, want 1 and 0", n, w.c.held.len())
		}
		w.stop()
		<-w.ended
	})
}

func TestADeadLetterQueueOutOfReachKeepsMessagesOnTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 0)
		w.letters.down = true
		w.send("bad", bad)
		time.Sleep(30 * time.Second)
		w.mu.Lock()
		m := w.messages["bad"]
		if m.deleted || m.ReceiveCount < 2 {
			t.Errorf("deleted: %v, received %d times: %q", m.deleted, m.ReceiveCount, w.events)
		}
		w.mu.Unlock()
		w.letters.mu.Lock()
		w.letters.down = false
		w.letters.mu.Unlock()
		time.Sleep(2 * time.Minute)
		w.mu.Lock()
		if !m.deleted || len(w.letters.letters) != 1 || w.letters.letters[0].Body != bad {
			t.Errorf("deleted: %v, letters %v", m.deleted, w.letters.letters)
		}
		w.mu.Unlock()
		w.stop()
		<-w.ended
	})
}

func TestDeletesAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 0)
		w.deletes = 5
		w.send("one", good)
		time.Sleep(20 * time.Second)
		w.stop()
		if s := <-w.ended; s != (Summary{Received: 1, Deleted: 1, Commands: 1}) {
			t.Errorf("%v", s)
		}
	})
}

// A message may hold so many commands that a receive of such messages would take all the room. One of its commands that can't be
// written must not keep others from being received.
func TestOneLargeMessageDoesNotStopReceiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 5*time.Millisecond)
		w.table.stuck = "stuck"
		body := `[{"type":"delete_user","tenant_id":"hot","user_id":"stuck"}`
		for i := range 3000 {
			body += fmt.Sprintf(`,{"type":"delete_user","tenant_id":"hot","user_id":"u%d"}`, i)
		}
		w.send("large", body+"]")
		time.Sleep(time.Second)
		for i := range 20 {
			w.send(fmt.Sprint(i), fmt.Sprintf(`{"type":"delete_user","tenant_id":"quiet","user_id":"u%d"}`, i))
		}
		time.Sleep(10 * time.Second)
		if n := w.c.Summary().Deleted; n != 20 {
			t.Errorf("%d of the 20 others are done", n)
		}
		w.table.mu.Lock()
		w.table.stuck = ""
		w.table.mu.Unlock()
		time.Sleep(10 * time.Second)
		w.stop()
		if s := <-w.ended; s.Deleted != 21 || s.Left != 0 {
			t.Errorf("%v", s)
		}
	})
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
			q, w := newFakeQueue(t, time.Minute), &picky{}
			m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
			c := New(Config{}.Defaults(), q, &fakeLetters{}, w, &m.Consumer, slog.New(slog.DiscardHandler))
			c.calls = t.Context()
			for range test.delayed {
				c.delayed.add(time.Now().Add(time.Hour))
			}
			c.QueueInFlight(test.queue)
			q.send("m", good)
			received, err := q.Receive(t.Context(), 10, 0)
			if err != nil {
				t.Fatal(err)
			}
			c.admit(time.Now(), received, 0, reservation{}, nil)
			time.Sleep(time.Second)
			if n := int(c.Summary().HandedBack); n != test.nacked || w.taken != 1-test.nacked {
				t.Errorf("%s: %d handed back, %d held", test.name, n, w.taken)
			}
		}
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
		m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
		k := &keeps{}
		c := New(Config{FIFO: test.fifo}.Defaults(), newFakeQueue(t, time.Minute), &fakeLetters{}, k, &m.Consumer, slog.New(slog.DiscardHandler))
		c.calls = t.Context()
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

// What the writer remembers of keys must not keep messages in memory. Their bodies may be a thousand times larger than a key, and
// no longer count against the room.
func TestWhatIsDoneLeavesNoBodiesBehind(t *testing.T) {
	m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
	log := slog.New(slog.DiscardHandler)
	wr := writer.New(writer.Config{}.Defaults(), &fakeTable{}, &m.Writer, log)
	var writing sync.WaitGroup
	writing.Go(func() { wr.Run(t.Context()) })
	q := newFakeQueue(t, time.Minute)
	c := New(Config{}.Defaults(), q, &fakeLetters{}, wr, &m.Consumer, log)
	c.calls = t.Context()
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

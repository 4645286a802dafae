package consumer

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/writer"
)

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
			q, letters := newQueues(t, time.Minute, false)
			w := &picky{}
			m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
			c := New(Config{}.Defaults(), q, letters, w, &m.Consumer, slog.New(slog.DiscardHandler))
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
		queue, letters := newQueues(t, time.Minute, test.fifo)
		c := New(Config{FIFO: test.fifo}.Defaults(), queue, letters, k, &m.Consumer, slog.New(slog.DiscardHandler))
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
	wr := writer.New(writer.Config{}.Defaults(), &slowTable{}, &m.Writer, log)
	var writing sync.WaitGroup
	writing.Go(func() { wr.Run(t.Context()) })
	q, letters := newQueues(t, time.Minute, false)
	c := New(Config{}.Defaults(), q, letters, wr, &m.Consumer, log)
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

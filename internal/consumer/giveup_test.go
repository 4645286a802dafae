package consumer_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tributary/internal/consumer"
)

// endings notes how a world's deliveries ended.
type endings struct {
	mu  sync.Mutex
	all map[string]bool // receipt handles
}

func (e *endings) ended(handle string, deleted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[string]bool{}
	}
	e.all[handle] = deleted
}

// list gives the ends by delivery.
func (e *endings) list(w *world) (list []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for handle, deleted := range e.all {
		list = append(list, fmt.Sprint(w.delivery(handle), " ", deleted))
	}
	slices.Sort(list)
	return list
}

// TestEndedIsToldEveryEnd: a message is deleted, nacked, or left because its letter can't be sent. A delete that makes no call is
// not gathered for long.
func TestEndedIsToldEveryEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e endings
		w := startWorld(t, consumer.Config{Ended: e.ended}, 0)
		w.change(func(s *script) { s.refuse = refuseFinally(func(l *letter) bool { return l.source == "evil" }) })
		w.send("good", good)
		synctest.Wait()
		if got := e.list(w); !slices.Equal(got, []string{"good/1 true"}) {
			t.Errorf("at once: %q", got)
		}
		w.send("evil", bad)
		w.send("bad", bad)
		time.Sleep(time.Second)
		w.change(func(s *script) { s.stuck = "u1" })
		w.send("stuck", good)
		time.Sleep(time.Second)
		handles := w.held("stuck/1", "good/1")
		handles["other"] = true
		if left := w.c.GiveUp(handles); left != 0 {
			t.Errorf("%d are undecided", left)
		}
		time.Sleep(100 * time.Millisecond)
		want := []string{"bad/1 true", "evil/1 false", "good/1 true", "stuck/1 false"}
		if got := e.list(w); !slices.Equal(got, want) {
			t.Errorf("ends are %q, want %q", got, want)
		}
		w.stop()
		<-w.ended
	})
}

// TestGiveUpWaitsForACall: a message that is part of a call stays undecided until the call is answered. Others are nacked.
func TestGiveUpWaitsForACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e endings
		w := startWorld(t, consumer.Config{Ended: e.ended}, 4*time.Second)
		w.change(func(s *script) { s.stuck = "u1" })
		w.send("one", good)
		time.Sleep(time.Second)
		handles := w.held("one/1")
		if left := w.c.GiveUp(handles); left != 1 || len(e.list(w)) != 0 {
			t.Errorf("%d are undecided, ends are %q", left, e.list(w))
		}
		time.Sleep(2900 * time.Millisecond)
		if left := w.c.GiveUp(handles); left != 1 {
			t.Errorf("%d are undecided shortly before the answer", left)
		}
		time.Sleep(200 * time.Millisecond)
		if left := w.c.GiveUp(handles); left != 0 || !slices.Equal(e.list(w), []string{"one/1 false"}) {
			t.Errorf("%d are undecided, ends are %q", left, e.list(w))
		}
		w.stop()
		<-w.ended
	})
}

// TestGiveUpEndsRoundsOfLetters: a message whose letters fail is nacked between two rounds, however much of it is written.
func TestGiveUpEndsRoundsOfLetters(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var e endings
			w := startWorld(t, consumer.Config{Ended: e.ended, FIFO: fifo}, 0)
			w.change(func(s *script) { s.down = true })
			w.send("both", `[`+good+`,`+bad+`]`)
			time.Sleep(20 * time.Second)
			if len(e.list(w)) != 0 {
				t.Fatalf("ends are %q", e.list(w))
			}
			handles := w.held("both/1")
			if left := w.c.GiveUp(handles); left != 0 {
				t.Errorf("%d are undecided, although the next round is seconds away", left)
			}
			time.Sleep(100 * time.Millisecond)
			if got := e.list(w); !slices.Equal(got, []string{"both/1 false"}) {
				t.Errorf("FIFO %v: ends are %q", fifo, got)
			}
			w.stop()
			<-w.ended
		})
	}
}

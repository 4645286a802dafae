package consumer

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// endings notes how messages ended.
type endings struct {
	mu  sync.Mutex
	all []string
}

func (e *endings) ended(handle string, deleted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprint(handle, " ", deleted))
	slices.Sort(e.all)
}

func (e *endings) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all)
}

// TestEndedIsToldEveryEnd: a message is deleted, nacked, or left because its letter can't be sent. A delete that makes no call is
// not gathered for long.
func TestEndedIsToldEveryEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e endings
		w := startWorld(t, Config{Ended: e.ended}, 0)
		w.letters.judge = refuseFinally(func(l *Letter) bool { return l.Attributes["source_message_id"] == "evil" })
		w.send("good", good)
		synctest.Wait()
		if got := e.list(); !slices.Equal(got, []string{"good/1 true"}) {
			t.Errorf("at once: %q", got)
		}
		w.send("evil", bad)
		w.send("bad", bad)
		time.Sleep(time.Second)
		w.table.mu.Lock()
		w.table.stuck = "u1"
		w.table.mu.Unlock()
		w.send("stuck", good)
		time.Sleep(time.Second)
		if left := w.c.GiveUp(map[string]bool{"stuck/1": true, "good/1": true, "other": true}); left != 0 {
			t.Errorf("%d are undecided", left)
		}
		time.Sleep(100 * time.Millisecond)
		want := []string{"bad/1 true", "evil/1 false", "good/1 true", "stuck/1 false"}
		if got := e.list(); !slices.Equal(got, want) {
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
		w := startWorld(t, Config{Ended: e.ended}, 4*time.Second)
		w.table.stuck = "u1"
		w.send("one", good)
		time.Sleep(time.Second)
		handles := map[string]bool{"one/1": true}
		if left := w.c.GiveUp(handles); left != 1 || len(e.list()) != 0 {
			t.Errorf("%d are undecided, ends are %q", left, e.list())
		}
		time.Sleep(2900 * time.Millisecond)
		if left := w.c.GiveUp(handles); left != 1 {
			t.Errorf("%d are undecided shortly before the answer", left)
		}
		time.Sleep(200 * time.Millisecond)
		if left := w.c.GiveUp(handles); left != 0 || !slices.Equal(e.list(), []string{"one/1 false"}) {
			t.Errorf("%d are undecided, ends are %q", left, e.list())
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
			w := startWorld(t, Config{Ended: e.ended, FIFO: fifo}, 0)
			w.letters.down = true
			w.send("both", `[`+good+`,`+bad+`]`)
			time.Sleep(20 * time.Second)
			if len(e.list()) != 0 {
				t.Fatalf("ends are %q", e.list())
			}
			handles := map[string]bool{"both/1": true}
			if left := w.c.GiveUp(handles); left != 0 {
				t.Errorf("%d are undecided, although the next round is seconds away", left)
			}
			time.Sleep(100 * time.Millisecond)
			if got := e.list(); !slices.Equal(got, []string{"both/1 false"}) {
				t.Errorf("FIFO %v: ends are %q", fifo, got)
			}
			w.stop()
			<-w.ended
		})
	}
}

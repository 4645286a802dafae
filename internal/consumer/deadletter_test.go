package consumer_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/consumer"
	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/writer"
	"tributary/test/support/commands"
)

// refuseFinally refuses the letters that which selects, for good.
func refuseFinally(which func(*letter) bool) func(*letter) string {
	return func(l *letter) string {
		if which(l) {
			return "InvalidMessageContents"
		}
		return ""
	}
}

func TestALetterRefusedForGoodGoesInAnEnvelope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		w.change(func(s *script) { s.refuse = refuseFinally(func(l *letter) bool { return l.body == bad }) })
		w.send("mixed", `[`+good+`,`+bad+`]`)
		time.Sleep(20 * time.Second)
		w.stop()
		if s := <-w.ended; s != (consumer.Summary{Received: 1, Deleted: 1, Commands: 2, DeadLetters: 1}) {
			t.Errorf("%v", s)
		}
		letters := w.dead()
		if len(letters) != 1 {
			t.Fatalf("%d letters", len(letters))
		}
		decoded, err := messages.Decode(commands.Types, nil, letters[0].Body, nil)
		if err != nil || len(decoded) != 1 || decoded[0].Text != bad {
			t.Errorf("the letter %q decodes to %v, %v", letters[0].Body, decoded, err)
		}
	})
}

func TestAMessageWhoseLetterIsRefusedInEveryFormIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		w.change(func(s *script) { s.refuse = refuseFinally(func(l *letter) bool { return l.source == "evil" }) })
		w.send("evil", `[`+good+`,`+bad+`]`)
		w.send("other", bad)
		time.Sleep(10 * time.Second)
		if left := w.stack.Queues.Held(w.queue); len(left) != 1 || left[0].Body == bad || w.c.Stats().Messages != 0 {
			t.Errorf("left is %v, %d messages are held", left, w.c.Stats().Messages)
		}
		if n := testutil.ToFloat64(w.metrics.LettersFailed.WithLabelValues(metrics.LetterGivenUp)); n != 1 {
			t.Errorf("%v letters given up, want 1", n)
		}
		if w.lettersOf("other") != 1 {
			t.Errorf("%d letters of the other message", w.lettersOf("other"))
		}
		w.stop()
		<-w.ended
	})
}

// A call may end with an error although all its letters were accepted. One message must not cause that for the letters of others
// again and again.
func TestOneMessageDoesNotMakeOthersLettersGoAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		w.change(func(s *script) { s.unheard = func(l *letter) bool { return l.source == "evil" } })
		w.send("evil", `[`+good+`,`+bad+`]`)
		for i := range 9 {
			w.send(fmt.Sprint(i), `[`+good+`,`+bad+`]`)
		}
		time.Sleep(time.Minute)
		for i := range 9 {
			if n := w.lettersOf(fmt.Sprint(i)); n < 1 || n > 2 {
				t.Errorf("message %d has %d letters, want 1, or 2 where an answer was lost", i, n)
			}
		}
		if n := w.c.Summary().Deleted; n != 9 {
			t.Errorf("%d messages deleted, want 9", n)
		}
		if since, why := w.c.LettersFail(); since.IsZero() || !strings.Contains(why, "InternalFailure") {
			t.Errorf("letters fail since %v: %q", since, why)
		}
		w.stop()
		<-w.ended
	})
}

// Ten letters of 200 KiB are more than SQS takes in one call.
func TestLargeLettersGoInSeveralCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		body := `{"type":"delete_user","tenant_id":"acme","user_id":"` + strings.Repeat("x", 200<<10) + `"}`
		for i := range 10 {
			w.send(fmt.Sprint(i), body)
		}
		time.Sleep(time.Minute)
		failed := testutil.ToFloat64(w.metrics.LettersFailed.WithLabelValues(metrics.LetterRetried))
		if n := len(w.dead()); n != 10 || w.left() != 0 || failed != 0 {
			t.Errorf("%d letters, %d messages are left, %v letters failed", n, w.left(), failed)
		}
		w.stop()
		<-w.ended
	})
}

func TestMessagesThatWaitForLettersDoNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{MaxInFlight: 1000}, time.Millisecond)
		w.change(func(s *script) { s.refuse = func(*letter) string { return "InternalError" } })
		body := `[` + good + strings.Repeat(`,`+bad, 20) + `]`
		for i := range 52 { // of 21 commands each: more than there is room for
			w.send(fmt.Sprint("hostile", i), body)
		}
		time.Sleep(5 * time.Second)
		for i := range 20 {
			w.send(fmt.Sprint("honest", i), fmt.Sprintf(`{"type":"delete_user","tenant_id":"quiet","user_id":"u%d"}`, i))
		}
		time.Sleep(10 * time.Second)
		if n := w.c.Summary().Deleted; n != 20 {
			t.Errorf("%d of 20 honest messages are done", n)
		}
		w.change(func(s *script) { s.refuse = nil })
		time.Sleep(20 * time.Minute)
		if n := w.c.Summary().Deleted; n != 72 {
			t.Errorf("%d of 72 messages are done in the end", n)
		}
		w.stop()
		<-w.ended
	})
}

// Calls that have not begun when the time for draining is over are dropped, and their messages counted.
func TestDrainDropsWhatHasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{DrainTimeout: 25 * time.Second}, 0) // longer than a long poll
		w.change(func(s *script) { s.letters = time.Second })
		w.send("large", `[`+strings.Repeat(`{"type":"none"},`, 19_999)+bad+`]`)
		w.send("one", bad)
		time.Sleep(10 * time.Second)
		w.stop()
		begun := time.Now()
		s := <-w.ended
		if took := time.Since(begun); took > 27*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if s.Received != s.Deleted+s.HandedBack+s.Left || s.Left != 1 || s.Unfinished != 1 || w.lettersOf("one") != 1 {
			t.Errorf("%+v, %d letters of the small message", s, w.lettersOf("one"))
		}
	})
}

// A command counts as dead-lettered when its letter is sent.
func TestDeadLettersCountWhenTheyAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		w.change(func(s *script) { s.down = true })
		w.send("bad", bad)
		time.Sleep(time.Minute)
		counted := func() float64 {
			return testutil.ToFloat64(w.metrics.Commands.WithLabelValues("delete_user", writer.Refused.String()))
		}
		if n, s := counted(), w.c.Summary(); n != 0 || s.Commands != 0 {
			t.Errorf("%v commands count as dead-lettered: %v", n, s)
		}
		w.change(func(s *script) { s.down = false })
		time.Sleep(5 * time.Minute)
		if n, s := counted(), w.c.Summary(); n != 1 || s.Commands != 1 || s.DeadLetters != 1 {
			t.Errorf("%v commands count as dead-lettered: %v", n, s)
		}
		w.stop()
		<-w.ended
	})
}

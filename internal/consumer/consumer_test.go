package consumer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tributary/internal/consumer"
)

func TestStoppingLetsALongPollEndAndNacksWhatItBrings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		time.Sleep(5 * time.Second)
		w.stop()
		time.Sleep(3 * time.Second)
		w.send("late", good)
		s := <-w.ended
		if took := time.Since(w.begun); took < 8*time.Second || took > 8*time.Second+100*time.Millisecond {
			t.Errorf("stopped after %v", took)
		}
		w.expect(t, "8s received late/1", "8.02s late/1 visible in 0s")
		if s != (consumer.Summary{Received: 1, HandedBack: 1}) {
			t.Errorf("%v", s)
		}
	})
}

func TestStoppingFinishesWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 4*time.Second)
		w.send("one", good)
		time.Sleep(time.Second)
		w.stop()
		if s := <-w.ended; s != (consumer.Summary{Received: 1, Deleted: 1, Commands: 1}) {
			t.Errorf("%v", s)
		}
	})
}

func TestStoppingEndsInTimeWhateverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{DrainTimeout: 40 * time.Second}, 9*time.Minute)
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
		w := startWorld(t, consumer.Config{VisibilityTimeout: 32 * time.Second}, 100*time.Second)
		w.send("slow", good)
		time.Sleep(3 * time.Minute)
		if n := w.received("slow"); n != 1 || w.left() != 0 {
			t.Errorf("received %d times, %d messages are left: %q", n, w.left(), w.events)
		}
		w.stop()
		<-w.ended
	})
}

func TestAMessageIsNackedAfterTwelveHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{VisibilityTimeout: time.Hour}, 0)
		w.change(func(s *script) { s.down = true })
		w.send("mixed", `[`+good+`,`+bad+`]`) // part-written: it is held, and its letter can't be sent
		time.Sleep(11*time.Hour + 30*time.Minute)
		if n := w.received("mixed"); n != 1 {
			t.Errorf("a part-written message was received %d times", n)
		}
		time.Sleep(2 * time.Hour)
		w.change(func(s *script) { s.down = false })
		time.Sleep(time.Hour)
		if n := w.received("mixed"); n < 2 || w.left() != 0 {
			t.Errorf("received %d times, %d messages are left", n, w.left())
		}
		// The delivery that went back must be forgotten. Otherwise there would be one more every twelve hours, each with a letter.
		if n := len(w.dead()); n != 1 || w.c.Stats().Messages != 0 {
			t.Errorf("%d letters, %d messages held, want 1 and 0", n, w.c.Stats().Messages)
		}
		w.stop()
		<-w.ended
	})
}

func TestADeadLetterQueueOutOfReachKeepsMessagesOnTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		w.change(func(s *script) { s.down = true })
		w.send("bad", bad)
		time.Sleep(30 * time.Second)
		if n := w.received("bad"); w.left() != 1 || n < 2 {
			t.Errorf("%d messages are left, received %d times: %q", w.left(), n, w.events)
		}
		w.change(func(s *script) { s.down = false })
		time.Sleep(2 * time.Minute)
		if letters := w.dead(); w.left() != 0 || len(letters) != 1 || letters[0].Body != bad {
			t.Errorf("%d messages are left, letters %v", w.left(), letters)
		}
		w.stop()
		<-w.ended
	})
}

func TestDeletesAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 0)
		w.change(func(s *script) { s.deletes = 5 })
		w.send("one", good)
		time.Sleep(20 * time.Second)
		w.stop()
		if s := <-w.ended; s != (consumer.Summary{Received: 1, Deleted: 1, Commands: 1}) {
			t.Errorf("%v", s)
		}
		if n := w.left(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// A message may hold so many commands that a receive of such messages would take all the room. One of its commands that can't be
// written must not keep others from being received.
func TestOneLargeMessageDoesNotStopReceiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, consumer.Config{}, 5*time.Millisecond)
		w.change(func(s *script) { s.stuck = "stuck" })
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
		w.change(func(s *script) { s.stuck = "" })
		time.Sleep(10 * time.Second)
		w.stop()
		if s := <-w.ended; s.Deleted != 21 || s.Left != 0 {
			t.Errorf("%v", s)
		}
	})
}

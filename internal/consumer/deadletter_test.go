package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/writer"
	"tributary/test/support/commands"
)

// refuseFinally refuses the letters that which selects, for good.
func refuseFinally(which func(*Letter) bool) func([]Letter) ([]Failure, error) {
	return func(letters []Letter) (failures []Failure, _ error) {
		for i := range letters {
			if which(&letters[i]) {
				failures = append(failures, Failure{Index: i, Code: "InvalidMessageContents", Final: true})
			}
		}
		return failures, nil
	}
}

func TestALetterRefusedForGoodGoesInAnEnvelope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 0)
		w.letters.judge = refuseFinally(func(l *Letter) bool { return l.Body == bad })
		w.send("mixed", `[`+good+`,`+bad+`]`)
		time.Sleep(20 * time.Second)
		w.stop()
		if s := <-w.ended; s != (Summary{Received: 1, Deleted: 1, Commands: 2, DeadLetters: 1}) {
			t.Errorf("%v", s)
		}
		decoded, err := messages.Decode(commands.Types, nil, w.letters.letters[0].Body, nil)
		if err != nil || len(decoded) != 1 || decoded[0].Text != bad {
			t.Errorf("the letter %q decodes to %v, %v", w.letters.letters[0].Body, decoded, err)
		}
	})
}

func TestAMessageWhoseLetterIsRefusedInEveryFormIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 0)
		w.letters.judge = refuseFinally(func(l *Letter) bool { return l.Attributes["source_message_id"] == "evil" })
		w.send("evil", `[`+good+`,`+bad+`]`)
		w.send("other", bad)
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		if m := w.messages["evil"]; m.deleted || w.c.held.len() != 0 {
			t.Errorf("deleted: %v, %d messages held", m.deleted, w.c.held.len())
		}
		w.mu.Unlock()
		if n := testutil.ToFloat64(w.c.metrics.LettersFailed.WithLabelValues(metrics.LetterGivenUp)); n != 1 {
			t.Errorf("%v letters given up, want 1", n)
		}
		if w.letters.of("other") != 1 {
			t.Errorf("%d letters of the other message", w.letters.of("other"))
		}
		w.stop()
		<-w.ended
	})
}

// A call may end with an error although all its letters were accepted. One message must not cause that for the letters of others
// again and again.
func TestOneMessageDoesNotMakeOthersLettersGoAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 0)
		w.letters.judge = func(letters []Letter) ([]Failure, error) {
			if slices.ContainsFunc(letters, func(l Letter) bool { return l.Attributes["source_message_id"] == "evil" }) {
				return nil, errors.New("the sums don't fit")
			}
			return nil, nil
		}
		w.send("evil", `[`+good+`,`+bad+`]`)
		for i := range 9 {
			w.send(fmt.Sprint(i), `[`+good+`,`+bad+`]`)
		}
		time.Sleep(time.Minute)
		for i := range 9 {
			if n := w.letters.of(fmt.Sprint(i)); n < 1 || n > 2 {
				t.Errorf("message %d has %d letters, want 1, or 2 where an answer was lost", i, n)
			}
		}
		if n := w.c.Summary().Deleted; n != 9 {
			t.Errorf("%d messages deleted, want 9", n)
		}
		if since, why := w.c.LettersFail(); since.IsZero() || why != "the sums don't fit" {
			t.Errorf("letters fail since %v: %q", since, why)
		}
		w.stop()
		<-w.ended
	})
}

func TestMessagesThatWaitForLettersDoNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, time.Millisecond)
		w.letters.judge = func(letters []Letter) (failures []Failure, _ error) {
			for i := range letters {
				failures = append(failures, Failure{Index: i, Code: "InternalError"})
			}
			return failures, nil
		}
		body := `[` + good + strings.Repeat(`,`+bad, 20) + `]`
		for i := range 520 {
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
		w.letters.mu.Lock()
		w.letters.judge = nil
		w.letters.mu.Unlock()
		time.Sleep(20 * time.Minute)
		if n := w.c.Summary().Deleted; n != 540 {
			t.Errorf("%d of 540 messages are done in the end", n)
		}
		w.stop()
		<-w.ended
	})
}

// Calls that have not begun when the time for draining is over are dropped, and their messages counted.
func TestDrainDropsWhatHasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{DrainTimeout: 25 * time.Second}, 0) // longer than a long poll
		w.letters.latency = time.Second
		w.send("large", `[`+strings.Repeat(`{"type":"none"},`, 19_999)+bad+`]`)
		w.send("one", bad)
		time.Sleep(10 * time.Second)
		w.stop()
		begun := time.Now()
		s := <-w.ended
		if took := time.Since(begun); took > 27*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if s.Received != s.Deleted+s.HandedBack+s.Left || s.Left != 1 || s.Unfinished != 1 || w.letters.of("one") != 1 {
			t.Errorf("%+v, %d letters of the small message", s, w.letters.of("one"))
		}
	})
}

func TestBatcherIsLinear(t *testing.T) {
	b := newBatcher(10, 1, time.Hour, func([]int) {})
	entries := make([]int, 1_000_000)
	began := time.Now()
	b.add(entries...)
	b.close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a million entries took %v", took)
	}
}

// A command counts as dead-lettered when its letter is sent.
func TestDeadLettersCountWhenTheyAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWorld(t, Config{}, 0)
		w.letters.down = true
		w.send("bad", bad)
		time.Sleep(time.Minute)
		counted := func() float64 {
			return testutil.ToFloat64(w.c.outcomes[kindOf(&messages.Command{Type: commands.User, Delete: true})][writer.Refused])
		}
		if n, s := counted(), w.c.Summary(); n != 0 || s.Commands != 0 {
			t.Errorf("%v commands count as dead-lettered: %v", n, s)
		}
		w.letters.mu.Lock()
		w.letters.down = false
		w.letters.mu.Unlock()
		time.Sleep(5 * time.Minute)
		if n, s := counted(), w.c.Summary(); n != 1 || s.Commands != 1 || s.DeadLetters != 1 {
			t.Errorf("%v commands count as dead-lettered: %v", n, s)
		}
		w.stop()
		<-w.ended
	})
}

// unchanging is a queue on which no visibility can be changed.
type unchanging struct{ *commandQueue }

func (unchanging) ChangeVisibility(context.Context, []Visibility) ([]Failure, error) {
	return nil, errors.New("SQS is out of reach")
}

func TestOnlyNackedMessagesCountAsDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue, letters := newQueues(t, time.Minute, false)
		q := unchanging{queue}
		m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
		c := New(Config{}.Defaults(), q, letters, &picky{}, &m.Consumer, slog.New(slog.DiscardHandler))
		calls, stop := context.WithCancel(t.Context())
		c.calls = calls
		q.send("m", good)
		received, err := q.Receive(t.Context(), 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.admit(time.Now(), received, 0, reservation{}, nil)
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
	m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 10)
	k := &keeps{}
	queue, letters := newQueues(t, time.Minute, false)
	c := New(Config{}.Defaults(), queue, letters, k, &m.Consumer, slog.New(slog.DiscardHandler))
	c.calls = t.Context()
	now := time.Now()
	for i, at := range []time.Time{now.Add(time.Hour), now.Add(time.Second)} {
		c.admit(time.Now(), []Message{{ID: fmt.Sprint(i), Body: good, ReceiveCount: 1, FirstReceivedAt: at}}, c.latestFirstReceive, reservation{}, nil)
	}
	c.deletes.close()
	if k.received[1] != now.Add(time.Second).UnixMilli() || k.received[0] > k.received[1] {
		t.Errorf("ranks %v, now is %d", k.received, now.UnixMilli())
	}
}

func TestALetterKeepsWhatItsMessageHad(t *testing.T) {
	why := &messages.Error{Reason: messages.ReasonTenantMismatch, Field: "tenant_id", Detail: "another's"}
	letter := func(m Message) Letter {
		m.ID = "m-1"
		l, ok := newLetter(&m, "commands", &badCommand{tenant: "victim", text: bad, why: why}, 1<<20)
		if !ok || len(l.Attributes)+len(l.Others) > 10 || l.Attributes["command_tenant_id"] != "victim" {
			t.Errorf("letter of %+v: %+v", m, l)
		}
		return l
	}
	many := []Attribute{{Name: "reason", Type: "String", Text: "the upstream's"}, {Name: "empty", Type: "String"}}
	for i := range 10 {
		many = append(many, Attribute{Name: fmt.Sprint("n", i), Type: "Number", Text: "1"})
	}
	l := letter(Message{TraceHeader: "Root=1", Attributes: messages.Attributes{TenantID: "attacker", TraceParent: "00-a", TraceState: "b=c"}, Others: many})
	if l.Attributes["tenant_id"] != "attacker" || l.Attributes["traceparent"] != "00-a" || l.Attributes["tracestate"] != "b=c" || l.TraceHeader != "Root=1" {
		t.Errorf("letter %+v", l)
	}
	l = letter(Message{Others: many})
	if _, given := l.Attributes["tenant_id"]; given || len(l.Others) != 3 || l.Others[0].Name != "n0" || l.Attributes["reason"] != "tenant_mismatch" {
		t.Errorf("letter %+v", l)
	}
	for name, m := range map[string]Message{
		"binary":        {Attributes: messages.Attributes{TenantID: messages.UnreadableTenant}, Others: []Attribute{{Name: "tenant_id", Type: "Binary", Binary: []byte("attacker")}}},
		"number":        {Attributes: messages.Attributes{TenantID: messages.UnreadableTenant}, Others: []Attribute{{Name: "tenant_id", Type: "Number", Text: "5"}}},
		"SNS's":         {Attributes: messages.Attributes{TenantID: messages.UnreadableTenant}},
		"empty":         {Attributes: messages.Attributes{TenantID: messages.UnreadableTenant}, Others: []Attribute{{Name: "tenant_id", Type: "String"}}},
		"too long":      {Attributes: messages.Attributes{TenantID: strings.Repeat("v", 1000)}},
		"not for SQS's": {Attributes: messages.Attributes{TenantID: "victim\ufffe"}},
	} {
		l := letter(m)
		if _, given := l.Attributes["tenant_id"]; given || len(l.Others) != 1 || l.Others[0].Name != "tenant_id" || messages.IsText(l.Others[0].Type) || !l.Others[0].sendable() {
			t.Errorf("%s: the letter's tenant_id must be no text: %+v", name, l)
		}
	}
}

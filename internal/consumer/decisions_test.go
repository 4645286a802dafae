package consumer

import (
	"context"
	"fmt"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/writer"
)

func TestNackDelayCannotBurnReceives(t *testing.T) {
	for _, maxReceives := range []int{0, 3, 10, 20, 30, 50, 100, 1000} {
		allowed := max(1, maxReceives/10)
		if maxReceives == 0 {
			allowed = 10
		}
		receives, at, last := 0, time.Duration(0), time.Duration(0)
		for at < time.Minute { // jitter 0 is the shortest
			receives++
			d := nackDelay(receives, maxReceives, 0)
			if d < last {
				t.Errorf("maxReceiveCount %d: delay %d is %v, shorter than the %v before", maxReceives, receives, d, last)
			}
			last = d
			at += d
		}
		if receives > allowed {
			t.Errorf("maxReceiveCount %d: a minute of throttling takes %d receives, %d are allowed", maxReceives, receives, allowed)
		}
	}
	for receives := range 100 {
		if d := nackDelay(receives, 100, 0.999); d < minNackDelay || d > maxNackDelay {
			t.Errorf("delay %v after %d receives", d, receives)
		}
	}
	if a, b := nackDelay(3, 100, 0), nackDelay(3, 100, 0.9); b <= a {
		t.Error("jitter adds nothing")
	}
}

func TestDelayedForgetsWhatIsVisible(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var p delayed
	p.add(now.Add(2 * time.Second))
	p.add(now.Add(10 * time.Second))
	if p.at(now) != 2 || p.at(now.Add(4*time.Second)) != 1 || p.at(now.Add(12*time.Second)) != 0 || len(p.buckets) != 0 {
		t.Errorf("delayed: %+v", p)
	}
}

func TestPollerCount(t *testing.T) {
	c := pollerCount{running: 1}
	grown := 0
	for range 200 {
		if start, _ := c.received(10); start {
			grown++
		}
	}
	if c.running != maxPollers || grown != maxPollers-1 {
		t.Errorf("a backlog brings %d pollers", c.running)
	}
	for range 500 {
		c.received(0)
	}
	if c.running != 1 {
		t.Errorf("an empty queue leaves %d pollers", c.running)
	}

	c = pollerCount{running: 1, sawPartial: true}
	for range 100 { // nearly full, never for long: one is enough
		for range 3 {
			c.received(10)
		}
		c.received(6)
	}
	if c.running != 1 {
		t.Errorf("%d pollers where one is enough", c.running)
	}
	c = pollerCount{running: 2, fill: 5}
	for range 20 { // two take half each
		c.received(5)
	}
	if c.running != 1 {
		t.Errorf("%d pollers take half a receive each", c.running)
	}
}

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(100, 1<<20)
		first, ok := r.reserve(t.Context(), 10)
		if !ok || first.commands != 10 {
			t.Fatalf("reserved %+v", first)
		}
		r.correct(first, 10, 95, 9500) // packed messages: more than was thought
		got := make(chan bool)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, ok := r.reserve(ctx, 10); got <- ok }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("room for 10 more messages although 95 of 100 commands are held")
		default:
		}
		r.release(95, 9500)
		if !<-got {
			t.Fatal("not let in although nothing is held")
		}
		r.correct(reservation{}, 10, 95, 9500)
		go func() { _, ok := r.reserve(ctx, 10); got <- ok }()
		synctest.Wait()
		cancel()
		if <-got {
			t.Error("let in although stopping")
		}
	})
}

func TestRoomLetsOneHugeMessageIn(t *testing.T) {
	r := newRoom(10, 1<<20)
	v, ok := r.reserve(t.Context(), 10)
	r.correct(v, 10, 5000, 50<<20)
	r.release(5000, 50<<20)
	if _, ok2 := r.reserve(t.Context(), 10); !ok || !ok2 {
		t.Error("an empty room must let a message in")
	}
	if c, b := r.commands, r.bytes; c != 10 || b != 1<<18 { // a receive of messages is the least, a quarter of the room the most
		t.Errorf("the estimate is not followed: %d commands and %d bytes reserved", c, b)
	}
}

func TestBatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type sent struct {
			n  int
			at time.Duration
		}
		var got []sent
		begun := time.Now()
		b := newBatcher(10, 1, 50*time.Millisecond, func(batch []int) {
			got = append(got, sent{len(batch), time.Since(begun)})
			time.Sleep(10 * time.Millisecond)
		})
		for i := range 25 {
			b.add(i)
		}
		time.Sleep(200 * time.Millisecond)
		b.add(1, 2)
		b.close()
		want := []sent{{10, 0}, {10, 10 * time.Millisecond}, {5, 60 * time.Millisecond}, {2, 200 * time.Millisecond}}
		if len(got) != len(want) {
			t.Fatalf("sent %v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("batch %d is %v, want %v", i, got[i], want[i])
			}
		}
	})
}

func TestLetters(t *testing.T) {
	m := &Message{ID: "m-1", GroupID: "group"}
	why := &messages.Error{Reason: messages.ReasonInvalidField, Field: "order_id", Detail: "has a\x00bell\x07 and a \uFFFE"}
	l, ok := newLetter(m, "commands", &badCommand{position: 3, tenant: "acme", text: `{"type":"put_order"}`, why: why}, 1<<20)
	if !ok || l.Body != `{"type":"put_order"}` || l.DeduplicationID != "m-1-3" || l.GroupID != "group" {
		t.Errorf("letter: %+v", l)
	}
	want := map[string]string{
		"reason": "invalid_field", "field": "order_id", "command_tenant_id": "acme", "source_message_id": "m-1", "source_index": "3",
		"source_queue": "commands", "detail": "has a\uFFFDbell\uFFFD and a \uFFFD",
	}
	for name, value := range want {
		if l.Attributes[name] != value {
			t.Errorf("attribute %s is %q, want %q", name, l.Attributes[name], value)
		}
	}
	if len(l.Attributes) != len(want) {
		t.Errorf("attributes: %v", l.Attributes)
	}

	// A whole body that could not be decoded: no index, no tenant, and no empty attribute.
	l, _ = newLetter(m, "commands", &badCommand{position: -1, text: "{", why: &messages.Error{Reason: messages.ReasonMalformed}}, 1<<20)
	for _, name := range []string{"source_index", "tenant_id", "command_tenant_id", "field", "detail"} {
		if _, there := l.Attributes[name]; there {
			t.Errorf("attribute %s is there and empty", name)
		}
	}

	// If a letter is too large, the detail is dropped first. Then the letter is refused.
	body := strings.Repeat("x", 1000)
	why.Detail = strings.Repeat("y", 5000)
	if l, ok := newLetter(m, "q", &badCommand{tenant: "acme", text: body, why: why}, 1300); !ok || l.Attributes["detail"] != "" || l.Body != body {
		t.Errorf("%v, detail %q", ok, l.Attributes["detail"])
	}
	if _, ok := newLetter(m, "q", &badCommand{tenant: "acme", text: body, why: why}, 1000); ok {
		t.Error("a letter over the limit")
	}
}

// TestOutcomesAreCountedByCommand: each command of a declaration has counters of its own, and so has what could not be decoded.
func TestOutcomesAreCountedByCommand(t *testing.T) {
	types, err := schema.Read("types.yaml", []byte("types:\n  site: {}\n  device: {}\n  box: {plural: boxes}\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := metrics.New(prometheus.NewRegistry(), types, 10)
	c := New(Config{Types: types}.Defaults(), nil, nil, nil, &m.Consumer, slog.New(slog.DiscardHandler))
	c.outcomes[kindOf(&messages.Command{})][writer.Refused].Inc()
	if got := testutil.ToFloat64(m.Commands.WithLabelValues("unknown", writer.Refused.String())); got != 1 {
		t.Errorf("unknown is counted %v times", got)
	}
	for i, name := range types.CommandNames() {
		of, remove := types.Command(name)
		for range i + 1 {
			c.outcomes[kindOf(&messages.Command{Type: of, Delete: remove})][writer.Written].Inc()
		}
	}
	for i, name := range types.CommandNames() {
		if got := testutil.ToFloat64(m.Commands.WithLabelValues(name, writer.Written.String())); got != float64(i+1) {
			t.Errorf("%s is counted %v times, want %d", name, got, i+1)
		}
	}
}

// TestAnotherPollerReceivesWhileLargeMessagesAreDecoded: small messages don't wait behind large ones at the only poller.
func TestAnotherPollerReceivesWhileLargeMessagesAreDecoded(t *testing.T) {
	large := []Message{{Body: strings.Repeat("0", largeReceive/2)}, {Body: strings.Repeat("0", largeReceive/2)}}
	for name, test := range map[string]struct {
		running  int
		received []Message
		want     bool
	}{
		"the only poller, large messages": {1, large, true},
		"one of two, large messages":      {2, large, false},
		"the only poller, small messages": {1, large[:1], false},
		"nothing":                         {1, nil, false},
	} {
		c := &Consumer{pollers: pollerCount{running: test.running}}
		want := test.running
		if test.want {
			want++
		}
		if got := c.standIn(test.received); got != test.want || c.pollers.running != want {
			t.Errorf("%s: %v, %d pollers", name, got, c.pollers.running)
		}
	}
}

// TestTwoPollersStayForAWhileAfterALargeReceive: they don't when the queue is empty, which an idle worker must not pay for.
func TestTwoPollersStayForAWhileAfterALargeReceive(t *testing.T) {
	p := pollerCount{running: 2, paired: pairedReceives}
	for i := range pairedReceives {
		if _, end := p.received(1); end {
			t.Fatalf("a poller ended after %d receives", i)
		}
	}
	if _, end := p.received(1); !end || p.running != 1 {
		t.Errorf("%d pollers stay afterwards", p.running)
	}
	p = pollerCount{running: 2, paired: pairedReceives}
	if _, end := p.received(0); !end {
		t.Error("two pollers wait at an empty queue")
	}
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

package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/messages"
	"tributary/test/faults"
	"tributary/test/support/commands"
	"tributary/test/support/sqstest"
)

func order(tenant, id, amount string) *messages.Command {
	c := commands.PutOrder(tenant, id, "u1", amount)
	return &c
}

// random is a stream of orders of some tenants, with keys that come again and again.
func random(seed uint64, n, tenants, keys int) []*messages.Command {
	rng := rand.New(rand.NewPCG(seed, 1))
	list := make([]*messages.Command, n)
	for i := range list {
		list[i] = order(fmt.Sprintf("t%d", rng.IntN(tenants)), fmt.Sprintf("o%d", rng.IntN(keys)), fmt.Sprint(i+1))
		if rng.IntN(50) == 0 {
			list[i].Attributes = `{"text":"` + strings.Repeat("x", rng.IntN(100_000)) + `"}`
		}
	}
	return list
}

// publishAll sends a list and returns the publisher, closed.
func publishAll(t *testing.T, q *sqstest.Queue, cfg Config, list []*messages.Command) *Publisher {
	t.Helper()
	p := New(t.Context(), q, Queue{Name: "q", URL: "u", FIFO: q.FIFO, MessageBytes: q.MessageBytes}, cfg)
	for i, c := range list {
		if err := p.Add(c, int64(i), 0); err != nil {
			t.Fatalf("add %d: %v", i, err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if wrong := q.Wrong(); len(wrong) > 0 {
		t.Fatalf("calls that SQS refuses: %q", wrong[:min(5, len(wrong))])
	}
	return p
}

// arrived counts the commands of a queue by their amount, which is unique, and the amounts by key in order of arrival.
func arrived(q *sqstest.Queue) (times map[string]int, byKey map[string][]string) {
	times, byKey = map[string]int{}, map[string][]string{}
	for _, m := range q.Messages() {
		for _, c := range m.Commands() {
			times[c.Get("order_amount")]++
			key := c.TenantID + "/" + c.Get("order_id")
			byKey[key] = append(byKey[key], c.Get("order_amount"))
		}
	}
	return times, byKey
}

func TestEveryCommandArrivesOnce(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		for _, cfg := range []Config{{}, {PackCommands: 7}, {OpenBytes: 200_000, Concurrency: 3}, {PackBytes: 1 << 20, Concurrency: 1}} {
			q := &sqstest.Queue{FIFO: fifo}
			list := random(1, 5_000, 20, 300)
			stats := publishAll(t, q, cfg, list).Stats()
			times, _ := arrived(q)
			if len(times) != len(list) || stats.Commands != int64(len(list)) {
				t.Fatalf("fifo %v %+v: %d of %d commands arrived, %d counted", fifo, cfg, len(times), len(list), stats.Commands)
			}
			for amount, n := range times {
				if n != 1 {
					t.Fatalf("command %s arrived %d times", amount, n)
				}
			}
			if stats.Messages != int64(len(q.Messages())) || stats.Calls != int64(q.Calls()) {
				t.Errorf("stats %+v, %d messages by %d calls", stats, len(q.Messages()), q.Calls())
			}
			for _, m := range q.Messages() {
				n := len(m.Commands())
				if cfg.PackCommands > 0 && n > cfg.PackCommands {
					t.Fatalf("%d commands in a message", n)
				}
				if most := cfg.PackBytes; n > 1 && len(m.Body)+16+len(m.Attributes["tenant_id"]) > max(most, DefaultPackBytes) {
					t.Fatalf("a message of %d commands and %d bytes", n, len(m.Body))
				}
				if !fifo && m.Group != m.Attributes["tenant_id"] {
					t.Fatalf("group %s of tenant %s", m.Group, m.Attributes["tenant_id"])
				}
			}
		}
	}
}

func TestPacksAreFull(t *testing.T) {
	q := &sqstest.Queue{}
	var list []*messages.Command
	for i := range 20_000 {
		list = append(list, order("tenant", fmt.Sprint(i), "1"))
	}
	stats := publishAll(t, q, Config{}, list).Stats()
	if perCall := stats.Commands / stats.Calls; perCall < 4_000 {
		t.Errorf("%d commands a call: %+v", perCall, stats)
	}
	if stats.Units*65536 > stats.Bytes+stats.Calls*65536 {
		t.Errorf("billed %d units for %d bytes", stats.Units, stats.Bytes)
	}
}

// A pack takes PackBytes to the byte, attributes included, and not one more.
func TestPackBytesAreExact(t *testing.T) {
	list := []*messages.Command{order("t", "o1", "1"), order("t", "o2", "2"), order("t", "o3", "3")}
	bytes := func(m *sqstest.Message) int { return len(m.Body) + len("tenant_id") + len("String") + len("t") }
	q := &sqstest.Queue{}
	publishAll(t, q, Config{}, list)
	whole := bytes(&q.Messages()[0])
	for spare, want := range map[int]int{1: 1, 0: 1, -1: 2, -2: 2, -3: 2} {
		q := &sqstest.Queue{}
		publishAll(t, q, Config{PackBytes: whole + spare}, list)
		got := q.Messages()
		if len(got) != want {
			t.Errorf("%d messages where a pack may take %d bytes more than all commands do, want %d", len(got), spare, want)
		}
		for _, m := range got {
			if n := bytes(&m); n > whole+spare {
				t.Errorf("a message of %d bytes, allowed are %d", n, whole+spare)
			}
		}
	}
}

// Exactly the refused entries are sent again, and on a FIFO queue keys stay in order all the same.
func TestRefusedEntriesAreSentAgain(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, 7))
			refused := map[string]int{}
			q := &sqstest.Queue{FIFO: fifo, Latency: time.Millisecond}
			q.Refuse = func(_, _ int, body string) string {
				if rng.IntN(4) == 0 {
					refused[body]++
					return []string{"InternalError", "RequestThrottled"}[rng.IntN(2)]
				}
				return ""
			}
			list := random(2, 5_000, 3, 100)
			p := publishAll(t, q, Config{PackCommands: 5}, list)
			times, byKey := arrived(q)
			if len(refused) == 0 || len(times) != len(list) {
				t.Fatalf("%d refused, %d of %d arrived", len(refused), len(times), len(list))
			}
			total := 0
			for _, n := range refused {
				total += n
			}
			if got := p.Stats().Refused; got != int64(total) {
				t.Errorf("%d refusals counted, there were %d", got, total)
			}
			for amount, n := range times {
				if n != 1 {
					t.Fatalf("command %s arrived %d times: what SQS had accepted was sent again", amount, n)
				}
			}
			if fifo {
				inOrder(t, list, byKey)
			}
		})
	}
}

func inOrder(t *testing.T, list []*messages.Command, byKey map[string][]string) {
	t.Helper()
	want := map[string][]string{}
	for _, c := range list {
		key := c.TenantID + "/" + c.Get("order_id")
		want[key] = append(want[key], c.Get("order_amount"))
	}
	for key, amounts := range want {
		if strings.Join(byKey[key], " ") != strings.Join(amounts, " ") {
			t.Fatalf("key %s: sent %v, arrived %v", key, amounts, byKey[key])
		}
	}
}

// Calls that fail are made again; where the answer was lost a FIFO queue knows the messages by their ids.
func TestFailedCallsAreMadeAgain(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 3))
			q := &sqstest.Queue{FIFO: fifo, Latency: time.Millisecond}
			lock := make(chan struct{}, 1)
			q.Fail = func(int) faults.Plan {
				lock <- struct{}{}
				defer func() { <-lock }()
				if rng.IntN(3) > 0 {
					return faults.Plan{}
				}
				plan := sqstest.Throttled()
				plan.After = rng.IntN(2) == 0
				return plan
			}
			list := random(4, 3_000, 3, 100)
			publishAll(t, q, Config{PackCommands: 5}, list)
			times, byKey := arrived(q)
			if len(times) != len(list) {
				t.Fatalf("%d of %d arrived", len(times), len(list))
			}
			if fifo {
				inOrder(t, list, byKey)
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	t.Run("at once where a retry changes nothing", func(t *testing.T) {
		q := &sqstest.Queue{Fail: func(int) faults.Plan { return sqstest.Denied() }}
		p := New(t.Context(), q, Queue{Name: "q", URL: "u"}, Config{})
		_ = p.Add(order("t", "o", "1"), 0, 0)
		err := p.Close()
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" || q.Calls() != 1 {
			t.Errorf("close: %v after %d calls", err, q.Calls())
		}
		if err := p.Add(order("t", "o", "1"), 1, 0); !errors.As(err, &api) {
			t.Errorf("add after a failure: %v", err)
		}
	})
	t.Run("on a message that SQS refuses for good", func(t *testing.T) {
		q := &sqstest.Queue{Refuse: func(int, int, string) string { return "InvalidMessageContents" }}
		p := New(t.Context(), q, Queue{Name: "q", URL: "u"}, Config{})
		_ = p.Add(order("t", "o", "1"), 0, 0)
		var refused *RefusedError
		if err := p.Close(); !errors.As(err, &refused) || refused.Code != "InvalidMessageContents" {
			t.Errorf("close: %v", err)
		}
	})
	t.Run("when patience ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			q := &sqstest.Queue{Fail: func(int) faults.Plan { return sqstest.Throttled() }}
			started := time.Now()
			p := New(t.Context(), q, Queue{Name: "q", URL: "u"}, Config{})
			_ = p.Add(order("t", "o", "1"), 0, 0)
			err := p.Close()
			took := time.Since(started)
			if err == nil || took < DefaultPatience || took > DefaultPatience+maxPause {
				t.Errorf("close: %v after %v", err, took)
			}
		})
	})
	t.Run("when it is interrupted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			q := &sqstest.Queue{Latency: time.Hour}
			p := New(ctx, q, Queue{Name: "q", URL: "u"}, Config{PackCommands: 1})
			go func() { time.Sleep(time.Second); cancel() }()
			var err error
			big := order("t", "o", "1")
			big.Attributes = `{"text":"` + strings.Repeat("x", 100_000) + `"}`
			for range 1_000 { // far more than it may hold: Add waits
				if err = p.Add(big, 0, 0); err != nil {
					break
				}
			}
			if !errors.Is(err, context.Canceled) || !errors.Is(p.Close(), context.Canceled) {
				t.Errorf("add: %v, close: %v", err, p.Close())
			}
		})
	})
}

// The same commands make the same messages with the same ids, whatever happens to the calls: a rerun brings nothing new.
func TestRerunIsHarmlessOnFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &sqstest.Queue{FIFO: true, Latency: time.Millisecond}
		list := random(5, 4_000, 30, 500)
		publishAll(t, q, Config{Scope: "file", OpenBytes: 300_000}, list)
		first := len(q.Messages())
		rng := rand.New(rand.NewPCG(1, 9))
		q.Refuse = func(int, int, string) string {
			return []string{"", "", "InternalError"}[rng.IntN(3)]
		}
		publishAll(t, q, Config{Scope: "file", OpenBytes: 300_000, Concurrency: 2}, list)
		if again := len(q.Messages()); again != first {
			t.Errorf("the rerun brought %d messages more", again-first)
		}
		publishAll(t, q, Config{Scope: "other", OpenBytes: 300_000}, list)
		if again := len(q.Messages()); again != 2*first {
			t.Errorf("another scope brought %d messages, not %d", again-first, first)
		}
	})
}

func TestCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		q := &sqstest.Queue{Latency: time.Millisecond, Fail: func(call int) faults.Plan {
			if call == 0 {
				<-release
			}
			return faults.Plan{}
		}}
		p := New(t.Context(), q, Queue{Name: "q", URL: "u"}, Config{PackCommands: 1})
		add := func(n int) {
			for i := range n {
				if err := p.Add(order("t", fmt.Sprint(i), "1"), 0, 0); err != nil {
					t.Error(err)
				}
			}
		}
		for want := int64(1); want <= 3; want++ {
			add(10)
			if got, err := p.Cut(); got != want || err != nil {
				t.Fatalf("cut %d, %v, not %d", got, err, want)
			}
			synctest.Wait() // calls begin in the order of the cuts
		}
		time.Sleep(time.Second)
		if got := p.TakeAccepted(); got != 0 {
			t.Errorf("accepted %d cuts while the first call has no answer", got)
		}
		close(release)
		time.Sleep(time.Second)
		if got := p.TakeAccepted(); got != 3 {
			t.Errorf("accepted %d cuts of 3", got)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &sqstest.Queue{}
		p := New(t.Context(), q, Queue{Name: "q", URL: "u"}, Config{Linger: time.Second})
		started := time.Now()
		if err := p.Add(order("t", "o", "1"), 0, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		got := q.Messages()
		if len(got) != 1 {
			t.Fatalf("%d messages after 3 s", len(got))
		}
		if after := got[0].Sent.Sub(started); after < time.Second || after > 1500*time.Millisecond {
			t.Errorf("sent after %v", after)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTooLargeForTheQueue(t *testing.T) {
	q := &sqstest.Queue{MessageBytes: 2_000}
	p := New(t.Context(), q, Queue{Name: "q", URL: "u", MessageBytes: 2_000}, Config{})
	large := order("t", "o", "1")
	large.Attributes = `{"text":"` + strings.Repeat("x", 2_000) + `"}`
	var tooLarge *TooLargeError
	if err := p.Add(large, 0, 0); !errors.As(err, &tooLarge) || tooLarge.Limit != 2_000 {
		t.Errorf("add: %v", err)
	}
	for i := range 100 {
		if err := p.Add(order("t", fmt.Sprint(i), "1"), 1, 0); err != nil {
			t.Errorf("the next one: %v", err)
		}
	}
	if err := p.Close(); err != nil || len(q.Wrong()) > 0 {
		t.Errorf("close: %v, wrong %q", err, q.Wrong())
	}
}

func TestTraceContext(t *testing.T) {
	const parent, state = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=value"
	q := &sqstest.Queue{}
	cfg := Config{PackCommands: 1, Trace: func(context.Context) (string, string) { return parent, state }}
	publishAll(t, q, cfg, []*messages.Command{order("t", "o", "1")})
	if a := q.Messages()[0].Attributes; a["traceparent"] != parent || a["tracestate"] != state {
		t.Errorf("attributes %v", a)
	}
}

func BenchmarkAdd(b *testing.B) {
	q := &sqstest.Queue{}
	p := New(b.Context(), discard{q}, Queue{Name: "q", URL: "u"}, Config{})
	c := order("tenant", "0192f0a1-7c3e-7000-8000-000000000001", "149.99")
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Add(c, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}

// discard accepts everything and keeps nothing.
type discard struct{ *sqstest.Queue }

func (discard) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

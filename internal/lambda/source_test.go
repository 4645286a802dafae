package lambda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tributary/internal/aws/awsjson"
	"tributary/internal/consumer"
)

// hides notes changes of visibility.
type hides struct {
	mu      sync.Mutex
	calls   [][]consumer.Visibility
	failure func(call int) ([]consumer.Failure, error) // nil: none
	takes   time.Duration
}

func (h *hides) ChangeVisibility(ctx context.Context, changes []consumer.Visibility) ([]consumer.Failure, error) {
	if len(changes) > 10 {
		return nil, errors.New("too many entries")
	}
	h.mu.Lock()
	n := len(h.calls)
	h.calls = append(h.calls, slices.Clone(changes))
	h.mu.Unlock()
	select {
	case <-time.After(h.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h.failure != nil {
		return h.failure(n)
	}
	return nil, nil
}

func entriesOf(n int) []entry {
	all := make([]entry, n)
	for i := range all {
		all[i].ID, all[i].ReceiptHandle, all[i].ReceiveCount = fmt.Sprint("m", i), fmt.Sprint("sqs-", i), 1
	}
	return all
}

// TestSource: each record is given out once, in order, to whoever receives; what arrives wakes a receive that waits.
func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSource(&hides{}, time.Second)
		go func() {
			time.Sleep(time.Second)
			s.put(time.Now(), entriesOf(12))
		}()
		began := time.Now()
		first, err := s.Receive(t.Context(), 10, 20*time.Second)
		if err != nil || len(first) != 10 || time.Since(began) != time.Second {
			t.Fatalf("%d, %v after %v", len(first), err, time.Since(began))
		}
		second, _ := s.Receive(t.Context(), 10, 20*time.Second)
		if len(second) != 2 || second[1].ID != "m11" || second[1].ReceiptHandle == "sqs-11" {
			t.Errorf("%+v", second)
		}
		began = time.Now()
		if none, _ := s.Receive(t.Context(), 10, 20*time.Second); len(none) != 0 || time.Since(began) != 20*time.Second {
			t.Errorf("%v after %v", none, time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			s.Close()
		}()
		began = time.Now()
		if none, _ := s.Receive(t.Context(), 10, 20*time.Second); len(none) != 0 || time.Since(began) != time.Second {
			t.Errorf("%v after %v, although it was closed", none, time.Since(began))
		}
	})
}

// TestNacksOfTheSource: a nack has the receipt handle of SQS, a message of an answered invocation is left alone, and the failures
// of an invocation that has to end are final.
func TestNacksOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hides{failure: func(call int) ([]consumer.Failure, error) {
			if call == 1 {
				return nil, errors.New("lost")
			}
			return []consumer.Failure{{Index: 1, Code: "InternalError"}}, nil
		}}
		s := NewSource(h, time.Second)
		old := s.put(time.Now(), entriesOf(1))
		stays := s.put(time.Now(), entriesOf(2))
		got, _ := s.Receive(t.Context(), 10, time.Second)
		s.Ended(got[0].ReceiptHandle, true)
		<-old.done
		s.forget(old)
		changes := []consumer.Visibility{{ReceiptHandle: got[0].ReceiptHandle, Timeout: 1}, {ReceiptHandle: got[1].ReceiptHandle, Timeout: 2}, {ReceiptHandle: got[2].ReceiptHandle, Timeout: 3}}
		failures, err := s.ChangeVisibility(t.Context(), changes)
		if err != nil || len(failures) != 1 || failures[0].Index != 2 || failures[0].Final {
			t.Errorf("failures %+v, %v", failures, err)
		}
		if want := []consumer.Visibility{{ReceiptHandle: "sqs-0", Timeout: 2}, {ReceiptHandle: "sqs-1", Timeout: 3}}; !slices.Equal(h.calls[0], want) {
			t.Errorf("asked for %+v, want %+v", h.calls[0], want)
		}
		s.stop(stays)
		failures, err = s.ChangeVisibility(t.Context(), changes)
		want := []consumer.Failure{{Index: 1, Code: awsjson.NoAnswer, Final: true}, {Index: 2, Code: awsjson.NoAnswer, Final: true}}
		if err != nil || !slices.Equal(failures, want) {
			t.Errorf("failures %+v, %v, want %+v", failures, err, want)
		}
		s.forget(stays)
		if failures, err := s.ChangeVisibility(t.Context(), changes); err != nil || failures != nil || len(h.calls) != 2 {
			t.Errorf("after the answer: %+v, %v, %d calls", failures, err, len(h.calls))
		}
		s.Ended(got[1].ReceiptHandle, true)
		if stays.records[0].state == durable {
			t.Error("a record changes after the answer")
		}
	})
}

// engine takes what a source has. It decides nothing by itself.
type engine struct {
	source *Source
	mu     sync.Mutex
	held   map[string]consumer.Message
	stuck  time.Time // until then a message that is given up is part of a call
}

func (e *engine) run(ctx context.Context) {
	for ctx.Err() == nil {
		got, _ := e.source.Receive(ctx, 10, time.Hour)
		e.mu.Lock()
		for _, m := range got {
			e.held[m.ReceiptHandle] = m
		}
		e.mu.Unlock()
	}
}

func (e *engine) NackDelay(int) time.Duration { return 7 * time.Second }

func (e *engine) GiveUp(handles map[string]bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := 0
	for h := range handles {
		if _, held := e.held[h]; !held {
			continue
		}
		if time.Now().Before(e.stuck) {
			left++
			continue
		}
		delete(e.held, h)
		e.source.Ended(h, false)
	}
	return left
}

func (e *engine) finish(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for h, m := range e.held {
		if m.ID == id {
			delete(e.held, h)
			e.source.Ended(h, true)
		}
	}
}

// invocation runs one in a bubble and returns its answer and how long it took.
func invocation(t *testing.T, cfg Config, timeout time.Duration, n int, during func(*engine), h *hides) (string, time.Duration) {
	t.Helper()
	e := &engine{held: map[string]consumer.Message{}}
	e.source = NewSource(h, cfg.SendTimeout())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go e.run(ctx)
	f := New(cfg, func(context.Context) (*Parts, error) {
		return &Parts{Source: e.source, Engine: e, Counts: func() Counts { return Counts{} }}, nil
	}, io.Discard, &Active{}, slog.New(slog.DiscardHandler))
	var event strings.Builder
	event.WriteString(`{"Records":[`)
	for i := range n {
		if i > 0 {
			event.WriteByte(',')
		}
		fmt.Fprintf(&event, `{"messageId":"m%d","receiptHandle":"sqs-%d","body":"{}","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:r:1:q","attributes":{"MessageGroupId":"g"}}`, i, i)
	}
	event.WriteString(`]}`)
	within, over := context.WithTimeout(ctx, timeout)
	defer over()
	began := time.Now()
	if during != nil {
		go during(e)
	}
	got, err := f.Invoke(within, []byte(event.String()))
	if err != nil {
		t.Fatal(err)
	}
	return string(got), time.Since(began)
}

func TestInvocationsEnd(t *testing.T) {
	cfg := Config{Queue: "q", Margin: 4 * time.Second, Patience: 10 * time.Second}
	finish := func(ids ...string) func(*engine) {
		return func(e *engine) {
			for _, id := range ids {
				time.Sleep(8 * time.Second)
				e.finish(id)
			}
		}
	}
	for name, c := range map[string]struct {
		timeout time.Duration
		n       int
		during  func(*engine)
		fifo    bool
		want    string
		took    time.Duration
	}{
		"all durable":      {time.Minute, 2, finish("m0", "m1"), false, `{"batchItemFailures":[]}`, 16 * time.Second},
		"without patience": {time.Minute, 2, finish("m1"), false, `{"batchItemFailures":[{"itemIdentifier":"m0"}]}`, 18 * time.Second},
		"at the deadline":  {21 * time.Second, 3, finish("m1", "m2"), false, `{"batchItemFailures":[{"itemIdentifier":"m0"}]}`, 17 * time.Second},
		"in FIFO order":    {time.Minute, 3, finish("m0", "m2"), true, `{"batchItemFailures":[{"itemIdentifier":"m1"},{"itemIdentifier":"m2"}]}`, 26 * time.Second},
		"nothing":          {time.Minute, 0, nil, false, `{"batchItemFailures":[]}`, 0},
		// A call that may write is under way until 5 s after the deadline.
		"a call that lasts": {20 * time.Second, 1, func(e *engine) {
			e.mu.Lock()
			e.stuck = time.Now().Add(25 * time.Second)
			e.mu.Unlock()
		}, false, `{"batchItemFailures":[{"itemIdentifier":"m0"}]}`, 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				own, h := cfg, &hides{}
				own.FIFO = c.fifo
				got, took := invocation(t, own, c.timeout, c.n, c.during, h)
				if got != c.want {
					t.Errorf("answer %s, want %s", got, c.want)
				}
				if took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if c.fifo && (len(h.calls) != 1 || h.calls[0][0].ReceiptHandle != "sqs-2") {
					t.Errorf("the rest of the group was not hidden with it: %v", h.calls)
				}
			})
		})
	}
}

// TestSideBySideInvocations: two at once don't wait for each other.
func TestSideBySideInvocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSource(&hides{}, time.Second)
		a, b := s.put(time.Now(), entriesOf(2)), s.put(time.Now(), entriesOf(2))
		got, _ := s.Receive(t.Context(), 10, time.Second)
		for _, m := range got[2:] {
			s.Ended(m.ReceiptHandle, true)
		}
		<-b.done
		select {
		case <-a.done:
			t.Error("the first has ended")
		default:
		}
		if s.admitted(a) || s.admitted(b) {
			t.Error("the poller has nothing in hand")
		}
		_, _ = s.Receive(t.Context(), 10, time.Second)
		if !s.admitted(a) {
			t.Error("the poller still has something in hand")
		}
	})
}

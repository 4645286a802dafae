package consumer_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/aws/limits"
	"tributary/internal/consumer"
	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
	"tributary/internal/writer"
)

// fullQueue has many messages, and its calls take no time, so that only the worker's own work is measured.
type fullQueue struct {
	body    string // with %07d for the number of the message, as often as there are commands in it
	left    atomic.Int64
	deletes atomic.Int64
	deleted chan struct{} // closed with the last delete
	over    chan struct{} // closed when long polls end
}

func (q *fullQueue) Receive(ctx context.Context, most int, _ time.Duration) ([]consumer.Message, error) {
	last := q.left.Add(-int64(most))
	n := most + int(min(0, last))
	if n <= 0 {
		select {
		case <-q.over:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	received := make([]consumer.Message, n)
	for i := range received {
		id := fmt.Sprintf("%07d", max(0, last)+int64(i))
		received[i] = consumer.Message{ID: id, ReceiptHandle: id, Body: strings.ReplaceAll(q.body, "%07d", id), ReceiveCount: 1, SentAt: time.Now(), FirstReceivedAt: time.Now()}
	}
	return received, nil
}

func (q *fullQueue) Delete(_ context.Context, handles []string) ([]consumer.Failure, error) {
	if q.deletes.Add(-int64(len(handles))) == 0 {
		close(q.deleted)
	}
	return nil, nil
}

func (q *fullQueue) ChangeVisibility(context.Context, []consumer.Visibility) ([]consumer.Failure, error) {
	return nil, nil
}

func (q *fullQueue) Send(context.Context, []consumer.Letter) ([]consumer.Failure, error) {
	return nil, nil
}

// fastTable takes everything.
type fastTable struct{}

func (fastTable) BatchWrite(context.Context, []*writer.Write) ([]int, writer.Units, error) {
	return nil, writer.Units{}, nil
}
func (fastTable) PutVersion(context.Context, *writer.Write) (writer.Units, error) {
	return writer.Units{}, nil
}
func (fastTable) Probe(context.Context, *messages.Command) error { return nil }

// instantWriter settles each group at once.
type instantWriter struct{}

func (instantWriter) Submit(g *writer.Group) writer.Admission {
	for i := range g.Writes {
		g.Writes[i].Outcome, g.Writes[i].SettledAt = writer.Written, time.Now()
	}
	g.Owner.Settled(g)
	return writer.Admitted
}
func (instantWriter) Abandon(*writer.Group) {}
func (instantWriter) Drain()                {}
func (instantWriter) Close()                {}

// move makes a consumer empty a queue of n messages of pack commands each.
func move(b *testing.B, n, pack int, whole bool) {
	const order = `{"type":"put_order","tenant_id":"tenant-%07d","order_id":"order-%07d-#","user_id":"user-7","order_amount":"149.99"}`
	commands := make([]string, pack)
	for i := range commands {
		commands[i] = strings.Replace(order, "-#", fmt.Sprintf("-%d", i), 1)
	}
	body := commands[0]
	if pack > 1 {
		body = "[" + strings.Join(commands, ",") + "]"
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for b.Loop() {
		q := &fullQueue{body: body, deleted: make(chan struct{}), over: make(chan struct{})}
		q.left.Store(int64(n))
		q.deletes.Store(int64(n))
		m := metrics.New(prometheus.NewRegistry(), schema.Builtin(), 50)
		var w consumer.Writer = instantWriter{}
		running, stop := context.WithCancel(context.Background())
		ended := make(chan struct{}, 2)
		if whole {
			real := writer.New(writer.Config{}.Defaults(), fastTable{}, &m.Writer, log)
			go func() { real.Run(context.Background()); ended <- struct{}{} }()
			w = real
		} else {
			ended <- struct{}{}
		}
		c := consumer.New(consumer.Config{QueueName: "q", DrainTimeout: time.Second, LetterBytes: limits.SQSMessageBytes}.Defaults(), q, q, w, &m.Consumer, log)
		go func() { c.Run(running); ended <- struct{}{} }()
		<-q.deleted
		b.StopTimer() // stopping is not measured
		stop()
		close(q.over)
		<-ended
		<-ended
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*n*pack)/b.Elapsed().Seconds(), "commands/s")
	b.ReportAllocs()
}

// BenchmarkAcknowledge measures receiving, decoding and tracking of messages until they are deleted, ten at a time. The writer
// takes no time.
func BenchmarkAcknowledge(b *testing.B) { move(b, 20_000, 1, false) }

// BenchmarkPipeline measures the whole path. The queue and the table take no time.
func BenchmarkPipeline(b *testing.B) {
	for _, pack := range []int{1, 100} {
		b.Run(fmt.Sprintf("pack=%d", pack), func(b *testing.B) { move(b, 20_000/pack, pack, true) })
	}
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	e2eWarm    = 20_000 // messages, for the backends' virtual machines to get warm
	e2eBacklog = 20_000
	e2ePaced   = 2_000
	e2eRate    = 200 // paced messages a second
)

// endToEnd runs the worker against backends that others wrote: it moves a backlog, and then messages at a low rate,
// of which it tells the latency.
func endToEnd(ctx context.Context, worker string, out io.Writer) error {
	sqsURL, dynamodbURL := os.Getenv("TRIBUTARY_TEST_SQS"), os.Getenv("TRIBUTARY_TEST_DYNAMODB")
	if sqsURL == "" || dynamodbURL == "" {
		return fmt.Errorf("TRIBUTARY_TEST_SQS and TRIBUTARY_TEST_DYNAMODB are not set: make bench-e2e does")
	}
	for _, u := range []string{sqsURL, dynamodbURL} {
		if !strings.HasPrefix(u, "http://127.0.0.1:") {
			return fmt.Errorf("%s is not on this machine: this is a load test", u)
		}
	}
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	env := map[string]string{
		"AWS_ENDPOINT_URL_SQS": sqsURL, "AWS_ENDPOINT_URL_DYNAMODB": dynamodbURL, "TRIBUTARY_QUEUE": "load-e2e",
		"TRIBUTARY_DLQ": "load-e2e-dlq", "TRIBUTARY_TABLE": "LoadE2E", "TRIBUTARY_LISTEN": "127.0.0.1:0", "TRIBUTARY_ADMIN_LISTEN": admin,
	}
	setup, err := start([]string{worker, "setup"}, env)
	if err != nil {
		return err
	}
	<-setup.done
	if !setup.cmd.ProcessState.Success() {
		return fmt.Errorf("worker setup: %v:\n%s", setup.cmd.ProcessState, setup.log.tail())
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	client := sqs.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &sqsURL, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("load", "load", "")})
	queue, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("load-e2e")})
	if err != nil {
		return fmt.Errorf("find queue: %w", err)
	}
	f := filler{client: client, url: *queue.QueueUrl}

	p, err := start([]string{worker, "run"}, env)
	if err != nil {
		return err
	}
	defer func() { p.kill() }()
	if err := f.send(ctx, e2eWarm, 0); err != nil {
		return err
	}
	if _, err := settled(ctx, p, admin, e2eWarm); err != nil {
		return err
	}
	if err := p.end(func() {}); err != nil { // it waits for its long poll of 20 s
		return err
	}
	if err := f.send(ctx, e2eBacklog, 0); err != nil {
		return err
	}
	if p, err = start([]string{worker, "run"}, env); err != nil {
		return err
	}
	begun := time.Now()
	before, err := settled(ctx, p, admin, e2eBacklog)
	if err != nil {
		return err
	}
	took := time.Since(begun)
	cpu, err := p.cpu()
	if err != nil {
		return err
	}
	if err := f.send(ctx, e2ePaced, e2eRate); err != nil {
		return err
	}
	after, err := settled(ctx, p, admin, e2eBacklog+e2ePaced)
	if err != nil {
		return err
	}
	if err := p.end(func() {}); err != nil {
		return err
	}
	_, rss := p.used()
	_, _ = fmt.Fprintf(out, "backlog of %d: %.0f commands/s with the start, %.1f µs of processor time each, %d MiB at most\n",
		e2eBacklog, e2eBacklog/took.Seconds(), float64(cpu.Microseconds())/e2eBacklog, rss>>20)
	_, _ = fmt.Fprintf(out, "%d a second: sent to durable p50 at most %v, p99 at most %v (bounds of the histogram's buckets)\n",
		e2eRate, after.quantile(before, 0.5), after.quantile(before, 0.99))
	_, _ = fmt.Fprintln(out, "Both are bound by the backends, which take most of the machine: compare nothing but runs of this.")
	return nil
}

type filler struct {
	client *sqs.Client
	url    string
	sent   int
}

// send sends messages by eight senders, or at a rate by one.
func (f *filler) send(ctx context.Context, n, rate int) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	batches := make(chan int)
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for first := range batches {
				var entries []sqstypes.SendMessageBatchRequestEntry
				for i := first; i < first+10; i++ {
					body := fmt.Sprintf(`{"type":"put_order","tenant_id":"tenant-%04d","order_id":"load-%d","user_id":"u-%d","order_amount":"%d.99"}`, i%tenants, i, i%5000, i%1000)
					entries = append(entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &body})
				}
				r, err := f.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &f.url, Entries: entries})
				if err == nil && len(r.Failed) > 0 {
					err = fmt.Errorf("%d were refused", len(r.Failed))
				}
				if err != nil {
					fail(fmt.Errorf("send messages: %w", err))
				}
			}
		})
	}
	begun := time.Now()
	for i := 0; i < n && ctx.Err() == nil; i += 10 {
		if rate > 0 {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		batches <- f.sent + i
	}
	close(batches)
	senders.Wait()
	f.sent += n
	return context.Cause(ctx)
}

// histogram is the counts of a histogram's buckets by their upper bounds.
type histogram map[float64]float64

// quantile is the bound of the bucket that holds a quantile of what was added since before.
func (h histogram) quantile(before histogram, q float64) time.Duration {
	bounds := make([]float64, 0, len(h))
	for b := range h {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	all := h[math.Inf(1)] - before[math.Inf(1)]
	for _, b := range bounds {
		if h[b]-before[b] >= q*all {
			return time.Duration(b * float64(time.Second))
		}
	}
	return 0
}

// settled waits until a worker has written so many commands, and returns how long they took.
func settled(ctx context.Context, p *process, admin string, commands int) (histogram, error) {
	deadline := time.Now().Add(maxTime)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		h, err := durations(ctx, "http://"+admin+"/metrics")
		if err == nil && h[math.Inf(1)] >= float64(commands) {
			return h, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("the worker ended:\n%s", p.log.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("%d commands are not written after %v:\n%s", commands, maxTime, p.log.tail())
}

func durations(ctx context.Context, url string) (histogram, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	h := histogram{}
	for s := bufio.NewScanner(response.Body); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), `tributary_command_duration_seconds_bucket{le="`)
		if !ok {
			continue
		}
		bound, count, _ := strings.Cut(rest, `"} `)
		b, err := strconv.ParseFloat(bound, 64)
		if err != nil {
			return nil, fmt.Errorf("read metrics: %w", err)
		}
		if h[b], err = strconv.ParseFloat(count, 64); err != nil {
			return nil, fmt.Errorf("read metrics: %w", err)
		}
	}
	return h, nil
}

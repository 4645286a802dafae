// Command query measures what the query API adds to a read: it asks a worker for single items at a steady rate, asks
// DynamoDB for the same items with a bare loop over the SDK at the same rate, in turns, and compares the latencies.
//
// It is a module of its own, so that what it needs is no part of anybody's build. `make bench-query` runs it against
// DynamoDB Local.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const (
	table  = "QueryBench"
	tenant = "tenantA"
	users  = 1000
	// startTime is how long the worker may take to answer for the first time.
	startTime = 20 * time.Second
)

type settings struct {
	worker   string
	dynamodb string
	sqs      string
	rate     int
	rounds   int
	round    time.Duration
	warmUp   time.Duration
	most     time.Duration
}

func main() {
	var s settings
	flag.StringVar(&s.worker, "worker", "", "the worker's binary")
	flag.StringVar(&s.dynamodb, "dynamodb", os.Getenv("TRIBUTARY_TEST_DYNAMODB"), "address of DynamoDB Local, http://HOST:PORT")
	flag.StringVar(&s.sqs, "sqs", os.Getenv("TRIBUTARY_TEST_SQS"), "address of ElasticMQ, for worker setup")
	flag.IntVar(&s.rate, "rate", 500, "requests a second")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds, each of the bare loop and of the API")
	flag.DurationVar(&s.round, "round", 3*time.Second, "how long one half of a round takes")
	flag.DurationVar(&s.warmUp, "warm-up", 5*time.Second, "how long both run before")
	flag.DurationVar(&s.most, "most", time.Millisecond, "how much the API may add at the median; more is status 1")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-query:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, out io.Writer) error {
	if s.worker == "" || s.dynamodb == "" || s.sqs == "" {
		return errors.New("give -worker, -dynamodb and -sqs: make bench-query does")
	}
	for _, address := range []string{s.dynamodb, s.sqs} {
		if !strings.HasPrefix(address, "http://127.0.0.1:") {
			return fmt.Errorf("%s is not on this machine: this is a load test", address)
		}
	}
	client, err := newClient(ctx, s)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "bench-query-*")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	api, token, end, err := startWorker(ctx, s, folder)
	if err != nil {
		return err
	}
	defer end()
	if err := fill(ctx, client); err != nil {
		return err
	}

	targets := make([]vegeta.Target, users)
	for i := range targets {
		targets[i] = vegeta.Target{Method: http.MethodGet, URL: api + "/v1/tenants/" + tenant + "/users/" + userID(i), Header: http.Header{"Authorization": {"Bearer " + token}}}
	}
	// An attacker attacks once; the connections stay.
	connections := http.DefaultTransport.(*http.Transport).Clone()
	connections.MaxIdleConnsPerHost = 256
	caller := vegeta.Client(&http.Client{Transport: connections, Timeout: 10 * time.Second})
	targeter := vegeta.NewStaticTargeter(targets...)
	pace := vegeta.ConstantPacer{Freq: s.rate, Per: time.Second}
	throughAPI := func(d time.Duration, m *vegeta.Metrics) {
		for r := range vegeta.NewAttacker(caller).Attack(targeter, pace, d, "api") {
			m.Add(r)
		}
	}
	bare := func(d time.Duration, m *vegeta.Metrics) { bareLoop(ctx, client, pace, d, m) }

	var discarded vegeta.Metrics
	bare(s.warmUp, &discarded)
	throughAPI(s.warmUp, &discarded)
	var added []time.Duration
	for range s.rounds {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var a, b vegeta.Metrics
		bare(s.round, &a)
		throughAPI(s.round, &b)
		for _, m := range []*vegeta.Metrics{&a, &b} {
			m.Close()
			if m.Success < 1 {
				return fmt.Errorf("%d of %d requests failed: %.300q", m.Requests-uint64(float64(m.Requests)*m.Success), m.Requests, m.Errors)
			}
		}
		added = append(added, b.Latencies.P50-a.Latencies.P50)
		_, _ = fmt.Fprintf(out, "round: SDK p50 %v p99 %v, API p50 %v p99 %v\n", short(a.Latencies.P50), short(a.Latencies.P99), short(b.Latencies.P50), short(b.Latencies.P99))
	}
	slices.Sort(added)
	median := added[len(added)/2]
	_, _ = fmt.Fprintf(out, "%d requests/s, %d rounds of %v each: the API adds %v at the median (%v to %v)\n",
		s.rate, s.rounds, s.round, short(median), short(added[0]), short(added[len(added)-1]))
	if median > s.most {
		return fmt.Errorf("the API adds %v at the median, more than %v", short(median), s.most)
	}
	return nil
}

func short(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

func userID(i int) string { return fmt.Sprintf("u%04d", i) }

func newClient(ctx context.Context, s settings) (*dynamodb.Client, error) {
	for name, value := range environment(s) {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	cfg.HTTPClient = &http.Client{Transport: transport}
	return dynamodb.NewFromConfig(cfg), nil
}

// environment is the AWS settings of this run, for itself and for the worker.
func environment(s settings) map[string]string {
	return map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "",
		"AWS_ENDPOINT_URL_DYNAMODB": s.dynamodb, "AWS_ENDPOINT_URL_SQS": s.sqs, "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	}
}

// startWorker makes the table and a token and starts a worker that only answers queries.
func startWorker(ctx context.Context, s settings, folder string) (api, token string, end func(), err error) {
	names := []string{"--table", table, "--queue", "query-bench"}
	if out, err := exec.CommandContext(ctx, s.worker, append([]string{"setup"}, names...)...).CombinedOutput(); err != nil {
		return "", "", nil, fmt.Errorf("worker setup: %w\n%s", err, out)
	}
	tokens := filepath.Join(folder, "tokens.json")
	made, err := exec.CommandContext(ctx, s.worker, "token", "--name", "bench", "--file", tokens, tenant).Output()
	if err != nil {
		return "", "", nil, fmt.Errorf("worker token: %w", err)
	}
	token = strings.TrimSpace(string(made))
	listen, err := freeAddress(ctx)
	if err != nil {
		return "", "", nil, err
	}
	log, err := os.Create(filepath.Join(folder, "worker.log"))
	if err != nil {
		return "", "", nil, fmt.Errorf("make log: %w", err)
	}
	worker := exec.Command(s.worker, append([]string{"run", "--role", "query", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--auth-tokens", tokens}, names...)...)
	worker.Stdout, worker.Stderr = log, log
	if err := worker.Start(); err != nil {
		return "", "", nil, fmt.Errorf("start worker: %w", err)
	}
	end = func() {
		_ = worker.Process.Signal(os.Interrupt)
		_ = worker.Wait()
		_ = log.Close()
	}
	api = "http://" + listen
	if err := answers(ctx, api+"/openapi.json"); err != nil {
		end()
		said, _ := os.ReadFile(log.Name())
		return "", "", nil, fmt.Errorf("%w\n%s", err, said)
	}
	return api, token, end, nil
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// answers waits until a URL answers.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			return response.Body.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the worker does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fill puts the users into the table, as the worker would.
func fill(ctx context.Context, client *dynamodb.Client) error {
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	for first := 0; first < users; first += 25 {
		var writes []types.WriteRequest
		for i := first; i < min(first+25, users); i++ {
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: map[string]types.AttributeValue{
				"PK": text("tenant#" + tenant), "SK": text("user#" + userID(i)),
				"user_id": text(userID(i)), "user_name": text("Alice"), "user_email": text("alice@example.com"),
			}}})
		}
		if _, err := client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: writes}}); err != nil {
			return fmt.Errorf("fill table: %w", err)
		}
	}
	return nil
}

// bareLoop reads items with the SDK and nothing else, at the same pace as vegeta attacks.
func bareLoop(ctx context.Context, client *dynamodb.Client, pace vegeta.Pacer, d time.Duration, m *vegeta.Metrics) {
	var mu sync.Mutex // guards m
	var calls sync.WaitGroup
	start := time.Now()
	for hits := uint64(0); ; hits++ {
		elapsed := time.Since(start)
		if elapsed > d {
			break
		}
		wait, stop := pace.Pace(elapsed, hits)
		if stop {
			break
		}
		time.Sleep(wait)
		calls.Go(func() {
			i := rand.IntN(users)
			at := time.Now()
			out, err := client.GetItem(ctx, &dynamodb.GetItemInput{
				TableName: aws.String(table),
				Key: map[string]types.AttributeValue{
					"PK": &types.AttributeValueMemberS{Value: "tenant#" + tenant},
					"SK": &types.AttributeValueMemberS{Value: "user#" + userID(i)},
				},
			})
			r := &vegeta.Result{Timestamp: at, Latency: time.Since(at), Code: http.StatusOK}
			if err == nil && len(out.Item) == 0 {
				err = errors.New("the item is missing")
			}
			if err != nil {
				r.Code, r.Error = http.StatusInternalServerError, err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			m.Add(r)
		})
	}
	calls.Wait()
}

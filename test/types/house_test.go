// Package types tests declared types by the product's own path: commands go through the queue and a worker into the table, and
// come back through the query API. Everything is in this process, in a bubble in which waiting costs no time.
package types

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/aws/awsjson"
	"tributary/internal/consumer"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/setup"
	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/writer"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

const (
	queueName, lettersName, tableName = "q", "dlq", "Table"
	tenant                            = "acme"
)

// house is an installation: queue, dead-letter queue and table. Which types it has is said with each step, because an upgrade
// changes them.
type house struct {
	t      *testing.T
	cfg    aws.Config
	queues *sqs.Client
	tables *dynamodb.Client
	url    map[string]string // of queues, by name
}

func newHouse(t *testing.T, types *schema.Set) *house {
	s := stack.New(stack.Options{})
	t.Cleanup(s.Close)
	cfg := stacktest.Config(s)
	h := &house{t: t, cfg: cfg, queues: sqs.NewFromConfig(cfg), tables: dynamodb.NewFromConfig(cfg), url: map[string]string{}}
	h.setup(types)
	for _, name := range []string{queueName, lettersName} {
		out, err := h.queues.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
		if err != nil {
			t.Fatal(err)
		}
		h.url[name] = *out.QueueUrl
	}
	return h
}

// setup is worker setup --update.
func (h *house) setup(types *schema.Set) {
	h.t.Helper()
	does := setup.Setup{Queues: h.queues, Tables: h.tables, Features: h.tables}
	plan := &setup.Plan{Queue: queueName, DeadLetters: lettersName, Table: tableName, Types: types, Update: true}
	if _, err := does.Run(h.t.Context(), plan); err != nil {
		h.t.Fatal(err)
	}
}

// work sends messages of one command each, lets a worker with these types settle all of them, and returns which it dead-lettered,
// by their positions.
func (h *house) work(types *schema.Set, bodies []string) map[int]string {
	h.t.Helper()
	for i, body := range bodies {
		if _, err := h.queues.SendMessage(h.t.Context(), &sqs.SendMessageInput{
			QueueUrl: aws.String(h.url[queueName]), MessageBody: &body,
			MessageAttributes: map[string]sqstypes.MessageAttributeValue{"position": {DataType: aws.String("String"), StringValue: aws.String(strconv.Itoa(i))}},
		}); err != nil {
			h.t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	m := metrics.New(prometheus.NewRegistry(), types, 1)
	transport := stacktest.Transport{Handler: h.cfg.HTTPClient.(stacktest.Transport).Handler}
	w := writer.New(writer.Config{Writers: 4}.Defaults(), awsjson.NewTable(h.tables, transport, types, tableName, time.Hour, m.Request, func(float64) {}), &m.Writer, log)
	c := consumer.New(consumer.Config{QueueName: queueName, Types: types, DrainTimeout: time.Minute}.Defaults(),
		awsjson.NewQueue(h.queues, transport, h.url[queueName], m.Request, func(id string, err error) { h.t.Errorf("message %s: %v", id, err) }),
		&awsjson.DeadLetters{Client: h.queues, URL: h.url[lettersName]}, w, &m.Consumer, log)

	ctx, stop := context.WithCancel(h.t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(context.WithoutCancel(ctx)) })
	running.Go(func() { c.Run(ctx) })
	for c.Summary().Deleted < int64(len(bodies)) {
		time.Sleep(time.Second) // of the bubble
		if h.t.Context().Err() != nil || h.t.Failed() {
			break
		}
	}
	stop()
	running.Wait()
	return h.letters()
}

// letters removes the dead letters, and returns their details by the positions of their commands.
func (h *house) letters() map[int]string {
	h.t.Helper()
	found := map[int]string{}
	for _, name := range []string{lettersName, queueName} {
		for {
			out, err := h.queues.ReceiveMessage(h.t.Context(), &sqs.ReceiveMessageInput{
				QueueUrl: aws.String(h.url[name]), MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}, VisibilityTimeout: 3600,
			})
			if err != nil {
				h.t.Fatal(err)
			}
			if len(out.Messages) == 0 {
				break
			}
			for _, m := range out.Messages {
				if at, err := strconv.Atoi(aws.ToString(m.MessageAttributes["position"].StringValue)); err == nil {
					found[at] = aws.ToString(m.MessageAttributes["reason"].StringValue) + ": " + aws.ToString(m.MessageAttributes["detail"].StringValue)
				}
			}
		}
	}
	return found
}

// api is the query API with these types.
func (h *house) api(types *schema.Set) http.Handler {
	h.t.Helper()
	cfg := query.Config{Listen: "127.0.0.1:0", QueryTimeout: 10 * time.Second, QueryConcurrency: 4, QueryExports: 1, QueryMemory: 64 << 20,
		QueryRate: 1e6, QueryBurst: 1e6, QueryReadUnits: 1e9, QueryTenants: 10}
	s, err := query.New(h.t.Context(), cfg, query.Deps{
		DynamoDB: h.tables, Table: tableName, Types: types, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return s.Handler()
}

// get asks an API for a path, and returns the decoded answer.
func get(api http.Handler, path string) (int, map[string]any, error) {
	r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		return w.Code, nil, fmt.Errorf("%s: %d %s: %w", path, w.Code, w.Body, err)
	}
	return w.Code, answer, nil
}

func read(t *testing.T, text string) *schema.Set {
	t.Helper()
	s, err := schema.Read("types.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

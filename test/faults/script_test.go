package faults_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/awsjson"
	"tributary/internal/consumer"
	"tributary/internal/operate/setup"
	"tributary/internal/schema"
	"tributary/internal/writer"
	"tributary/localstack/stack"
	"tributary/test/faults"
	"tributary/test/support/commands"
	"tributary/test/support/stacktest"
)

// world is a stack in this process, behind a script.
type world struct {
	queues *sqs.Client
	tables *dynamodb.Client
	queue  consumer.Queue
	table  writer.Table
	url    string
}

// within runs a test in a bubble. The script is asked of the test's own calls alone, not of those that prepare it.
func within(t *testing.T, script faults.Script, test func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		own := stack.New(stack.Options{})
		defer own.Close()
		cfg := stacktest.Config(own)
		w := &world{queues: sqs.NewFromConfig(cfg), tables: dynamodb.NewFromConfig(cfg)}
		does := setup.Setup{Queues: w.queues, Tables: w.tables, Features: w.tables}
		if _, err := does.Run(t.Context(), &setup.Plan{Queue: "q", DeadLetters: "dlq", Table: "Table"}); err != nil {
			t.Fatal(err)
		}
		front := faults.Over(own, script)
		cfg = stacktest.Config(front)
		w.queues, w.tables, w.url = sqs.NewFromConfig(cfg), dynamodb.NewFromConfig(cfg), "http://stack.test/000000000000/q"
		nothing := func(string, string, string, time.Duration) {}
		w.queue = awsjson.NewQueue(w.queues, stacktest.Transport{Handler: front}, w.url, nothing, nil)
		w.table = awsjson.NewTable(w.tables, stacktest.Transport{Handler: front}, schema.Builtin(), "Table", time.Hour, nothing, func(float64) {})
		test(t, w)
	})
}

func (w *world) send(t *testing.T, n int) (failed []string) {
	t.Helper()
	var entries []sqstypes.SendMessageBatchRequestEntry
	for i := range n {
		id, body := strconv.Itoa(i), fmt.Sprintf("body %d", i)
		entries = append(entries, sqstypes.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body})
	}
	out, err := w.queues.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &w.url, Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range out.Failed {
		failed = append(failed, *f.Id+" "+*f.Code)
	}
	return failed
}

// on makes a script for one call of an operation.
func on(operation string, n int, plan faults.Plan) faults.Script {
	return func(c *faults.Call) faults.Plan {
		if c.Operation == operation && c.N == n {
			return plan
		}
		return faults.Plan{}
	}
}

func TestTheConsumersQueueOverAScript(t *testing.T) {
	t.Run("a long poll takes no time", func(t *testing.T) {
		within(t, nil, func(t *testing.T, w *world) {
			began := time.Now()
			got, err := w.queue.Receive(t.Context(), 10, 20*time.Second)
			if took := time.Since(began); len(got) != 0 || err != nil || took != 20*time.Second {
				t.Errorf("%d messages, %v, after %v", len(got), err, took)
			}
		})
	})
	t.Run("entries that are refused stay", func(t *testing.T) {
		third := faults.Plan{Left: func(i int) string {
			if i == 2 {
				return "InternalError"
			}
			return ""
		}}
		within(t, func(c *faults.Call) faults.Plan {
			if c.Operation == "ReceiveMessage" {
				return faults.Plan{}
			}
			return third
		}, func(t *testing.T, w *world) {
			if failed := w.send(t, 4); !slices.Equal(failed, []string{"2 InternalError"}) {
				t.Errorf("send: %v", failed)
			}
			got, err := w.queue.Receive(t.Context(), 10, 0)
			if len(got) != 3 || err != nil {
				t.Fatalf("receive: %d, %v", len(got), err)
			}
			var handles []string
			for i := range got {
				handles = append(handles, got[i].ReceiptHandle)
			}
			left, err := w.queue.Delete(t.Context(), handles)
			if len(left) != 1 || left[0].Index != 2 || left[0].Final || err != nil {
				t.Errorf("delete: %+v, %v", left, err)
			}
			time.Sleep(time.Hour)
			if again, err := w.queue.Receive(t.Context(), 10, 0); len(again) != 1 || again[0].ID != got[2].ID || err != nil {
				t.Errorf("then %d messages, %v", len(again), err)
			}
		})
	})
	for fault, taken := range map[faults.Fault]bool{faults.ResetBefore: false, faults.ResetAfter: true, faults.ErrorBefore: false, faults.ErrorAfter: true, faults.Cut: true} {
		t.Run("a receive fails by "+string(fault), func(t *testing.T) {
			within(t, on("ReceiveMessage", 0, faults.Plan{Fault: fault}), func(t *testing.T, w *world) {
				w.send(t, 1)
				if got, err := w.queue.Receive(t.Context(), 10, 0); err == nil {
					t.Fatalf("%d messages", len(got))
				}
				got, err := w.queue.Receive(t.Context(), 10, 0)
				if (len(got) == 0) != taken || err != nil {
					t.Errorf("then %d messages, %v; taken before: %v", len(got), err, taken)
				}
			})
		})
	}
	t.Run("a call that waits ends with its context", func(t *testing.T) {
		within(t, on("ReceiveMessage", 0, faults.Plan{Wait: time.Hour}), func(t *testing.T, w *world) {
			w.send(t, 1)
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := w.queue.Receive(ctx, 10, 0); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			if got, err := w.queue.Receive(t.Context(), 10, 0); len(got) != 1 || err != nil {
				t.Errorf("then %d messages, %v: the service never saw the first call", len(got), err)
			}
		})
	})
}

func TestTheWritersTableOverAScript(t *testing.T) {
	writes := func(n int) (list []*writer.Write) {
		for i := range n {
			list = append(list, &writer.Write{Command: commands.PutUser("t", strconv.Itoa(i), "n", "e")})
		}
		return list
	}
	items := func(t *testing.T, w *world) int {
		t.Helper()
		out, err := w.tables.Scan(t.Context(), &dynamodb.ScanInput{TableName: new("Table")})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Items)
	}
	odd := func(i int) string {
		if i%2 == 1 {
			return "unprocessed"
		}
		return ""
	}
	t.Run("a subset is left", func(t *testing.T) {
		within(t, on("BatchWriteItem", 0, faults.Plan{Left: odd}), func(t *testing.T, w *world) {
			left, _, err := w.table.BatchWrite(t.Context(), writes(6))
			slices.Sort(left)
			if !slices.Equal(left, []int{1, 3, 5}) || err != nil || items(t, w) != 3 {
				t.Errorf("left %v, %v, %d items", left, err, items(t, w))
			}
		})
	})
	all := func(int) string { return "unprocessed" }
	for name, test := range map[string]struct {
		plan  faults.Plan
		code  string
		items int
	}{
		"all are left":             {faults.Plan{Left: all}, "ProvisionedThroughputExceededException", 0},
		"a key range is throttled": {faults.Plan{Fault: faults.ThrottleKeyRange}, "ProvisionedThroughputExceededException", 0},
		"an account is throttled":  {faults.Plan{Fault: faults.ThrottleAccount}, "ThrottlingException", 0},
		"refused before":           {faults.Plan{Refuse: "AccessDeniedException"}, "AccessDeniedException", 0},
		"refused after":            {faults.Plan{Refuse: "RequestLimitExceeded", After: true}, "RequestLimitExceeded", 2},
		"failed after":             {faults.Plan{Fault: faults.ErrorAfter}, "InternalServerError", 2},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, on("BatchWriteItem", 0, test.plan), func(t *testing.T, w *world) {
				_, _, err := w.table.BatchWrite(t.Context(), writes(2))
				var api smithy.APIError
				if !errors.As(err, &api) || api.ErrorCode() != test.code || items(t, w) != test.items {
					t.Errorf("%v, %d items, want %s and %d", err, items(t, w), test.code, test.items)
				}
			})
		})
	}
	t.Run("the SDK's client reads the same", func(t *testing.T) {
		within(t, on("GetItem", 1, faults.Plan{Fault: faults.ThrottleBare}), func(t *testing.T, w *world) {
			for i := range 2 {
				_, err := w.tables.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: new("Table"), Key: map[string]types.AttributeValue{
					"PK": &types.AttributeValueMemberS{Value: "a"}, "SK": &types.AttributeValueMemberS{Value: "b"},
				}})
				if _, throttled := errors.AsType[*types.ProvisionedThroughputExceededException](err); throttled != (i == 1) {
					t.Errorf("call %d: %v", i, err)
				}
			}
		})
	})
}

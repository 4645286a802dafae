package conformance

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/test/support/pytools"
	"tributary/test/support/standin"
)

// TestWorkerAndPrograms puts a real worker process beside a program that has used the table before it: on the
// program's own table, which `worker setup --update` takes over, each reads what the other wrote.
func TestWorkerAndPrograms(t *testing.T) {
	pytools.Need(t, pytools.Boto3) // skip before anything is built
	worker := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", worker, "../../cmd/worker").CombinedOutput(); err != nil {
		t.Fatalf("build worker: %v\n%s", err, out)
	}
	t.Run("embedded", func(t *testing.T) {
		endpoint := embedded(t)
		shareWithWorker(t, worker, endpoint, endpoint)
	})
	t.Run("emulators", func(t *testing.T) {
		shareWithWorker(t, worker, emulator(t, "TRIBUTARY_TEST_SQS"), emulator(t, "TRIBUTARY_TEST_DYNAMODB"))
	})
}

func shareWithWorker(t *testing.T, worker, sqsEndpoint, dynamodbEndpoint string) {
	queues := sqs.NewFromConfig(Config(t, sqsEndpoint))
	tables := dynamodb.NewFromConfig(Config(t, dynamodbEndpoint))
	name := unique()
	p := startProgram(t, dynamodbEndpoint, name)
	var status, userID, orderID string
	p.call(&status, "create_table")
	p.call(&userID, "add_user", "tenantA", "Old", "old@example.com")
	p.call(&orderID, "add_order", "tenantA", userID, "12.50")
	t.Cleanup(func() {
		ctx, cancel := afterwards()
		defer cancel()
		_, _ = tables.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &name})
		for _, queue := range []string{name, name + "-dlq"} {
			if out, err := queues.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue}); err == nil {
				_, _ = queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
			}
		}
	})

	environment := standin.Environ(sqsEndpoint, dynamodbEndpoint)
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	setup := exec.CommandContext(ctx, worker, "setup", "--queue", name, "--table", name, "--update")
	setup.Env = environment
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("worker setup: %v\n%s", err, out)
	}
	// When ctx ends the worker is killed: how it stops is tested elsewhere.
	run := exec.CommandContext(ctx, worker, "run", "--queue", name, "--table", name, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json")
	run.Env = environment
	stderr, err := run.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = run.Wait() // it was killed
	}()
	api := "http://" + queryAddress(t, stderr)

	out, err := queues.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	var entries []sqstypes.SendMessageBatchRequestEntry
	for i, body := range []string{
		`{"type":"put_user","tenant_id":"tenantA","user_id":"u1","user_name":"Alice","user_email":"alice@example.com"}`,
		`[{"type":"put_order","tenant_id":"tenantA","order_id":"o1","user_id":"u1","order_amount":"150.00"},
		  {"type":"put_order","tenant_id":"tenantA","order_id":"o2","user_id":"u1","order_amount":1e3,"version":7}]`,
	} {
		entries = append(entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint("e", i)), MessageBody: aws.String(body)})
	}
	if _, err := queues.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: out.QueueUrl, Entries: entries}); err != nil {
		t.Fatal(err)
	}

	// What the worker writes, the program reads.
	var orders []map[string]string
	for len(orders) < 3 {
		if p.call(&orders, "get_orders_for_tenant", "tenantA"); ctx.Err() != nil {
			t.Fatalf("the worker has written %d orders, want 3 with the program's own", len(orders))
		}
		time.Sleep(50 * time.Millisecond) // the program is polled: nothing tells it
	}
	got := map[string]string{}
	for _, o := range orders {
		got[o["SK"]] = o["user_id"] + " " + o["order_amount"]
	}
	if want := map[string]string{"order#o1": "u1 150", "order#o2": "u1 1000", "order#" + orderID: userID + " 12.5"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("get_orders_for_tenant: got %v, want %v", got, want)
	}
	var user map[string]string
	for user == nil && ctx.Err() == nil {
		p.call(&user, "get_user", "tenantA", "u1")
	}
	if user["user_name"] != "Alice" || user["user_email"] != "alice@example.com" || user["user_id"] != "u1" {
		t.Errorf("get_user: got %v", user)
	}

	// What the program wrote, the query API returns: by key, among the tenant's, and by the index that came after it.
	for path, want := range map[string][]string{
		"/v1/tenants/tenantA/users/" + userID:             {`"user_name":"Old"`, `"user_email":"old@example.com"`},
		"/v1/tenants/tenantA/orders/" + orderID:           {`"order_amount":"12.5"`, `"user_id":"` + userID + `"`},
		"/v1/tenants/tenantA/orders":                      {`"order_id":"` + orderID + `"`, `"order_id":"o1"`},
		"/v1/tenants/tenantA/users/" + userID + "/orders": {`"order_id":"` + orderID + `"`},
	} {
		status, body := get(t, api+path)
		missing := slices.DeleteFunc(want, func(part string) bool { return strings.Contains(body, part) })
		if status != http.StatusOK || len(missing) > 0 {
			t.Errorf("GET %s: %d %s, without %v", path, status, body, missing)
		}
	}
}

// queryAddress reads a worker's log until it says where its query API listens.
func queryAddress(t *testing.T, log io.Reader) string {
	t.Helper()
	lines := bufio.NewScanner(log)
	var all bytes.Buffer
	for lines.Scan() {
		if query, _ := standin.Listening(lines.Bytes()); query != "" {
			go func() { _, _ = io.Copy(io.Discard, log) }() // until the worker ends
			return query
		}
		all.Write(append(lines.Bytes(), '\n'))
	}
	t.Fatalf("the worker ended without listening:\n%s", &all)
	return ""
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

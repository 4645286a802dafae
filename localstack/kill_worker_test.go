package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/test/support/standin"
)

// producing is what was sent: each user once.
type producing struct {
	mu       sync.Mutex
	tried    map[string]bool // by key of the item
	answered map[string]bool // accepted for sure
}

// A worker goes on when its stack is killed and started again, and in the end the table has what was sent.
func TestWorkerOutlivesKills(t *testing.T) {
	data, bin := t.TempDir(), filepath.Join(t.TempDir(), "worker")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "tributary/cmd/worker").CombinedOutput(); err != nil {
		t.Fatalf("build the worker: %v: %s", err, out)
	}
	s := startServer(t, data)
	environment := standin.Environ(s.url, s.url)
	made := exec.CommandContext(t.Context(), bin, "setup")
	made.Env = environment
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("worker setup: %v: %s", err, out)
	}
	listed, err := s.queues.ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil {
		t.Fatal(err)
	}
	var queue, letters string
	for _, url := range listed.QueueUrls {
		if strings.Contains(url, "dlq") || strings.Contains(url, "dead") {
			letters = url
		} else {
			queue = url
		}
	}
	// An answer to a receive that is lost with the stack leaves messages invisible for so long.
	if _, err := s.queues.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &queue, Attributes: map[string]string{"VisibilityTimeout": "10"}}); err != nil {
		t.Fatal(err)
	}
	worker := exec.CommandContext(t.Context(), bin, "run", "--role=consume", "--admin-listen=127.0.0.1:0")
	worker.Env = environment
	var said bytes.Buffer // read when the worker has ended
	worker.Stderr = &said
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}

	work := &producing{tried: map[string]bool{}, answered: map[string]bool{}}
	for round := range *killRounds {
		ctx, stop := context.WithCancel(t.Context())
		var senders sync.WaitGroup
		for sender := range 3 {
			senders.Go(func() { work.send(ctx, s, queue, round, sender) })
		}
		time.Sleep(time.Duration(200+rand.IntN(400)) * time.Millisecond) //nolint:gosec,forbidigo // other processes work meanwhile
		s.kill(t)
		stop()
		senders.Wait()
		s = startServerAt(t, data, strings.TrimPrefix(s.url, "http://"))
	}
	drained := func() bool {
		out, err := s.queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &queue, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes["ApproximateNumberOfMessages"] == "0" && out.Attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
	}
	for wait := 0; !drained(); wait++ {
		if wait == 600 {
			t.Error("the queue isn't empty after a minute")
			break
		}
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // other processes work meanwhile
	}
	work.check(t, s)
	out, err := s.queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &letters, AttributeNames: []sqstypes.QueueAttributeName{"ApproximateNumberOfMessages"}})
	if err != nil || out.Attributes["ApproximateNumberOfMessages"] != "0" {
		t.Errorf("dead letters: %v, %v", out, err)
	}
	_ = worker.Process.Signal(syscall.SIGTERM)
	if err := worker.Wait(); err != nil || t.Failed() {
		t.Errorf("the worker ended by %v: %s", err, said.Bytes()[max(0, said.Len()-3000):])
	}
	s.kill(t)
	t.Logf("%d kills, %d users sent, %d accepted for sure", *killRounds, len(work.tried), len(work.answered))
}

// send sends batches of messages of several users each, until the stack is gone.
func (p *producing) send(ctx context.Context, s *server, queue string, round, sender int) {
	for i := 0; ; i++ {
		var keys []string
		var entries []sqstypes.SendMessageBatchRequestEntry
		for entry := range 10 {
			var commands []string
			for n := range 5 {
				tenant, user := fmt.Sprint("t", n), fmt.Sprintf("u%d-%d-%d-%d", round, sender, i, entry)
				version := ""
				if n == 0 {
					version = `,"version":1`
				}
				commands = append(commands, fmt.Sprintf(`{"type":"put_user","tenant_id":%q,"user_id":%q,"user_name":"n","user_email":"e"%s}`, tenant, user, version))
				keys = append(keys, "tenant#"+tenant+"/user#"+user)
			}
			entries = append(entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(entry)), MessageBody: aws.String("[" + strings.Join(commands, ",") + "]")})
		}
		p.mu.Lock()
		for _, key := range keys {
			p.tried[key] = true
		}
		p.mu.Unlock()
		if out, err := s.queues.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &queue, Entries: entries}); err != nil || len(out.Failed) > 0 {
			return
		}
		p.mu.Lock()
		for _, key := range keys {
			p.answered[key] = true
		}
		p.mu.Unlock()
	}
}

// check compares the table with what was sent.
func (p *producing) check(t *testing.T, s *server) {
	t.Helper()
	listed, err := s.tables.ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil || len(listed.TableNames) != 1 {
		t.Fatalf("%v, %v", listed, err)
	}
	found := map[string]bool{}
	pages := dynamodb.NewScanPaginator(s.tables, &dynamodb.ScanInput{TableName: &listed.TableNames[0], ProjectionExpression: aws.String("PK, SK")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.Items {
			pk := it["PK"].(*types.AttributeValueMemberS).Value
			if strings.HasPrefix(pk, "tributary#") {
				continue // decisions, workers and usage
			}
			found[pk+"/"+it["SK"].(*types.AttributeValueMemberS).Value] = true
		}
	}
	lost := 0
	for key := range p.answered {
		if !found[key] {
			lost++
		}
	}
	for key := range found {
		if !p.tried[key] {
			t.Errorf("%s was never sent", key)
		}
	}
	if lost > 0 || len(p.answered) == 0 {
		t.Errorf("%d of %d users are not in the table", lost, len(p.answered))
	}
}

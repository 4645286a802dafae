package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/base/cli"
)

var killRounds = flag.Int("kill.rounds", 3, "how often TestKilled kills the stack")

// asServer makes a process of this test the program itself.
const asServer = "LOCALSTACK_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) == "" {
		os.Exit(m.Run())
	}
	os.Exit(cli.Main(context.Background(), "localstack", "", &command{}, os.Args[1:], cli.OS()))
}

// server is a stack in a process of its own.
type server struct {
	cmd    *exec.Cmd
	url    string
	tables *dynamodb.Client
	queues *sqs.Client
}

func startServer(t *testing.T, data string) *server {
	t.Helper()
	return startServerAt(t, data, "127.0.0.1:0")
}

func startServerAt(t *testing.T, data, listen string) *server {
	t.Helper()
	cmd := exec.Command(os.Args[0], "--listen", listen, "--data", data) //nolint:gosec,noctx // this very program; it is killed
	cmd.Env = append(os.Environ(), asServer+"=1")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	_, rest, ok := strings.Cut(line, "AWS_ENDPOINT_URL=")
	if err != nil || !ok {
		t.Fatalf("start: %q, %v", line, err)
	}
	url, _, _ := strings.Cut(rest, " ")
	login := credentials.NewStaticCredentialsProvider("x", "y", "")
	return &server{
		cmd, url,
		dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: login, Retryer: aws.NopRetryer{}, HTTPClient: ownBody{}}),
		sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: login, Retryer: aws.NopRetryer{}, HTTPClient: ownBody{}}),
	}
}

// ownBody gives net/http a body that the SDK doesn't close while it is sent: otherwise it closes the connection now and
// then, and loses an answer.
type ownBody struct{}

func (ownBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	return http.DefaultClient.Do(r)
}

func (s *server) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // killed
}

// record is what the stack answered with success. What was under way when it was killed may have happened or not.
type record struct {
	mu       sync.Mutex
	written  map[string]int  // keys, and the number that was put last
	tried    map[string]int  // the number that may have been put
	sent     map[string]bool // bodies
	deleting map[string]bool // bodies whose delete was tried
	deleted  map[string]bool // bodies whose delete was answered
	sends    int             // all that were answered
}

const killTable, killQueue = "kept", "kept"

// A stack that is killed under load has, when it is started again, everything that it answered with success.
func TestKilled(t *testing.T) {
	data := t.TempDir()
	seen := &record{written: map[string]int{}, tried: map[string]int{}, sent: map[string]bool{}, deleting: map[string]bool{}, deleted: map[string]bool{}}
	s := startServer(t, data)
	attribute := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: "S"}
	}
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	_, err := s.tables.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(killTable), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{attribute("PK"), attribute("SK")},
		KeySchema:            []types.KeySchemaElement{key("PK", "HASH"), key("SK", "RANGE")},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("turned"), Projection: &types.Projection{ProjectionType: "ALL"},
			KeySchema: []types.KeySchemaElement{key("SK", "HASH"), key("PK", "RANGE")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(killQueue), Attributes: map[string]string{"VisibilityTimeout": "0"}}); err != nil {
		t.Fatal(err)
	}
	for round := range *killRounds {
		var work sync.WaitGroup
		for worker := range 6 {
			work.Go(func() { seen.load(t, s, round, worker) })
		}
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond) //nolint:gosec,forbidigo // another process works meanwhile
		s.kill(t)
		work.Wait()
		s = startServer(t, data)
		seen.check(t, s, round)
	}
	s.kill(t)
	t.Logf("%d keys, %d messages sent, %d deleted", len(seen.written), seen.sends, len(seen.deleted))
	if len(seen.written) == 0 || seen.sends == 0 || len(seen.deleted) == 0 {
		t.Error("nothing happened")
	}
}

// load writes, sends, receives and deletes until the stack is gone.
func (r *record) load(t *testing.T, s *server, round, worker int) {
	queue := aws.String("http://localhost/000000000000/" + killQueue)
	for i := 0; ; i++ {
		var requests []types.WriteRequest
		n := round*1_000_000 + i
		keys := make([]string, 0, 3)
		for j := range 3 {
			key := fmt.Sprintf("%d/%d", worker, (i*3+j)%500)
			keys = append(keys, key)
			r.mu.Lock()
			r.tried[key] = n
			r.mu.Unlock()
			requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: map[string]types.AttributeValue{
				"PK": &types.AttributeValueMemberS{Value: fmt.Sprint(worker)}, "SK": &types.AttributeValueMemberS{Value: key}, "n": &types.AttributeValueMemberN{Value: strconv.Itoa(n)},
			}}})
		}
		if _, err := s.tables.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{killTable: requests}}); err != nil {
			return
		}
		body := fmt.Sprintf("%d/%d/%d", round, worker, i)
		r.mu.Lock()
		for _, key := range keys {
			r.written[key] = n
		}
		r.mu.Unlock()
		if _, err := s.queues.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: queue, MessageBody: &body}); err != nil {
			return
		}
		r.mu.Lock()
		r.sent[body] = true
		r.sends++
		r.mu.Unlock()
		if i%2 == 0 {
			continue
		}
		out, err := s.queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue, VisibilityTimeout: 30})
		if err != nil {
			return
		}
		for _, m := range out.Messages {
			r.mu.Lock()
			r.deleting[*m.Body] = true
			r.mu.Unlock()
			if _, err := s.queues.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return
			}
			r.mu.Lock()
			r.deleted[*m.Body] = true
			r.mu.Unlock()
		}
	}
}

// check compares what is there with what was answered.
func (r *record) check(t *testing.T, s *server, round int) {
	t.Helper()
	for _, index := range []*string{nil, aws.String("turned")} {
		found := map[string]int{}
		pages := dynamodb.NewScanPaginator(s.tables, &dynamodb.ScanInput{TableName: aws.String(killTable), IndexName: index})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range page.Items {
				n, _ := strconv.Atoi(it["n"].(*types.AttributeValueMemberN).Value)
				found[it["SK"].(*types.AttributeValueMemberS).Value] = n
			}
		}
		for key, n := range r.written {
			if got, ok := found[key]; !ok || got != n && got != r.tried[key] {
				t.Errorf("round %d, index %s: %s is %d (%v), was answered to be %d, %d was tried", round, aws.ToString(index), key, got, ok, n, r.tried[key])
			}
		}
	}
	queue := aws.String("http://localhost/000000000000/" + killQueue)
	out, err := s.queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: queue, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	invisible, _ := strconv.Atoi(out.Attributes["ApproximateNumberOfMessagesNotVisible"])
	visible := map[string]int{}
	for {
		out, err := s.queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue, MaxNumberOfMessages: 10, VisibilityTimeout: 43_000})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			break
		}
		for _, m := range out.Messages {
			visible[*m.Body]++
		}
	}
	missing := 0
	for body := range r.sent {
		switch {
		case r.deleted[body] && visible[body] > 0:
			t.Errorf("round %d: %s was deleted and is back", round, body)
		case visible[body] > 1:
			t.Errorf("round %d: %s is there %d times", round, body, visible[body])
		case visible[body] == 0 && !r.deleted[body]:
			missing++ // invisible, or its delete was under way
		}
		if visible[body] == 0 {
			delete(r.sent, body)
		}
	}
	undecided := 0
	for body := range r.deleting {
		if !r.deleted[body] {
			undecided++
		}
	}
	if missing > invisible+undecided {
		t.Errorf("round %d: %d messages are missing, %d are invisible and %d deletes were under way", round, missing, invisible, undecided)
	}
	if _, err := s.queues.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: queue}); err == nil { // so that rounds stay short
		clear(r.sent)
	}
	clear(r.deleting)
}

// A damaged file is named, and nothing is served.
func TestDamagedData(t *testing.T) {
	data := t.TempDir()
	s := startServer(t, data)
	if _, err := s.queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(killQueue)}); err != nil {
		t.Fatal(err)
	}
	s.kill(t)
	file := data + "/localstack.db"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for what, damaged := range map[string][]byte{"cut": b[:5000], "another byte": bytes.ReplaceAll(b, []byte("VisibilityTimeout"), []byte("visibilityTimeout"))} {
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		status := cli.Main(ctx, "localstack", "", &command{}, []string{"--listen", "127.0.0.1:0", "--data", data}, &cli.Streams{Out: io.Discard, Err: &said})
		stop()
		if status != cli.StatusFailed || !strings.Contains(said.String(), file+" is damaged: ") {
			t.Errorf("%s: exit status %d, said %q", what, status, said.String())
		}
	}
	if err := errors.Join(os.Remove(file)); err != nil {
		t.Fatal(err)
	}
}

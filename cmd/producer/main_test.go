package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/uuid"

	"tributary/internal/aws/awsclient"
	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/send/publish"
	"tributary/localstack/queue"
	"tributary/test/support/commands"
)

// asProducer makes the test's own binary the producer, for tests that need a process to kill.
const asProducer = "PRODUCER_TEST_ARGUMENTS"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(asProducer); ok {
		var args []string
		if err := json.Unmarshal([]byte(text), &args); err != nil {
			panic(err)
		}
		_ = os.Unsetenv(asProducer)
		os.Exit(run(context.Background(), args, cli.OS()))
	}
	os.Exit(m.Run())
}

// stack is an SQS of the test's own.
type stack struct {
	url    string
	client *sqs.Client
	calls  atomic.Int64 // of SendMessageBatch
	// latency of these calls, set before the first: what makes an import long enough to be killed.
	latency time.Duration
}

func start(t *testing.T, queues ...string) *stack {
	t.Helper()
	s := &stack{}
	server := queue.NewServer(queue.Options{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".SendMessageBatch") {
			s.calls.Add(1)
			time.Sleep(s.latency)
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { server.Close(); front.Close() })
	s.url = front.URL
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": front.URL, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	cfg, err := awsclient.Load(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	s.client = sqs.NewFromConfig(cfg)
	for _, name := range queues {
		in := &sqs.CreateQueueInput{QueueName: &name}
		if strings.HasSuffix(name, ".fifo") {
			in.Attributes = map[string]string{"FifoQueue": "true"}
		}
		if _, err := s.client.CreateQueue(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// receiveAll takes everything off a queue.
func (s *stack) receiveAll(t *testing.T, name string) []types.Message {
	t.Helper()
	url, err := s.client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	var list []types.Message
	for {
		out, err := s.client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: url.QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return list
		}
		for _, m := range out.Messages {
			if _, err := s.client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url.QueueUrl, ReceiptHandle: m.ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, out.Messages...)
	}
}

// producer runs a command line in this process.
func producer(t *testing.T, args ...string) (status int, out, talk string) {
	t.Helper()
	return producerIn(t, "", args...)
}

func producerIn(t *testing.T, input string, args ...string) (status int, out, talk string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = run(t.Context(), args, &cli.Streams{In: strings.NewReader(input), Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}

func TestSingleCommands(t *testing.T) {
	for _, name := range []string{"tributary-commands", "other.fifo"} {
		s := start(t, name)
		for _, test := range []struct {
			args []string
			want string // %s is the id
		}{
			{[]string{"put-user", "--tenant", "t", "--user-name", "Ada", "--user-email", "a@x"},
				`{"type":"put_user","tenant_id":"t","user_id":"%s","user_name":"Ada","user_email":"a@x"}`},
			{[]string{"put-user", "--tenant", "t", "--id", "u1", "--user-name", "", "--user-email", "a@x", "--item-version", "3"},
				`{"type":"put_user","tenant_id":"t","user_id":"u1","user_name":"","user_email":"a@x","version":3}`},
			{[]string{"put-order", "--tenant", "t", "--ids", "uuid4", "--user-id", "u1", "--order-amount", "150.00", "--attributes", `{"n":1.0}`},
				`{"type":"put_order","tenant_id":"t","order_id":"%s","user_id":"u1","order_amount":"150.00","attributes":{"n":1.0}}`},
			{[]string{"put-order", "--tenant", "t", "--id", "o1", "--user-id", "u1", "--order-amount", "-5.00"},
				`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"-5.00"}`},
			{[]string{"put-order", "--tenant", "t", "--id", "o1", "--order-amount=-5", "--user-id", "u1"},
				`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"-5"}`},
			{[]string{"delete-user", "--tenant", "t", "--id", "u1"}, `{"type":"delete_user","tenant_id":"t","user_id":"u1"}`},
			{[]string{"delete-order", "--tenant", "t", "--id", "o1", "--item-version", "9"}, `{"type":"delete_order","tenant_id":"t","order_id":"o1","version":9}`},
		} {
			status, out, talk := producer(t, append(test.args, "--queue", name)...)
			if status != 0 || talk != "" || !strings.HasSuffix(out, "\n") {
				t.Fatalf("%v: status %d, out %q, talk %q", test.args, status, out, talk)
			}
			id, want := strings.TrimSuffix(out, "\n"), test.want
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, id)
				version := uuid.Version(7)
				if slices.Contains(test.args, "uuid4") {
					version = 4
				}
				if parsed, err := uuid.Parse(id); err != nil || parsed.Version() != version {
					t.Errorf("%v: id %q, %v", test.args, id, err)
				}
			}
			got := s.receiveAll(t, name)
			if len(got) != 1 || *got[0].Body != want || aws.ToString(got[0].MessageAttributes["tenant_id"].StringValue) != "t" ||
				!strings.HasPrefix(got[0].Attributes["MessageGroupId"], "t") {
				t.Fatalf("%v: arrived %+v, want %s", test.args, got, want)
			}
		}
		// The same command twice, on purpose, is two commands, also on a FIFO queue.
		for range 2 {
			if status, _, talk := producer(t, "delete-user", "--tenant", "t", "--id", "u1", "--queue", name); status != 0 {
				t.Fatal(talk)
			}
		}
		if got := s.receiveAll(t, name); len(got) != 2 {
			t.Errorf("%s: %d messages of a command sent twice", name, len(got))
		}
		status, out, _ := producer(t, "put-user", "--tenant", "t", "--id", "u1", "--user-name", "<&>", "--user-email", "a@x", "--queue", name, "-o", "json")
		var said struct {
			ID      string
			Command struct{ Type, User_name string }
		}
		if err := json.Unmarshal([]byte(out), &said); err != nil || status != 0 || said.ID != "u1" || said.Command.User_name != "<&>" {
			t.Errorf("-o json: %q, %v", out, err)
		}
	}
}

func TestWrongInput(t *testing.T) {
	start(t, "tributary-commands")
	csv := filepath.Join(t.TempDir(), "f.csv")
	if err := os.WriteFile(csv, []byte("tenant_id,order_id\nt,o\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	order := []string{"put-order", "--tenant", "t", "--user-id", "u1", "--order-amount"}
	for _, test := range []struct {
		args []string
		says string
	}{
		{nil, "expected one of"},
		{[]string{"put-user"}, "missing flags"},
		{append(order, "1,5"), `--order-amount: "1,5"`},
		{append(order, "1", "--id", "a#b"), `--id: "a#b" has '#'`},
		{append(order, "1", "--item-version", "0"), "--item-version: 0"},
		{append(order, "1", "--attributes", "[]"), "--attributes: "},
		{append(order, "1", "--ids", "uuid1"), "--ids"},
		{append(order, "1", "--queue", "a/b"), `--queue: `},
		{[]string{"delete-user", "--tenant", "a b", "--id", "u"}, `--tenant: "a b"`},
		{[]string{"import"}, `expected "<file> ..."`},
		{[]string{"import", csv, "--type", "put_order"}, "no column for user_id"},
		{[]string{"import", csv, "--type", "put_invoice"}, "--type"},
		{[]string{"import", csv, "--tenant", "t", "--tenant-column", "c"}, "--tenant"},
		{[]string{"import", csv, "--map", "color=c"}, "--map color"},
		{[]string{"import", csv, "--delimiter", ";;"}, "--delimiter"},
		{[]string{"import", csv, "--rate", "-1"}, "--rate"},
		{[]string{"import", csv, "--quote", "x"}, "--quote"},
		{[]string{"put-order", "--tenant", "t", "--user-id", "u", "--order-amount", "--id"}, "--order-amount"},
		{[]string{"put-order", "--tenant", "t", "--user-id", "u", "--order-amount", "-5x"}, "--order-amount"},
		{[]string{"import", csv, "--pack-bytes", "2000000"}, "--pack-bytes"},
		{[]string{"import", csv, csv, "--rejected", "x"}, "--rejected"},
		{[]string{"import", csv, "--dry-run", "--wait"}, "--dry-run"},
		{[]string{"generate", "--skew", "NaN"}, "--skew"},
		{[]string{"generate", "--tenants", "0"}, "--tenants"},
		{[]string{"generate", "--file", filepath.Join(t.TempDir(), "no", "folder")}, "--file"},
	} {
		status, out, talk := producer(t, test.args...)
		if status != cli.StatusUsage || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, test.says) {
			t.Errorf("%v: status %d, out %q, talk %q, want %q in it", test.args, status, out, talk, test.says)
		}
	}
	for _, test := range []struct {
		args []string
		says string
	}{
		{append(order, "1", "--queue", "nowhere"), "worker setup"},
		{[]string{"import", csv + ".no", "--type", "put_order"}, "no such file"},
	} {
		status, _, talk := producer(t, test.args...)
		if status != cli.StatusFailed || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, test.says) {
			t.Errorf("%v: status %d, talk %q, want %q in it", test.args, status, talk, test.says)
		}
	}
}

func TestImportOfTheExamples(t *testing.T) {
	s := start(t, "tributary-commands")
	folder := t.TempDir()
	for _, test := range []struct {
		file       string
		sent, bad  int
		args       []string
		firstBadAt string
	}{
		{"users.jsonl", 60, 2, nil, ":61: user_id"},
		{"orders.csv", 1000, 4, []string{"--type", "put_order", "--attributes", "placed_at,note"}, ":286: the row has 7 fields"},
		{"orders.jsonl", 200, 1, []string{"--type", "put_order", "--tenant-column", "shop", "--version-column", "revision",
			"--map", "order_id=number,user_id=customer,order_amount=total", "--attributes", "channel,items"}, ":201: order_amount"},
	} {
		content, err := os.ReadFile(filepath.Join("..", "..", "examples", test.file))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, test.file)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		status, out, talk := producer(t, append([]string{"import", path, "-o", "json"}, test.args...)...)
		var sum summary
		if err := json.Unmarshal([]byte(out), &sum); err != nil || status != cli.StatusPartial ||
			sum.Commands != int64(test.sent) || sum.Rejected != int64(test.bad) || sum.Rows != int64(test.sent+test.bad) || len(sum.Rejects) != 1 {
			t.Errorf("%s: status %d, %s, %v", test.file, status, out, err)
		}
		if !strings.Contains(talk, test.firstBadAt) || !strings.Contains(talk, "list price") {
			t.Errorf("%s: talk %q, want %q", test.file, talk, test.firstBadAt)
		}
		commands := 0
		for _, m := range s.receiveAll(t, "tributary-commands") {
			commands += len(decode(t, &m))
		}
		if commands != test.sent {
			t.Errorf("%s: %d commands arrived", test.file, commands)
		}
	}
}

func decode(t *testing.T, m *types.Message) []messages.Decoded {
	t.Helper()
	list, bad := messages.Decode(commands.Types, nil, *m.Body, &messages.Attributes{TenantID: *m.MessageAttributes["tenant_id"].StringValue})
	if bad != nil {
		t.Fatal(bad)
	}
	for _, d := range list {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	return list
}

func TestImportFromStandardInput(t *testing.T) {
	s := start(t, "tributary-commands")
	t.Chdir(t.TempDir())
	status, out, talk := producerIn(t, `{"type":"delete_user","tenant_id":"t","user_id":"u1"}`+"\nnonsense\n", "import", "-")
	if status != cli.StatusPartial || out != "" || len(s.receiveAll(t, "tributary-commands")) != 1 {
		t.Errorf("status %d, %q, %q", status, out, talk)
	}
	if text, err := os.ReadFile("stdin.rejected.jsonl"); err != nil || !strings.Contains(string(text), `"text":"nonsense"`) {
		t.Errorf("rejected %q, %v", text, err)
	}
}

// What was passed over, and rows that overwrite one another, are said; bytes behind compressed data fail an import that
// there is no use in resuming.
func TestImportSaysWhatIsOdd(t *testing.T) {
	s := start(t, "tributary-commands")
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	_, _ = z.Write([]byte("user_id,x\nu1,\n,\nuser_id,x\nu1,\nu2,\nu1,\n"))
	_ = z.Close()
	path := filepath.Join(t.TempDir(), "f.csv.gz")
	if err := os.WriteFile(path, append(gz.Bytes(), "garbage"...), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out, talk := producer(t, "import", path, "--type", "delete_user", "--tenant", "t", "-o", "json")
	var sum summary
	if err := json.Unmarshal([]byte(out), &sum); err != nil || sum.Rows != 4 || sum.RepeatedKeys != 2 || sum.RepeatedHeaders != 1 || sum.BlankRows != 1 {
		t.Errorf("%v, %s", err, out)
	}
	for _, want := range []string{"4 rows: 4 commands", "2 rows have the key of an earlier row", "1 line is the header again", "1 row has no value", path + ": "} {
		if !strings.Contains(talk, want) {
			t.Errorf("%q does not say %q", talk, want)
		}
	}
	if status != cli.StatusFailed || strings.Contains(talk, "--resume") || len(s.receiveAll(t, "tributary-commands")) == 0 {
		t.Errorf("status %d, %q", status, talk)
	}
	if status, _, talk := producer(t, "import", path, "--type", "delete_user", "--tenant", "t", "--resume"); status != cli.StatusUsage || len(s.receiveAll(t, "tributary-commands")) > 0 {
		t.Errorf("resumed: status %d, %q", status, talk)
	}
}

func TestDryRunShowsThreeCommands(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // nothing is asked of AWS
	status, out, talk := producerIn(t, "user_id\nu1\nu2\nu3\nu4\nu#5\n", "import", "-", "--dry-run", "--type", "delete_user", "--tenant", "t")
	if status != cli.StatusPartial || strings.Count(out, "\n") != 3 || !strings.HasPrefix(out, `{"type":"delete_user","tenant_id":"t","user_id":"u1"}`) {
		t.Errorf("status %d, %q, %q", status, out, talk)
	}
	if !strings.Contains(talk, "5 rows checked") || !strings.Contains(talk, "1 rows would be rejected") {
		t.Errorf("talk %q", talk)
	}
}

func TestGenerate(t *testing.T) {
	s := start(t, "tributary-commands")
	status, file, talk := producer(t, "generate", "--file", "-", "--tenants", "3", "--users", "6", "--orders", "300", "--update-share", "0.2", "--skew", "1")
	if status != 0 || strings.Count(file, "\n") != 306 {
		t.Fatalf("status %d, %d lines, %q", status, strings.Count(file, "\n"), talk)
	}
	status, _, talk = producer(t, "generate", "--tenants", "3", "--users", "6", "--orders", "300", "--update-share", "0.2", "--skew", "1")
	if status != 0 {
		t.Fatal(talk)
	}
	texts := map[string]int{}
	for _, m := range s.receiveAll(t, "tributary-commands") {
		for _, d := range decode(t, &m) {
			texts[d.Text]++
		}
	}
	for _, line := range strings.Split(strings.TrimSuffix(file, "\n"), "\n") {
		if texts[line]--; texts[line] < 0 {
			t.Fatalf("in the file and not on the queue: %s", line)
		}
	}
}

// An import killed with -9, again and again, and resumed: every row arrives, none is skipped.
func TestKilledImportIsResumed(t *testing.T) {
	const rows, kills = 100_000, 2
	s := start(t, "tributary-commands")
	s.latency = 6 * time.Millisecond
	path := filepath.Join(t.TempDir(), "orders.csv")
	var b bytes.Buffer
	b.WriteString("order_id,user_id,order_amount\n")
	for i := range rows {
		if i%1000 == 7 {
			fmt.Fprintf(&b, "o%d,u,none\n", i)
			continue
		}
		fmt.Fprintf(&b, "o%d,u%d,%d.50\n", i, i%97, i)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	killed := 0
	for run := 0; ; run++ {
		if run > kills+2 {
			t.Fatal("the import does not end")
		}
		args := []string{"import", path, "--type", "put_order", "--tenant", "t", "--pack", "10", "--concurrency", "2", "-o", "json"}
		if run > 0 {
			args = append(args, "--resume")
		}
		text, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(os.Environ(), asProducer+"="+string(text))
		var out, talk bytes.Buffer
		c.Stdout, c.Stderr = &out, &talk
		before := s.calls.Load()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- c.Wait() }()
		if run < kills {
			// Killed once it has written a checkpoint and sent on behind it.
			checkpoint, _ := os.Stat(path + ".checkpoint")
			for waiting := true; waiting; {
				select {
				case err = <-done:
					waiting = false
				case <-time.After(5 * time.Millisecond):
					now, err := os.Stat(path + ".checkpoint")
					if err == nil && (checkpoint == nil || now.ModTime() != checkpoint.ModTime()) && s.calls.Load() > before+int64(20+30*run) {
						_ = c.Process.Kill()
						if <-done == nil {
							t.Fatal("it was done when it was killed")
						}
						killed++
						waiting = false
					}
				}
			}
			if killed == run+1 {
				continue
			}
		} else {
			err = <-done
		}
		exit := &exec.ExitError{}
		if !errors.As(err, &exit) || exit.ExitCode() != cli.StatusPartial {
			t.Fatalf("run %d: %v: %s", run, err, talk.String())
		}
		var sum summary
		if err := json.Unmarshal(out.Bytes(), &sum); err != nil || sum.Rows != rows || sum.Rejected != rows/1000 || sum.Commands != rows-rows/1000 || sum.Resumed == 0 {
			t.Errorf("the last run says %s, %v", out.String(), err)
		}
		break
	}
	if killed == 0 {
		t.Error("no run was killed")
	}
	times := map[string]int{}
	for _, m := range s.receiveAll(t, "tributary-commands") {
		for _, d := range decode(t, &m) {
			times[d.Command.Get("order_id")]++
		}
	}
	twice := 0
	for i := range rows {
		n := times[fmt.Sprintf("o%d", i)]
		if (n == 0) != (i%1000 == 7) {
			t.Fatalf("row %d arrived %d times", i, n)
		}
		twice += max(0, n-1)
	}
	t.Logf("killed %d times, %d of %d rows came again", killed, twice, rows)
	rejected, err := os.ReadFile(path + ".rejected.csv")
	if lines := bytes.Count(rejected, []byte("\n")); err != nil || lines != 1+rows/1000 {
		t.Errorf("%d lines of rejected rows, %v", lines, err)
	}
	if _, err := os.Stat(path + ".checkpoint"); !os.IsNotExist(err) {
		t.Errorf("the checkpoint is still there: %v", err)
	}
}

// endless is a CSV of orders with a stray quote far from its end, where the import stops.
func endless(rows int) string {
	var b strings.Builder
	b.WriteString("user_id,order_amount,note\n")
	for i := range rows {
		if i == rows/2 {
			b.WriteString("u,1,\"")
		}
		fmt.Fprintf(&b, "u%d,%d,%s\n", i, i, strings.Repeat("n", 100))
	}
	return b.String()
}

// amounts counts the orders on a queue by their amount.
func (s *stack) amounts(t *testing.T) map[string]int {
	t.Helper()
	times := map[string]int{}
	for _, m := range s.receiveAll(t, "tributary-commands") {
		for _, d := range decode(t, &m) {
			times[d.Command.Get("order_amount")]++
		}
	}
	return times
}

// Several files: all are checked before anything is sent, and what is done is not sent again by --resume.
func TestImportOfSeveralFiles(t *testing.T) {
	s := start(t, "tributary-commands")
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const rows = 40_000
	broken := endless(rows)
	first := file("first.csv", "user_id,order_amount,note\nu1,1000001,x\nu1,none,x\nu2,1000002,x\n")
	second, third := file("second.csv", broken), file("third.csv", "user_id,order_amount,note\nu1,1000003,x\n")
	orders := func(args ...string) []string {
		return append([]string{"import", "--type", "put_order", "--tenant", "t", "--id", "uuid7", "--pack", "100"}, args...)
	}
	for _, bad := range []struct {
		path, says string
		status     int
	}{
		{file("bad.csv", "user_id,price\nu1,1\n"), "no column for order_amount", cli.StatusUsage},
		{filepath.Join(folder, "none.csv"), "no such file", cli.StatusFailed},
		{first, "named twice", cli.StatusUsage},
	} {
		status, _, talk := producer(t, orders(first, third, bad.path)...)
		if status != bad.status || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, bad.says) {
			t.Errorf("%s: status %d, %q", bad.path, status, talk)
		}
		if got := s.amounts(t); len(got) > 0 {
			t.Errorf("%s: %v sent before all files were checked", bad.path, got)
		}
	}

	status, _, talk := producer(t, orders(first, second, third)...)
	if status != cli.StatusFailed || !strings.Contains(talk, "line 20002: ") || !strings.Contains(talk, "(--resume goes on)") {
		t.Fatalf("status %d, %q", status, talk)
	}
	got := s.amounts(t)
	if got["1000001"] != 1 || got["1000002"] != 1 || got["0"] != 1 || got["1000003"] != 0 {
		t.Errorf("first run: %d amounts", len(got))
	}
	if status, _, talk := producer(t, orders(first, second, third)...); status != cli.StatusUsage || !strings.Contains(talk, "--resume") {
		t.Errorf("neither resumed nor anew: status %d, %q", status, talk)
	}
	file("second.csv", strings.Replace(broken, "u,1,\"", "", 1))
	original, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	file("first.csv", string(original)+"u3,1000004,x\n")
	if status, _, talk := producer(t, orders(first, second, third, "--resume")...); status != cli.StatusUsage || !strings.Contains(talk, "first.csv: the file has changed") {
		t.Errorf("a file grew after it was done: status %d, %q", status, talk)
	}
	file("first.csv", string(original))
	status, out, talk := producer(t, orders(first, second, third, "--resume", "-o", "json")...)
	var sum summary
	if err := json.Unmarshal([]byte(out), &sum); err != nil || status != cli.StatusPartial || sum.Rows != rows+4 || sum.Rejected != 1 ||
		sum.Commands != rows+3 || sum.Resumed < 3 || len(sum.Rejects) != 1 {
		t.Errorf("resumed: status %d, %s, %v, %q", status, out, err, talk)
	}
	for amount, n := range s.amounts(t) {
		if amount == "1000001" || amount == "1000002" {
			t.Errorf("a row of the first file is sent again")
		}
		got[amount] += n
	}
	if len(got) != rows+3 {
		t.Errorf("%d of %d rows arrived", len(got), rows+3)
	}
	// All is done: there is nothing that --resume could mean.
	for _, files := range [][]string{{first, second, third}, {first}, {"-"}} {
		status, _, talk := producer(t, orders(append(files, "--resume")...)...)
		if got := s.amounts(t); status != cli.StatusUsage || !strings.Contains(talk, "nothing to resume") || len(got) > 0 {
			t.Errorf("%d files, resumed though all is done: status %d, %q, %d sent", len(files), status, talk, len(got))
		}
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*.checkpoint")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// --no-resume gives up an import that stopped only for one that begins.
func TestNoResumeNeedsAnImportThatBegins(t *testing.T) {
	s := start(t, "tributary-commands")
	path := filepath.Join(t.TempDir(), "f.csv")
	if err := os.WriteFile(path, []byte(endless(40_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"import", path, "--type", "put_order", "--tenant", "t", "--id", "uuid7", "--pack", "100"}
	if status, _, talk := producer(t, args...); status != cli.StatusFailed {
		t.Fatal(talk)
	}
	s.amounts(t)
	before, err := os.ReadFile(path + ".checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][]string{{"--map", "user_id=nobody"}, {"--rejected", path}} {
		if status, _, talk := producer(t, append(append(args, "--no-resume"), wrong...)...); status != cli.StatusUsage {
			t.Errorf("%v: status %d, %q", wrong, status, talk)
		}
		if now, err := os.ReadFile(path + ".checkpoint"); err != nil || !bytes.Equal(now, before) {
			t.Errorf("%v: checkpoint %q, %v", wrong, now, err)
		}
	}
	if status, _, talk := producer(t, append(args, "--no-resume")...); status != cli.StatusFailed || s.amounts(t)["0"] != 1 {
		t.Errorf("anew: status %d, %q", status, talk)
	}
}

func TestWaitEmpty(t *testing.T) {
	script := func(t *testing.T, depths []int64, failing int) (string, time.Duration, error) {
		var talk bytes.Buffer
		started := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		i := 0
		err := watchDepth(ctx, &talk, func() (publish.Depth, error) {
			if i < failing {
				i++
				return publish.Depth{}, errors.New("no answer")
			}
			d := depths[min(i-failing, len(depths)-1)]
			i++
			return publish.Depth{Visible: d}, nil
		})
		return talk.String(), time.Since(started), err
	}
	synctest.Test(t, func(t *testing.T) {
		// One look that finds nothing is not believed: SQS counts approximately.
		talk, took, err := script(t, []int64{1000, 800, 0, 5, 0, 0, 0}, 2)
		if err != nil || took != 8*time.Second || !strings.Contains(talk, "about 1,000 messages") || !strings.Contains(talk, "empty after 8.0 s") {
			t.Errorf("%v after %v: %s", err, took, talk)
		}
		if _, _, err := script(t, []int64{0}, waitFailures); err == nil {
			t.Error("no error where SQS does not answer")
		}
		if _, took, err := script(t, []int64{7}, 0); err == nil || took != time.Minute {
			t.Errorf("a queue that never empties: %v after %v", err, took)
		}
	})
}

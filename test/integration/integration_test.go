// Package integration runs the real programs, over real HTTP, against the embedded stack and against DynamoDB Local
// with ElasticMQ. It can run against any endpoints: TRIBUTARY_TEST_DYNAMODB and TRIBUTARY_TEST_SQS name them.
package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/uuid"

	"tributary/localstack/stack"
	"tributary/test/support/standin"
)

// bin is where TestMain puts the programs.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tributary")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "tributary/cmd/...")
	build.Stderr = os.Stderr
	status := 1
	if build.Run() == nil {
		status = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// backend is where the queue and the table are.
type backend struct{ sqs, dynamodb string }

func eachBackend(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		s := stack.New(stack.Options{})
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		t.Cleanup(s.Close)
		test(t, newWorld(t, backend{server.URL, server.URL}))
	})
	t.Run("emulators", func(t *testing.T) {
		t.Parallel()
		b := backend{os.Getenv("TRIBUTARY_TEST_SQS"), os.Getenv("TRIBUTARY_TEST_DYNAMODB")}
		if b.sqs == "" || b.dynamodb == "" {
			const how = "TRIBUTARY_TEST_SQS and TRIBUTARY_TEST_DYNAMODB are not set: run it by make test"
			if os.Getenv("CI") == "true" {
				t.Fatal(how)
			}
			t.Skip("NOT RUN: " + how)
		}
		test(t, newWorld(t, b))
	})
}

// world is a queue, a dead-letter queue and a table of a test's own.
type world struct {
	t     *testing.T
	queue string
	table string
	env   []string
	sqs   *sqs.Client
	ddb   *dynamodb.Client
}

func newWorld(t *testing.T, b backend) *world {
	name := "t-" + uuid.NewString()[:8]
	if strings.Contains(t.Name(), "FIFO") {
		name += ".fifo"
	}
	w := &world{t: t, queue: name, table: "T" + strings.ReplaceAll(name, ".", "_")}
	w.env = standin.Environ(b.sqs, b.dynamodb, "TRIBUTARY_QUEUE="+w.queue, "TRIBUTARY_TABLE="+w.table)
	w.sqs, w.ddb = sqs.NewFromConfig(standin.Config(b.sqs)), dynamodb.NewFromConfig(standin.Config(b.dynamodb))
	w.must("worker", "setup")
	return w
}

// must runs a program to its end, which must be good, and returns what it printed on standard output.
func (w *world) must(program string, args ...string) string {
	w.t.Helper()
	out, errs, status := w.run(program, args...)
	if status != 0 {
		w.t.Fatalf("%s %s: status %d: %s%s", program, strings.Join(args, " "), status, out, errs)
	}
	return out
}

func (w *world) run(program string, args ...string) (out, errs string, status int) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(bin, program), args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = w.env, &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), stderr.String(), exit.ExitCode()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return stdout.String(), stderr.String(), 0
}

// process is a worker that runs.
type process struct {
	w     *world
	cmd   *exec.Cmd
	query string // the API's address
	admin string
	ended chan struct{}
	log   string // all that it said, once it has ended
}

// start starts a worker and waits until it is ready.
func (w *world) start(flags ...string) *process {
	w.t.Helper()
	p := &process{w: w, ended: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(bin, "worker"),
		append([]string{"run", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"}, flags...)...)
	p.cmd.Env = w.env
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	listening := make(chan struct{})
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.log += lines.Text() + "\n"
			if query, admin := standin.Listening(lines.Bytes()); admin != "" {
				p.query, p.admin = query, admin
				close(listening)
			}
		}
		_ = p.cmd.Wait()
	}()
	eventually(w.t, 30*time.Second, "the worker is ready", func() bool {
		select {
		case <-p.ended:
			w.t.Fatalf("the worker has ended:\n%s", p.log)
			return false
		case <-listening:
			status, _ := get(w.t, "http://"+p.admin+"/readyz")
			return status == http.StatusOK
		default:
			return false
		}
	})
	return p
}

// summary is a worker's last line.
type summary struct{ received, deleted, handedBack, left, commands, letters int }

var lastLine = regexp.MustCompile(`(?m)^worker: (\d+) messages received: (\d+) deleted, (\d+) handed back, (\d+) left on the queue; (\d+) commands settled, (\d+) dead letters$`)

// stop ends a worker by SIGTERM and reads its last line.
func (p *process) stop() summary {
	p.w.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.w.t.Fatal(err)
	}
	select {
	case <-p.ended:
		m := lastLine.FindStringSubmatch(p.log)
		if m == nil {
			p.w.t.Fatalf("the worker ended without a last line:\n%s", p.log)
		}
		var n [6]int
		for i := range n {
			n[i], _ = strconv.Atoi(m[i+1])
		}
		if status := p.cmd.ProcessState.ExitCode(); status != 0 {
			p.w.t.Errorf("exit status %d", status)
		}
		return summary{n[0], n[1], n[2], n[3], n[4], n[5]}
	case <-time.After(time.Minute):
		p.w.t.Fatal("the worker has not stopped within a minute")
		return summary{}
	}
}

// eventually waits for an effect of another process.
func eventually(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(most); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is not so that %s", most, what)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(body))
}

// read is a GET of the query API.
func (p *process) read(path string) (int, string) { return get(p.w.t, "http://"+p.query+path) }

func (w *world) url(name string) *string {
	out, err := w.sqs.GetQueueUrl(w.t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.QueueUrl
}

// send puts a body on the queue as any program would.
func (w *world) send(body string, attributes map[string]string) string {
	w.t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: w.url(w.queue), MessageBody: &body, MessageAttributes: map[string]sqstypes.MessageAttributeValue{}}
	for k, v := range attributes {
		in.MessageAttributes[k] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(v)}
	}
	if strings.HasSuffix(w.queue, ".fifo") {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String("g"), aws.String(uuid.NewString())
	}
	out, err := w.sqs.SendMessage(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.MessageId
}

// depth is how many messages a queue has, visible or not.
func (w *world) depth(name string) int {
	out, err := w.sqs.GetQueueAttributes(w.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: w.url(name), AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, a := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"} {
		k, _ := strconv.Atoi(out.Attributes[a])
		n += k
	}
	return n
}

func (w *world) drained() {
	w.t.Helper()
	eventually(w.t, time.Minute, "the queue is empty", func() bool { return w.depth(w.queue) == 0 })
}

func (w *world) dlq() string {
	if base, fifo := strings.CutSuffix(w.queue, ".fifo"); fifo {
		return base + "-dlq.fifo"
	}
	return w.queue + "-dlq"
}

// letter is a message of the dead-letter queue.
type letter struct {
	body       string
	attributes map[string]string
}

func (w *world) letters() (letters []letter) {
	w.t.Helper()
	for range w.depth(w.dlq()) + 5 {
		out, err := w.sqs.ReceiveMessage(w.t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: w.url(w.dlq()), MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}, VisibilityTimeout: 60,
		})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range out.Messages {
			l := letter{*m.Body, map[string]string{}}
			for k, v := range m.MessageAttributes {
				l.attributes[k] = aws.ToString(v.StringValue)
			}
			letters = append(letters, l)
		}
	}
	return letters
}

func (w *world) items() (items []map[string]ddbtypes.AttributeValue) {
	w.t.Helper()
	pages := dynamodb.NewScanPaginator(w.ddb, &dynamodb.ScanInput{TableName: &w.table, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		items = append(items, page.Items...)
	}
	return slices.DeleteFunc(items, func(item map[string]ddbtypes.AttributeValue) bool { // decisions, workers and usage
		pk, ok := item["PK"].(*ddbtypes.AttributeValueMemberS)
		return ok && strings.HasPrefix(pk.Value, "tributary#")
	})
}

func TestACommandsWay(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		p := w.start()
		user := strings.TrimSpace(w.must("producer", "put-user", "--tenant", "acme", "--user-name", "Zoë", "--user-email", "zoe@example.com"))
		w.must("producer", "put-order", "--tenant", "acme", "--id", "o-1", "--user-id", user, "--order-amount", "12345678901234567890123456789012345678", "--attributes", `{"sku":["a",1.50]}`)
		w.must("producer", "put-order", "--tenant", "acme", "--id", "o-2", "--user-id", user, "--order-amount", "150.00", "--item-version", "7")
		w.must("producer", "put-order", "--tenant", "beta", "--id", "o-1", "--user-id", "u", "--order-amount", "1")
		w.drained()
		for path, want := range map[string]string{
			"/v1/tenants/acme/users/" + user: `{"tenant_id":"acme","user_id":"` + user + `","user_name":"Zoë","user_email":"zoe@example.com"}`,
			"/v1/tenants/acme/orders/o-1":    `{"tenant_id":"acme","order_id":"o-1","user_id":"` + user + `","order_amount":"12345678901234567890123456789012345678","attributes":{"sku":["a",1.5]}}`,
			"/v1/tenants/acme/orders/o-2":    `{"tenant_id":"acme","order_id":"o-2","user_id":"` + user + `","order_amount":"150","version":7}`,
			"/v1/tenants/beta/orders":        `{"items":[{"tenant_id":"beta","order_id":"o-1","user_id":"u","order_amount":"1"}]}`,
		} {
			if status, body := p.read(path); status != 200 || body != want {
				t.Errorf("GET %s: %d %s\nwant %s", path, status, body, want)
			}
		}
		var page struct {
			Items []struct {
				OrderID string `json:"order_id"`
			} `json:"items"`
		}
		eventually(t, 10*time.Second, "the index has both orders", func() bool {
			_, body := p.read("/v1/tenants/acme/users/" + user + "/orders")
			return json.Unmarshal([]byte(body), &page) == nil && len(page.Items) == 2
		})

		w.must("producer", "delete-user", "--tenant", "acme", "--id", user)
		w.must("producer", "delete-order", "--tenant", "acme", "--id", "o-2", "--item-version", "9")
		w.must("producer", "put-order", "--tenant", "acme", "--id", "o-2", "--user-id", user, "--order-amount", "1", "--item-version", "8") // older than the delete
		w.drained()
		for _, path := range []string{"/v1/tenants/acme/users/" + user, "/v1/tenants/acme/orders/o-2"} {
			if status, body := p.read(path); status != 404 {
				t.Errorf("GET %s: %d %s, want 404", path, status, body)
			}
		}
		if got := p.stop(); got.received != 7 || got.deleted != 7 || got.letters != 0 {
			t.Errorf("last line: %+v", got)
		}
	})
}

func TestBadInput(t *testing.T) {
	order := func(field, value string) string {
		fields := map[string]string{"type": `"put_order"`, "tenant_id": `"acme"`, "order_id": `"o"`, "user_id": `"u"`, "order_amount": `"1"`}
		if value == "" {
			delete(fields, field)
		} else {
			fields[field] = value
		}
		var out []string
		for k, v := range fields {
			out = append(out, `"`+k+`":`+v)
		}
		slices.Sort(out)
		return "{" + strings.Join(out, ",") + "}"
	}
	bad := []struct{ name, body, reason, field string }{
		{"malformed JSON", `{"type":`, "malformed", ""},
		{"not an object", `"hello"`, "malformed", ""},
		{"unknown type", order("type", `"put_invoice"`), "unknown_type", "type"},
		{"unknown field", order("colour", `"red"`), "unknown_field", "colour"},
		{"missing field", order("user_id", ""), "missing_field", "user_id"},
		{"# in an id", order("order_id", `"a#b"`), "invalid_field", "order_id"},
		{"empty id", order("order_id", `""`), "invalid_field", "order_id"},
		{"id over its limit", order("order_id", `"`+strings.Repeat("x", 257)+`"`), "", "order_id"},
		{"tenant over its limit", order("tenant_id", `"`+strings.Repeat("x", 129)+`"`), "", "tenant_id"},
		{"NaN", order("order_amount", `"NaN"`), "invalid_field", "order_amount"},
		{"39 digits", order("order_amount", strings.Repeat("9", 39)), "", "order_amount"},
		{"1E126", order("order_amount", "1E126"), "", "order_amount"},
		{"version 0", order("version", "0"), "invalid_field", "version"},
		{"an empty array", `[]`, "empty", ""},
		{"an item over 400 KB", order("attributes", `{"blob":"`+strings.Repeat("x", 400<<10)+`"}`), "too_large", ""},
		{"control characters", order("order_id", `"\u0001\u0007"`), "invalid_field", "order_id"},
		{"an unknown field with control characters", `{"type":"put_user","\u0000\u0001":1}`, "", ""},
	}
	eachBackend(t, func(t *testing.T, w *world) {
		want := map[string]int{} // bodies to positions in bad
		for i, b := range bad {
			want[b.body] = i
			w.send(b.body, nil)
		}
		other := order("order_id", `"elsewhere"`)
		w.send(other, map[string]string{"tenant_id": "beta"})
		good := func(id string) string { return order("order_id", `"`+id+`"`) }
		source := w.send(`[`+good("a1")+`, `+order("order_amount", `"x"`)+` ,`+good("a3")+`]`, nil)
		w.send(`{"commands":[`+good("twice")+`,{"type":"put_order","tenant_id":"acme","order_id":"twice","user_id":"u","order_amount":"2"}]}`, map[string]string{"tenant_id": "acme"})

		p := w.start()
		w.drained()
		letters := w.letters()
		seen := map[int]bool{}
		for _, l := range letters {
			switch i, ok := want[l.body]; {
			case ok:
				seen[i] = true
				if b := bad[i]; b.reason != "" && l.attributes["reason"] != b.reason || l.attributes["reason"] == "" || b.field != "" && l.attributes["field"] != b.field {
					t.Errorf("%s: letter with %v", bad[i].name, l.attributes)
				}
			case l.body == other:
				if l.attributes["reason"] != "tenant_mismatch" || l.attributes["tenant_id"] != "beta" || l.attributes["command_tenant_id"] != "acme" {
					t.Errorf("tenant A in a message tagged B: %v", l.attributes)
				}
			case l.body == order("order_amount", `"x"`):
				if l.attributes["source_index"] != "1" || l.attributes["source_message_id"] != source || l.attributes["source_queue"] != w.queue {
					t.Errorf("bad among good: %v", l.attributes)
				}
			default:
				t.Errorf("a letter too many: %.200s", l.body)
			}
			for name, value := range l.attributes {
				if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' }) {
					t.Errorf("attribute %s is %q", name, value)
				}
			}
		}
		for i, b := range bad {
			if !seen[i] {
				t.Errorf("%s: no letter", b.name)
			}
		}
		ids := map[string]string{}
		for _, item := range w.items() {
			ids[item["SK"].(*ddbtypes.AttributeValueMemberS).Value] = item["order_amount"].(*ddbtypes.AttributeValueMemberN).Value
		}
		if len(ids) != 3 || ids["order#a1"] != "1" || ids["order#a3"] != "1" || ids["order#twice"] != "2" {
			t.Errorf("the table has %v", ids)
		}
		if got := p.stop(); got.received != got.deleted || got.letters != len(bad)+2 {
			t.Errorf("last line: %+v", got)
		}
	})
}

// A worker that is stopped in the middle says what became of every message, and another one finishes the rest.
func TestStoppedInTheMiddle(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		const n = 3000
		var rows strings.Builder
		rows.WriteString("tenant_id,order_id,user_id,order_amount\n")
		for i := range n {
			fmt.Fprintf(&rows, "t%d,o%d,u%d,%d.25\n", i%5, i, i%50, i)
		}
		file := filepath.Join(t.TempDir(), "orders.csv")
		if err := os.WriteFile(file, []byte(rows.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		p := w.start("--writers", "2")
		imported := make(chan int, 1)
		go func() {
			_, _, status := w.run("producer", "import", file, "--type", "put_order", "--pack", "1", "--quiet")
			imported <- status
		}()
		eventually(t, time.Minute, "some are written", func() bool { return len(w.items()) > 200 })
		first := p.stop()
		if first.received != first.deleted+first.handedBack+first.left || first.left != 0 {
			t.Errorf("the counts don't add up: %+v", first)
		}
		if status := <-imported; status != 0 {
			t.Fatalf("import: status %d", status)
		}
		p = w.start()
		w.drained()
		second := p.stop()
		if first.deleted+second.deleted != n || first.commands+second.commands != n {
			t.Errorf("%d messages of %d were deleted: %+v, then %+v", first.deleted+second.deleted, n, first, second)
		}
		if got := len(w.items()); got != n {
			t.Errorf("%d items of %d", got, n)
		}
	})
}

func TestFIFO(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		for i := range 40 { // one group: the last must win, and bad ones must not block it
			w.send(fmt.Sprintf(`{"type":"put_order","tenant_id":"acme","order_id":"o","user_id":"u","order_amount":"%d"}`, i+1), nil)
			if i%10 == 5 {
				w.send(fmt.Sprintf(`{"type":"nothing","n":%d}`, i), nil)
			}
		}
		p := w.start()
		w.drained()
		items := w.items()
		if len(items) != 1 || items[0]["order_amount"].(*ddbtypes.AttributeValueMemberN).Value != "40" {
			t.Errorf("the table has %v", items)
		}
		if n := len(w.letters()); n != 4 {
			t.Errorf("%d letters, want 4", n)
		}
		if got := p.stop(); got.received != got.deleted {
			t.Errorf("last line: %+v", got)
		}
	})
}

// What the seed's add_user and add_order wrote is read as well: its orders have no order_id.
func TestTheSeedsItems(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		s := func(v string) ddbtypes.AttributeValue { return &ddbtypes.AttributeValueMemberS{Value: v} }
		for _, item := range []map[string]ddbtypes.AttributeValue{
			{"PK": s("tenant#acme"), "SK": s("user#u1"), "user_id": s("u1"), "user_name": s("Alice"), "user_email": s("alice@example.com")},
			{"PK": s("tenant#acme"), "SK": s("order#o1"), "user_id": s("u1"), "order_amount": &ddbtypes.AttributeValueMemberN{Value: "150"}},
		} {
			if _, err := w.ddb.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &w.table, Item: item}); err != nil {
				t.Fatal(err)
			}
		}
		p := w.start("--role", "query")
		order := `{"tenant_id":"acme","order_id":"o1","user_id":"u1","order_amount":"150"}`
		for path, want := range map[string]string{
			"/v1/tenants/acme/users/u1":        `{"tenant_id":"acme","user_id":"u1","user_name":"Alice","user_email":"alice@example.com"}`,
			"/v1/tenants/acme/orders/o1":       order,
			"/v1/tenants/acme/orders":          `{"items":[` + order + `]}`,
			"/v1/tenants/acme/users/u1/orders": `{"items":[` + order + `]}`,
		} {
			if status, body := p.read(path); status != 200 || body != want {
				t.Errorf("GET %s: %d %s\nwant %s", path, status, body, want)
			}
		}
	})
}

func TestWrongUse(t *testing.T) {
	s := stack.New(stack.Options{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close)
	w := newWorld(t, backend{server.URL, server.URL})
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"worker", "run", "--writers", "x"}, 2, "--writers"},
		{[]string{"worker", "run", "--writers", "0"}, 2, "--writers"},
		{[]string{"worker", "run", "--role", "none"}, 2, "--role"},
		{[]string{"worker", "run", "--listen", "0.0.0.0:0"}, 2, "--listen"},
		{[]string{"worker", "run", "--linger", "1h"}, 2, "--linger"},
		{[]string{"worker", "run", "--max-in-flight", "3"}, 2, "--max-in-flight"},
		{[]string{"worker", "run", "--queue", "a b"}, 2, "--queue"},
		{[]string{"worker", "run", "--queue", "nowhere"}, 1, "nowhere"},
		{[]string{"worker", "run", "--table", "Nowhere"}, 1, "Nowhere"},
		{[]string{"worker", "nonsense"}, 2, "nonsense"},
		{[]string{"producer", "put-order", "--tenant", "a#b", "--user-id", "u", "--order-amount", "1"}, 2, "tenant"},
		{[]string{"producer", "put-order", "--tenant", "a", "--user-id", "u", "--order-amount", "NaN"}, 2, "order-amount"},
		{[]string{"producer", "put-user"}, 2, "--tenant"},
	} {
		out, errs, status := w.run(test.args[0], test.args[1:]...)
		if status != test.status || !strings.Contains(errs, test.says) || strings.Count(strings.TrimSpace(errs), "\n") > 0 || out != "" {
			t.Errorf("%s: status %d, says %q and prints %q; want status %d and one line with %q", strings.Join(test.args, " "), status, errs, out, test.status, test.says)
		}
	}
}

// A worker that waits for messages has a long poll of 20 s under way. It is let end, but not beyond --drain-timeout.
func TestStoppingTakesNoLongerThanItMay(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		p := w.start("--drain-timeout", "1s")
		began := time.Now()
		p.stop()
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A load balancer takes some seconds to hear that a server will stop: so long it goes on.
func TestALameDuckAnswersQueries(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		p := w.start("--role", "query", "--lame-duck", "10s")
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the worker says that it isn't ready", func() bool {
			status, _ := get(t, "http://"+p.admin+"/readyz")
			return status == http.StatusServiceUnavailable
		})
		if status, body := p.read("/v1/tenants/acme/users"); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
		<-p.ended
		if status := p.cmd.ProcessState.ExitCode(); status != 0 {
			t.Errorf("exit status %d:\n%s", status, p.log)
		}
	})
}

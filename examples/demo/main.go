// Command demo shows the whole of Tributary on this machine, with nothing but Go: it starts the embedded stack, makes
// queue and table, runs a worker, imports the examples, reads some of it back, and stops everything. With -stay it
// leaves stack and worker running and says what to try. Its status is 1 when any count is not what it should be, the
// worker's own last ones included.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/test/support/standin"
)

// What the examples hold.
const (
	goodRows = 60 + 1000 + 200
	badRows  = 2 + 4 + 1
	// raw are the messages that no import would send: other programs' mistakes, which must become dead letters.
	rawGood    = 2
	rawLetters = 2
)

var raw = []string{
	`{"type":"put_user","tenant_id":`,
	`[{"type":"put_user","tenant_id":"harbor-books","user_id":"walk-in-1","user_name":"Ada","user_email":"ada@example.com"},` +
		`{"type":"put_order","tenant_id":"harbor-books","order_id":"bad","user_id":"walk-in-1","order_amount":"a lot"},` +
		`{"type":"put_order","tenant_id":"harbor-books","order_id":"good","user_id":"walk-in-1","order_amount":"12.50"}]`,
}

func main() {
	bin := flag.String("bin", "bin", "folder of the programs worker, producer and localstack")
	examples := flag.String("examples", "examples", "folder of the examples")
	stay := flag.Bool("stay", false, "leave stack and worker running until ctrl-C")
	flag.Parse()
	if *stay {
		if status, done := foreground(); done {
			os.Exit(status)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{bin: *bin, examples: *examples, stay: *stay}
	err := d.run(ctx)
	asked := d.stay && ctx.Err() != nil
	if asked {
		err = nil
	}
	if err = errors.Join(err, d.stopAll()); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	if asked {
		say("done", "worker and stack have stopped; nothing of them is left")
	}
}

type demo struct {
	bin, examples string
	stay          bool
	dir           string // for the demo's files
	env           []string
	query, admin  string
	running       []*process // in the order of their start
	wrong         []string   // counts that are off
}

// process is a program that runs beside the demo.
type process struct {
	program string
	cmd     *exec.Cmd
	done    chan struct{}
	last    string // its last line of output
	err     error  // of Wait, once done is closed
}

func (d *demo) run(ctx context.Context) error {
	begun := time.Now()
	var err error
	if d.dir, err = os.MkdirTemp("", "tributary-demo"); err != nil {
		return err
	}
	endpoint, err := d.startStack(ctx)
	if err != nil {
		return err
	}
	d.env = standin.Environ(endpoint, endpoint)
	say("stack", "SQS and DynamoDB in memory at %s", endpoint)
	if _, _, err := d.call(ctx, "worker", "setup"); err != nil {
		return err
	}
	say("setup", "queue tributary-commands with its dead-letter queue, table MultiTenantTable with its index")
	if err := d.startWorker(ctx); err != nil {
		return err
	}
	say("worker", "runs; queries at http://%s, metrics at http://%s/metrics", d.query, d.admin)
	if err := d.load(ctx, endpoint); err != nil {
		return err
	}
	if err := d.readBack(ctx); err != nil {
		return err
	}
	if err := d.letters(ctx); err != nil {
		return err
	}
	if len(d.wrong) > 0 {
		return errors.New(strings.Join(d.wrong, "; "))
	}
	if d.stay {
		return d.linger(ctx, endpoint)
	}
	say("stopping", "a worker lets its long poll end, so that no message is stranded: up to 20 s")
	if err := d.stopAll(); err != nil {
		return err
	}
	say("done", "every count is right, after %.0f s", time.Since(begun).Seconds())
	return nil
}

func say(what, format string, args ...any) {
	fmt.Printf("%-9s %s\n", what, fmt.Sprintf(format, args...))
}

// check notes a wrong count.
func (d *demo) check(what string, got, want int) {
	if got != want {
		d.wrong = append(d.wrong, fmt.Sprintf("%s: %d, not %d", what, got, want))
	}
}

func (d *demo) startStack(ctx context.Context) (endpoint string, err error) {
	listen := "127.0.0.1:0"
	if d.stay {
		listen = "127.0.0.1:4566"
	}
	ready := make(chan string, 1)
	p, err := d.start("localstack", []string{"--listen", listen}, func(line string) {
		if _, rest, ok := strings.Cut(line, "AWS_ENDPOINT_URL="); ok {
			ready <- strings.Fields(rest)[0]
		}
	})
	if err != nil {
		return "", err
	}
	select {
	case endpoint = <-ready:
		return endpoint, nil
	case <-p.done:
		return "", errors.New("the stack has ended")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (d *demo) startWorker(ctx context.Context) error {
	query, admin := "127.0.0.1:0", "127.0.0.1:0"
	if d.stay {
		query, admin = "127.0.0.1:8080", "127.0.0.1:9090"
	}
	listening := make(chan struct{})
	p, err := d.start("worker", []string{"run", "--listen", query, "--admin-listen", admin, "--log-format", "json"}, func(line string) {
		if query, admin := standin.Listening([]byte(line)); admin != "" {
			d.query, d.admin = query, admin
			close(listening)
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-listening:
	case <-p.done:
		return errors.New("the worker has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if status, _, err := d.get(ctx, "http://"+d.admin+"/readyz"); err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("the worker has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// load imports the examples, sends faulty messages on purpose, and waits until the queue is empty.
func (d *demo) load(ctx context.Context, endpoint string) error {
	begun := time.Now()
	rows, rejected, messages := 0, 0, 0
	for _, args := range [][]string{
		{"users.jsonl"},
		{"orders.csv", "--type", "put_order", "--attributes", "placed_at,note"},
		{"orders.jsonl", "--type", "put_order", "--tenant-column", "shop", "--map", "order_id=number,user_id=customer,order_amount=total",
			"--version-column", "revision", "--attributes", "channel,items"},
	} {
		file := filepath.Join(d.dir, args[0])
		if err := copyFile(filepath.Join(d.examples, args[0]), file); err != nil {
			return err
		}
		out, status, err := d.call(ctx, "producer", append([]string{"import", file, "-o", "json", "--quiet"}, args[1:]...)...)
		if err != nil && status != 3 { // 3: but for rows that were refused
			return err
		}
		var sum struct{ Rows, Rejected, Messages int }
		if err := json.Unmarshal([]byte(out), &sum); err != nil {
			return fmt.Errorf("read the import's summary: %w", err)
		}
		rows, rejected, messages = rows+sum.Rows, rejected+sum.Rejected, messages+sum.Messages
	}
	client := sqs.NewFromConfig(standin.Config(endpoint))
	queue, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("tributary-commands")})
	if err != nil {
		return err
	}
	for _, body := range raw {
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: &body}); err != nil {
			return err
		}
	}
	say("import", "%d rows: %d sent in %d messages, %d refused (their reasons are in FILE.rejected.*)", rows, rows-rejected, messages, rejected)
	d.check("rows", rows, goodRows+badRows)
	d.check("refused rows", rejected, badRows)
	for {
		var status struct {
			Messages struct {
				Received, Deleted, Commands, DeadLetters int
			} `json:"messages"`
		}
		_, body, err := d.get(ctx, "http://"+d.admin+"/status")
		if err != nil {
			return err
		}
		if err := json.Unmarshal(bytes.ReplaceAll([]byte(body), []byte("dead_letters"), []byte("DeadLetters")), &status); err != nil {
			return fmt.Errorf("read the worker's status: %w", err)
		}
		if m := status.Messages; m.Deleted >= messages+len(raw) {
			took := time.Since(begun)
			say("worker", "%d commands of %d messages settled, %d dead letters: %.0f commands/s, the import's start-up included",
				m.Commands, m.Deleted, m.DeadLetters, float64(m.Commands)/took.Seconds())
			d.check("commands", m.Commands, goodRows+rawGood+rawLetters)
			d.check("dead letters", m.DeadLetters, rawLetters)
			return nil
		}
		if time.Since(begun) > 30*time.Second {
			return fmt.Errorf("after 30 s %d of %d messages are settled", status.Messages.Deleted, messages+len(raw))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *demo) readBack(ctx context.Context) error {
	status, user, err := d.get(ctx, "http://"+d.query+"/v1/tenants/harbor-books/users/u001")
	if err != nil {
		return err
	}
	d.check("status of GET a user", status, http.StatusOK)
	say("user", "%s", user)
	all := 0
	for _, tenant := range []string{"harbor-books", "north-bakery", "pine-cycles"} {
		for _, kind := range []string{"users", "orders"} {
			n, first, err := d.count(ctx, tenant, kind)
			if err != nil {
				return err
			}
			all += n
			if kind == "orders" {
				say("orders", "%s has %d, the first: %s", tenant, n, first)
			}
		}
	}
	d.check("items read back", all, goodRows+rawGood)
	return nil
}

// count pages through a tenant's users or orders.
func (d *demo) count(ctx context.Context, tenant, kind string) (n int, first string, err error) {
	for cursor := ""; ; {
		url := fmt.Sprintf("http://%s/v1/tenants/%s/%s?limit=100", d.query, tenant, kind)
		if cursor != "" {
			url += "&cursor=" + cursor
		}
		status, body, err := d.get(ctx, url)
		if err != nil {
			return 0, "", err
		}
		var page struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != http.StatusOK {
			return 0, "", fmt.Errorf("GET %s: %d %s", url, status, body)
		}
		if n == 0 && len(page.Items) > 0 {
			first = string(page.Items[0])
		}
		n += len(page.Items)
		if cursor = page.NextCursor; cursor == "" {
			return n, first, nil
		}
	}
}

func (d *demo) letters(ctx context.Context) error {
	out, _, err := d.call(ctx, "worker", "dlq", "export")
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(out) {
		var l struct{ Reason, Detail, Body string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return fmt.Errorf("read a dead letter: %w", err)
		}
		n++
		say("letter", "%s: %s", l.Reason, l.Detail)
	}
	d.check("letters on the dead-letter queue", n, rawLetters)
	return nil
}

// linger leaves everything running until ctrl-C.
func (d *demo) linger(ctx context.Context, endpoint string) error {
	fmt.Printf(`
Everything runs. In another terminal:

  export AWS_ENDPOINT_URL=%s AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo
  %s/producer put-user --tenant acme --user-name Alice --user-email alice@example.com
  curl http://%s/v1/tenants/acme/users
  %s/worker dlq list
  %s/worker doctor
  %s/producer generate --tenants 20 --orders 20000
  curl -s http://%s/metrics | grep ^tributary_commands

The API's own pages: http://%s/docs     ctrl-C stops everything.
`, endpoint, d.bin, d.query, d.bin, d.bin, d.bin, d.admin, d.query)
	worker := d.running[len(d.running)-1]
	select {
	case <-ctx.Done():
		say("stopping", "the worker finishes what it holds and lets its long poll end: up to 20 s")
		return ctx.Err()
	case <-worker.done:
		return errors.New("the worker has ended")
	}
}

// call runs a program to its end and returns its standard output.
func (d *demo) call(ctx context.Context, program string, args ...string) (string, int, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, program), args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		status := -1
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			status = exit.ExitCode()
		}
		return stdout.String(), status, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), 0, nil
}

// start starts a program and hands every line that it says to seen.
func (d *demo) start(program string, args []string, seen func(string)) (*process, error) {
	p := &process{program: program, cmd: exec.Command(filepath.Join(d.bin, program), args...), done: make(chan struct{})}
	p.cmd.Env = d.env
	p.cmd.SysProcAttr = apart() // ctrl-C is for the demo, which then stops it in order
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.last = lines.Text()
			seen(p.last)
		}
		p.err = p.cmd.Wait()
	}()
	d.running = append(d.running, p)
	return p, nil
}

// stopAll stops the running programs, the last started first. All must end well.
func (d *demo) stopAll() error {
	var errs []error
	for _, p := range slices.Backward(d.running) {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(time.Minute):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		errs = append(errs, p.ended())
	}
	d.running = nil
	_ = os.RemoveAll(d.dir)
	return errors.Join(errs...)
}

// ended checks how a program ended: a worker must account for every message that it has received.
func (p *process) ended() error {
	if p.err != nil {
		return fmt.Errorf("%s ended by %w: %s", p.program, p.err, p.last)
	}
	if p.program != "worker" {
		return nil
	}
	var received, deleted, back, left int
	_, err := fmt.Sscanf(p.last, "worker: %d messages received: %d deleted, %d handed back, %d left on the queue;", &received, &deleted, &back, &left)
	if err != nil || received != deleted+back || left != 0 {
		return fmt.Errorf("the worker's last line should account for every message: %s", p.last)
	}
	say("worker", "%s", strings.TrimPrefix(p.last, "worker: "))
	return nil
}

func (d *demo) get(ctx context.Context, url string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(body)), err
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

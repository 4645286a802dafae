// Command hostile measures what the worst hostile messages cost the other tenants. A real worker moves honest commands through the embedded
// stack, first alone and then with every tenth message hostile. It compares the honest commands' time to durable, the
// worker's memory, and looks for what became of each hostile message.
//
//	go run ./test/hostile -for 1m
package main

import (
	"bytes"
	"context"
	"encoding/base64"
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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/operate/deadletters"
	"tributary/localstack/stack"
	"tributary/test/support/standin"
)

// The bounds that a run must keep.
const (
	maxSlower = 2.0 // times the p99 without hostile messages
	maxRSS    = 256 << 20
)

// What a call takes within a region, as in bench/load.
const (
	sqsLatency      = 8 * time.Millisecond
	dynamoDBLatency = 5 * time.Millisecond
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	length := flag.Duration("for", time.Minute, "how long to send with hostile messages; half as long without")
	rate := flag.Int("rate", 100, "messages a second")
	skip := flag.String("skip", "", "leave out the input of this name")
	flag.Parse()
	if err := run(ctx, *length, *rate, *skip); err != nil {
		fmt.Fprintln(os.Stderr, "hostile: FAIL:", err)
		stop()
		os.Exit(1)
	}
	fmt.Println("hostile: PASS")
}

// watch stands before the stack and notes when a user's write was answered.
type watch struct {
	handler http.Handler
	mu      sync.Mutex
	durable map[int]time.Time // by the user's number; guarded by mu
}

var honest = regexp.MustCompile(`user#h-(\d+)"`)

// ServeHTTP serves a call.
func (w *watch) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	target := r.Header.Get("X-Amz-Target")
	if strings.HasPrefix(target, "AmazonSQS.") {
		time.Sleep(sqsLatency)
	} else {
		time.Sleep(dynamoDBLatency)
	}
	if !strings.HasSuffix(target, ".BatchWriteItem") && !strings.HasSuffix(target, ".PutItem") {
		w.handler.ServeHTTP(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.handler.ServeHTTP(rw, r)
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range honest.FindAllSubmatch(body, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if _, seen := w.durable[n]; err == nil && !seen {
			w.durable[n] = now
		}
	}
}

func (w *watch) at(n int) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.durable[n]
	return t, ok
}

// rig is a run's parts. One goroutine uses it.
type rig struct {
	watch  *watch
	sqs    *sqs.Client
	queue  string
	dlq    string
	next   int               // number of the next honest command
	evil   map[string]string // hostile messages: what they are, by id
	worker *exec.Cmd
	log    *os.File
	skip   string
}

func run(ctx context.Context, length time.Duration, rate int, skip string) error {
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	backend := stack.New(stack.Options{})
	defer backend.Close()
	r := &rig{watch: &watch{handler: backend, durable: map[int]time.Time{}}, evil: map[string]string{}, skip: skip}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: r.watch, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer func() { _ = server.Close() }()
	url := "http://" + listener.Addr().String()
	r.sqs = sqs.NewFromConfig(standin.Config(url))
	if err := r.start(ctx, dir, standin.Environ(url, url, "TRIBUTARY_QUEUE=hostile", "TRIBUTARY_TABLE=hostile")); err != nil {
		return err
	}
	defer func() { _ = r.worker.Process.Kill(); _ = r.worker.Wait() }()

	if _, err := r.load(ctx, 2*time.Second, rate, false); err != nil { // warms up
		return err
	}
	calm, err := r.load(ctx, length/2, rate, false)
	if err != nil {
		return err
	}
	before, err := r.rss()
	if err != nil {
		return err
	}
	fmt.Printf("hostile: without: %d honest commands, p50 %v, p99 %v, peak memory %d MiB\n", len(calm), quantile(calm, .5), quantile(calm, .99), before>>20)
	rough, err := r.load(ctx, length, rate, true)
	if err != nil {
		return err
	}
	after, err := r.rss()
	if err != nil {
		return err
	}
	slower := float64(quantile(rough, .99)) / float64(quantile(calm, .99))
	fmt.Printf("hostile: with:    %d honest commands, p50 %v, p99 %v (%.2f times), peak memory %d MiB, %d hostile messages\n",
		len(rough), quantile(rough, .5), quantile(rough, .99), slower, after>>20, len(r.evil))
	var errs []error
	if slower > maxSlower {
		errs = append(errs, fmt.Errorf("p99 is %.2f times that without hostile messages, at most %.0f is allowed", slower, maxSlower))
	}
	if after > maxRSS {
		errs = append(errs, fmt.Errorf("the worker took %d MiB, at most %d are allowed", after>>20, maxRSS>>20))
	}
	return errors.Join(append(errs, r.fates(ctx, dir))...)
}

// start builds and starts the worker.
func (r *rig) start(ctx context.Context, dir string, env []string) error {
	worker := filepath.Join(dir, "worker")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", worker, "tributary/cmd/worker").CombinedOutput(); err != nil {
		return fmt.Errorf("build worker: %w\n%s", err, out)
	}
	setup := exec.CommandContext(ctx, worker, "setup")
	setup.Env = env
	if out, err := setup.CombinedOutput(); err != nil {
		return fmt.Errorf("worker setup: %w\n%s", err, out)
	}
	for name, url := range map[string]*string{"hostile": &r.queue, "hostile-dlq": &r.dlq} {
		out, err := r.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
		if err != nil {
			return fmt.Errorf("find queue %s: %w", name, err)
		}
		*url = *out.QueueUrl
	}
	var err error
	if r.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	r.worker = exec.Command(worker, "run", "--role", "consume", "--admin-listen", "127.0.0.1:0") // ends with Kill
	r.worker.Env, r.worker.Stderr = env, r.log
	if err := r.worker.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	return nil
}

// load sends for so long, waits until the honest commands are durable, and returns how long each took, sorted.
func (r *rig) load(ctx context.Context, length time.Duration, rate int, hostile bool) ([]time.Duration, error) {
	sent := map[int]time.Time{}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var mu sync.Mutex // guards r.evil and failed
	var failed error
	var sends sync.WaitGroup
	kinds := slices.DeleteFunc(inputs(), func(in input) bool { return in.name == r.skip })
	count := 0
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; <-tick.C {
		if count++; hostile && count%10 == 0 {
			in := kinds[count/10%len(kinds)]
			sends.Go(func() {
				out, err := r.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &r.queue, MessageBody: &in.body, MessageAttributes: in.attributes})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = fmt.Errorf("send %s: %w", in.name, err)
					return
				}
				r.evil[*out.MessageId] = in.name
			})
			continue
		}
		body := fmt.Sprintf(`{"type":"put_user","tenant_id":"honest-%d","user_id":"h-%d","user_name":"n","user_email":"e"}`, rand.IntN(10), r.next)
		sent[r.next] = time.Now()
		r.next++
		sends.Go(func() {
			if _, err := r.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &r.queue, MessageBody: &body}); err != nil {
				mu.Lock()
				failed = fmt.Errorf("send: %w", err)
				mu.Unlock()
			}
		})
	}
	sends.Wait()
	if failed != nil {
		return nil, failed
	}
	took := make([]time.Duration, 0, len(sent))
	for n, at := range sent {
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if durable, ok := r.watch.at(n); ok {
				took = append(took, durable.Sub(at))
				break
			}
			if time.Now().After(end) || ctx.Err() != nil {
				return nil, fmt.Errorf("the honest command %d is not durable a minute after the last was sent", n)
			}
		}
	}
	slices.Sort(took)
	return took, nil
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(10 * time.Microsecond)
}

// input is a hostile message.
type input struct {
	name, body string
	attributes map[string]types.MessageAttributeValue
}

func inputs() []input {
	const user = `{"type":"put_user","tenant_id":"victim","user_id":"u","user_name":"hacked","user_email":"e"}`
	good := func(n int) string {
		return fmt.Sprintf(`{"type":"put_user","tenant_id":"stranger","user_id":"s-%d","user_name":"n","user_email":"e"}`, n)
	}
	tenant := func(typ string, value types.MessageAttributeValue) map[string]types.MessageAttributeValue {
		value.DataType = &typ
		return map[string]types.MessageAttributeValue{"tenant_id": value}
	}
	broken := `[` + good(1) + strings.Repeat(`,{"type":"nonsense`+"\xff"+`"}`, 20) + `]`
	return []input{
		{"U+FFFE in a wrapping", `{"Type":"Notification","Message":"[` + strings.ReplaceAll(good(2), `"`, `\"`) + strings.Repeat(`,{\"type\":\"x\ufffe\"}`, 20) + `]"}`, nil},
		{"half a surrogate", `{"Type":"Notification","Message":"{\"type\":\"put_user\",\"tenant_id\":\"t\",\"user_id\":\"u\ud800\",\"user_name\":\"n\",\"user_email\":7}"}`, nil},
		{"broken UTF-8 in base64", `{"specversion":"1.0","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(broken)) + `"}`, nil},
		{"half a million zeros", `[0` + strings.Repeat(`,0`, 524_286) + `]`, nil},
		{"200,000 numbers", `{"type":"put_order","tenant_id":"stranger","order_id":"o","user_id":"u","order_amount":"1","attributes":{"a":[0` + strings.Repeat(`,0`, 200_000) + `]}}`, nil},
		{"a binary tenant_id", user, tenant("Binary", types.MessageAttributeValue{BinaryValue: []byte("stranger")})},
		{"another tenant's", user, tenant("String", types.MessageAttributeValue{StringValue: aws.String("stranger")})},
	}
}

// mayBeWritten are the inputs that a worker may accept as valid: they only must do no harm.
var mayBeWritten = []string{"200,000 numbers"}

// rss is the most memory that the worker has had resident.
func (r *rig) rss() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.worker.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the worker's memory: %w", err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, errors.New("read the worker's memory: no VmHWM")
	}
	kb, err := strconv.Atoi(string(m[1]))
	return kb << 10, err
}

// fates checks that each hostile message ended as letters, or is left with a line in the log and in the metric.
func (r *rig) fates(ctx context.Context, dir string) error {
	var missing map[string]int
	for end := time.Now().Add(time.Minute); ; {
		letters := map[string]bool{}
		box := deadletters.Box{API: r.sqs, URL: r.dlq}
		if _, err := box.Each(ctx, &deadletters.Filter{}, func(l *deadletters.Letter) error {
			letters[l.SourceMessageID] = true
			return nil
		}); err != nil {
			return err
		}
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		metric, err := r.givenUp(ctx, log)
		if err != nil {
			return err
		}
		missing = map[string]int{}
		ended, left := 0, 0
		for id, name := range r.evil {
			switch {
			case letters[id]:
				ended++
			case !slices.Contains(mayBeWritten, name):
				left++
				missing[name]++
			}
		}
		if told := linesOfLeft(log); told >= left && metric >= float64(left) {
			fmt.Printf("hostile: %d hostile messages ended as letters, %d were left to the redrive policy, %.0f in the metric\n", ended, left, metric)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("hostile messages without a letter and without a line in the log: %v; %d left, %.0f in the metric", missing, left, metric)
		}
		time.Sleep(time.Second)
	}
}

// linesOfLeft is how many lines the log has of messages that were left to the redrive policy. The log folds lines that repeat,
// and says how many they were.
func linesOfLeft(log []byte) (n int) {
	for line := range bytes.Lines(log) {
		if !bytes.Contains(line, []byte("redrive policy")) {
			continue
		}
		n++
		if m := repeated.FindSubmatch(line); m != nil {
			more, _ := strconv.Atoi(string(m[1]))
			n += more - 1
		}
	}
	return n
}

var repeated = regexp.MustCompile(`repeated=(\d+)`)

var admin = regexp.MustCompile(`admin="?(http://[0-9.:]+)`)

// givenUp is the metric of letters that were given up.
func (r *rig) givenUp(ctx context.Context, log []byte) (float64, error) {
	m := admin.FindSubmatch(log)
	if m == nil {
		return 0, errors.New("the log names no admin address")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, string(m[1])+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("ask for metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask for metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	v := regexp.MustCompile(`tributary_dead_letters_failed_total\{outcome="given_up"\} (\S+)`).FindSubmatch(text)
	if v == nil {
		return 0, errors.New("no metric of letters given up")
	}
	return strconv.ParseFloat(string(v[1]), 64)
}

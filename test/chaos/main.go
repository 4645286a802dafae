// Command chaos proves by violence that nothing is lost: real workers, killed with -9 and stopped with SIGTERM at random
// and restarted, move commands through a front that fails as AWS does, while a producer sends; and in the end the
// table and the dead-letter queue must be exactly what was sent.
//
//	go run ./localstack/emulators exec -- go run ./test/chaos   # against DynamoDB Local and ElasticMQ
//	go run ./test/chaos -embedded                                # against the embedded stack
//	go run ./test/chaos -embedded -erase -frozen 40s             # a tenant is erased in the midst of it
//	go run ./test/chaos -embedded -erase -frozen 40s -rounds 20  # twenty times, two at a time
//	go run ./test/chaos -data                                    # against a local stack with --data that is killed as well
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"

	"tributary/internal/tenants/erase"
	"tributary/localstack/stack"
	"tributary/test/faults"
	"tributary/test/support/standin"
)

// settings are a run's flags.
type settings struct {
	embedded bool
	data     bool
	erase    bool
	frozen   time.Duration
	seed     uint64
	commands int
	length   time.Duration
	keep     bool
	rounds   int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	flag.BoolVar(&s.embedded, "embedded", false, "run against the embedded stack, without Java")
	flag.BoolVar(&s.data, "data", false, "run against a local stack of its own process, which is killed too and goes on with its data")
	flag.BoolVar(&s.erase, "erase", false, "erase a tenant in the midst of it, and send every message again afterwards")
	flag.DurationVar(&s.frozen, "frozen", 0, "how long to stop a worker by SIGSTOP now and then; 0: never")
	flag.Uint64Var(&s.seed, "seed", rand.Uint64()>>32, "of commands, faults and kills")
	flag.IntVar(&s.commands, "commands", 50_000, "how many to send")
	flag.DurationVar(&s.length, "for", 70*time.Second, "how long to send, and to kill workers")
	flag.IntVar(&s.rounds, "rounds", 1, "how many runs, two at a time, with seeds that follow each other")
	flag.BoolVar(&s.keep, "keep", false, "keep the workers' logs although all went well")
	flag.Parse()
	if err := runAll(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		stop()
		os.Exit(1)
	}
}

// patience is how long a run may take beside sending. A message that was received often, because workers were killed and its tenant
// throttled, stays away for minutes when it is nacked.
const patience = 25 * time.Minute

// sideBySide is how many rounds run at the same time.
const sideBySide = 2

// runAll runs the rounds, each with the next seed. After a failure it starts no more.
func runAll(ctx context.Context, s settings) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for i := range uint64(max(s.rounds, 0)) {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			round := s
			round.seed += i
			within, cancel := context.WithTimeoutCause(ctx, s.length+s.frozen+patience, errors.New("the run takes too long"))
			defer cancel()
			if err := run(within, round); err != nil {
				return fmt.Errorf("FAILED with seed %d: %w", round.seed, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// rig is a run's queue, table, front and workers.
type rig struct {
	settings
	dir      string
	sqs      *sqs.Client
	ddb      *dynamodb.Client
	queue    string
	letters  string
	table    string
	front    *faults.Front
	stack    *mortal  // nil: it is not killed
	env      []string // of workers
	operator []string // the environment of operators, whom the front does not fail

	witness     *witness          // of the erasure
	certificate erase.Certificate // of the erasure, once it has ended
}

// say prints what goes on in the run.
func (r *rig) say(format string, args ...any) {
	fmt.Printf("chaos %d: %s\n", r.seed, fmt.Sprintf(format, args...))
}

func run(ctx context.Context, s settings) error {
	backends := faults.Backends{DynamoDB: os.Getenv("TRIBUTARY_TEST_DYNAMODB"), SQS: os.Getenv("TRIBUTARY_TEST_SQS")}
	if !s.embedded && !s.data && (backends.DynamoDB == "" || backends.SQS == "") {
		const how = "TRIBUTARY_TEST_DYNAMODB and TRIBUTARY_TEST_SQS are not set (make chaos sets them)"
		if os.Getenv("CI") == "true" {
			return errors.New(how)
		}
		fmt.Println("chaos:", how+": this runs against the embedded stack instead")
		s.embedded = true
	}
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	var killed *mortal
	switch {
	case s.data:
		if killed, err = newMortal(ctx, dir); err != nil {
			return err
		}
		defer killed.close()
		backends = faults.Backends{DynamoDB: killed.url(), SQS: killed.url()}
	case s.embedded:
		handler := stack.New(stack.Options{})
		defer handler.Close()
		url, closeServer, err := serve(ctx, handler)
		if err != nil {
			return err
		}
		defer closeServer()
		backends = faults.Backends{DynamoDB: url, SQS: url}
	}
	front, err := faults.New(backends, s.seed, faults.Config{})
	if err != nil {
		return fmt.Errorf("make the front: %w", err)
	}
	defer front.Close()
	url, closeFront, err := serve(ctx, front)
	if err != nil {
		return err
	}
	defer closeFront()

	name := fmt.Sprintf("chaos-%d", s.seed)
	r := &rig{
		settings: s, dir: dir, front: front, stack: killed, table: name,
		sqs: sqs.NewFromConfig(standin.Config(backends.SQS)), ddb: dynamodb.NewFromConfig(standin.Config(backends.DynamoDB)),
		env: standin.Environ(url, url, "TRIBUTARY_QUEUE="+name, "TRIBUTARY_TABLE="+name),
	}
	if s.erase {
		stopWitness, err := r.witnessed(ctx, backends)
		if err != nil {
			return err
		}
		defer stopWitness()
	}
	r.say("%d commands in %v, logs in %s", s.commands, s.length, dir)
	if err := r.prepare(ctx, name); err != nil {
		return err
	}
	if err := r.storm(ctx); err != nil {
		return err
	}
	if s.keep {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove logs: %w", err)
	}
	return nil
}

// serve serves a handler on a free port.
func serve(ctx context.Context, handler http.Handler) (url string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with Close
	}()
	return "http://" + listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

// visibility is short, so that messages of a killed worker come back within the run.
const visibility = "8"

// prepare builds the worker and makes queue and table.
func (r *rig) prepare(ctx context.Context, name string) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", r.worker(), "tributary/cmd/worker")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build worker: %w\n%s", err, out)
	}
	setup := exec.CommandContext(ctx, r.worker(), "setup")
	setup.Env = r.env
	if out, err := setup.CombinedOutput(); err != nil {
		return fmt.Errorf("worker setup: %w\n%s", err, out)
	}
	for queue, url := range map[string]*string{name: &r.queue, name + "-dlq": &r.letters} {
		out, err := r.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue})
		if err != nil {
			return fmt.Errorf("find queue %s: %w", queue, err)
		}
		*url = *out.QueueUrl
	}
	_, err := r.sqs.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &r.queue, Attributes: map[string]string{"VisibilityTimeout": visibility}})
	if err != nil {
		return fmt.Errorf("set visibility timeout: %w", err)
	}
	return nil
}

func (r *rig) worker() string { return filepath.Join(r.dir, "worker") }

// weather is the set of faults during the run.
func weather(d *rand.Rand) faults.Config {
	rate := func(most float64) float64 { return most * d.Float64() }
	ddb := []string{"BatchWriteItem", "PutItem"}
	queue := []string{"ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "SendMessageBatch"}
	config := faults.Config{
		WriteUnits: 400 + 600*d.Float64(),
		Rules: []faults.Rule{
			{Fault: faults.Delay, Rate: rate(0.05), MaxDelay: 300 * time.Millisecond},
			{Fault: faults.Unprocessed, Operations: ddb, Rate: rate(0.05)},
			{Fault: faults.ErrorBefore, Operations: ddb, Rate: rate(0.03)},
			{Fault: faults.ErrorAfter, Operations: ddb, Rate: rate(0.03)},
			{Fault: faults.ResetBefore, Operations: ddb, Rate: rate(0.03)},
			{Fault: faults.ResetAfter, Operations: ddb, Rate: rate(0.03)},
			{Fault: faults.Cut, Operations: ddb, Rate: rate(0.02)},
			{Fault: faults.ThrottleKeyRange, Operations: ddb, Rate: rate(0.03)},
			{Fault: faults.ThrottleTable, Operations: ddb, Rate: rate(0.01)},
			{Fault: faults.ThrottleAccount, Operations: ddb, Rate: rate(0.01)},
			{Fault: faults.ThrottleBare, Operations: ddb, Rate: rate(0.01)},
			{Fault: faults.ErrorBefore, Operations: queue, Rate: rate(0.02)},
			{Fault: faults.ErrorAfter, Operations: queue, Rate: rate(0.01)},
			{Fault: faults.ResetAfter, Operations: queue, Rate: rate(0.01)},
			{Fault: faults.Cut, Operations: queue, Rate: rate(0.01)},
			{Fault: faults.FailEntry, Operations: queue, Rate: rate(0.03)},
		},
	}
	switch d.IntN(8) {
	case 0: // an outage
		config.Rules = append(config.Rules, faults.Rule{Fault: faults.ErrorBefore, Operations: ddb, Rate: 0.9})
	case 1: // the dead-letter queue is away
		config.Rules = append(config.Rules, faults.Rule{Fault: faults.ErrorBefore, Operations: []string{"SendMessageBatch"}, Rate: 1})
	}
	return config
}

// storm sends while workers die, waits until all is quiet and checks the result.
func (r *rig) storm(ctx context.Context) error {
	d := rand.New(rand.NewPCG(r.seed, 1))
	began := time.Now()
	crew := newCrew(r)
	defer crew.end()
	var p *plan
	g, storm := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		p, err = r.produce(storm, rand.New(rand.NewPCG(r.seed, 2)))
		return err
	})
	g.Go(func() error { return crew.shake(storm, rand.New(rand.NewPCG(r.seed, 3))) })
	if r.erase {
		g.Go(func() error { return r.eraseVictim(storm, rand.New(rand.NewPCG(r.seed, 5))) })
	}
	if r.stack != nil {
		g.Go(func() error { return r.stack.shake(storm, rand.New(rand.NewPCG(r.seed, 4)), r.length) })
	}
	g.Go(func() error {
		for end := began.Add(r.length); time.Now().Before(end); {
			if err := r.front.Set(weather(d)); err != nil {
				return err
			}
			if !pause(storm, 3*time.Second) {
				return context.Cause(storm)
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	counts := r.front.Counts()
	if err := r.front.Set(faults.Config{}); err != nil {
		return err
	}
	r.say("%4.0fs sent %d commands in %d messages, %d of them poison; workers killed %d times, stopped %d times, frozen %d times; now waiting for the queue to be empty",
		time.Since(began).Seconds(), p.commands, p.messages, len(p.poison), crew.kills, crew.stops, crew.freezes)
	r.say("faults: %s", showCounts(counts))
	if r.stack != nil {
		r.say("the stack was killed %d times; %d batches were sent again", r.stack.kills, p.again)
	}
	if err := crew.ensure(); err != nil {
		return err
	}
	if err := r.awaitEmpty(ctx, crew); err != nil {
		return err
	}
	if r.erase {
		r.say("%4.0fs every message is sent again", time.Since(began).Seconds())
		if err := r.sendAgain(ctx, p); err != nil {
			return err
		}
		if err := r.awaitEmpty(ctx, crew); err != nil {
			return err
		}
	}
	if err := crew.stopAll(ctx); err != nil {
		return err
	}
	r.say("%4.0fs the queue is empty; checking the table and the dead letters", time.Since(began).Seconds())
	if err := r.check(ctx, p); err != nil {
		return err
	}
	r.say("%4.0fs all is as it should be", time.Since(began).Seconds())
	return nil
}

// awaitEmpty waits until nothing is on the queue, neither visible nor in flight.
func (r *rig) awaitEmpty(ctx context.Context, crew *crew) error {
	empty := 0
	stuck := stuck{since: time.Now(), said: time.Now()}
	for last := ""; ; {
		out, err := r.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &r.queue, AttributeNames: []sqstypes.QueueAttributeName{
			sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		}})
		if err == nil {
			visible, hidden := out.Attributes["ApproximateNumberOfMessages"], out.Attributes["ApproximateNumberOfMessagesNotVisible"]
			last = visible + " visible and " + hidden + " in flight"
			if empty++; visible != "0" || hidden != "0" {
				empty = 0
			}
			if empty == 3 {
				return nil
			}
		}
		if empty == 0 {
			if err := stuck.look(ctx, r, crew, last); err != nil {
				return err
			}
		}
		if !pause(ctx, 500*time.Millisecond) {
			return fmt.Errorf("the queue still has messages, %s: %w", last, context.Cause(ctx))
		}
	}
}

// stuck tells messages that a worker never ends from those that a nack hides.
type stuck struct {
	since time.Time // at no time since then were all workers without messages
	said  time.Time
}

// maxHeld is how long the workers may hold messages without a break once nothing fails and nothing is sent any more.
const maxHeld = 90 * time.Second

// look asks the workers what they hold.
func (s *stuck) look(ctx context.Context, r *rig, crew *crew, queue string) error {
	now := time.Now()
	held, known := crew.held(ctx)
	if known && held == 0 {
		s.since = now
	}
	if now.Sub(s.since) > maxHeld {
		return fmt.Errorf("the queue has %s, and workers have held messages for %v:\n%s", queue, maxHeld, crew.state(ctx))
	}
	if now.Sub(s.said) > 30*time.Second {
		s.said = now
		r.say("the queue has %s; the workers hold %d messages, the others are hidden by nacks", queue, held)
	}
	return nil
}

// pause waits and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func showCounts(counts faults.Counts) string {
	sums := map[string]int{}
	for name, n := range counts {
		fault, _, _ := strings.Cut(name, " ")
		sums[fault] += n
	}
	return fmt.Sprint(sums)
}

// Command load measures what a command costs the worker. It answers for SQS and DynamoDB from memory with the latency
// of calls within a region, runs the worker against that, and next to it a bare loop over the AWS SDK, or another
// worker. Only the ratios of one run mean something: figures of two runs, or of two machines, do not compare.
//
// It is a module of its own, so that its dependencies are not part of the build. `make bench-load` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const queuePath = "/000000000000/load"

// maxTime is how long a worker may take. It normally takes seconds.
const maxTime = 90 * time.Second

// drainTime is longer than a worker may take to stop.
const drainTime = time.Minute

var scenarios = map[string]load{
	"plain":  {messages: 60_000, pack: 1},
	"packed": {messages: 3_000, pack: 100},
	"rate":   {messages: 15_000, pack: 1, rate: 1000},
	"idle":   {pack: 1},
}

type settings struct {
	worker    string
	against   string
	scenarios string
	rounds    int
	idle      time.Duration
	sqs, ddb  time.Duration
	profile   string
}

func main() {
	var s settings
	flag.StringVar(&s.worker, "worker", "", "the worker's binary")
	flag.StringVar(&s.against, "against", "bare", "what to compare it with: 'bare', a loop over the SDK; another worker's binary; or '' for nothing")
	flag.StringVar(&s.scenarios, "scenarios", "plain,packed,rate,idle", "which scenarios to run")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds of plain and packed, each of both in turns")
	flag.DurationVar(&s.idle, "idle", time.Minute, "how long to watch an idle worker")
	flag.DurationVar(&s.sqs, "sqs-latency", 8*time.Millisecond, "what a call to SQS takes")
	flag.DurationVar(&s.ddb, "dynamodb-latency", 5*time.Millisecond, "what a call to DynamoDB takes")
	flag.StringVar(&s.profile, "profile", "", "write the worker's CPU profile of each round to this file, with the scenario and round in its name")
	moves := flag.Int("bare", 0, "be the bare loop, for so many messages, against the endpoint AWS_ENDPOINT_URL")
	e2e := flag.Bool("e2e", false, "measure against the backends TRIBUTARY_TEST_DYNAMODB and TRIBUTARY_TEST_SQS")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	switch {
	case *moves > 0:
		err = bare(ctx, os.Getenv("AWS_ENDPOINT_URL"), *moves)
	case s.worker == "":
		err = errors.New("give -worker: make bench-load does")
	case *e2e:
		err = endToEnd(ctx, s.worker, os.Stdout)
	default:
		err = run(ctx, s, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary: %w", err)
	}
	worker := []string{s.worker, "run"}
	other := func(messages int) []string {
		switch s.against {
		case "":
			return nil
		case "bare":
			return []string{self, "-bare", fmt.Sprint(messages)}
		}
		return []string{s.against, "run"}
	}
	for name := range strings.SplitSeq(s.scenarios, ",") {
		l, ok := scenarios[name]
		if !ok {
			return fmt.Errorf("there is no scenario %q", name)
		}
		rounds := s.rounds
		if l.rate > 0 || name == "idle" {
			rounds = 1
		}
		var speed, cost []float64
		for i := range rounds {
			var base, r result
			compare := other(l.messages)
			if compare != nil && l.rate == 0 && l.messages > 0 && i%2 == 0 {
				if base, err = s.measure(ctx, l, compare, ""); err != nil {
					return fmt.Errorf("%s: %s: %w", name, s.against, err)
				}
			}
			profile := ""
			if s.profile != "" {
				profile = fmt.Sprintf("%s.%s.%d", s.profile, name, i)
			}
			if r, err = s.measure(ctx, l, worker, profile); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if compare != nil && l.rate == 0 && l.messages > 0 && i%2 == 1 {
				if base, err = s.measure(ctx, l, compare, ""); err != nil {
					return fmt.Errorf("%s: %s: %w", name, s.against, err)
				}
			}
			_, _ = fmt.Fprintf(out, "%-7s %v\n", name, r)
			if base.commands > 0 {
				speed, cost = append(speed, r.perSecond()/base.perSecond()), append(cost, r.each()/base.each())
				_, _ = fmt.Fprintf(out, "%-7s %v   <- %s: speed %.0f %%, processor time %.0f %%\n", name, base, s.against, 100*speed[i], 100*cost[i])
			}
		}
		if len(speed) > 0 {
			slices.Sort(speed)
			slices.Sort(cost)
			_, _ = fmt.Fprintf(out, "%-7s median of %d against %s: speed %.0f %% (%.0f to %.0f), processor time a command %.0f %% (%.0f to %.0f)\n", name, len(speed), s.against,
				100*median(speed), 100*speed[0], 100*speed[len(speed)-1], 100*median(cost), 100*cost[0], 100*cost[len(cost)-1])
		}
	}
	return nil
}

func median(sorted []float64) float64 {
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// result is what one process did.
type result struct {
	figures
	cpu    time.Duration
	rss    int64 // at most, bytes
	idle   time.Duration
	polls  int64 // receives while idle
	waited bool  // idle was measured
}

func (r result) perSecond() float64 { return float64(r.commands) / r.seconds }

// each is the processor time of a command, in microseconds.
func (r result) each() float64 { return float64(r.cpu.Nanoseconds()) / 1000 / float64(r.commands) }

func (r result) String() string {
	if r.waited {
		return fmt.Sprintf("%d receives in %v, %.3f %% of a core, %d MiB", r.polls, r.idle, 100*r.cpu.Seconds()/r.idle.Seconds(), r.rss>>20)
	}
	s := fmt.Sprintf("%6.0f commands/s, %5.1f µs of processor time each, %3d MiB, %4.1f commands a batch, %.0f calls per 1,000 messages",
		r.perSecond(), r.each(), r.rss>>20, r.fill, r.callsPerThousand)
	if r.p50 > 0 {
		s += fmt.Sprintf(", arrived to durable p50 %.1f ms p99 %.1f ms", r.p50.Seconds()*1000, r.p99.Seconds()*1000)
	}
	return s
}

// measure runs a process until it has moved everything, or for the time of an idle one.
func (s settings) measure(ctx context.Context, l load, command []string, profile string) (result, error) {
	e := newEndpoint(l, s.sqs, s.ddb)
	runtime.GC() // not in the measured process's time
	if err := e.start(); err != nil {
		return result{}, err
	}
	defer func() { _ = e.server.Shutdown() }()
	admin, err := freeAddress()
	if err != nil {
		return result{}, err
	}
	p, err := start(command, map[string]string{
		"AWS_ENDPOINT_URL": e.url, "TRIBUTARY_QUEUE": e.url + queuePath, "TRIBUTARY_DLQ": e.url + queuePath + "-dlq",
		"TRIBUTARY_LISTEN": "127.0.0.1:0", "TRIBUTARY_ADMIN_LISTEN": admin,
	})
	if err != nil {
		return result{}, err
	}
	defer p.kill()
	if profile != "" {
		go saveProfile(ctx, "http://"+admin+"/debug/pprof/profile?seconds=3", profile)
	}
	if l.messages == 0 {
		return s.watch(ctx, e, p)
	}
	if l.rate > 0 { // starting up is no part of the latency
		for e.receives.Load() == 0 && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	go e.arrive()
	select {
	case <-e.finished:
	case <-ctx.Done():
		return result{}, context.Cause(ctx)
	case <-p.done:
		<-time.After(100 * time.Millisecond)
		if e.figures().seconds <= 0 {
			return result{}, fmt.Errorf("it ended before everything was done:\n%s", p.log.tail())
		}
	case <-time.After(maxTime):
		return result{}, fmt.Errorf("it is not done after %v:\n%s", maxTime, p.log.tail())
	}
	r := result{figures: e.figures()}
	if err := p.end(e.release); err != nil {
		return result{}, err
	}
	if r.early > 0 || r.wrong > 0 {
		return result{}, fmt.Errorf("%d messages were deleted before they were durable, %d writes were such as DynamoDB refuses", r.early, r.wrong)
	}
	r.cpu, r.rss = p.used()
	return r, nil
}

// watch measures a worker without messages, once it has settled.
func (s settings) watch(ctx context.Context, e *endpoint, p *process) (result, error) {
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	wait(5 * time.Second)
	before, err := p.cpu()
	if err != nil {
		return result{}, err
	}
	r := result{waited: true, idle: s.idle, polls: -e.receives.Load()}
	wait(s.idle)
	after, err := p.cpu()
	if err != nil {
		return result{}, err
	}
	r.polls += e.receives.Load()
	if err := p.end(e.release); err != nil {
		return result{}, err
	}
	_, r.rss = p.used()
	r.cpu = after - before
	return r, context.Cause(ctx)
}

// saveProfile writes a CPU profile that a worker makes of itself, as soon as it answers.
func saveProfile(ctx context.Context, url, path string) {
	for range 100 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		b, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK {
			err = os.WriteFile(path, b, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench-load: no profile:", err)
		}
		return
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// process is a worker or the bare loop.
type process struct {
	cmd  *exec.Cmd
	log  *lastOutput
	done chan struct{}
	most int64 // bytes of memory, as far as known
}

func start(command []string, env map[string]string) (*process, error) {
	p := &process{cmd: exec.Command(command[0], command[1:]...), log: &lastOutput{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=load", "AWS_SECRET_ACCESS_KEY=load", "AWS_SESSION_TOKEN=",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	return p, nil
}

// end tells the process to stop and waits for it; then is called once it was told.
func (p *process) end(then func()) error {
	p.most = p.peak()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	time.AfterFunc(200*time.Millisecond, then)
	select {
	case <-p.done:
	case <-time.After(drainTime):
		return fmt.Errorf("it does not stop:\n%s", p.log.tail())
	}
	if !p.cmd.ProcessState.Success() && p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		return fmt.Errorf("%v:\n%s", p.cmd.ProcessState, p.log.tail())
	}
	return nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// used is the processor time of a process that has ended, and the most memory that it had until it was told to.
func (p *process) used() (time.Duration, int64) {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), p.most
}

// peak is the most memory that a process had resident. The kernel's figure for processes that have ended counts what
// their parent had when it started them, so Linux alone says it.
func (p *process) peak() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}

// cpu is the processor time of a process that runs. Linux alone says it, to the nanosecond, thread by thread.
func (p *process) cpu() (time.Duration, error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w\n%s", err, p.log.tail())
	}
	var sum time.Duration
	for _, t := range threads {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", p.cmd.Process.Pid, t.Name()))
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

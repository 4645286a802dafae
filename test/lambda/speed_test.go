package lambda_test

import (
	"bytes"
	"flag"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"tributary/test/lambda/simulator"
	"tributary/test/support/standin"
)

var speedMessages = flag.Int("lambda.speed", 0, "how many messages to measure the processor time of a command with; 0: it is not measured")

// TestProcessorTime compares the function with `worker run` at the same messages on the same stack: at least 80 % of the worker's
// commands for a second of processor time, in batches of 100.
func TestProcessorTime(t *testing.T) {
	if *speedMessages == 0 {
		t.Skip("without -lambda.speed")
	}
	bodies := make([]string, *speedMessages)
	for i := range bodies {
		bodies[i] = order(fmt.Sprint("tenant-", i%100), fmt.Sprint("o", i), i)
	}
	each := func(cpu time.Duration) float64 { return float64(cpu.Microseconds()) / float64(len(bodies)) }
	used := func(cmd *exec.Cmd) time.Duration { return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() }

	r := newRig(t, false, 60)
	r.send("", bodies...)
	var said bytes.Buffer
	worker := exec.Command(r.path, "run", "--role", "consume", "--admin-listen", "127.0.0.1:0")
	worker.Env, worker.Stderr = standin.Environ(r.url, r.url, "TRIBUTARY_QUEUE="+r.name), &said
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if visible, hidden := r.depth(r.queue); visible+hidden == 0 || time.Now().After(end) {
			break
		}
	}
	_ = worker.Process.Signal(syscall.SIGTERM)
	if err := worker.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}

	for _, concurrency := range []int{1, 8} {
		r = newRig(t, false, 60)
		r.through = r.url // the front would only cost time
		r.send("", bodies...)
		cfg := r.config()
		cfg.BatchSize, cfg.Window, cfg.Concurrency, cfg.PerEnvironment = 100, time.Second, concurrency, concurrency
		m := simulator.New(cfg)
		r.drain(m, nil, 2*time.Minute)
		var cpu time.Duration
		for _, cmd := range m.Processes() {
			cpu += used(cmd)
		}
		ratio := float64(used(worker)) / float64(cpu)
		t.Logf("%d at once: the worker takes %.1f µs of processor time a command, the function %.1f µs: %.0f %% of its commands a second; %v", concurrency, each(used(worker)), each(cpu), 100*ratio, &m.Stats)
		if ratio < 0.8 {
			t.Errorf("the function has %.0f %% of the worker's commands for a second of processor time", 100*ratio)
		}
	}
}

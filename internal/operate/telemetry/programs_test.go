package telemetry

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tributary/test/support/otlpstub"
)

// TestProgramsMakeOneTrace runs the programs: `producer put-order`, the queue, a worker, and a collector that gets the
// spans of both.
func TestProgramsMakeOneTrace(t *testing.T) {
	collector := otlpstub.Start(t)
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+string(filepath.Separator), "tributary/cmd/worker", "tributary/cmd/producer", "tributary/localstack")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build programs: %v\n%s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stack := listener.Addr().String()
	_ = listener.Close()
	program := func(name string, arguments ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), arguments...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
			return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "TRIBUTARY_") || strings.HasPrefix(v, "OTEL_")
		})
		cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL=http://"+stack, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b",
			"OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_BSP_SCHEDULE_DELAY=100")
		return cmd
	}
	emulators := program("localstack", "--listen", stack)
	if err := emulators.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = emulators.Process.Signal(syscall.SIGTERM); _ = emulators.Wait() })
	await(t, "the stack", func() bool {
		c, err := net.Dial("tcp", stack)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	for _, cmd := range []*exec.Cmd{
		program("worker", "setup"),
		program("producer", "put-order", "--tenant", "tenantA", "--user-id", "u1", "--order-amount", "150.00"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	worker := program("worker", "run", "--role", "consume", "--admin-listen", "127.0.0.1:0")
	var said bytes.Buffer
	worker.Stdout, worker.Stderr = &said, &said
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	const process, write = "process tributary-commands", "BatchWriteItem MultiTenantTable"
	await(t, "the worker's spans", func() bool { return len(collector.Spans(process)) > 0 && len(collector.Spans(write)) > 0 })

	created, processed, written := one(t, collector, "create tributary-commands"), one(t, collector, process), one(t, collector, write)
	if !bytes.Equal(created.GetTraceId(), processed.GetTraceId()) || !bytes.Equal(processed.GetParentSpanId(), created.GetSpanId()) {
		t.Error("the worker's processing is not in the producer's trace, under its message")
	}
	links := written.GetLinks()
	if len(links) != 1 || !bytes.Equal(links[0].GetSpanId(), processed.GetSpanId()) || bytes.Equal(written.GetTraceId(), processed.GetTraceId()) {
		t.Errorf("the batch write has the links %v, want a trace of its own with one to the message's processing", links)
	}
	if root := one(t, collector, "producer put_order"); !bytes.Equal(root.GetSpanId(), created.GetParentSpanId()) {
		t.Error("the message is not under the producer's command")
	}
	if created.Service != "tributary-producer" || processed.Service != "tributary-worker" || processed.Attributes()["tributary.outcome"] != "deleted" {
		t.Errorf("services are %s and %s, the outcome is %v", created.Service, processed.Service, processed.Attributes()["tributary.outcome"])
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within half a minute", what)
		}
	}
}

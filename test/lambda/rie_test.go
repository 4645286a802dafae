package lambda_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"tributary/test/lambda/simulator"
	"tributary/test/support/standin"
)

var emulator = flag.String("lambda.rie", "", "the program aws-lambda-rie, which invokes the function in TestEmulator; empty: it is skipped")

// TestEmulator: Lambda's own emulator of its runtime interface starts the function, passes an event on, and takes the answer.
func TestEmulator(t *testing.T) {
	if *emulator == "" {
		t.Skip("without -lambda.rie; make lambda-rie builds it")
	}
	r := newRig(t, false, 60)
	r.calls.meddle = throttle("hot")
	r.send("", order("cold", "a", 1), order("hot", "b", 2), `{"bad`)
	records := r.batch(r.mapping(r.config()), 3)
	invocations, runtime := freePort(t), freePort(t)
	cmd := exec.Command(*emulator, "--runtime-interface-emulator-address", invocations, "--runtime-api-address", runtime, r.path)
	cmd.Env = standin.Environ(r.through, r.through, "TRIBUTARY_QUEUE="+r.name, "TRIBUTARY_PATIENCE=4s",
		"AWS_LAMBDA_FUNCTION_NAME=tributary", "AWS_LAMBDA_FUNCTION_TIMEOUT=40")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with the function's process
		_ = cmd.Wait()
	})
	var answer []byte
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		response, err := http.Post("http://"+invocations+"/2015-03-31/functions/function/invocations", "application/json", bytes.NewReader(simulator.Event(records))) //nolint:noctx // the test ends the server
		if err == nil {
			answer, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v\n%s", err, said.String())
		}
	}
	var got struct {
		Failures []struct{ ItemIdentifier string } `json:"batchItemFailures"`
	}
	hot := records[2] // they are sorted
	if err := json.Unmarshal(answer, &got); err != nil || len(got.Failures) != 1 || got.Failures[0].ItemIdentifier != hot.MessageID {
		t.Errorf("the answer is %s, %v; want %s alone\n%s", answer, err, hot.MessageID, said.String())
	}
	if visible, _ := r.depth(r.letters); r.amount("cold", "a") != "1" || r.amount("hot", "b") != "" || visible != 1 {
		t.Error("the table, or the dead-letter queue, is not as the answer says")
	}
}

// freePort returns an address that is free now: the emulator takes no listener.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The Runtime API's version and its limit of a payload ("Lambda runtime API", "Lambda quotas").
const (
	apiVersion = "/2018-06-01/runtime/"
	maxPayload = 6 << 20
)

// invocation is one event on its way through an environment.
type invocation struct {
	id       string
	event    []byte
	deadline time.Time
	outcome  chan outcome // has room for one
}

type outcome struct {
	answer []byte
	err    error // the function failed: its own error, its time-out, or its end
}

// environment is one process of the function and the Runtime API that it speaks to.
type environment struct {
	cmd    *exec.Cmd
	server *http.Server
	output *tail
	freeze bool
	next   chan *invocation // given to requests for the next invocation
	ended  chan struct{}    // closed when the process has ended

	mu     sync.Mutex
	active map[string]*invocation // guarded by mu
	frozen bool                   // guarded by mu
	dead   bool                   // it takes no more invocations; guarded by mu
}

// startEnvironment starts a process with AWS_LAMBDA_RUNTIME_API.
func startEnvironment(command func() *exec.Cmd, freeze bool) (*environment, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	e := &environment{
		cmd: command(), freeze: freeze, next: make(chan *invocation), ended: make(chan struct{}), active: map[string]*invocation{}, output: &tail{},
	}
	e.server = &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = e.server.Serve(listener) }() // ends with Close
	e.cmd.Env = append(e.cmd.Env, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	if e.cmd.Stderr == nil {
		e.cmd.Stderr = e.output
	}
	if e.cmd.Stdout == nil {
		e.cmd.Stdout = e.output
	}
	if err := e.cmd.Start(); err != nil {
		_ = e.server.Close()
		return nil, fmt.Errorf("start function: %w", err)
	}
	go func() {
		err := e.cmd.Wait()
		e.mu.Lock()
		e.dead = true
		for _, i := range e.active {
			i.answered(outcome{err: fmt.Errorf("the function ended: %w\n%s", errors.Join(err, errEnded), e.output)})
		}
		e.mu.Unlock()
		close(e.ended)
		_ = e.server.Close()
	}()
	return e, nil
}

// errEnded is part of the outcome of an invocation whose process ended.
var errEnded = errors.New("no answer")

// answered reports the outcome. Only the first counts.
func (i *invocation) answered(o outcome) bool {
	select {
	case i.outcome <- o:
		return true
	default:
		return false
	}
}

// invoke gives the process an event and waits for the outcome. At the deadline it kills the process, as Lambda does.
func (e *environment) invoke(i *invocation, timeout time.Duration) outcome {
	ready := time.NewTimer(10 * time.Second) // for the init phase
	defer ready.Stop()
	e.begin(i)
	defer e.end(i.id)
	select {
	case e.next <- i:
	case <-e.ended:
		return outcome{err: fmt.Errorf("the function ended: %w\n%s", errEnded, e.output)}
	case <-ready.C:
		e.kill()
		return outcome{err: fmt.Errorf("the function doesn't ask for invocations: %w\n%s", errEnded, e.output)}
	}
	over := time.NewTimer(time.Until(i.deadline))
	defer over.Stop()
	select {
	case o := <-i.outcome:
		return o
	case <-over.C:
		e.kill()
		return outcome{err: fmt.Errorf("%w after %v", errTimeout, timeout)}
	}
}

var errTimeout = errors.New("task timed out")

// ServeHTTP implements the Runtime API.
func (e *environment) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, apiVersion)
	switch {
	case ok && r.Method == http.MethodGet && path == "invocation/next":
		e.serveNext(w, r)
	case ok && r.Method == http.MethodPost && strings.HasPrefix(path, "invocation/"):
		e.serveEnd(w, r, strings.TrimPrefix(path, "invocation/"))
	default:
		http.NotFound(w, r)
	}
}

func (e *environment) serveNext(w http.ResponseWriter, r *http.Request) {
	e.freezeIfIdle()
	select {
	case i := <-e.next:
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:tributary")
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0")
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(i.event)))
		_, _ = w.Write(i.event) // where it fails the process is gone
	case <-r.Context().Done():
	case <-e.ended:
	}
}

// serveEnd takes the answer or the error of an invocation.
func (e *environment) serveEnd(w http.ResponseWriter, r *http.Request, path string) {
	id, what, _ := strings.Cut(path, "/")
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		http.Error(w, `{"errorType":"RequestEntityTooLarge"}`, http.StatusRequestEntityTooLarge)
		return
	}
	i := e.end(id)
	if i == nil || what != "response" && what != "error" {
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusForbidden)
		return
	}
	o := outcome{answer: body}
	if what == "error" {
		o = outcome{err: &FunctionError{Body: string(body)}}
	}
	i.answered(o)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

// FunctionError is an error that the function itself reported.
type FunctionError struct{ Body string }

func (e *FunctionError) Error() string { return "the function reports " + e.Body }

// begin notes an invocation, and lets the process run.
func (e *environment) begin(i *invocation) {
	e.mu.Lock()
	e.active[i.id] = i
	e.mu.Unlock()
	e.thaw()
}

// end forgets an invocation and returns it; nil: it has ended before.
func (e *environment) end(id string) *invocation {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.active[id]
	delete(e.active, id)
	return i
}

// freezeIfIdle stops the process while it has no invocation, as Lambda does.
func (e *environment) freezeIfIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.freeze && len(e.active) == 0 && !e.frozen && !e.dead {
		e.frozen = true
		_ = e.cmd.Process.Signal(syscall.SIGSTOP)
	}
}

func (e *environment) thaw() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.frozen {
		e.frozen = false
		_ = e.cmd.Process.Signal(syscall.SIGCONT)
	}
}

// kill ends the process at once, and waits until it is gone.
func (e *environment) kill() {
	e.mu.Lock()
	e.dead = true
	e.mu.Unlock()
	_ = e.cmd.Process.Kill() // it may have ended by itself
	<-e.ended
}

// stop ends the process by SIGTERM.
func (e *environment) stop() {
	e.thaw()
	_ = e.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(10*time.Second, func() { _ = e.cmd.Process.Kill() })
	<-e.ended
	late.Stop()
}

func (e *environment) alive() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.dead
}

// tail keeps the end of what a process says.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const maxTail = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*maxTail {
		t.text = bytes.Clone(t.text[len(t.text)-maxTail:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

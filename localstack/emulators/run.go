//go:build linux || darwin

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second // a cold JVM on a busy machine of two cores
	stopTimeout  = 10 * time.Second
	poll         = 50 * time.Millisecond
)

// emulator is one program of a pair.
type emulator struct {
	name   string // also of its folder and files
	title  string
	port   int
	target string // X-Amz-Target of the request that it must answer before it counts as up
	args   []string
}

func (e *emulator) endpoint() string { return fmt.Sprintf("http://127.0.0.1:%d", e.port) }

// pair is both programs, and the folder that holds all that they and this program write.
type pair struct {
	home, dir, java string
	emulators       [2]emulator // DynamoDB Local, ElasticMQ
}

// record says which process was started. The start time tells it from a later one with the same pid.
type record struct {
	PID     int    `json:"pid"`
	Started string `json:"started"`
	Port    int    `json:"port"`
}

func instance(home, name, java string, dynamodbPort, sqsPort int) *pair {
	p := &pair{home: home, dir: filepath.Join(home, "run", name), java: java}
	jvm := []string{
		// Modest: DynamoDB Local keeps its tables outside the heap, and a 16 MB batch must fit.
		"-Xmx512m", "-XX:+UseSerialGC",
		noPerfData, "-Djava.io.tmpdir=" + filepath.Join(p.dir, "tmp"),
	}
	dynamodb := filepath.Join(home, "dynamodb")
	p.emulators = [2]emulator{
		{
			name: "dynamodb", title: "DynamoDB Local", port: dynamodbPort, target: "DynamoDB_20120810.ListTables",
			args: append(jvm[:len(jvm):len(jvm)],
				"-Djava.library.path="+dynamodb, "-cp", filepath.Join(dynamodb, "*"),
				"software.amazon.dynamodb.services.local.main.ServerRunner",
				"-inMemory", "-sharedDb", "-disableTelemetry", "-port", strconv.Itoa(dynamodbPort)),
		},
		{
			name: "elasticmq", title: "ElasticMQ", port: sqsPort, target: "AmazonSQS.ListQueues",
			args: append(jvm[:len(jvm):len(jvm)],
				"-Dconfig.file="+filepath.Join(p.dir, "elasticmq.conf"), "-cp", filepath.Join(home, "elasticmq", "*"),
				"org.elasticmq.server.Main"),
		},
	}
	return p
}

// elasticMQConfig binds to loopback only. Limits are strict: as AWS's, where ElasticMQ knows them.
func elasticMQConfig(port int) string {
	return fmt.Sprintf(`include classpath("application.conf")
node-address { protocol = http, host = 127.0.0.1, port = %d, context-path = "" }
rest-sqs { enabled = true, bind-hostname = "127.0.0.1", bind-port = %d, sqs-limits = strict }
rest-stats { enabled = false }
queues-storage { enabled = false }
messages-storage { enabled = false }
generate-node-address = false
aws { region = us-east-1, accountId = 000000000000 }
`, port, port)
}

// start starts what does not run yet, and returns when both answer. On an error nothing of what it started runs on.
func (p *pair) start(ctx context.Context) (err error) {
	unlock, err := lock(filepath.Join(p.home, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.MkdirAll(filepath.Join(p.dir, "tmp"), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	config := filepath.Join(p.dir, "elasticmq.conf")
	if err := os.WriteFile(config, []byte(elasticMQConfig(p.emulators[1].port)), 0o644); err != nil {
		return fmt.Errorf("write ElasticMQ's configuration: %w", err)
	}
	var started []*emulator
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stopSome(started...))
		}
	}()
	ended := make([]<-chan struct{}, len(p.emulators))
	for i := range p.emulators {
		e := &p.emulators[i]
		r, running := p.running(e)
		if running && r.Port != e.port {
			return fmt.Errorf("%s runs already, on port %d: end it first (down), or ask for that port", e.title, r.Port)
		}
		if running {
			continue
		}
		if ended[i], err = p.spawn(e); err != nil {
			return err
		}
		started = append(started, e)
	}
	for i := range p.emulators {
		if err := p.await(ctx, &p.emulators[i], ended[i]); err != nil {
			return err
		}
	}
	return nil
}

// spawn starts one program. The channel is closed when it ends.
func (p *pair) spawn(e *emulator) (<-chan struct{}, error) {
	// Without this check the wait below would take a stranger's answer for ours.
	if l, err := net.Listen("tcp", fmt.Sprintf(":%d", e.port)); err != nil {
		return nil, fmt.Errorf("start %s: port %d is taken by another program (choose one by -%s): %w", e.title, e.port,
			map[string]string{"dynamodb": "dynamodb-port", "elasticmq": "sqs-port"}[e.name], err)
	} else if err := l.Close(); err != nil {
		return nil, fmt.Errorf("start %s: %w", e.title, err)
	}
	log, err := os.Create(p.path(e, "log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", e.title, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.java, e.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.Env = append(os.Environ(), "DDB_LOCAL_TELEMETRY=0")
	// A session of its own: it outlives this program, and Ctrl-C at a test run does not end it under the tests.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", e.title, err)
	}
	// Asked before anybody waits for it: until then even an ended process can be asked for.
	started, err := startTime(cmd.Process.Pid)
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	if err != nil {
		_ = cmd.Process.Kill()
		<-ended
		return nil, p.endedError(e)
	}
	b, err := json.Marshal(record{PID: cmd.Process.Pid, Started: started, Port: e.port})
	if err == nil {
		err = os.WriteFile(p.path(e, "pid"), b, 0o644)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		<-ended
		return nil, fmt.Errorf("record %s's process: %w", e.title, err)
	}
	return ended, nil
}

// await returns when e answers a request of its own protocol.
func (p *pair) await(ctx context.Context, e *emulator, ended <-chan struct{}) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := e.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return p.endedError(e)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer on port %d (%w); the end of its log:\n%s", e.title, e.port, err, tail(p.path(e, "log"), 20))
		case <-tick.C:
		}
	}
}

func (p *pair) endedError(e *emulator) error {
	return fmt.Errorf("%s ended before it answered; the end of its log:\n%s", e.title, tail(p.path(e, "log"), 20))
}

func (e *emulator) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.endpoint(), strings.NewReader("{}"))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", e.target)
	// Neither checks a signature, but DynamoDB Local wants to read an access key.
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20000101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", answer.Status)
	}
	return nil
}

func (p *pair) path(e *emulator, suffix string) string {
	return filepath.Join(p.dir, e.name+"."+suffix)
}

// running reads e's record and says whether that very process still runs.
func (p *pair) running(e *emulator) (record, bool) {
	var r record
	b, err := os.ReadFile(p.path(e, "pid"))
	if err != nil || json.Unmarshal(b, &r) != nil {
		return r, false
	}
	started, err := startTime(r.PID)
	return r, err == nil && started == r.Started
}

// stop ends what start started, and removes all that was written. It may be called at any time, and again.
func (p *pair) stop() error { return p.stopSome(&p.emulators[0], &p.emulators[1]) }

// stopSome ends some of the pair. When none runs any more, it removes all that was written.
func (p *pair) stopSome(some ...*emulator) error {
	var errs []error
	for _, e := range some {
		if r, running := p.running(e); running {
			if err := end(r.PID, func() bool { _, running := p.running(e); return running }); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", e.title, err))
			}
		}
	}
	for i := range p.emulators {
		if _, running := p.running(&p.emulators[i]); running {
			return errors.Join(errs...) // its record is still needed
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		errs = append(errs, fmt.Errorf("remove %s: %w", p.dir, err))
	}
	return errors.Join(errs...)
}

// end asks, waits, and then insists.
func end(pid int, running func() bool) error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
		for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); time.Sleep(poll) {
			if !running() {
				return nil
			}
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// stopOrphans ends the pairs of runs of exec that were killed before they could.
func stopOrphans(home string) int {
	folders, err := os.ReadDir(filepath.Join(home, "run"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("look for left-over emulators: %w", err))
	}
	status := 0
	for _, f := range folders {
		owner, ok := strings.CutPrefix(f.Name(), "exec-")
		pid, err := strconv.Atoi(owner)
		if !ok || err != nil || syscall.Kill(pid, 0) == nil {
			continue // not of exec, or its owner still runs
		}
		if err := instance(home, f.Name(), "", 0, 0).stop(); err != nil {
			status = fail(err)
		}
	}
	return status
}

func (p *pair) status(ctx context.Context) int {
	status := 0
	for i := range p.emulators {
		e := &p.emulators[i]
		r, running := p.running(e)
		if !running {
			fmt.Printf("%-15s not running\n", e.title)
			status = 1
			continue
		}
		e.port = r.Port
		state := "answers"
		if err := e.ask(ctx); err != nil {
			state, status = "does not answer: "+err.Error(), 1
		}
		fmt.Printf("%-15s pid %d, %s, %s\n", e.title, r.PID, e.endpoint(), state)
	}
	return status
}

// startTime identifies a process together with its pid. An ended process that nobody has waited for counts as gone.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		if _, procErr := os.Stat("/proc/self/stat"); procErr == nil {
			return "", err
		}
		out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output() // macOS
		return strings.TrimSpace(string(out)), err
	}
	// The command's name, in parentheses, may hold spaces; the fields after it are numbered from 3 (proc(5)).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const state, starttime = 0, 22 - 3
	if len(fields) <= starttime {
		return "", fmt.Errorf("read process %d: /proc/%d/stat is cut short", pid, pid)
	}
	if fields[state] == "Z" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[starttime], nil
}

//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sleeper starts a harmless process, and records it as that of an emulator.
func sleeper(t *testing.T, p *pair, e *emulator, started string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if started == "" {
		var err error
		if started, err = startTime(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(record{PID: cmd.Process.Pid, Started: started, Port: e.port})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.path(e, "pid"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestStopEndsWhatWasStartedAndNothingElse(t *testing.T) {
	p := instance(t.TempDir(), "up", "java", 1, 2)
	ours := sleeper(t, p, &p.emulators[0], "")
	// The pid is another process's by now: it started at another time.
	other := sleeper(t, p, &p.emulators[1], "1")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := startTime(ours.Process.Pid); err == nil {
		t.Error("the emulator still runs")
	}
	if _, err := startTime(other.Process.Pid); err != nil {
		t.Error("a stranger's process was ended")
	}
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

func TestStopOrphansLeavesRunningOwnersAlone(t *testing.T) {
	home := t.TempDir()
	dead := exec.CommandContext(t.Context(), "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	orphans := instance(home, fmt.Sprintf("exec-%d", dead.Process.Pid), "java", 1, 2)
	orphan := sleeper(t, orphans, &orphans.emulators[0], "")
	owned := instance(home, fmt.Sprintf("exec-%d", os.Getpid()), "java", 3, 4)
	kept := sleeper(t, owned, &owned.emulators[0], "")
	if status := stopOrphans(home); status != 0 {
		t.Errorf("status %d", status)
	}
	if _, err := startTime(orphan.Process.Pid); err == nil {
		t.Error("the orphan still runs")
	}
	if _, err := startTime(kept.Process.Pid); err != nil {
		t.Error("an emulator whose owner runs was ended")
	}
}

func TestStartRefusesAPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	port := l.Addr().(*net.TCPAddr).Port
	p := instance(t.TempDir(), "up", "java", port, 1)
	err = p.start(t.Context())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("port ", port, " is taken")) || !strings.Contains(err.Error(), "-dynamodb-port") {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestAFailedStartEndsWhatItStartedAlone(t *testing.T) {
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().(*net.TCPAddr).Port
	over, cancel := context.WithCancel(t.Context())
	cancel()
	java := script(t, "java", "exec sleep 60")
	for name, c := range map[string]struct {
		ctx    context.Context
		before int // which of the two runs already
		other  int // the port of the other one
		moved  bool
	}{
		"a port is taken":              {t.Context(), 0, taken, false},
		"no answer in time":            {over, 1, ports[0], false},
		"one runs on another port":     {t.Context(), 1, ports[0], true},
		"no answer of what ran before": {over, 0, ports[1], false},
	} {
		t.Run(name, func(t *testing.T) {
			p := instance(t.TempDir(), "up", java, ports[0], ports[1])
			p.emulators[1-c.before].port = c.other
			before := sleeper(t, p, &p.emulators[c.before], "")
			if c.moved {
				p.emulators[c.before].port++
			}
			t.Cleanup(func() { _ = p.stop() })
			if err := p.start(c.ctx); err == nil {
				t.Error("it did not fail")
			}
			if _, err := startTime(before.Process.Pid); err != nil {
				t.Error("the emulator that ran before was ended")
			}
			if _, running := p.running(&p.emulators[c.before]); !running {
				t.Error("its record is gone")
			}
			if r, running := p.running(&p.emulators[1-c.before]); running {
				t.Errorf("process %d, which the failed call started, runs on", r.PID)
			}
		})
	}
}

func TestStartShowsWhyAnEmulatorEnded(t *testing.T) {
	java := script(t, "java", "echo no native library >&2; exit 1")
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	p := instance(t.TempDir(), "up", java, ports[0], ports[1])
	if err := p.start(t.Context()); err == nil || !strings.Contains(err.Error(), "no native library") {
		t.Errorf("got error %v", err)
	}
}

func TestOldOrMissingJavaIsToldApart(t *testing.T) {
	for output, wanted := range map[string]bool{
		`openjdk version "17.0.15" 2025-04-15`: true, `openjdk version "21" 2023-09-19`: true,
		`openjdk version "11.0.2"`: false, `java version "1.8.0_201"`: false, `what?`: false,
	} {
		java := script(t, "java", "echo '"+output+"' >&2")
		t.Setenv("JAVA_HOME", filepath.Dir(filepath.Dir(java)))
		found, err := findJava(t.Context())
		var missing *missingError
		if wanted && (err != nil || found != java) || !wanted && !errors.As(err, &missing) {
			t.Errorf("%s: got %q, %v", output, found, err)
		}
	}
	t.Setenv("JAVA_HOME", t.TempDir())
	var missing *missingError
	if _, err := findJava(t.Context()); !errors.As(err, &missing) {
		t.Errorf("without java: got %v", err)
	}
}

func TestOnlyCIFailsWithoutJava(t *testing.T) {
	for _, c := range []struct {
		ci     string
		err    error
		status int
	}{{"", &missingError{"no Java"}, 0}, {"true", &missingError{"no Java"}, 1}, {"", errors.New("disk full"), 1}} {
		t.Setenv("CI", c.ci)
		if got := withoutJava(c.err); got != c.status {
			t.Errorf("CI=%q, %v: status %d, want %d", c.ci, c.err, got, c.status)
		}
	}
}

func TestLockWaitsForItsHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan func(), 1)
	go func() {
		unlock, err := lock(path)
		if err != nil {
			t.Error(err)
		}
		second <- unlock
	}()
	select {
	case <-second:
		t.Error("two hold the lock")
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	(<-second)()
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"launch"}, {"up", "now"}, {"exec"}, {"up", "-port", "1"}} {
		var said bytes.Buffer
		if status := run(t.Context(), args, &said); status != 2 || !strings.Contains(said.String(), "usage:") {
			t.Errorf("%q: status %d, want 2, and it says %q", args, status, &said)
		}
	}
}

// script makes a program named name in a folder bin.
func script(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bin", name)
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

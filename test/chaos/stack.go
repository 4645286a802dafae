package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mortal is a local stack of its own process that keeps its data in a folder. One goroutine at a time uses it.
type mortal struct {
	program, folder, listen string
	log                     *os.File // takes what every process says
	cmd                     *exec.Cmd
	kills                   int
}

// newMortal builds the stack, and starts it on a port that stays its own.
func newMortal(ctx context.Context, dir string) (*mortal, error) {
	m := &mortal{program: filepath.Join(dir, "localstack"), folder: filepath.Join(dir, "data")}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", m.program, "tributary/localstack").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the stack: %w\n%s", err, out)
	}
	free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	m.listen = free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	if m.log, err = os.Create(filepath.Join(dir, "localstack.log")); err != nil {
		return nil, fmt.Errorf("make the stack's log: %w", err)
	}
	return m, m.start()
}

func (m *mortal) url() string { return "http://" + m.listen }

// start starts the stack and waits until it listens.
func (m *mortal) start() error {
	cmd := exec.Command(m.program, "--listen", m.listen, "--data", m.folder) // not CommandContext: close ends it
	said, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("start the stack: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the stack: %w", err)
	}
	m.cmd = cmd
	lines := bufio.NewReader(said)
	for {
		line, err := lines.ReadString('\n')
		_, _ = m.log.WriteString(line)
		if err != nil {
			return fmt.Errorf("the stack did not start, see %s: %w", m.log.Name(), err)
		}
		if strings.Contains(line, m.url()) {
			go func() { _, _ = io.Copy(m.log, lines) }() // ends with the process
			return nil
		}
	}
}

func (m *mortal) kill() {
	_ = m.cmd.Process.Kill() // it runs until it is killed
	_ = m.cmd.Wait()         // it was killed
}

// shake kills the stack and starts it again, at random, for so long.
func (m *mortal) shake(ctx context.Context, d *rand.Rand, length time.Duration) error {
	for end := time.Now().Add(length); time.Now().Before(end); {
		if !pause(ctx, time.Duration(500+d.IntN(2500))*time.Millisecond) {
			return context.Cause(ctx)
		}
		m.kill()
		m.kills++
		if !pause(ctx, time.Duration(d.IntN(500))*time.Millisecond) {
			return errors.Join(context.Cause(ctx), m.start())
		}
		if err := m.start(); err != nil {
			return err
		}
	}
	return nil
}

func (m *mortal) close() {
	m.kill()
	_ = m.log.Close() // nothing depends on its end
}

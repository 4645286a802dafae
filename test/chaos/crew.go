package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// workers is how many run at once.
const workers = 2

// crew is the workers. One goroutine at a time uses it.
type crew struct {
	rig     *rig
	members [workers]*member
	started int
	kills   int
	stops   int
	freezes int
	frozen  sync.WaitGroup
	exits   int // by themselves, because what they ask for at the start failed
}

// member is one worker process.
type member struct {
	cmd  *exec.Cmd
	log  string // the path of its log
	done chan struct{}
	err  error // of Wait, once done is closed

	wakes time.Time // it is stopped by SIGSTOP until then
}

func newCrew(r *rig) *crew { return &crew{rig: r} }

// ensure starts workers that do not run.
func (c *crew) ensure() error {
	for i, m := range c.members {
		if m != nil && !m.ended() {
			continue
		}
		if m != nil {
			c.exits++
		}
		if c.exits > 200 {
			return fmt.Errorf("workers ended %d times by themselves; the last: %w", c.exits, m.err)
		}
		if err := c.start(i); err != nil {
			return err
		}
	}
	return nil
}

func (c *crew) start(i int) error {
	c.started++
	log, err := os.Create(filepath.Join(c.rig.dir, fmt.Sprintf("worker-%03d.log", c.started)))
	if err != nil {
		return fmt.Errorf("make a worker's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	// Not CommandContext: however this program ends, it is end that ends the workers.
	m := &member{log: log.Name(), cmd: exec.Command(c.rig.worker(), "run", "--role=consume", "--admin-listen=127.0.0.1:0", "--drain-timeout=30s", "--max-in-flight=4000"), done: make(chan struct{})}
	m.cmd.Env, m.cmd.Stdout, m.cmd.Stderr = c.rig.env, log, log
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	go func() {
		m.err = m.cmd.Wait()
		close(m.done)
	}()
	c.members[i] = m
	return nil
}

func (m *member) ended() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// shake kills, stops and restarts workers until the storm's length is over or ctx ends.
func (c *crew) shake(ctx context.Context, d *rand.Rand) error {
	end := time.Now().Add(c.rig.length)
	for time.Now().Before(end) {
		if err := c.ensure(); err != nil {
			return err
		}
		if !pause(ctx, time.Duration(1+d.IntN(4000))*time.Millisecond) {
			return context.Cause(ctx)
		}
		i := d.IntN(workers)
		m := c.members[i]
		if time.Now().Before(m.wakes) {
			continue
		}
		if c.rig.frozen > 0 && c.freezes < maxFreezes && d.IntN(3) == 0 {
			c.freeze(m)
			continue
		}
		if d.IntN(2) == 0 {
			c.kills++
			_ = m.cmd.Process.Kill() // it may have ended by itself
			<-m.done
		} else {
			c.stops++
			if err := c.stop(ctx, m); err != nil {
				return err
			}
		}
		c.members[i] = nil
	}
	c.frozen.Wait()
	return c.ensure()
}

// maxFreezes is how many workers are frozen in a run, one after the other or both at once.
const maxFreezes = 3

// freeze stops a worker by SIGSTOP, in whatever it is doing, and lets it go on later.
func (c *crew) freeze(m *member) {
	c.freezes++
	m.wakes = time.Now().Add(c.rig.frozen)
	_ = m.cmd.Process.Signal(syscall.SIGSTOP) // it may have ended by itself
	c.frozen.Add(1)
	time.AfterFunc(c.rig.frozen, func() {
		defer c.frozen.Done()
		_ = m.cmd.Process.Signal(syscall.SIGCONT)
	})
}

// stop ends a worker by SIGTERM, which must work in the time that it was given.
func (c *crew) stop(ctx context.Context, m *member) error {
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.done:
		return nil
	case <-time.After(35 * time.Second):
		return errors.New("a worker with --drain-timeout=30s has not ended 35 s after SIGTERM")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopAll stops all workers, which must end well.
func (c *crew) stopAll(ctx context.Context) error {
	for i, m := range c.members {
		if m == nil {
			continue
		}
		if err := c.stop(ctx, m); err != nil {
			return err
		}
		if m.err != nil {
			return fmt.Errorf("a worker with nothing left to do ended badly on SIGTERM: %w", m.err)
		}
		c.members[i] = nil
	}
	return nil
}

// end ends the workers that still run.
func (c *crew) end() {
	for _, m := range c.members {
		if m != nil {
			_ = m.cmd.Process.Kill()
			<-m.done
		}
	}
}

// adminURL is the address of a worker's admin server in its start line.
var adminURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// ask gets a page of a worker's admin server.
func (m *member) ask(ctx context.Context, path string) ([]byte, error) {
	log, err := os.ReadFile(m.log)
	if err != nil {
		return nil, fmt.Errorf("read a worker's log: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, string(adminURL.Find(log))+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask a worker: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask a worker: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask a worker for %s: status %d: %w", path, response.StatusCode, err)
	}
	return body, nil
}

// held returns how many messages the workers hold; false: one does not say.
func (c *crew) held(ctx context.Context) (int, bool) {
	sum := 0
	for _, m := range c.members {
		if m == nil || m.ended() {
			continue
		}
		body, err := m.ask(ctx, "/status")
		if err != nil {
			return 0, false
		}
		var status struct {
			Consumer struct {
				Messages *int `json:"messages"`
			} `json:"consumer"`
		}
		if err := json.Unmarshal(body, &status); err != nil || status.Consumer.Messages == nil {
			return 0, false
		}
		sum += *status.Consumer.Messages
	}
	return sum, true
}

// state is what the workers say of themselves, and where their goroutines are.
func (c *crew) state(ctx context.Context) []byte {
	var all []byte
	for _, m := range c.members {
		if m == nil || m.ended() {
			continue
		}
		for _, page := range []string{"/status", "/debug/pprof/goroutine?debug=1"} {
			body, err := m.ask(ctx, page)
			if err != nil {
				body = []byte(err.Error())
			}
			all = append(append(all, body...), '\n')
		}
	}
	return all
}

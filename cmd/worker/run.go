package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"tributary/internal/aws/awsclient"
	"tributary/internal/base/cli"
	"tributary/internal/consumer"
	"tributary/internal/operate/logging"
	"tributary/internal/operate/telemetry"
	"tributary/internal/query"
	"tributary/internal/writer"
)

// workerConnections is how many calls to one host the worker may have under way. Receives, deletes, changes of visibility and writes
// are each at most 64 by default.
const workerConnections = 320

// tombstoneAge is how long the tombstone of a versioned delete stays. An older command can stay on the queue for 14 days, on the
// dead-letter queue for 14 more, and longer if it is redriven between them. The rest is reserve.
const tombstoneAge = 45 * 24 * time.Hour

type runCmd struct {
	names
	query.Config
	Role             string        `enum:"all,consume,query" default:"all" help:"What this process does: all, consume or query (${default})."`
	AdminListen      string        `default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"Address of /metrics, /healthz, /readyz, /status and /debug/pprof (${default}). It has no authentication: restrict access by the network."`
	AdminHosts       []string      `placeholder:"NAME" help:"Public host names that requests to the admin server may use. Addresses and private names, such as localhost, worker and worker.svc, are always allowed."`
	Pprof            bool          `help:"Serve /debug/pprof although --admin-listen is not a loopback address. On loopback it is always served."`
	Writers          int           `default:"64" help:"Maximum of concurrent calls to DynamoDB (${default})."`
	MaxInFlight      int           `default:"${max_in_flight}" help:"Maximum of commands held in memory (${default})."`
	MaxInFlightBytes cli.Size      `default:"${max_in_flight_bytes}" placeholder:"SIZE" help:"Maximum of their bytes (${default})."`
	Linger           time.Duration `default:"5ms" help:"How long a partly filled batch may wait while other batches are in flight (${default})."`
	DrainTimeout     time.Duration `default:"${drain_timeout}" help:"How long stopping may take (${default}). It should be longer than one long poll of 20s. The exit status is 3 if messages were not finished by then."`
	LameDuck         time.Duration `default:"0s" help:"How long to answer queries after the signal to stop, while /readyz already fails (${default}). Set it for load balancers that notice late."`
	RequireVersion   bool          `help:"Dead-letter commands that have no version."`
	MetricsTenants   int           `default:"50" help:"Maximum of tenants with their own metrics (${default})."`
	LogFormat        string        `enum:"text,json" default:"text" help:"Log lines: text or json (${default})."`
	LogLevel         string        `enum:"debug,info,warn,error" default:"info" help:"Lowest level that is logged (${default})."`
}

func (c *runCmd) writerConfig() writer.Config {
	return writer.Config{Writers: c.Writers, Linger: c.Linger, MaxInFlight: c.MaxInFlight, MaxInFlightBytes: int(c.MaxInFlightBytes)}.Defaults()
}

// Validate joins the errors of all flags that the role needs. The parser calls it.
func (c *runCmd) Validate() error {
	if err := c.resolve(); err != nil {
		return err
	}
	settings := consumer.Config{MaxInFlight: c.MaxInFlight, DrainTimeout: c.DrainTimeout}.Defaults()
	var errs []error
	if c.Role != "query" {
		// writer.Config and consumer.Config read 0 as the default. On the command line 0 is an error.
		for _, flag := range []struct {
			name  string
			value int
		}{
			{"writers", c.Writers}, {"max-in-flight", c.MaxInFlight}, {"max-in-flight-bytes", int(c.MaxInFlightBytes)}, {"drain-timeout", int(c.DrainTimeout)},
		} {
			if flag.value == 0 {
				errs = append(errs, fmt.Errorf("--%s is 0: it must be more", flag.name))
			}
		}
		errs = append(errs, c.writerConfig().Validate(), settings.Validate())
	}
	if c.Role != "consume" {
		errs = append(errs, c.Config.Validate())
	}
	if c.LameDuck < 0 {
		errs = append(errs, fmt.Errorf("--lame-duck is %v: it must be 0s or more", c.LameDuck))
	}
	if c.MetricsTenants < 0 {
		errs = append(errs, fmt.Errorf("--metrics-tenants is %d: it must be 0 or more", c.MetricsTenants))
	}
	return errors.Join(errs...)
}

// Run moves commands and answers queries until ctx ends. Then it drains.
func (c *runCmd) Run(ctx context.Context, s *cli.Streams) error {
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	log, err := logging.New(s.Err, logging.Config{Format: c.LogFormat, Level: c.LogLevel})
	if err != nil {
		return cli.Usage("%w", err)
	}
	defer log.Close()
	cfg, err := c.loadAWSFor(ctx, workerConnections)
	if err != nil {
		return err
	}
	c.tuneGC()
	tracing := telemetry.Start(ctx, "tributary-worker", log.Logger, s.Err)
	defer func() {
		if err := tracing.Close(context.WithoutCancel(ctx)); err != nil {
			log.Error("traces are lost", "error", err)
		}
	}()
	tracing.Instrument(&cfg)
	w, err := c.assemble(ctx, types, cfg, log)
	if err != nil {
		return cli.UsageOf[*query.ConfigurationError](awsclient.Explain(err))
	}
	if tracing != nil && w.consumer != nil {
		w.writer.Trace(tracing, c.Table)
		w.consumer.Trace(tracing)
	}
	return w.run(ctx, s)
}

// tuneGC lets the heap grow further between collections than Go does by default, up to memoryLimit. GOGC and GOMEMLIMIT override it.
func (c *runCmd) tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(150)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(c.memoryLimit())
	}
}

// memoryLimit is the memory that the flags allow for. Held commands count twice, because they exist once more while they are decoded
// and sent. Answers to queries count once.
func (c *runCmd) memoryLimit() int64 {
	limit := int64(32 << 20) // the program itself
	if c.Role != "query" {
		limit += 2 * int64(c.MaxInFlightBytes)
	}
	if c.Role != "consume" {
		limit += int64(c.QueryMemory) + 32<<20
	}
	return limit
}

// run runs the parts until ctx ends or a server fails, and drains. The writer and the consumer stop first. The admin server and the
// query API stop last, so that they can report the drain.
func (w *worker) run(ctx context.Context, s *cli.Streams) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	// Start.
	w.agent.Begin(ctx)
	servers := w.startServers(background, fail)
	calls, giveUp := context.WithCancel(background)
	defer giveUp()
	var parts sync.WaitGroup
	var summary consumer.Summary // of the consumer; read after parts.Wait
	if w.consumer != nil {
		parts.Go(func() { w.writer.Run(calls) })
		parts.Go(func() {
			summary = w.consumer.Run(ctx)
			giveUp() // calls that still hang can't settle anything now
			_, _ = fmt.Fprintln(s.Err, "worker:", summary)
		})
	}

	// Drain.
	<-ctx.Done()
	w.vitals.Drain()
	w.exitOnSecondSignal(background, s)
	if w.query != nil && errors.Is(context.Cause(ctx), context.Canceled) { // not if a server has failed
		time.Sleep(w.lameDuck)
	}
	w.draining.Store(true)
	over := time.Now().Add(w.drainTimeout)
	parts.Wait()
	w.stopQueries(background, over)
	stop()
	servers.Wait()

	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	if summary.Unfinished > 0 {
		return &cli.StatusError{Status: cli.StatusPartial, Err: fmt.Errorf("%d messages were not finished within --drain-timeout %v: they come back after the queue's visibility timeout",
			summary.Unfinished, w.drainTimeout)}
	}
	return nil
}

// startServers starts the vitals, the admin server, the query API, and what reads decisions about tenants and keeps their usage. They
// run until ctx ends, which must be after the last write. fail is called if a server ends before.
func (w *worker) startServers(ctx context.Context, fail context.CancelCauseFunc) *sync.WaitGroup {
	var servers sync.WaitGroup
	servers.Go(func() { w.vitals.Run(ctx) })
	servers.Go(func() { w.agent.Run(ctx) })
	servers.Go(func() { w.usage.Run(ctx) })
	servers.Go(func() {
		if err := w.admin.Run(ctx); err != nil {
			fail(err)
		}
	})
	if w.query != nil {
		servers.Go(func() {
			if err := w.query.Serve(ctx, w.listener); err != nil {
				fail(err)
			}
		})
	}
	return &servers
}

// stopQueries waits until the queries under way are answered, but not beyond the deadline.
func (w *worker) stopQueries(ctx context.Context, deadline time.Time) {
	if w.query == nil {
		return
	}
	within, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := w.query.Shutdown(within); err != nil {
		w.log.Warn("queries were cut off", "error", err)
	}
}

// exitOnSecondSignal ends the process when another signal comes before ctx ends.
func (w *worker) exitOnSecondSignal(ctx context.Context, s *cli.Streams) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(again)
		select {
		case <-again:
			if w.consumer != nil {
				_, _ = fmt.Fprintf(s.Err, "worker: stopped by a second signal: %v; %d messages left on the queue until their visibility timeout\n",
					w.consumer.Summary(), w.consumer.Stats().Messages)
			}
			os.Exit(cli.StatusFailed)
		case <-ctx.Done():
		}
	}()
}

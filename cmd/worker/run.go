package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/awsjson"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/base/version"
	"tributary/internal/consumer"
	"tributary/internal/operate/admin"
	"tributary/internal/operate/logging"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/setup"
	"tributary/internal/operate/status"
	"tributary/internal/operate/telemetry"
	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/writer"
)

// workerConnections is how many calls to one host the worker may have under way: receives, deletes, changes of
// visibility and writes, each at most 64 by default.
const workerConnections = 320

type runCmd struct {
	names
	query.Config
	Role             string        `enum:"all,consume,query" default:"all" help:"What this process does: all, consume or query (${default})."`
	AdminListen      string        `default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"Address of /metrics, /healthz, /readyz, /status and /debug/pprof (${default}). Nobody has to authenticate there: let the network decide who may ask."`
	AdminHosts       []string      `placeholder:"NAME" help:"Public names by which the admin server may be asked. Addresses and private names always may, such as localhost, worker and worker.svc."`
	Pprof            bool          `help:"Serve /debug/pprof where --admin-listen is not a loopback address. On loopback it always is."`
	Writers          int           `default:"64" help:"Goroutines that call DynamoDB, at most (${default})."`
	MaxInFlight      int           `default:"${max_in_flight}" help:"Commands held at once (${default})."`
	MaxInFlightBytes cli.Size      `default:"${max_in_flight_bytes}" placeholder:"SIZE" help:"And their bytes (${default})."`
	Linger           time.Duration `default:"5ms" help:"How long a part-filled batch may wait while others are under way (${default})."`
	DrainTimeout     time.Duration `default:"${drain_timeout}" help:"How long stopping may take (${default}; longer than one long poll of 20s). The exit status is 3 where messages were not finished by then."`
	LameDuck         time.Duration `default:"0s" help:"How long to go on answering queries when told to stop, while /readyz says no already: for load balancers that hear of it late (${default})."`
	RequireVersion   bool          `help:"Dead-letter commands that have no version."`
	MetricsTenants   int           `default:"50" help:"Tenants with metrics of their own, at most (${default})."`
	LogFormat        string        `enum:"text,json" default:"text" help:"Log lines: text or json (${default})."`
	LogLevel         string        `enum:"debug,info,warn,error" default:"info" help:"Log from this level on (${default})."`
}

func (c *runCmd) writerConfig() writer.Config {
	return writer.Config{Writers: c.Writers, Linger: c.Linger, MaxInFlight: c.MaxInFlight, MaxInFlightBytes: int(c.MaxInFlightBytes)}.Defaults()
}

// Validate says, joined, all that is wrong with the flags that the role needs. The parser calls it.
func (c *runCmd) Validate() error {
	if err := c.resolve(); err != nil {
		return err
	}
	settings := consumer.Config{MaxInFlight: c.MaxInFlight, DrainTimeout: c.DrainTimeout}.Defaults()
	var errs []error
	if c.Role != "query" {
		// The packages below take 0 for their default; who writes 0 here does not mean that.
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

// Run moves commands and answers queries until ctx ends, and drains.
func (c *runCmd) Run(ctx context.Context, s *cli.Streams) error {
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
	w, err := c.assemble(ctx, cfg, log)
	if err != nil {
		return cli.UsageOf[*query.ConfigurationError](awsclient.Explain(err))
	}
	if tracing != nil && w.consumer != nil {
		w.writer.Trace(tracing, c.Table)
		w.consumer.Trace(tracing)
	}
	return w.run(ctx, s)
}

// tuneGC lets the heap grow further between collections than Go does by itself, up to a limit that follows from what may be held: of
// commands, what is held, once more while it is decoded and sent; of answers to queries, what may be under way; and the program's own.
// GOGC and GOMEMLIMIT override it.
func (c *runCmd) tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(150)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(c.memoryLimit())
	}
}

func (c *runCmd) memoryLimit() int64 {
	limit := int64(32 << 20)
	if c.Role != "query" {
		limit += 2 * int64(c.MaxInFlightBytes)
	}
	if c.Role != "consume" {
		limit += int64(c.QueryMemory) + 32<<20
	}
	return limit
}

// worker is the parts of a running worker. Those that the role leaves out are nil.
type worker struct {
	log      *slog.Logger
	metrics  *metrics.Metrics
	admin    *admin.Server
	vitals   *admin.Vitals
	writer   *writer.Writer
	consumer *consumer.Consumer
	query    *query.Server
	listener net.Listener // of query
	draining atomic.Bool  // queries are turned away

	drainTimeout time.Duration
	lameDuck     time.Duration
}

// assemble checks what the worker depends on and makes its parts. Nothing runs yet.
func (c *runCmd) assemble(ctx context.Context, cfg aws.Config, log *logging.Log) (*worker, error) {
	w := &worker{log: log.Logger, drainTimeout: c.DrainTimeout, lameDuck: c.LameDuck}
	registry := metrics.NewRegistry()
	m := metrics.New(registry, schema.Builtin(), c.MetricsTenants)
	w.metrics = m
	ddb := dynamodb.NewFromConfig(cfg)
	if err := setup.CheckTable(ctx, ddb, c.Table); err != nil {
		return nil, suggestSetup(err)
	}
	vitals := admin.VitalsConfig{
		Log: log.Logger,
		Table: func(ctx context.Context) error {
			_, err := ddb.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &c.Table})
			return err
		},
	}
	if c.Role != "query" {
		client := queues.Client(cfg, c.located())
		queue, err := queues.Read(ctx, client, c.Queue)
		if err != nil {
			return nil, suggestSetup(err)
		}
		letters, err := queues.Read(ctx, client, c.DLQ)
		if err != nil {
			return nil, suggestSetup(err)
		}
		maxReceives := 0
		if policy, err := queue.Redrive(); err == nil && policy != nil {
			maxReceives = policy.MaxReceives()
		}
		settings := consumer.Config{
			QueueName: queues.Name(c.Queue), FIFO: queues.IsFIFO(c.Queue), VisibilityTimeout: queue.VisibilityTimeout(), MaxReceives: maxReceives,
			LetterBytes: letters.MessageBytes(), MaxInFlight: c.MaxInFlight, MaxInFlightBytes: int(c.MaxInFlightBytes), DrainTimeout: c.DrainTimeout,
			RequireVersion: c.RequireVersion,
		}.Defaults()
		if err := settings.Validate(); err != nil {
			return nil, err
		}
		if settings.TightReceives() {
			log.Warn("the queue's redrive policy is tight: a throttled tenant's messages may end on the dead-letter queue",
				"queue", c.Queue, "max_receive_count", maxReceives, "recommended", 100)
		}
		if maxReceives == 0 {
			log.Warn("the queue has no redrive policy: a message that no worker survives would come back for ever", "queue", c.Queue)
		}
		transport := awsclient.Transport(cfg)
		w.writer = writer.New(c.writerConfig(),
			awsjson.NewTable(ddb, transport, schema.Builtin(), c.Table, awsjson.TombstoneAge, m.Request, m.ConsumedUnits.Add), &m.Writer, log.Logger)
		w.consumer = consumer.New(settings,
			awsjson.NewQueue(client, transport, queue.URL, m.Request, func(id string, why error) {
				m.Unreadable.Inc()
				log.Error("message can't be read and is left on the queue", "queue", c.Queue, "message_id", id, "error", why)
			}),
			&awsjson.DeadLetters{Client: client, URL: letters.URL, FIFO: queues.IsFIFO(c.DLQ)}, w.writer, &m.Consumer, log.Logger)
		vitals.Queue = func(ctx context.Context) error {
			return w.gaugeQueue(ctx, client, queue)
		}
		vitals.Letters = func(ctx context.Context) error { return w.gaugeLetters(ctx, client, letters) }
		vitals.Held = func() int { return w.consumer.Stats().Commands }
		vitals.Moved = func() uint64 { return w.writer.Answers() + w.consumer.Answers() }
		vitals.LettersFail = w.consumer.LettersFail
		vitals.Outage = func() bool { return w.writer.Stats().Outage }
	}
	if c.Role != "consume" {
		server, err := query.New(ctx, c.Config, query.Deps{
			DynamoDB: ddb, STS: sts.NewFromConfig(cfg), Table: c.Table, Log: log.Logger, Metrics: registry, Draining: w.draining.Load,
		})
		if err != nil {
			return nil, err
		}
		if w.listener, err = server.Listen(ctx); err != nil {
			return nil, err
		}
		w.query = server
	}
	w.vitals = admin.NewVitals(vitals)
	server, err := admin.New(ctx, admin.Config{
		Listen: c.AdminListen, Hosts: c.AdminHosts, Pprof: c.Pprof, Metrics: registry, Health: w.vitals.Health, Ready: w.vitals.Ready, Log: log.Logger,
		Status: func() any { return c.status(w, log) },
	})
	if err != nil {
		return nil, err
	}
	w.admin = server
	facts := []any{"version", version.String(), "role", c.Role, "table", c.Table, "region", cfg.Region, "admin", "http://" + server.Addr()}
	if w.consumer != nil {
		facts = append(facts, "queue", c.Queue)
	}
	if w.query != nil {
		facts = append(facts, "query", w.listener.Addr().String())
	}
	log.Info("worker starts", facts...)
	return w, nil
}

// run runs the parts until ctx ends. Who is asked about the worker outlives who works.
func (w *worker) run(ctx context.Context, s *cli.Streams) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var others sync.WaitGroup
	others.Go(func() { w.vitals.Run(background) })
	others.Go(func() {
		if err := w.admin.Run(background); err != nil {
			fail(err)
		}
	})
	if w.query != nil { // until the end: while the worker drains, it says so
		others.Go(func() {
			if err := w.query.Serve(background, w.listener); err != nil {
				fail(err)
			}
		})
	}
	var parts sync.WaitGroup
	var summary consumer.Summary // of the consumer; parts.Wait comes before its reading
	if w.consumer != nil {
		calls, giveUp := context.WithCancel(background)
		defer giveUp()
		parts.Go(func() { w.writer.Run(calls) })
		parts.Go(func() {
			summary = w.consumer.Run(ctx)
			giveUp() // of what hangs nothing can be settled any more
			_, _ = fmt.Fprintln(s.Err, "worker:", summary)
		})
	}
	<-ctx.Done()
	w.vitals.Drain()
	w.exitOnSecondSignal(background, s)
	if w.query != nil && errors.Is(context.Cause(ctx), context.Canceled) { // else a server has failed
		time.Sleep(w.lameDuck)
	}
	w.draining.Store(true)
	over := time.Now().Add(w.drainTimeout)
	parts.Wait()
	if w.query != nil {
		within, cancel := context.WithDeadline(background, over)
		if err := w.query.Shutdown(within); err != nil {
			w.log.Warn("queries were cut off", "error", err)
		}
		cancel()
	}
	stop()
	others.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	if summary.Unfinished > 0 {
		return &cli.StatusError{Status: cli.StatusPartial, Err: fmt.Errorf("%d messages were not finished within --drain-timeout %v: they come back after the queue's visibility timeout",
			summary.Unfinished, w.drainTimeout)}
	}
	return nil
}

// exitOnSecondSignal ends the process at once when a signal comes while the worker drains, until ctx ends.
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

// status is what /status shows.
func (c *runCmd) status(w *worker, log *logging.Log) any {
	out := map[string]any{
		"version":       version.String(),
		"configuration": c.shown(),
		"recent_errors": log.Recent(),
	}
	if w.consumer != nil {
		out["tenants"] = w.metrics.Busiest()
		out["consumer"], out["writer"], out["messages"] = w.consumer.Stats(), w.writer.Stats(), w.consumer.Summary()
	}
	return status.Of(out)
}

// shown is the configuration for /status. Of files and of the reader role it says only that they are set: where keys lie helps
// an intruder, and an operator has the command line.
func (c *runCmd) shown() *runCmd {
	shown := *c
	secret := []*string{&shown.TLSCert, &shown.TLSKey, &shown.Auth.Tokens, &shown.ReaderRole}
	for _, s := range secret {
		if *s != "" {
			*s = "[set]"
		}
	}
	shown.Auth.JWKS = slices.Clone(c.Auth.JWKS)
	for i, keys := range shown.Auth.JWKS {
		if !strings.Contains(string(keys), "://") {
			shown.Auth.JWKS[i] = "[set]"
		}
	}
	return &shown
}

// gaugeQueue tells the metrics and the consumer how much is on the queue.
func (w *worker) gaugeQueue(ctx context.Context, client *sqs.Client, queue *queues.Attributes) error {
	depth, err := queues.ReadDepth(ctx, client, queue.Name, queue.URL)
	if err != nil {
		return err
	}
	w.consumer.QueueInFlight(int(depth.InFlight))
	w.metrics.Queue(depth)
	return nil
}

// gaugeLetters tells the metrics how much is on the dead-letter queue.
func (w *worker) gaugeLetters(ctx context.Context, client *sqs.Client, letters *queues.Attributes) error {
	depth, err := queues.ReadDepth(ctx, client, letters.Name, letters.URL)
	if err != nil {
		return err
	}
	w.metrics.DeadLetterQueue(depth)
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/awsjson"
	"tributary/internal/aws/limits"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/base/version"
	"tributary/internal/consumer"
	function "tributary/internal/lambda"
	"tributary/internal/operate/logging"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/setup"
	"tributary/internal/operate/telemetry"
	"tributary/internal/schema"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
	"tributary/internal/tenants/usage"
	"tributary/internal/writer"
)

// runtimeAPI is the variable by which Lambda tells a program where to ask for invocations.
const runtimeAPI = "AWS_LAMBDA_RUNTIME_API"

// arguments returns the command line's arguments. Lambda starts a function of its own runtime as bootstrap, without any.
func arguments() []string {
	if filepath.Base(os.Args[0]) == "bootstrap" && len(os.Args) == 1 && os.Getenv(runtimeAPI) != "" {
		return []string{"lambda"}
	}
	return os.Args[1:]
}

type lambdaCmd struct {
	names
	Writers          int           `default:"64" help:"Maximum of concurrent calls to DynamoDB (${default})."`
	MaxInFlight      int           `default:"${max_in_flight}" help:"Maximum of commands held in memory (${default})."`
	MaxInFlightBytes cli.Size      `default:"${max_in_flight_bytes}" placeholder:"SIZE" help:"Maximum of their bytes (${default})."`
	Linger           time.Duration `default:"5ms" help:"How long a partly filled batch may wait while other batches are in flight (${default})."`
	RequireVersion   bool          `help:"Dead-letter commands that have no version."`
	DeadlineMargin   time.Duration `default:"5s" help:"How long before its deadline an invocation stops (${default}). A write may take half of it. The function's time-out should be at least four times as long."`
	Patience         time.Duration `default:"5s" help:"How long an invocation goes on while none of its messages comes to an end, because of throttling for example (${default}). Then it gives back those that are left."`
	LogLevel         string        `enum:"debug,info,warn,error" default:"info" help:"Lowest level that is logged (${default})."`
}

// Help is what `worker lambda --help` says below the flags' list.
func (*lambdaCmd) Help() string {
	return "AWS Lambda runs this command when the program's name is bootstrap. Its settings are the function's environment variables."
}

func (c *lambdaCmd) settings() function.Config {
	return function.Config{Queue: queues.Name(c.Queue), FIFO: queues.IsFIFO(c.Queue), Margin: c.DeadlineMargin, Patience: c.Patience}
}

func (c *lambdaCmd) writerConfig() writer.Config {
	w := writer.Config{Writers: c.Writers, Linger: c.Linger, MaxInFlight: c.MaxInFlight, MaxInFlightBytes: int(c.MaxInFlightBytes)}
	w.CallTimeout = c.settings().CallTimeout()
	return w.Defaults()
}

// Validate joins the errors of all flags. The parser calls it.
func (c *lambdaCmd) Validate() error {
	if err := c.resolve(); err != nil {
		return err
	}
	if c.Writers == 0 || c.MaxInFlight == 0 || c.MaxInFlightBytes == 0 { // writer.Config reads 0 as the default
		return errors.New("--writers, --max-in-flight and --max-in-flight-bytes must be more than 0")
	}
	return errors.Join(c.settings().Validate(), c.writerConfig().Validate(), consumer.Config{MaxInFlight: c.MaxInFlight}.Defaults().Validate())
}

// Run answers invocations until ctx ends.
func (c *lambdaCmd) Run(ctx context.Context, s *cli.Streams) error {
	if os.Getenv(runtimeAPI) == "" {
		return cli.Usage("%s is not set: AWS Lambda runs this command and sets it; `worker run` is for everywhere else", runtimeAPI)
	}
	lines, err := logging.New(s.Err, logging.Config{Format: "json", Level: c.LogLevel})
	if err != nil {
		return cli.Usage("%w", err)
	}
	defer lines.Close()
	active := &function.Active{}
	log := slog.New(active.Handler(lines.Handler()))
	stdlog.SetFlags(0) // aws-lambda-go logs a failed invocation as a line of JSON
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	cfg, err := c.loadAWSFor(ctx, workerConnections)
	if err != nil {
		return err
	}
	c.tuneGC()
	tracing := telemetry.Start(ctx, "tributary-lambda", log, s.Err)
	defer func() { _ = tracing.Close(context.WithoutCancel(ctx)) }()
	tracing.Instrument(&cfg)

	e := &environment{cmd: c, types: types, aws: cfg, log: log, tracing: tracing, over: ctx, stopped: make(chan struct{})}
	f := function.New(c.settings(), e.start, s.Out, active, log)
	if _, err := f.Prepare(ctx); err != nil {
		log.Error("the function can't work yet; its first invocation tries again", "error", err)
	}
	log.Info("function starts", "version", version.String(), "queue", c.Queue, "table", c.Table, "region", cfg.Region, "concurrency", lambdacontext.MaxConcurrency())
	go lambda.StartWithOptions(f) // ends with the process
	<-ctx.Done()
	e.stop()
	return nil
}

// tuneGC keeps the heap within the function's memory. GOMEMLIMIT overrides it.
func (c *lambdaCmd) tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(150)
	}
	mib, err := strconv.Atoi(os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if err == nil && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(mib) << 20 / 10 * 8)
	}
}

// environment is the engine of one Lambda environment. It starts once and serves all invocations. Function calls start, under its
// mutex, until it succeeds; stop is called when no invocation begins any more.
type environment struct {
	cmd     *lambdaCmd
	types   *schema.Set
	aws     aws.Config
	log     *slog.Logger
	tracing *telemetry.Tracing
	over    context.Context // ends with the process
	source  *function.Source
	stopped chan struct{} // closed when the engine has ended
}

// start checks what the function depends on and starts the engine.
func (e *environment) start(ctx context.Context) (*function.Parts, error) {
	c, tables := e.cmd, dynamodb.NewFromConfig(e.aws)
	client := queues.Client(e.aws, c.located())
	var queue, letters *queues.Attributes
	var w *writer.Writer          // nil until the checks have passed
	var engine *consumer.Consumer // likewise
	agent := control.NewAgent(control.AgentConfig{
		API: tables, Table: c.Table, Role: "lambda", Version: version.String(), Types: e.types.Fingerprint, Log: e.log,
		Obey: func(rules *tenants.Rules) {
			if w != nil {
				w.Obey(rules)
			}
		},
		Confirmed: func() int64 { return min(w.Confirmed(), engine.Confirmed()) },
		Held:      func() int { return engine.Stats().Commands },
	})
	checks, within := errgroup.WithContext(ctx)
	checks.Go(func() error { agent.Begin(ctx); return nil })
	checks.Go(func() error { return setup.CheckTable(within, tables, c.Table, e.types) })
	checks.Go(func() (err error) { queue, err = queues.Read(within, client, c.Queue); return err })
	checks.Go(func() (err error) { letters, err = queues.Read(within, client, c.DLQ); return err })
	if err := checks.Wait(); err != nil {
		return nil, awsclient.Explain(suggestSetup(err))
	}
	types := e.types
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, types, 0)
	transport, times := awsclient.Transport(e.aws), c.settings()
	// No message is unreadable here: the function itself reads the event.
	sqs := awsjson.NewQueue(client, transport, queue.URL, m.Request, func(string, error) {})
	source := function.NewSource(sqs, times.SendTimeout())
	settings, err := c.consumerConfig(types, queue, letters)
	if err != nil {
		return nil, err
	}
	settings.Ended = source.Ended
	meter := &usage.Meter{}
	settings.Rules, settings.Meter = agent.Rules, meter
	writing := c.writerConfig()
	writing.Types, writing.Meter = types, meter
	w = writer.New(writing, awsjson.NewTable(tables, transport, types, c.Table, tombstoneAge, m.Request, m.ConsumedUnits.Add), &m.Writer, e.log)
	dlq := &awsjson.DeadLetters{Client: client, URL: letters.URL, FIFO: queues.IsFIFO(c.DLQ)}
	w.Obey(agent.Rules())
	engine = consumer.New(settings, source, function.Letters{DeadLetterQueue: dlq, Patience: times.SendTimeout()}, w, &m.Consumer, e.log)
	parts := &function.Parts{Source: source, Engine: engine, Counts: func() function.Counts { return function.CountsOf(m) }}
	keep := c.keeping(usage.NewKeeper(tables, c.Table, meter, registry, e.log))
	parts.Ends = keep
	parts.Begins = func(ctx context.Context) {
		keep(ctx)
		within, cancel := context.WithTimeout(ctx, times.SendTimeout())
		defer cancel()
		agent.Wake(within)
	}
	if e.tracing != nil {
		w.Trace(e.tracing, c.Table)
		engine.Trace(e.tracing)
		parts.Flush = func(ctx context.Context) {
			if err := e.tracing.Flush(ctx); err != nil {
				e.log.Warn("traces are lost", "error", err)
			}
		}
	}
	e.source = source
	go func() {
		defer close(e.stopped)
		go w.Run(context.WithoutCancel(e.over)) // ends when the consumer closes the writer
		obeying, end := context.WithCancel(context.WithoutCancel(e.over))
		left := make(chan struct{})
		go func() { agent.Run(obeying); close(left) }()
		summary := engine.Run(e.over)
		end()
		<-left
		e.log.Info("function ends", "summary", summary)
	}()
	return parts, nil
}

// keeping returns a function that keeps what tenants have used, when it is due. One invocation at a time does it, and the others go on.
func (c *lambdaCmd) keeping(keeper *usage.Keeper) func(context.Context) {
	var mu sync.Mutex
	return func(ctx context.Context) {
		if !mu.TryLock() {
			return
		}
		defer mu.Unlock()
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.settings().SendTimeout())
		defer cancel()
		keeper.KeepDue(within)
	}
}

// stop ends the engine. Between two invocations it holds nothing.
func (e *environment) stop() {
	if e.source != nil {
		e.source.Close()
		<-e.stopped
	}
}

// consumerConfig is the consumer's configuration. No message of an invocation is held long enough to be extended, so the timeout
// is the longest.
func (c *lambdaCmd) consumerConfig(types *schema.Set, queue, letters *queues.Attributes) (consumer.Config, error) {
	maxReceives := 0
	if policy, err := queue.Redrive(); err == nil && policy != nil {
		maxReceives = policy.MaxReceives()
	}
	settings := consumer.Config{
		QueueName: queue.Name, FIFO: queues.IsFIFO(c.Queue), VisibilityTimeout: limits.SQSMaxVisibility, MaxReceives: maxReceives,
		LetterBytes: letters.MessageBytes(), MaxInFlight: c.MaxInFlight, MaxInFlightBytes: int(c.MaxInFlightBytes), DrainTimeout: time.Second,
		RequireVersion: c.RequireVersion, Types: types,
	}.Defaults()
	if err := settings.Validate(); err != nil {
		return settings, fmt.Errorf("configure the consumer: %w", err)
	}
	return settings, nil
}

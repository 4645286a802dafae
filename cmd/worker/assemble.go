package main

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/awsjson"
	"tributary/internal/aws/queues"
	"tributary/internal/base/version"
	"tributary/internal/consumer"
	"tributary/internal/operate/admin"
	"tributary/internal/operate/logging"
	"tributary/internal/operate/metrics"
	"tributary/internal/operate/setup"
	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
	"tributary/internal/tenants/usage"
	"tributary/internal/writer"
)

// worker is the parts of a running worker. A part that the role leaves out is nil.
type worker struct {
	log      *slog.Logger
	metrics  *metrics.Metrics
	admin    *admin.Server
	vitals   *admin.Vitals
	writer   *writer.Writer
	consumer *consumer.Consumer
	query    *query.Server
	agent    *control.Agent
	usage    *usage.Keeper
	listener net.Listener // of query
	draining atomic.Bool  // the query API turns requests away

	drainTimeout time.Duration
	lameDuck     time.Duration
}

// assemble checks what the worker depends on and makes its parts: those of the consuming role, those of the query role, and then
// those that observe them. Nothing runs yet.
func (c *runCmd) assemble(ctx context.Context, types *schema.Set, cfg aws.Config, log *logging.Log) (*worker, error) {
	registry := metrics.NewRegistry(types)
	w := &worker{log: log.Logger, metrics: metrics.New(registry, types, c.MetricsTenants), drainTimeout: c.DrainTimeout, lameDuck: c.LameDuck}
	ddb := dynamodb.NewFromConfig(cfg)
	if err := setup.CheckTable(ctx, ddb, c.Table, types); err != nil {
		return nil, suggestSetup(err)
	}
	meter := &usage.Meter{}
	w.usage = usage.NewKeeper(ddb, c.Table, meter, registry, log.Logger)
	w.agent = c.newAgent(w, types, ddb)
	w.agent.Register(registry)
	vitals := admin.VitalsConfig{
		Log:   log.Logger,
		Table: func(ctx context.Context) error { return setup.Reach(ctx, ddb, c.Table) },
	}
	if c.Role != "query" {
		if err := c.assembleConsumer(ctx, w, types, meter, cfg, ddb, &vitals); err != nil {
			return nil, err
		}
	}
	if c.Role != "consume" {
		if err := c.assembleQuery(ctx, w, types, meter, cfg, ddb, registry); err != nil {
			return nil, err
		}
	}
	w.vitals = admin.NewVitals(vitals)
	server, err := admin.New(ctx, admin.Config{
		Listen: c.AdminListen, Hosts: c.AdminHosts, Pprof: c.Pprof, Metrics: registry, Health: w.vitals.Health, Ready: w.vitals.Ready, Log: log.Logger,
		Status: func() any { return c.status(w, types, log) },
	})
	if err != nil {
		return nil, err
	}
	w.admin = server
	c.announce(w, types, cfg.Region)
	return w, nil
}

// newAgent makes the agent by which the worker obeys what operators decide about tenants. It may be made before the parts that obey.
func (c *runCmd) newAgent(w *worker, types *schema.Set, ddb *dynamodb.Client) *control.Agent {
	cfg := control.AgentConfig{
		API: ddb, Table: c.Table, Role: c.Role, Version: version.String(), Types: types.Fingerprint, Log: w.log,
	}
	if c.Role != "query" {
		cfg.Obey = func(rules *tenants.Rules) { w.writer.Obey(rules) }
		cfg.Confirmed = func() int64 { return min(w.writer.Confirmed(), w.consumer.Confirmed()) }
		cfg.Held = func() int { return w.consumer.Stats().Commands }
	}
	return control.NewAgent(cfg)
}

// assembleConsumer makes the writer and the consumer, and adds what vitals observe of them.
func (c *runCmd) assembleConsumer(ctx context.Context, w *worker, types *schema.Set, meter tenants.Meter, cfg aws.Config, ddb *dynamodb.Client, vitals *admin.VitalsConfig) error {
	client := queues.Client(cfg, c.located())
	queue, err := queues.Read(ctx, client, c.Queue)
	if err != nil {
		return suggestSetup(err)
	}
	letters, err := queues.Read(ctx, client, c.DLQ)
	if err != nil {
		return suggestSetup(err)
	}
	settings, err := c.consumerConfig(types, queue, letters)
	if err != nil {
		return err
	}
	settings.Rules, settings.Meter = w.agent.Rules, meter
	writing := c.writerConfig()
	writing.Types, writing.Meter = types, meter
	if settings.TightReceives() {
		w.log.Warn("the queue's redrive policy is tight: a throttled tenant's messages may end on the dead-letter queue",
			"queue", c.Queue, "max_receive_count", settings.MaxReceives, "recommended", setup.MaxReceiveCount)
	}
	if settings.MaxReceives == 0 {
		w.log.Warn("the queue has no redrive policy: a message that crashes every worker would come back until it expires", "queue", c.Queue)
	}
	m, transport := w.metrics, awsclient.Transport(cfg)
	retention, _ := queue.Seconds(sqstypes.QueueAttributeNameMessageRetentionPeriod)
	m.Retention.Set(retention.Seconds())
	unreadable := func(id string, why error) {
		m.Unreadable.Inc()
		w.log.Error("message can't be read and is left on the queue", "queue", c.Queue, "message_id", id, "error", why)
	}
	w.writer = writer.New(writing,
		awsjson.NewTable(ddb, transport, types, c.Table, tombstoneAge, m.Request, m.ConsumedUnits.Add), &m.Writer, w.log)
	w.consumer = consumer.New(settings,
		awsjson.NewQueue(client, transport, queue.URL, m.Request, unreadable),
		&awsjson.DeadLetters{Client: client, URL: letters.URL, FIFO: queues.IsFIFO(c.DLQ)}, w.writer, &m.Consumer, w.log)
	vitals.Queue = func(ctx context.Context) error { return w.gaugeQueue(ctx, client, queue) }
	vitals.Letters = func(ctx context.Context) error { return w.gaugeLetters(ctx, client, letters) }
	vitals.Held = func() int { return w.consumer.Stats().Commands }
	vitals.Moved = func() uint64 { return w.writer.AnsweredCalls() + w.consumer.AnsweredCalls() }
	vitals.LettersFail = w.consumer.LettersFail
	vitals.Outage = func() bool { return w.writer.Stats().Outage }
	return nil
}

// consumerConfig is the consumer's configuration: the flags, and what the queues' attributes say.
func (c *runCmd) consumerConfig(types *schema.Set, queue, letters *queues.Attributes) (consumer.Config, error) {
	maxReceives := 0
	if policy, err := queue.Redrive(); err == nil && policy != nil {
		maxReceives = policy.MaxReceives()
	}
	settings := consumer.Config{
		QueueName: queue.Name, FIFO: queues.IsFIFO(c.Queue), VisibilityTimeout: queue.VisibilityTimeout(), MaxReceives: maxReceives,
		LetterBytes: letters.MessageBytes(), MaxInFlight: c.MaxInFlight, MaxInFlightBytes: int(c.MaxInFlightBytes), DrainTimeout: c.DrainTimeout,
		RequireVersion: c.RequireVersion, Types: types,
	}.Defaults()
	return settings, settings.Validate()
}

// assembleQuery makes the query API and opens its address.
func (c *runCmd) assembleQuery(ctx context.Context, w *worker, types *schema.Set, meter tenants.Meter, cfg aws.Config, ddb *dynamodb.Client, registry *prometheus.Registry) error {
	server, err := query.New(ctx, c.Config, query.Deps{
		DynamoDB: ddb, STS: sts.NewFromConfig(cfg), Table: c.Table, Types: types, Log: w.log, Metrics: registry, Draining: w.draining.Load,
		Rules: w.agent.Rules, Meter: meter,
	})
	if err != nil {
		return err
	}
	w.query = server
	w.listener, err = server.Listen(ctx)
	return err
}

// announce logs what starts.
func (c *runCmd) announce(w *worker, types *schema.Set, region string) {
	facts := []any{"version", version.String(), "role", c.Role, "table", c.Table, "region", region, "admin", "http://" + w.admin.Addr(),
		"types", types.Fingerprint}
	if c.Types != "" {
		facts = append(facts, "types_file", c.Types)
	}
	if w.consumer != nil {
		facts = append(facts, "queue", c.Queue)
	}
	if w.query != nil {
		facts = append(facts, "query", w.listener.Addr().String())
	}
	w.log.Info("worker starts", facts...)
}

// gaugeQueue reports the depth of the queue to the metrics and to the consumer.
func (w *worker) gaugeQueue(ctx context.Context, client *sqs.Client, queue *queues.Attributes) error {
	depth, err := queues.ReadDepth(ctx, client, queue.Name, queue.URL)
	if err != nil {
		return err
	}
	w.consumer.QueueInFlight(int(depth.InFlight))
	w.metrics.Queue(depth)
	return nil
}

// gaugeLetters reports the depth of the dead-letter queue to the metrics.
func (w *worker) gaugeLetters(ctx context.Context, client *sqs.Client, letters *queues.Attributes) error {
	depth, err := queues.ReadDepth(ctx, client, letters.Name, letters.URL)
	if err != nil {
		return err
	}
	w.metrics.DeadLetterQueue(depth)
	return nil
}

// Package metrics declares the metrics of the worker. docs/metrics.md explains each name.
package metrics

import (
	"cmp"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tributary/internal/aws/queues"
	"tributary/internal/base/version"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// Metrics are all of the worker's metrics.
type Metrics struct {
	Writer
	Consumer
	AWS
}

// Writer are the metrics of the way into the table.
type Writer struct {
	BatchCommands prometheus.Histogram
	Unprocessed   prometheus.Counter
	ConsumedUnits prometheus.Counter
	Refusing      prometheus.Gauge
	throttled     *top
	limited       *top
}

// TenantThrottled counts a refusal of a tenant's writes.
func (m *Writer) TenantThrottled(tenant string) { m.throttled.add(tenant, "", 1) }

// TenantLimited counts that a tenant has used up its limit.
func (m *Writer) TenantLimited(tenant string) { m.limited.add(tenant, "", 1) }

// Consumer are the metrics of the way from the queue.
type Consumer struct {
	Received        prometheus.Counter
	Unreadable      prometheus.Counter
	Settled         *prometheus.CounterVec // outcome
	Commands        *prometheus.CounterVec // type, outcome
	DeadLetters     *prometheus.CounterVec // reason
	Overflowed      prometheus.Counter
	LettersFailed   *prometheus.CounterVec // outcome
	CommandDuration prometheus.Histogram
	OldestAge       prometheus.Gauge
	SuspendedAge    prometheus.Gauge
	Retention       prometheus.Gauge
	InFlight        prometheus.Gauge
	InFlightBytes   prometheus.Gauge
	Pollers         prometheus.Gauge
	QueueMessages   *prometheus.GaugeVec // state
	commands        *top
}

// TenantCommands counts n commands of a tenant that came to an outcome. It keeps no reference to tenant, and costs
// little: BenchmarkTenantCommands.
func (m *Consumer) TenantCommands(tenant, outcome string, n int) {
	m.commands.add(tenant, outcome, float64(n))
}

// Queue tells how much the queue holds.
func (m *Consumer) Queue(d queues.Depth) {
	m.QueueMessages.WithLabelValues("visible").Set(float64(d.Visible))
	m.QueueMessages.WithLabelValues("in_flight").Set(float64(d.InFlight))
}

// DeadLetterQueue tells how much the dead-letter queue holds.
func (m *Consumer) DeadLetterQueue(d queues.Depth) {
	m.QueueMessages.WithLabelValues("dead_lettered").Set(float64(d.Visible + d.InFlight))
}

// AWS are the metrics of calls to AWS.
type AWS struct {
	RequestDuration *prometheus.HistogramVec // service, operation, outcome
}

// Request observes one call.
func (m *AWS) Request(service, operation, outcome string, took time.Duration) {
	m.RequestDuration.WithLabelValues(service, operation, outcome).Observe(took.Seconds())
}

// The values of the labels outcome and state, so that their series are there, at zero, before anything happened: the
// first dead letter is then an increase that an alert sees.
var (
	settledOutcomes = []string{"deleted", "handed_back", "left"}
	commandOutcomes = []string{"written", "superseded", "stale", "dead_lettered", "handed_back", "erased"}
	reasons         = []messages.Reason{
		messages.ReasonMalformed, messages.ReasonEmpty, messages.ReasonNotACommand, messages.ReasonUnknownType, messages.ReasonUnknownField,
		messages.ReasonDuplicateField, messages.ReasonMissingField, messages.ReasonInvalidField, messages.ReasonTooLarge,
		messages.ReasonTenantMismatch, messages.ReasonVersionRequired, messages.ReasonRefused, messages.ReasonTenantSuspended,
	}
)

// What becomes of a dead letter that was not accepted.
const (
	LetterRetried = "retried"  // it is sent again
	LetterGivenUp = "given_up" // its message is left to the queue's redrive policy
)

// NewRegistry makes a registry that holds the metrics of the Go runtime, of the process and of the build, with the fingerprint of the
// types that the worker has.
func NewRegistry(types *schema.Set) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(types),
	)
	return reg
}

func buildInfo(types *schema.Set) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tributary_build_info", Help: "Always 1; the labels say which build runs, and with which types.",
		ConstLabels: prometheus.Labels{"version": version.String(), "goversion": runtime.Version(), "types": types.Fingerprint},
	}, func() float64 { return 1 })
}

// New registers all metrics with reg. The label type has the names of the commands of types. maxTenants bounds the values of the label tenant, _other not counted.
func New(reg prometheus.Registerer, types *schema.Set, maxTenants int) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		Writer: Writer{
			BatchCommands: f.NewHistogram(Histogram("tributary_batch_commands",
				"Commands in a BatchWriteItem call.", 1, 2, 5, 10, 15, 20, 24, 25)),
			Unprocessed: f.NewCounter(prometheus.CounterOpts{
				Name: "tributary_unprocessed_items_total", Help: "Writes that BatchWriteItem left over."}),
			ConsumedUnits: f.NewCounter(prometheus.CounterOpts{
				Name: "tributary_consumed_capacity_units_total", Help: "Write units consumed, by the sizes of the items written."}),
			Refusing: f.NewGauge(prometheus.GaugeOpts{
				Name: "tributary_table_refuses_writes", Help: "1 while DynamoDB refuses even a write that is known to be good, and all writes are held; 0 otherwise."}),
			throttled: newTop(prometheus.NewDesc("tributary_tenant_throttled_total",
				"Refusals of a tenant's writes; _other is the tenants without a label of their own.",
				[]string{"tenant"}, nil), maxTenants, false),
			limited: newTop(prometheus.NewDesc("tributary_tenant_limited_total",
				"Times that a tenant had used up its limit of write units and paused; _other is the tenants without a label of their own.",
				[]string{"tenant"}, nil), maxTenants, false),
		},
		Consumer: Consumer{
			Received: f.NewCounter(prometheus.CounterOpts{
				Name: "tributary_messages_received_total", Help: "Messages received."}),
			Unreadable: f.NewCounter(prometheus.CounterOpts{
				Name: "tributary_unreadable_messages_total", Help: "Messages that came damaged and were left on the queue."}),
			Settled: f.NewCounterVec(prometheus.CounterOpts{
				Name: "tributary_messages_settled_total", Help: "Messages done with, by what became of them."}, []string{"outcome"}),
			Commands: f.NewCounterVec(prometheus.CounterOpts{
				Name: "tributary_commands_total", Help: "Commands done with, by type and by what became of them."}, []string{"type", "outcome"}),
			DeadLetters: f.NewCounterVec(prometheus.CounterOpts{
				Name: "tributary_dead_letters_total", Help: "Dead letters sent, by reason."}, []string{"reason"}),
			Overflowed: f.NewCounter(prometheus.CounterOpts{
				Name: "tributary_suspended_overflow_total", Help: "Messages of suspended tenants that were dead-lettered because too many messages were delayed."}),
			LettersFailed: f.NewCounterVec(prometheus.CounterOpts{
				Name: "tributary_dead_letters_failed_total", Help: "Dead letters that were not accepted, by what becomes of them."}, []string{"outcome"}),
			CommandDuration: f.NewHistogram(Histogram("tributary_command_duration_seconds",
				"Time from a message's being sent to its commands' being durable.",
				.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)),
			OldestAge: f.NewGauge(prometheus.GaugeOpts{
				Name: "tributary_oldest_message_age_seconds", Help: "Age of the oldest message of those received last, without those of suspended tenants."}),
			SuspendedAge: f.NewGauge(prometheus.GaugeOpts{
				Name: "tributary_suspended_message_age_seconds", Help: "Age of the oldest message of suspended tenants of those received last."}),
			Retention: f.NewGauge(prometheus.GaugeOpts{
				Name: "tributary_queue_retention_seconds", Help: "How long the queue keeps messages, as it was when the worker started."}),
			InFlight: f.NewGauge(prometheus.GaugeOpts{
				Name: "tributary_in_flight_commands", Help: "Commands held."}),
			InFlightBytes: f.NewGauge(prometheus.GaugeOpts{
				Name: "tributary_in_flight_bytes", Help: "Bytes of the commands held."}),
			Pollers: f.NewGauge(prometheus.GaugeOpts{
				Name: "tributary_pollers", Help: "Pollers that receive from the queue."}),
			QueueMessages: f.NewGaugeVec(prometheus.GaugeOpts{
				Name: "tributary_queue_messages", Help: "Messages on the queue and the dead-letter queue, as SQS estimates them."}, []string{"state"}),
			commands: newTop(prometheus.NewDesc("tributary_tenant_commands_total",
				"Commands done with, by tenant and by what became of them; _other is the tenants without a label of their own.",
				[]string{"tenant", "outcome"}, nil), maxTenants, true),
		},
		AWS: AWS{
			RequestDuration: f.NewHistogramVec(Histogram("tributary_aws_request_duration_seconds",
				"Duration of calls to AWS.",
				.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25), []string{"service", "operation", "outcome"}),
		},
	}
	reg.MustRegister(m.throttled, m.limited, m.commands)
	m.throttled.others.add("", 0)
	m.limited.others.add("", 0)
	for _, o := range settledOutcomes {
		m.Settled.WithLabelValues(o)
	}
	for _, o := range commandOutcomes {
		m.commands.others.add(o, 0)
		for _, name := range types.CommandNames() {
			m.Commands.WithLabelValues(name, o)
		}
	}
	for _, o := range []string{LetterRetried, LetterGivenUp} {
		m.LettersFailed.WithLabelValues(o)
	}
	for _, r := range reasons {
		m.DeadLetters.WithLabelValues(string(r))
	}
	return m
}

// Histogram are the options of every histogram here: classic buckets for every Prometheus, and native ones, within
// 10 %, for those that scrape them.
func Histogram(name, help string, buckets ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

// Tenant is the activity of one tenant, for /status.
type Tenant struct {
	Tenant             string  `json:"tenant"` // _other is all that are not listed
	CommandsPerSecond  float64 `json:"commands_per_second"`
	ThrottledPerSecond float64 `json:"throttled_per_second,omitempty"`
}

// Busiest lists the tenants that have labels, the busiest first, with their rates over the last minute or more.
func (m *Metrics) Busiest() []Tenant {
	now := time.Now()
	commands, throttled := m.commands.rates(now), m.throttled.rates(now)
	all := make([]Tenant, 0, len(commands))
	for id, rate := range commands {
		all = append(all, Tenant{Tenant: id, CommandsPerSecond: rate, ThrottledPerSecond: throttled[id]})
	}
	for id, rate := range throttled {
		if _, listed := commands[id]; !listed {
			all = append(all, Tenant{Tenant: id, ThrottledPerSecond: rate})
		}
	}
	slices.SortFunc(all, func(a, b Tenant) int {
		return cmp.Or(cmp.Compare(b.CommandsPerSecond, a.CommandsPerSecond), cmp.Compare(b.ThrottledPerSecond, a.ThrottledPerSecond), cmp.Compare(a.Tenant, b.Tenant))
	})
	return all
}

// Package telemetry traces commands by OpenTelemetry, from the producer through the queue to the table. Everything
// is set by the standard OTEL_* variables; while they are not set there is no Tracing, and a nil *Tracing does nothing
// and costs nothing.
//
// The spans of a message: the producer's `create` (PRODUCER), whose context travels in the message attributes
// traceparent and tracestate, and its child, the worker's `process` (CONSUMER), from the receive to the moment at
// which the message is settled. A batch has commands of many messages and can be the child of none: its span
// (CLIENT) begins a trace of its own and links to the `process` spans of all of its messages that are sampled.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	api "go.opentelemetry.io/otel/trace"

	"tributary/internal/base/version"
)

// Tracing makes spans and sends them. A nil Tracing is off: all of its methods may be called and do nothing.
type Tracing struct {
	provider *trace.TracerProvider
	tracer   api.Tracer // samples by OTEL_TRACES_SAMPLER
	// batches always samples: a batch has a span when one of its messages has one, and no parent to take that from.
	batches api.Tracer
}

// closePatience is how long sending the last spans may take.
const closePatience = 5 * time.Second

var propagator = propagation.TraceContext{}

// maxAttributeBytes bounds the text of an attribute, because senders choose some of it.
const maxAttributeBytes = 1024

// Start sets tracing up, or returns nil if the environment does not enable it. Service is the program's name
// unless OTEL_SERVICE_NAME has another. Console receives the spans of OTEL_TRACES_EXPORTER=console. A setting that can't
// work is a warning in log: a program without traces still does its job.
func Start(ctx context.Context, service string, log *slog.Logger, console io.Writer) *Tracing {
	// The SDK reports later problems, such as a failed export, to one handler of the process. It reports variables that it can't
	// read to one logger.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("tracing failed", "error", err) }))
	otel.SetLogger(logr.FromSlogHandler(log.With("variables", "OTEL_*").Handler()))
	exporters := newExporters(ctx, log, console)
	if len(exporters) == 0 {
		return nil
	}
	host, _ := os.Hostname() // a trace without its host is still a trace
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version.String()), semconv.HostName(host)),
		resource.WithFromEnv())
	if err != nil { // about holds the rest
		log.Warn("traces lack attributes: OTEL_RESOURCE_ATTRIBUTES is partly unreadable", "error", err)
	}
	limits := trace.NewSpanLimits() // OTEL_SPAN_*_LIMIT
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = maxAttributeBytes
	}
	options := []trace.TracerProviderOption{trace.WithResource(about), trace.WithRawSpanLimits(limits)}
	for _, e := range exporters {
		options = append(options, trace.WithSpanProcessor(trace.NewBatchSpanProcessor(e))) // OTEL_BSP_*
	}
	const scope = "tributary/internal/operate/telemetry"
	scoped := api.WithInstrumentationVersion(version.String())
	provider := trace.NewTracerProvider(options...)
	always := trace.NewTracerProvider(append(options, trace.WithSampler(trace.AlwaysSample()))...)
	return &Tracing{provider: provider, tracer: provider.Tracer(scope, scoped), batches: always.Tracer(scope, scoped)}
}

// Close sends the spans that are still to be sent. It waits some seconds at most, whatever ctx says, so that a
// program that was told to stop doesn't lose its last spans.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send last spans: %w", err)
	}
	return nil
}

// Span is a span under way. The zero Span does nothing.
type Span struct{ span api.Span }

// Recorded says whether the span will be sent.
func (s Span) Recorded() bool { return s.span != nil }

// Command begins the span of one command line. Only commands that send a handful of messages should have one: what
// is sent under it is one trace.
func (t *Tracing) Command(ctx context.Context, name string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, recorded(span)
}

// Fail marks the span as failed with a stable code, such as AWS's error code; "" is no failure.
func (s Span) Fail(code string) {
	if s.span != nil && code != "" {
		fail(s.span, code)
	}
}

// End ends the span.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}

// Injector returns what publish.Config.Trace wants: a function that begins and ends the `create` span of a message
// for the queue and returns its context. Without a span in ctx each message is the root of a trace of its own. It
// is nil when tracing is off.
func (t *Tracing) Injector(queue string) func(context.Context) (traceparent, tracestate string) {
	if t == nil {
		return nil
	}
	options := []api.SpanStartOption{
		api.WithSpanKind(api.SpanKindProducer),
		api.WithAttributes(append(destination(queue),
			semconv.MessagingOperationTypeCreate, semconv.MessagingOperationName("create"))...),
	}
	name := "create " + queue
	return func(ctx context.Context) (string, string) {
		ctx, span := t.tracer.Start(ctx, name, options...)
		span.End()
		carrier := propagation.MapCarrier{}
		propagator.Inject(ctx, carrier)
		return carrier["traceparent"], carrier["tracestate"]
	}
}

// Message is what a `process` span tells of a message.
type Message struct {
	Queue       string // its name
	ID          string
	Tenant      string
	Commands    int
	Bytes       int
	Receives    int
	ReceivedAt  time.Time
	TraceParent string // W3C trace context
	TraceState  string
	XRay        string // the system attribute AWSTraceHeader, used where there is no W3C context
}

// Process begins the span that covers the processing of a message, in the trace of its sender. It is recorded if the span of the
// sender was. Without such a span OTEL_TRACES_SAMPLER decides.
func (t *Tracing) Process(m *Message) Span {
	if t == nil {
		return Span{}
	}
	ctx := context.Background()
	if m.TraceParent != "" {
		ctx = propagator.Extract(ctx, propagation.MapCarrier{"traceparent": m.TraceParent, "tracestate": m.TraceState})
	} else if m.XRay != "" {
		ctx = fromXRay(ctx, m.XRay)
	}
	_, span := t.tracer.Start(ctx, "process "+m.Queue, api.WithSpanKind(api.SpanKindConsumer), api.WithTimestamp(m.ReceivedAt))
	if !span.IsRecording() {
		return Span{}
	}
	span.SetAttributes(append(destination(m.Queue),
		semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
		semconv.MessagingMessageID(m.ID), semconv.MessagingMessageBodySize(m.Bytes),
		attribute.String("tributary.tenant", valid(m.Tenant)), attribute.Int("tributary.commands", m.Commands),
		attribute.Int("tributary.receives", m.Receives))...)
	return Span{span}
}

// Settled ends a `process` span: outcome is that of tributary_messages_settled_total, reason that of the message's
// first dead letter or "".
func (s Span) Settled(outcome, reason string) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.String("tributary.outcome", outcome))
	if reason != "" {
		fail(s.span, reason)
	}
	s.span.End()
}

// Write begins the span of one write call (BatchWriteItem or PutItem) with so many commands, and returns ctx with
// it. Of are the spans of the messages that the commands came in, one an entry; the same one may stand there several
// times, and zero Spans are passed over. If all are zero the call has no span.
func (t *Tracing) Write(ctx context.Context, operation, table string, of []Span) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	links := make([]api.Link, 0, len(of))
	for i, s := range of {
		if s.span == nil || seen(of[:i], s) {
			continue
		}
		links = append(links, api.Link{SpanContext: s.span.SpanContext()})
	}
	if len(links) == 0 {
		return ctx, Span{}
	}
	attributes := []attribute.KeyValue{
		semconv.DBSystemNameAWSDynamoDB, semconv.DBOperationName(operation), semconv.DBCollectionName(table),
		semconv.AWSDynamoDBTableNames(table),
	}
	if len(of) > 1 {
		attributes = append(attributes, semconv.DBOperationBatchSize(len(of)))
	}
	ctx, span := t.batches.Start(ctx, operation+" "+table, api.WithNewRoot(), api.WithSpanKind(api.SpanKindClient),
		api.WithLinks(links...), api.WithAttributes(attributes...))
	return ctx, Span{span}
}

// LeftOver notes on a Write's span how many writes DynamoDB left over.
func (s Span) LeftOver(n int) {
	if s.span != nil && n > 0 {
		s.span.SetAttributes(attribute.Int("tributary.unprocessed", n))
	}
}

func seen(before []Span, s Span) bool {
	for _, b := range before {
		if b.span == s.span {
			return true
		}
	}
	return false
}

func recorded(span api.Span) Span {
	if !span.IsRecording() {
		return Span{}
	}
	return Span{span}
}

// valid makes text from outside valid UTF-8. Otherwise a single byte would make OTLP refuse the whole batch of spans.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

func fail(span api.Span, code string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(code))
	span.SetStatus(codes.Error, code)
}

func destination(queue string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.MessagingSystemAWSSQS, semconv.MessagingDestinationName(queue)}
}

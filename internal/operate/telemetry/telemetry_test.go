package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"

	"tributary/test/support/otlpstub"
)

// unset takes the OTEL_* variables of whoever runs the test away.
func unset(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, "")
	}
}

func begin(t *testing.T, service string) *Tracing {
	t.Helper()
	tracing, err := Start(t.Context(), service, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if tracing == nil {
		t.Fatal("tracing is off")
	}
	return tracing
}

func end(t *testing.T, tracing *Tracing) {
	t.Helper()
	if err := tracing.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func one(t *testing.T, c *otlpstub.Collector, name string) otlpstub.Span {
	t.Helper()
	found := c.Spans(name)
	if len(found) != 1 {
		t.Fatalf("%d spans are called %q, want one", len(found), name)
	}
	return found[0]
}

func TestOneTraceFromProducerToProcessing(t *testing.T) {
	unset(t)
	c := otlpstub.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)

	producer := begin(t, "tributary-producer")
	ctx, command := producer.Command(t.Context(), "producer put-order")
	parent, state := producer.Injector("orders")(ctx)
	command.End()
	end(t, producer)

	worker := begin(t, "tributary-worker")
	received := time.Now().Add(-time.Second)
	span := worker.Process(&Message{
		Queue: "orders", ID: "m1", Tenant: "tenantA", Commands: 1, Bytes: 120, Receives: 2, ReceivedAt: received,
		TraceParent: parent, TraceState: state,
	})
	bad := worker.Process(&Message{Queue: "orders", ID: "m2", ReceivedAt: received, TraceParent: "nonsense"})
	_, write := worker.Write(t.Context(), "BatchWriteItem", "MultiTenantTable", []Span{span, span, {}, bad})
	write.LeftOver(2)
	write.End()
	span.Settled("deleted", "")
	bad.Settled("deleted", "invalid_field")
	end(t, worker)

	root, create := one(t, c, "producer put-order"), one(t, c, "create orders")
	var process, other otlpstub.Span
	for _, s := range c.Spans("process orders") {
		if s.Attributes()["messaging.message.id"] == "m1" {
			process = s
		} else {
			other = s
		}
	}
	batch := one(t, c, "BatchWriteItem MultiTenantTable")
	trace := string(root.GetTraceId())
	if string(create.GetTraceId()) != trace || string(process.GetTraceId()) != trace {
		t.Error("create and process are not in the producer's trace")
	}
	if !bytes.Equal(create.GetParentSpanId(), root.GetSpanId()) || !bytes.Equal(process.GetParentSpanId(), create.GetSpanId()) {
		t.Error("the chain of parents is broken")
	}
	if string(other.GetTraceId()) == trace || len(other.GetParentSpanId()) != 0 {
		t.Error("a message with an unreadable context is in somebody's trace")
	}
	if len(batch.GetParentSpanId()) != 0 || string(batch.GetTraceId()) == trace {
		t.Error("the batch is not a trace of its own")
	}
	var links []string
	for _, l := range batch.GetLinks() {
		links = append(links, string(l.GetSpanId()))
	}
	if len(links) != 2 || links[0] != string(process.GetSpanId()) || links[1] != string(other.GetSpanId()) {
		t.Errorf("the batch has %d links, want one to each of the two messages", len(links))
	}
	if create.GetKind() != spans.Span_SPAN_KIND_PRODUCER || process.GetKind() != spans.Span_SPAN_KIND_CONSUMER || batch.GetKind() != spans.Span_SPAN_KIND_CLIENT {
		t.Error("a span has the wrong kind")
	}
	if create.Service != "tributary-producer" || process.Service != "tributary-worker" {
		t.Errorf("services are %q and %q", create.Service, process.Service)
	}
	if took := process.GetEndTimeUnixNano() - process.GetStartTimeUnixNano(); took < uint64(time.Second) {
		t.Errorf("processing took %v, it should begin with the receive", time.Duration(took))
	}
	for name, want := range map[string]any{
		"messaging.system": "aws_sqs", "messaging.operation.type": "process", "messaging.destination.name": "orders",
		"messaging.message.body.size": int64(120), "tributary.tenant": "tenantA", "tributary.commands": int64(1), "tributary.outcome": "deleted",
	} {
		if got := process.Attributes()[name]; got != want {
			t.Errorf("process has %s = %v, want %v", name, got, want)
		}
	}
	if got := batch.Attributes(); got["db.operation.batch.size"] != int64(4) || got["tributary.unprocessed"] != int64(2) || got["db.system.name"] != "aws.dynamodb" {
		t.Errorf("batch has %v", got)
	}
	if other.GetStatus().GetCode() != spans.Status_STATUS_CODE_ERROR || other.Attributes()["error.type"] != "invalid_field" {
		t.Errorf("the dead-lettered message's span has status %v and %v", other.GetStatus(), other.Attributes())
	}
}

func TestOffUnlessAskedFor(t *testing.T) {
	unset(t)
	for _, c := range []struct {
		name, value string
		on          bool
	}{
		{"OTEL_SERVICE_NAME", "x", false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318", true},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces", true},
		{"OTEL_TRACES_EXPORTER", "otlp", true},
		{"OTEL_TRACES_EXPORTER", "none", false},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			if Wanted() != c.on {
				t.Errorf("wanted is %v, want %v", Wanted(), c.on)
			}
			t.Setenv("OTEL_SDK_DISABLED", "true")
			if Wanted() {
				t.Error("wanted though the SDK is disabled")
			}
		})
	}
	if tracing, err := Start(t.Context(), "x", slog.New(slog.DiscardHandler)); tracing != nil || err != nil {
		t.Errorf("Start returned %v, %v", tracing, err)
	}
}

func TestWrongSetting(t *testing.T) {
	unset(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
	if _, err := Start(t.Context(), "x", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "OTEL_") {
		t.Errorf("error is %v, want one that names the variables", err)
	}
}

// TestOffCostsNothing: with tracing off nothing is allocated on the path of a message.
func TestOffCostsNothing(t *testing.T) {
	var off *Tracing
	if off.Injector("q") != nil {
		t.Error("there is an injector")
	}
	cfg := aws.Config{}
	off.Instrument(&cfg)
	if len(cfg.APIOptions) != 0 {
		t.Error("SDK clients are instrumented")
	}
	m := &Message{Queue: "q"}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		ctx, command := off.Command(ctx, "c")
		span := off.Process(m)
		_, write := off.Write(ctx, "BatchWriteItem", "t", nil)
		write.Fail("x")
		write.LeftOver(1)
		write.End()
		span.Settled("deleted", "")
		command.End()
	}); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
	if err := off.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestUnsampledMessagesHaveNoSpans(t *testing.T) {
	unset(t)
	c := otlpstub.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	worker := begin(t, "w")
	if parent, _ := worker.Injector("q")(t.Context()); !strings.HasSuffix(parent, "-00") {
		t.Errorf("an unsampled context is %q, want flags 00, so that nobody after us samples it", parent)
	}
	unsampled := worker.Process(&Message{Queue: "q", TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"})
	sampled := worker.Process(&Message{Queue: "q", ID: "sampled", TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
	if _, w := worker.Write(t.Context(), "PutItem", "t", []Span{unsampled}); w.Recorded() {
		t.Error("a batch of unsampled messages has a span")
	}
	_, w := worker.Write(t.Context(), "BatchWriteItem", "t", []Span{unsampled, sampled})
	w.End()
	unsampled.Settled("deleted", "")
	sampled.Settled("deleted", "")
	end(t, worker)
	if all := c.Spans(""); len(all) != 2 {
		t.Errorf("%d spans, want that of the sampled message and that of its batch", len(all))
	}
}

func TestXRayHeader(t *testing.T) {
	unset(t)
	c := otlpstub.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	worker := begin(t, "w")
	for _, header := range []string{
		"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", "Root=1-5759e988", "Root=1-zzzzzzzz-bd862e3fe1be46a994272793;Parent=1", "",
	} {
		worker.Process(&Message{Queue: "q", ID: header, XRay: header}).Settled("deleted", "")
	}
	end(t, worker)
	found := c.Spans("process q")
	if len(found) != 4 {
		t.Fatalf("%d spans, want 4", len(found))
	}
	for i, s := range found {
		if inTrace := strings.HasPrefix(string(s.GetTraceId()), "\x57\x59\xe9\x88") && string(s.GetParentSpanId()) == "\x53\x99\x5c\x3f\x42\xcd\x8a\xd8"; inTrace != (i == 0) {
			t.Errorf("message with header %q: in X-Ray's trace is %v", s.Attributes()["messaging.message.id"], inTrace)
		}
	}
}

func TestInstrumentedClient(t *testing.T) {
	unset(t)
	c := otlpstub.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_SERVICE_NAME", "mine")
	tracing := begin(t, "w")
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) }))
	defer service.Close()
	cfg := aws.Config{Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), BaseEndpoint: &service.URL}
	tracing.Instrument(&cfg)
	if _, err := dynamodb.NewFromConfig(cfg).DescribeTable(context.Background(), &dynamodb.DescribeTableInput{TableName: aws.String("t")}); err != nil {
		t.Fatal(err)
	}
	end(t, tracing)
	if s := one(t, c, "DynamoDB.DescribeTable"); s.Service != "mine" {
		t.Errorf("service is %q, want that of OTEL_SERVICE_NAME", s.Service)
	}
}

func BenchmarkProcess(b *testing.B) {
	for _, sampler := range []string{"off", "parentbased_always_off", "always_on"} {
		b.Run(sampler, func(b *testing.B) {
			var tracing *Tracing
			if sampler != "off" {
				b.Setenv("OTEL_SDK_DISABLED", "")
				b.Setenv("OTEL_TRACES_SAMPLER", sampler)
				b.Setenv("OTEL_TRACES_EXPORTER", "otlp")
				b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
				b.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
				var err error
				if tracing, err = Start(b.Context(), "w", slog.New(slog.DiscardHandler)); err != nil {
					b.Fatal(err)
				}
			}
			m := &Message{Queue: "q", ID: "x", ReceivedAt: time.Now(), TraceParent: ""}
			b.ReportAllocs()
			for b.Loop() {
				tracing.Process(m).Settled("deleted", "")
			}
		})
	}
}

package telemetry

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"

	"tributary/test/support/otlpstub"
)

// unset takes the OTEL_* variables of whoever runs the test away.
func unset(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, "")
	}
}

func begin(t *testing.T, service string) *Tracing {
	t.Helper()
	tracing := Start(t.Context(), service, slog.New(slog.DiscardHandler), io.Discard)
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

func TestWantedExporters(t *testing.T) {
	for _, c := range []struct {
		env  string
		want string
	}{
		{"", ""},
		{"OTEL_SERVICE_NAME=x", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", "otlp"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4318/v1/traces", "otlp"},
		{"OTEL_TRACES_EXPORTER=otlp", "otlp"},
		{"OTEL_TRACES_EXPORTER=otlp,console", "otlp console"},
		{"OTEL_TRACES_EXPORTER= Console , otlp,,console", "console otlp"},
		{"OTEL_TRACES_EXPORTER=none", ""},
		{"OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", ""},
		{"OTEL_TRACES_EXPORTER=, OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", "otlp"},
		{"OTEL_TRACES_EXPORTER=zipkin,otlp", "zipkin otlp"},
		{"OTEL_TRACES_EXPORTER=otlp OTEL_SDK_DISABLED=TRUE", ""},
	} {
		env := map[string]string{}
		for _, setting := range strings.Split(c.env, " OTEL_") {
			if name, value, ok := strings.Cut(setting, "="); ok {
				env["OTEL_"+strings.TrimPrefix(name, "OTEL_")] = value
			}
		}
		if got := strings.Join(wanted(func(name string) string { return env[name] }), " "); got != c.want {
			t.Errorf("%q asks for %q, want %q", c.env, got, c.want)
		}
	}
}

// TestWrongSettingsAreWarnings: what can't work is named with its variable and value, the rest works.
func TestWrongSettingsAreWarnings(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		on   bool
		want string
	}{
		{map[string]string{"OTEL_SERVICE_NAME": "x"}, false, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "OTEL_TRACES_EXPORTER=zipkin"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin,console"}, true, "OTEL_TRACES_EXPORTER=zipkin,console"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, false, "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp,console", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "udp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
			true, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=udp"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_RESOURCE_ATTRIBUTES": "a=b,c"}, true, "OTEL_RESOURCE_ATTRIBUTES"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": "sometimes"}, true, "sometimes"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://%zz"}, true, "%zz"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, true, "soon"},
	} {
		t.Run(fmt.Sprint(c.env), func(t *testing.T) {
			unset(t)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			var said bytes.Buffer
			tracing := Start(t.Context(), "x", slog.New(slog.NewTextHandler(&said, nil)), io.Discard)
			if (tracing != nil) != c.on {
				t.Errorf("tracing is on: %v, want %v", tracing != nil, c.on)
			}
			if got := said.String(); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("the log says %q, want %q", got, c.want)
			}
			end(t, tracing)
		})
	}
}

func TestConsoleAndCollectorBothGetSpans(t *testing.T) {
	unset(t)
	c := otlpstub.Start(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp,console")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	var console bytes.Buffer
	tracing := Start(t.Context(), "x", slog.New(slog.DiscardHandler), &console)
	_, command := tracing.Command(t.Context(), "producer put_user")
	command.End()
	end(t, tracing)
	one(t, c, "producer put_user")
	if !strings.Contains(console.String(), `"producer put_user"`) {
		t.Errorf("the console has %q", console.String())
	}
}

// TestStrangersTextsDoNotHarmExports: a tenant id is taken from the message before anything has checked it.
func TestStrangersTextsDoNotHarmExports(t *testing.T) {
	unset(t)
	c := otlpstub.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	worker := begin(t, "w")
	for id, tenant := range map[string]string{"long": strings.Repeat("é", 1<<19), "broken": "a\xffb", "good": "tenantA"} {
		worker.Process(&Message{Queue: "q", ID: id, Tenant: tenant}).Settled("deleted", "")
	}
	end(t, worker)
	tenants := map[any]string{}
	for _, s := range c.Spans("process q") {
		tenants[s.Attributes()["messaging.message.id"]], _ = s.Attributes()["tributary.tenant"].(string)
	}
	if len(tenants) != 3 || tenants["good"] != "tenantA" || tenants["broken"] != "a\ufffdb" {
		t.Errorf("%d spans arrived, of %.100q", len(tenants), tenants)
	}
	if n := len(tenants["long"]); n == 0 || n > 4*maxAttributeBytes {
		t.Errorf("the long tenant id takes %d bytes in a span", n)
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
	const trace, parent = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
	const root = "Root=1-5759e988-bd862e3fe1be46a994272793"
	for _, c := range []struct {
		header        string
		sampler       string
		recorded      bool
		trace, parent string // "": any trace, no parent
	}{
		{root + ";Parent=" + parent + ";Sampled=1", "always_on", true, trace, parent},
		{root + ";Parent=" + parent + ";Sampled=0", "parentbased_always_on", false, "", ""},
		{" Self=1-1-1; " + root + " ; Parent=" + parent + ";Sampled=1;Lineage=a:1|b:2", "parentbased_always_off", true, trace, parent},
		// Load balancers and API Gateway.
		{root, "parentbased_always_on", true, trace, ""},
		{root, "parentbased_always_off", false, "", ""},
		{root + ";Sampled=1", "parentbased_always_off", true, trace, trace[16:]},
		{root + ";Sampled=0", "parentbased_always_on", false, "", ""},
		{root + ";Parent=" + parent + ";Sampled=?", "parentbased_always_on", true, trace, ""},
		{root + ";Parent=" + parent, "parentbased_always_on", true, trace, ""},
		// Unreadable.
		{"Root=1-5759e988", "parentbased_always_on", true, "", ""},
		{"Root=1-zzzzzzzz-bd862e3fe1be46a994272793;Parent=1", "parentbased_always_on", true, "", ""},
		{"Parent=" + parent + ";Sampled=1", "parentbased_always_on", true, "", ""},
		{"Root=1-00000000-000000000000000000000000;Parent=" + parent + ";Sampled=1", "parentbased_always_on", true, "", ""},
		{"", "parentbased_always_on", true, "", ""},
	} {
		t.Run(c.header+" "+c.sampler, func(t *testing.T) {
			unset(t)
			collector := otlpstub.Start(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
			t.Setenv("OTEL_TRACES_SAMPLER", c.sampler)
			worker := begin(t, "w")
			worker.Process(&Message{Queue: "q", XRay: c.header}).Settled("deleted", "")
			end(t, worker)
			if found := collector.Spans("process q"); (len(found) == 1) != c.recorded {
				t.Fatalf("%d spans, recorded should be %v", len(found), c.recorded)
			} else if !c.recorded {
				return
			}
			s := one(t, collector, "process q")
			if got := hex.EncodeToString(s.GetTraceId()); (got == trace) != (c.trace == trace) {
				t.Errorf("it is in the trace %s, want %q", got, c.trace)
			}
			if got := hex.EncodeToString(s.GetParentSpanId()); got != c.parent {
				t.Errorf("its parent is %q, want %q", got, c.parent)
			}
		})
	}
}

func TestInstrumentedClient(t *testing.T) {
	unset(t)
	c := otlpstub.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_SERVICE_NAME", "mine")
	tracing := begin(t, "w")
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amzn-Requestid", "R1")
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetItem") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazon.coral.service#AccessDeniedException","message":"User: arn:aws:iam::1:user/u is not authorized"}`))
			return
		}
		_, _ = w.Write([]byte(`{}`))
	}))
	defer service.Close()
	cfg := aws.Config{Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), BaseEndpoint: &service.URL}
	tracing.Instrument(&cfg)
	ctx, command := tracing.Command(t.Context(), "worker doctor")
	client := dynamodb.NewFromConfig(cfg)
	if _, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("t")}); err != nil {
		t.Fatal(err)
	}
	key := map[string]types.AttributeValue{"PK": &types.AttributeValueMemberS{Value: "k"}}
	if _, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("t"), Key: key}); err == nil {
		t.Fatal("no error")
	}
	command.End()
	end(t, tracing)
	parent := one(t, c, "worker doctor")
	good, bad := one(t, c, "DynamoDB.DescribeTable"), one(t, c, "DynamoDB.GetItem")
	if good.Service != "mine" {
		t.Errorf("service is %q, want that of OTEL_SERVICE_NAME", good.Service)
	}
	for _, s := range []otlpstub.Span{good, bad} {
		if !bytes.Equal(s.GetParentSpanId(), parent.GetSpanId()) || s.GetKind() != spans.Span_SPAN_KIND_CLIENT {
			t.Errorf("%s is a %v under %x", s.GetName(), s.GetKind(), s.GetParentSpanId())
		}
	}
	for name, want := range map[string]any{
		"rpc.system.name": "aws-api", "rpc.method": "DynamoDB/DescribeTable", "cloud.region": "eu-west-1", "aws.request_id": "R1", "http.response.status_code": int64(200),
	} {
		if got := good.Attributes()[name]; got != want {
			t.Errorf("the call has %s = %v, want %v", name, got, want)
		}
	}
	if s := bad.GetStatus(); s.GetCode() != spans.Status_STATUS_CODE_ERROR || s.GetMessage() != "AccessDeniedException" || bad.Attributes()["error.type"] != "AccessDeniedException" {
		t.Errorf("the refused call has the status %v and %v", s, bad.Attributes())
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
				tracing = Start(b.Context(), "w", slog.New(slog.DiscardHandler), io.Discard)
			}
			m := &Message{Queue: "q", ID: "x", ReceivedAt: time.Now(), TraceParent: ""}
			b.ReportAllocs()
			for b.Loop() {
				tracing.Process(m).Settled("deleted", "")
			}
		})
	}
}

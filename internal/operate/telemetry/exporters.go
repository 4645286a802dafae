package telemetry

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/trace"
)

// newExporters makes the exporters that the environment names, if any. For each one that it can't make, it warns with the variable
// and its value, and continues with the others.
func newExporters(ctx context.Context, log *slog.Logger, console io.Writer) []trace.SpanExporter {
	var exporters []trace.SpanExporter
	for _, name := range wanted(os.Getenv) {
		var e trace.SpanExporter
		var err error
		switch name {
		case "otlp":
			// Both read OTEL_EXPORTER_OTLP_*.
			switch variable, protocol := protocol(os.Getenv); protocol {
			case "http/protobuf":
				e, err = otlptracehttp.New(ctx)
			case "grpc":
				e, err = otlptracegrpc.New(ctx)
			default:
				log.Warn("no traces are sent by OTLP: its protocol must be http/protobuf or grpc", variable, protocol)
				continue
			}
		case "console":
			e, err = stdouttrace.New(stdouttrace.WithWriter(console))
		default:
			log.Warn("a traces exporter is unknown: it may be otlp, console or none, or a list of them", exporterVariable, os.Getenv(exporterVariable), "unknown", name)
			continue
		}
		if err != nil {
			log.Warn("a traces exporter can't be set up", exporterVariable, name, "error", err)
			continue
		}
		exporters = append(exporters, e)
	}
	return exporters
}

const exporterVariable = "OTEL_TRACES_EXPORTER"

// wanted names the exporters that the environment asks for, each once ("OpenTelemetry Environment Variable Specification").
// An endpoint alone means OTLP.
func wanted(env func(string) string) []string {
	if strings.EqualFold(strings.TrimSpace(env("OTEL_SDK_DISABLED")), "true") {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(env(exporterVariable), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && cmp.Or(env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), env("OTEL_EXPORTER_OTLP_ENDPOINT")) != "" {
		return []string{"otlp"}
	}
	if slices.Contains(names, "none") {
		return nil
	}
	return names
}

// protocol returns the OTLP protocol and the variable that sets it.
func protocol(env func(string) string) (variable, value string) {
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if value := strings.ToLower(strings.TrimSpace(env(variable))); value != "" {
			return variable, value
		}
	}
	return "", "http/protobuf"
}

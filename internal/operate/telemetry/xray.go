package telemetry

import (
	"context"
	"encoding/hex"
	"strings"

	api "go.opentelemetry.io/otel/trace"
)

// fromXRay takes up the trace of X-Ray's header ("AWS X-Ray concepts": Root=1-8 digits-24 digits;Parent=16 digits;Sampled=1).
// It leaves ctx as it is when the header can't be read.
//
// Load balancers and API Gateway send headers without Parent, and without Sampled: the trace is known, but no span of it, or
// it is not decided yet whether it is recorded. A header that decides gets a parent made of its trace id, because samplers
// follow only the decision of a parent. For a header that doesn't decide, the span becomes a root within the trace, and the
// program's own sampler decides.
func fromXRay(ctx context.Context, header string) context.Context {
	var cfg api.SpanContextConfig
	decided := false
	for field := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Root":
			digits := strings.Split(value, "-")
			if len(digits) != 3 || digits[0] != "1" || len(digits[1]) != 8 || len(digits[2]) != 24 {
				return ctx
			}
			if _, err := hex.Decode(cfg.TraceID[:], []byte(digits[1]+digits[2])); err != nil {
				return ctx
			}
		case "Parent":
			if len(value) != 16 {
				return ctx
			}
			if _, err := hex.Decode(cfg.SpanID[:], []byte(value)); err != nil {
				return ctx
			}
		case "Sampled":
			decided = value == "0" || value == "1"
			if value == "1" {
				cfg.TraceFlags = api.FlagsSampled
			}
		}
	}
	switch {
	case !cfg.TraceID.IsValid():
		return ctx
	case !decided:
		cfg.SpanID = api.SpanID{}
	case !cfg.SpanID.IsValid():
		copy(cfg.SpanID[:], cfg.TraceID[len(cfg.TraceID)-len(cfg.SpanID):])
	}
	cfg.Remote = true
	return api.ContextWithRemoteSpanContext(ctx, api.NewSpanContext(cfg))
}

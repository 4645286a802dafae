package telemetry

import (
	"context"
	"encoding/hex"
	"strings"

	api "go.opentelemetry.io/otel/trace"
)

// fromXRay reads X-Ray's trace header ("AWS X-Ray concepts": Root=1-8 digits-24 digits;Parent=16 digits;Sampled=1).
// What is no such header is as none.
func fromXRay(ctx context.Context, header string) context.Context {
	var cfg api.SpanContextConfig
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
			if value == "1" {
				cfg.TraceFlags = api.FlagsSampled
			}
		}
	}
	cfg.Remote = true
	parent := api.NewSpanContext(cfg)
	if !parent.IsValid() {
		return ctx
	}
	return api.ContextWithRemoteSpanContext(ctx, parent)
}

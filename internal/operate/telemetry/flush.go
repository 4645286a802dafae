package telemetry

import (
	"context"
	"fmt"
)

// Flush sends the spans that have ended. A program that may be frozen calls it while it still runs.
func (t *Tracing) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.ForceFlush(ctx); err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	return nil
}

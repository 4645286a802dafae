package main

import (
	"slices"
	"strings"

	"tributary/internal/base/version"
	"tributary/internal/operate/logging"
	"tributary/internal/operate/status"
	"tributary/internal/schema"
)

// status returns what /status shows.
func (c *runCmd) status(w *worker, types *schema.Set, log *logging.Log) any {
	out := map[string]any{
		"version":       version.String(),
		"types":         types.Fingerprint,
		"configuration": c.shown(),
		"recent_errors": log.Recent(),
		"control":       w.agent.Status(),
	}
	if w.consumer != nil {
		out["tenants"] = w.metrics.Busiest()
		out["consumer"], out["writer"], out["messages"] = w.consumer.Stats(), w.writer.Stats(), w.consumer.Summary()
	}
	return status.Of(out)
}

// shown returns the configuration for /status. It hides the paths of files and the reader role: they help an intruder, and an
// operator has the command line.
func (c *runCmd) shown() *runCmd {
	shown := *c
	secret := []*string{&shown.Types, &shown.TLSCert, &shown.TLSKey, &shown.Auth.Tokens, &shown.ReaderRole}
	for _, s := range secret {
		if *s != "" {
			*s = "[set]"
		}
	}
	shown.Auth.JWKS = slices.Clone(c.Auth.JWKS)
	for i, keys := range shown.Auth.JWKS {
		if !strings.Contains(string(keys), "://") {
			shown.Auth.JWKS[i] = "[set]"
		}
	}
	return &shown
}

package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"
)

// probePatience is how long Probe waits for an answer.
const probePatience = 4 * time.Second

// Probe asks the worker whose admin server listens on this address whether it is well (/healthz): for orchestrators
// that run a command in an image that has nothing else to ask with. The error says what is wrong.
func Probe(ctx context.Context, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("admin-listen %q is not HOST:PORT", listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	var r Report
	if err := json.NewDecoder(answer.Body).Decode(&r); err != nil {
		return fmt.Errorf("ask for health: status %d is not the answer of a worker: %w", answer.StatusCode, err)
	}
	for _, c := range r.Checks {
		if !c.OK {
			return fmt.Errorf("not healthy: %s: %s", c.Name, c.Detail)
		}
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: status %d", answer.StatusCode)
	}
	return nil
}

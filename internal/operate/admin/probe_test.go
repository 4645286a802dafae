package admin

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestProbe(t *testing.T) {
	var stuck atomic.Bool
	url := start(t, Config{Metrics: prometheus.NewRegistry(), Health: func() Report {
		return NewReport(Check{Name: "progress", OK: !stuck.Load(), Detail: "nothing moves"})
	}})
	listen := strings.TrimPrefix(url, "http://")
	if err := Probe(t.Context(), listen); err != nil {
		t.Errorf("a healthy worker: %v", err)
	}
	_, port, _ := strings.Cut(listen, ":")
	if err := Probe(t.Context(), "0.0.0.0:"+port); err != nil {
		t.Errorf("a worker that listens everywhere: %v", err)
	}
	stuck.Store(true)
	if err := Probe(t.Context(), listen); err == nil || !strings.Contains(err.Error(), "progress: nothing moves") {
		t.Errorf("a stuck worker: %v", err)
	}
	if err := Probe(t.Context(), "127.0.0.1:1"); err == nil {
		t.Error("no worker is healthy")
	}
}

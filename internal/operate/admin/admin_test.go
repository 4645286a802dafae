package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func start(t *testing.T, cfg Config) (url string) {
	t.Helper()
	cfg.Listen, cfg.Log = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return "http://" + s.Addr()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServer(t *testing.T) {
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "some_total"})
	reg.MustRegister(counter)
	url := start(t, Config{
		Metrics: reg,
		Health:  func() Report { return NewReport(Check{Name: "progress", OK: true, Detail: "work moves"}) },
		Ready: func() Report {
			return NewReport(Check{Name: "queue", OK: true, Detail: "answers"}, Check{Name: "table", OK: false, Detail: "has never answered"})
		},
		Status: func() any { return map[string]int{"in_flight": 7} },
	})
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/metrics", 200, "some_total 0"},
		{"/healthz", 200, `"detail": "work moves"`},
		{"/readyz", 503, `"detail": "has never answered"`},
		{"/status", 200, `"in_flight": 7`},
		{"/debug/pprof/", 200, "goroutine"},
		{"/debug/pprof/cmdline", 200, "admin"},
		{"/", 200, "/healthz"},
		{"/nothing", 404, ""},
	} {
		status, body := get(t, url+c.path)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %d with %q", c.path, status, body, c.status, c.want)
		}
	}
	_, body := get(t, url+"/readyz")
	var r Report
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.OK || len(r.Checks) != 2 {
		t.Errorf("/readyz is %s (%v)", body, err)
	}
}

func TestTakenAddress(t *testing.T) {
	cfg := Config{Listen: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)}
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.listener.Close() }()
	cfg.Listen = s.Addr()
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), cfg.Listen) {
		t.Errorf("error is %v, want one that names %s", err, cfg.Listen)
	}
}

// A page in a browser on this machine can make its own name mean 127.0.0.1.
func TestOnLoopbackOnlyOwnNamesAreAnswered(t *testing.T) {
	url := start(t, Config{Metrics: prometheus.NewRegistry(), Status: func() any { return "secret" }})
	for host, want := range map[string]int{"evil.example": http.StatusMisdirectedRequest, "localhost:9090": http.StatusOK, "": http.StatusOK} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host // empty: the address itself
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

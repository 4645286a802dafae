package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// A page in a browser can make its own name mean a worker's address.
func TestOnlyNamesThatNobodyCanRegister(t *testing.T) {
	for host, want := range map[string]struct{ loopback, elsewhere bool }{
		"":                                 {true, true},
		"localhost:9090":                   {true, true},
		"LOCALHOST":                        {false, true}, // every client writes it small
		"127.0.0.1":                        {true, true},
		"[::1]:9090":                       {true, true},
		"10.0.0.7:9090":                    {false, true},
		"[fd00::7]:9090":                   {false, true},
		"worker:9090":                      {false, true},
		"workers.streams.svc:9090":         {false, true},
		"a.b.svc.cluster.local.":           {false, true},
		"ip-10-0-0-7.ec2.internal:9090":    {false, true},
		"evil.example":                     {false, false},
		"evil.example:9090":                {false, false},
		"localhost.evil.example":           {false, false},
		"127.0.0.1.evil.example":           {false, false},
		"evilsvc.example":                  {false, false},
		"metrics.example.com:9090":         {true, true}, // given
		"METRICS.example.com.":             {true, true},
		"other.metrics.example.com":        {false, false},
		"abc.gr7.eu.eks.amazonaws.com":     {false, false},
		"evil.example@localhost":           {false, false},
		"evil.example:80:localhost":        {false, false},
		strings.Repeat("a.", 2000) + "com": {false, false},
	} {
		given := []string{"Metrics.Example.com"}
		if got := newHosts(true, given).allows(host); got != want.loopback {
			t.Errorf("on loopback, %.60q is allowed: %v", host, got)
		}
		if got := newHosts(false, given).allows(host); got != want.elsewhere {
			t.Errorf("elsewhere, %.60q is allowed: %v", host, got)
		}
	}
}

func TestOtherHostsGetNothing(t *testing.T) {
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

// TestProfilesAreForThisMachine: on another address than loopback, a flag must say that everybody may have them.
func TestProfilesAreForThisMachine(t *testing.T) {
	for _, c := range []struct{ loopback, flag, served bool }{{true, false, true}, {false, false, false}, {false, true, true}} {
		s := &Server{cfg: Config{Metrics: prometheus.NewRegistry(), Pprof: c.flag, Log: slog.New(slog.DiscardHandler)}}
		handler := s.handler(c.loopback)
		ask := func(path string) (int, string) {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Host = "localhost"
			handler.ServeHTTP(w, r)
			return w.Code, w.Body.String()
		}
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap", "/debug/pprof/symbol"} {
			status, body := ask(path)
			if served := status == http.StatusOK; served != c.served {
				t.Errorf("%+v: %s is answered with %d", c, path, status)
			}
			if !c.served && !strings.Contains(body, "--pprof") {
				t.Errorf("%+v: %s says %q", c, path, body)
			}
		}
		if status, body := ask("/"); status != http.StatusOK || strings.Contains(body, "pprof") != c.served {
			t.Errorf("%+v: / says %q", c, body)
		}
	}
}

func TestNoSecretsInAnswers(t *testing.T) {
	status := map[string]any{
		"configuration":           map[string]string{"JWKS": "https://keys.example/jwks?apikey=SECRET1&x=\u00e9\"<", "ReaderRole": "arn:aws:iam::123456789012:role/SECRET2"},
		"recent_errors":           []string{`Get "https://u:SECRET3@host/?token=SECRET4": EOF`, "Bearer SECRET5"},
		"https://u:SECRET6@host/": 1,
		"queue":                   "https://sqs.eu-west-1.amazonaws.com/000000000000/orders",
	}
	url := start(t, Config{
		Metrics: prometheus.NewRegistry(), Status: func() any { return status },
		Ready: func() Report {
			return NewReport(Check{Name: "table", Detail: "no answer from https://u:SECRET7@host/?k=SECRET8"})
		},
	})
	for _, path := range []string{"/status", "/readyz", "/debug/pprof/cmdline"} {
		_, body := get(t, url+path)
		if strings.Contains(body, "SECRET") || strings.Contains(body, "-test.") {
			t.Errorf("%s shows %s", path, body)
		}
	}
	_, body := get(t, url+"/status")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || got["queue"] != status["queue"] {
		t.Errorf("/status is %s: %v", body, err)
	}
}

// pipes is a listener whose connections have the clock of a bubble.
type pipes struct {
	conns chan net.Conn
	net.Listener
}

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// TestSlowCallersAreCutOff: who sends its request or takes its answer slowly holds a connection for seconds, not for good.
func TestSlowCallersAreCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		within  time.Duration
	}{
		"request": {"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", readTimeout},
		"answer":  {"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n", writeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(t.Context(), Config{
				Listen: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Status: func() any { return strings.Repeat("x", 300) },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.listener.Close() }()
			synctest.Test(t, func(t *testing.T) {
				listener := pipes{conns: make(chan net.Conn, 1), Listener: s.listener}
				closed := make(chan struct{}, 1)
				s.server.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateClosed {
						closed <- struct{}{}
					}
				}
				go func() { _ = s.server.Serve(listener) }()
				caller, server := net.Pipe()
				listener.conns <- server
				if _, err := io.WriteString(caller, c.request); err != nil {
					t.Fatal(err)
				}
				if name == "request" { // it takes the answer, if it is slow in asking
					go func() { _, _ = io.Copy(io.Discard, caller) }()
				}
				begun := time.Now()
				select {
				case <-closed:
				case <-time.After(time.Hour):
					t.Error("it is served for an hour")
				}
				if took := time.Since(begun); took > c.within+time.Second {
					t.Errorf("it was cut off after %s, want %s", took, c.within)
				}
				_ = caller.Close()
				close(listener.conns)
				synctest.Wait()
			})
		})
	}
}

// Package admin serves what operators and orchestrators ask of a running worker: /metrics, /healthz, /readyz,
// /status and /debug/pprof.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tributary/internal/base/loopback"
)

// Config is what the server shows. All functions are called from many goroutines at once and must not block.
type Config struct {
	Listen  string // host:port; port 0 picks a free one
	Metrics prometheus.Gatherer
	Health  func() Report // /healthz: false asks for a restart
	Ready   func() Report // /readyz: false asks for no traffic
	Status  func() any    // /status: anything that encodes to JSON; secrets are the caller's to leave out
	Log     *slog.Logger
}

// Report says whether all is well, and why.
type Report struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// Check is one reason of a Report.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // one sentence
}

// NewReport is well when every check is.
func NewReport(checks ...Check) Report {
	r := Report{OK: true, Checks: checks}
	for _, c := range checks {
		r.OK = r.OK && c.OK
	}
	return r
}

// Server is the admin server, listening.
type Server struct {
	cfg      Config
	listener net.Listener
	server   *http.Server
}

// shutdownGrace is how long the requests of the moment may take to end; a CPU profile takes longer and is cut off.
const shutdownGrace = 2 * time.Second

// New listens, so that a taken address is known before any work is begun; Run serves.
func New(ctx context.Context, cfg Config) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for admin requests: %w", err)
	}
	s := &Server{cfg: cfg, listener: listener}
	handler := s.routes()
	if host, _, err := net.SplitHostPort(s.Addr()); err == nil && loopback.Is(host) {
		handler = ownOnly(handler)
	}
	s.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr is the address that it listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends, and returns nil then. It is to outlive the draining: /readyz and /metrics matter then.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1) // of the one Serve
	go func() { ended <- s.server.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve admin requests: %w", err)
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := s.server.Shutdown(within); err != nil {
		_ = s.server.Close() // what is left is cut off: there is nothing to lose
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin requests: %w", err)
	}
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "tributary worker: /metrics /healthz /readyz /status /debug/pprof/")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{
		ErrorLog: scrapeLog{s.cfg.Log}, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
	}))
	mux.HandleFunc("GET /healthz", report(s.cfg.Health))
	mux.HandleFunc("GET /readyz", report(s.cfg.Ready))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.cfg.Status()) })
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// ownOnly turns away who asks for another host than this machine.
func ownOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "" && !loopback.Asked(r.Host) { // a browser always says it, an old probe doesn't
			http.Error(w, "This server answers only to localhost.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func report(ask func() Report) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		r := ask()
		status := http.StatusOK
		if !r.OK {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, r)
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// scrapeLog tells of metrics that could not be gathered.
type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Error("gather metrics", "error", fmt.Sprint(v...)) }

// Package admin serves /metrics, /healthz, /readyz, /status and, where it is allowed, /debug/pprof of a running worker.
//
// There is no authentication: the network restricts access (docs/adr/0022). So answers carry no secrets, and profiles are served only
// to this machine unless a flag allows more. A browser that was led here by a foreign host name gets no answer.
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
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tributary/internal/base/loopback"
	"tributary/internal/operate/logging"
)

// Config configures the server. All functions are called from many goroutines at once and must not block.
type Config struct {
	Listen  string   // host:port; port 0 picks a free one
	Hosts   []string // further names by which requests may ask for the server: see host.go
	Pprof   bool     // serve /debug/pprof where Listen is not a loopback address; on loopback it always is
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

const (
	// readTimeout and writeTimeout bound a request and its answer, so that slow callers can't hold connections. The profiler
	// extends its own answers by the seconds asked for.
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	// maxScrapes is how many requests for /metrics are served at once. Each encodes all series; Prometheus makes one at a time.
	maxScrapes = 8
)

// shutdownGrace is how long the requests of the moment may take to end; a CPU profile takes longer and is cut off.
const shutdownGrace = 2 * time.Second

// New listens, so that a taken address is known before any work is begun; Run serves.
func New(ctx context.Context, cfg Config) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for admin requests: %w", err)
	}
	s := &Server{cfg: cfg, listener: listener}
	host, _, _ := net.SplitHostPort(s.Addr()) // a listener's address has both
	s.server = &http.Server{
		Handler:           s.handler(loopback.Is(host)),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
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
		_ = s.server.Close() // cuts off the remaining requests, which lose nothing
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin requests: %w", err)
	}
	return nil
}

// handler is all that the server answers, on a loopback address or on another.
func (s *Server) handler(own bool) http.Handler {
	return onlyFor(newHosts(own, s.cfg.Hosts), s.routes(own || s.cfg.Pprof))
}

func (s *Server) routes(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		pages := "tributary worker: /metrics /healthz /readyz /status"
		if profiles {
			pages += " /debug/pprof/"
		}
		_, _ = fmt.Fprintln(w, pages)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{
		ErrorLog: scrapeLog{s.cfg.Log}, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /healthz", report(s.cfg.Health))
	mux.HandleFunc("GET /readyz", report(s.cfg.Ready))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.cfg.Status()) })
	if !profiles {
		mux.HandleFunc("GET /debug/pprof/", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Profiles are off: give --pprof, or let --admin-listen be a loopback address.", http.StatusForbidden)
		})
		return mux
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// cmdline names the program, as pprof's own handler does, but not its arguments: they may name keys, roles and files.
func cmdline(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprint(w, filepath.Base(os.Args[0]))
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
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(public(body), '\n'))
}

// jsonStrings are the string literals of a JSON text.
var jsonStrings = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// public takes out of a JSON text what its callers have no need of, whatever value it stands in.
func public(body []byte) []byte {
	return jsonStrings.ReplaceAllFunc(body, func(literal []byte) []byte {
		var text string
		if json.Unmarshal(literal, &text) != nil {
			return literal
		}
		shown := logging.Public(text)
		if shown == text {
			return literal
		}
		cleaned, err := json.Marshal(shown)
		if err != nil {
			return literal
		}
		return cleaned
	})
}

// scrapeLog tells of metrics that could not be gathered.
type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Error("gather metrics", "error", fmt.Sprint(v...)) }

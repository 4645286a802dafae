// Package query is the HTTP API that reads the table. Each tenant's readers see their own tenant only.
package query

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/query/auth"
	"tributary/internal/schema"
	"tributary/internal/tenants"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// writeTime is how long, beyond the time that an answer may take, a client may take to accept it.
	writeTime = 20 * time.Second

	// maxHeaderBytes is the most bytes of header that are served; net/http itself is told a larger bound, so that
	// between the two the answer is a problem document as on every other path.
	maxHeaderBytes     = 32 << 10
	hardMaxHeaderBytes = 64 << 10
	// maxURLBytes is the longest path and query: three percent-encoded ids and a cursor fit well.
	maxURLBytes = 8 << 10

	drainingDetail = "This server is shutting down. Ask again: another one will answer."
)

// Deps are a Server's dependencies.
type Deps struct {
	// DynamoDB reads the table. With --reader-role it must be the SDK's client, or one that heeds its options'
	// Credentials.
	DynamoDB DynamoDB
	// STS assumes the reader role; not needed without one.
	STS   stscreds.AssumeRoleAPIClient
	Table string
	// Types are what tenants have, never nil. Routes and documents follow from them.
	Types *schema.Set
	Log   *slog.Logger
	// Metrics registers the API's metrics.
	Metrics prometheus.Registerer
	// Draining says whether the worker is shutting down: then requests are answered 503. Nil: never.
	Draining func() bool
	// Rules are what operators have decided about tenants, nil while nobody governs this worker. Nil: never.
	Rules func() *tenants.Rules
	// Meter is told of every request that is served; nil: nobody is.
	Meter tenants.Meter
}

// Server is the query API. Make it with New, then call Listen and Serve once.
type Server struct {
	listen                      string
	tls                         *certificate // nil: plain HTTP
	timeout                     time.Duration
	types                       *schema.Set
	tables                      *tables
	auth                        *auth.Authorizer
	rates                       *rateLimits
	slots                       chan struct{}  // one for each request that is served
	exports                     chan struct{}  // one for each export that is served
	exportWanted                chan time.Time // holds when an export was turned away, where none has ended for it yet
	requestShares, exportShares *shares
	memory                      *memory
	log                         *slog.Logger
	metrics                     *metrics
	handler                     http.Handler
	http                        *http.Server
	draining                    atomic.Bool
	asked                       func() bool // Deps.Draining
	rules                       func() *tenants.Rules
	meter                       tenants.Meter // nil: requests are not counted
}

// ConfigurationError reports a wrong configuration, or a file in it that can't be used. The operator must correct it. It joins
// all problems that were found.
type ConfigurationError struct{ Err error }

func (e *ConfigurationError) Error() string { return e.Err.Error() }

func (e *ConfigurationError) Unwrap() error { return e.Err }

// New makes a server that does not listen yet. It reads the files that cfg names. What is wrong with them or with cfg is
// a *ConfigurationError.
func New(ctx context.Context, cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &ConfigurationError{err}
	}
	s := &Server{
		listen:  cfg.Listen,
		types:   deps.Types,
		timeout: cfg.QueryTimeout,
		rates:   newRateLimits(cfg.QueryRate, cfg.QueryBurst, cfg.QueryReadUnits, cfg.QueryTenants),
		slots:   make(chan struct{}, cfg.QueryConcurrency),
		exports: make(chan struct{}, cfg.QueryExports),

		exportWanted:  make(chan time.Time, 1),
		memory:        newMemory(int64(cfg.QueryMemory)),
		requestShares: newShares(cfg.QueryConcurrency),
		exportShares:  newShares(cfg.QueryExports),
		log:           deps.Log,
		metrics:       newMetrics(deps.Metrics, deps.Types),
		asked:         deps.Draining,
		rules:         deps.Rules,
		meter:         deps.Meter,
	}
	if s.rules == nil {
		s.rules = func() *tenants.Rules { return nil }
	}
	s.tables = &tables{client: deps.DynamoDB, name: deps.Table, types: deps.Types}
	if cfg.ReaderRole != "" {
		if deps.STS == nil {
			return nil, errors.New("--reader-role: no STS client was given")
		}
		s.tables.credentials = newRoleCredentials(deps.STS, cfg.ReaderRole, cfg.QueryTenants)
	}
	var certErr, authErr error
	if cfg.TLSCert != "" {
		s.tls, certErr = openCertificate(cfg.TLSCert, cfg.TLSKey, deps.Log)
	}
	s.auth, authErr = auth.New(ctx, cfg.Auth, deps.Log)
	if err := errors.Join(certErr, authErr); err != nil {
		return nil, &ConfigurationError{err}
	}
	s.metrics.watch(deps.Metrics, s.auth, s.memory)
	s.handler = s.newHandler()
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + s.timeout + writeTime,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    hardMaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(deps.Log.Handler(), slog.LevelDebug), // strangers' broken handshakes
	}
	if s.tls != nil {
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.tls.get}
	}
	return s, nil
}

// Listen opens the address of the configuration.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return nil, fmt.Errorf("listen for queries: %w", err)
	}
	return l, nil
}

// Serve serves on a listener until Shutdown, or until ctx ends. The end of ctx is a Shutdown without a time limit, but requests have
// their own. Serve returns nil once the last request has been answered. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	background, stop := context.WithCancel(ctx)
	done := make(chan struct{}, 2)
	go func() { s.auth.Run(background); done <- struct{}{} }()
	stopped := make(chan error, 1)
	go func() {
		defer func() { done <- struct{}{} }()
		<-background.Done()
		stopped <- s.Shutdown(context.WithoutCancel(ctx))
	}()
	s.log.Info("query API listens", "address", l.Addr().String(), "tls", s.tls != nil, "auth", !s.auth.Open())
	var err error
	if s.tls != nil {
		err = s.http.ServeTLS(l, "", "")
	} else {
		err = s.http.Serve(l)
	}
	stop()
	shutdown := <-stopped
	<-done
	<-done
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve queries: %w", errors.Join(err, shutdown))
	}
	return shutdown
}

// Shutdown stops accepting connections, answers 503 to requests that still come over open ones, and waits until those
// under way are answered; exports end early, with a cursor. When ctx ends first, connections are cut. It may be called
// before Serve, more than once, and from several goroutines.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.http.SetKeepAlivesEnabled(false)
	err := s.http.Shutdown(ctx)
	if err != nil {
		return fmt.Errorf("shut down queries: %w", errors.Join(err, s.http.Close()))
	}
	return nil
}

func (s *Server) isDraining() bool { return s.draining.Load() || s.asked != nil && s.asked() }

// Handler is the API without its listener.
func (s *Server) Handler() http.Handler { return s.handler }

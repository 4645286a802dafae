package query

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"tributary/internal/base/loopback"
	"tributary/internal/query/auth"
	"tributary/internal/tenants"
)

const requestIDHeader = "X-Request-Id"

// requestIDForm matches the client request ids that are kept; any other is replaced.
var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// request is the state of one request. Only its goroutine uses it.
type request struct {
	http    *http.Request
	id      string
	log     *slog.Logger
	reader  *reader // nil before authorization
	subject string  // the token's subject; "" before authorization
	export  bool    // it is answered by an export
}

type requestKey struct{}

// requestOf returns the request that a context belongs to: every one that reaches a handler has one.
func requestOf(ctx context.Context) *request { return ctx.Value(requestKey{}).(*request) }

// fail converts an error into the problem that the client sees, and logs the rest.
func (r *request) fail(ctx context.Context, err error) *problem {
	p := asProblem(ctx, err)
	switch {
	case p.cause == nil || r.http.Context().Err() != nil:
	case p.Status == http.StatusInternalServerError:
		r.log.Error("request failed", "request_id", r.id, "error", p.cause)
	default:
		r.log.Warn("request not served", "request_id", r.id, "error", p.cause)
	}
	return p
}

// newHandler builds the chain that a request goes through: its id and log, what holds for every request, the route,
// and, in guard, for the routes with data, authorization.
func (s *Server) newHandler() http.Handler {
	m := &router{
		notFound:   s.refuse(http.StatusNotFound, "There is nothing at this path. See /docs."),
		notAllowed: s.refuse(http.StatusMethodNotAllowed, "Only GET and HEAD are served."),
		badPath:    s.refuse(http.StatusBadRequest, "The path's percent-encoding is broken, or is not of UTF-8."),
	}
	s.addRoutes(m)
	s.addDocuments(m)
	return s.observe(s.screen(m))
}

// refuse answers every request alike.
func (s *Server) refuse(status int, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { newProblem(status, detail).write(w) }
}

// observe gives the request its id, the answer its security headers, and the log a line. It is outermost, so that
// there is a line for every request that net/http could read.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(plain http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get(requestIDHeader)
		if !requestIDForm.MatchString(id) {
			id = uuid.NewString()
		}
		current := &request{id: id, log: s.log}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, current))
		current.http = r
		w := &recorder{ResponseWriter: plain}

		h := w.Header()
		h.Set(requestIDHeader, id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}

		s.metrics.inFlight.Inc()
		defer func() {
			s.metrics.inFlight.Dec()
			failure := recover()
			if err, _ := failure.(error); failure != nil && !errors.Is(err, http.ErrAbortHandler) {
				current.log.Error("request panicked", "request_id", id, "panic", failure, "stack", string(debug.Stack()))
				if w.status == 0 {
					newProblem(http.StatusInternalServerError, "Something went wrong here. The X-Request-Id of this answer finds it in the log.").write(w)
				}
			}
			s.record(current, w, r, time.Since(start), failure != nil)
			if failure != nil {
				panic(http.ErrAbortHandler) // the connection can no longer be trusted
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// record writes the access log's line, which has neither the query nor any header, and so no token.
func (s *Server) record(current *request, w *recorder, r *http.Request, took time.Duration, broken bool) {
	route := r.Pattern
	if route == "" {
		route = "_other"
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	if current.export { // it takes as long as it takes
		route += " export"
	}
	s.metrics.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	s.metrics.duration.WithLabelValues(route).Observe(took.Seconds())
	attributes := []any{
		"request_id", current.id, "method", r.Method, "route", route, "path", cut(rawPath(r)), "status", status, "bytes", w.bytes, "duration", took, "remote", r.RemoteAddr,
	}
	if current.reader != nil {
		attributes = append(attributes, "tenant", current.reader.tenant, "subject", current.subject)
	}
	if broken {
		attributes = append(attributes, "broken_off", true)
	}
	current.log.Info("request", attributes...)
}

// cut bounds the text from a client in a log line.
func cut(s string) string {
	const most = 512
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// screen applies the refusals that hold on every path.
func (s *Server) screen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// What of the body is not read must not be taken for the next request, whatever a proxy in front took to be the body's length.
			w.Header().Set("Connection", "close")
		}
		switch p := s.screened(r); {
		case p != nil:
			if p.Status == http.StatusServiceUnavailable {
				w.Header().Set("Connection", "close")
			}
			p.write(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) screened(r *http.Request) *problem {
	switch {
	case s.isDraining():
		return retryLater(http.StatusServiceUnavailable, drainingDetail, time.Second, nil)
	case s.auth.Open() && !loopback.Asked(r.Host):
		return newProblem(http.StatusMisdirectedRequest, "Without authentication this server answers only to localhost.")
	case len(r.RequestURI) > maxURLBytes:
		return newProblem(http.StatusRequestURITooLong, "The path and query have more than "+strconv.Itoa(maxURLBytes)+" bytes.")
	case headerBytes(r.Header) > maxHeaderBytes:
		return newProblem(http.StatusRequestHeaderFieldsTooLarge, "The headers have more than "+strconv.Itoa(maxHeaderBytes)+" bytes.")
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength != 0:
		return newProblem(http.StatusUnsupportedMediaType, "This API takes no request bodies.")
	}
	return nil
}

func headerBytes(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// guard stands before the routes with data: it asks auth for the tenant that the path names, and gives the
// handler a reader that is bound to it. Nothing of the request but path and token is looked at before.
func (s *Server) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.guarded(w, r, next) }
}

func (s *Server) guarded(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	ctx := r.Context()
	current := requestOf(ctx)
	asked := r.PathValue("tenant_id")

	tenant, identity, err := s.auth.Authorize(ctx, r.Header.Values("Authorization"), asked)
	if err != nil {
		s.deny(current, r, asked, err).write(w)
		return
	}
	current.subject = identity.Subject
	lease := s.memory.lease(tenant.ID())
	defer lease.end()
	rules := s.rules()
	buckets := s.rates.of(tenant)
	s.rates.obey(buckets, time.Now(), rules.RequestLimit(tenant.ID()))
	current.reader = s.tables.reader(tenant, lease, buckets)
	if !rules.Of(tenant.ID()).MayRead() {
		newProblem(http.StatusForbidden, "This tenant is suspended: its data can't be read until an operator resumes it.").write(w)
		return
	}
	if wait, ok := buckets.take(time.Now()); !ok {
		retryLater(http.StatusTooManyRequests, "This tenant has asked too often, or read too much. Slow down.", wait, nil).write(w)
		return
	}
	if !s.requestShares.take(tenant.ID()) {
		retryLater(http.StatusTooManyRequests, "This tenant has as many requests under way as it may have. Wait for an answer before you ask more.", time.Second, nil).write(w)
		return
	}
	defer s.requestShares.give(tenant.ID())
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		retryLater(http.StatusServiceUnavailable, "As many requests as this server allows are under way. Try again shortly.", time.Second, nil).write(w)
		return
	}
	if s.meter != nil {
		defer func() { s.meter.Used(tenant.ID(), &tenants.Usage{Requests: 1, ReadUnits: current.reader.consumed}) }()
	}
	next(w, r)
}

// deny writes the audit line of a denied request and returns its answer, which depends on nothing but the reason: not
// on the item, nor on the tenant, asked for.
func (s *Server) deny(current *request, r *http.Request, tenant string, err error) *denial {
	denied, ok := errors.AsType[*auth.Denied](err)
	if !ok { // Authorize guarantees this; if it fails to, the request is refused
		denied = &auth.Denied{Reason: auth.ReasonMalformed, Err: err}
	}
	s.metrics.denied.WithLabelValues(string(denied.Reason)).Inc()
	attributes := []any{"request_id", current.id, "reason", string(denied.Reason), "tenant", cut(tenant), "route", r.Pattern, "method", r.Method, "remote", r.RemoteAddr}
	if denied.Subject != "" {
		attributes = append(attributes, "subject", cut(denied.Subject))
	}
	if denied.Err != nil {
		attributes = append(attributes, "error", denied.Err)
	}
	// Not a warning, of which the log folds those that are alike: who tried what must be found afterwards. The metric counts.
	current.log.Info("request denied", attributes...)

	d := &denial{}
	switch status := denied.Status(); status {
	case http.StatusForbidden:
		d.problem = newProblem(status, "The bearer token is not for this tenant.")
	case http.StatusServiceUnavailable:
		d.problem = newProblem(status, "Tokens can't be checked at the moment. Try again shortly.")
		d.problem.retryAfter = 5 * time.Second
	case http.StatusBadRequest:
		d.problem = badParameter("path.tenant_id", tenant, "this can't be a tenant id")
	default:
		d.problem = newProblem(status, "A bearer token that is good for this tenant is wanted.")
		d.challenge = `Bearer realm="tributary"`
		if denied.Reason != auth.ReasonNoToken {
			d.challenge += `, error="invalid_token"`
			if denied.Reason == auth.ReasonExpired {
				d.challenge += `, error_description="the token has expired"`
			}
		}
	}
	return d
}

// denial is the answer to a denied request.
type denial struct {
	problem   *problem
	challenge string // WWW-Authenticate ("RFC 6750"), or ""
}

func (d *denial) write(w http.ResponseWriter) {
	if d.challenge != "" {
		w.Header().Set("WWW-Authenticate", d.challenge)
	}
	d.problem.write(w)
}

// recorder records the answer's status and size.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is how http.ResponseController finds the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

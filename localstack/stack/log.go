package stack

import (
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Logged is handler with a line in the log for each request.
func Logged(handler http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		watched := &watched{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(watched, r)
		operation := r.Header.Get("X-Amz-Target")
		if operation == "" {
			operation = r.Method + " " + r.URL.Path
		}
		attributes := []any{
			"operation", operation, "status", watched.status, "took", time.Since(begun).Round(time.Microsecond),
			"request_bytes", max(r.ContentLength, 0), "response_bytes", watched.bytes,
		}
		if watched.status != http.StatusOK {
			attributes = append(attributes, "error", strings.TrimSpace(watched.first))
		}
		log.Info("request", attributes...)
	})
}

// maxLoggedBytes is how much of an error's body is logged.
const maxLoggedBytes = 300

// watched notes what is written to a ResponseWriter.
type watched struct {
	http.ResponseWriter
	status int
	bytes  int
	first  string // the beginning of an error's body
}

func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(b []byte) (int, error) {
	if w.status != http.StatusOK && w.first == "" {
		w.first = string(b[:min(len(b), maxLoggedBytes)])
	}
	w.bytes += len(b)
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what the server gave.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

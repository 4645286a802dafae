package lambda

import (
	"context"
	"log/slog"
	"sync"
)

// Active knows which invocations are under way.
type Active struct {
	mu       sync.Mutex
	requests map[string]int // how often each is under way; guarded by mu
}

// begin notes an invocation. The function that it returns ends it.
func (a *Active) begin(request string) (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.requests == nil {
		a.requests = map[string]int{}
	}
	a.requests[request]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.requests[request]--; a.requests[request] == 0 {
			delete(a.requests, request)
		}
	}
}

// only returns the id of the invocation that is under way, or "" if there is none or more than one.
func (a *Active) only() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.requests) == 1 {
		for request := range a.requests {
			return request
		}
	}
	return ""
}

// Handler returns a handler that adds request_id to each line while one invocation is under way. With several the engine can't
// tell for which of them it works.
func (a *Active) Handler(next slog.Handler) slog.Handler { return &requestHandler{next, a} }

type requestHandler struct {
	slog.Handler
	active *Active
}

// Handle implements slog.Handler.
func (h *requestHandler) Handle(ctx context.Context, r slog.Record) error {
	if request := h.active.only(); request != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", request))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &requestHandler{h.Handler.WithAttrs(attrs), h.active}
}

// WithGroup implements slog.Handler.
func (h *requestHandler) WithGroup(name string) slog.Handler {
	return &requestHandler{h.Handler.WithGroup(name), h.active}
}

package logging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/aws/smithy-go"
)

// The algorithm: the first of equal lines is written at once. Those that follow within foldWindow are counted, and
// when the window ends one line, the last of them, is written with the attribute `repeated`; it opens the next
// window. So a fault is seen when it begins, and costs a line a second while it lasts.
//
// Two lines are equal when level, message, the attributes given by With and the kind of their error are: its AWS
// error code, or otherwise its type. The rest (a tenant, a request id) may differ; the metrics count by tenant.
const foldWindow = time.Second

// maxFoldKinds bounds the kinds of line. Beyond it, lines without an open window are folded by level only.
const maxFoldKinds = 256

// maxRecent is how many kinds Recent remembers.
const maxRecent = 20

type kind struct {
	level   slog.Level
	message string
	scope   string
	err     string
}

type window struct {
	handler *handler
	last    slog.Record
	pending int // counted, not yet written
}

type fold struct {
	mu     sync.Mutex
	open   map[kind]*window // guarded by mu
	seen   []*seen          // the latest kinds, the newest last; guarded by mu
	closed bool             // guarded by mu
}

type seen struct {
	kind  kind
	last  slog.Record
	attrs []slog.Attr
	count int
}

func newFold() *fold { return &fold{open: map[kind]*window{}} }

func (f *fold) handle(ctx context.Context, h *handler, r slog.Record) error {
	k := kind{level: r.Level, message: r.Message, scope: h.scope, err: errorKind(r)}
	f.mu.Lock()
	f.remember(k, h, r)
	w := f.open[k]
	if w == nil && len(f.open) >= maxFoldKinds {
		k = kind{level: r.Level}
		w = f.open[k]
	}
	switch {
	case w != nil:
		w.handler, w.last = h, r.Clone()
		w.pending++
		f.mu.Unlock()
		return nil
	case !f.closed:
		f.open[k] = &window{handler: h}
		time.AfterFunc(foldWindow, func() { f.end(k) })
	}
	f.mu.Unlock()
	return h.lines.Handle(ctx, r)
}

// end writes the lines that a window counted and opens the next window. It forgets the kind if the window counted none.
func (f *fold) end(k kind) {
	f.mu.Lock()
	w := f.open[k]
	if w == nil || w.pending == 0 || f.closed {
		delete(f.open, k)
		f.mu.Unlock()
		if w != nil {
			w.write()
		}
		return
	}
	f.open[k] = &window{handler: w.handler}
	time.AfterFunc(foldWindow, func() { f.end(k) })
	f.mu.Unlock()
	w.write()
}

// write writes the last line of a window that has ended. The caller is the only one that still holds it.
func (w *window) write() {
	if w.pending == 0 {
		return
	}
	w.last.AddAttrs(slog.Int("repeated", w.pending))
	// A log that can't be written has nowhere to say so.
	_ = w.handler.lines.Handle(context.Background(), w.last)
}

func (f *fold) close() {
	f.mu.Lock()
	open := f.open
	f.open, f.closed = map[kind]*window{}, true
	f.mu.Unlock()
	for _, w := range open {
		w.write()
	}
}

func (f *fold) remember(k kind, h *handler, r slog.Record) {
	at := slices.IndexFunc(f.seen, func(s *seen) bool { return s.kind == k })
	s := &seen{kind: k}
	if at >= 0 {
		s = f.seen[at]
		f.seen = slices.Delete(f.seen, at, at+1)
	} else if len(f.seen) == maxRecent {
		f.seen = slices.Delete(f.seen, 0, 1)
	}
	s.last, s.attrs = r.Clone(), h.attrs
	s.count++
	f.seen = append(f.seen, s)
}

func (f *fold) recent() []Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := make([]Entry, 0, len(f.seen))
	for _, s := range slices.Backward(f.seen) {
		e := Entry{
			Last: s.last.Time.UTC(), Level: s.last.Level.String(), Message: clean(s.last.Message), Count: s.count,
			Details: map[string]string{},
		}
		add := func(a slog.Attr) bool {
			e.Details[a.Key] = redact(nil, a).Value.String()
			return true
		}
		for _, a := range s.attrs {
			add(a)
		}
		s.last.Attrs(add)
		entries = append(entries, e)
	}
	return entries
}

// errorKind names the kind of a line's error, not its text: that has request ids in it.
func errorKind(r slog.Record) string {
	var name string
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		if !ok {
			return true
		}
		if api, ok := errors.AsType[smithy.APIError](err); ok {
			name = api.ErrorCode()
			return false
		}
		for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
			err = inner
		}
		name = fmt.Sprintf("%T", err)
		return false
	})
	return name
}

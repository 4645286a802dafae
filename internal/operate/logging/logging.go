// Package logging makes the programs' log: slog lines in JSON or text, with repeated warnings folded into one line
// with a count, and with nothing in them that is secret or a tenant's data.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Config says how to log.
type Config struct {
	Format string // "json" or "text"
	Level  string // "debug", "info", "warn" or "error"
}

// Log is a logger that must be closed for its last counts to be written.
type Log struct {
	*slog.Logger
	fold *fold
}

// New makes a log that writes to w. An error says which setting is wrong.
func New(w io.Writer, cfg Config) (*Log, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, fmt.Errorf("log level is %q: it must be debug, info, warn or error", cfg.Level)
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	var lines slog.Handler
	switch cfg.Format {
	case "json":
		lines = slog.NewJSONHandler(w, options)
	case "text":
		lines = slog.NewTextHandler(w, options)
	default:
		return nil, fmt.Errorf("log format is %q: it must be json or text", cfg.Format)
	}
	f := newFold()
	return &Log{Logger: slog.New(&handler{lines: lines, fold: f}), fold: f}, nil
}

// Close writes the counts that are still to be written. The log may be used on; it then no longer folds.
func (l *Log) Close() { l.fold.close() }

// Recent returns the latest different warnings and errors, the newest first, for /status.
func (l *Log) Recent() []Entry { return l.fold.recent() }

// Entry is one warning or error, and how often it came.
type Entry struct {
	Last    time.Time         `json:"last"`
	Level   string            `json:"level"`
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
	Count   int               `json:"count"`
}

// handler folds warnings and errors. It passes other lines on unchanged.
type handler struct {
	lines slog.Handler
	attrs []slog.Attr // of With, for Entry; nil groups
	scope string      // the attributes and groups of With, as part of what makes two lines equal
	fold  *fold
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.lines.Enabled(ctx, l) }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.lines.Handle(ctx, r)
	}
	return h.fold.handle(ctx, h, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	own := *h
	own.lines = h.lines.WithAttrs(attrs)
	own.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	for _, a := range attrs {
		own.scope += "," + a.String()
	}
	return &own
}

func (h *handler) WithGroup(name string) slog.Handler {
	own := *h
	own.lines = h.lines.WithGroup(name)
	own.scope += "," + name + "{"
	return &own
}

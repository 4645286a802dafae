package importer

import (
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Bar is a Progress for terminals.
type Bar struct {
	out      io.Writer
	bars     *mpb.Progress
	bar      *mpb.Bar
	sized    bool
	started  time.Time
	resumed  int64 // rows before the first update
	updated  bool
	rows     atomic.Int64 // a second
	rejected atomic.Int64
}

// NewBar returns a bar that draws on a terminal.
func NewBar(out io.Writer) *Bar { return &Bar{out: out} }

// Start draws an empty bar.
func (b *Bar) Start(file string, size int64) {
	b.bars = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
	b.sized, b.started, b.updated = size > 0, time.Now(), false
	b.rows.Store(0)
	b.rejected.Store(0)
	name := decor.Name(shownName(file) + "  ")
	counts := decor.Any(func(decor.Statistics) string {
		return fmt.Sprintf("  %s rows/s  %s rejected", Thousands(b.rows.Load()), Thousands(b.rejected.Load()))
	})
	if b.sized {
		b.bar = b.bars.AddBar(size,
			mpb.PrependDecorators(name, decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), counts, decor.Name("  "),
				decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "done"), decor.OnComplete(decor.Name(" left"), "")))
		return
	}
	b.bar = b.bars.New(0, mpb.NopStyle(),
		mpb.PrependDecorators(name, decor.CurrentKibiByte("% .1f")),
		mpb.AppendDecorators(counts, decor.Name("  "), decor.Elapsed(decor.ET_STYLE_GO)))
}

// Update moves the bar.
func (b *Bar) Update(read int64, now Counts) {
	if !b.updated {
		b.resumed, b.updated = now.Rows, true
	}
	if seconds := time.Since(b.started).Seconds(); seconds > 0 {
		b.rows.Store(int64(float64(now.Rows-b.resumed) / seconds))
	}
	b.rejected.Store(now.Rejected)
	b.bar.SetCurrent(read)
}

// Stop leaves the bar as it is.
func (b *Bar) Stop() {
	if b.sized && b.bar.Completed() {
		b.bars.Wait()
		return
	}
	if b.sized {
		b.bar.Abort(false)
	} else {
		b.bar.SetTotal(-1, true)
	}
	b.bars.Wait()
}

// Lines is a Progress for logs: a line every few seconds.
type Lines struct {
	out     io.Writer
	every   time.Duration
	file    string
	size    int64
	started time.Time
	last    time.Time
	before  Counts // at the last line
	updated bool
}

// NewLines returns a Progress that writes lines.
func NewLines(out io.Writer) *Lines { return &Lines{out: out, every: 5 * time.Second} }

// Start writes nothing yet.
func (l *Lines) Start(file string, size int64) {
	l.file, l.size, l.updated = shownName(file), size, false
	l.started = time.Now()
	l.last = l.started
}

// Update writes a line when it is time for one.
func (l *Lines) Update(read int64, now Counts) {
	if !l.updated {
		l.before, l.updated = now, true
	}
	since := time.Since(l.last)
	if since < l.every {
		return
	}
	done := ""
	if l.size > 0 {
		done = fmt.Sprintf(" (%d %%)", 100*read/l.size)
	}
	_, _ = fmt.Fprintf(l.out, "%s: %s rows%s, %s rows/s, %s rejected\n", l.file, Thousands(now.Rows), done,
		Thousands(int64(float64(now.Rows-l.before.Rows)/since.Seconds())), Thousands(now.Rejected))
	l.last, l.before = time.Now(), now
}

// Stop writes nothing: the summary follows.
func (l *Lines) Stop() {}

func shownName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return filepath.Base(file)
}

// Thousands writes a number with commas.
func Thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

package importer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Bar is a Progress for terminals: a line that is written again and again.
type Bar struct {
	out     io.Writer
	file    string
	size    int64
	started time.Time
	drawn   time.Time
	first   int64 // rows before the first update, by an earlier run
	read    int64
	now     Counts
	updated bool
}

// NewBar returns a bar that draws on a terminal.
func NewBar(out io.Writer) *Bar { return &Bar{out: out} }

// Start draws nothing yet.
func (b *Bar) Start(file string, size int64) {
	*b = Bar{out: b.out, file: shownName(file), size: size, started: time.Now()}
}

// Update draws the line, five times a second at most.
func (b *Bar) Update(read int64, now Counts) {
	if !b.updated {
		b.first, b.updated = now.Rows, true
	}
	b.read, b.now = read, now
	if time.Since(b.drawn) >= 200*time.Millisecond {
		b.draw()
	}
}

// Stop draws the line for the last time.
func (b *Bar) Stop() {
	b.draw()
	_, _ = fmt.Fprintln(b.out)
}

// draw writes over the line that is there, to its end.
func (b *Bar) draw() {
	b.drawn = time.Now()
	line := b.line(b.drawn.Sub(b.started))
	if f, ok := b.out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil { // a line that is broken could not be written over
			line = cutTo(line, width-1)
		}
	}
	_, _ = fmt.Fprintf(b.out, "\r%s\x1b[K", line)
}

// line is the bar's text after some time.
func (b *Bar) line(elapsed time.Duration) string {
	rate := int64(0)
	if elapsed > 0 {
		rate = int64(float64(b.now.Rows-b.first) / elapsed.Seconds())
	}
	of, end := "", elapsed.Truncate(time.Second).String()
	switch {
	case b.size > 0 && b.read >= b.size:
		of, end = fmt.Sprintf(" of %s (100 %%)", mebibytes(b.size)), "done"
	case b.size > 0 && b.read > 0:
		left := time.Duration(float64(elapsed) * float64(b.size-b.read) / float64(b.read))
		of, end = fmt.Sprintf(" of %s (%d %%)", mebibytes(b.size), 100*b.read/b.size), left.Truncate(time.Second).String()+" left"
	}
	return fmt.Sprintf("%s: %s%s, %s rows/s, %s rejected, %s", b.file, mebibytes(b.read), of, Thousands(rate), Thousands(b.now.Rejected), end)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// cutTo cuts a line to a number of characters.
func cutTo(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width])
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

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress tells people how far a command is: on a terminal one line that is written again and again, otherwise a line every few
// seconds. One goroutine uses it.
type progress struct {
	out      io.Writer
	terminal bool
	width    int
	last     time.Time
	drawn    bool // there is a line to end
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, last: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil { // a line that is broken could not be written over
			p.width = width - 1
		}
	}
	return p
}

// show shows a line when it is time for one.
func (p *progress) show(format string, args ...any) {
	every := 5 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	if now := time.Now(); now.Sub(p.last) >= every {
		p.last = now
		p.write(fmt.Sprintf(format, args...))
	}
}

// say shows a line at once.
func (p *progress) say(format string, args ...any) { p.write(fmt.Sprintf(format, args...)) }

func (p *progress) write(line string) {
	if !p.terminal {
		_, _ = fmt.Fprintln(p.out, line)
		return
	}
	if runes := []rune(line); p.width > 0 && len(runes) > p.width {
		line = string(runes[:p.width])
	}
	p.drawn = true
	_, _ = fmt.Fprintf(p.out, "\r%s\x1b[K", line)
}

// end leaves the last line where it is.
func (p *progress) end() {
	if p.drawn {
		_, _ = fmt.Fprintln(p.out)
		p.drawn = false
	}
}

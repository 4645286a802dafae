package importer

import (
	"bytes"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"tributary/internal/aws/limits"
)

// MaxRowBytes is the longest row: nothing longer fits a message.
const MaxRowBytes = limits.SQSMessageBytes

// window is a view of the input that moves on row by row. It knows where it is, and a fingerprint of all before.
type window struct {
	r          io.Reader
	buf        []byte // of fixed size: a row and its line ending, and room to read on
	start, end int    // the part of buf that was read and not consumed
	eof        bool
	err        error // of reading, other than io.EOF
	offset     int64 // of start within the input
	line       int64 // of start, counted from 1
	passed     xxhash.Digest
	cr         bool // CR ends lines in this input, and is shown as LF
}

// newWindow returns a window that shows rows of up to most bytes.
func newWindow(r io.Reader, most int) *window {
	w := &window{r: r, buf: make([]byte, most+2), line: 1}
	w.passed.Reset()
	return w
}

// data returns the unconsumed bytes.
func (w *window) data() []byte { return w.buf[w.start:w.end] }

// empty says that nothing can be seen.
func (w *window) empty() bool { return w.start == w.end }

// more shows more of the input, or that there is no more. It returns false when that was known, or the row is too long.
func (w *window) more() bool {
	if w.eof || w.end-w.start == len(w.buf) {
		return false
	}
	if len(w.buf)-w.end < 64<<10 {
		w.end = copy(w.buf, w.data())
		w.start = 0
	}
	for range 100 {
		n, err := w.r.Read(w.buf[w.end:])
		if w.cr {
			lineFeeds(w.buf[w.end : w.end+n])
		}
		w.end += n
		if err != nil {
			w.eof = true
			if err != io.EOF {
				w.err = err
			}
			return true
		}
		if n > 0 {
			return true
		}
	}
	w.eof, w.err = true, io.ErrNoProgress
	return false
}

// endLinesByCR finds out whether the first line ends with a CR alone, as old Macs and Excel's "CSV (Macintosh)" write it.
// Then all lines may. A line end within quotes doesn't count. Nothing is consumed.
func (w *window) endLinesByCR(quote byte) {
	quoted := false
	for i := 0; ; i++ {
		if i+1 >= len(w.data()) && !w.more() && i >= len(w.data()) {
			return
		}
		data := w.data()
		if i >= len(data) {
			i--
			continue
		}
		switch c := data[i]; {
		case c == quote && quote != 0:
			quoted = !quoted
		case quoted:
		case c == '\n':
			return
		case c == '\r':
			if i+1 < len(data) && data[i+1] == '\n' {
				return
			}
			w.cr = true
			lineFeeds(data)
			return
		}
	}
}

func lineFeeds(b []byte) {
	for i, c := range b {
		if c == '\r' {
			b[i] = '\n'
		}
	}
}

// skipMark moves behind a byte order mark, which files that were joined have within.
func (w *window) skipMark() {
	if !w.empty() && w.buf[w.start] != byteOrderMark[0] {
		return
	}
	for w.end-w.start < len(byteOrderMark) && w.more() {
	}
	if bytes.HasPrefix(w.data(), byteOrderMark) {
		w.consume(len(byteOrderMark), 0)
	}
}

// readLine shows the next line, its CR included; ending is 1 when a line feed follows. It is false for a line that is
// longer than a row may be.
func (w *window) readLine() (line []byte, ending int, ok bool) {
	for seen := 0; ; {
		data := w.data()
		if i := bytes.IndexByte(data[seen:], '\n'); i >= 0 {
			return data[:seen+i], 1, true
		}
		seen = len(data)
		if !w.more() {
			return w.data(), 0, !w.full()
		}
	}
}

// full says that no row that starts here can be shown to its end.
func (w *window) full() bool { return !w.eof && w.end-w.start == len(w.buf) }

// consume moves on by n bytes, which hold so many line endings.
func (w *window) consume(n, lines int) {
	_, _ = w.passed.Write(w.buf[w.start : w.start+n]) // never fails
	w.start += n
	w.offset += int64(n)
	w.line += int64(lines)
}

// skipLine moves behind the next line ending, however far it is, and says whether it saw quotes; quote 0 means no quotes.
func (w *window) skipLine(quote byte) (quotes bool) {
	for {
		line, lines := w.data(), 0
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, lines = line[:i+1], 1
		}
		quotes = quotes || quote != 0 && bytes.IndexByte(line, quote) >= 0
		w.consume(len(line), lines)
		if lines == 1 || !w.more() {
			return quotes
		}
	}
}

// skipTo moves to an offset that lies before a row; line is the line that is there.
func (w *window) skipTo(offset, line int64) error {
	for w.offset < offset {
		if w.empty() && !w.more() {
			if w.err != nil {
				return w.err
			}
			return io.ErrUnexpectedEOF
		}
		w.consume(int(min(offset-w.offset, int64(w.end-w.start))), 0)
	}
	w.line = line
	return nil
}

// ended says that there is nothing more.
func (w *window) ended() bool {
	for w.empty() && w.more() {
	}
	return w.empty()
}

// fingerprint is a hash of all that was consumed.
func (w *window) fingerprint() string { return fmt.Sprintf("%016x", w.passed.Sum64()) }

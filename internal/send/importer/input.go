package importer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"tributary/internal/aws/limits"
)

// MaxRowBytes is the longest row: nothing longer fits a message.
const MaxRowBytes = limits.SQSMessageBytes

// maxZstdWindow bounds what decompressing takes; files made with zstd --long=25 and above need more.
const maxZstdWindow = 32 << 20

// FileError says that a file can't be read as what it should be.
type FileError struct {
	File    string
	Problem string
	Err     error // the cause, or nil
}

func (e *FileError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.File, e.Problem, e.Err)
	}
	return e.File + ": " + e.Problem
}

func (e *FileError) Unwrap() error { return e.Err }

// source is an open input: decompressed, without a byte order mark.
type source struct {
	size  int64 // of the file, as it is on disk; -1 when unknown
	read  atomic.Int64
	bytes *bufio.Reader
	close func()
}

// countingReader counts what is read of the file, for the progress bar.
type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// isStream says that a name is of something that is read or written once, and beside which nothing can be kept: a pipe,
// a device, or an open file's name, as in "import /dev/stdin <orders.csv".
func isStream(name string, info os.FileInfo) bool {
	return !info.Mode().IsRegular() || strings.HasPrefix(name, "/dev/std") || strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/")
}

func cantOpen(name string, err error) error {
	if why, ok := errors.AsType[*os.PathError](err); ok {
		err = why.Err
	}
	return &FileError{name, "can't open it", err}
}

// interruptible reads in a goroutine of its own, because a read from a pipe or a terminal, and the opening of a pipe,
// end only when somebody writes: this way ctx ends them at once. The goroutine may outlive the import; the program
// ends then.
func interruptible(ctx context.Context, open func() (io.ReadCloser, error)) *io.PipeReader {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = in.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer stop()
		r, err := open()
		if err == nil {
			_, err = io.Copy(in, r)
			_ = r.Close() // it was only read
		}
		_ = in.CloseWithError(err) // nil is the end of the input
	}()
	return out
}

// input is what a name on the command line is of.
type input struct {
	name   string      // "-" for standard input
	info   os.FileInfo // nil for standard input that is no file
	stream bool        // see isStream
	beside string      // what the name of a file beside it begins with
}

// same says whether two names are of one file, or of one stream.
func (in input) same(other input) bool {
	return in.name == other.name || !in.stream && os.SameFile(in.info, other.info)
}

// look finds out what a name is of.
func look(name string, stdin io.Reader) (in input, err error) {
	if name == "-" {
		if f, ok := stdin.(*os.File); ok {
			in.info, _ = f.Stat() // nil where it fails
		}
		return input{name, in.info, true, "stdin"}, nil
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return input{}, cantOpen(name, err)
	case info.IsDir():
		return input{}, &FileError{name, "is a directory, not a file", nil}
	case isStream(name, info):
		return input{name, info, true, "stdin"}, nil
	}
	return input{name, info, false, name}, nil
}

// openSource opens an input. What is compressed shows by its first bytes, not by its name. Where the input keeps its
// reader waiting, the end of ctx ends that.
func openSource(ctx context.Context, in input, stdin io.Reader) (*source, error) {
	name := in.name
	s := &source{size: -1}
	var r io.ReadCloser
	switch {
	case name == "-":
		r = interruptible(ctx, func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil })
	case in.stream:
		r = interruptible(ctx, func() (io.ReadCloser, error) { return os.Open(name) })
	default:
		f, err := os.Open(name)
		if err != nil {
			return nil, cantOpen(name, err)
		}
		s.size = in.info.Size()
		r = f
	}
	s.close = func() { _ = r.Close() }
	compressed := bufio.NewReaderSize(countingReader{r, &s.read}, 64<<10)
	magic, err := compressed.Peek(4)
	if err != nil && err != io.EOF {
		s.close()
		return nil, &FileError{name, "can't read it", err}
	}
	plain := compressed
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(compressed)
		if err != nil {
			s.close()
			return nil, &FileError{name, "is no proper gzip file", err}
		}
		plain = bufio.NewReaderSize(z, 64<<10)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(compressed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			s.close()
			return nil, &FileError{name, "is no proper zstd file", err}
		}
		file := s.close
		s.close = func() { z.Close(); file() }
		plain = bufio.NewReaderSize(z, 64<<10)
	}
	mark, err := plain.Peek(3)
	if err != nil && err != io.EOF {
		s.close()
		return nil, &FileError{name, "can't read it", err}
	}
	switch {
	case bytes.HasPrefix(mark, []byte{0xff, 0xfe}), bytes.HasPrefix(mark, []byte{0xfe, 0xff}):
		s.close()
		return nil, &FileError{name, "is UTF-16: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)", nil}
	case bytes.Equal(mark, []byte{0xef, 0xbb, 0xbf}):
		_, _ = plain.Discard(len(mark)) // they are in the buffer
	}
	s.bytes = plain
	return s, nil
}

// peek returns the first byte that is not white space, without consuming anything; 0 where there is none near. It
// waits for no more than that byte.
func (s *source) peek() byte {
	for n := 1; n <= 512; n++ {
		b, err := s.bytes.Peek(n)
		if err != nil {
			break
		}
		if c := b[n-1]; strings.IndexByte(" \t\r\n", c) < 0 {
			return c
		}
	}
	return 0
}

// window is a view of the input that moves on row by row. It knows where it is, and a fingerprint of all before.
type window struct {
	r          io.Reader
	buf        []byte // of fixed size: a row and its line ending, and room to read on
	start, end int    // what of buf was read and not consumed
	eof        bool
	err        error // of reading, other than io.EOF
	offset     int64 // of start within the input
	line       int64 // of start, counted from 1
	passed     xxhash.Digest
}

// newWindow returns a window that shows rows of up to most bytes.
func newWindow(r io.Reader, most int) *window {
	w := &window{r: r, buf: make([]byte, most+2), line: 1}
	w.passed.Reset()
	return w
}

// data is what can be seen.
func (w *window) data() []byte { return w.buf[w.start:w.end] }

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

// skipLine moves behind the next line ending, however far it is, and says whether it saw quotes.
func (w *window) skipLine() (quotes bool) {
	for {
		line, lines := w.data(), 0
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, lines = line[:i+1], 1
		}
		quotes = quotes || bytes.IndexByte(line, '"') >= 0
		w.consume(len(line), lines)
		if lines == 1 || !w.more() {
			return quotes
		}
	}
}

// skipTo moves to an offset that lies before a row; line is the line that is there.
func (w *window) skipTo(offset, line int64) error {
	for w.offset < offset {
		if w.start == w.end && !w.more() {
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
	for w.start == w.end && w.more() {
	}
	return w.start == w.end
}

// fingerprint is a hash of all that was consumed.
func (w *window) fingerprint() string { return fmt.Sprintf("%016x", w.passed.Sum64()) }

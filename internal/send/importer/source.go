package importer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory for decompression; files made with zstd --long=25 and above need more.
const maxZstdWindow = 32 << 20

// source is an open input: decompressed, without a byte order mark.
type source struct {
	size  int64 // of the file, as it is on disk; -1 when unknown
	read  atomic.Int64
	bytes *bufio.Reader
	close func()
	// trailing reports, at the end, whether other bytes follow the compressed data.
	trailing bool
}

// countingReader counts the bytes read from the file, for the progress bar.
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
// end only when another process writes: this way ctx ends them at once. The goroutine may outlive the import; the program
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

// input describes the source that a name on the command line stands for.
type input struct {
	name   string      // "-" for standard input
	info   os.FileInfo // nil for standard input that is no file
	stream bool        // see isStream
	beside string      // prefix for the names of files beside it
}

// same says whether two names are of one file, or of one stream.
func (in input) same(other input) bool {
	return in.name == other.name || !in.stream && os.SameFile(in.info, other.info)
}

// look inspects the source that a name stands for.
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
		z.Multistream(false)
		plain = bufio.NewReaderSize(&gzipReader{z, compressed, s}, 64<<10)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(compressed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			s.close()
			return nil, &FileError{name, "is no proper zstd file", err}
		}
		file := s.close
		s.close = func() { z.Close(); file() }
		plain = bufio.NewReaderSize(&zstdReader{z, s, false}, 64<<10)
	}
	start, err := plain.Peek(4)
	if err != nil && err != io.EOF {
		s.close()
		return nil, &FileError{name, "can't read it", err}
	}
	if err == nil {
		start, _ = plain.Peek(min(64, plain.Buffered())) // no more than is there: a pipe's writer may wait for an answer
	}
	if what := foreign(name, start); what != "" {
		s.close()
		return nil, &FileError{name, what, nil}
	}
	if bytes.HasPrefix(start, byteOrderMark) {
		_, _ = plain.Discard(len(byteOrderMark)) // they are in the buffer
	}
	s.bytes = plain
	return s, nil
}

var byteOrderMark = []byte{0xef, 0xbb, 0xbf}

// gzipReader reads the members of a gzip file. Zeros behind the last one, which tapes and block devices leave, are its
// end; other bytes are as well, and noted.
type gzipReader struct {
	z      *gzip.Reader
	file   *bufio.Reader
	source *source
}

func (g *gzipReader) Read(b []byte) (int, error) {
	for {
		n, err := g.z.Read(b)
		if n > 0 && errors.Is(err, io.EOF) {
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
}

// next goes to the next member; the error is io.EOF after the last.
func (g *gzipReader) next() error {
	for padded := false; ; padded = true {
		next, err := g.file.Peek(2)
		if len(next) == 0 {
			return err
		}
		if !padded && len(next) == 2 && next[0] == 0x1f && next[1] == 0x8b {
			if err := g.z.Reset(g.file); err != nil {
				return err
			}
			g.z.Multistream(false)
			return nil
		}
		if next[0] != 0 {
			g.source.trailing = true
			return io.EOF
		}
		_, _ = g.file.Discard(1) // it was seen
	}
}

// zstdReader notes other bytes after the last frame.
type zstdReader struct {
	z      *zstd.Decoder
	source *source
	some   bool // was read
}

func (z *zstdReader) Read(b []byte) (int, error) {
	n, err := z.z.Read(b)
	z.some = z.some || n > 0
	if z.some && errors.Is(err, zstd.ErrMagicMismatch) {
		z.source.trailing = true
		err = io.EOF
	}
	return n, err
}

// startsAsJSON says whether the input begins with an object, or an array of them, without consuming anything. It waits
// for no more than that shows by.
func (s *source) startsAsJSON() bool {
	array := false
	for n := 1; n <= 512; n++ {
		b, err := s.bytes.Peek(n)
		if err != nil {
			break
		}
		switch c := b[n-1]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
		case c == '[' && !array:
			array = true
		default:
			return c == '{'
		}
	}
	return false
}

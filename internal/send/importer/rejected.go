package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
)

// rejects writes the rows that were refused, in the format that they came in, with line number and reason. The file
// is made when the first row comes. An empty path writes nothing.
type rejects struct {
	path      string
	format    Format
	delimiter byte
	quote     byte   // of CSV; 0: none
	header    []byte // of CSV, as it stands in the file
	file      *os.File
	out       *bufio.Writer
	size      int64 // bytes written, flushed or not
	line      []byte
}

// check reports why rejected rows can't go to their path. They may replace only rejected rows of an earlier import.
// What is no file, such as /dev/stderr or a pipe, is only written to.
func (r *rejects) check(file string, inputs []input) error {
	if r.path == "" {
		return nil
	}
	info, err := os.Stat(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var why string
	switch {
	case err != nil:
		why = "can't be looked at: " + err.Error()
	case info.IsDir():
		why = "is a directory"
	case info.Mode()&os.ModeCharDevice == 0 && slices.ContainsFunc(inputs, func(in input) bool { return os.SameFile(in.info, info) }):
		why = "is read by this import" // a terminal may well be read and written
	case !isStream(r.path, info) && !r.replaceable():
		why = "holds something else"
	default:
		return nil
	}
	return usage("%s: its rejected rows would go to %s, which %s: move that away, or (of one file, not resumed) let --rejected name another place", file, r.path, why)
}

// replaceable says whether the file at the path is empty, or begins as only a file of rejected rows does.
func (r *rejects) replaceable() bool {
	f, err := os.Open(r.path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	start := make([]byte, len(rejectedLine)+1+len(rejectedReason))
	n, err := io.ReadFull(f, start)
	if n == 0 {
		return errors.Is(err, io.EOF)
	}
	text := string(start[:n])
	rest, isCSV := strings.CutPrefix(text, rejectedLine)
	return isCSV && len(rest) > 0 && rest[1:] == rejectedReason || strings.HasPrefix(text, rejectedMember)
}

// start begins anew, without a file, or goes on behind the first size bytes of the one that is there. The path was
// checked.
func (r *rejects) start(size int64) error {
	if r.path == "" {
		return nil
	}
	info, err := os.Stat(r.path)
	if size == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("go on with rejected rows: %w", err)
	}
	stream := isStream(r.path, info)
	if size == 0 {
		if stream || info.Size() == 0 {
			return nil
		}
		target, err := filepath.EvalSymlinks(r.path)
		if err == nil {
			err = os.Remove(target)
		}
		if err != nil {
			return fmt.Errorf("remove old rejected rows: %w", err)
		}
		return nil
	}
	if !stream && info.Size() < size {
		return fmt.Errorf("go on with rejected rows: %s has %d bytes, the checkpoint says %d", r.path, info.Size(), size)
	}
	if err := r.open(); err != nil {
		return err
	}
	if r.size = size; !stream {
		if err := r.file.Truncate(size); err != nil {
			return fmt.Errorf("go on with rejected rows: %w", err)
		}
	}
	return nil
}

// open opens the path for appending, so that it can't destroy rows written meanwhile.
func (r *rejects) open() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write rejected rows (--rejected says where): %w", err)
	}
	r.file, r.out = f, bufio.NewWriter(f)
	return nil
}

// add writes one row.
func (r *rejects) add(line int64, raw []byte, why *messages.Error) error {
	if r.path == "" {
		return nil
	}
	if r.file == nil {
		if err := r.open(); err != nil {
			return err
		}
		if r.header != nil {
			r.line = append(append(append(append(append(r.line[:0], rejectedLine...), r.delimiter), rejectedReason...), r.delimiter), r.header...)
			if err := r.write(append(r.line, '\n')); err != nil {
				return err
			}
		}
	}
	r.line = r.line[:0]
	if r.format == CSV {
		r.line = append(strconv.AppendInt(r.line, line, 10), r.delimiter)
		r.line = append(append(r.appendReason(why.Error()), r.delimiter), raw...)
	} else {
		r.line = strconv.AppendInt(append(r.line, rejectedMember...), line, 10)
		r.line = rawjson.AppendString(append(r.line, `,"rejected_reason":`...), strings.ToValidUTF8(why.Error(), "\uFFFD"))
		switch {
		case !utf8.Valid(raw): // JSON has no bytes: base64, as encoding/json writes them
			text, _ := json.Marshal(raw) // never fails
			r.line = append(append(r.line, `,"base64":`...), text...)
		case json.Valid(raw):
			r.line = append(r.line, `,"row":`...)
			if bytes.IndexByte(raw, '\n') < 0 {
				r.line = append(r.line, raw...)
				break
			}
			var compact bytes.Buffer
			_ = json.Compact(&compact, raw) // it is valid
			r.line = append(r.line, compact.Bytes()...)
		default:
			r.line = rawjson.AppendString(append(r.line, `,"text":`...), string(raw))
		}
		r.line = append(r.line, '}')
	}
	return r.write(append(r.line, '\n'))
}

// appendReason appends a field of CSV to the line.
func (r *rejects) appendReason(text string) []byte {
	if r.quote == 0 {
		for _, c := range []byte(text) {
			if c == r.delimiter || c == '\n' || c == '\r' {
				c = ' '
			}
			r.line = append(r.line, c)
		}
		return r.line
	}
	quote := string(rune(r.quote))
	return append(append(append(r.line, r.quote), strings.ReplaceAll(text, quote, quote+quote)...), r.quote)
}

func (r *rejects) write(b []byte) error {
	n, err := r.out.Write(b)
	r.size += int64(n)
	if err != nil {
		return fmt.Errorf("write rejected rows: %w", err)
	}
	return nil
}

// flush writes the added rows to the file.
func (r *rejects) flush() error {
	if r.file == nil {
		return nil
	}
	if err := r.out.Flush(); err != nil {
		return fmt.Errorf("write rejected rows: %w", err)
	}
	return nil
}

func (r *rejects) close() error {
	if r.file == nil {
		return nil
	}
	err := r.flush()
	if closed := r.file.Close(); err == nil && closed != nil {
		err = fmt.Errorf("write rejected rows: %w", closed)
	}
	r.file = nil
	return err
}

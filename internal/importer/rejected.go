package importer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/messages"
	"tributary/internal/rawjson"
)

// rejects writes the rows that were refused, in the format that they came in, with line number and reason. The file
// is made when the first row comes. An empty path writes nothing.
type rejects struct {
	path      string
	format    Format
	delimiter byte
	header    []byte // the file's own header as it stands; nil where it has none
	file      *os.File
	out       *bufio.Writer
	size      int64 // bytes written, flushed or not
	line      []byte
}

// start begins anew, without a file, or goes on behind the first size bytes of the one that is there.
func (r *rejects) start(size int64) error {
	if r.path == "" {
		return nil
	}
	if size == 0 {
		if err := os.Remove(r.path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove old rejected rows: %w", err)
		}
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("go on with rejected rows: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() < size {
		err = fmt.Errorf("%s has %d bytes, the checkpoint says %d", r.path, info.Size(), size)
	}
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, 0)
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("go on with rejected rows: %w", err)
	}
	r.file, r.out, r.size = f, bufio.NewWriter(f), size
	return nil
}

// add writes one row.
func (r *rejects) add(line int64, raw []byte, why *messages.Error) error {
	if r.path == "" {
		return nil
	}
	if r.file == nil {
		f, err := os.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("write rejected rows (--rejected says where): %w", err)
		}
		r.file, r.out = f, bufio.NewWriter(f)
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
		r.line = append(append(r.line, '"'), strings.ReplaceAll(why.Error(), `"`, `""`)...)
		r.line = append(append(r.line, '"', r.delimiter), raw...)
	} else {
		r.line = strconv.AppendInt(append(r.line, `{"rejected_line":`...), line, 10)
		r.line = rawjson.AppendString(append(r.line, `,"rejected_reason":`...), strings.ToValidUTF8(why.Error(), "\uFFFD"))
		switch {
		case !utf8.Valid(raw): // JSON has no bytes: base64, as encoding/json writes them
			text, _ := json.Marshal(raw) // never fails
			r.line = append(append(r.line, `,"base64":`...), text...)
		case json.Valid(raw):
			r.line = append(append(r.line, `,"row":`...), raw...)
		default:
			r.line = rawjson.AppendString(append(r.line, `,"text":`...), string(raw))
		}
		r.line = append(r.line, '}')
	}
	return r.write(append(r.line, '\n'))
}

func (r *rejects) write(b []byte) error {
	n, err := r.out.Write(b)
	r.size += int64(n)
	if err != nil {
		return fmt.Errorf("write rejected rows: %w", err)
	}
	return nil
}

// flush brings what was added into the file.
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

package importer

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// valueReader reads JSON: commands, or objects where there is a mapping for them.
//
// Usually every line is a row, so that a broken one costs itself and no more; values one after another on a line, as
// Firehose writes them, are rows as well. A file that begins with an array, or with a bracket that stands alone, is
// read as a whole instead: the elements of its arrays, and its other values, are rows whatever lines they stand on.
// If such a file is not JSON, the rest may be part of a value that only looks like a row: reading ends there.
type valueReader struct {
	*window
	types   *schema.Set // of commands
	objects *objectMapping
	whole   bool // the file is read as a whole
	inArray bool // whole: the next value is an element
	opened  bool // whole: the first one
	joined  bool // by line: more values are on this one
	raw     []byte
	at      int64
}

func (r *valueReader) last() ([]byte, int64) { return r.raw, r.at }

// look looks at the first line, which says how to read. If the file can't be read, it returns what the file is.
func (r *valueReader) look() (problem string) {
	line := r.firstLine()
	if len(line) == 0 {
		return ""
	}
	switch line[0] {
	case '[':
		r.whole = r.objects != nil || valueEnd(line, false) != len(line)
	case '{':
		if r.whole = len(line) == 1; !r.whole && isExport(string(line)) {
			return exportLines
		}
	}
	return ""
}

// firstLine returns the first line that is not blank, as far as a row may go, without white space around it.
func (r *valueReader) firstLine() []byte {
	at := 0
	for {
		data := r.data()
		for at < len(data) && isSpace(data[at]) {
			at++
		}
		if at < len(data) {
			break
		}
		if !r.more() {
			return nil
		}
	}
	for seen := at; ; {
		data := r.data()
		if i := bytes.IndexByte(data[seen:], '\n'); i >= 0 {
			return bytes.TrimRight(data[at:seen+i], " \t\r")
		}
		seen = len(data)
		if !r.more() {
			return bytes.TrimRight(data[at:], " \t\r")
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// unclosed is valueEnd's result for a line end within a string, where no value continues.
const unclosed = -1

// valueEnd returns the length of the object or array that text starts with, by its brackets; 0 where text, or its
// first line, doesn't show the end.
func valueEnd(text []byte, lines bool) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\n' && quoted:
			return unclosed
		case c == '\n' && !lines:
			return 0
		case quoted && c == '\\' && i+1 < len(text) && text[i+1] != '\n':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// startsMore says whether an object or array follows, on the same line.
func startsMore(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}

func (r *valueReader) read(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error) {
	if r.whole {
		return r.readWhole(dst, number)
	}
	for {
		if r.joined {
			r.skipSpace(" \t\r")
			if n := r.seeValue(false); n > 0 {
				r.raw, r.at = r.data()[:n], r.line
				r.consume(n, 0)
				return r.decode(dst, number)
			}
			r.joined = false // the rest of the line, if there is any, is a row
		}
		r.skipMark()
		r.at = r.line
		line, ending, ok := r.readLine()
		if !ok {
			if n := valueEnd(line, false); n > 0 && startsMore(line[n:]) {
				r.joined = true
				continue
			}
			r.raw = bytes.Clone(line)
			first := r.offset
			r.skipLine(0)
			return dst, tooLong(r.offset - first), nil
		}
		if ending == 0 && r.err != nil {
			return dst, nil, r.err // the rest may be half a row
		}
		if len(line)+ending == 0 {
			return dst, nil, io.EOF
		}
		r.raw = bytes.TrimSuffix(line, []byte{'\r'})
		start := bytes.TrimLeft(r.raw, " \t\r")
		if len(start) == 0 {
			r.consume(len(line)+ending, ending)
			continue
		}
		found, bad, err := r.decode(dst, number)
		if bad != nil && bad.Reason == messages.ReasonMalformed && startsMore(start) {
			if n := valueEnd(start, false); n > 0 && startsMore(start[n:]) {
				r.joined = true
				continue
			}
		}
		r.consume(len(line)+ending, ending)
		return found, bad, err
	}
}

// readWhole reads the next value of a file that is read as a whole.
func (r *valueReader) readWhole(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error) {
	for {
		c := r.skipSpace(" \t\r\n")
		switch {
		case c == 0 && r.err != nil:
			return dst, nil, r.err
		case c == 0 && r.inArray:
			return dst, nil, r.broken("the file ends within an array")
		case c == 0 && r.empty():
			return dst, nil, io.EOF
		case c == ']' && r.inArray:
			r.consume(1, 0)
			r.inArray = false
			continue
		case c == '[' && !r.inArray:
			r.consume(1, 0)
			r.inArray, r.opened = true, true
			continue
		case r.inArray && !r.opened && c != ',':
			return dst, nil, r.broken("there is no ',' or ']' behind an element of an array")
		case r.inArray && !r.opened:
			r.consume(1, 0)
			if r.skipSpace(" \t\r\n") == ']' { // a comma too much loses nothing
				continue
			}
		}
		r.opened = false
		n := r.seeValue(true)
		if n <= 0 {
			switch {
			case n == 0 && r.err != nil:
				return dst, nil, r.err
			case n == 0 && r.full():
				return dst, nil, r.broken(fmt.Sprintf("a value is longer than %d bytes, the longest there may be", MaxRowBytes))
			}
			return dst, nil, r.broken("a value has no end")
		}
		text := r.data()[:n]
		if s := rawjson.New(string(text)); s.Skip() == "" || s.End() != nil {
			return dst, nil, r.broken("a value that starts here is not JSON (" + s.End().Error() + ")")
		}
		r.raw, r.at = text, r.line
		r.consume(n, bytes.Count(text, []byte{'\n'}))
		return r.decode(dst, number)
	}
}

// broken is the error that ends a file which is read as a whole.
func (r *valueReader) broken(what string) error {
	return fmt.Errorf("line %d: %s: mend it; where the rows behind it begin can't be told", r.line, what)
}

// skipSpace moves on to the next byte that is not among these and returns it, 0 at the end.
func (r *valueReader) skipSpace(space string) byte {
	for {
		data := r.data()
		n := 0
		for n < len(data) && strings.IndexByte(space, data[n]) >= 0 {
			n++
		}
		r.consume(n, bytes.Count(data[:n], []byte{'\n'}))
		if n < len(data) {
			if space[len(space)-1] == '\n' && data[n] == byteOrderMark[0] {
				if r.skipMark(); r.empty() || r.data()[0] != byteOrderMark[0] {
					continue
				}
			}
			return r.data()[0]
		}
		if !r.more() {
			return 0
		}
	}
}

// seeValue shows the value that starts here and returns its length: 0 where its end can't be seen, unclosed where it has
// none. By line it is an object or array.
func (r *valueReader) seeValue(lines bool) int {
	for {
		data := r.data()
		n := 0
		switch {
		case len(data) > 0 && (data[0] == '{' || data[0] == '['):
			n = valueEnd(data, lines)
		case lines && len(data) > 0:
			n = scalarEnd(data, r.eof)
		}
		if n != 0 || !lines && (len(data) == 0 || data[0] != '{' && data[0] != '[' || bytes.IndexByte(data, '\n') >= 0) || !r.more() {
			return n
		}
	}
}

// scalarEnd returns the length of a string, number or word; 0 where it is not seen to end.
func scalarEnd(text []byte, last bool) int {
	if text[0] == '"' {
		for i := 1; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			case '\n':
				return unclosed
			}
		}
		return 0
	}
	for i, c := range text {
		if isSpace(c) || strings.IndexByte(",]}[{\"", c) >= 0 {
			if i == 0 {
				return unclosed
			}
			return i
		}
	}
	if last {
		return len(text)
	}
	return 0
}

// decode makes commands of raw. What a file of rejected rows says of a row is taken off first, so that such a file can
// be mended and imported.
func (r *valueReader) decode(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error) {
	if !utf8.Valid(r.raw) {
		return dst, &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is not UTF-8"}, nil
	}
	text := string(r.raw)
	if strings.HasPrefix(strings.TrimLeft(text, " \t"), rejectedMember) {
		if row, ok := rejectedRow(text); ok {
			if r.raw = []byte(row); !utf8.ValidString(row) {
				return dst, &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is not UTF-8"}, nil
			}
			text = row
		}
	}
	if r.objects != nil {
		dst = append(dst, messages.Decoded{})
		return dst, r.objects.command(&dst[len(dst)-1].Command, text, number), nil
	}
	dst, bad := messages.Decode(r.types, dst, text, nil)
	return dst, bad, nil
}

// rejectedRow returns the row within a line of a file of rejected rows, as rejects.add writes it.
func rejectedRow(line string) (row string, ok bool) {
	s := rawjson.New(line)
	s.Open('{')
	if !s.More('}') || s.Name() != rejectedLine {
		return "", false
	}
	s.Number()
	if !s.More('}') || s.Name() != rejectedReason {
		return "", false
	}
	_ = s.String()
	if !s.More('}') {
		return "", false
	}
	switch s.Name() {
	case "row":
		row = s.Skip()
	case "text":
		row = s.String()
	case "base64":
		b, err := base64.StdEncoding.DecodeString(s.String())
		if err != nil {
			return "", false
		}
		row = string(b)
	default:
		return "", false
	}
	if s.More('}') || s.End() != nil {
		return "", false
	}
	return row, true
}

func tooLong(size int64) *messages.Error {
	return &messages.Error{Reason: messages.ReasonTooLarge,
		Detail: fmt.Sprintf("the row takes %d bytes, at most %d are allowed; only its start is kept here", size, MaxRowBytes)}
}

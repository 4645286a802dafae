package importer

import (
	"bytes"
	"io"
	"strings"

	"tributary/internal/messages"
)

// csvReader reads records by RFC 4180. It is not encoding/csv because that reads a record of any length into memory,
// keeps no text of what it refuses, and turns a CR LF within quotes into LF.
//
// A record that breaks the rules costs its first line and no more: reading goes on at the next one. Only where a
// quoted field is longer than a row may be is the record left out to its own end, since lines within a field that is
// merely long must not be taken for rows.
type csvReader struct {
	*window
	delimiter byte
	fields    []string // of the record read last; they share one string
	raw       []byte   // its text as it stands, without the line ending; valid until next
	at        int64    // the line that it starts on
	unescaped []byte
	ends      []int // of fields in unescaped
}

// next reads a record that is not blank. The *messages.Error says that it breaks the rules; raw and at are set
// nevertheless. The error is io.EOF at the end.
func (r *csvReader) next() (*messages.Error, error) {
	for {
		line, ending, ok := r.readLine()
		if !ok {
			return r.leaveOut(), nil
		}
		if ending == 0 && r.err != nil {
			return nil, r.err // what is there may be half a row
		}
		if len(line)+ending == 0 {
			return nil, io.EOF
		}
		r.at = r.line
		if text := bytes.TrimSuffix(line, []byte{'\r'}); len(text) == 0 {
			r.consume(len(line)+ending, ending)
			continue
		} else if bytes.IndexByte(text, '"') < 0 {
			r.raw = text
			r.split(string(text))
			r.consume(len(line)+ending, ending)
			return nil, nil
		}
		return r.quoted()
	}
}

// split cuts a record without quotes into its fields.
func (r *csvReader) split(text string) {
	r.fields = r.fields[:0]
	for {
		i := strings.IndexByte(text, r.delimiter)
		if i < 0 {
			break
		}
		r.fields = append(r.fields, text[:i])
		text = text[i+1:]
	}
	r.fields = append(r.fields, text)
}

// quoted reads a record with quotes, which may go over several lines.
func (r *csvReader) quoted() (*messages.Error, error) {
	for {
		length, problem, done := r.parse(r.data())
		switch {
		case problem == nil && r.err != nil && length == len(r.data()):
			return nil, r.err // what is there may be half a row
		case problem != nil:
			r.dropLine()
			return problem, nil
		case done:
			r.raw = bytes.TrimSuffix(bytes.TrimSuffix(r.data()[:length], []byte{'\n'}), []byte{'\r'})
			r.cut()
			r.consume(length, bytes.Count(r.data()[:length], []byte{'\n'}))
			return nil, nil
		}
		if r.more() {
			continue
		}
		if r.full() {
			return r.leaveOut(), nil
		}
		r.dropLine()
		return csvProblem("a quote is opened and not closed"), nil
	}
}

// dropLine moves to the next line; raw is the one left behind. The line was shown.
func (r *csvReader) dropLine() {
	line, ending, _ := r.readLine()
	r.raw = bytes.TrimSuffix(line, []byte{'\r'})
	r.consume(len(line)+ending, ending)
}

// parse reads the record that data starts with into unescaped and ends. It is done when data shows the record's end, which
// is at length; without a problem it needs to see more otherwise.
func (r *csvReader) parse(data []byte) (length int, problem *messages.Error, done bool) {
	r.unescaped, r.ends = r.unescaped[:0], r.ends[:0]
	i := 0
	for {
		if i < len(data) && data[i] == '"' {
			i++
			for {
				q := bytes.IndexByte(data[i:], '"')
				if q < 0 {
					return 0, nil, false
				}
				r.unescaped = append(r.unescaped, data[i:i+q]...)
				i += q + 1
				if i < len(data) && data[i] == '"' {
					r.unescaped = append(r.unescaped, '"')
					i++
					continue
				}
				break
			}
		} else {
			start := i
			for i < len(data) && data[i] != r.delimiter && data[i] != '\n' {
				if data[i] == '"' {
					return 0, csvProblem("a quote stands within a field that is not quoted"), false
				}
				i++
			}
			field := data[start:i]
			if i == len(data) || data[i] == '\n' {
				field = bytes.TrimSuffix(field, []byte{'\r'})
			}
			r.unescaped = append(r.unescaped, field...)
		}
		r.ends = append(r.ends, len(r.unescaped))
		switch rest := data[i:]; {
		case len(rest) == 0:
			return i, nil, r.eof
		case rest[0] == r.delimiter:
			i++
		case rest[0] == '\n':
			return i + 1, nil, true
		case rest[0] == '\r' && len(rest) > 1 && rest[1] == '\n':
			return i + 2, nil, true
		case rest[0] == '\r' && len(rest) == 1:
			return i + 1, nil, r.eof
		default:
			return 0, csvProblem("more text behind a closing quote"), false
		}
	}
}

// cut makes fields of what parse read.
func (r *csvReader) cut() {
	text, start := string(r.unescaped), 0
	r.fields = r.fields[:0]
	for _, end := range r.ends {
		r.fields = append(r.fields, text[start:end])
		start = end
	}
}

// leaveOut passes over a record that is longer than a row may be, to its end. Raw is what of it was shown.
func (r *csvReader) leaveOut() *messages.Error {
	r.at = r.line
	r.raw = bytes.Clone(r.data())
	_, broken, _ := r.parse(r.data())
	quoted := broken == nil && bytes.Count(r.raw, []byte{'"'})%2 == 1 // the text ends within quotes
	first := r.offset
	if !quoted && bytes.IndexByte(r.raw, '\n') < 0 {
		r.skipLine()
	} else {
		r.skipRecord()
	}
	return tooLong(r.offset - first)
}

// skipRecord moves behind the first line ending that is not within quotes, counted from here.
func (r *csvReader) skipRecord() {
	within := false
	for {
		data := r.data()
		for i, c := range data {
			switch {
			case c == '"':
				within = !within
			case c == '\n' && !within:
				r.consume(i+1, bytes.Count(data[:i+1], []byte{'\n'}))
				return
			}
		}
		r.consume(len(data), bytes.Count(data, []byte{'\n'}))
		if !r.more() {
			return
		}
	}
}

func csvProblem(detail string) *messages.Error {
	return &messages.Error{Reason: messages.ReasonMalformed, Detail: detail}
}

package importer

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"tributary/internal/messages"
)

// csvReader reads records by RFC 4180, with the quote that it is told or none. It is not encoding/csv because that reads a record of any length into memory,
// keeps no text of refused records, and turns a CR LF within quotes into LF.
//
// A record that breaks the rules is read on to its end as if its stray quotes were text, and refused whole. So it costs
// its line and no more, unless lines lie within quotes: those must not be taken for rows, which may be another tenant's.
// Where the end of quotes is not seen within the longest row, the rest of the file may be one field, or nearly none of
// it: reading ends with an error that names the line.
type csvReader struct {
	*window
	delimiter byte
	quote     byte     // 0: none
	fields    []string // of the record read last; they share one string
	raw       []byte   // its text as it stands, without the line ending; valid until next
	at        int64    // the line that it starts on
	unescaped []byte
	ends      []int // of fields in unescaped
	open      int   // where parse met the quote that had no end; -1: nowhere
}

// next reads a record that is not blank. The *messages.Error says that it breaks the rules; raw and at are set
// nevertheless. The error is io.EOF at the end.
func (r *csvReader) next() (*messages.Error, error) {
	for {
		r.skipMark()
		line, ending, ok := r.readLine()
		if !ok {
			return r.passOver()
		}
		if ending == 0 && r.err != nil {
			return nil, r.err // the rest may be half a row
		}
		if len(line)+ending == 0 {
			return nil, io.EOF
		}
		r.at = r.line
		if text := bytes.TrimSuffix(line, []byte{'\r'}); len(text) == 0 {
			r.consume(len(line)+ending, ending)
			continue
		} else if r.quote == 0 || bytes.IndexByte(text, r.quote) < 0 {
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
		if !done && r.more() {
			continue
		}
		if !done && r.full() {
			return r.passOver()
		}
		if !done { // the input ends within quotes
			length = len(r.data())
			if problem == nil {
				problem = csvProblem("a quote is opened and not closed")
			}
		}
		if r.err != nil && length == len(r.data()) {
			return nil, r.err // the rest may be half a row
		}
		r.raw = bytes.TrimSuffix(bytes.TrimSuffix(r.data()[:length], []byte{'\n'}), []byte{'\r'})
		r.cut()
		r.consume(length, bytes.Count(r.data()[:length], []byte{'\n'}))
		if within := bytes.Count(r.raw, []byte{'\n'}); problem != nil && within > 0 {
			problem.Detail += fmt.Sprintf("; lines %d to %d are rejected as one row, since quotes hold them together", r.at, r.at+int64(within))
		}
		return problem, nil
	}
}

// parse reads the record that data starts with into unescaped and ends. It is done when data shows the record's end,
// which is at length; it needs to see more otherwise. A problem does not keep it from finding the end.
func (r *csvReader) parse(data []byte) (length int, problem *messages.Error, done bool) {
	r.unescaped, r.ends, r.open = r.unescaped[:0], r.ends[:0], -1
	i := 0
	for {
		quoted := r.quote != 0 && i < len(data) && data[i] == r.quote
		if quoted {
			r.open = i
			i++
			for {
				q := bytes.IndexByte(data[i:], r.quote)
				if q < 0 {
					return 0, problem, false
				}
				r.unescaped = append(r.unescaped, data[i:i+q]...)
				i += q + 1
				if i < len(data) && data[i] == r.quote {
					r.unescaped = append(r.unescaped, r.quote)
					i++
					continue
				}
				break
			}
			r.open = -1
		}
		start := i
		for i < len(data) && data[i] != r.delimiter && data[i] != '\n' {
			if data[i] == r.quote && r.quote != 0 && problem == nil && !quoted {
				problem = csvProblem("a quote stands within a field that is not quoted")
			}
			i++
		}
		text := data[start:i]
		if i == len(data) || data[i] == '\n' {
			text = bytes.TrimSuffix(text, []byte{'\r'})
		}
		if quoted && len(text) > 0 && problem == nil {
			problem = csvProblem("more text behind a closing quote")
		}
		r.unescaped = append(r.unescaped, text...)
		r.ends = append(r.ends, len(r.unescaped))
		switch {
		case i == len(data):
			return i, problem, r.eof
		case data[i] == '\n':
			return i + 1, problem, true
		}
		i++
	}
}

// cut splits the record that parse read into fields.
func (r *csvReader) cut() {
	text, start := string(r.unescaped), 0
	r.fields = r.fields[:0]
	for _, end := range r.ends {
		r.fields = append(r.fields, text[start:end])
		start = end
	}
}

// passOver moves behind a record that is longer than a row may be, where its end is certain. Raw is the part of it that was seen.
func (r *csvReader) passOver() (*messages.Error, error) {
	r.at = r.line
	r.raw = bytes.Clone(r.data())
	if _, _, _ = r.parse(r.data()); r.open >= 0 {
		return nil, endless(r.at + int64(bytes.Count(r.raw[:r.open], []byte{'\n'})))
	}
	first := r.offset
	r.consume(len(r.raw), bytes.Count(r.raw, []byte{'\n'}))
	if r.skipLine(r.quote) { // which end of a field is meant can't be told from here
		return nil, endless(r.at)
	}
	return tooLong(r.offset - first), nil
}

func endless(line int64) error {
	return fmt.Errorf("line %d: a row with quotes is longer than %d bytes, the longest there may be, and where it ends can't be told: shorten it, or look for a missing or a stray quote", line, MaxRowBytes)
}

func csvProblem(detail string) *messages.Error {
	return &messages.Error{Reason: messages.ReasonMalformed, Detail: detail}
}

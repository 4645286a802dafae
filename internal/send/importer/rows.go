package importer

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
)

// rowReader reads rows of one format.
type rowReader interface {
	// read reads the next row and appends its commands, or says why it is refused. The error is io.EOF at the end.
	read(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error)
	// last returns the text of the row read last, valid until the next read, and the line on which it starts.
	last() (raw []byte, line int64)
}

// dialect is how a file holds its rows, by flags, name and content.
type dialect struct {
	format    Format
	delimiter byte
	quote     byte // 0: none
	bars      bool // a *.tbl of TPC-H: rows may end with a delimiter
	guarded   bool // the quote was not set by a flag: see recordRows.swallowed
}

// dialectOf tells a file's dialect. A file of rejected rows has that of the file that they come from.
func (r *run) dialectOf() dialect {
	name := strings.ToLower(r.name)
	for before := ""; before != name; {
		before = name
		for _, suffix := range []string{".gz", ".zst", ".rejected.csv"} {
			name = strings.TrimSuffix(name, suffix)
		}
	}
	ext := filepath.Ext(name)
	d := dialect{format: r.Format, delimiter: r.Delimiter, bars: ext == ".tbl"}
	if d.format == Auto || d.format == "" {
		switch ext {
		case ".csv", ".tsv", ".tab", ".tbl":
			d.format = CSV
		case ".json", ".jsonl", ".ndjson":
			d.format = JSONLines
		default:
			if d.format = CSV; r.source.startsAsJSON() {
				d.format = JSONLines
			}
		}
	}
	tabs := ext == ".tsv" || ext == ".tab"
	if d.delimiter == 0 {
		switch d.delimiter = ','; {
		case tabs:
			d.delimiter = '\t'
		case d.bars:
			d.delimiter = '|'
		}
	}
	switch {
	case r.Quote == QuoteSingle:
		d.quote = '\''
	case r.Quote == QuoteDouble:
		d.quote = '"'
	case r.Quote == QuoteAuto && !tabs && !d.bars:
		d.quote, d.guarded = '"', true
	}
	return d
}

// open opens the file, makes the reader of its rows and reads the header, if it has one.
func (r *run) open() (err error) {
	if r.source, err = openSource(r.ctx, r.input, r.Stdin); err != nil {
		return err
	}
	d := r.dialectOf()
	r.window = newWindow(r.source.bytes, MaxRowBytes)
	r.rejects = rejects{format: d.format, delimiter: d.delimiter, quote: d.quote, path: r.Rejected}
	if r.API == nil {
		r.rejects.path = ""
	} else if r.rejects.path == "" {
		r.rejects.path = r.beside + ".rejected." + string(d.format)
	}
	if d.format == JSONLines {
		return r.openJSON()
	}
	return r.openCSV(d)
}

func (r *run) openJSON() error {
	objects := r.Mapping.Command != "" || r.Mapping.Columns[schema.TypeName] != ""
	if !objects && !r.Mapping.isPlain() {
		return usage("%s: without --type its lines are taken as commands, to which --tenant, --map, --attributes, --version-column and --id do not apply", r.name)
	}
	if len(r.Header) > 0 {
		return usage("%s: --columns is for CSV, members of JSON objects have names", r.name)
	}
	values := &valueReader{window: r.window, types: r.Mapping.types()}
	if objects {
		values.objects = r.Mapping.forObjects(&r.sequence)
	}
	r.rows = values
	if what := values.look(); what != "" {
		return &FileError{r.name, what, nil}
	}
	return nil
}

func (r *run) openCSV(d dialect) error {
	r.window.endLinesByCR(d.quote)
	records := &csvReader{window: r.window, delimiter: d.delimiter, quote: d.quote}
	header := r.Header
	if len(header) > 0 {
		r.rejects.header = csvLine(header, d.delimiter, d.quote)
	} else {
		bad, err := records.next()
		if errors.Is(err, io.EOF) {
			r.rows = &valueReader{window: r.window} // there is nothing to read
			return nil
		}
		if err != nil {
			return &FileError{r.name, "can't read it", err}
		}
		if bad != nil {
			return &FileError{r.name, "the first line, its header, is not CSV", bad}
		}
		for _, name := range records.fields {
			header = append(header, strings.Clone(name))
		}
		r.rejects.header = bytes.Clone(records.raw)
	}
	mapping, err := r.Mapping.forColumns(r.name, header, &r.sequence)
	if err != nil {
		return headerHint(err, header, len(r.Header) > 0, d)
	}
	r.rows = &recordRows{csvReader: records, mapping: mapping, header: header, dialect: d, counts: &r.counts}
	return nil
}

// headerHint adds a suggestion to an error if the header looks like another format.
func headerHint(err error, header []string, named bool, d dialect) error {
	if named {
		return err
	}
	if len(header) == 1 {
		for _, other := range []struct{ delimiter, name string }{{";", "';'"}, {"\t", "tab"}, {"|", "'|'"}, {",", "','"}} {
			if other.delimiter != string(rune(d.delimiter)) && strings.Contains(header[0], other.delimiter) {
				return usage("%w (is --delimiter %s meant?)", err, other.name)
			}
		}
	}
	data := slices.ContainsFunc(header, func(name string) bool { return name != "" && strings.Trim(name, "0123456789.-") == "" })
	if data || d.bars {
		return usage("%w (if its first line is no header, name the columns in their order: --columns NAME,NAME,…)", err)
	}
	return err
}

// csvLine writes a record, without a line ending. Where there are no quotes, names come out as they are.
func csvLine(fields []string, delimiter, quote byte) []byte {
	if quote != '"' {
		return []byte(strings.Join(fields, string(rune(delimiter))))
	}
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	w.Comma = rune(delimiter)
	_ = w.Write(fields) // to memory
	w.Flush()
	return bytes.TrimSuffix(line.Bytes(), []byte{'\n'})
}

// isPlain says whether nothing is mapped.
func (m *Mapping) isPlain() bool {
	return m.Tenant == "" && len(m.Columns) == 0 && len(m.Attributes) == 0 && !m.AllAttributes && m.IDs == ""
}

// settings is a hash of the flags that decide a row's commands and their queue. Checkpoints of older programs stay good: what they
// had no flag for is left out where the flag is not given.
func (o *Options) settings() string {
	of := []any{o.Format, o.Delimiter, o.Header, o.Mapping.settings(), o.Queue.URL, o.Rejected}
	if o.Quote != QuoteAuto {
		of = append(of, o.Quote)
	}
	if types := o.Mapping.types(); types.Fingerprint != schema.Builtin().Fingerprint {
		of = append(of, types.Fingerprint, o.Mapping.Command)
	}
	text, _ := json.Marshal(of) // never fails
	h := fnv.New64a()
	_, _ = h.Write(text) // never fails
	return fmt.Sprintf("%016x", h.Sum64())
}

// settings are the mapping as it is hashed.
func (m *Mapping) settings() any {
	return struct {
		Kind          int // the place of a built-in type's command, from 1
		Tenant        string
		Columns       map[string]string
		Attributes    []string
		AllAttributes bool
		IDs           ids.Kind
	}{
		1 + slices.Index(schema.Builtin().CommandNames(), m.Command),
		m.Tenant, m.Columns, m.Attributes, m.AllAttributes, m.IDs,
	}
}

// recordRows are the rows of a CSV file.
type recordRows struct {
	*csvReader
	dialect dialect
	mapping *tableMapping
	header  []string
	counts  *Counts // the run's, for skipped rows
}

func (r *recordRows) read(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error) {
	for {
		bad, err := r.next()
		if bad != nil || err != nil {
			return dst, bad, err
		}
		if r.isBlank() {
			r.counts.BlankRows++
		} else if slices.Equal(r.fields, r.header) { // of another file that was joined to this one
			r.counts.RepeatedHeaders++
		} else {
			break
		}
	}
	if last := len(r.header); r.dialect.bars && len(r.fields) == last+1 && r.fields[last] == "" {
		r.fields = r.fields[:last]
	}
	if r.dialect.guarded && bytes.IndexByte(r.raw, '\n') >= 0 {
		if bad := r.swallowed(number); bad != nil {
			return dst, bad, nil
		}
	}
	dst = append(dst, messages.Decoded{})
	return dst, r.mapping.command(&dst[len(dst)-1].Command, r.fields, number), nil
}

func (r *recordRows) last() ([]byte, int64) { return r.raw, r.at }

// isBlank says whether all fields are empty, as of rows that a spreadsheet's user has deleted.
func (r *recordRows) isBlank() bool {
	return !slices.ContainsFunc(r.fields, func(field string) bool { return field != "" })
}

// swallowed refuses a record with a field that holds a line which would be a valid row by itself: two quotes that are
// text, such as those of inches, have taken rows between them for one field.
func (r *recordRows) swallowed(number uint64) *messages.Error {
	width := len(r.header)
	if width < 2 {
		return nil
	}
	fields, sequence := r.fields, string(rune(r.delimiter))
	for _, field := range fields {
		_, rest, more := strings.Cut(field, "\n")
		for more {
			var line string
			if line, rest, more = strings.Cut(rest, "\n"); strings.Count(line, sequence) != width-1 {
				continue
			}
			var c messages.Command
			if r.mapping.command(&c, strings.Split(strings.TrimSuffix(line, "\r"), sequence), number) == nil {
				return csvProblem("a field within quotes holds a line that would be a row by itself: if the quotes are text, import with --quote none; if they are right, with --quote double")
			}
		}
	}
	return nil
}

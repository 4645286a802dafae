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
	"strings"
	"unicode/utf8"

	"tributary/internal/base/cli"
	"tributary/internal/messages"
)

// formatOf tells a file's format and delimiter.
func (r *run) formatOf() (Format, byte) {
	name := strings.ToLower(r.name)
	for _, suffix := range []string{".gz", ".zst"} {
		name = strings.TrimSuffix(name, suffix)
	}
	format, delimiter := r.Format, r.Delimiter
	if format == Auto || format == "" {
		switch filepath.Ext(name) {
		case ".csv", ".tsv", ".tab":
			format = CSV
		case ".json", ".jsonl", ".ndjson":
			format = JSONLines
		default:
			if format = CSV; r.source.peek() == '{' {
				format = JSONLines
			}
		}
	}
	if delimiter == 0 {
		if delimiter = ','; strings.HasSuffix(name, ".tsv") || strings.HasSuffix(name, ".tab") {
			delimiter = '\t'
		}
	}
	return format, delimiter
}

// open opens the file, makes the reader of its rows and reads the header, if it has one.
func (r *run) open() (err error) {
	if r.source, err = openSource(r.ctx, r.input, r.Stdin); err != nil {
		return err
	}
	format, delimiter := r.formatOf()
	r.window = newWindow(r.source.bytes, MaxRowBytes)
	r.rejects = rejects{format: format, delimiter: delimiter, path: r.Rejected}
	if r.API == nil {
		r.rejects.path = ""
	} else if r.rejects.path == "" {
		r.rejects.path = r.beside + ".rejected." + string(format)
	}
	if format == JSONLines {
		objects := r.Mapping.Kind != 0 || r.Mapping.Columns[fieldNames[fieldType]] != ""
		if !objects && !r.Mapping.isPlain() {
			return cli.Usage("%s: without --type its lines are taken as commands, to which --tenant, --map, --attributes, --version-column and --id do not apply", r.name)
		}
		if len(r.Header) > 0 {
			return cli.Usage("%s: --columns is for CSV, members of JSON objects have names", r.name)
		}
		lines := &lineReader{window: r.window}
		if objects {
			lines.objects = r.Mapping.forObjects(&r.sequence)
		}
		r.rows = lines
		return nil
	}
	records := &csvReader{window: r.window, delimiter: delimiter}
	header := r.Header
	if len(header) > 0 {
		r.rejects.header = csvLine(header, delimiter)
	} else {
		bad, err := records.next()
		if errors.Is(err, io.EOF) {
			r.rows = &lineReader{window: r.window} // there is nothing to read
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
		return err
	}
	r.rows = &recordRows{csvReader: records, mapping: mapping}
	return nil
}

// csvLine writes a record, without a line ending.
func csvLine(fields []string, delimiter byte) []byte {
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

// settings is a hash of what decides which commands a row becomes, and of where they go.
func (o *Options) settings() string {
	text, _ := json.Marshal([]any{o.Format, o.Delimiter, o.Header, o.Mapping, o.Queue.URL, o.Rejected}) // never fails
	h := fnv.New64a()
	_, _ = h.Write(text) // never fails
	return fmt.Sprintf("%016x", h.Sum64())
}

// recordRows are the rows of a CSV file.
type recordRows struct {
	*csvReader
	mapping *tableMapping
}

func (r *recordRows) read(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error) {
	bad, err := r.next()
	if bad != nil || err != nil {
		return dst, bad, err
	}
	dst = append(dst, messages.Decoded{})
	return dst, r.mapping.command(&dst[len(dst)-1].Command, r.fields, number), nil
}

func (r *recordRows) last() ([]byte, int64) { return r.raw, r.at }

// lineReader reads JSON Lines: commands, or objects where there is a mapping for them.
type lineReader struct {
	*window
	objects *objectMapping
	raw     []byte
	at      int64
}

func (r *lineReader) last() ([]byte, int64) { return r.raw, r.at }

func (r *lineReader) read(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error) {
	for {
		r.at = r.line
		line, ending, ok := r.readLine()
		if !ok {
			r.raw = bytes.Clone(line)
			first := r.offset
			r.skipLine()
			return dst, tooLong(r.offset - first), nil
		}
		if ending == 0 && r.err != nil {
			return dst, nil, r.err // what is there may be half a row
		}
		if len(line)+ending == 0 {
			return dst, nil, io.EOF
		}
		r.raw = bytes.TrimSuffix(line, []byte{'\r'})
		r.consume(len(line)+ending, ending)
		if len(bytes.TrimLeft(r.raw, " \t")) == 0 {
			continue
		}
		if !utf8.Valid(r.raw) {
			return dst, &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is not UTF-8"}, nil
		}
		text := string(r.raw)
		if r.objects != nil {
			dst = append(dst, messages.Decoded{})
			return dst, r.objects.command(&dst[len(dst)-1].Command, text, number), nil
		}
		dst, bad := messages.Decode(dst, text, nil)
		return dst, bad, nil
	}
}

func tooLong(size int64) *messages.Error {
	return &messages.Error{Reason: messages.ReasonTooLarge,
		Detail: fmt.Sprintf("the row takes %d bytes, at most %d are allowed; only its start is kept here", size, MaxRowBytes)}
}

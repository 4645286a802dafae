package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/send/ids"
)

// fields is how many fields there are that a column can be mapped to: each but attributes.
const fields = fieldAttributes

// mappable are their names.
func mappable() string {
	var names []string
	for f := range fields {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}

// fieldSet says which fields there are.
type fieldSet [fields]bool

// needs lists the required fields of a command, besides its type.
var needs = func() map[Kind]fieldSet {
	all := map[Kind]fieldSet{}
	for kind := PutUser; kind <= DeleteOrder; kind++ {
		var set fieldSet
		for f := fieldTenantID; f < fields; f++ {
			set[f] = requires(kind, f)
		}
		all[kind] = set
	}
	return all
}()

// idOf is the field with the id of the item that a put writes.
func idOf(k Kind) field {
	if k == PutUser || k == DeleteUser {
		return fieldUserID
	}
	return fieldOrderID
}

// Mapping says how rows become commands. Its zero value takes columns that have the names of fields.
type Mapping struct {
	Kind          Kind              // of every row; 0: a column says
	Tenant        string            // of every row; "": a column says
	Columns       map[string]string // field to column
	Attributes    []string          // columns to carry along in `attributes`
	AllAttributes bool              // every column that is not a field's
	IDs           ids.Kind          // for rows without an id; "": such rows are refused
}

// Check validates a mapping before any file is read.
func (m *Mapping) Check() error {
	for name := range m.Columns {
		f, known := fieldOf(name)
		switch {
		case f == fieldAttributes:
			return usage("--map attributes=…: use --attributes COLUMN,COLUMN, or --attributes all")
		case !known:
			return usage("--map %s=…: a command has no field %s, only %s", name, name, mappable())
		case f == fieldType && m.Kind != 0:
			return usage("--type and --map type=… exclude one another")
		case f == fieldTenantID && m.Tenant != "":
			return usage("--tenant and a column for the tenant (--tenant-column, --map tenant_id=…) exclude one another")
		case m.Kind != 0 && f != fieldType && f != fieldVersion && !needs[m.Kind][f]:
			return usage("--map %s=…: a %s has no field %s", name, m.Kind, name)
		}
	}
	if m.Tenant != "" {
		if err := messages.CheckTenantID(m.Tenant); err != nil {
			return usage("--tenant: %s", err.Detail)
		}
	}
	if m.Kind == DeleteUser || m.Kind == DeleteOrder {
		if len(m.Attributes) > 0 || m.AllAttributes {
			return usage("--attributes: a %s carries none", m.Kind)
		}
		if m.IDs != "" {
			return usage("--id: a %s needs the id of what it deletes", m.Kind)
		}
	}
	return nil
}

// columnOf is where a field's value is found.
func (m *Mapping) columnOf(f field) string {
	if name, ok := m.Columns[f.String()]; ok {
		return name
	}
	return f.String()
}

// mapped says whether rows are asked for a field at all.
func (m *Mapping) mapped(f field) bool {
	switch {
	case f == fieldType:
		return m.Kind == 0
	case f == fieldTenantID:
		return m.Tenant == ""
	case f == fieldVersion || m.Kind == 0:
		return true
	}
	return needs[m.Kind][f]
}

// values are a row's values for the fields.
type values struct {
	text  [fields]string
	given fieldSet // the row has such a column
}

// build makes a command of a row's values. Number counts rows, for ids that are made.
func (m *Mapping) build(c *messages.Command, v *values, attributes string, made *ids.Sequence, number uint64) *messages.Error {
	kind := m.Kind
	if kind == 0 {
		if !v.given[fieldType] {
			return missing(fieldType, "the row has none, and --type was not given")
		}
		if kind = KindOf(v.text[fieldType]); kind == 0 {
			return &messages.Error{Reason: messages.ReasonUnknownType, Field: "type",
				Detail: strconv.Quote(shorten(v.text[fieldType])) + " is not one of " + types.CommandList()}
		}
	}
	*c = kind.command(m.Tenant)
	need := needs[kind]
	id := idOf(kind)
	if v.text[id] == "" && m.IDs != "" && !c.Delete {
		v.text[id], v.given[id] = made.At(number), true
	}
	for f, needed := range need {
		if needed && !v.given[f] && (field(f) != fieldTenantID || m.Tenant == "") {
			return missing(field(f), "the row has none")
		}
	}
	if need[fieldTenantID] && m.Tenant == "" {
		c.TenantID = v.text[fieldTenantID]
	}
	c.ID = v.text[id]
	for f, needed := range need {
		if known := c.Type.Field(field(f).String()); needed && known != nil && !c.Delete {
			c.Values.Set(known.Position, v.text[f])
		}
	}
	if text := v.text[fieldVersion]; text != "" {
		n, ok := messages.ParseVersion(text)
		if !ok {
			return &messages.Error{Reason: messages.ReasonInvalidField, Field: "version",
				Detail: strconv.Quote(shorten(text)) + " is not an integer from 1 to 9223372036854775807"}
		}
		c.Version = n
	}
	if !c.Delete {
		c.Attributes = attributes
	}
	return c.Validate()
}

func missing(f field, detail string) *messages.Error {
	return &messages.Error{Reason: messages.ReasonMissingField, Field: f.String(), Detail: detail}
}

// shorten cuts a value for a message to people.
func shorten(value string) string {
	most := 48
	if len(value) <= most {
		return value
	}
	for most > 44 && !utf8.RuneStart(value[most]) {
		most--
	}
	return value[:most] + "…"
}

// Names of the columns that a file of rejected rows has before the row's own. They are never carried along, and they
// are what tells such a file from any other.
const (
	rejectedLine   = "rejected_line"
	rejectedReason = "rejected_reason"
	rejectedMember = `{"` + rejectedLine + `":` // how a line of JSON begins
)

// tableMapping is a mapping for the columns of one file.
type tableMapping struct {
	*Mapping
	width      int           // columns that a row must have
	column     [fields]int   // index, or -1
	attributes []attribute   // in the order of the columns
	scratch    []byte        // of attributes' JSON
	made       *ids.Sequence // of ids
}

type attribute struct {
	column int
	name   string // as JSON, with the colon behind it
}

// forColumns finds the mapping's columns in a file's.
func (m *Mapping) forColumns(file string, header []string, made *ids.Sequence) (*tableMapping, error) {
	t := &tableMapping{Mapping: m, width: len(header), made: made}
	find := func(name, flag string) (int, error) {
		at := slices.Index(header, name)
		if at >= 0 && slices.Index(header[at+1:], name) >= 0 {
			return 0, usage("%s: two columns are called %s", file, shownColumn(name))
		}
		if at < 0 && flag != "" {
			return 0, usage("%s: %s names no column of the file; it has %s", file, flag, listed(header))
		}
		return at, nil
	}
	used := map[int]bool{}
	for f := range fields {
		t.column[f] = -1
		if !m.mapped(f) {
			continue
		}
		flag := ""
		if m.Columns[f.String()] != "" {
			flag = "--map " + f.String() + "=" + m.Columns[f.String()]
		}
		at, err := find(m.columnOf(f), flag)
		if err != nil {
			return nil, err
		}
		if t.column[f] = at; at >= 0 {
			used[at] = true
			continue
		}
		switch {
		case f == fieldType:
			return nil, usage("%s: say what its rows are: --type put_order (or put_user, delete_order, delete_user), or --map type=COLUMN; the file has %s", file, listed(header))
		case f == fieldTenantID:
			return nil, usage("%s: say whose its rows are: --tenant ID, or --tenant-column COLUMN; the file has %s", file, listed(header))
		case m.Kind != 0 && f == idOf(m.Kind) && m.IDs == "":
			return nil, usage("%s: no column for %s: use --map %s=COLUMN, or --id uuid7 to make new ids; the file has %s", file, f.String(), f.String(), listed(header))
		case m.Kind != 0 && needs[m.Kind][f] && f != idOf(m.Kind):
			return nil, usage("%s: no column for %s: use --map %s=COLUMN; the file has %s", file, f.String(), f.String(), listed(header))
		}
	}
	carry := m.Attributes
	if m.AllAttributes {
		carry = nil
		for at, name := range header {
			if !used[at] && name != rejectedLine && name != rejectedReason {
				carry = append(carry, name)
			}
		}
	}
	for _, name := range carry {
		at, err := find(name, "--attributes "+name)
		if err != nil {
			return nil, err
		}
		if name == "" || !utf8.ValidString(name) {
			return nil, usage("%s: column %d has no proper name to carry it under in attributes", file, at+1)
		}
		t.attributes = append(t.attributes, attribute{at, string(append(rawjson.AppendString(nil, name), ':'))})
	}
	return t, nil
}

// shownColumn is a column's name for a message to people; a file could steer their terminal by one that isn't printable.
func shownColumn(name string) string {
	name = shorten(name)
	if quoted := strconv.Quote(name); name == "" || strings.Contains(quoted, `\`) {
		return quoted
	}
	return name
}

func listed(header []string) string {
	const most = 20
	shown := make([]string, 0, most)
	for _, name := range header[:min(most, len(header))] {
		shown = append(shown, shownColumn(name))
	}
	text := strings.Join(shown, ", ")
	if len(header) > most {
		text += fmt.Sprintf(" and %d more", len(header)-most)
	}
	return text
}

// command makes a command of a record.
func (t *tableMapping) command(c *messages.Command, record []string, number uint64) *messages.Error {
	if len(record) != t.width {
		detail := fmt.Sprintf("the row has %d fields, it must have %d", len(record), t.width)
		if len(record) == t.width+1 && record[t.width] == "" {
			detail += "; the last one is empty: where every row ends with a delimiter, name one column more (--columns)"
		}
		return &messages.Error{Reason: messages.ReasonMalformed, Detail: detail}
	}
	var v values
	for f, at := range t.column {
		if at >= 0 {
			v.text[f], v.given[f] = record[at], true
		}
	}
	attributes := ""
	if len(t.attributes) > 0 {
		t.scratch = append(t.scratch[:0], '{')
		for i, a := range t.attributes {
			if !utf8.ValidString(record[a.column]) {
				return &messages.Error{Reason: messages.ReasonInvalidField, Field: "attributes",
					Detail: strconv.Quote(shorten(record[a.column])) + " is not UTF-8"}
			}
			if i > 0 {
				t.scratch = append(t.scratch, ',')
			}
			t.scratch = append(t.scratch, a.name...)
			t.scratch = rawjson.AppendString(t.scratch, record[a.column])
		}
		attributes = string(append(t.scratch, '}'))
	}
	return t.build(c, &v, attributes, t.made, number)
}

// objectMapping is a mapping for JSON objects.
type objectMapping struct {
	*Mapping
	target  map[string]field // by member
	carried map[string]bool  // members for attributes
	scratch []byte
	made    *ids.Sequence
}

func (m *Mapping) forObjects(made *ids.Sequence) *objectMapping {
	o := &objectMapping{Mapping: m, target: map[string]field{}, carried: map[string]bool{}, made: made}
	for f := range fields {
		if m.mapped(f) {
			o.target[m.columnOf(f)] = f
		}
	}
	for _, name := range m.Attributes {
		o.carried[name] = true
	}
	return o
}

// command makes a command of a JSON object. Numbers stay as they are written.
func (o *objectMapping) command(c *messages.Command, text string, number uint64) *messages.Error {
	var v values
	var bad *messages.Error
	fail := func(reason messages.Reason, name, format string, args ...any) {
		if bad == nil {
			bad = &messages.Error{Reason: reason, Field: name, Detail: fmt.Sprintf(format, args...)}
		}
	}
	s := rawjson.New(text)
	if s.Peek() != '{' {
		return &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is no JSON object"}
	}
	o.scratch = append(o.scratch[:0], '{')
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		s.NotText()
		f, isField := o.target[name]
		if isField && v.given[f] {
			fail(messages.ReasonDuplicateField, name, "the field is there twice")
		}
		first, start := s.Peek(), s.Offset()
		switch {
		case isField && first == '"':
			v.text[f], v.given[f] = s.String(), true
		case isField && (first == '-' || '0' <= first && first <= '9'):
			v.text[f], v.given[f] = s.Number(), true
		case isField && first == 'n':
			s.Null()
		case isField:
			s.Skip()
			fail(messages.ReasonInvalidField, f.String(), "%s is neither string nor number", shorten(s.Since(start)))
		default:
			s.Skip()
		}
		carry := o.carried[name] || o.AllAttributes && !isField && name != rejectedLine && name != rejectedReason
		if s.NotText() && (isField || carry) {
			fail(messages.ReasonInvalidField, shownColumn(name), "it is not valid Unicode")
		}
		if carry && s.Err() == nil {
			if len(o.scratch) > 1 {
				o.scratch = append(o.scratch, ',')
			}
			o.scratch = append(rawjson.AppendString(o.scratch, name), ':')
			o.scratch = append(o.scratch, s.Since(start)...)
		}
	}
	if err := s.End(); err != nil {
		return &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is not JSON: " + err.Error()}
	}
	if bad != nil {
		return bad
	}
	attributes := ""
	if len(o.scratch) > 1 {
		attributes = string(append(o.scratch, '}'))
	}
	return o.build(c, &v, attributes, o.made, number)
}

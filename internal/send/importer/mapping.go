package importer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
)

// Mapping says how rows become commands. Its zero value takes columns that have the names of the built-in types' members.
type Mapping struct {
	Types         *schema.Set       // that rows can be of; nil: the built-in ones
	Command       string            // of every row, such as put_invoice; "": a column says
	Tenant        string            // of every row; "": a column says
	Columns       map[string]string // member to column
	Attributes    []string          // columns to carry along in `attributes`
	AllAttributes bool              // every column that is not a member's
	IDs           ids.Kind          // for rows without an id; "": such rows are refused
}

// Check validates a mapping before any file is read.
func (m *Mapping) Check() error {
	k := m.kind()
	if m.Command != "" && k.t == nil {
		return usage("--type: %q is not one of %s%s", shorten(m.Command), m.types().CommandList(), suggestion(m.Command, m.types().CommandNames()))
	}
	names := m.names()
	for _, name := range slices.Sorted(maps.Keys(m.Columns)) {
		switch {
		case name == schema.AttributesName:
			return usage("--map attributes=…: use --attributes COLUMN,COLUMN, or --attributes all")
		case !slices.Contains(names, name):
			return usage("--map %s=…: a command has no field %s, only %s%s", name, name, shownNames(names), suggestion(name, names))
		case name == schema.TypeName && k.t != nil:
			return usage("--type and --map type=… exclude one another")
		case name == schema.TenantIDName && m.Tenant != "":
			return usage("--tenant and a column for the tenant (--tenant-column, --map tenant_id=…) exclude one another")
		case k.t != nil && !k.takes(k.t.Slot(name)):
			return usage("--map %s=…: a %s has no field %s", name, m.Command, name)
		}
	}
	if m.Tenant != "" {
		if err := messages.CheckTenantID(m.Tenant); err != nil {
			return usage("--tenant: %s", err.Detail)
		}
	}
	if k.delete {
		if len(m.Attributes) > 0 || m.AllAttributes {
			return usage("--attributes: a %s carries none", m.Command)
		}
		if m.IDs != "" {
			return usage("--id: a %s needs the id of what it deletes", m.Command)
		}
	}
	return nil
}

// suggestion asks whether another name is meant.
func suggestion(name string, known []string) string {
	if near := schema.Nearest(name, known); near != "" {
		return ", did you mean " + near + "?"
	}
	return ""
}

// find returns the kind that a row names.
func (m *Mapping) find(name string, given bool) (kind, *messages.Error) {
	if !given {
		return kind{}, missing(schema.TypeName, "the row has none, and --type was not given")
	}
	t, remove := m.types().Command(name)
	if t == nil {
		return kind{}, &messages.Error{Reason: messages.ReasonUnknownType, Field: schema.TypeName,
			Detail: strconv.Quote(shorten(name)) + " is not one of " + m.types().CommandList()}
	}
	return kind{t, remove}, nil
}

// complete makes a command of one that has its type, tenant, id and values. Number counts rows, for ids that are made.
func (m *Mapping) complete(c *messages.Command, version, attributes string, made *ids.Sequence, number uint64) *messages.Error {
	if version != "" {
		n, ok := messages.ParseVersion(version)
		if !ok {
			return &messages.Error{Reason: messages.ReasonInvalidField, Field: schema.VersionName,
				Detail: strconv.Quote(shorten(version)) + " is not an integer from 1 to 9223372036854775807"}
		}
		c.Version = n
	}
	if !c.Delete {
		if c.ID == "" && m.IDs != "" {
			c.ID = made.At(number)
		}
		c.Attributes = attributes
		c.Type.ApplyDefaults(&c.Values)
	}
	return c.Validate()
}

func missing(name, detail string) *messages.Error {
	return &messages.Error{Reason: messages.ReasonMissingField, Field: name, Detail: detail}
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
	of         kind          // every row, or none: typeColumn says
	typeColumn int           // -1: there is none
	width      int           // columns that a row must have
	columns    []columns     // by the type's position; of other types than of.t they are empty
	attributes []attribute   // in the order of the columns
	scratch    []byte        // of attributes' JSON
	made       *ids.Sequence // of ids
}

// columns says where the members of a type's commands stand: indexes, or -1.
type columns struct {
	tenant, id, version int
	fields              []int // by position
	// lacksPut and lacksDelete are the members for which a row has no column and which it needs, or "".
	lacksPut, lacksDelete string
}

type attribute struct {
	column int
	name   string // as JSON, with the colon behind it
}

// header is the header of one file.
type header struct {
	file  string
	names []string
}

// find returns the index of a column, or -1. With a flag it is an error if there is none.
func (h header) find(name, flag string) (int, error) {
	at := slices.Index(h.names, name)
	if at >= 0 && slices.Index(h.names[at+1:], name) >= 0 {
		return 0, usage("%s: two columns are called %s", h.file, shownColumn(name))
	}
	if at < 0 && flag != "" {
		return 0, usage("%s: %s names no column of the file; it has %s", h.file, flag, listed(h.names))
	}
	return at, nil
}

// forColumns finds the mapping's columns in a file's.
func (m *Mapping) forColumns(file string, names []string, made *ids.Sequence) (*tableMapping, error) {
	h := header{file, names}
	t := &tableMapping{Mapping: m, of: m.kind(), width: len(names), made: made, typeColumn: -1}
	found, err := t.members(h)
	if err != nil {
		return nil, err
	}
	t.place(found)
	return t, t.carry(h, found)
}

// members finds the column of each member that has one.
func (t *tableMapping) members(h header) (found map[string]int, err error) {
	found = map[string]int{}
	for _, name := range t.names() {
		if !t.mapped(t.of, name) {
			continue
		}
		flag := ""
		if t.Columns[name] != "" {
			flag = "--map " + name + "=" + t.Columns[name]
		}
		at, err := h.find(t.columnOf(name), flag)
		if err != nil {
			return nil, err
		}
		if at >= 0 {
			found[name] = at
		} else if err := t.demand(h, name); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// demand refuses a file that has no column for a member which every row needs.
func (t *tableMapping) demand(h header, name string) error {
	switch {
	case name == schema.TypeName:
		first, others := t.commandsFor()
		return usage("%s: say what its rows are: --type %s (or %s), or --map type=COLUMN; the file has %s", h.file, first, others, listed(h.names))
	case name == schema.TenantIDName:
		return usage("%s: say whose its rows are: --tenant ID, or --tenant-column COLUMN; the file has %s", h.file, listed(h.names))
	case t.of.t == nil || !t.mustGive(t.of, t.of.t.Slot(name)):
		return nil
	case name == t.of.t.ID:
		return usage("%s: no column for %s: use --map %s=COLUMN, or --id uuid7 to make new ids; the file has %s", h.file, name, name, listed(h.names))
	default:
		return usage("%s: no column for %s: use --map %s=COLUMN; the file has %s", h.file, name, name, listed(h.names))
	}
}

// place sorts the columns by types.
func (t *tableMapping) place(found map[string]int) {
	column := func(name string) int {
		if at, ok := found[name]; ok {
			return at
		}
		return -1
	}
	t.typeColumn = column(schema.TypeName)
	types, names := t.types().Types, t.names()
	lack := func(k kind) string {
		for _, name := range names {
			if t.mustGive(k, k.t.Slot(name)) && column(name) < 0 {
				return name
			}
		}
		return ""
	}
	t.columns = make([]columns, len(types))
	for position, typ := range types {
		if t.of.t != nil && t.of.t != typ {
			continue
		}
		in := &t.columns[position]
		*in = columns{
			tenant: column(schema.TenantIDName), id: column(typ.ID), version: column(schema.VersionName),
			lacksPut: lack(kind{typ, false}), lacksDelete: lack(kind{typ, true}),
		}
		for _, f := range typ.Fields {
			in.fields = append(in.fields, column(f.Name))
		}
	}
}

// carry finds the columns that go into `attributes`.
func (t *tableMapping) carry(h header, found map[string]int) error {
	carried := t.Attributes
	if t.AllAttributes {
		used := slices.Collect(maps.Values(found))
		carried = nil
		for at, name := range h.names {
			if !slices.Contains(used, at) && name != rejectedLine && name != rejectedReason {
				carried = append(carried, name)
			}
		}
	}
	for _, name := range carried {
		at, err := h.find(name, "--attributes "+name)
		if err != nil {
			return err
		}
		if name == "" || !utf8.ValidString(name) {
			return usage("%s: column %d has no proper name to carry it under in attributes", h.file, at+1)
		}
		t.attributes = append(t.attributes, attribute{at, string(append(rawjson.AppendString(nil, name), ':'))})
	}
	return nil
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
	attributes, bad := t.attributesOf(record)
	if bad != nil {
		return bad
	}
	k := t.of
	if k.t == nil {
		if k, bad = t.find(record[t.typeColumn], true); bad != nil {
			return bad
		}
	}
	in := &t.columns[k.t.Position]
	lacks := in.lacksPut
	if k.delete {
		lacks = in.lacksDelete
	}
	if lacks != "" {
		return missing(lacks, "the row has none")
	}
	*c = messages.Command{Type: k.t, Delete: k.delete, TenantID: t.Tenant}
	if t.Tenant == "" {
		c.TenantID = record[in.tenant]
	}
	if in.id >= 0 {
		c.ID = record[in.id]
	}
	if !k.delete {
		for position, at := range in.fields {
			// Tables can't tell an empty text from none: it is none where a field may be absent.
			if at >= 0 && (record[at] != "" || k.t.Fields[position].Needed()) {
				c.Values.Set(position, record[at])
			}
		}
	}
	version := ""
	if in.version >= 0 {
		version = record[in.version]
	}
	return t.complete(c, version, attributes, t.made, number)
}

// attributesOf returns the attributes of a record, or "".
func (t *tableMapping) attributesOf(record []string) (string, *messages.Error) {
	if len(t.attributes) == 0 {
		return "", nil
	}
	t.scratch = append(t.scratch[:0], '{')
	for i, a := range t.attributes {
		if !utf8.ValidString(record[a.column]) {
			return "", &messages.Error{Reason: messages.ReasonInvalidField, Field: schema.AttributesName,
				Detail: strconv.Quote(shorten(record[a.column])) + " is not UTF-8"}
		}
		if i > 0 {
			t.scratch = append(t.scratch, ',')
		}
		t.scratch = append(t.scratch, a.name...)
		t.scratch = rawjson.AppendString(t.scratch, record[a.column])
	}
	return string(append(t.scratch, '}')), nil
}

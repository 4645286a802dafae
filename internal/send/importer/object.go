package importer

import (
	"fmt"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
)

// objectMapping is a mapping for JSON objects.
type objectMapping struct {
	*Mapping
	of      kind                     // every object, or none: its member says
	order   []string                 // see names
	targets []map[string]schema.Slot // by the type's position: what an object's member is
	members map[string]bool          // all that are mapped, for whatever type
	carried map[string]bool          // members for attributes
	scratch []byte
	made    *ids.Sequence
}

func (m *Mapping) forObjects(made *ids.Sequence) *objectMapping {
	types := m.types().Types
	o := &objectMapping{
		Mapping: m, of: m.kind(), order: m.names(), targets: make([]map[string]schema.Slot, len(types)),
		members: map[string]bool{}, carried: map[string]bool{}, made: made,
	}
	for position := range types {
		o.targets[position] = map[string]schema.Slot{}
	}
	for _, name := range o.order {
		if !m.mapped(o.of, name) {
			continue
		}
		member := m.columnOf(name)
		o.members[member] = true
		for position, t := range types {
			if slot := t.Slot(name); slot != schema.SlotUnknown {
				o.targets[position][member] = slot
			}
		}
	}
	for _, name := range m.Attributes {
		o.carried[name] = true
	}
	return o
}

// object is what was read of a JSON object.
type object struct {
	*objectMapping
	kind
	c       messages.Command
	version string
	given   uint64 // a bit (1 << slot) for each member that is not null
	err     *messages.Error
}

func (o *object) fail(reason messages.Reason, name, format string, args ...any) {
	if o.err == nil {
		o.err = &messages.Error{Reason: reason, Field: name, Detail: fmt.Sprintf(format, args...)}
	}
}

// command makes a command of a JSON object. Numbers stay as they are written.
func (o *objectMapping) command(c *messages.Command, text string, number uint64) *messages.Error {
	s := rawjson.New(text)
	if s.Peek() != '{' {
		return &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is no JSON object"}
	}
	row := object{objectMapping: o, kind: o.of}
	var unknown *messages.Error
	if row.t == nil {
		row.kind, unknown = o.kindOf(s)
	}
	row.c = messages.Command{Type: row.t, Delete: row.delete, TenantID: o.Tenant}
	attributes := row.read(&s)
	if err := s.End(); err != nil {
		return &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is not JSON: " + err.Error()}
	}
	if row.err != nil {
		return row.err
	}
	if unknown != nil {
		return unknown
	}
	given := func(_ string, slot schema.Slot) bool { return row.given&(1<<slot) != 0 }
	if lacks := o.lack(row.kind, o.order, given); lacks != "" {
		return missing(lacks, "the row has none")
	}
	*c = row.c
	return o.complete(c, row.version, attributes, o.made, number)
}

// kindOf looks for the member that says what an object is: what its other members mean depends on it.
func (o *objectMapping) kindOf(s rawjson.Scanner) (kind, *messages.Error) {
	member := o.columnOf(schema.TypeName)
	for s.Open('{'); s.More('}'); {
		if s.Name() != member {
			s.Skip()
			continue
		}
		if text, given, ok := readText(&s); given && ok {
			return o.find(text, true)
		}
	}
	return o.find("", false)
}

// readText reads a string, or a number as it is written. Null is not given, and other values are not ok.
func readText(s *rawjson.Scanner) (text string, given, ok bool) {
	switch c := s.Peek(); {
	case c == '"':
		return s.String(), true, true
	case c == '-' || '0' <= c && c <= '9':
		return s.Number(), true, true
	case c == 'n':
		s.Null()
		return "", false, true
	}
	s.Skip()
	return "", false, false
}

// read reads an object's members, and returns those that it carries along.
func (o *object) read(s *rawjson.Scanner) (attributes string) {
	scratch := append(o.scratch[:0], '{')
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		s.NotText()
		member := o.members[name]
		s.Peek()
		start := s.Offset()
		o.member(s, name, member)
		carry := o.carried[name] || o.AllAttributes && !member && name != rejectedLine && name != rejectedReason
		if s.NotText() && (member || carry) {
			o.fail(messages.ReasonInvalidField, shownColumn(name), "it is not valid Unicode")
		}
		if carry && s.Err() == nil {
			if len(scratch) > 1 {
				scratch = append(scratch, ',')
			}
			scratch = append(rawjson.AppendString(scratch, name), ':')
			scratch = append(scratch, s.Since(start)...)
		}
	}
	if o.scratch = scratch; len(scratch) > 1 {
		o.scratch = append(scratch, '}')
		return string(o.scratch)
	}
	return ""
}

// member reads the next value, which is that of a member of the command or not.
func (o *object) member(s *rawjson.Scanner, name string, mapped bool) {
	slot := schema.SlotUnknown
	if mapped && o.t != nil {
		if known, ok := o.targets[o.t.Position][name]; ok && (known == schema.SlotType || o.takes(known)) {
			slot = known
		}
	}
	if slot == schema.SlotUnknown {
		s.Skip()
		return
	}
	if o.given&(1<<slot) != 0 {
		o.fail(messages.ReasonDuplicateField, name, "the field is there twice")
	}
	start := s.Offset()
	var text string
	var given, ok bool
	if slot.IsField() {
		text, given, ok = o.field(s, o.t.Fields[slot])
	} else if text, given, ok = readText(s); !ok {
		o.fail(messages.ReasonInvalidField, o.t.SlotName(slot), "%s is neither string nor number", shorten(s.Since(start)))
	}
	if !given || !ok {
		return
	}
	o.given |= 1 << slot
	switch slot {
	case schema.SlotType: // kindOf has read it
	case schema.SlotTenantID:
		o.c.TenantID = text
	case schema.SlotID:
		o.c.ID = text
	case schema.SlotVersion:
		o.version = text
	default:
		o.c.Values.Set(int(slot), text)
	}
}

// field reads a field's value. A string may be a number, as it is written: ids often are. Whether the field can have a text
// is checked with the whole command.
func (o *object) field(s *rawjson.Scanner, f *schema.Field) (text string, given, ok bool) {
	switch f.Type {
	case schema.String, schema.Number, schema.Integer:
		if c := s.Peek(); c == '"' || c == '-' || c == 'n' || '0' <= c && c <= '9' {
			return readText(s)
		}
	default:
		if s.Peek() == 'n' {
			return readText(s)
		}
	}
	text, _, given, err := f.Read(s)
	if err != nil {
		o.fail(messages.ReasonInvalidField, err.Field, "%s", err.Detail)
	}
	return text, given, err == nil
}

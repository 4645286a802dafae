package importer

import (
	"maps"
	"slices"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
)

// objectMapping is a mapping for JSON objects.
type objectMapping struct {
	*Mapping
	of      kind                   // every object, or none: its member says
	order   []string               // see names
	targets []targets              // by the type's position
	members map[string]schema.Slot // all that are mapped, for whatever type: SlotUnknown
	carried map[string]bool        // members for attributes
	scratch []byte
	made    *ids.Sequence
}

// targets says what an object's members are in commands of a type.
type targets struct {
	slots map[string]schema.Slot // of all members that are mapped; SlotUnknown for those that are another type's
	// put and delete have a bit (1 << slot) for each member that an object must have.
	put, delete uint64
}

func (m *Mapping) forObjects(made *ids.Sequence) *objectMapping {
	types := m.types().Types
	o := &objectMapping{
		Mapping: m, of: m.kind(), order: m.names(), members: map[string]schema.Slot{}, carried: map[string]bool{}, made: made,
	}
	for _, name := range o.order {
		if m.mapped(o.of, name) {
			o.members[m.columnOf(name)] = schema.SlotUnknown
		}
	}
	for _, t := range types {
		to := targets{slots: maps.Clone(o.members)}
		for _, name := range o.order {
			slot := t.Slot(name)
			if slot == schema.SlotUnknown {
				continue
			}
			if m.mapped(o.of, name) {
				to.slots[m.columnOf(name)] = slot
			}
			if m.mustGive(kind{t, false}, slot) {
				to.put |= 1 << slot
			}
			if m.mustGive(kind{t, true}, slot) {
				to.delete |= 1 << slot
			}
		}
		o.targets = append(o.targets, to)
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
	slots   map[string]schema.Slot // what its members are
	c       messages.Command
	version string
	given   uint64 // a bit (1 << slot) for each member that is not null
	err     *messages.Error
}

// fail keeps the first error.
func (o *object) fail(err *messages.Error) {
	if o.err == nil {
		o.err = err
	}
}

// command makes a command of a JSON object. Numbers stay as they are written.
func (o *objectMapping) command(c *messages.Command, text string, number uint64) *messages.Error {
	s := rawjson.New(text)
	if s.Peek() != '{' {
		return &messages.Error{Reason: messages.ReasonMalformed, Detail: "the line is no JSON object"}
	}
	row := object{objectMapping: o, kind: o.of, slots: o.members}
	var unknown *messages.Error
	if row.t == nil {
		row.kind, unknown = o.kindOf(s)
	}
	var needs uint64
	if row.t != nil {
		to := &o.targets[row.t.Position]
		if row.slots, needs = to.slots, to.put; row.delete {
			needs = to.delete
		}
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
	if absent := needs &^ row.given; absent != 0 {
		at := slices.IndexFunc(o.order, func(name string) bool {
			slot := row.t.Slot(name)
			return slot != schema.SlotUnknown && absent&(1<<slot) != 0
		})
		return missing(o.order[at], "the row has none")
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
		s.Peek()
		start := s.Offset()
		switch text, given, ok := readText(&s); {
		case !ok:
			return kind{}, notText(schema.TypeName, s.Since(start))
		case given:
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

func notText(name, value string) *messages.Error {
	return &messages.Error{Reason: messages.ReasonInvalidField, Field: name, Detail: shorten(value) + " is neither string nor number"}
}

// read reads an object's members, and returns those that it carries along.
func (o *object) read(s *rawjson.Scanner) (attributes string) {
	scratch := append(o.scratch[:0], '{')
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		s.NotText()
		slot, member := o.slots[name]
		s.Peek()
		start := s.Offset()
		if member && (o.takes(slot) || slot == schema.SlotType) {
			o.member(s, name, slot)
		} else {
			s.Skip()
		}
		carry := o.carried[name] || o.AllAttributes && !member && name != rejectedLine && name != rejectedReason
		if s.NotText() && (member || carry) {
			o.fail(&messages.Error{Reason: messages.ReasonInvalidField, Field: shownColumn(name), Detail: "it is not valid Unicode"})
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

// member reads the value of a member of the command.
func (o *object) member(s *rawjson.Scanner, name string, slot schema.Slot) {
	if o.given&(1<<slot) != 0 {
		o.fail(&messages.Error{Reason: messages.ReasonDuplicateField, Field: name, Detail: "the field is there twice"})
	}
	start := s.Offset()
	var text string
	var given, ok bool
	if slot.IsField() {
		text, given, ok = o.field(s, o.t.Fields[slot])
	} else if text, given, ok = readText(s); !ok {
		o.fail(notText(o.t.SlotName(slot), s.Since(start)))
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
		o.fail(&messages.Error{Reason: messages.ReasonInvalidField, Field: err.Field, Detail: err.Detail})
	}
	return text, given, err == nil
}

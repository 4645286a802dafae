// Package schema declares what tenants may store: the types, their fields and their references. Everything that depends on
// a type follows from its declaration: commands, keys, items, routes and documents.
package schema

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"tributary/internal/base/decimal"
)

// Limits of a declaration.
const (
	maxTypes      = 64
	maxFields     = 24
	maxReferences = 16
	// maxFileBytes is the largest file that Read takes.
	maxFileBytes = 256 << 10
	// maxEnum is how many values an enum may have.
	maxEnum = 256
	// maxDescriptionBytes is the longest description.
	maxDescriptionBytes = 2000
)

// FieldType is the type of a field's values.
type FieldType uint8

// The types of values. Number and Integer are exact decimals of up to 38 digits.
const (
	String FieldType = iota + 1
	Number
	Integer
	Boolean
	Object
	Array
)

var fieldTypeNames = [...]string{"", "string", "number", "integer", "boolean", "object", "array"}

func (t FieldType) String() string { return fieldTypeNames[t] }

// numeric says whether values are numbers.
func (t FieldType) numeric() bool { return t == Number || t == Integer }

// Field is a field of a type. It is not changed once Read returned it.
type Field struct {
	Name        string
	Type        FieldType
	Required    bool
	Description string
	// Enum lists the values that are allowed, as texts; it is empty where all are.
	Enum []string
	// MinLength and MaxLength count characters. MaxLength is -1 where there is no limit.
	MinLength, MaxLength int
	// Minimum and Maximum are decimal numbers, or empty.
	Minimum, Maximum string
	Format           Format
	// Default is the value, as text, of a field that is absent, where HasDefault is true.
	Default    string
	HasDefault bool
	// References is the type whose id the field has, or nil.
	References *Type

	// Position is the field's place in its type's Fields and in Values.
	Position int

	fragment         string // starts the field in an item: `,"user_name":{"S":`
	minimum, maximum decimal.Number
	enumNumbers      []decimal.Number // of Enum, for Number and Integer
	defaultBytes     int
	storedDefault    string
}

// Needed says whether a put without the field is refused: it is required, and has no default.
func (f *Field) Needed() bool { return f.Required && !f.HasDefault }

// StoredDefault returns the default as an item has it, as DynamoDB's JSON: {"S":"new"}. It is empty where there is none.
func (f *Field) StoredDefault() string { return f.storedDefault }

// Type is a type of entity. It is not changed once Read returned it.
type Type struct {
	Name        string // "order"
	Plural      string // "orders", as in paths
	Description string
	Fields      []*Field

	// Position is the type's place in its Set's Types.
	Position int
	// Put and Delete are the names of its commands: "put_order" and "delete_order".
	Put, Delete string
	// ID is the name of its id: "order_id".
	ID string
	// Prefix starts the sort keys of its items: "order#".
	Prefix string
	// Needed has the bits (1 << Position) of the fields without which a put is refused.
	Needed uint32
	// Defaulted has the bits of the fields that have a default.
	Defaulted uint32
	// References are the fields of this type that refer to another, and ReferredBy those of others that refer to this.
	References, ReferredBy []*Reference

	names      nameTable // of the members of a command
	idFragment string    // `,"order_id":{"S":"`
}

// Reference is a field with the id of another type's item. It gives an index and a route.
type Reference struct {
	From  *Type
	Field *Field
	To    *Type
	// Index is the index that finds the items by the field: hash PK, range the field and SK.
	Index string
}

// Set is all types of a declaration. It is not changed once Read returned it.
type Set struct {
	// Types are in the order of the declaration.
	Types []*Type
	// References are those of all types, in the order of the declaration.
	References []*Reference
	// Fingerprint is equal for declarations that mean the same, whatever their formatting, order and descriptions.
	Fingerprint string

	names       nameTable // of types
	fields      map[string]struct{}
	commandList string
	nameList    string
	pluralList  string
}

//go:embed builtin.yaml
var builtinText []byte

// Builtin returns the types that hold without a file: user and order.
var Builtin = sync.OnceValue(func() *Set {
	s, err := Read("builtin.yaml", builtinText)
	if err != nil {
		panic(err) // a mistake in this package, which its tests find
	}
	return s
})

// Type returns the type with this name, or nil.
func (s *Set) Type(name string) *Type {
	if i := s.names.find(name); i >= 0 {
		return s.Types[i]
	}
	return nil
}

// Command returns the type that a command's name is of, and whether it deletes; nil where there is no such command.
func (s *Set) Command(name string) (t *Type, remove bool) {
	const put, del = "put_", "delete_"
	switch {
	case strings.HasPrefix(name, put):
		name = name[len(put):]
	case strings.HasPrefix(name, del):
		name, remove = name[len(del):], true
	default:
		return nil, false
	}
	return s.Type(name), remove
}

// CommandNames returns the names of all commands: puts and then deletes, each in the order of the types.
func (s *Set) CommandNames() []string {
	names := make([]string, 0, 2*len(s.Types))
	for _, t := range s.Types {
		names = append(names, t.Put)
	}
	for _, t := range s.Types {
		names = append(names, t.Delete)
	}
	return names
}

// CommandList returns the names of all commands as text for people; of many it shows the first.
func (s *Set) CommandList() string { return s.commandList }

// NameList returns the names of all types as text for people: "user or order". Of many it shows the first.
func (s *Set) NameList() string { return s.nameList }

// PluralList returns the plurals of all types as text for people: "users and orders". Of many it shows the first.
func (s *Set) PluralList() string { return s.pluralList }

// HasField says whether a type has a field of this name.
func (s *Set) HasField(name string) bool {
	_, ok := s.fields[name]
	return ok
}

// SplitSK returns the type and id of a sort key, or nil where it is of no type.
func (s *Set) SplitSK(sk string) (t *Type, id string) {
	name, id, ok := strings.Cut(sk, "#")
	if !ok || id == "" {
		return nil, ""
	}
	return s.Type(name), id
}

// Indexed returns the indexes that an item of the type can be in: those whose field it has, its own id included.
func (s *Set) Indexed(t *Type) []*Reference {
	var in []*Reference
	for _, r := range s.References {
		if name := r.Field.Name; name == t.ID || t.Field(name) != nil {
			in = append(in, r)
		}
	}
	return in
}

// Slot says what a member of a command is: the position of a field, or one of the members that every command has.
type Slot int8

// The members that every command has.
const (
	SlotType Slot = iota + maxFields
	SlotTenantID
	SlotID
	SlotVersion
	SlotAttributes
	slots

	SlotUnknown Slot = -1
)

// Names of members and attributes that are the contract's own.
const (
	TypeName       = "type"
	TenantIDName   = "tenant_id"
	VersionName    = "version"
	AttributesName = "attributes"
)

// Slot returns what the member of this name is in a command of the type.
func (t *Type) Slot(name string) Slot { return Slot(t.names.find(name)) }

// IsField says whether a slot is a field's position.
func (s Slot) IsField() bool { return s >= 0 && s < maxFields }

// Field returns the field with this name, or nil.
func (t *Type) Field(name string) *Field {
	if s := t.Slot(name); s.IsField() {
		return t.Fields[s]
	}
	return nil
}

// SlotName returns the name of a slot's member.
func (t *Type) SlotName(s Slot) string {
	switch s {
	case SlotType:
		return TypeName
	case SlotTenantID:
		return TenantIDName
	case SlotID:
		return t.ID
	case SlotVersion:
		return VersionName
	case SlotAttributes:
		return AttributesName
	}
	return t.Fields[s].Name
}

// link derives from a checked declaration all that follows from it.
func (s *Set) link() {
	names, plurals := make([]string, 0, len(s.Types)), make([]string, 0, len(s.Types))
	s.fields = map[string]struct{}{}
	for i, t := range s.Types {
		names, plurals = append(names, t.Name), append(plurals, t.Plural)
		t.Position = i
		t.Put, t.Delete = "put_"+t.Name, "delete_"+t.Name
		t.Prefix = t.Name + "#"
		t.idFragment = `,"` + t.ID + `":{"S":"`
		members := make([]string, slots)
		for position, f := range t.Fields {
			f.Position = position
			s.fields[f.Name] = struct{}{}
			f.link()
			members[position] = f.Name
			bit := uint32(1) << position
			if f.Needed() {
				t.Needed |= bit
			}
			if f.HasDefault {
				t.Defaulted |= bit
			}
			if f.References != nil {
				r := &Reference{From: t, Field: f, To: f.References, Index: indexName(t, f.References)}
				s.References = append(s.References, r)
				t.References = append(t.References, r)
				r.To.ReferredBy = append(r.To.ReferredBy, r)
			}
		}
		for slot := SlotType; slot < slots; slot++ {
			members[slot] = t.SlotName(slot)
		}
		t.names = newNameTable(members)
	}
	s.names = newNameTable(names)
	s.Fingerprint = s.fingerprint()
	s.commandList = list(s.CommandNames())
	s.nameList, s.pluralList = sentence(names, "or", "any of "), sentence(plurals, "and", "")
}

// shownNames is how many names a message for people has.
const shownNames = 8

func list(names []string) string {
	if more := len(names) - shownNames; more > 0 {
		return strings.Join(names[:shownNames], ", ") + " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(names, ", ")
}

// sentence joins names as a sentence has them: "users, orders and devices", and "users, orders and 56 more".
func sentence(names []string, word, more string) string {
	last := len(names) - 1
	if hidden := len(names) - shownNames; hidden > 0 {
		return strings.Join(names[:shownNames], ", ") + " " + word + " " + more + strconv.Itoa(hidden) + " more"
	}
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " " + word + " " + names[last]
}

func indexName(from, to *Type) string { return from.Plural + "_by_" + to.Name }

// link derives what values are checked with. The declaration's numbers are known to be numbers.
func (f *Field) link() {
	f.minimum, _ = decimal.Parse(f.Minimum)
	f.maximum, _ = decimal.Parse(f.Maximum)
	if f.Type.numeric() {
		f.enumNumbers = make([]decimal.Number, len(f.Enum))
		for i, text := range f.Enum {
			f.enumNumbers[i], _ = decimal.Parse(text)
		}
	}
	f.fragment = `,"` + f.Name + `":`
	switch f.Type {
	case String:
		f.fragment += `{"S":`
	case Number, Integer:
		f.fragment += `{"N":"`
	case Boolean:
		f.fragment += `{"BOOL":`
	}
	if f.HasDefault {
		f.defaultBytes = f.Bytes(f.Default)
		f.storedDefault = string(f.AppendItem(nil, f.Default)[len(`,"":`)+len(f.Name):])
	}
}

// fingerprint hashes the meaning of a declaration: what it says, sorted, without descriptions.
func (s *Set) fingerprint() string {
	lines := make([]string, 0, len(s.Types)*8)
	for _, t := range s.Types {
		lines = append(lines, fmt.Sprintf("%s %q", t.Name, t.Plural))
		for _, f := range t.Fields {
			lines = append(lines, t.Name+"."+f.Name+" "+f.meaning())
		}
	}
	sort.Strings(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:8])
}

// meaning writes what a field's declaration says, in one form: values plain, those of an enum sorted.
func (f *Field) meaning() string {
	plain := f.Type.plain
	enum := make([]string, 0, len(f.Enum))
	for _, text := range f.Enum {
		enum = append(enum, plain(text))
	}
	slices.Sort(enum)
	text := fmt.Sprintf("%s required=%v enum=%q length=%d..%d range=%s..%s format=%s", f.Type, f.Required, enum,
		f.MinLength, f.MaxLength, plain(f.Minimum), plain(f.Maximum), f.Format)
	if f.HasDefault {
		text += fmt.Sprintf(" default=%q", plain(f.Default))
	}
	if f.References != nil {
		text += " references=" + f.References.Name
	}
	return text
}

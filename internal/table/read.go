package table

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"tributary/internal/base/decimal"
	"tributary/internal/base/rawjson"
	"tributary/internal/schema"
)

// Stored is an item of the table: the texts of its attributes by name, each a value of DynamoDB's JSON such as
// {"S":"x"}. The texts are substrings of the text that was read. Attributes that no type declares are left out.
type Stored struct {
	types  *schema.Set
	values map[string]string
}

// NewStored returns an item of no attributes, for Read.
func NewStored(types *schema.Set) Stored { return Stored{types, map[string]string{}} }

// Read makes of i the item that s has next. What is wrong with its form is in s.Err.
func (i Stored) Read(s *rawjson.Scanner) {
	clear(i.values)
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		value := s.Skip()
		switch name {
		case PKAttribute, SKAttribute, VersionAttribute, AttributesAttribute, DeletedAttribute:
		default:
			if !i.types.HasField(name) {
				continue
			}
		}
		i.values[name] = value
	}
}

// IsEmpty says whether there is nothing that this package knows: no item was read.
func (i Stored) IsEmpty() bool { return len(i.values) == 0 }

// Key returns the key of the item.
func (i Stored) Key() (Key, error) {
	pk, ok := i.ofType(PKAttribute, "S")
	sk, ok2 := i.ofType(SKAttribute, "S")
	if !ok || !ok2 {
		return Key{}, errors.New("read key: the item has no PK and SK that are strings")
	}
	return ParseKey(i.types, pk, sk)
}

// SortKey returns the item's sort key, or "" where it has none that is a string.
func (i Stored) SortKey() string {
	sk, _ := i.ofType(SKAttribute, "S")
	return sk
}

// IsTombstone says whether the item stands for a deleted one. Readers skip it.
func (i Stored) IsTombstone() bool {
	s := rawjson.New(i.values[DeletedAttribute])
	return open(&s) == "BOOL" && s.Bool()
}

// AppendShown appends the item with the key as the query API shows it, whoever wrote it: ids come from the key, and what is
// absent has its default, or is empty where every answer has the field. An attribute whose value is not of its type is shown as
// if it were absent; unreadable names those attributes. So one odd attribute hides neither the item nor, in a list, others.
func (i Stored) AppendShown(dst []byte, key Key) (_ []byte, unreadable []string) {
	name := func(name string) { dst = append(rawjson.AppendString(dst, name), ':') }
	dst = append(dst, '{')
	name(schema.TenantIDName)
	dst = append(rawjson.AppendString(dst, key.TenantID), ',')
	name(key.Type.ID)
	dst = append(rawjson.AppendString(dst, key.ID), ',')
	for _, f := range key.Type.Fields {
		at := len(dst)
		name(f.Name)
		var shown, ok bool
		if dst, shown, ok = i.appendField(dst, f); !ok {
			unreadable = append(unreadable, f.Name)
		}
		if !shown {
			dst = dst[:at]
			continue
		}
		dst = append(dst, ',')
	}
	if _, there := i.values[VersionAttribute]; there {
		n, ok := i.version()
		if !ok {
			unreadable = append(unreadable, VersionAttribute)
		} else if n != 0 {
			dst = append(dst, `"version":`...)
			dst = append(strconv.AppendInt(dst, n, 10), ',')
		}
	}
	if value, there := i.values[AttributesAttribute]; there {
		s := rawjson.New(value)
		if kind := open(&s); kind != "M" {
			unreadable = append(unreadable, AttributesAttribute)
		} else {
			s = rawjson.New(value)
			dst = append(dst, `"attributes":`...)
			dst = append(AppendJSON(dst, &s), ',')
		}
	}
	dst[len(dst)-1] = '}'
	return dst, unreadable
}

// open enters a value {"TYPE":…} and returns its type; the scanner is then at what belongs to the type.
func open(s *rawjson.Scanner) (kind string) {
	if s.Open('{'); s.More('}') {
		return s.Name()
	}
	return ""
}

// ofType returns the text of a string or number.
func (i Stored) ofType(name, kind string) (text string, ok bool) {
	s := rawjson.New(i.values[name])
	if open(&s) != kind {
		return "", false
	}
	text = s.String()
	return text, s.Err() == nil
}

// appendField appends a field's value. Shown says whether there is one, and ok that what is stored is of the field's type.
func (i Stored) appendField(dst []byte, f *schema.Field) (_ []byte, shown, ok bool) {
	value, there := i.values[f.Name]
	if dst, shown, ok = appendShown(dst, f, value); shown {
		return dst, true, true
	}
	ok = ok || !there
	if f.HasDefault {
		dst, shown, _ = appendShown(dst, f, f.StoredDefault())
		return dst, shown, ok
	}
	if f.Shown() {
		return append(dst, `""`...), true, ok
	}
	return dst, false, ok
}

// appendShown appends a stored value as the query API shows it, if it is of the field's type. NULL is right too, and not shown.
// Numbers are text there, and numbers in place of text are.
func appendShown(dst []byte, f *schema.Field, value string) (_ []byte, shown, ok bool) {
	s := rawjson.New(value)
	kind := open(&s)
	asText := f.Type == schema.String || f.Type == schema.Number
	switch {
	case kind == "NULL":
		return dst, false, true
	case asText && kind == "S":
		return rawjson.AppendString(dst, s.String()), true, true
	case asText && kind == "N":
		return rawjson.AppendString(dst, string(appendPlain(nil, s.String()))), true, true
	case asText || kind != attributeType(f.Type):
		return dst, false, false
	case f.Type == schema.Integer:
		if n, number := decimal.Parse(s.String()); !number || !n.IsInteger() {
			return dst, false, false
		}
	}
	s = rawjson.New(value)
	return AppendJSON(dst, &s), true, true
}

func (i Stored) version() (n int64, ok bool) {
	text, ok := i.ofType(VersionAttribute, "N")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(appendPlain(nil, text)), 10, 64)
	return n, err == nil
}

// AppendJSON appends the DynamoDB value that s has next as plain JSON: members in the order of their names, numbers exact and in
// plain form. Types that JSON does not have, which commands never write, become the next best: sets are arrays, binaries base64.
// It builds no values: a value of a few bytes would take a hundred.
func AppendJSON(dst []byte, s *rawjson.Scanner) []byte {
	switch open(s) {
	case "S", "B":
		dst = rawjson.AppendString(dst, s.String())
	case "N":
		dst = appendNumeric(dst, s.String())
	case "BOOL":
		dst = strconv.AppendBool(dst, s.Bool())
	case "M":
		dst = appendMembers(dst, s)
	case "L":
		dst = appendArray(dst, s, AppendJSON)
	case "SS", "BS":
		dst = appendArray(dst, s, func(dst []byte, s *rawjson.Scanner) []byte { return rawjson.AppendString(dst, s.String()) })
	case "NS":
		dst = appendArray(dst, s, func(dst []byte, s *rawjson.Scanner) []byte { return appendNumeric(dst, s.String()) })
	default: // NULL
		s.Skip()
		dst = append(dst, "null"...)
	}
	s.More('}')
	return dst
}

// appendMembers appends a map's members in the order of their names: first as they come, then, where that is another order, sorted.
func appendMembers(dst []byte, s *rawjson.Scanner) []byte {
	type member struct {
		name       string
		start, end int // of its text in dst
	}
	var members []member
	dst = append(dst, '{')
	first := len(dst)
	for s.Open('{'); s.More('}'); {
		m := member{name: s.Name(), start: len(dst)}
		dst = append(rawjson.AppendString(dst, m.name), ':')
		dst = AppendJSON(dst, s)
		m.end = len(dst)
		dst = append(dst, ',')
		members = append(members, m)
	}
	if len(members) == 0 {
		return append(dst, '}')
	}
	byName := func(a, b member) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(members, byName) {
		slices.SortFunc(members, byName)
		unsorted := slices.Clone(dst[first:])
		dst = dst[:first]
		for _, m := range members {
			dst = append(dst, unsorted[m.start-first:m.end-first]...)
			dst = append(dst, ',')
		}
	}
	dst[len(dst)-1] = '}'
	return dst
}

func appendArray(dst []byte, s *rawjson.Scanner, appendOne func([]byte, *rawjson.Scanner) []byte) []byte {
	dst = append(dst, '[')
	n := 0
	for s.Open('['); s.More(']'); n++ {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = appendOne(dst, s)
	}
	return append(dst, ']')
}

// maxPlain is the longest plain form of a number in attributes that replaces one with an exponent: 38 digits, sign and point.
const maxPlain = 40

// appendNumeric appends a stored number in plain form, or as it stands where that would be long: 1E+125 would have 126
// digits, and an item has room for a hundred thousand of them.
func appendNumeric(dst []byte, text string) []byte {
	plain := appendPlain(dst, text)
	if len(plain)-len(dst) > maxPlain {
		s := rawjson.New(text)
		if s.Number(); s.End() == nil {
			return append(dst, text...)
		}
	}
	return plain
}

// appendPlain appends a stored number in plain form.
func appendPlain(dst []byte, text string) []byte {
	plain, ok := decimal.AppendPlain(dst, text)
	if !ok { // no backend should store it
		return rawjson.AppendString(dst, text)
	}
	return plain
}

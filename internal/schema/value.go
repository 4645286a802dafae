package schema

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"tributary/internal/aws/limits"
	"tributary/internal/base/decimal"
	"tributary/internal/base/rawjson"
)

// Cause says in which way a value is wrong.
type Cause uint8

// The causes.
const (
	Invalid   Cause = iota + 1 // of the wrong type, form or range
	TooLarge                   // an id, a name, nesting or a count over its limit
	Duplicate                  // a name twice in an object
)

// ValueError says why a field can't have a value.
type ValueError struct {
	Cause  Cause
	Field  string
	Detail string // one sentence with the value (cut short) and the limit
}

func (e *ValueError) Error() string { return e.Field + ": " + e.Detail }

// Values are the values of a command's fields, by position. A value is a text: a string's own, a number's as it was sent,
// true or false, or the JSON of an object or array.
//
// The first few are in place, so that a command of a small type allocates nothing; see BenchmarkRead. Values that are all in
// place can be compared by ==; of others it compares the place.
type Values struct {
	given uint32
	near  [nearValues]string
	// far are those from position nearValues on; made by the first Set of one.
	far *[maxFields - nearValues]string
}

// nearValues is how many values are in place. Today's types have two fields; most have at most four.
const nearValues = 4

// Set gives the field at a position a value.
func (v *Values) Set(position int, text string) {
	v.given |= 1 << position
	if position < nearValues {
		v.near[position] = text
		return
	}
	if v.far == nil {
		v.far = new([maxFields - nearValues]string)
	}
	v.far[position-nearValues] = text
}

// Get returns the value at a position, and whether there is one.
func (v *Values) Get(position int) (text string, ok bool) {
	if v.given&(1<<position) == 0 {
		return "", false
	}
	if position < nearValues {
		return v.near[position], true
	}
	return v.far[position-nearValues], true
}

// Given has the bits (1 << position) of the values that there are.
func (v *Values) Given() uint32 { return v.given }

// ApplyDefaults gives fields that are absent their defaults, and returns how many bytes that adds to the item.
func (t *Type) ApplyDefaults(v *Values) int {
	absent := t.Defaulted &^ v.given
	size := 0
	for position := 0; absent != 0; position++ {
		if bit := uint32(1) << position; absent&bit != 0 {
			f := t.Fields[position]
			v.Set(position, f.Default)
			size += f.defaultBytes
			absent &^= bit
		}
	}
	return size
}

// Read reads the field's next value from a command. It returns the value as text, and the bytes that name and value take in
// an item. Where the value is null, which means that the field is absent, given is false. On an error the value is
// skipped, so that the scan goes on behind it. Syntax errors are the scanner's affair.
//
// A command's strings share the memory of its text, unless they have escapes.
func (f *Field) Read(s *rawjson.Scanner) (text string, size int, given bool, err *ValueError) {
	c := s.Peek()
	if c == 'n' && !f.Needed() {
		s.Null()
		return "", 0, false, nil
	}
	switch f.Type {
	case String:
		if c != '"' {
			return "", 0, false, f.wrongType(s, "a string")
		}
		text = s.String()
		if s.NotText() {
			return "", 0, false, invalid(f.Name, quote(text)+" is not valid Unicode (half of a surrogate pair, or broken UTF-8)")
		}
	case Number, Integer:
		switch {
		case c == '"':
			text = s.String()
			s.NotText() // it is no number then
		case c == '-' || isDigit(c):
			text = s.Number()
		case f.Type == Number:
			return "", 0, false, f.wrongType(s, "a decimal number, or one in a string")
		default:
			return "", 0, false, f.wrongType(s, "an integer, or one in a string")
		}
	case Boolean:
		if c != 't' && c != 'f' {
			return "", 0, false, f.wrongType(s, "true or false")
		}
		text = s.Skip()
	case Object, Array:
		if f.Type == Object && c != '{' {
			return "", 0, false, f.wrongType(s, "an object")
		}
		if f.Type == Array && c != '[' {
			return "", 0, false, f.wrongType(s, "an array")
		}
		text, size, err = readDocument(f.Name, s)
		return text, len(f.Name) + size, err == nil && s.Err() == nil, err
	}
	if s.Err() != nil {
		return "", 0, false, nil
	}
	size, err = f.Check(text)
	return text, size, err == nil, err
}

func (f *Field) wrongType(s *rawjson.Scanner, wanted string) *ValueError {
	text := s.Skip()
	s.NotText()
	return invalid(f.Name, "it is "+cut(text)+", it must be "+wanted)
}

// Check says why the field can't have a value, given as text, or how many bytes its name and the value take in an item.
// It is for texts that are not part of a JSON text: of a command line, or a cell of a table.
func (f *Field) Check(text string) (size int, err *ValueError) {
	switch f.Type {
	case String:
		size, err = f.checkString(text)
	case Number, Integer:
		size, err = f.checkNumber(text)
	case Boolean:
		switch {
		case text != "true" && text != "false":
			err = invalid(f.Name, quote(text)+" is neither true nor false")
		case len(f.Enum) > 0 && !f.inEnum(text):
			err = f.notInEnum(text)
		}
		size = 1
	case Object, Array:
		size, err = checkDocument(f.Name, text, f.Type)
	}
	return len(f.Name) + size, err
}

func (f *Field) checkString(text string) (int, *ValueError) {
	if f.References != nil {
		if err := CheckID(f.Name, text); err != nil {
			return 0, err
		}
	} else if !utf8.ValidString(text) {
		return 0, notUnicode(f.Name, text)
	}
	if f.MinLength > 0 || f.MaxLength >= 0 {
		// Counting characters is dear, and seldom decides: a text has at most as many as bytes.
		if len(text) < f.MinLength || f.MaxLength >= 0 && len(text) > f.MaxLength || len(text) < utf8.UTFMax*f.MinLength {
			n := utf8.RuneCountInString(text)
			if n < f.MinLength {
				return 0, invalid(f.Name, fmt.Sprintf("%s has %s, it must have at least %d", quote(text), characters(n), f.MinLength))
			}
			if f.MaxLength >= 0 && n > f.MaxLength {
				return 0, invalid(f.Name, fmt.Sprintf("%s has %s, it may have at most %d", quote(text), characters(n), f.MaxLength))
			}
		}
	}
	if f.Format != NoFormat && !f.Format.has(text) {
		return 0, invalid(f.Name, quote(text)+" is not "+article(f.Format.String())+" such as "+f.Format.Example())
	}
	if len(f.Enum) > 0 && !f.inEnum(text) {
		return 0, f.notInEnum(text)
	}
	return len(text), nil
}

func characters(n int) string {
	if n == 1 {
		return "1 character"
	}
	return strconv.Itoa(n) + " characters"
}

func (f *Field) inEnum(text string) bool {
	for _, allowed := range f.Enum {
		if allowed == text {
			return true
		}
	}
	return false
}

// shownValues is how many values of an enum a message names.
const shownValues = 8

func (f *Field) notInEnum(text string) *ValueError {
	var b strings.Builder
	for i, allowed := range f.Enum {
		if i == shownValues {
			fmt.Fprintf(&b, " and %d more", len(f.Enum)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if f.Type == String {
			allowed = quote(allowed)
		}
		b.WriteString(allowed)
	}
	if f.Type == String {
		text = quote(text)
	} else {
		text = cut(text)
	}
	return invalid(f.Name, text+" is not one of "+b.String())
}

func (f *Field) checkNumber(text string) (int, *ValueError) {
	n, err := parseNumber(f.Name, text)
	if err != nil {
		return 0, err
	}
	switch {
	case f.Type == Integer && !n.IsInteger():
		return 0, invalid(f.Name, cut(text)+" is not an integer")
	case f.Minimum != "" && decimal.Compare(&n, &f.minimum) < 0:
		return 0, invalid(f.Name, cut(text)+" is less than the minimum, "+cut(f.Minimum))
	case f.Maximum != "" && decimal.Compare(&n, &f.maximum) > 0:
		return 0, invalid(f.Name, cut(text)+" is more than the maximum, "+cut(f.Maximum))
	}
	if len(f.Enum) > 0 {
		for i := range f.enumNumbers {
			if decimal.Compare(&n, &f.enumNumbers[i]) == 0 {
				return n.Bytes(), nil
			}
		}
		return 0, f.notInEnum(text)
	}
	return n.Bytes(), nil
}

// parseNumber reads a number that DynamoDB can store.
func parseNumber(field, text string) (decimal.Number, *ValueError) {
	n, ok := decimal.Parse(text)
	switch {
	case !ok:
		return n, invalid(field, quote(text)+" is not a decimal number such as 150, 149.99 or 1.5e2")
	case n.Fits():
		return n, nil
	case n.Digits() > limits.DynamoDBNumberDigits:
		return n, invalid(field, quote(text)+" has "+strconv.Itoa(n.Digits())+" significant digits, DynamoDB keeps at most "+
			strconv.Itoa(limits.DynamoDBNumberDigits))
	}
	return n, invalid(field, quote(text)+" is out of DynamoDB's range, 1E"+strconv.Itoa(limits.DynamoDBNumberMinExp)+
		" to 9.99E"+strconv.Itoa(limits.DynamoDBNumberMaxExp))
}

// MaxIDBytes is the longest id.
const MaxIDBytes = 256

// CheckID returns why id is not an id, or nil: 1 to 256 bytes of UTF-8 without control characters and without '#', which
// separates the parts of a key.
func CheckID(field, id string) *ValueError {
	if id == "" {
		return invalid(field, "it is empty")
	}
	if len(id) > MaxIDBytes {
		return tooLong(field, id, MaxIDBytes)
	}
	ascii := true
	for i := range len(id) {
		switch c := id[i]; {
		case c == '#':
			return invalid(field, quote(id)+" has '#', which separates the parts of a key")
		case c < ' ' || c == 0x7f:
			return invalid(field, quote(id)+" has a control character")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if ascii {
		return nil
	}
	if strings.ContainsFunc(id, unicode.IsControl) {
		return invalid(field, quote(id)+" has a control character")
	}
	if !utf8.ValidString(id) {
		return notUnicode(field, id)
	}
	return nil
}

// CheckAttributes returns why text can't be the value of `attributes`, or the bytes that name and value take in an item.
func CheckAttributes(text string) (int, *ValueError) {
	size, err := checkDocument(AttributesName, text, Object)
	return len(AttributesName) + size, err
}

// MaxDocumentValues is the most values in `attributes`, and in a field that is an object or array: every member and every
// element at any depth. Values cost more than their bytes: on the wire to DynamoDB and in every program that reads them.
const MaxDocumentValues = 10_000

// ReadAttributes reads the value of `attributes`, an object, from a command, and returns it as text, and the bytes that name and
// value take in an item. On an error the value is skipped. Syntax errors are the scanner's affair.
func ReadAttributes(s *rawjson.Scanner) (text string, size int, err *ValueError) {
	text, size, err = readDocument(AttributesName, s)
	return text, len(AttributesName) + size, err
}

// readDocument reads an object or array.
func readDocument(field string, s *rawjson.Scanner) (text string, size int, err *ValueError) {
	s.Peek()
	s.NotText() // what came before is another's affair
	start := *s
	w := walk{field: field}
	size = w.value(s, 1)
	switch {
	case w.err != nil:
		*s = start
		s.Skip() // the walk has ended before its end
		s.NotText()
		return "", 0, w.err
	case s.Err() != nil:
		return "", 0, nil
	case s.NotText():
		return "", 0, invalid(field, "it has a string that is not valid Unicode (half of a surrogate pair, or broken UTF-8)")
	}
	return s.Since(start.Offset()), size, nil
}

// checkDocument checks the JSON of an object or array, and returns the bytes that it takes in an item.
func checkDocument(field, text string, want FieldType) (int, *ValueError) {
	s := rawjson.New(text)
	switch c := s.Peek(); {
	case want == Object && c != '{':
		return 0, invalid(field, cut(text)+" is not an object")
	case want == Array && c != '[':
		return 0, invalid(field, cut(text)+" is not an array")
	}
	_, size, wrong := readDocument(field, &s)
	if wrong != nil {
		return 0, wrong
	}
	if err := s.End(); err != nil {
		return 0, invalid(field, "it is not JSON: "+err.Error())
	}
	return size, nil
}

// walk goes through an object or array once, up to the first error: it checks it and counts its bytes.
type walk struct {
	field  string
	values int
	err    *ValueError
}

// fail keeps an error, after which the walk ends.
func (w *walk) fail(err *ValueError) { w.err = err }

const (
	// maxLevels is how many lists and maps may stand in each other, the field's own included. The item is the first of
	// DynamoDB's levels.
	maxLevels = limits.DynamoDBNesting - 1
	// maxNameBytes is the longest attribute name ("Supported data types and naming rules in Amazon DynamoDB": less than 64 KB).
	maxNameBytes = 64<<10 - 1
)

// value returns the bytes of a value at a level of nesting. A list or map takes 3 bytes and 1 for each element, beside
// the elements and their names.
func (w *walk) value(s *rawjson.Scanner, level int) int {
	switch s.Peek() {
	case '{':
		w.nested(level)
		size := 3
		var names rawjson.NameSet
		for s.Open('{'); w.err == nil && s.More('}'); {
			name := s.Name()
			w.count()
			switch {
			case s.Err() != nil: // the walk's end
			case name == "":
				w.fail(invalid(w.field, "it has an empty name, DynamoDB wants at least one character"))
			case len(name) > maxNameBytes:
				w.fail(tooLong(w.field, name, maxNameBytes))
			case !names.Add(name):
				w.fail(&ValueError{Duplicate, w.field, quote(name) + " is there twice"})
			default:
				size += 1 + len(name) + w.value(s, level+1)
			}
		}
		return size
	case '[':
		w.nested(level)
		size := 3
		for s.Open('['); w.err == nil && s.More(']'); {
			w.count()
			size += 1 + w.value(s, level+1)
		}
		return size
	case '"':
		return len(s.String())
	case 't', 'f', 'n':
		s.Skip()
		return 1
	}
	text := s.Number()
	if s.Err() != nil {
		return 0
	}
	n, err := parseNumber(w.field, text)
	if err != nil {
		w.fail(err)
		return 0
	}
	return n.Bytes()
}

// count counts one value.
func (w *walk) count() {
	if w.values++; w.values > MaxDocumentValues {
		w.fail(&ValueError{TooLarge, w.field, fmt.Sprintf("it has more than %d values", MaxDocumentValues)})
	}
}

func (w *walk) nested(level int) {
	if level > maxLevels {
		w.fail(&ValueError{TooLarge, w.field, fmt.Sprintf("it is nested more than %d levels deep", maxLevels)})
	}
}

func invalid(field, detail string) *ValueError { return &ValueError{Invalid, field, detail} }

func notUnicode(field, text string) *ValueError {
	return invalid(field, quote(text)+" is not valid Unicode")
}

func tooLong(field, value string, limit int) *ValueError {
	return &ValueError{TooLarge, field, fmt.Sprintf("%s takes %d bytes, at most %d are allowed", quote(value), len(value), limit)}
}

// shownBytes is how much of a value a message for people shows.
const shownBytes = 48

// quote returns a value for a message: cut short, with quotes, control characters and broken UTF-8 made visible.
func quote(value string) string {
	if len(value) <= shownBytes {
		return strconv.Quote(value)
	}
	return strconv.Quote(whole(value)) + "…"
}

// cut is quote for JSON text, which has quotes of its own.
func cut(text string) string {
	short := whole(text)
	quoted := strconv.Quote(short)
	short = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if len(text) > shownBytes {
		short += "…"
	}
	return short
}

// whole returns the start of a value without a part of a rune at its end.
func whole(value string) string {
	if len(value) <= shownBytes {
		return value
	}
	end := shownBytes
	for end > shownBytes-utf8.UTFMax && !utf8.RuneStart(value[end]) {
		end--
	}
	return value[:end]
}

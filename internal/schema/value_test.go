package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tributary/internal/base/rawjson"
	"tributary/test/support/declarations"
)

// put reads a command of a set's only type, "thing", as a decoder of commands does, and returns the first error.
func put(s *Set, body string) (Values, *ValueError) {
	var v Values
	var first *ValueError
	fail := func(err *ValueError) {
		if first == nil {
			first = err
		}
	}
	t := s.Types[len(s.Types)-1]
	scan := rawjson.New(body)
	for scan.Open('{'); scan.More('}'); {
		slot := t.Slot(scan.Name())
		switch {
		case slot == SlotUnknown:
			scan.Skip()
			fail(invalid("", "unknown field"))
		case slot.IsField():
			text, _, given, err := t.Fields[slot].Read(&scan)
			if err != nil {
				fail(err)
			} else if given {
				v.Set(int(slot), text)
			}
		default:
			scan.Skip()
		}
	}
	if err := scan.End(); err != nil {
		fail(invalid("", err.Error()))
	}
	t.ApplyDefaults(&v)
	if t.Needed&^v.Given() != 0 {
		fail(invalid("", "a field is missing"))
	}
	return v, first
}

func putBody(member string) string {
	if member != "" {
		member = `,"f":` + member
	}
	return `{"type":"put_thing","tenant_id":"t","thing_id":"i"` + member + `}`
}

// beyond are the reasons for which the schema takes a value that a decoder refuses.
const (
	inStrings = "the limits of numbers in strings"
	digits    = "significant digits"
	tiny      = "the smallest number"
	inBytes   = "limits in bytes"
	halves    = "half a surrogate pair"
	twice     = "names given twice"
	levels    = "levels of nesting"
)

// values are values of fields by declaration. A value is a JSON text; "" is an absent field.
var values = []struct {
	declaration string
	valid       []string
	invalid     []string
	beyond      map[string]string // refused, though the schema takes it
}{
	{"{type: string}", []string{`""`, `"a"`, `"\u0000\n"`, `"😀"`, `null`, ``, `"\ud83d\ude00"`}, []string{`5`, `true`, `{}`, `[]`, `["a"]`}, map[string]string{`"\ud800"`: halves}},
	{"{type: string, required: true}", []string{`""`, `"a"`}, []string{`null`, ``, `5`}, nil},
	{"{type: string, required: true, default: x}", []string{`""`, `null`, ``}, []string{`5`}, nil},
	{"{type: string, minLength: 2}", []string{`"ab"`, `"éé"`, `"😀😀"`, `"\u0061b"`}, []string{`""`, `"a"`, `"é"`, `"😀"`}, nil},
	{"{type: string, maxLength: 2}", []string{`""`, `"ab"`, `"éé"`, `"😀😀"`, `"\u00e9\u00e9"`}, []string{`"abc"`, `"ééé"`, `"😀😀😀"`}, nil},
	{"{type: string, minLength: 1, maxLength: 1}", []string{`"a"`, `"😀"`, `"\ud83d\ude00"`}, []string{`""`, `"aa"`, `"😀😀"`}, nil},
	{"{type: string, maxLength: 0}", []string{`""`}, []string{`"a"`}, nil},
	{"{type: string, enum: [a, \"\", \"é\"]}", []string{`"a"`, `""`, `"\u0061"`, `"é"`, `null`, ``}, []string{`"b"`, `"A"`, `"a "`, `"e\u0301"`}, nil},
	{"{type: string, required: true, enum: [a]}", []string{`"a"`}, []string{`null`, `"b"`, ``}, nil},
	{"{type: string, references: other}", []string{`"o1"`, `" a"`, `"é/?"`, `null`}, []string{`""`, `"a#b"`, `"a\u0000"`, `"\u0085"`, `"\u007f"`, `5`, `"` + strings.Repeat("x", 257) + `"`},
		map[string]string{`"` + strings.Repeat("é", 129) + `"`: inBytes, `"\ud800"`: halves}},
	{"{type: string, references: other, format: uuid, required: true}", []string{`"0192f0a1-7c3e-7000-8000-000000000042"`}, []string{`"o1"`, `null`}, nil},

	{"{type: string, format: date}", []string{`"2026-11-24"`, `"2024-02-29"`, `"2000-02-29"`, `"0000-02-29"`, `"9999-12-31"`, `"0001-01-01"`, `null`},
		[]string{`""`, `"2026-02-29"`, `"1900-02-29"`, `"2026-04-31"`, `"2026-13-01"`, `"2026-00-01"`, `"2026-01-00"`, `"26-01-01"`, `"2026-1-1"`, `"2026/01/01"`, `" 2026-01-01"`, `"2026-01-01T00:00:00Z"`, `"２026-01-01"`}, nil},
	{"{type: string, format: date-time}", []string{`"2026-11-24T11:00:00Z"`, `"2026-11-24t11:00:00z"`, `"2026-11-24T11:00:00.123456789012Z"`, `"2026-11-24T11:00:00+01:00"`, `"2026-11-24T23:59:59-23:59"`,
		`"1990-12-31T23:59:60Z"`, `"1990-12-31T15:59:60-08:00"`, `"1991-01-01T00:59:60+01:00"`, `"1990-12-31T23:59:60.5Z"`},
		[]string{`"2026-11-24"`, `"2026-11-24T11:00Z"`, `"2026-11-24T11:00:00"`, `"2026-11-24 11:00:00Z"`, `"2026-11-24T24:00:00Z"`, `"2026-11-24T11:60:00Z"`, `"2026-11-24T11:00:61Z"`,
			`"2026-11-24T11:00:60Z"`, `"1990-12-31T23:59:60+01:00"`, `"2026-11-24T11:00:00.Z"`, `"2026-11-24T11:00:00+1:00"`, `"2026-11-24T11:00:00+0100"`, `"2026-11-24T11:00:00+24:00"`, `"2026-11-24T11:00:00+00:60"`, `"2026-02-30T11:00:00Z"`, `""`}, nil},
	{"{type: string, format: uuid}", []string{`"0192f0a1-7c3e-7000-8000-000000000042"`, `"0192F0A1-7C3E-7000-8000-00000000004a"`, `"00000000-0000-0000-0000-000000000000"`},
		[]string{`""`, `"0192f0a17c3e70008000000000000042"`, `"{0192f0a1-7c3e-7000-8000-000000000042}"`, `"0192f0a1-7c3e-7000-8000-00000000004g"`, `"0192f0a1-7c3e-7000-8000-0000000000421"`, `"0192f0a-17c3e-7000-8000-000000000042"`, `"urn:uuid:0192f0a1-7c3e-7000-8000-000000000042"`}, nil},
	{"{type: string, format: email}", []string{`"alice@example.com"`, `"a@b"`, `"a.b+c@x-y.example"`, "\"!#$%&'*+/=?^_`{|}~-@example.com\"", `"A@1.2"`, `"` + strings.Repeat("a", 64) + `@example.com"`, `"a@` + strings.Repeat("b", 63) + `.com"`},
		[]string{`""`, `"alice"`, `"@example.com"`, `"alice@"`, `"a@b@c"`, `".a@b"`, `"a.@b"`, `"a..b@c"`, `"a@-b"`, `"a@b-"`, `"a@b..c"`, `"a@b."`, `"a@.b"`, `"a b@c"`, `"é@example.com"`, `"a@é.com"`, `"a@b_c"`,
			`"\"a\"@b"`, `"a@[127.0.0.1]"`, `"Alice <alice@example.com>"`, `"` + strings.Repeat("a", 65) + `@example.com"`, `"a@` + strings.Repeat("b", 64) + `.com"`, `"a@` + strings.Repeat("b.", 126) + `b"`}, nil},

	{"{type: number}", []string{`0`, `-0`, `1.50`, `1e5`, `"1.50"`, `"007"`, `"-1E+2"`, `null`, `9.9999999999999999999999999999999999999e125`, `1e-130`, `12345678901234567890123456789012345678`},
		[]string{`""`, `"a"`, `"+1"`, `"1_0"`, `"0x1"`, `"1."`, `".5"`, `" 1"`, `"NaN"`, `true`, `[]`, `{}`, `1e126`},
		map[string]string{`123456789012345678901234567890123456789`: digits, `"1e126"`: inStrings, `"123456789012345678901234567890123456789"`: digits, `1e-131`: tiny}},
	{"{type: number, required: true}", []string{`0`, `"1"`}, []string{`null`, ``, `"x"`}, nil},
	{"{type: number, minimum: -1.5, maximum: 1.5}", []string{`-1.5`, `1.50`, `0`, `"1.5"`, `15e-1`, `null`}, []string{`1.51`, `-1.500000000000000000000001`, `1e1`}, map[string]string{`"1.51"`: inStrings, `"-2"`: inStrings}},
	{"{type: number, minimum: 0.1}", []string{`0.1`, `0.10000000000000000000000000000000000001`, `1e125`}, []string{`0`, `0.09999999999999999999999999999999999999`, `-1`}, nil},
	{"{type: number, enum: [1, 2.50]}", []string{`1`, `1.0`, `2.5`, `25e-1`, `"2.5"`, `null`}, []string{`2`, `-1`, `1.01`}, map[string]string{`"3"`: inStrings}},
	{"{type: integer}", []string{`0`, `-5`, `1.0`, `1e2`, `15e-1e0`[:0] + `1E+1`, `"5"`, `"1.0"`, `"1e2"`, `null`, `99999999999999999999999999999999999999`}, []string{`1.5`, `1e-1`, `"a"`, `true`, `1e126`, `""`},
		map[string]string{`"1.5"`: inStrings, `100000000000000000000000000000000000001`: digits}},
	{"{type: integer, minimum: 0.5, maximum: 3, required: true}", []string{`1`, `3`, `3.0`, `"2"`}, []string{`0`, `4`, `2.5`, `null`}, map[string]string{`"0"`: inStrings}},
	{"{type: integer, enum: [1, 3]}", []string{`1`, `3.0`, `null`}, []string{`2`, `1.5`}, map[string]string{`"2"`: inStrings}},
	{"{type: boolean}", []string{`true`, `false`, `null`, ``}, []string{`"true"`, `0`, `1`, `""`, `[]`}, nil},
	{"{type: boolean, required: true}", []string{`true`, `false`}, []string{`null`, ``}, nil},
	{"{type: boolean, enum: [true]}", []string{`true`, `null`}, []string{`false`}, nil},

	{"{type: object}", []string{`{}`, `{"a":1}`, `{"a":{"b":[1,"x",null,true,{}]}}`, `null`}, []string{`[]`, `"{}"`, `5`, `{"":1}`, `{"a":{"":1}}`, `{"a":1e126}`},
		map[string]string{`{"a":1,"a":2}`: twice, `{"a":123456789012345678901234567890123456789}`: digits, `{"a":"\ud800"}`: halves, strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32): levels}},
	{"{type: object, required: true}", []string{`{}`, strings.Repeat(`{"a":`, 31) + "1" + strings.Repeat("}", 31)}, []string{`null`, ``}, nil},
	{"{type: array}", []string{`[]`, `[1,"x",null,true,{"a":[]}]`, `null`}, []string{`{}`, `"[]"`, `5`, `[{"":1}]`, `[1e126]`}, map[string]string{strings.Repeat("[", 32) + strings.Repeat("]", 32): levels}},
	{"{type: array, required: true, default: [1]}", []string{`[]`, `null`, ``}, []string{`{}`}, nil},
}

// valuesSet declares a type with the field f.
func valuesSet(t testing.TB, declaration string) *Set {
	return mustRead(t, "types:\n  other: {}\n  thing:\n    fields:\n      f: "+declaration+"\n")
}

// TestValues: the decoder takes and refuses what the tables say, and so does the generated schema but where it can't.
func TestValues(t *testing.T) {
	for _, v := range values {
		t.Run(v.declaration, func(t *testing.T) {
			s := valuesSet(t, v.declaration)
			schema := compile(t, s)
			check := func(value string, want, wantSchema bool) {
				t.Helper()
				body := putBody(value)
				_, err := put(s, body)
				if (err == nil) != want {
					t.Errorf("%.80s: the decoder says %v", value, err)
				}
				if err != nil {
					checkDetail(t, err)
				}
				document, jsonErr := jsonschema.UnmarshalJSON(strings.NewReader(body))
				if got := jsonErr == nil && schema.Validate(document) == nil; got != wantSchema {
					t.Errorf("%.80s: the schema says valid=%v", value, got)
				}
			}
			for _, value := range v.valid {
				check(value, true, true)
			}
			for _, value := range v.invalid {
				check(value, false, false)
			}
			for value := range v.beyond {
				check(value, false, true)
			}
		})
	}
}

// checkDetail: an error ends in a message attribute and in logs.
func checkDetail(t *testing.T, err *ValueError) {
	t.Helper()
	text := err.Error()
	if err.Detail == "" || len(text) > 600 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0xFFFE || r == 0xFFFF }) {
		t.Errorf("its message is not one short line: %.700q", text)
	}
}

// TestDetails: errors name the value and the limit.
func TestDetails(t *testing.T) {
	for _, e := range []struct{ declaration, value, want string }{
		{"{type: string, required: true}", `null`, "f: it is null, it must be a string"},
		{"{type: string}", `[1]`, "f: it is [1], it must be a string"},
		{"{type: string, minLength: 3}", `"a"`, `f: "a" has 1 character, it must have at least 3`},
		{"{type: string, maxLength: 3}", `"abcd"`, `f: "abcd" has 4 characters, it may have at most 3`},
		{"{type: string, format: date}", `"x"`, `f: "x" is not a date such as 2026-11-24`},
		{"{type: string, format: email}", `"x"`, `f: "x" is not an email such as alice@example.com`},
		{"{type: string, enum: [a, b]}", `"c"`, `f: "c" is not one of "a", "b"`},
		{"{type: integer, enum: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}", `11`, `f: 11 is not one of 1, 2, 3, 4, 5, 6, 7, 8 and 2 more`},
		{"{type: string, references: other}", `"a#"`, `f: "a#" has '#', which separates the parts of a key`},
		{"{type: number}", `true`, "f: it is true, it must be a decimal number, or one in a string"},
		{"{type: number, minimum: 1.5}", `1`, "f: 1 is less than the minimum, 1.5"},
		{"{type: number, maximum: 1.5}", `"2"`, "f: 2 is more than the maximum, 1.5"},
		{"{type: integer}", `1.5`, "f: 1.5 is not an integer"},
		{"{type: integer}", `{}`, "f: it is {}, it must be an integer, or one in a string"},
		{"{type: boolean}", `"true"`, `f: it is "true", it must be true or false`},
		{"{type: object}", `[]`, "f: it is [], it must be an object"},
		{"{type: array}", `{}`, "f: it is {}, it must be an array"},
		{"{type: array}", `[{"a":1,"a":2}]`, `f: "a" is there twice`},
	} {
		if _, err := put(valuesSet(t, e.declaration), putBody(e.value)); err == nil || err.Error() != e.want {
			t.Errorf("%s, %s: %v, want %s", e.declaration, e.value, err, e.want)
		}
	}
}

// TestCheckText: values of a command line are held to the same rules.
func TestCheckText(t *testing.T) {
	for _, e := range []struct {
		declaration, text string
		size              int // 0: refused
	}{
		{"{type: string}", "abc", 4}, {"{type: string}", "", 1}, {"{type: string}", "\xff", 0},
		{"{type: number}", "150.00", 4}, {"{type: number}", "x", 0}, {"{type: integer}", "1.5", 0},
		{"{type: boolean}", "true", 2}, {"{type: boolean}", "TRUE", 0}, {"{type: boolean, enum: [true]}", "false", 0},
		{"{type: object}", `{"a":"bc"}`, 1 + 3 + 1 + 1 + 2}, {"{type: object}", "[]", 0}, {"{type: object}", "{", 0}, {"{type: object}", "", 0},
		{"{type: array}", "[1,2]", 1 + 3 + 2*(1+2)}, {"{type: array}", "[1,2] x", 0},
	} {
		f := valuesSet(t, e.declaration).Type("thing").Fields[0]
		size, err := f.Check(e.text)
		if (err == nil) != (e.size > 0) || err == nil && size != e.size {
			t.Errorf("%s, %q: %d bytes, %v", e.declaration, e.text, size, err)
		}
		if err == nil && f.Bytes(e.text) != size {
			t.Errorf("%s, %q: Bytes is %d, Check says %d", e.declaration, e.text, f.Bytes(e.text), size)
		}
	}
}

// TestItems: values become members of items and of commands.
func TestItems(t *testing.T) {
	s := mustRead(t, oneType(`      s: {type: string}
      n: {type: number}
      i: {type: integer}
      b: {type: boolean}
      o: {type: object}
      a: {type: array}
      big: {type: integer}
      d: {type: string, default: x}
      absent: {type: string}`))
	v, err := put(s, `{"s":"a\"","n":"1.50e200e"}`)
	if err == nil {
		t.Error("1.50e200e is accepted")
	}
	v, err = put(s, `{"type":"put_thing","s":"a\"\u00e9","n":"1.50e2","i":7.0,"b":true,"o":{"x":[1e1,null,"\u0041"]},"a":[false],"big":"1234567890123456","absent":null}`)
	if err != nil {
		t.Fatal(err)
	}
	thing := s.Types[0]
	item := string(thing.AppendValues(nil, &v))
	if want := `,"s":{"S":"a\"é"},"n":{"N":"150"},"i":{"N":"7.0"},"b":{"BOOL":true},"o":{"M":{"x":{"L":[{"N":"10"},{"NULL":true},{"S":"\u0041"}]}}},"a":{"L":[{"BOOL":false}]},"big":{"N":"1234567890123456"},"d":{"S":"x"}`; item != want {
		t.Errorf("the item is\n%s\nwant\n%s", item, want)
	}
	if got, want := string(thing.AppendID(nil, []byte(`a\"`))), `,"thing_id":{"S":"a\""}`; got != want {
		t.Errorf("the id is %s", got)
	}
	var command []byte
	for position, f := range thing.Fields {
		if text, ok := v.Get(position); ok {
			command = f.AppendMember(command, text)
		}
	}
	if want := `,"s":"a\"é","n":"1.50e2","i":7,"b":true,"o":{"x":[1e1,null,"\u0041"]},"a":[false],"big":"1234567890123456","d":"x"`; string(command) != want {
		t.Errorf("the command is\n%s\nwant\n%s", command, want)
	}
	again, err := put(s, "{"+string(command[1:])+"}")
	if err != nil || string(thing.AppendValues(nil, &again)) != strings.Replace(item, "7.0", "7", 1) {
		t.Errorf("the command reads as %v, %v", again, err)
	}
	// PK tenant#t, SK thing#i, thing_id i
	if got := thing.HeadBytes("t", "i"); got != 2+8+2+7+8+1 {
		t.Errorf("the head takes %d bytes", got)
	}
}

var randomValues = []string{`null`, `""`, `"a"`, `"bb"`, `"é"`, `"abcd"`, `"2026-11-24"`, `"2026-11-24T11:00:00Z"`, `"0192f0a1-7c3e-7000-8000-000000000042"`, `"alice@example.com"`,
	`0`, `1`, `1.0`, `2`, `-30`, `5`, `-7.25`, `1e3`, `12.5`, `true`, `false`, `{}`, `{"a":[1,"x"]}`, `[]`, `[1,{"b":null}]`, `[{"":1}]`}

// TestRandomDeclarations: what the generated schema refuses the decoder refuses, and the other way round.
func TestRandomDeclarations(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	accepted, refused := 0, 0
	for range 25 {
		text := declarations.Random(r, 1+r.IntN(5))
		s, err := Read("types.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		schema := compile(t, s)
		checkDocuments(t, s)
		thing := s.Types[len(s.Types)-1]
		for range 80 {
			command := map[string]json.RawMessage{"type": json.RawMessage(`"put_thing"`), "tenant_id": json.RawMessage(`"t"`), "thing_id": json.RawMessage(`"i"`)}
			for _, f := range thing.Fields {
				switch {
				case r.IntN(30) == 0:
					command[f.Name] = json.RawMessage(randomValues[r.IntN(len(randomValues))])
				case f.Needed() || r.IntN(3) > 0:
					command[f.Name] = json.RawMessage(f.literal(f.Sample(r)))
				}
			}
			if r.IntN(40) == 0 {
				command["unknown"] = json.RawMessage("1")
			}
			body, err := json.Marshal(command)
			if err != nil {
				t.Fatal(err)
			}
			v, wrong := put(s, string(body))
			document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			bySchema := schema.Validate(document)
			// A number in a string is beyond the schema, and none of the values is one.
			if (wrong == nil) != (bySchema == nil) {
				t.Fatalf("the decoder says %v, the schema %v, of\n%s\n%s", wrong, bySchema, body, text)
			}
			if wrong != nil {
				refused++
				continue
			}
			accepted++
			item := "{" + strings.TrimPrefix(string(thing.AppendValues(nil, &v)), ",") + "}"
			if !json.Valid([]byte(item)) {
				t.Fatalf("the item is not JSON: %s", item)
			}
			// What is written again as a command reads as the same item.
			again := []byte(`{"type":"put_thing"`)
			size := 0
			for position, f := range thing.Fields {
				if text, ok := v.Get(position); ok {
					again = f.AppendMember(again, text)
					size += f.Bytes(text)
				}
			}
			w, wrong := put(s, string(again)+"}")
			if wrong != nil {
				t.Fatalf("%s is written as %s, which is refused: %v", body, again, wrong)
			}
			for position, f := range thing.Fields {
				text, ok := w.Get(position)
				before, had := v.Get(position)
				if ok != had || ok && !sameValue(f.Type, text, before) {
					t.Fatalf("%s: %q was %q", f.Name, text, before)
				}
			}
		}
	}
	if accepted < 500 || refused < 500 {
		t.Errorf("%d commands were accepted, %d refused", accepted, refused)
	}
}

// TestSizes: the bytes that Read returns are those of name and value, for present fields and for defaults.
func TestSizes(t *testing.T) {
	s := mustRead(t, oneType("      a: {type: string}\n      bb: {type: number, default: 150}\n      c: {type: object}"))
	thing := s.Types[0]
	scan := rawjson.New(`"xyz"`)
	if _, size, given, err := thing.Fields[0].Read(&scan); size != 4 || !given || err != nil {
		t.Errorf("%d bytes, %v, %v", size, given, err)
	}
	var v Values
	if size := thing.ApplyDefaults(&v); size != len("bb")+3 {
		t.Errorf("the default takes %d bytes", size)
	}
	if size := thing.ApplyDefaults(&v); size != 0 {
		t.Errorf("the default of a field that is there takes %d bytes", size)
	}
	if size, err := CheckAttributes(`{"a":1}`); err != nil || size != len("attributes")+3+1+1+2 {
		t.Errorf("attributes take %d bytes, %v", size, err)
	}
}

// FuzzValues: formats agree with the schema's, whatever the text.
func FuzzValues(f *testing.F) {
	type format struct {
		field  *Field
		schema *jsonschema.Schema
	}
	var formats []format
	for _, name := range formatNames[1:] {
		s := mustRead(f, field("{type: string, required: true, format: "+name+"}"))
		formats = append(formats, format{s.Types[0].Fields[0], compile(f, s)})
	}
	for _, v := range values {
		for _, value := range append(v.valid, v.invalid...) {
			var text string
			if json.Unmarshal([]byte(value), &text) == nil {
				f.Add(text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text) // makes it valid Unicode
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(quoted, &text); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(text, "+") && !strings.Contains(text, "@") {
			return // the library takes a sign within a time
		}
		for _, f := range formats {
			_, wrong := f.field.Check(text)
			document, err := jsonschema.UnmarshalJSON(strings.NewReader(putBody(string(quoted))))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.schema.Validate(document); (err == nil) != (wrong == nil) {
				t.Errorf("%q: the field says %v, the schema %v", text, wrong, err)
			}
		}
	})
}

const benchOrder = `{"type":"put_order","tenant_id":"tenant-0042","order_id":"0192f0a1-7c3e-7000-8000-000000000042","user_id":"0192f0a1-7c3e-7111-8111-000000000007","order_amount":"149.99"}`

// readCommand reads a command's members, as a decoder does once it knows the type.
func readCommand(t *Type, text string, v *Values) (size int, ok bool) {
	s := rawjson.New(text)
	for s.Open('{'); s.More('}'); {
		if slot := t.Slot(s.Name()); slot.IsField() {
			text, n, given, err := t.Fields[slot].Read(&s)
			if err != nil {
				return 0, false
			}
			if given {
				v.Set(int(slot), text)
				size += n
			}
		} else {
			s.Skip()
		}
	}
	return size + t.ApplyDefaults(v), s.End() == nil && t.Needed&^v.Given() == 0
}

func BenchmarkRead(b *testing.B) {
	order := Builtin().Type("order")
	b.ReportAllocs()
	for b.Loop() {
		var v Values
		if _, ok := readCommand(order, benchOrder, &v); !ok {
			b.Fatal("refused")
		}
	}
}

var benchVisit = `{"type":"put_visit","tenant_id":"tenant-0042","visit_id":"0192f0a1-7c3e-7000-8000-000000000042","patient_id":"p1","doctor_id":"d1","starts_at":"2026-11-24T11:00:00Z","minutes":30,"kept":true,"notes":"slept well"}`

func BenchmarkReadSixFields(b *testing.B) {
	s, err := ReadFile("../../examples/types/clinic.yaml")
	if err != nil {
		b.Fatal(err)
	}
	visit := s.Type("visit")
	b.ReportAllocs()
	for b.Loop() {
		var v Values
		if _, ok := readCommand(visit, benchVisit, &v); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkCommand(b *testing.B) {
	s := Builtin()
	b.ReportAllocs()
	for b.Loop() {
		if t, _ := s.Command("put_order"); t == nil {
			b.Fatal("unknown")
		}
	}
}

func BenchmarkSlot(b *testing.B) {
	order := Builtin().Type("order")
	b.ReportAllocs()
	for b.Loop() {
		if order.Slot("order_amount") != 1 {
			b.Fatal("unknown")
		}
	}
}

func BenchmarkAppendValues(b *testing.B) {
	order := Builtin().Type("order")
	var v Values
	if _, ok := readCommand(order, benchOrder, &v); !ok {
		b.Fatal("refused")
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = order.AppendValues(dst[:0], &v)
	}
}

// TestAllocations: a command of a type with few fields costs none, one of many fields one.
func TestAllocations(t *testing.T) {
	order := Builtin().Type("order")
	var dst []byte
	if n := testing.AllocsPerRun(100, func() {
		var v Values
		if _, ok := readCommand(order, benchOrder, &v); !ok {
			t.Fail()
		}
		dst = order.AppendValues(dst[:0], &v)
	}); n != 0 {
		t.Errorf("%v allocations for an order", n)
	}
	all := mustRead(t, oneType(`      s: {type: string, minLength: 1, maxLength: 20, enum: [abc]}
      n: {type: number, minimum: 0, maximum: 10, enum: [1, 2]}
      f: {type: string, format: date-time}
      o: {type: object}`)).Types[0]
	body := `{"s":"abc","n":2,"f":"2026-11-24T11:00:00Z","o":{"a":[1,{"b":2}]}}`
	if n := testing.AllocsPerRun(100, func() {
		var v Values
		if _, ok := readCommand(all, body, &v); !ok {
			t.Fail()
		}
		dst = all.AppendValues(dst[:0], &v)
	}); n != 0 {
		t.Errorf("%v allocations for a thing", n)
	}
	s, err := ReadFile("../../examples/types/clinic.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		var v Values
		if _, ok := readCommand(s.Type("visit"), benchVisit, &v); !ok {
			t.Fail()
		}
	}); n > 1 {
		t.Errorf("%v allocations for a visit", n)
	}
}

// TestSamples: examples and samples are values that the field can have, whatever its limits.
func TestSamples(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	check := func(f *Field) {
		t.Helper()
		for range 20 {
			for _, value := range []string{f.Example(), f.Sample(r)} {
				if _, err := f.Check(value); err != nil {
					t.Errorf("%s: %q: %v", f.yaml(), value, err)
				}
			}
		}
	}
	for _, declaration := range []string{
		"{type: number, minimum: 1e100}", "{type: number, maximum: -1e100}", "{type: number, minimum: 0.001, maximum: 0.002}", "{type: integer, minimum: 1.5}",
		"{type: integer, maximum: -1.5}", "{type: integer, minimum: 1.5, maximum: 2.5}", "{type: integer, minimum: -2.5, maximum: -1.5}", "{type: integer, minimum: 5, maximum: 5}",
		"{type: integer, minimum: 99999999999999999999999999999999999998}", "{type: boolean, enum: [false]}",
		"{type: string, format: email, maxLength: 3}", "{type: string, format: email, minLength: 254}", "{type: string, format: email, minLength: 65, maxLength: 65}",
		"{type: string, format: email, minLength: 66, maxLength: 66}", "{type: string, format: email, minLength: 67, maxLength: 67}", "{type: string, format: email, minLength: 130, maxLength: 130}",
		"{type: string, format: date-time, minLength: 21}", "{type: string, format: date-time, minLength: 22}", "{type: string, format: date-time, minLength: 100, maxLength: 100}",
		"{type: string, minLength: 100}", "{type: string, maxLength: 0}", "{type: string, minLength: 3, maxLength: 3}",
		"{type: string, references: other}", "{type: string, references: other, minLength: 256}", "{type: string, references: other, maxLength: 1}",
		"{type: string, references: other, format: date}", "{type: string, references: other, format: email, minLength: 200}", "{type: object}", "{type: array}",
	} {
		check(valuesSet(t, declaration).Type("thing").Fields[0])
	}
	for email := 3; email <= maxEmail; email++ {
		check(valuesSet(t, fmt.Sprintf("{type: string, format: email, minLength: %d, maxLength: %d}", email, email)).Type("thing").Fields[0])
	}
	for range 100 {
		for _, f := range mustRead(t, declarations.Random(r, 1)).Types[0].Fields {
			check(f)
		}
	}
}

// TestDocumentsAreBounded: an object or array has at most so many values, at whatever depth, and the walk ends there.
func TestDocumentsAreBounded(t *testing.T) {
	fields := mustRead(t, oneType("      o: {type: object}\n      a: {type: array}")).Types[0].Fields
	zeros := func(n int) string { return "[" + strings.Repeat("0,", n-1) + "0]" }
	for text, ok := range map[string]bool{
		`{"a":` + zeros(MaxDocumentValues-1) + "}": true,
		`{"a":` + zeros(MaxDocumentValues) + "}":   false,
		`[` + zeros(MaxDocumentValues-1) + "]":     true,
		`[[0],` + zeros(MaxDocumentValues) + "]":   false,
	} {
		f := fields[0]
		if text[0] == '[' {
			f = fields[1]
		}
		_, err := f.Check(text)
		if (err == nil) != ok || err != nil && err.Cause != TooLarge {
			t.Errorf("%.20s: %v", text, err)
		}
		// Read goes on behind it.
		s := rawjson.New("[" + text + `,"next"]`)
		s.Open('[')
		s.More(']')
		_, _, given, err := f.Read(&s)
		if given != ok || (err == nil) != ok || !s.More(']') || s.String() != "next" {
			t.Errorf("%.20s: it reads as given %v, %v, then %v", text, given, err, s.Err())
		}
	}
}

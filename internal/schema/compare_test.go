package schema

import (
	"slices"
	"strings"
	"testing"

	"tributary/internal/base/rawjson"
)

// pair is a change of a declaration and the verdict on it. An empty want means that nothing changed.
type pair struct {
	name, old, new string
	want           []string // "ok NAME: WHAT" or "no NAME: WHAT", a part of each change, in their order
}

// fieldPair changes the declaration of thing.f.
func fieldPair(name, old, new string, want ...string) pair {
	before := "types:\n  other: {}\n  another: {}\n  thing:\n    fields:\n      f: "
	for i, w := range want {
		verdict, what, _ := strings.Cut(w, " ")
		want[i] = verdict + " thing.f: " + what
	}
	return pair{name, before + old + "\n", before + new + "\n", want}
}

const thing = "types:\n  thing:\n    fields:\n      f: {type: string}\n"

// pairs are tested by TestCompare. They are also what the whole path is tested with: what the worker writes by old, it reads by
// new.
var pairs = []pair{
	{"nothing", thing, thing, nil},
	{"descriptions and formatting", thing, "types: {thing: {description: x, fields: {f: {description: y, type: string, required: false}}}}", nil},
	{"the plural that it has", thing, strings.Replace(thing, "thing:\n", "thing:\n    plural: things\n", 1), nil},
	{"another order", "types: {a: {fields: {x: {type: string}, y: {type: number}}}, b: {}}", "types: {b: {}, a: {fields: {y: {type: number}, x: {type: string}}}}", nil},
	{"a new type", thing, thing + "  more: {fields: {g: {type: string, required: true}}}\n", []string{"ok more: the type is new"}},
	{"a new type that refers", thing, thing + "  more: {fields: {g: {type: string, required: true, references: thing}}}\n", []string{"ok more: the type is new"}},
	{"a type gone", thing + "  more: {}\n", thing, []string{"no more: the type is gone"}},
	{"a type renamed", thing, strings.Replace(thing, "thing", "item", 1), []string{"no thing: the type is gone", "ok item: the type is new"}},
	{"another plural", thing, strings.Replace(thing, "thing:\n", "thing:\n    plural: thingies\n", 1), []string{"no thing: plural is thingies, it was things"}},
	{"a new optional field", thing, thing + "      g: {type: integer, minimum: 5}\n", []string{"ok thing.g: the field is new and optional"}},
	{"a new optional reference", thing + "  other: {}", thing + "      g: {type: string, references: other}\n  other: {}\n", []string{"ok thing.g: the field is new and optional"}},
	{"a new required field", thing, thing + "      g: {type: string, required: true}\n", []string{"no thing.g: the field is new and required"}},
	{"a new required field with a default", thing, thing + "      g: {type: string, required: true, default: x}\n", []string{"ok thing.g: the field is new, with a default"}},
	{"a new field with a default", thing, thing + "      g: {type: boolean, default: false}\n", []string{"ok thing.g: the field is new, with a default"}},
	{"a field gone", thing + "      g: {type: string}\n", thing, []string{"no thing.g: the field is gone"}},
	{"a field renamed", thing, strings.Replace(thing, "f:", "g:", 1), []string{"no thing.f: the field is gone", "ok thing.g: the field is new"}},
	{"two changes, one of each kind", thing, strings.Replace(thing, "string", "string, maxLength: 3", 1) + "      g: {type: string}\n", []string{"no thing.f: maxLength is new, 3", "ok thing.g: the field is new"}},

	fieldPair("string to number", "{type: string}", "{type: number}", "no type is number, it was string"),
	fieldPair("number to string", "{type: number}", "{type: string}", "no type is string, it was number"),
	fieldPair("integer to number", "{type: integer}", "{type: number}", "no type is number, it was integer"),
	fieldPair("number to integer", "{type: number}", "{type: integer}", "no type is integer, it was number"),
	fieldPair("object to array", "{type: object}", "{type: array}", "no type is array, it was object"),
	fieldPair("optional to required", "{type: string}", "{type: string, required: true}", "no the field is required, it was optional"),
	fieldPair("optional to required with a default", "{type: string}", "{type: string, required: true, default: x}", "ok default is new", "ok required is true"),
	fieldPair("required to optional", "{type: string, required: true}", "{type: string}", "ok the field is optional, it was required"),
	fieldPair("required to a default", "{type: string, required: true}", "{type: string, required: true, default: x}", "ok default is new"),
	fieldPair("a default for an optional field", "{type: number}", "{type: number, default: 1}", "ok default is new"),
	fieldPair("another default", "{type: number, default: 1}", "{type: number, default: 2}", "no default is 2, it was 1"),
	fieldPair("the same default in another form", "{type: number, default: 1}", "{type: number, default: 1.0}"),
	fieldPair("no default any more", "{type: number, default: 1}", "{type: number}", "no the default is gone"),
	fieldPair("no default any more, and required", "{type: number, required: true, default: 1}", "{type: number, required: true}", "no the default is gone, and the field is required"),
	fieldPair("required with a default to optional with it", "{type: number, required: true, default: 1}", "{type: number, default: 1}", "ok required is false"),

	fieldPair("maxLength wider", "{type: string, maxLength: 5}", "{type: string, maxLength: 6}", "ok maxLength is 6, it was 5"),
	fieldPair("maxLength narrower", "{type: string, maxLength: 5}", "{type: string, maxLength: 4}", "no maxLength is 4, it was 5"),
	fieldPair("maxLength gone", "{type: string, maxLength: 5}", "{type: string}", "ok maxLength is gone, it was 5"),
	fieldPair("maxLength new", "{type: string}", "{type: string, maxLength: 5}", "no maxLength is new, 5"),
	fieldPair("minLength wider", "{type: string, minLength: 5}", "{type: string, minLength: 4}", "ok minLength is 4, it was 5"),
	fieldPair("minLength narrower", "{type: string, minLength: 5}", "{type: string, minLength: 6}", "no minLength is 6, it was 5"),
	fieldPair("minLength new", "{type: string}", "{type: string, minLength: 1}", "no minLength is 1, it was 0"),
	fieldPair("both lengths moved", "{type: string, minLength: 1, maxLength: 3}", "{type: string, minLength: 2, maxLength: 4}", "no minLength is 2", "ok maxLength is 4"),
	fieldPair("minimum wider", "{type: number, minimum: 1.5}", "{type: number, minimum: 1.49}", "ok minimum is 1.49, it was 1.5"),
	fieldPair("minimum narrower", "{type: number, minimum: 1.5}", "{type: number, minimum: 1.51}", "no minimum is 1.51, it was 1.5"),
	fieldPair("minimum in another form", "{type: number, minimum: 1.5}", "{type: number, minimum: 15e-1}"),
	fieldPair("minimum gone", "{type: integer, minimum: 1}", "{type: integer}", "ok minimum is gone, it was 1"),
	fieldPair("minimum new", "{type: integer}", "{type: integer, minimum: 1}", "no minimum is new, 1"),
	fieldPair("maximum wider", "{type: integer, maximum: -1}", "{type: integer, maximum: 0}", "ok maximum is 0, it was -1"),
	fieldPair("maximum narrower", "{type: integer, maximum: 10}", "{type: integer, maximum: 9}", "no maximum is 9, it was 10"),
	fieldPair("maximum new", "{type: number}", "{type: number, maximum: 10}", "no maximum is new, 10"),

	fieldPair("enum with more", "{type: string, enum: [a, b]}", "{type: string, enum: [b, c, a]}", "ok enum has more values"),
	fieldPair("enum with less", "{type: string, enum: [a, b]}", "{type: string, enum: [a]}", `no "b" is not allowed any more`),
	fieldPair("enum with others", "{type: integer, enum: [1, 2]}", "{type: integer, enum: [3]}", "no 1, 2 are not allowed any more"),
	fieldPair("enum in another order and form", "{type: number, enum: [1, 2]}", "{type: number, enum: [2.0, 1]}"),
	fieldPair("enum gone", "{type: string, enum: [a, b]}", "{type: string}", "ok enum is gone"),
	fieldPair("enum new", "{type: string}", "{type: string, enum: [a, b]}", "no enum is new"),
	fieldPair("enum of both booleans new", "{type: boolean}", "{type: boolean, enum: [true, false]}"),
	fieldPair("enum of one boolean new", "{type: boolean}", "{type: boolean, enum: [true]}", "no enum is new"),
	fieldPair("enum to a length that fits", "{type: string, enum: [a, b]}", "{type: string, maxLength: 1}", "ok enum is gone"),
	fieldPair("enum to a length that does not", "{type: string, enum: [a, bb]}", "{type: string, maxLength: 1}", `no "bb" is not allowed any more`),
	fieldPair("enum with a limit beside it", "{type: integer, enum: [1, 2]}", "{type: integer, enum: [1, 2], maximum: 2}"),
	fieldPair("format gone", "{type: string, format: date}", "{type: string}", "ok format is gone, it was date"),
	fieldPair("format new", "{type: string}", "{type: string, format: date}", "no format is new, date"),
	fieldPair("another format", "{type: string, format: date}", "{type: string, format: date-time}", "no format is date-time, it was date"),
	fieldPair("a reference new", "{type: string}", "{type: string, references: other}", "no it references other now"),
	fieldPair("a reference gone", "{type: string, references: other}", "{type: string}", "no it no longer references other"),
	fieldPair("another reference", "{type: string, references: other}", "{type: string, references: another}", "no it references another, it was other"),
	fieldPair("a reference that must be a uuid", "{type: string, references: other}", "{type: string, references: other, format: uuid}", "no format is new, uuid"),
}

// TestCompare: the verdicts are those of the table, and right: see broken.
func TestCompare(t *testing.T) {
	if len(pairs) < 50 {
		t.Errorf("only %d pairs", len(pairs))
	}
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			old, new := mustRead(t, p.old), mustRead(t, p.new)
			changes := Compare(old, new)
			var got []string
			for _, c := range changes {
				verdict := "no "
				if c.Compatible {
					verdict = "ok "
				}
				got = append(got, verdict+c.Name+": "+c.What)
				if c.Why == "" {
					t.Errorf("%s has no reason", c)
				}
			}
			if !slices.EqualFunc(got, p.want, strings.HasPrefix) {
				t.Errorf("the changes are\n%q\nwant\n%q", got, p.want)
			}
			// Equal numbers in other forms are no change, and equal fingerprints mean no changes.
			if old.Fingerprint == new.Fingerprint && len(changes) > 0 {
				t.Error("the fingerprints are equal")
			}
			breaks := broken(old, new)
			if Compatible(changes) && len(breaks) > 0 {
				t.Errorf("it is called compatible, but %s", breaks[0])
			}
			if !Compatible(changes) && len(breaks) == 0 {
				t.Error("it is called not compatible, but nothing breaks")
			}
		})
	}
}

// broken writes commands with old and reads them with new: the commands themselves, and the items that they became. It returns
// what went wrong.
func broken(old, new *Set) (breaks []string) {
	fail := func(text string) { breaks = append(breaks, text) }
	for _, r := range old.Routes() {
		if !slices.ContainsFunc(new.Routes(), func(n Route) bool { return n.Path == r.Path }) {
			fail("route " + r.Path + " is gone")
		}
	}
	for _, r := range old.References {
		if !slices.ContainsFunc(new.References, func(n *Reference) bool { return n.Index == r.Index && n.Field.Name == r.Field.Name }) {
			fail("index " + r.Index + " is gone")
		}
	}
	for _, t := range old.Types {
		now := new.Type(t.Name)
		if now == nil {
			fail(t.Put + " is unknown")
			continue
		}
		for _, members := range commandsOf(t, now) {
			before, ok := viewOf(t, members)
			if !ok {
				continue // old refuses it too
			}
			after, ok := viewOf(now, members)
			if !ok {
				fail(members + " is refused")
				continue
			}
			var item []byte // as a command, which has what the item has
			for _, f := range t.Fields {
				if text, ok := before[f.Name]; ok {
					item = f.AppendMember(item, text)
				}
			}
			stored, ok := viewOf(now, string(item))
			if !ok {
				fail("the item of " + members + " can't be read")
			}
			for _, f := range t.Fields {
				was, ok := before[f.Name]
				if !ok {
					continue
				}
				n := now.Field(f.Name)
				if n == nil || n.Type != f.Type || !sameValue(f.Type, after[f.Name], was) || !sameValue(f.Type, stored[f.Name], was) {
					fail(f.Name + " of " + members + " reads differently")
				}
				// An item that was written before the default of old was declared reads by the default of today.
			}
		}
	}
	return breaks
}

// viewOf reads members of a command by a type, and returns what an answer shows.
func viewOf(t *Type, members string) (map[string]string, bool) {
	var v Values
	if _, ok := readKnown(t, "{"+strings.TrimPrefix(members, ",")+"}", &v); !ok {
		return nil, false
	}
	view := map[string]string{}
	for position, f := range t.Fields {
		if text, ok := v.Get(position); ok {
			view[f.Name] = text
		}
	}
	return view, true
}

// readKnown is readCommand that refuses unknown fields.
func readKnown(t *Type, text string, v *Values) (int, bool) {
	s := rawjson.New(text)
	for s.Open('{'); s.More('}'); {
		if t.Slot(s.Name()) == SlotUnknown {
			return 0, false
		}
		s.Skip()
	}
	return readCommand(t, text, v)
}

// commandsOf returns commands, as members, that try one field at a time: absent, and with every value that a limit of either
// declaration is about.
func commandsOf(old, new *Type) []string {
	rest := func(but *Field) string {
		var b []byte
		for _, f := range old.Fields {
			if f != but && f.Needed() {
				b = f.AppendMember(b, f.Example())
			}
		}
		return string(b)
	}
	commands := []string{rest(nil)}
	for _, f := range old.Fields {
		others := rest(f)
		commands = append(commands, others)
		n := new.Field(f.Name)
		if n == nil {
			n = f
		}
		for _, value := range candidates(f, n) {
			if _, err := f.Check(value); err == nil {
				commands = append(commands, string(f.AppendMember([]byte(others), value)))
			}
		}
	}
	return commands
}

func candidates(fields ...*Field) []string {
	values := []string{"", "a", "bb", "#", "0", "1", "-7.5", "12.25", "1e100", "-1e100", "true", "false", "{}", `{"a":1}`, "[]", "[1]"}
	for _, f := range formatExamples {
		values = append(values, f)
	}
	for _, f := range fields {
		values = append(values, f.Enum...)
		values = append(values, f.Minimum, f.Maximum, f.Default, strings.Repeat("x", f.MinLength), strings.Repeat("x", max(0, f.MaxLength)))
	}
	return values
}

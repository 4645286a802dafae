package declarations

import "strings"

// Pair is a change of a declaration and the verdict on it. An empty Want means that nothing changed.
type Pair struct {
	Name, Old, New string
	Want           []string // "ok NAME: WHAT" or "no NAME: WHAT", a part of each change, in their order
}

// fieldPair changes the declaration of thing.f.
func fieldPair(name, old, new string, want ...string) Pair {
	before := "types:\n  other: {}\n  another: {}\n  thing:\n    fields:\n      f: "
	for i, w := range want {
		verdict, what, _ := strings.Cut(w, " ")
		want[i] = verdict + " thing.f: " + what
	}
	return Pair{name, before + old + "\n", before + new + "\n", want}
}

const thing = "types:\n  thing:\n    fields:\n      f: {type: string}\n"

// Pairs are changes of declarations. Package schema tests its verdicts with them, and holds the verdicts to what is written by
// Old and read by New.
var Pairs = []Pair{
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
	fieldPair("the same object in another form", "{type: object, default: {a: 1, b: [1e2, {}]}}", "{type: object, default: {b: [100, {}], a: 1.0}}"),
	fieldPair("another object", "{type: object, default: {a: 1}}", "{type: object, default: {a: 2}}", `no default is {"a":2}, it was {"a":1}`),
	fieldPair("another order of an array", "{type: array, default: [1, 2]}", "{type: array, default: [2, 1]}", "no default is [2,1], it was [1,2]"),
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

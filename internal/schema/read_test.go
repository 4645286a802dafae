package schema

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// many returns n lines made with a number each.
func many(n int, line string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, line+"\n", i)
	}
	return b.String()
}

// field declares a type with one field, which is in line 4.
func field(declaration string) string { return oneType("      f: " + declaration) }

const twoTypes = `types:
  user:
    fields: {user_name: {type: string}}
  order:
    fields:
      user_id: {type: string, references: user}
`

// wrongDeclarations have one problem each.
var wrongDeclarations = []struct {
	name, text string
	line       int
	path       string // Problem.Name
	rule       string // a part of Problem.Rule
}{
	// The file.
	{"empty", "", 1, "", "the file is empty"},
	{"white space", " \n\n", 1, "", "the file is empty"},
	{"a comment", "# types\n", 1, "", "the file is empty"},
	{"null", "~", 1, "", "the file is empty"},
	{"a list", "- types", 1, "", "it must be a mapping"},
	{"a text", "types", 1, "", `the file is "types", it must be a mapping`},
	{"a number", "5", 1, "", "the number 5"},
	{"no types", "{}", 1, "", "types: is missing"},
	{"types misspelled", "type:\n  a: {}", 1, "", "did you mean types?"},
	{"something besides types", "types:\n  a: {}\nversion: 2", 3, "", `"version" is not known here`},
	{"types twice", "types:\n  a: {}\ntypes:\n  b: {}", 3, "", `"types" is there twice, first in line 1`},
	{"types empty", "types:", 1, "", "types: is empty"},
	{"types an empty mapping", "types: {}", 1, "", "types: is empty"},
	{"types are a list", "types:\n  - user", 2, "", "it must be a mapping"},
	{"types are a text", "types: user", 1, "", "it must be a mapping"},
	{"not YAML", "types:\n  a: {", 2, "", "the file is not YAML"},
	{"a tab", "types:\n\ta: {}", 2, "", "YAML is indented by spaces, not by tabs"},
	{"bad indentation", "types:\n  a:\n    fields:\n   b: {}", 2, "", "look at the indentation"},
	{"bytes that are not UTF-8", "types:\n  a: \xff", 1, "", "the file is not YAML"},
	{"a control character", "types:\n  a: \x01", 1, "", "the file is not YAML"},
	{"two documents", "types:\n  a: {}\n---\ntypes:\n  b: {}", 3, "", "second YAML document"},
	{"a broken second document", "types:\n  a: {}\n---\n{", 4, "", "the file is not YAML"},
	{"an anchor", "types:\n  a: &x {}", 2, "", "&x is an anchor"},
	{"an anchor and its alias", "types:\n  a: &x {}\n  b: *x", 2, "", "&x is an anchor"},
	{"an alias of nothing", "types:\n  b: *x", 1, "", "the file is not YAML"},
	{"an alias of itself", "types: &x\n  a: *x", 1, "", "&x is an anchor"},
	{"a merge", "types:\n  a:\n    <<: {plural: x}", 3, "", "<< is a merge"},
	{"a tag", "types:\n  a: !!map {}", 2, "", "!!map is a tag"},
	{"a tag on a text", field(`{type: !!str string}`), 4, "", "!!str is a tag"},
	{"a tag of one's own", "types:\n  a: !ruby/object {}", 2, "", "is a tag"},
	{"a billion laughs", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\ntypes: {}", 1, "", "&a is an anchor"},
	{"larger than 256 KiB", "types:\n  a: {}\n" + strings.Repeat("# comment\n", 30_000), 1, "", "larger than 262144 bytes"},
	{"a mebibyte", strings.Repeat("[", 1<<20), 1, "", "larger than 262144 bytes"},
	{"deeply nested", strings.Repeat("[", 100_000), 1, "", "the file is not YAML"},

	// Types.
	{"a capital", "types:\n  User: {}", 2, "User", "a type's name must be"},
	{"a digit first", "types:\n  a: {}\n  2b: {}", 3, "2b", "a type's name must be"},
	{"a number as a name", "types:\n  5: {}", 2, "", "the number 5 where there must be a name"},
	{"a boolean as a name", "types:\n  true: {}", 2, "", "the boolean true where there must be a name"},
	{"null as a name", "types:\n  ~: {}", 2, "", "empty where there must be a name"},
	{"a list as a name", "types:\n  [a]: {}", 2, "", "a list where there must be a name"},
	{"an empty name", "types:\n  \"\": {}", 2, "", "a type's name must be"},
	{"a hyphen", "types:\n  order-line: {}", 2, "order-line", "a type's name must be"},
	{"a #", "types:\n  \"a#b\": {}", 2, "a#b", "a type's name must be"},
	{"a newline at the end", "types:\n  \"ab\\n\": {}", 2, `ab\n`, "a type's name must be"},
	{"33 characters", "types:\n  " + strings.Repeat("a", 33) + ": {}", 2, strings.Repeat("a", 33), "1 to 32"},
	{"the type tenant", "types:\n  tenant: {}", 2, "tenant", "a type can't have this name"},
	{"the type tributary", "types:\n  tributary: {}", 2, "tributary", "a type can't have this name"},
	{"a type twice", "types:\n  a: {}\n  b: {}\n  a: {}", 4, "", `"a" is there twice, first in line 2`},
	{"a type that is a list", "types:\n  a: []", 2, "a", "it must be a mapping"},
	{"a type that is a text", "types:\n  a: string", 2, "a", "it must be a mapping"},
	{"an unknown word of a type", "types:\n  a:\n    field: {}", 3, "a", `"field" is not known here, did you mean fields?`},
	{"an unknown word of a type, far from any", "types:\n  a:\n    table: x", 3, "a", "only plural, description, fields"},
	{"65 types", "types:\n" + many(65, "  t%d: {}"), 66, "t64", "a file may have 64"},
	{"66 types", "types:\n" + many(66, "  t%d: {}"), 66, "t64", "a file may have 64"},
	{"plural in capitals", "types:\n  a:\n    plural: As", 3, "a", `plural is "As"`},
	{"plural with a slash", "types:\n  a:\n    plural: a/b", 3, "a", "plural is"},
	{"plural is a number", "types:\n  a:\n    plural: 5", 3, "a", "plural is the number 5"},
	{"plural is empty", "types:\n  a:\n    plural:", 3, "a", "plural is empty"},
	{"plural too long", "types:\n  a:\n    plural: " + strings.Repeat("a", 65), 3, "a", "1 to 64"},
	{"plural of another", "types:\n  a: {}\n  b:\n    plural: as", 4, "b", "its plural is as, which is the path of a too"},
	{"plural that another has by default", "types:\n  a:\n    plural: bs\n  b: {}", 4, "b", "which is the path of a too"},
	{"names that are one in OpenAPI", "types:\n  a1: {}\n  a_1: {}", 3, "a_1", "is a name in the OpenAPI document for a1 too"},
	{"a page's name in OpenAPI", "types:\n  visit: {}\n  visit_page: {}", 3, "visit_page", "VisitPage is a name in the OpenAPI document"},
	{"description is a number", "types:\n  a:\n    description: 5", 3, "a", "description is the number 5"},
	{"description too long", "types:\n  a:\n    description: " + strings.Repeat("x", 2001), 3, "a", "at most 2000"},

	// Fields.
	{"fields are a list", "types:\n  a:\n    fields: [b]", 3, "a", "it must be a mapping"},
	{"a field in capitals", oneType("      Name: {type: string}"), 4, "thing.Name", "a field's name must be"},
	{"a field PK", oneType("      PK: {type: string}"), 4, "thing.PK", "a field's name must be"},
	{"a field of 65 characters", oneType("      " + strings.Repeat("a", 65) + ": {type: string}"), 4, "", "1 to 64"},
	{"a number as a field's name", oneType("      5: {type: string}"), 4, "thing", "the number 5 where there must be a name"},
	{"the field type", oneType("      type: {type: string}"), 4, "thing.type", "can't have this name"},
	{"the field tenant_id", oneType("      tenant_id: {type: string}"), 4, "thing.tenant_id", "can't have this name"},
	{"the field version", oneType("      version: {type: integer}"), 4, "thing.version", "can't have this name"},
	{"the field attributes", oneType("      attributes: {type: object}"), 4, "thing.attributes", "can't have this name"},
	{"the field commands", oneType("      commands: {type: array}"), 4, "thing.commands", "can't have this name"},
	{"the field specversion", oneType("      specversion: {type: string}\n      data: {type: object}"), 4, "thing.specversion", "can't have this name"},
	{"the field rejected_line", oneType("      rejected_line: {type: string}"), 4, "thing.rejected_line", "can't have this name"},
	{"the field rejected_reason", oneType("      rejected_reason: {type: string}"), 4, "thing.rejected_reason", "can't have this name"},
	{"the field deleted", oneType("      deleted: {type: boolean}"), 4, "thing.deleted", "can't have this name"},
	{"the field expires_at", oneType("      expires_at: {type: integer}"), 4, "thing.expires_at", "can't have this name"},
	{"the field pk", oneType("      pk: {type: string}"), 4, "thing.pk", "can't have this name"},
	{"the type's id", oneType("      thing_id: {type: string}"), 4, "thing.thing_id", "it is the type's id"},
	{"a field twice", oneType("      a: {type: string}\n      b: {type: string}\n      a: {type: number}"), 6, "thing", `"a" is there twice, first in line 4`},
	{"25 fields", oneType(many(25, "      f%d: {type: string}")), 28, "thing.f24", "a type may have 24"},
	{"a field without a declaration", field(""), 4, "thing.f", "the field's type is missing"},
	{"a field with an empty declaration", field("{}"), 4, "thing.f", "the field's type is missing"},
	{"a field that is a text", field("string"), 4, "thing.f", `the field is "string", it must be a mapping`},
	{"an unknown type", field("{type: text}"), 4, "thing.f", `type is "text", it must be one of string, number`},
	{"a type misspelled", field("{type: nubmer}"), 4, "thing.f", "did you mean number?"},
	{"a type in capitals", field("{type: String}"), 4, "thing.f", "did you mean string?"},
	{"the type null", field("{type: ~}"), 4, "thing.f", "type is empty"},
	{"a list of types", field(`{type: [string, "null"]}`), 4, "thing.f", "type is a list"},
	{"an unknown word", field("{type: string, maxLenght: 5}"), 4, "thing.f", `"maxLenght" is not known here, did you mean maxLength?`},
	{"pattern", field("{type: string, pattern: a}"), 4, "thing.f", `"pattern" is not known here, only type`},
	{"a word twice", field("{type: string, type: number}"), 4, "thing.f", `"type" is there twice`},
	{"required is a text", field(`{type: string, required: "true"}`), 4, "thing.f", "it must be true or false"},
	{"required is yes", field("{type: string, required: yes}"), 4, "thing.f", "it must be true or false"},
	{"required is a number", field("{type: string, required: 1}"), 4, "thing.f", "it must be true or false"},
	{"a field's description is a list", field("{type: string, description: [a]}"), 4, "thing.f", "description is a list"},

	// Limits.
	{"minLength of a number", field("{type: number, minLength: 1}"), 4, "thing.f", "minLength is for the types string, the field is of type number"},
	{"maxLength of an array", field("{type: array, maxLength: 1}"), 4, "thing.f", "maxLength is for the types string"},
	{"minimum of a string", field("{type: string, minimum: 1}"), 4, "thing.f", "minimum is for the types number, integer"},
	{"maximum of a boolean", field("{type: boolean, maximum: 1}"), 4, "thing.f", "maximum is for the types number, integer"},
	{"format of a number", field("{type: number, format: date}"), 4, "thing.f", "format is for the types string"},
	{"maxLength negative", field("{type: string, maxLength: -1}"), 4, "thing.f", "it must be a whole number"},
	{"maxLength with a fraction", field("{type: string, maxLength: 1.5}"), 4, "thing.f", "it must be a whole number"},
	{"maxLength in quotes", field(`{type: string, maxLength: "5"}`), 4, "thing.f", "it must be a whole number"},
	{"maxLength octal", field("{type: string, maxLength: 010}"), 4, "thing.f", "it must be a whole number"},
	{"maxLength hexadecimal", field("{type: string, maxLength: 0x10}"), 4, "thing.f", "it must be a whole number"},
	{"maxLength huge", field("{type: string, maxLength: 99999999999999999999}"), 4, "thing.f", "it must be a whole number"},
	{"minLength over maxLength", field("{type: string, minLength: 6, maxLength: 5}"), 4, "thing.f", "it can't be less than minLength, 6"},
	{"minimum in quotes", field(`{type: number, minimum: "1"}`), 4, "thing.f", "write the number without quotes"},
	{"minimum not a number", field("{type: number, minimum: .inf}"), 4, "thing.f", "is not a decimal number"},
	{"minimum with an underscore", field("{type: number, minimum: 1_000}"), 4, "thing.f", "is not a decimal number"},
	{"minimum with a leading zero", field("{type: number, minimum: 010}"), 4, "thing.f", "begins with a zero"},
	{"minimum of 39 digits", field("{type: number, minimum: 123456789012345678901234567890123456789}"), 4, "thing.f", "39 significant digits"},
	{"minimum out of range", field("{type: number, minimum: 1e126}"), 4, "thing.f", "out of DynamoDB's range"},
	{"minimum is a list", field("{type: number, minimum: [1]}"), 4, "thing.f", "it must be a number"},
	{"minimum over maximum", field("{type: number, minimum: 1.01, maximum: 1.001}"), 4, "thing.f", "it can't be less than minimum, 1.01"},
	{"an unknown format", field("{type: string, format: uri}"), 4, "thing.f", "it must be one of date-time, date, uuid, email"},
	{"format empty", field(`{type: string, format: ""}`), 4, "thing.f", "it must be one of date-time"},

	{"minLength beyond an item", field("{type: string, minLength: 409601}"), 4, "thing.f", "at most 409600 bytes"},
	{"a uuid that is too short", field("{type: string, format: uuid, maxLength: 35}"), 4, "thing.f", "no uuid has the length"},
	{"an email that is too long", field("{type: string, format: email, minLength: 255}"), 4, "thing.f", "no email has the length"},
	{"a reference of no length", strings.Replace(twoTypes, "references: user", "references: user, maxLength: 0", 1), 6, "order.user_id", "no id has the length"},
	{"no integer between the limits", field("{type: integer, minimum: 1.2, maximum: 1.8}"), 4, "thing.f", "there is no integer from minimum, 1.2, to maximum, 1.8"},

	// Enums.
	{"enum of an object", field("{type: object, enum: [{}]}"), 4, "thing.f", "enum is for the types string, number, integer, boolean"},
	{"enum is a text", field("{type: string, enum: a}"), 4, "thing.f", "it must be a list"},
	{"a long name in a default", field("{type: object, default: {a: {? " + strings.Repeat("k", 101) + " : 1}}}"), 4, "thing.f", "takes 101 bytes, at most 100 are allowed"},
	{"more text than an item holds", oneType("      f: {type: string, required: true, minLength: 300000}\n      g: {type: string, required: true, minLength: 200000}"), 2, "thing", "a put takes at least 500002 bytes"},
	{"enum is empty", field("{type: string, enum: []}"), 4, "thing.f", "enum has no values"},
	{"enum with a number among texts", field("{type: string, enum: [a, 5]}"), 4, "thing.f", "enum: 5 is not a string, put it in quotes"},
	{"enum with a text among numbers", field("{type: number, enum: [1, a]}"), 4, "thing.f", `enum: "a" is not a decimal number`},
	{"enum with null", field("{type: string, enum: [a, ~]}"), 4, "thing.f", "enum: it is empty, it must be a string"},
	{"enum with a fraction among integers", field("{type: integer, enum: [1, 1.5]}"), 4, "thing.f", "enum: 1.5 is not an integer"},
	{"enum with a value twice", field("{type: string, enum: [a, b, a]}"), 4, "thing.f", "enum: a is there twice"},
	{"enum with a number twice in two forms", field("{type: number, enum: [1.50, 1.5]}"), 4, "thing.f", "enum: 1.5 is there twice"},
	{"enum with a value over maxLength", field("{type: string, maxLength: 2, enum: [ab, abc]}"), 4, "thing.f", `enum: "abc" has 3 characters`},
	{"enum with a value over the maximum", field("{type: number, maximum: 2, enum: [1, 3]}"), 4, "thing.f", "enum: 3 is more than the maximum, 2"},
	{"enum with a value not of the format", field("{type: string, format: date, enum: [2026-02-30]}"), 4, "thing.f", `enum: "2026-02-30" is not a date`},
	{"enum in lines", oneType("      f:\n        type: string\n        enum:\n          - a\n          - a"), 8, "thing.f", "is there twice"},
	{"257 values", oneType("      f:\n        type: integer\n        enum:\n" + many(257, "          - %d")), 6, "thing.f", "at most 256"},

	// Defaults.
	{"default of another type", field("{type: string, default: 5}"), 4, "thing.f", "default: 5 is not a string"},
	{"default in quotes", field(`{type: integer, default: "5"}`), 4, "thing.f", "write the number without quotes"},
	{"default null", field("{type: string, default: ~}"), 4, "thing.f", "default: it is empty"},
	{"default not in the enum", field("{type: string, enum: [a, b], default: c}"), 4, "thing.f", `default: "c" is not one of "a", "b"`},
	{"default too long", field("{type: string, maxLength: 1, default: ab}"), 4, "thing.f", "default: \"ab\" has 2 characters"},
	{"default under the minimum", field("{type: number, minimum: 0, default: -0.1}"), 4, "thing.f", "default: -0.1 is less than the minimum"},
	{"default not of the format", field("{type: string, format: uuid, default: x}"), 4, "thing.f", "is not a uuid"},
	{"default True", field("{type: boolean, default: True}"), 4, "thing.f", "it must be true or false"},
	{"default of an object is a list", field("{type: object, default: []}"), 4, "thing.f", "it must be an object"},
	{"default of an array is a text", field("{type: array, default: a}"), 4, "thing.f", "it must be an array"},
	{"default with a name twice", field("{type: object, default: {a: 1, a: 2}}"), 4, "thing.f", "is there twice"},
	{"default with an empty name", field(`{type: object, default: {"": 1}}`), 4, "thing.f", "empty name"},
	{"default with a number as a name", field("{type: object, default: {1: a}}"), 4, "thing.f", "put it in quotes"},
	{"default with infinity", field("{type: array, default: [.inf]}"), 4, "thing.f", "not a decimal number"},
	{"default too deep", field("{type: array, default: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}"), 4, "thing.f", "31 levels"},

	// References.
	{"a reference of a number", field("{type: number, references: thing}"), 4, "thing.f", "references is for the types string"},
	{"a reference to nothing", field("{type: string, references: user}"), 4, "thing.f", `references "user", which is not a type of this file`},
	{"a reference misspelled", strings.Replace(twoTypes, "references: user", "references: usr", 1), 6, "order.user_id", "did you mean user?"},
	{"a reference to itself", field("{type: string, references: thing}"), 4, "thing.f", "references its own type"},
	{"a reference to a list", field("{type: string, references: [user]}"), 4, "thing.f", "it must be the name of a type"},
	{"a reference with a default", strings.Replace(twoTypes, "references: user", "references: user, default: u1", 1), 6, "order.user_id", "a reference has no default"},
	{"two references to one type", twoTypes + "      payer_id: {type: string, references: user}", 7, "order.payer_id", "a second time"},
	{"17 references", "types:\n  user: {}\n" + many(17, "  t%[1]d: {fields: {u%[1]d: {type: string, references: user}}}"), 19, "t16.u16", "a file may have 16"},
	{"a field with the name of a reference", twoTypes + "  note:\n    fields:\n      user_id: {type: integer}", 9, "note.user_id", "order.user_id has a field of this name that is a key of an index"},
	{"a text with the name of a reference", "types:\n  note:\n    fields:\n      user_id: {type: string}\n" + strings.TrimPrefix(twoTypes, "types:\n"), 4, "note.user_id", "must have references too"},
	{"two references with one index", "types:\n  c: {}\n  b_by_c: {}\n  x: {plural: a_by_b, fields: {c_id: {type: string, references: c}}}\n  y: {plural: a, fields: {b: {type: string, references: b_by_c}}}\n", 5, "y.b", "its index is a_by_b_by_c, which is that of x.c_id too"},
}

// TestWrongDeclarations: each is one clear error, with line, name and rule.
func TestWrongDeclarations(t *testing.T) {
	if len(wrongDeclarations) < 100 {
		t.Errorf("only %d declarations", len(wrongDeclarations))
	}
	seen := map[string]bool{}
	for _, w := range wrongDeclarations {
		if seen[w.name] {
			t.Errorf("%s is there twice", w.name)
		}
		seen[w.name] = true
		t.Run(w.name, func(t *testing.T) {
			start := time.Now()
			s, err := Read("types.yaml", []byte(w.text))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			var wrong *Error
			if !errors.As(err, &wrong) || s != nil {
				t.Fatalf("it is accepted")
			}
			if len(wrong.Problems) != 1 {
				t.Fatalf("%d problems:\n%v", len(wrong.Problems), err)
			}
			p := wrong.Problems[0]
			if p.Line != w.line || w.path != "" && p.Name != w.path || !strings.Contains(p.Rule, w.rule) {
				t.Errorf("the problem is line %d, %q, %q; want line %d, %q, %q", p.Line, p.Name, p.Rule, w.line, w.path, w.rule)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Errorf("the error is not one short line: %q", err.Error())
			}
		})
	}
}

// rightDeclarations are at the edge of what is allowed.
var rightDeclarations = map[string]string{
	"a type without fields":             "types:\n  a: {}",
	"a type without anything":           "types:\n  a:",
	"fields without anything":           "types:\n  a:\n    fields:",
	"names at their limits":             "types:\n  " + strings.Repeat("a", 32) + ":\n    fields:\n      " + strings.Repeat("b", 64) + ": {type: string}",
	"names that YAML has views on":      "types:\n  y:\n    fields: {n: {type: boolean}, on: {type: string, enum: [yes, \"no\", off, \"null\"]}}",
	"64 types":                          "types:\n" + many(64, "  t%d: {}"),
	"24 fields":                         oneType(many(24, "      f%d: {type: string}")),
	"16 references":                     "types:\n  user: {}\n" + many(16, "  t%[1]d: {fields: {u%[1]d: {type: string, references: user}}}"),
	"references in a circle":            "types:\n  a: {fields: {b_id: {type: string, references: b}}}\n  b: {fields: {a_id: {type: string, references: a}}}",
	"one name for two references":       twoTypes + "  note: {fields: {user_id: {type: string, references: order}}}",
	"a type called problem":             "types:\n  problem: {}",
	"JSON":                              `{"types":{"a":{"fields":{"b":{"type":"number","minimum":1E+2,"enum":[100,2e2]}}}}}`,
	"a date without quotes":             field("{type: string, format: date, enum: [2026-11-24], default: 2026-11-24}"),
	"an empty default":                  field(`{type: string, default: ""}`),
	"numbers of 38 digits":              field("{type: integer, minimum: -99999999999999999999999999999999999999, maximum: 99999999999999999999999999999999999999}"),
	"limits that leave one value":       field("{type: number, minimum: 1.0, maximum: 1}"),
	"no integer but zero":               field("{type: integer, minimum: -0.5, maximum: 0.5}"),
	"a uuid with its length":            field("{type: string, format: uuid, minLength: 36, maxLength: 36}"),
	"nothing but the empty string":      field("{type: string, maxLength: 0}"),
	"a default of all kinds":            field(`{type: object, default: {a: [1, -2.50, true, null, x, "5", 2026-11-24, {}], b: ""}}`),
	"a description in lines":            "types:\n  a:\n    description: |\n      One.\n      \"Two\": \\ é 😀\n",
	"a description with odd characters": "types:\n  a:\n    description: \"\\x85\\u2028\\ufeff\\0\"\n",
	"a default with odd characters":     field(`{type: array, default: ["\x85\u2028\ufeff\0\ufffe"]}`),
	"an enum with odd characters":       field(`{type: string, enum: ["\x85\u2028\ufeff\0", "\"", "\\"]}`),
	"an end of the document":            "---\ntypes:\n  a: {}\n...\n",
}

func TestRightDeclarations(t *testing.T) {
	for name, text := range rightDeclarations {
		t.Run(name, func(t *testing.T) {
			checkDocuments(t, mustRead(t, text))
		})
	}
}

// FuzzRead: no file crashes the reader, takes it long, or is read as something that its own effective file is not.
func FuzzRead(f *testing.F) {
	for _, w := range wrongDeclarations {
		if len(w.text) < 10_000 {
			f.Add([]byte(w.text))
		}
	}
	for _, text := range rightDeclarations {
		f.Add([]byte(text))
	}
	f.Add(builtinText)
	f.Fuzz(func(t *testing.T, text []byte) {
		start := time.Now()
		s, err := Read("types.yaml", text)
		if took := time.Since(start); took > 10*time.Second {
			t.Fatalf("it took %v", took)
		}
		if err != nil {
			var wrong *Error
			if !errors.As(err, &wrong) || len(wrong.Problems) == 0 {
				t.Fatalf("the error is %v", err)
			}
			lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + 2*bytes.Count(text, []byte("\xc2\x85")) + bytes.Count(text, []byte("\xe2\x80")) + 2
			for _, p := range wrong.Problems {
				if p.Line < 1 || p.Line > lines || p.Rule == "" || strings.ContainsAny(p.Name+p.Rule, "\n\x00") {
					t.Errorf("problem %+v of %d lines", p, lines)
				}
			}
			return
		}
		checkDocuments(t, s)
	})
}

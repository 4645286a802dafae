package schema

import (
	"fmt"
	"strconv"
	"strings"

	"tributary/internal/base/rawjson"
)

// JSONSchema returns the JSON Schema (2020-12) of a message's body. It says what a decoder of these types takes, but for what
// its description lists.
func (s *Set) JSONSchema() []byte {
	var b strings.Builder
	b.WriteString(schemaHead)
	fmt.Fprintf(&b, `    "command": {
      "type": "object",
      "properties": { "type": { "enum": [%s] } },
      "required": ["type"],
      "oneOf": [
`, quotedList(s.CommandNames()))
	names := s.CommandNames()
	for i, name := range names {
		fmt.Fprintf(&b, "        { \"$ref\": \"#/$defs/%s\" }%s\n", name, commaBefore(i, len(names)))
	}
	b.WriteString("      ]\n    },\n")
	integers := false
	for _, t := range s.Types {
		t.writePut(&b)
		for _, f := range t.Fields {
			integers = integers || f.Type == Integer
		}
	}
	for _, t := range s.Types {
		t.writeDelete(&b)
	}
	b.WriteString(schemaTail)
	if integers {
		b.WriteString(schemaInteger)
	}
	b.WriteString(schemaEnd)
	return []byte(b.String())
}

// commaBefore returns the comma that follows element i of n.
func commaBefore(i, n int) string {
	if i < n-1 {
		return ","
	}
	return ""
}

func quotedList(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

func text(s string) string { return string(rawjson.AppendString(nil, s)) }

func (t *Type) writePut(b *strings.Builder) {
	fmt.Fprintf(b, "    %q: {\n      \"title\": \"Creates %s, or replaces it whole\",\n", t.Put, article(t.Name))
	if t.Description != "" {
		fmt.Fprintf(b, "      \"description\": %s,\n", text(t.Description))
	}
	fmt.Fprintf(b, `      "type": "object",
      "properties": {
        "type": { "const": %q },
        "tenant_id": { "$ref": "#/$defs/tenant_id" },
        %q: { "$ref": "#/$defs/id" },
`, t.Put, t.ID)
	required := []string{TypeName, TenantIDName, t.ID}
	for _, f := range t.Fields {
		fmt.Fprintf(b, "        %q: %s,\n", f.Name, f.jsonSchema())
		if f.Needed() {
			required = append(required, f.Name)
		}
	}
	fmt.Fprintf(b, `        "version": { "$ref": "#/$defs/version" },
        "attributes": { "$ref": "#/$defs/attributes" }
      },
      "required": [%s],
      "additionalProperties": false
    },
`, quotedList(required))
}

func (t *Type) writeDelete(b *strings.Builder) {
	title := "Deletes " + article(t.Name)
	if len(t.ReferredBy) > 0 {
		plurals := make([]string, 0, len(t.ReferredBy))
		for _, r := range t.ReferredBy {
			plurals = append(plurals, r.From.Plural)
		}
		last := len(plurals) - 1
		all := strings.Join(plurals[:last], ", ")
		if all != "" {
			all += " and "
		}
		title += ", but not its " + all + plurals[last]
	}
	fmt.Fprintf(b, `    %q: {
      "title": %q,
      "type": "object",
      "properties": {
        "type": { "const": %q },
        "tenant_id": { "$ref": "#/$defs/tenant_id" },
        %q: { "$ref": "#/$defs/id" },
        "version": { "$ref": "#/$defs/version" }
      },
      "required": ["type", "tenant_id", %q],
      "additionalProperties": false
    },
`, t.Delete, title, t.Delete, t.ID, t.ID)
}

// members are the members of a JSON object, in order.
type members []string

func (m *members) add(name, value string) { *m = append(*m, `"`+name+`": `+value) }

func (m members) String() string { return "{ " + strings.Join(m, ", ") + " }" }

// jsonSchema returns what a command may have in the field.
func (f *Field) jsonSchema() string {
	var m members
	switch f.Type {
	case String:
		f.stringSchema(&m)
	case Number, Integer:
		f.numberSchema(&m)
	case Boolean:
		f.typed(&m, "boolean")
		f.enumSchema(&m)
	case Object:
		m.add("$ref", `"#/$defs/attributes"`) // which takes null
		if f.Needed() {
			m.add("type", `"object"`)
		}
	case Array:
		f.typed(&m, "array")
		m.add("items", `{ "$ref": "#/$defs/value" }`)
		m.add("maxItems", strconv.Itoa(MaxDocumentValues))
	}
	if f.HasDefault {
		m.add("default", f.literal(f.Default))
	}
	switch {
	case f.Description != "":
		m.add("description", text(f.Description))
	case f.References != nil:
		m.add("description", text(f.describe()+" The "+f.References.Name+" need not exist."))
	case f.Type == Object:
		m.add("description", text("An object, kept as sent."))
	}
	return m.String()
}

// typed adds a type, or null beside it.
func (f *Field) typed(m *members, name string) {
	if f.Needed() {
		m.add("type", `"`+name+`"`)
	} else {
		m.add("type", `["`+name+`", "null"]`)
	}
}

// referTo adds a schema, or null beside it.
func (f *Field) referTo(m *members, ref string) {
	if f.Needed() {
		m.add("$ref", `"`+ref+`"`)
	} else {
		m.add("oneOf", `[{ "$ref": "`+ref+`" }, { "type": "null" }]`)
	}
}

func (f *Field) stringSchema(m *members) {
	if f.References != nil {
		f.referTo(m, "#/$defs/id")
	} else {
		f.typed(m, "string")
	}
	if f.MinLength > 0 {
		m.add("minLength", strconv.Itoa(f.MinLength))
	}
	longest := f.MaxLength
	if f.Format == Email && (longest < 0 || longest > maxEmail) {
		longest = maxEmail
	}
	if longest >= 0 {
		m.add("maxLength", strconv.Itoa(longest))
	}
	if f.Format != NoFormat {
		m.add("format", text(f.Format.String()))
	}
	if f.Format == Email {
		m.add("pattern", text(emailPattern))
		m.add("allOf", fmt.Sprintf(`[{ "pattern": "^[^@]{1,%d}@" }]`, maxEmailLocal))
	}
	f.enumSchema(m)
}

func (f *Field) enumSchema(m *members) {
	if len(f.Enum) == 0 {
		return
	}
	values := make([]string, 0, len(f.Enum)+1)
	for _, value := range f.Enum {
		values = append(values, f.literal(value))
	}
	if !f.Needed() && !f.Type.numeric() { // a number's null has a branch of its own
		values = append(values, "null")
	}
	m.add("enum", "["+strings.Join(values, ", ")+"]")
}

func (f *Field) numberSchema(m *members) {
	def := "#/$defs/amount"
	if f.Type == Integer {
		def = "#/$defs/integer"
	}
	if f.Minimum == "" && f.Maximum == "" && len(f.Enum) == 0 {
		f.referTo(m, def)
		return
	}
	var n members
	n.add("$ref", `"#/$defs/number"`)
	if f.Type == Integer {
		n.add("type", `"integer"`)
	}
	if f.Minimum != "" {
		n.add("minimum", f.Minimum)
	}
	if f.Maximum != "" {
		n.add("maximum", f.Maximum)
	}
	f.enumSchema(&n)
	branches := `[{ "type": "string", "pattern": "` + numberPattern + `" }, ` + n.String()
	if !f.Needed() {
		branches += `, { "type": "null" }`
	}
	m.add("oneOf", branches+"]")
}

// literal returns a value as JSON.
func (f *Field) literal(value string) string {
	if f.Type == String {
		return text(value)
	}
	return value
}

// describe returns the field's description, or one that follows from its declaration.
func (f *Field) describe() string {
	switch {
	case f.Description != "":
		return f.Description
	case f.References != nil:
		for _, r := range f.References.ReferredBy {
			if r.Field == f {
				return "The " + r.To.Name + " whose " + r.From.Name + " it is."
			}
		}
	case f.Type == Number:
		return "A decimal number of up to 38 digits, as text so that none is lost; without exponent and superfluous zeros."
	}
	return ""
}

const numberPattern = `^-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?$`

const schemaHead = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": "urn:tributary:command",
  "title": "Body of a Tributary message",
  "description": "One command, an array of commands, or {\"commands\":[…]}. A message may wrap a body, or an element of an array, as README.md tells; the schema is of what is in the wrapping. Beyond what a schema can say: no field may come twice; ids are limited in bytes of UTF-8; numbers have at most 38 significant digits (zeros at either end don't count); a number in a string has the limits of one without; ` + "`attributes`, objects and arrays nest at most 31 levels" + `, itself included, and have at most 10000 values in all; an item takes at most 400 KB; strings are valid Unicode; all commands of a message are of the tenant that its attribute tenant_id names.",
  "oneOf": [
    { "$ref": "#/$defs/command" },
    { "$ref": "#/$defs/commands" },
    {
      "title": "Packed commands",
      "type": "object",
      "properties": { "commands": { "$ref": "#/$defs/commands" } },
      "required": ["commands"],
      "additionalProperties": false
    }
  ],
  "$defs": {
    "commands": {
      "type": "array",
      "items": { "$ref": "#/$defs/command" },
      "minItems": 1,
      "maxItems": 20000
    },
`

const schemaTail = `    "tenant_id": {
      "description": "1 to 128 of A-Z a-z 0-9 . _ : @ = + -, not starting with _, and neither . nor ..",
      "type": "string",
      "pattern": "^[A-Za-z0-9.:@=+-][A-Za-z0-9._:@=+-]*$",
      "maxLength": 128,
      "not": { "enum": [".", ".."] }
    },
    "id": {
      "description": "1 to 256 bytes of UTF-8 without control characters and without #, which separates the parts of a key.",
      "type": "string",
      "pattern": "^[^#\\x00-\\x1f\\x7f-\\x9f]+$",
      "maxLength": 256
    },
    "amount": {
      "description": "A decimal number, kept exactly: in a string (safest, as many JSON libraries read numbers as floats) or as a JSON number. At most 38 significant digits, from 1E-130 to 9.99E125 and their negatives, or zero. It reads back equal in value: 150.00 as 150.",
      "oneOf": [
        { "type": "string", "pattern": "` + numberPattern + `" },
        { "$ref": "#/$defs/number" }
      ]
    },
`

const schemaInteger = `    "integer": {
      "description": "An integer, kept exactly: as a JSON number or in a string. At most 38 significant digits.",
      "oneOf": [
        { "type": "string", "pattern": "` + numberPattern + `" },
        { "$ref": "#/$defs/number", "type": "integer" }
      ]
    },
`

const schemaEnd = `    "number": {
      "type": "number",
      "minimum": -9.9999999999999999999999999999999999999e125,
      "maximum": 9.9999999999999999999999999999999999999e125
    },
    "version": {
      "description": "Of two versioned commands for one key the one with the higher version wins, in whatever order they come. A key is written either always with versions or never. In a string it is digits alone, from 1 to 9223372036854775807. null is the same as no version.",
      "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 9223372036854775807 },
        { "type": "string", "pattern": "^0*[1-9][0-9]{0,18}$" },
        { "type": "null" }
      ]
    },
    "attributes": {
      "description": "The upstream system's own fields, kept as sent. At most 10000 values, counting every member and element at any depth. null is the same as no attributes.",
      "type": ["object", "null"],
      "maxProperties": 10000,
      "propertyNames": { "minLength": 1 },
      "additionalProperties": { "$ref": "#/$defs/value" }
    },
    "value": {
      "anyOf": [
        { "type": ["string", "boolean", "null"] },
        { "$ref": "#/$defs/number" },
        { "type": "array", "items": { "$ref": "#/$defs/value" }, "maxItems": 10000 },
        { "$ref": "#/$defs/attributes" }
      ]
    }
  }
}
`

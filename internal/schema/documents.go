package schema

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

//go:embed asyncapi.yaml
var asyncAPIText string

// AsyncAPI returns the AsyncAPI document (3.0), in YAML. It refers to the JSON Schema as ./command.schema.json.
func (s *Set) AsyncAPI() []byte {
	var b strings.Builder
	example := func(name, summary, payload string) {
		fmt.Fprintf(&b, "        - name: %s\n          summary: %s\n          payload: %s\n", name, text(summary), yamlText(payload))
	}
	for _, t := range s.Types {
		example(t.Put, capital(article(t.Name))+" is created or replaced.", t.examplePut())
	}
	for _, t := range s.Types {
		example(t.Delete, capital(article(t.Name))+" is deleted.", t.exampleDelete())
	}
	first, last := s.Types[0], s.Types[len(s.Types)-1]
	example("array", "Two commands in one message.", "["+first.examplePut()+","+last.examplePut()+"]")
	example("packed", "The same in an object, for producers whose tools only make objects.", `{"commands":[`+first.examplePut()+","+last.examplePut()+"]}")
	return []byte(strings.Replace(asyncAPIText, "#examples\n", b.String(), 1))
}

func (t *Type) exampleHead(command string) string {
	return `{"type":"` + command + `","tenant_id":"tenantA","` + t.ID + `":"` + t.ExampleID() + `"`
}

// ExampleID returns an id that the type's items can have, the same one each time: "o1".
func (t *Type) ExampleID() string { return t.Name[:1] + "1" }

func (t *Type) exampleDelete() string { return t.exampleHead(t.Delete) + "}" }

// examplePut returns a put with all fields.
func (t *Type) examplePut() string {
	dst := []byte(t.exampleHead(t.Put))
	for _, f := range t.Fields {
		dst = f.AppendMember(dst, f.Example())
	}
	return string(append(dst, '}'))
}

// Shown says whether every answer has the field: it has a default, or it is required and an item without it, which
// others wrote, shows an empty string.
func (f *Field) Shown() bool {
	switch {
	case f.HasDefault:
		return true
	case !f.Required:
		return false
	case f.Type == Number:
		return true
	}
	return f.Type == String && f.Format == NoFormat && len(f.Enum) == 0 && f.MinLength == 0
}

// OpenAPISchemas returns the schemas of each type and of its page, by name, as the query API answers them.
func (s *Set) OpenAPISchemas() map[string]any {
	schemas := make(map[string]any, 2*len(s.Types))
	for _, t := range s.Types {
		schemas[t.SchemaName()] = t.openAPI()
		schemas[t.PageName()] = map[string]any{
			"type":                 "object",
			"additionalProperties": false,
			"required":             []string{"items"},
			"properties": map[string]any{
				"items": map[string]any{
					"type":        "array",
					"items":       map[string]any{"$ref": "#/components/schemas/" + t.SchemaName()},
					"description": "The " + t.Plural + " of this page.",
				},
				"next_cursor": map[string]any{"type": "string", "description": "Where to go on. Absent at the end."},
			},
		}
	}
	return schemas
}

func (t *Type) openAPI() map[string]any {
	name := t.Name
	properties := map[string]any{
		TenantIDName: map[string]any{"type": "string", "description": "The tenant whose " + name + " it is."},
		t.ID:         map[string]any{"type": "string", "description": "The " + name + "'s id, unique within the tenant."},
		VersionName: map[string]any{"type": "integer", "format": "int64", "minimum": 1,
			"description": "The version that the upstream gave, where it gave one. Readers that make doubles of numbers round those beyond 2^53."},
		AttributesName: map[string]any{"type": "object", "additionalProperties": true, "description": "The upstream's own fields, as sent."},
	}
	required := []string{TenantIDName, t.ID}
	for _, f := range t.Fields {
		properties[f.Name] = f.openAPI()
		if f.Shown() {
			required = append(required, f.Name)
		}
	}
	schema := map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
	if t.Description != "" {
		schema["description"] = t.Description
	}
	return schema
}

// openAPI returns the field as answers have it. A number is a string there, so that no reader makes a float of it.
func (f *Field) openAPI() map[string]any {
	m := map[string]any{"type": f.Type.String()}
	if description := f.describe(); description != "" {
		m["description"] = description
	}
	switch f.Type {
	case Number:
		m["type"] = "string"
	case Object:
		m["additionalProperties"] = true
	case Array:
		m["items"] = map[string]any{}
	case String:
		if f.Format != NoFormat {
			m["format"] = f.Format.String()
		}
		if len(f.Enum) > 0 {
			m["enum"] = f.Enum
		}
	}
	return m
}

// YAML returns the declaration with all that follows from defaults, in one form. Read reads it as an equal Set.
func (s *Set) YAML() []byte {
	var b strings.Builder
	b.WriteString("types:\n")
	for _, t := range s.Types {
		fmt.Fprintf(&b, "  %s:\n    plural: %s\n", yamlName(t.Name), yamlName(t.Plural))
		if t.Description != "" {
			fmt.Fprintf(&b, "    description: %s\n", yamlText(text(t.Description)))
		}
		if len(t.Fields) > 0 {
			b.WriteString("    fields:\n")
		}
		for _, f := range t.Fields {
			fmt.Fprintf(&b, "      %s: %s\n", yamlName(f.Name), f.yaml())
		}
	}
	return []byte(b.String())
}

// yamlName quotes the names that YAML takes for something that is not a string.
func yamlName(name string) string {
	switch name {
	case "true", "false", "null", "y", "n", "yes", "no", "on", "off":
		return `"` + name + `"`
	}
	return name
}

// yamlText returns JSON as YAML, which refuses some characters, or takes them for white space, where they are not escaped.
func yamlText(json string) string {
	if !strings.ContainsFunc(json, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return json
	}
	var b strings.Builder
	for _, r := range json {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

func (f *Field) yaml() string {
	words := []string{"type: " + f.Type.String()}
	add := func(word, value string) { words = append(words, word+": "+value) }
	value := func(text string) string { return yamlText(f.literal(text)) }
	if f.Required {
		add("required", "true")
	}
	if f.References != nil {
		add("references", yamlName(f.References.Name))
	}
	if f.MinLength > 0 {
		add("minLength", strconv.Itoa(f.MinLength))
	}
	if f.MaxLength >= 0 {
		add("maxLength", strconv.Itoa(f.MaxLength))
	}
	if f.Minimum != "" {
		add("minimum", f.Minimum)
	}
	if f.Maximum != "" {
		add("maximum", f.Maximum)
	}
	if f.Format != NoFormat {
		add("format", f.Format.String())
	}
	if len(f.Enum) > 0 {
		values := make([]string, len(f.Enum))
		for i, text := range f.Enum {
			values[i] = value(text)
		}
		add("enum", "["+strings.Join(values, ", ")+"]")
	}
	if f.HasDefault {
		add("default", value(f.Default))
	}
	if f.Description != "" {
		add("description", yamlText(text(f.Description)))
	}
	return "{" + strings.Join(words, ", ") + "}"
}

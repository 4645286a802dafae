package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tributary/internal/aws/limits"
	"tributary/internal/base/decimal"
	"tributary/internal/base/rawjson"
)

var fieldWords = []string{"type", "required", "description", "enum", "minLength", "maxLength", "minimum", "maximum", "format", "default", "references"}

// field reads a field.
func (r *reader) field(t *Type, name string, line int, n *yaml.Node) {
	f := &Field{Name: name, MaxLength: -1}
	path := t.Name + "." + cut(name)
	t.Fields = append(t.Fields, f)
	r.lines[f] = line
	if len(t.Fields) == maxFields+1 {
		r.fail(line, path, "it is one field too many, a type may have %d", maxFields)
	}
	if !fieldName.MatchString(name) {
		r.fail(line, path, "a field's name must be 1 to 64 of a-z 0-9 _, and begin with a letter")
		return
	}
	if name == t.ID {
		r.fail(line, path, "it is the type's id, which every %s has without being declared", t.Name)
		return
	}
	if why, ok := reservedFields[name]; ok {
		r.fail(line, path, "a field can't have this name: %s", why)
		return
	}
	if isNull(n) {
		r.fail(line, path, "the field's type is missing, such as {type: string}")
		return
	}
	words := map[string]*word{}
	wrong := len(r.problems)
	r.members(n, path, "the field", func(key string, at int, value *yaml.Node) {
		if !slices.Contains(fieldWords, key) {
			r.unknown(at, path, key, fieldWords)
			return
		}
		words[key] = &word{value, at}
	})
	w, ok := words["type"]
	if !ok {
		if len(r.problems) == wrong {
			r.fail(line, path, "the field's type is missing, it must be one of %s", strings.Join(fieldTypeNames[1:], ", "))
		}
		return
	}
	if w.node.Kind == yaml.ScalarNode && w.node.Tag == "!!str" {
		f.Type = FieldType(max(0, slices.Index(fieldTypeNames[:], w.node.Value)))
	}
	if f.Type == 0 {
		var hint string
		if near := nearest(w.node.Value, fieldTypeNames[1:]); near != "" {
			hint = ", did you mean " + near + "?"
		} else {
			hint = ", it must be one of " + strings.Join(fieldTypeNames[1:], ", ")
		}
		r.fail(w.line, path, "type is %s%s", describe(w.node), hint)
		return
	}
	fr := fieldReader{r, t, f, path, words}
	fr.read()
}

// word is a word of a field's declaration.
type word struct {
	node *yaml.Node
	line int
}

// fieldReader reads a field whose type is known.
type fieldReader struct {
	*reader
	t     *Type
	f     *Field
	path  string
	words map[string]*word
}

// only returns the word where there is one, and the field's type can have it.
func (r *fieldReader) only(name string, types ...FieldType) *word {
	w := r.words[name]
	if w == nil || slices.Contains(types, r.f.Type) {
		return w
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.String()
	}
	r.fail(w.line, r.path, "%s is for the types %s, the field is of type %s", name, strings.Join(names, ", "), r.f.Type)
	return nil
}

func (r *fieldReader) read() {
	f := r.f
	if w := r.words["description"]; w != nil {
		f.Description = r.description(r.path, w.line, w.node)
	}
	if w := r.words["required"]; w != nil {
		if w.node.Kind != yaml.ScalarNode || w.node.Value != "true" && w.node.Value != "false" || w.node.Tag != "!!bool" {
			r.fail(w.line, r.path, "required is %s, it must be true or false", describe(w.node))
		}
		f.Required = w.node.Value == "true"
	}
	wrong := len(r.problems)
	if w := r.only("minLength", String); w != nil {
		f.MinLength = r.length("minLength", w, 0)
	}
	if w := r.only("maxLength", String); w != nil {
		f.MaxLength = r.length("maxLength", w, -1)
		if len(r.problems) == wrong && f.MinLength > f.MaxLength {
			r.fail(w.line, r.path, "maxLength is %d, it can't be less than minLength, %d", f.MaxLength, f.MinLength)
		}
	}
	if w := r.only("minimum", Number, Integer); w != nil {
		f.Minimum = r.limit("minimum", w)
	}
	if w := r.only("maximum", Number, Integer); w != nil {
		f.Maximum = r.limit("maximum", w)
		low, hasLow := decimal.Parse(f.Minimum)
		high, hasHigh := decimal.Parse(f.Maximum)
		if hasLow && hasHigh && decimal.Compare(&low, &high) > 0 {
			r.fail(w.line, r.path, "maximum is %s, it can't be less than minimum, %s", f.Maximum, f.Minimum)
		}
	}
	if w := r.only("format", String); w != nil {
		if isText(w.node) {
			f.Format = Format(max(0, slices.Index(formatNames[:], w.node.Value)))
		}
		if f.Format == NoFormat {
			r.fail(w.line, r.path, "format is %s, it must be one of %s", describe(w.node), strings.Join(formatNames[1:], ", "))
		}
	}
	if len(r.problems) == wrong {
		r.possible()
	}
	if w := r.only("references", String); w != nil {
		if w.node.Kind != yaml.ScalarNode || w.node.Tag != "!!str" {
			r.fail(w.line, r.path, "references is %s, it must be the name of a type", describe(w.node))
		} else {
			r.references = append(r.references, reference{r.t, f, w.node.Value, w.line})
		}
		if d := r.words["default"]; d != nil {
			r.fail(d.line, r.path, "a reference has no default: items that lack the field are in no index")
			delete(r.words, "default")
		}
	}
	if len(r.problems) > wrong {
		return // enum and default would be held against limits that are wrong
	}
	f.link()
	if w := r.only("enum", String, Number, Integer, Boolean); w != nil {
		r.enum(w)
	}
	if w := r.words["default"]; w != nil && len(r.problems) == wrong {
		text, rule := r.value(w.node)
		if rule == "" {
			f.link()
			if _, err := f.Check(text); err != nil {
				rule = err.Detail
			}
		}
		if rule != "" {
			r.fail(w.line, r.path, "default: %s", rule)
			return
		}
		f.Default, f.HasDefault = text, true
	}
}

// possible refuses limits that leave no value, each of which is right for itself.
func (r *fieldReader) possible() {
	f := r.f
	if w := r.words["minLength"]; w != nil && f.MinLength > limits.DynamoDBItemBytes {
		r.fail(w.line, r.path, "minLength is %d, DynamoDB keeps at most %d bytes of an item", f.MinLength, limits.DynamoDBItemBytes)
		return
	}
	if w := r.words["format"]; w != nil {
		shortest, longest := f.Format.lengths()
		if f.MaxLength >= 0 && f.MaxLength < shortest || f.MinLength > longest {
			r.fail(w.line, r.path, "no %s has the length that minLength and maxLength ask for", f.Format)
		}
	}
	if w := r.words["references"]; w != nil && (f.MaxLength == 0 || f.MinLength > MaxIDBytes) {
		r.fail(w.line, r.path, "no id has the length that minLength and maxLength ask for")
	}
	if f.Type == Integer && f.Minimum != "" && f.Maximum != "" {
		low, _ := decimal.Parse(f.Minimum)
		high, _ := decimal.Parse(f.Maximum)
		whole := func(n *decimal.Number) string { return strings.Split(string(n.AppendPlain(nil)), ".")[0] }
		if !low.IsInteger() && !high.IsInteger() && whole(&low) == whole(&high) {
			r.fail(r.words["maximum"].line, r.path, "there is no integer from minimum, %s, to maximum, %s", f.Minimum, f.Maximum)
		}
	}
}

// length reads minLength or maxLength.
func (r *fieldReader) length(name string, w *word, otherwise int) int {
	if w.node.Kind == yaml.ScalarNode && w.node.Tag == "!!int" && len(w.node.Value) < 9 && !hasZeros(w.node.Value) {
		if n, err := strconv.Atoi(w.node.Value); err == nil && n >= 0 {
			return n
		}
	}
	r.fail(w.line, r.path, "%s is %s, it must be a whole number of characters, such as 100", name, describe(w.node))
	return otherwise
}

// limit reads minimum or maximum.
func (r *fieldReader) limit(name string, w *word) string {
	text, rule := decimalText(w.node)
	if rule != "" {
		r.fail(w.line, r.path, "%s: %s", name, rule)
		return ""
	}
	return text
}

// decimalText reads a number, as it stands.
func decimalText(n *yaml.Node) (text, rule string) {
	if n.Kind != yaml.ScalarNode || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		if n.Kind == yaml.ScalarNode {
			return "", quote(n.Value) + " is a text, write the number without quotes"
		}
		return "", "it is " + describe(n) + ", it must be a number"
	}
	if hasZeros(n.Value) {
		return "", cut(n.Value) + " begins with a zero, write the number without it"
	}
	if _, err := parseNumber("", n.Value); err != nil {
		return "", err.Detail
	}
	return n.Value, ""
}

// hasZeros says whether a number begins with a zero that adds nothing, which some readers of YAML take for octal.
func hasZeros(text string) bool {
	text = strings.TrimPrefix(text, "-")
	return len(text) > 1 && text[0] == '0' && isDigit(text[1])
}

// value reads a value of the field's type as text. Whether the field can have it is not its affair.
func (r *fieldReader) value(n *yaml.Node) (text, rule string) {
	switch r.f.Type {
	case String:
		if !isText(n) {
			if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
				return "", cut(n.Value) + " is not a string, put it in quotes"
			}
			return "", "it is " + describe(n) + ", it must be a string"
		}
		return n.Value, ""
	case Number, Integer:
		return decimalText(n)
	case Boolean:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			return "", "it is " + describe(n) + ", it must be true or false"
		}
		return n.Value, ""
	}
	if r.f.Type == Object && n.Kind != yaml.MappingNode || r.f.Type == Array && n.Kind != yaml.SequenceNode {
		return "", "it is " + describe(n) + ", it must be an " + r.f.Type.String()
	}
	b, rule := appendJSON(nil, n, 0)
	return string(b), rule
}

// maxDefaultNameBytes is the longest name in a default. The effective file and the AsyncAPI document have defaults in YAML, which
// reads names of at most 1024 characters, and in which a byte can take ten.
const maxDefaultNameBytes = 100

// appendJSON appends a value of YAML as JSON.
func appendJSON(dst []byte, n *yaml.Node, level int) (_ []byte, rule string) {
	if level > maxLevels {
		return nil, fmt.Sprintf("it is nested more than %d levels deep", maxLevels)
	}
	switch n.Kind {
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			key := n.Content[i]
			if !isText(key) {
				return nil, "it has " + describe(key) + " where there must be a name, put it in quotes"
			}
			if len(key.Value) > maxDefaultNameBytes {
				return nil, fmt.Sprintf("the name %s takes %d bytes, at most %d are allowed", quote(key.Value), len(key.Value), maxDefaultNameBytes)
			}
			dst = append(rawjson.AppendString(dst, key.Value), ':')
			if dst, rule = appendJSON(dst, n.Content[i+1], level+1); rule != "" {
				return nil, rule
			}
		}
		return append(dst, '}'), ""
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, child := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, rule = appendJSON(dst, child, level+1); rule != "" {
				return nil, rule
			}
		}
		return append(dst, ']'), ""
	}
	switch n.Tag {
	case "!!null":
		return append(dst, "null"...), ""
	case "!!bool":
		return append(dst, strings.ToLower(n.Value)...), ""
	case "!!int", "!!float":
		text, rule := decimalText(n)
		return append(dst, text...), rule
	}
	return rawjson.AppendString(dst, n.Value), ""
}

func (r *fieldReader) enum(w *word) {
	if w.node.Kind != yaml.SequenceNode {
		r.fail(w.line, r.path, "enum is %s, it must be a list of the values that are allowed", describe(w.node))
		return
	}
	if len(w.node.Content) == 0 {
		r.fail(w.line, r.path, "enum has no values, so that the field could have none: leave it away where all are allowed")
		return
	}
	if len(w.node.Content) > maxEnum {
		r.fail(w.line, r.path, "enum has %d values, at most %d are allowed", len(w.node.Content), maxEnum)
		return
	}
	var values []string
	plains := map[string]bool{}
	for _, n := range w.node.Content {
		text, rule := r.value(n)
		if rule == "" {
			if _, err := r.f.Check(text); err != nil { // the field has no enum yet
				rule = err.Detail
			}
		}
		plain := text
		if rule == "" && r.f.Type.numeric() {
			b, _ := decimal.AppendPlain(nil, text)
			plain = string(b)
		}
		switch {
		case rule != "":
		case plains[plain]:
			rule = cut(text) + " is there twice"
		}
		if rule != "" {
			r.fail(n.Line, r.path, "enum: %s", rule)
			return
		}
		plains[plain] = true
		values = append(values, text)
	}
	r.f.Enum = values
}

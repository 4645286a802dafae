package schema

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tributary/internal/aws/limits"
)

// Problem is one thing that is wrong with a declaration.
type Problem struct {
	Line int
	Name string // of the type, or of type and field ("order.user_id"); "" where it is the file
	Rule string // what is wrong, and what is right
}

// Error is all that is wrong with a declaration, in the order of the lines. Its text has a line for each problem.
type Error struct {
	File     string
	Problems []Problem
}

// maxShownProblems is how many problems an error's text has.
const maxShownProblems = 20

func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == maxShownProblems {
			fmt.Fprintf(&b, "\n%s: and %d more", e.File, len(e.Problems)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d: ", e.File, p.Line)
		if p.Name != "" {
			b.WriteString(p.Name + ": ")
		}
		b.WriteString(p.Rule)
	}
	return b.String()
}

// ReadFile reads the declaration in a file. A wrong one is an *Error.
func ReadFile(path string) (*Set, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	return Read(path, text)
}

// Read reads a declaration. File is its name in errors. A wrong declaration is an *Error with all that is wrong.
func Read(file string, text []byte) (*Set, error) {
	r := reader{set: &Set{}, byName: map[string]*Type{}}
	if root := r.parse(text); root != nil {
		r.file(root)
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
		return nil, &Error{File: file, Problems: r.problems}
	}
	r.set.link()
	return r.set, nil
}

// reader reads one declaration, and goes on after a problem.
type reader struct {
	set      *Set
	problems []Problem
	// byName has the types by the names that are in the file, also by wrong ones.
	byName     map[string]*Type
	references []reference
	lines      map[*Field]int
	typeLines  map[*Type]int
	plurals    map[*Type]int // the line that a type's plural comes from; of a wrong plural there is none
}

// reference is a reference that is not resolved yet.
type reference struct {
	from  *Type
	field *Field
	to    string
	line  int
}

func (r *reader) fail(line int, name, format string, args ...any) {
	r.problems = append(r.problems, Problem{line, name, fmt.Sprintf(format, args...)})
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// parse returns the root of the YAML, or nil where it can't be read.
func (r *reader) parse(text []byte) *yaml.Node {
	if len(text) > maxFileBytes {
		r.fail(1, "", "the file is larger than %d bytes", maxFileBytes)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	switch {
	case errors.Is(err, io.EOF):
		r.fail(1, "", "the file is empty, it must begin with types:")
		return nil
	case err != nil:
		r.notYAML(err)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		r.fail(second.Line, "", "the file has a second YAML document, it may have one")
		return nil
	} else if !errors.Is(err, io.EOF) {
		r.notYAML(err)
		return nil
	}
	if !r.plain(&document) {
		return nil
	}
	return document.Content[0]
}

func (r *reader) notYAML(err error) {
	line, text := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
		// The library counts lines from 0 in some errors.
		if strings.HasSuffix(text, "expected key") || strings.Contains(text, "expected ','") {
			line++
		}
	}
	switch {
	case strings.HasSuffix(text, "expected key"):
		text += " (look at the indentation from here on)"
	case strings.HasSuffix(text, "cannot start any token"):
		text += " (YAML is indented by spaces, not by tabs; a value that begins with @, % or ` needs quotes)"
	}
	r.fail(line, "", "the file is not YAML: %s", text)
}

// plain refuses what makes YAML say more than it shows: anchors, aliases, merges and tags.
func (r *reader) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		r.fail(n.Line, "", "*%s is an alias, write out what it stands for", n.Value)
		return false
	case n.Anchor != "":
		r.fail(n.Line, "", "&%s is an anchor, write out what is meant at each place", n.Anchor)
		return false
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(n.Line, "", "%s is a tag, leave it away", n.Tag)
		return false
	case n.Kind == yaml.ScalarNode && n.Tag == "!!merge":
		r.fail(n.Line, "", "<< is a merge, write out what is meant")
		return false
	}
	for _, child := range n.Content {
		if !r.plain(child) {
			return false
		}
	}
	return true
}

// members calls visit for each member of a mapping whose key is a string and comes for the first time. Null is an empty
// mapping.
func (r *reader) members(n *yaml.Node, name, what string, visit func(key string, line int, value *yaml.Node)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, name, "%s is %s, it must be a mapping of names", what, describe(n))
		return
	}
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
			r.fail(key.Line, name, "%s has %s where there must be a name", what, describe(key))
			continue
		}
		if line, ok := first[key.Value]; ok {
			r.fail(key.Line, name, "%s is there twice, first in line %d", quote(key.Value), line)
			continue
		}
		first[key.Value] = key.Line
		visit(key.Value, key.Line, n.Content[i+1])
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// describe names a node for a message.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "empty"
	case "!!bool":
		return "the boolean " + cut(n.Value)
	case "!!int", "!!float":
		return "the number " + cut(n.Value)
	}
	return quote(n.Value)
}

// unknown reports a word that is not one of those known.
func (r *reader) unknown(line int, name, word string, known []string) {
	if near := nearest(word, known); near != "" {
		r.fail(line, name, "%s is not known here, did you mean %s?", quote(word), near)
		return
	}
	r.fail(line, name, "%s is not known here, only %s", quote(word), strings.Join(known, ", "))
}

// nearest returns the word that is at most two letters away, or "".
func nearest(word string, known []string) string {
	best, distance := "", 3
	if len(word) > 64 {
		return ""
	}
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

func (r *reader) file(root *yaml.Node) {
	if isNull(root) {
		r.fail(1, "", "the file is empty, it must begin with types:")
		return
	}
	var types *yaml.Node
	line, wrong := root.Line, len(r.problems)
	r.members(root, "", "the file", func(key string, at int, value *yaml.Node) {
		if key != "types" {
			r.unknown(at, "", key, []string{"types"})
			return
		}
		types, line = value, at
	})
	if types == nil {
		if len(r.problems) == wrong {
			r.fail(line, "", "types: is missing, it has the types by name")
		}
		return
	}
	r.lines, r.typeLines, r.plurals = map[*Field]int{}, map[*Type]int{}, map[*Type]int{}
	wrong = len(r.problems)
	r.members(types, "", "types", r.entity)
	if len(r.byName) == 0 && len(r.problems) == wrong {
		r.fail(line, "", "types: is empty, it must have at least one type")
	}
	r.resolve()
	r.clashes()
}

var (
	typeName   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	fieldName  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	pluralName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// Names that a declaration can't use, and why.
var (
	reservedTypes = map[string]string{
		"tenant":    "tenant_id is every command's tenant",
		"tributary": "Tributary keeps it for its own items",
	}
	reservedFields = map[string]string{
		TypeName:       "every command has it",
		TenantIDName:   "every command has it",
		VersionName:    "every command has it",
		AttributesName: "every put has it",
		"commands":     "a packed message has it",
		"deleted":      "a tombstone has it",
		"expires_at":   "a tombstone has it",
		"next_cursor":  "a page has it",
		"pk":           "the table's key is PK",
		"sk":           "the table's key is SK",
		// Or a put that is refused, and that has data too, would be taken for one, and its data for commands.
		"specversion": "a CloudEvent has it",
		// Or a corrected file of rejected rows would be imported with its reasons as values.
		"rejected_line":   "an import's file of rejected rows has it",
		"rejected_reason": "an import's file of rejected rows has it",
	}
)

var typeWords = []string{"plural", "description", "fields"}

// entity reads a type.
func (r *reader) entity(name string, line int, n *yaml.Node) {
	t := &Type{Name: name, Plural: name + "s", ID: name + "_id"}
	r.byName[name] = t
	r.typeLines[t], r.plurals[t] = line, line
	if len(r.byName) == maxTypes+1 {
		r.fail(line, cut(name), "it is one type too many, a file may have %d", maxTypes)
	}
	if !typeName.MatchString(name) {
		r.fail(line, cut(name), "a type's name must be 1 to 32 of a-z 0-9 _, and begin with a letter")
		return
	}
	if why, ok := reservedTypes[name]; ok {
		r.fail(line, name, "a type can't have this name: %s", why)
		return
	}
	r.set.Types = append(r.set.Types, t)
	r.members(n, name, "the type", func(word string, at int, value *yaml.Node) {
		switch word {
		case "plural":
			r.plurals[t] = at
			if value.Kind != yaml.ScalarNode || value.Tag != "!!str" || !pluralName.MatchString(value.Value) {
				r.fail(at, name, "plural is %s, it must be 1 to 64 of a-z 0-9 _, and begin with a letter", describe(value))
				delete(r.plurals, t)
				return
			}
			t.Plural = value.Value
		case "description":
			t.Description = r.description(name, at, value)
		case "fields":
			r.members(value, name, "fields", func(field string, at int, value *yaml.Node) { r.field(t, field, at, value) })
		default:
			r.unknown(at, name, word, typeWords)
		}
	})
	least := 0
	for _, f := range t.Fields {
		if f.Needed() {
			least += len(f.Name) + f.MinLength
		}
	}
	if least > limits.DynamoDBItemBytes {
		r.fail(line, name, "a put takes at least %d bytes, DynamoDB keeps at most %d of an item", least, limits.DynamoDBItemBytes)
	}
}

func (r *reader) description(name string, line int, n *yaml.Node) string {
	switch {
	case !isText(n):
		r.fail(line, name, "description is %s, it must be a text", describe(n))
	case len(n.Value) > maxDescriptionBytes:
		r.fail(line, name, "description takes %d bytes, at most %d are allowed", len(n.Value), maxDescriptionBytes)
	default:
		return n.Value
	}
	return ""
}

// isText says whether a node is a string. YAML takes a bare date for a time, which is none of a declaration's types.
func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!timestamp")
}

// resolve finds the types that fields refer to.
func (r *reader) resolve() {
	for i, ref := range r.references {
		path := ref.from.Name + "." + ref.field.Name
		to, ok := r.byName[ref.to]
		switch {
		case i == maxReferences:
			r.fail(ref.line, path, "it is one reference too many, a file may have %d", maxReferences)
		case !ok:
			names := make([]string, 0, len(r.set.Types))
			for _, t := range r.set.Types {
				names = append(names, t.Name)
			}
			if near := nearest(ref.to, names); near != "" {
				r.fail(ref.line, path, "references %s, which is not a type of this file, did you mean %s?", quote(ref.to), near)
			} else {
				r.fail(ref.line, path, "references %s, which is not a type of this file", quote(ref.to))
			}
		case to == ref.from:
			r.fail(ref.line, path, "references its own type, which is not supported")
		case slices.ContainsFunc(ref.from.Fields, func(f *Field) bool { return f.References == to }):
			r.fail(ref.line, path, "references %s a second time, a type may do so once", to.Name)
		default:
			ref.field.References = to
		}
	}
}

// clashes finds names that two declarations give rise to.
func (r *reader) clashes() {
	plurals := map[string]*Type{}
	schemas := map[string]*Type{}
	indexes := map[string]string{}
	keys := map[string]string{} // attributes that are keys of an index: the first field that is one
	for _, t := range r.set.Types {
		if line, ok := r.plurals[t]; ok {
			if other := plurals[t.Plural]; other != nil {
				r.fail(line, t.Name, "its plural is %s, which is the path of %s too", t.Plural, other.Name)
				continue
			}
			plurals[t.Plural] = t
		}
		for _, name := range []string{t.SchemaName(), t.SchemaName() + pageSuffix} {
			if other := schemas[name]; other != nil {
				r.fail(r.typeLines[t], t.Name, "%s is a name in the OpenAPI document for %s too, use another name", name, other.Name)
				break
			}
			schemas[name] = t
		}
		for _, f := range t.Fields {
			if f.References == nil {
				continue
			}
			path := t.Name + "." + f.Name
			index := indexName(t, f.References)
			if other, ok := indexes[index]; ok {
				r.fail(r.lines[f], path, "its index is %s, which is that of %s too, use another plural", index, other)
			}
			indexes[index] = path
			if _, ok := keys[f.Name]; !ok {
				keys[f.Name] = path
			}
		}
	}
	// DynamoDB refuses an item in which the key of an index is not a string, is empty, or is too long.
	for _, t := range r.set.Types {
		for _, f := range t.Fields {
			if other, ok := keys[f.Name]; ok && f.References == nil && !r.refers(f) {
				r.fail(r.lines[f], t.Name+"."+f.Name, "%s has a field of this name that is a key of an index, so this one must have references too, or another name", other)
			}
		}
	}
}

// refers says whether a field has references, also ones that are wrong.
func (r *reader) refers(f *Field) bool {
	return slices.ContainsFunc(r.references, func(ref reference) bool { return ref.field == f })
}

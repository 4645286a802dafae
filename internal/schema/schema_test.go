package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const docs = "../../docs"

// mustRead reads a declaration that is right.
func mustRead(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Read("types.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

// oneType declares a type with these fields.
func oneType(fields string) string { return "types:\n  thing:\n    fields:\n" + fields + "\n" }

func TestBuiltin(t *testing.T) {
	s := Builtin()
	if len(s.Types) != 2 || len(s.References) != 1 {
		t.Fatalf("%d types, %d references", len(s.Types), len(s.References))
	}
	order := s.Type("order")
	if order.ID != "order_id" || order.Plural != "orders" || order.Prefix != "order#" || order.Put != "put_order" || order.Delete != "delete_order" {
		t.Errorf("order is %+v", order)
	}
	if r := s.References[0]; r.Index != "orders_by_user" || r.Field.Name != "user_id" || r.To.Name != "user" || r.From != order {
		t.Errorf("the reference is %+v", r)
	}
	for name, want := range map[string]string{"put_user": "user", "delete_user": "user delete", "put_order": "order", "delete_order": "order delete",
		"": "", "put_": "", "put_invoice": "", "delete": "", "Put_order": "", "user": ""} {
		got := ""
		if typ, remove := s.Command(name); typ != nil {
			if got = typ.Name; remove {
				got += " delete"
			}
		}
		if got != want {
			t.Errorf("Command(%q) is %q", name, got)
		}
	}
	for name, want := range map[string]Slot{"user_id": 0, "order_amount": 1, "order_id": SlotID, "type": SlotType, "tenant_id": SlotTenantID,
		"version": SlotVersion, "attributes": SlotAttributes, "": SlotUnknown, "user_name": SlotUnknown, "Version": SlotUnknown} {
		if got := order.Slot(name); got != want {
			t.Errorf("Slot(%q) is %d", name, got)
		}
	}
	if typ, id := s.SplitSK("order#a"); typ != order || id != "a" {
		t.Errorf("SplitSK is %v, %q", typ, id)
	}
	for _, sk := range []string{"", "order", "order#", "invoice#a", "#a"} {
		if typ, _ := s.SplitSK(sk); typ != nil {
			t.Errorf("SplitSK(%q) is %s", sk, typ.Name)
		}
	}
	// Users have a user_id as well, so they are in the index of orders by user.
	if len(s.Indexed(order)) != 1 || len(s.Indexed(s.Type("user"))) != 1 {
		t.Error("both types are in the index")
	}
}

// TestBuiltinRoutes: the routes are those of the published document.
func TestBuiltinRoutes(t *testing.T) {
	var document struct {
		Paths map[string]struct {
			Get struct {
				OperationID, Summary, Description string
				Tags                              []string
			}
		}
		Components struct{ Schemas map[string]any }
	}
	readJSON(t, filepath.Join(docs, "openapi.json"), &document)
	routes := Builtin().Routes()
	if len(routes) != len(document.Paths) {
		t.Errorf("%d routes, the document has %d", len(routes), len(document.Paths))
	}
	for _, r := range routes {
		o, ok := document.Paths[r.Path]
		if !ok || o.Get.OperationID != r.OperationID || o.Get.Summary != r.Summary || o.Get.Description != r.Description || o.Get.Tags[0] != r.Tag {
			t.Errorf("%+v is not the document's %+v", r, o)
		}
	}
	for name, schema := range Builtin().OpenAPISchemas() {
		var got map[string]any
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		want := document.Components.Schemas[name]
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is\n%v\nthe document has\n%v", name, got, want)
		}
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// TestBuiltinJSONSchema: but for descriptions, the generated schema is the published one.
func TestBuiltinJSONSchema(t *testing.T) {
	var got, want any
	if err := json.Unmarshal(Builtin().JSONSchema(), &got); err != nil {
		t.Fatal(err)
	}
	readJSON(t, filepath.Join(docs, "messages", "command.schema.json"), &want)
	undescribe(got)
	undescribe(want)
	if !reflect.DeepEqual(got, want) {
		a, _ := json.MarshalIndent(got, "", " ")
		b, _ := json.MarshalIndent(want, "", " ")
		t.Errorf("it is\n%s\nthe published one is\n%s", a, b)
	}
}

func undescribe(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["description"].(string); ok {
			delete(v, "description")
		}
		for _, child := range v {
			undescribe(child)
		}
	case []any:
		for _, child := range v {
			undescribe(child)
		}
	}
}

// TestBuiltinAsyncAPI: but for the examples of commands, the generated document is the published one.
func TestBuiltinAsyncAPI(t *testing.T) {
	published, err := os.ReadFile(filepath.Join(docs, "messages", "asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	without := func(text []byte) (document, examples any) {
		var d map[string]any
		if err := yaml.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		command := d["components"].(map[string]any)["messages"].(map[string]any)["command"].(map[string]any)
		examples = command["examples"]
		delete(command, "examples")
		return d, examples
	}
	got, _ := without(Builtin().AsyncAPI())
	want, _ := without(published)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it is\n%v\nthe published one is\n%v", got, want)
	}
}

// compile compiles the schema of bodies, and holds it to the draft.
func compile(t testing.TB, s *Set) *jsonschema.Schema {
	t.Helper()
	text := s.JSONSchema()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("the schema is not JSON: %v\n%s", err, text)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("command.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("command.schema.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return schema
}

// exampleFiles are the declarations that users start from.
func exampleFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../examples/types/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	return append(files, "builtin.yaml")
}

// TestExamples: every example is right, its documents are, and its effective file reads as the same.
func TestExamples(t *testing.T) {
	for _, path := range exampleFiles(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			checkDocuments(t, s)
		})
	}
}

// checkDocuments: what is generated from a set can be read, and fits together.
func checkDocuments(t *testing.T, s *Set) {
	t.Helper()
	again := mustRead(t, string(s.YAML()))
	if again.Fingerprint != s.Fingerprint || !bytes.Equal(again.YAML(), s.YAML()) {
		t.Errorf("the effective file reads as another set:\n%s\n%s", s.YAML(), again.YAML())
	}
	if changes := Compare(s, again); len(changes) != 0 {
		t.Errorf("the effective file differs: %v", changes)
	}
	schema := compile(t, s)
	var document struct {
		Components struct {
			Messages struct {
				Command struct {
					Examples []struct {
						Name    string
						Payload any
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(s.AsyncAPI(), &document); err != nil {
		t.Fatal(err)
	}
	examples := document.Components.Messages.Command.Examples
	if len(examples) != 2*len(s.Types)+2 {
		t.Errorf("%d examples", len(examples))
	}
	for _, e := range examples {
		text, err := json.Marshal(e.Payload)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("example %s, %s, is not valid: %v", e.Name, text, err)
		}
	}
	seen := map[string]bool{}
	for _, r := range s.Routes() {
		if seen[r.Path] || seen[r.OperationID] {
			t.Errorf("route %s %s is there twice", r.Path, r.OperationID)
		}
		seen[r.Path], seen[r.OperationID] = true, true
	}
	if n := len(s.OpenAPISchemas()); n != 2*len(s.Types) {
		t.Errorf("%d schemas for %d types", n, len(s.Types))
	}
}

func TestListsForPeople(t *testing.T) {
	many := "types:\n"
	for i := range 64 {
		many += fmt.Sprintf("  t%d: {}\n", i)
	}
	for _, c := range []struct{ text, names, plurals string }{
		{string(builtinText), "user or order", "users and orders"},
		{"types: {person: {plural: people}}", "person", "people"},
		{"types: {a: {}, b: {}, c: {plural: cs_}}", "a, b or c", "as, bs and cs_"},
		{many, "t0, t1, t2, t3, t4, t5, t6, t7 or any of 56 more", "t0s, t1s, t2s, t3s, t4s, t5s, t6s, t7s and 56 more"},
	} {
		s := mustRead(t, c.text)
		if s.NameList() != c.names || s.PluralList() != c.plurals {
			t.Errorf("got %q and %q, want %q and %q", s.NameList(), s.PluralList(), c.names, c.plurals)
		}
	}
}

// TestFingerprint: it is the meaning's.
func TestFingerprint(t *testing.T) {
	base := mustRead(t, oneType("      a: {type: number, minimum: 1.50, enum: [2, 3.0]}\n      b: {type: string}"))
	same := []string{
		"# a comment\ntypes: {thing: {plural: things, description: x, fields: {b: {type: string, required: false, minLength: 0}, a: {enum: [3, 2.0], minimum: 1.5, type: number}}}}",
	}
	other := []string{
		oneType("      a: {type: number, minimum: 1.51, enum: [2, 3.0]}\n      b: {type: string}"),
		oneType("      a: {type: number, minimum: 1.50, enum: [2]}\n      b: {type: string}"),
		oneType("      a: {type: number, minimum: 1.50, enum: [2, 3.0]}\n      b: {type: string, maxLength: 0}"),
		oneType("      a: {type: number, minimum: 1.50, enum: [2, 3.0]}\n      b: {type: string, default: \"\"}"),
		oneType("      a: {type: number, minimum: 1.50, enum: [2, 3.0]}\n      c: {type: string}"),
		strings.Replace(oneType("      a: {type: number, minimum: 1.50, enum: [2, 3.0]}\n      b: {type: string}"), "fields", "plural: x\n    fields", 1),
	}
	objects := []string{"{b: [1, x], a: {d: ~, c: 100}}", "{a: {c: 1e2, d: null}, b: [1.0, x]}"}
	if a, b := mustRead(t, field("{type: object, default: "+objects[0]+"}")), mustRead(t, field("{type: object, default: "+objects[1]+"}")); a.Fingerprint != b.Fingerprint {
		t.Errorf("the fingerprint differs for the defaults %q", objects)
	}
	for _, text := range same {
		if s := mustRead(t, text); s.Fingerprint != base.Fingerprint {
			t.Errorf("the fingerprint differs for\n%s", text)
		}
	}
	for _, text := range other {
		if s := mustRead(t, text); s.Fingerprint == base.Fingerprint {
			t.Errorf("the fingerprint is the same for\n%s", text)
		}
	}
	if len(base.Fingerprint) != 16 {
		t.Errorf("the fingerprint is %q", base.Fingerprint)
	}
}

// TestNameTable: names that differ in one place only are told apart, in a full table too.
func TestNameTable(t *testing.T) {
	var names []string
	for i := range maxTypes {
		names = append(names, "t"+strings.Repeat("a", i%8)+string(rune('a'+i/8))+"zz")
	}
	table := newNameTable(names)
	for i, name := range names {
		if got := table.find(name); got != i {
			t.Errorf("find(%q) is %d, want %d", name, got, i)
		}
		if got := table.find(name + "_"); got != -1 {
			t.Errorf("find(%q_) is %d", name, got)
		}
	}
}

func TestReadFile(t *testing.T) {
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	path := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(path, bytes.Repeat([]byte("a: b\n"), maxFileBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	var wrong *Error
	if _, err := ReadFile(path); !errors.As(err, &wrong) || wrong.File != path || len(wrong.Problems) != 1 {
		t.Errorf("error is %v", err)
	}
}

// TestProblemsAreSorted: all that is wrong is told at once, in the order of the lines, and an endless list is cut.
func TestProblemsAreSorted(t *testing.T) {
	_, err := Read("f.yaml", []byte("types:\n  a:\n    fields:\n      b: {type: string, references: x}\n      c: {type: text}\n  D: {}\n"))
	if got, want := err.Error(), `f.yaml:4: a.b: references "x", which is not a type of this file
f.yaml:5: a.c: type is "text", it must be one of string, number, integer, boolean, object, array
f.yaml:6: D: a type's name must be 1 to 32 of a-z 0-9 _, and begin with a letter`; got != want {
		t.Errorf("the error is\n%s\nwant\n%s", got, want)
	}
	var fields strings.Builder
	for i := range 24 {
		fields.WriteString("      f" + string(rune('a'+i)) + ": {type: text}\n")
	}
	_, err = Read("f.yaml", []byte(oneType(fields.String())))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxShownProblems+1 || lines[maxShownProblems] != "f.yaml: and 4 more" {
		t.Errorf("the error has %d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	var wrong *Error
	if !errors.As(err, &wrong) || !slices.IsSortedFunc(wrong.Problems, func(a, b Problem) int { return a.Line - b.Line }) {
		t.Error("the problems are not sorted")
	}
}

// TestEveryProblemHasALine: also where a type has another problem in the line that is told.
func TestEveryProblemHasALine(t *testing.T) {
	_, err := Read("f.yaml", []byte("types:\n  a: {}\n  a_:\n    plural: B\n"))
	if got, want := err.Error(), `f.yaml:3: a_: A is a name in the OpenAPI document for a too, use another name
f.yaml:4: a_: plural is "B", it must be 1 to 64 of a-z 0-9 _, and begin with a letter`; got != want {
		t.Errorf("the error is\n%s\nwant\n%s", got, want)
	}
}

// TestTutorial: the declarations and commands of the tutorial are right.
func TestTutorial(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "types.md"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string // blocks that declare types
	var commands []string
	block := ""
	for line := range strings.Lines(string(text) + "end\n") {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			if strings.HasPrefix(code, `{"type":`) {
				commands = append(commands, code)
			}
			block += code
			continue
		}
		if strings.TrimSpace(line) == "" && block != "" {
			block += "\n"
			continue
		}
		if strings.HasPrefix(block, "types:\n") || strings.HasPrefix(block, "# types.yaml\n") {
			files = append(files, block)
		}
		block = ""
	}
	if len(files) != 2 || len(commands) != 1 {
		t.Fatalf("%d declarations, %d commands", len(files), len(commands))
	}
	for _, file := range files {
		checkDocuments(t, mustRead(t, file))
	}
	clinic := mustRead(t, files[1])
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(commands[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := compile(t, clinic).Validate(document); err != nil {
		t.Errorf("the command is not valid: %v", err)
	}
	// The mistake that it shows is told as it says, and it is in that line.
	wrong := strings.Replace(files[1], "references: patient", "references: patients", 1)
	if _, err := Read("types.yaml", []byte(wrong)); err == nil || !strings.Contains(string(text), "    "+err.Error()+"\n") {
		t.Errorf("the mistake's error is %v", err)
	}
	// Every word, format and name that is taken is on the page.
	names := slices.Concat(typeWords, fieldWords, formatNames[1:], fieldTypeNames[1:])
	for name := range reservedFields {
		names = append(names, name)
	}
	for name := range reservedTypes {
		names = append(names, name)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("%s is not on the page", name)
		}
	}
}

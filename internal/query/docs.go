package query

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

//go:embed docs.html
var docsPage string

//go:embed docs.css
var docsStyle []byte

// document is the part of an OpenAPI document that the page shows.
type document struct {
	Info struct {
		Title, Version, Description string
	}
	Paths map[string]struct {
		Get *docOperation
	}
	Components struct {
		Schemas map[string]*docSchema
	}
}

type docOperation struct {
	OperationID string
	Summary     string
	Description string
	Parameters  []struct {
		Name, In, Description string
		Required              bool
		Schema                *docSchema
	}
	Responses map[string]struct {
		Description string
		Headers     map[string]struct{ Description string }
		Content     map[string]struct{ Schema *docSchema }
	}
}

type docSchema struct {
	Ref         string `json:"$ref"`
	Type        any
	Format      string
	Description string
	Default     any
	Enum        []string
	Examples    []any
	Minimum     *float64
	Maximum     *float64
	MaxLength   *int
	Items       *docSchema
	Required    []string
	Properties  map[string]*docSchema
}

// Example is the path with the examples of its parameters.
func (o *docOperation) Example(path string) string {
	for _, p := range o.Parameters {
		if p.In == "path" {
			path = strings.Replace(path, "{"+p.Name+"}", fmt.Sprint(p.Schema.Examples...), 1)
		}
	}
	return path
}

// Name is the name of the schema that this one refers to, or "".
func (s *docSchema) Name() string { return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:] }

// Kind describes a value's type in a few words.
func (s *docSchema) Kind() string {
	if s.Ref != "" {
		return s.Name()
	}
	kind := fmt.Sprint(s.Type)
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		kind = fmt.Sprint(list[0])
	}
	switch {
	case kind == "array" && s.Items != nil && s.Items.Type == nil && s.Items.Ref == "":
		kind = "list"
	case kind == "array" && s.Items != nil:
		kind = "list of " + s.Items.Kind()
	case s.Format == "date-time":
		kind = "time (RFC 3339)"
	case s.Format == "date", s.Format == "uuid", s.Format == "email":
		kind = s.Format
	case len(s.Enum) > 0:
		quoted := make([]string, len(s.Enum))
		for i, value := range s.Enum {
			quoted[i] = strconv.Quote(value)
		}
		kind += ", one of " + strings.Join(quoted, ", ")
	}
	if s.Minimum != nil && s.Maximum != nil {
		kind += fmt.Sprintf(", %v to %v", *s.Minimum, *s.Maximum)
	}
	if s.Default != nil {
		kind += fmt.Sprintf(", default %v", s.Default)
	}
	return kind
}

// renderDocs makes the documentation page from an OpenAPI document: all of it, so that it needs no script and nothing
// from elsewhere.
func renderDocs(openAPI []byte) ([]byte, error) {
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil {
		return nil, fmt.Errorf("read OpenAPI document: %w", err)
	}
	type operation struct {
		Path string
		*docOperation
	}
	var operations []operation
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		if get := d.Paths[path].Get; get != nil {
			operations = append(operations, operation{path, get})
		}
	}
	t, err := template.New("docs").Funcs(template.FuncMap{
		"paragraphs": func(s string) []string { return strings.Split(s, "\n\n") },
		"status": func(code string) string {
			var n int
			_, _ = fmt.Sscan(code, &n)
			return http.StatusText(n)
		},
		"has": func(list []string, s string) bool { return slices.Contains(list, s) },
	}).Parse(docsPage)
	if err != nil {
		return nil, fmt.Errorf("parse docs page: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, map[string]any{"Info": d.Info, "Operations": operations, "Schemas": d.Components.Schemas}); err != nil {
		return nil, fmt.Errorf("render docs page: %w", err)
	}
	return out.Bytes(), nil
}

package query

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"tributary/internal/table"
)

const apiDescription = `Reads what Tributary has written to its table: users and orders, each tenant's own.`

var operationDescriptions = map[string]string{}

// OpenAPI returns the API's description, as JSON and as YAML. It is the same for every configuration.
func (s *Server) OpenAPI() (asJSON, asYAML []byte, err error) {
	text, err := json.MarshalIndent(s.api.OpenAPI(), "", "  ")
	if err != nil {
		return nil, nil, err
	}
	yaml, err := s.api.OpenAPI().YAML()
	return append(text, '\n'), yaml, err
}

func (s *Server) addDocuments(m *router) {
	asJSON, asYAML, err := s.OpenAPI()
	if err != nil {
		panic(err)
	}
	serve := func(contentType string, text []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(text)
		}
	}
	m.HandleFunc("GET /openapi.json", serve("application/openapi+json", asJSON))
	m.HandleFunc("GET /openapi.yaml", serve("application/openapi+yaml", asYAML))
}

func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	switch {
	case strings.HasPrefix(name, "Page"):
		return strings.TrimPrefix(name, "Page") + "Page"
	case name == "ErrorModel":
		return "Problem"
	case name == "ErrorDetail":
		return "ProblemDetail"
	}
	return name
}

func listResponse[T any](r huma.Registry) *huma.Response {
	items := r.Schema(reflect.TypeFor[page[T]](), true, "")
	return &huma.Response{
		Description: "A page, or, with Accept: application/x-ndjson, an export of the whole list.",
		Content: map[string]*huma.MediaType{
			jsonType:   {Schema: items},
			ndjsonType: {Schema: &huma.Schema{Type: "string"}},
		},
	}
}

func describe(o *huma.OpenAPI) {
	_ = table.UserEntity
}

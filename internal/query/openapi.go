package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

const apiDescription = `Reads what Tributary has written to its table: users and orders, each tenant's own. Nothing can be changed here.

Every request but those for this description carries "Authorization: Bearer TOKEN", a token for the tenant that the path names; another tenant's path is answered 403, whether or not there is anything. A worker without authentication listens on loopback only and asks for no token.

Errors are problem documents (RFC 9457, application/problem+json). 429 and 503 say in Retry-After when to come back. Every answer has an X-Request-Id, the request's own where it sent one; the log has it too. HEAD is served wherever GET is. Ids in paths are percent-encoded once: a slash in an id is %2F. Parameters that are unknown, empty or given twice are refused.

Lists come in the order of the ids' bytes. A page may be short while more follows: go on while there is a next_cursor (the Link header with rel="next" has the whole address). An item that is there during the whole walk comes exactly once, whatever is written meanwhile.

Exports: with "Accept: application/x-ndjson" a list is sent whole, one JSON object a line, as long as it takes. The end of the body means that it is complete. Where the server has to stop before, the last line is {"next_cursor":…,"problem":…}: ask again with that cursor for the rest. Where the connection breaks instead, ask again with after= and the id of the last whole line.`

// operationDescriptions are by operation id.
var operationDescriptions = map[string]string{
	"get-user":         "Answers 404 where there is no such user, also where it was deleted.",
	"list-users":       "All users of the tenant, or those whose ids since and until select.",
	"get-order":        "Answers 404 where there is no such order, also where it was deleted.",
	"list-orders":      "All orders of the tenant, or those whose ids since and until select.",
	"list-user-orders": "Read through an index: an order that was written just now may be missing for a moment, and consistent=true is refused. A user without orders and a user that does not exist look the same: an empty list.",
}

// propertyDescriptions are by schema and property.
var propertyDescriptions = map[string]map[string]string{
	"User": {
		"tenant_id":  "The tenant whose user it is.",
		"user_id":    "The user's id, unique within the tenant.",
		"user_name":  "The user's name, as sent.",
		"user_email": "The user's address, as sent.",
		"version":    "The version that the upstream gave, where it gave one. Readers that make doubles of numbers round those beyond 2^53.",
		"attributes": "The upstream's own fields, as sent.",
	},
	"Order": {
		"tenant_id":    "The tenant whose order it is.",
		"order_id":     "The order's id, unique within the tenant.",
		"user_id":      "The user whose order it is.",
		"order_amount": "A decimal number of up to 38 digits, as text so that none is lost; without exponent and superfluous zeros.",
		"version":      "The version that the upstream gave, where it gave one. Readers that make doubles of numbers round those beyond 2^53.",
		"attributes":   "The upstream's own fields, as sent.",
	},
	"UserPage":  {"items": "The users of this page.", "next_cursor": "Where to go on. Absent at the end."},
	"OrderPage": {"items": "The orders of this page.", "next_cursor": "Where to go on. Absent at the end."},
}

// statusDescriptions say when an answer is given.
var statusDescriptions = map[string]string{
	"400": "A parameter can't be accepted: errors says which and why.",
	"401": "No token, or none that is good.",
	"403": "The token is not for this tenant.",
	"404": "There is no such thing.",
	"414": "The path and query are too long.",
	"415": "The request has a body.",
	"421": "A server without authentication was asked by another name than localhost.",
	"429": "This tenant has asked too often, has read too much, or has too much under way.",
	"431": "The headers are too long.",
	"500": "Something went wrong here; the log has it under the X-Request-Id.",
	"503": "Busy, throttled by DynamoDB, or shutting down.",
}

// user, order and page describe what is sent; it is written without them.
type user struct {
	TenantID   string          `json:"tenant_id"`
	UserID     string          `json:"user_id"`
	UserName   string          `json:"user_name"`
	UserEmail  string          `json:"user_email"`
	Version    int64           `json:"version,omitempty"`
	Attributes json.RawMessage `json:"attributes,omitempty"`
}

type order struct {
	TenantID    string          `json:"tenant_id"`
	OrderID     string          `json:"order_id"`
	UserID      string          `json:"user_id"`
	OrderAmount string          `json:"order_amount"`
	Version     int64           `json:"version,omitempty"`
	Attributes  json.RawMessage `json:"attributes,omitempty"`
}

type page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}

func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[page[user]]():
		return "UserPage"
	case reflect.TypeFor[page[order]]():
		return "OrderPage"
	case reflect.TypeFor[huma.ErrorModel]():
		return "Problem"
	case reflect.TypeFor[huma.ErrorDetail]():
		return "ProblemDetail"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

// itemResponse describes one item, which the handlers write themselves.
func itemResponse[T any](r huma.Registry) *huma.Response {
	return &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{jsonType: {Schema: r.Schema(reflect.TypeFor[T](), true, "")}}}
}

// listResponse describes a page or an export of items, which the handlers write themselves.
func listResponse[T any](r huma.Registry) *huma.Response {
	return &huma.Response{
		Description: "A page; or, with Accept: application/x-ndjson, the whole list, one item a line.",
		Content: map[string]*huma.MediaType{
			jsonType:   {Schema: r.Schema(reflect.TypeFor[page[T]](), true, "")},
			ndjsonType: {Schema: &huma.Schema{Type: huma.TypeString, Description: "One item a line. Where the export had to stop before the end, the last line is an ExportEnd."}},
		},
	}
}

// describe adds to huma's description what it can't tell from the types.
func describe(o *huma.OpenAPI) {
	schemas := o.Components.Schemas
	schemas.Schema(reflect.TypeFor[exportEnd](), true, "")
	for schema, properties := range propertyDescriptions {
		for property, text := range properties {
			schemas.Map()[schema].Properties[property].Description = text
		}
	}
	for _, schema := range []string{"User", "Order"} {
		s := schemas.Map()[schema]
		s.Properties["attributes"] = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: propertyDescriptions[schema]["attributes"]}
		s.Properties["version"].Minimum = new(float64(1))
	}
	for _, p := range []string{"UserPage", "OrderPage"} {
		schemas.Map()[p].Properties["items"].Nullable = false
	}
	text := &huma.Schema{Type: huma.TypeString}
	for _, item := range o.Paths {
		for status, r := range item.Get.Responses {
			if why, ok := statusDescriptions[status]; ok {
				r.Description = why
			}
			if r.Headers == nil {
				r.Headers = map[string]*huma.Header{}
			}
			r.Headers[requestIDHeader] = &huma.Header{Schema: text, Description: "The request's id, for questions about it.", Required: true}
			switch status {
			case "401":
				r.Headers["WWW-Authenticate"] = &huma.Header{Schema: text, Description: "How to authenticate (RFC 6750).", Required: true}
			case "429", "503":
				r.Headers["Retry-After"] = &huma.Header{Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: new(float64(1))}, Description: "Seconds after which to try again.", Required: true}
			}
		}
		// huma adds it, and problem.go makes it 400.
		delete(item.Get.Responses, "422")
	}
}

// OpenAPI returns the API's description, as JSON and as YAML. It is the same for every configuration.
func (s *Server) OpenAPI() (asJSON, asYAML []byte, err error) {
	text, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		return nil, nil, fmt.Errorf("encode OpenAPI document: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return nil, nil, fmt.Errorf("indent OpenAPI document: %w", err)
	}
	indented.WriteByte('\n')
	if asYAML, err = s.api.OpenAPI().YAML(); err != nil {
		return nil, nil, fmt.Errorf("encode OpenAPI document as YAML: %w", err)
	}
	return indented.Bytes(), asYAML, nil
}

// addDocuments adds the routes that describe the API. They need no token: they are the same everywhere.
func (s *Server) addDocuments(m *router) {
	asJSON, asYAML, err := s.OpenAPI()
	if err != nil {
		panic(err) // as much a mistake in the code as a bad pattern
	}
	page, err := renderDocs(asJSON)
	if err != nil {
		panic(err)
	}
	serve := func(contentType string, text []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
			_, _ = w.Write(text)
		}
	}
	m.HandleFunc("GET /openapi.json", serve("application/json", asJSON))
	m.HandleFunc("GET /openapi.yaml", serve("application/yaml", asYAML))
	m.HandleFunc("GET /docs", serve("text/html; charset=utf-8", page))
	m.HandleFunc("GET /docs.css", serve("text/css; charset=utf-8", docsStyle))
	m.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/docs")
		w.WriteHeader(http.StatusFound)
	})
}

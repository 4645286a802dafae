package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"tributary/internal/messages"
	"tributary/internal/schema"
)

// apiDescription has a place for what tenants have.
const apiDescription = `Reads what Tributary has written to its table: %s, each tenant's own. Nothing can be changed here.

Every request but those for this description carries "Authorization: Bearer TOKEN", a token for the tenant that the path names; another tenant's path is answered 403, whether or not there is anything. A worker without authentication listens on loopback only and asks for no token.

Errors are problem documents (RFC 9457, application/problem+json). 429 and 503 say in Retry-After when to come back. Every answer has an X-Request-Id, the request's own where it sent one; the log has it too. HEAD is served wherever GET is. Ids in paths are percent-encoded once: a slash in an id is %%2F. Parameters that are unknown, empty or given twice are refused.

Lists come in the order of the ids' bytes. A page may be short while more follows: go on while there is a next_cursor (the Link header with rel="next" has the whole address). An item that is there during the whole walk comes exactly once, whatever is written meanwhile.

Exports: with "Accept: application/x-ndjson" a list is sent whole, one JSON object a line, as long as it takes. The end of the body means that it is complete. Where the server has to stop before, the last line is {"next_cursor":…,"problem":…}: ask again with that cursor for the rest. Where the connection breaks instead, ask again with after= and the id of the last whole line.`

// statusDescriptions say when an answer is given.
var statusDescriptions = map[string]string{
	"400": "A parameter can't be accepted: errors says which and why.",
	"401": "No token, or none that is good.",
	"403": "The token is not for this tenant, or the tenant's reads are stopped.",
	"404": "There is no such thing.",
	"414": "The path and query are too long.",
	"415": "The request has a body.",
	"421": "A server without authentication was asked by another name than localhost.",
	"429": "This tenant has asked too often, has read too much, or has too much under way.",
	"431": "The headers are too long.",
	"500": "Something went wrong here; the log has it under the X-Request-Id.",
	"503": "Busy, throttled by DynamoDB, or shutting down.",
}

// refusals are the statuses that every operation may answer with beside 200 and 500.
var refusals = []int{400, 401, 403, 404, 414, 415, 429, 431, 503}

// dict is an object of the document. Its members are written in the order of their names.
type dict = map[string]any

func ref(schema string) dict { return dict{"$ref": "#/components/schemas/" + schema} }

func described(schema dict, text string) dict {
	out := dict{"description": text}
	for name, value := range schema {
		out[name] = value
	}
	return out
}

func text(description string) dict { return dict{"type": "string", "description": description} }

// record is the schema of an object with these members and no others.
func record(properties dict, required ...string) dict {
	out := dict{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// describe returns the OpenAPI document of the API with these types.
func describe(types *schema.Set) dict {
	paths := dict{}
	for _, route := range types.Routes() {
		paths[route.Path] = dict{"get": describeRoute(&route)}
	}
	schemas := types.OpenAPISchemas()
	schemas["Problem"] = problemSchema
	schemas["ProblemDetail"] = problemDetailSchema
	schemas["ExportEnd"] = record(dict{
		"next_cursor": text("Ask again with this cursor for the rest."),
		"problem":     described(ref("Problem"), "Why the export ends here."),
	}, "next_cursor", "problem")
	tags := make([]dict, len(types.Types))
	for i, t := range types.Types {
		tags[i] = dict{"name": t.Plural}
	}
	return dict{
		"openapi": "3.1.0",
		"info": dict{
			"title": "Tributary query API", "version": "1", "description": fmt.Sprintf(apiDescription, types.PluralList()),
			"license": dict{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"components": dict{
			"schemas": schemas,
			"securitySchemes": dict{"bearer": dict{
				"type": "http", "scheme": "bearer",
				"description": "A JWT of the configured issuer, or a static token made by `worker token`. Not asked for by a worker that has no authentication configured, which listens on loopback only.",
			}},
		},
		"paths":    paths,
		"security": []dict{{"bearer": []string{}}},
		"tags":     tags,
	}
}

var problemSchema = record(dict{
	"type": dict{"type": "string", "format": "uri", "default": "about:blank", "description": "A URI reference to human-readable documentation for the error.",
		"examples": []string{"https://example.com/errors/example"}},
	"title": dict{"type": "string", "description": "A short, human-readable summary of the problem type. This value should not change between occurrences of the error.",
		"examples": []string{"Bad Request"}},
	"status": dict{"type": "integer", "format": "int64", "description": "HTTP status code", "examples": []int{400}},
	"detail": dict{"type": "string", "description": "A human-readable explanation specific to this occurrence of the problem.",
		"examples": []string{"Property foo is required but is missing."}},
	"instance": dict{"type": "string", "format": "uri", "description": "A URI reference that identifies the specific occurrence of the problem.",
		"examples": []string{"https://example.com/error-log/abc123"}},
	"errors": dict{"type": []string{"array", "null"}, "items": ref("ProblemDetail"), "description": "Optional list of individual error details"},
})

var problemDetailSchema = record(dict{
	"location": text("Where the error occurred, e.g. 'body.items[3].tags' or 'path.thing-id'"),
	"message":  text("Error message text"),
	"value":    dict{"description": "The value at the given location"},
})

// describeRoute returns the operation of a route.
func describeRoute(route *schema.Route) dict {
	parameters := []dict{pathParameter(schema.TenantIDName, "The tenant. The bearer token must be for it.", dict{
		"maxLength": messages.MaxTenantIDBytes, "examples": []string{"tenantA"},
		"pattern":            `^([A-Za-z0-9:@=+-]|\.[A-Za-z0-9_:@=+-]|\.\.[A-Za-z0-9._:@=+-])[A-Za-z0-9._:@=+-]*$`,
		"patternDescription": "1 to 128 of A-Z a-z 0-9 . _ : @ = + -, not starting with _, and not . or ..",
	})}
	if named := namedIn(route); named != nil {
		parameters = append(parameters, pathParameter(named.ID, "The "+named.Name+", 1 to 256 bytes of UTF-8, percent-encoded (a slash is %2F).", dict{
			"maxLength": schema.MaxIDBytes, "examples": []string{named.ExampleID()},
			"pattern": `^[^#\x00-\x1f\x7f-\x9f]+$`, "patternDescription": "text without # and control characters",
		}))
	}
	for _, p := range params(route.Kind) {
		parameters = append(parameters, dict{"name": p.name, "in": "query", "explode": false, "description": p.doc, "schema": described(p.schema, p.doc)})
	}
	ok := dict{"description": "OK", "content": dict{jsonType: dict{"schema": ref(route.Type.SchemaName())}}, "headers": dict{}}
	if route.Kind != schema.GetOne {
		ok = dict{
			"description": "A page; or, with Accept: application/x-ndjson, the whole list, one item a line.",
			"content": dict{
				jsonType:   dict{"schema": ref(route.Type.PageName())},
				ndjsonType: dict{"schema": text("One item a line. Where the export had to stop before the end, the last line is an ExportEnd.")},
			},
			"headers": dict{"Link": dict{"schema": text(`The next page, where there is one: <…>; rel="next".`)}},
		}
	}
	responses := dict{"200": ok}
	for _, status := range append(slices.Clone(refusals), http.StatusInternalServerError) {
		responses[strconv.Itoa(status)] = refusal(status)
	}
	ok["headers"].(dict)[requestIDHeader] = header("The request's id, for questions about it.", dict{"type": "string"})
	return dict{
		"operationId": route.OperationID, "summary": route.Summary, "description": route.Description, "tags": []string{route.Tag},
		"parameters": parameters, "responses": responses,
	}
}

// namedIn returns the type whose id is in a route's path, or nil.
func namedIn(route *schema.Route) *schema.Type {
	switch route.Kind {
	case schema.GetOne:
		return route.Type
	case schema.ByReference:
		return route.Reference.To
	}
	return nil
}

func pathParameter(name, doc string, schema dict) dict {
	schema["type"], schema["minLength"], schema["description"] = "string", 1, doc
	return dict{"name": name, "in": "path", "required": true, "description": doc, "schema": schema}
}

func header(doc string, schema dict) dict {
	return dict{"description": doc, "required": true, "schema": schema}
}

func refusal(status int) dict {
	code := strconv.Itoa(status)
	headers := dict{requestIDHeader: header("The request's id, for questions about it.", dict{"type": "string"})}
	switch status {
	case http.StatusUnauthorized:
		headers["WWW-Authenticate"] = header("How to authenticate (RFC 6750).", dict{"type": "string"})
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		headers["Retry-After"] = header("Seconds after which to try again.", dict{"type": "integer", "minimum": 1})
	}
	return dict{"description": statusDescriptions[code], "content": dict{"application/problem+json": dict{"schema": ref("Problem")}}, "headers": headers}
}

// OpenAPI returns the description of the API with these types, as JSON and as YAML. It is the same for every configuration.
func OpenAPI(types *schema.Set) (asJSON, asYAML []byte, err error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	document := describe(types)
	if err := e.Encode(document); err != nil {
		return nil, nil, fmt.Errorf("encode OpenAPI document: %w", err)
	}
	var lines bytes.Buffer
	y := yaml.NewEncoder(&lines)
	y.SetIndent(2)
	if err := errors.Join(y.Encode(document), y.Close()); err != nil {
		return nil, nil, fmt.Errorf("encode OpenAPI document as YAML: %w", err)
	}
	return out.Bytes(), lines.Bytes(), nil
}

// addDocuments adds the routes that describe the API. They need no token: they are the same everywhere.
func (s *Server) addDocuments(m *router) {
	asJSON, asYAML, err := OpenAPI(s.types)
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
	m.get("/openapi.json", serve("application/json", asJSON))
	m.get("/openapi.yaml", serve("application/yaml", asYAML))
	m.get("/docs", serve("text/html; charset=utf-8", page))
	m.get("/docs.css", serve("text/css; charset=utf-8", docsStyle))
	m.get("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/docs")
		w.WriteHeader(http.StatusFound)
	})
}

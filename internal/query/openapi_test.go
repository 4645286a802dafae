package query_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tributary/internal/query"
	"tributary/internal/schema"
)

//go:generate go test -run=^TestOpenAPIDocumentsAreThoseInDocs$ -update .

var update = flag.Bool("update", false, "write docs/openapi.json and docs/openapi.yaml anew")

func TestOpenAPIDocumentsAreThoseInDocs(t *testing.T) {
	asJSON, asYAML, err := query.OpenAPI(schema.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	base := serve(t, defaults(), query.Deps{DynamoDB: newFake(t)})
	for name, text := range map[string]string{"openapi.json": string(asJSON), "openapi.yaml": string(asYAML)} {
		path := filepath.Join("..", "..", "docs", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(kept) != text {
			t.Errorf("docs/%s is not what the code describes: run go generate ./internal/query", name)
		}
		if a := get(t, base+"/"+name); a.status != 200 || a.body != text {
			t.Errorf("/%s serves something else than docs/%s", name, name)
		}
	}
}

func TestDocsPageNeedsNothingFromElsewhere(t *testing.T) {
	base := serve(t, defaults(), query.Deps{DynamoDB: newFake(t)})
	page := get(t, base+"/docs")
	if page.status != 200 || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
		t.Fatalf("/docs: %d %s", page.status, page.header.Get("Content-Type"))
	}
	for _, want := range []string{"/v1/tenants/{tenant_id}/users/{user_id}/orders", "next_cursor", "id=\"schema-Problem\""} {
		if !strings.Contains(page.body, want) {
			t.Errorf("/docs does not show %s", want)
		}
	}
	for _, foreign := range []string{"<script", "http://", "https://", "url("} {
		if strings.Contains(page.body, foreign) {
			t.Errorf("/docs has %s", foreign)
		}
	}
	if style := get(t, base+"/docs.css"); style.status != 200 || strings.Contains(style.body, "url(") || strings.Contains(style.body, "@import") {
		t.Errorf("/docs.css: %d", style.status)
	}
	if root := get(t, base+"/"); root.status != 302 || root.header.Get("Location") != "/docs" {
		t.Errorf("/: %d to %s", root.status, root.header.Get("Location"))
	}
}

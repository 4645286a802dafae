package messages

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"tributary/internal/schema"
)

var reasons = []Reason{ReasonMalformed, ReasonEmpty, ReasonNotACommand, ReasonUnknownType, ReasonUnknownField, ReasonDuplicateField, ReasonMissingField,
	ReasonInvalidField, ReasonTooLarge, ReasonTenantMismatch, ReasonVersionRequired, ReasonRefused, ReasonTenantSuspended}

type asyncMessage struct {
	Payload  map[string]any
	Headers  map[string]any
	Examples []struct {
		Name    string
		Headers map[string]string
		Payload any
	}
}

// TestAsyncAPI: every example of the document is a body that both the schema and the code accept, and the reasons are those
// of the code.
func TestAsyncAPI(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		AsyncAPI   string `yaml:"asyncapi"`
		Components struct {
			Messages struct {
				Command    asyncMessage
				DeadLetter asyncMessage `yaml:"deadLetter"`
			}
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	if document.AsyncAPI != "3.0.0" {
		t.Errorf("it is AsyncAPI %q", document.AsyncAPI)
	}
	command := document.Components.Messages.Command
	if command.Payload["$ref"] != "./command.schema.json" {
		t.Errorf("the payload is %v", command.Payload)
	}
	published := compileSchema(t)
	kinds := map[string]bool{}
	for _, example := range command.Examples {
		body, err := json.Marshal(example.Payload)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		if err := published.Validate(value); err != nil {
			t.Errorf("example %s is not valid by the schema: %v", example.Name, err)
		}
		decoded, bad := Decode(types, nil, string(body), &Attributes{TenantID: example.Headers["tenant_id"]})
		if err := firstError(decoded, bad); err != nil {
			t.Errorf("example %s is refused: %v", example.Name, err)
		}
		for _, d := range decoded {
			kinds[d.Command.Name()] = true
		}
	}
	if len(kinds) != len(types.CommandNames()) {
		t.Errorf("the examples have only the kinds %v", kinds)
	}

	headers, err := json.Marshal(document.Components.Messages.DeadLetter.Headers)
	if err != nil {
		t.Fatal(err)
	}
	var letter struct {
		Properties struct {
			Reason struct{ Enum []Reason }
		}
	}
	if err := json.Unmarshal(headers, &letter); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(letter.Properties.Reason.Enum, reasons) {
		t.Errorf("the document's reasons are %q", letter.Properties.Reason.Enum)
	}
}

// TestReadme: the page for people names every kind, field and reason.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := append(types.CommandNames(), schema.TypeName, schema.TenantIDName, schema.VersionName, schema.AttributesName)
	for _, t := range types.Types {
		names = append(names, t.ID)
		for _, f := range t.Fields {
			names = append(names, f.Name)
		}
	}
	for _, r := range reasons {
		names = append(names, string(r))
	}
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("%s is not there", name)
		}
	}
}

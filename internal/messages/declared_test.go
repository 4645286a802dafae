package messages

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tributary/internal/schema"
	"tributary/test/support/declarations"
)

// odd are values that are wrong for most fields.
var odd = []string{"null", "true", "0", "-1", "1.5", "1e400", `""`, `"x"`, "[]", "{}", "[1,{}]", `{"a":{"":1}}`, `{"a":null}`, `"2026-11-24"`}

// TestDecodeAgreesWithTheGeneratedSchema: of random declarations, what the generated schema refuses Decode refuses, and the
// other way round.
func TestDecodeAgreesWithTheGeneratedSchema(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	accepted, refused := 0, 0
	for range 20 {
		text := declarations.Random(r, 1+r.IntN(4))
		declared, err := schema.Read("types.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		generated := compile(t, declared)
		for range 100 {
			typ := declared.Types[r.IntN(len(declared.Types))]
			members := []string{`"type":"` + typ.Put + `"`, `"tenant_id":"t"`, `"` + typ.ID + `":"i"`}
			for _, f := range typ.Fields {
				switch {
				case r.IntN(30) == 0:
					members = append(members, `"`+f.Name+`":`+odd[r.IntN(len(odd))])
				case f.Needed() || r.IntN(3) > 0:
					members = append(members, string(f.AppendMember(nil, f.Sample(r))[1:]))
				}
			}
			switch r.IntN(20) {
			case 0:
				members = append(members, `"unknown":1`)
			case 1:
				members = append(members, `"attributes":`+odd[r.IntN(len(odd))])
			case 2:
				members = append(members, `"version":`+odd[r.IntN(len(odd))])
			case 3:
				members[r.IntN(len(members))] = `"x":0`
			case 4:
				members = []string{`"type":"` + typ.Delete + `"`, `"tenant_id":"t"`, `"` + typ.ID + `":"i"`, members[len(members)-1]}
			}
			r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			body := "{" + strings.Join(members, ",") + "}"
			decoded, whole := Decode(declared, nil, body, nil)
			wrong := firstError(decoded, whole)
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if bySchema := generated.Validate(value); (wrong == nil) != (bySchema == nil) && !sameName(members) {
				t.Fatalf("Decode says %v, the schema %v, of\n%s\n%s", wrong, bySchema, body, text)
			}
			if wrong == nil {
				accepted++
			} else {
				refused++
				checkDetail(t, wrong)
			}
		}
	}
	if accepted < 300 || refused < 300 {
		t.Errorf("%d accepted and %d refused", accepted, refused)
	}
}

// sameName says whether a member is there twice, which a schema can't see.
func sameName(members []string) bool {
	seen := map[string]bool{}
	for _, m := range members {
		name, _, _ := strings.Cut(m, ":")
		if seen[name] {
			return true
		}
		seen[name] = true
	}
	return false
}

func compile(t *testing.T, declared *schema.Set) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(declared.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("command.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("command.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDecodeTypeAnywhere: a command means the same wherever its type stands.
func TestDecodeTypeAnywhere(t *testing.T) {
	text := with(with(order, `"version":7`), `"attributes":{"a":[{}]}`)
	want := decodeOne(t, text, nil).Command
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatal(err)
	}
	for range 50 { // a map's order is another each time
		var b strings.Builder
		for name, value := range members {
			b.WriteString(`,"` + name + `":` + string(value))
		}
		body := "{" + b.String()[1:] + "}"
		if got := decodeOne(t, "["+body+"]", nil); got.Command != want || got.Text != body {
			t.Fatalf("%s reads as %+v, want %+v", body, got, want)
		}
	}
	for body, reason := range map[string]Reason{
		`{"user_id":5,"tenant_id":"t","type":"put_user","user_name":"n","user_email":"e"}`: ReasonInvalidField,
		`{"x":1,"tenant_id":"t","type":"put_user"}`:                                        ReasonUnknownField,
		`{"tenant_id":"t","tenant_id":"u","type":"delete_user","user_id":"u"}`:             ReasonDuplicateField,
		`{"type":"delete_user","type":"delete_user","tenant_id":"t","user_id":"u"}`:        ReasonDuplicateField,
		`{"tenant_id":"t","type":"delete_user","type":"put_x","user_id":"u"}`:              ReasonDuplicateField,
		`{"tenant_id":"t","type":"put_x","type":"put_user"}`:                               ReasonUnknownType,
		`{"type":7,"tenant_id":"t"}`:                                                       ReasonInvalidField,
	} {
		decoded, err := Decode(types, nil, body, nil)
		if got := firstError(decoded, err); got == nil || got.Reason != reason {
			t.Errorf("%s: %v, want %s", body, got, reason)
		} else if decoded[0].Command.TenantID != "t" {
			t.Errorf("%s: its tenant is lost", body)
		}
	}
}

// TestDecodeDefaults: a field that is absent or null has its default, also in the item's size.
func TestDecodeDefaults(t *testing.T) {
	declared, err := schema.Read("types.yaml", []byte(`types:
  device:
    fields:
      state: {type: string, enum: [new, old], default: new, required: true}
      ports: {type: integer}
`))
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"type":"put_device","tenant_id":"t","device_id":"d"`
	full, err2 := Decode(declared, nil, head+`,"state":"new"}`, nil)
	if err := firstError(full, err2); err != nil {
		t.Fatal(err)
	}
	for _, rest := range []string{`}`, `,"state":null}`, `,"ports":null}`} {
		got, err := Decode(declared, nil, head+rest, nil)
		if err := firstError(got, err); err != nil || got[0].Command != full[0].Command {
			t.Errorf("%s reads as %+v, %v", rest, got, err)
		}
	}
}

package table

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/base/decimal"
	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/test/support/ddbjson"
	"tributary/test/support/declarations"
)

// randomCommand returns the body of a put with values that its fields can have.
func randomCommand(r *rand.Rand, t *schema.Type) string {
	c := messages.Command{Type: t, TenantID: "tenant", ID: "an id \"é\""}
	for position, f := range t.Fields {
		if f.Needed() || r.IntN(3) > 0 {
			c.Values.Set(position, f.Sample(r))
		}
	}
	if r.IntN(2) == 0 {
		c.Version = 1 + r.Int64N(1<<60)
	}
	if r.IntN(2) == 0 {
		c.Attributes = `{"a":[1,{"b":"c"},null,true],"n":-12.50}`
	}
	return string(messages.Append(nil, &c))
}

func decodeOf(t *testing.T, declared *schema.Set, text string) *messages.Command {
	t.Helper()
	decoded, err := messages.Decode(declared, nil, text, nil)
	if err != nil || len(decoded) != 1 || decoded[0].Err != nil {
		t.Fatalf("%s decodes to %v, %v", text, decoded, err)
	}
	return &decoded[0].Command
}

// TestDeclaredTypes: commands of random declarations are encoded and decoded, become items, and are read back, equal.
func TestDeclaredTypes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 30 {
		text := declarations.Random(r, 1+r.IntN(9))
		declared, err := schema.Read("types.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		attributeTypes := AttributeTypes(declared)
		for _, typ := range declared.Types {
			for range 20 {
				body := randomCommand(r, typ)
				c := decodeOf(t, declared, body)
				if again := decodeOf(t, declared, string(messages.Append(nil, c))); !reflect.DeepEqual(plain(Item(again)), plain(Item(c))) || again.ItemBytes() != c.ItemBytes() {
					t.Fatalf("%s was encoded as %s", body, messages.Append(nil, c))
				}
				kept := c.ItemBytes()
				if err := c.Validate(); err != nil || c.ItemBytes() != kept {
					t.Fatalf("%s takes %d bytes as Decode says, %d as Validate does: %v", body, kept, c.ItemBytes(), err)
				}
				item := Item(c)
				if got := fromJSON(t, AppendItem(nil, c)); !reflect.DeepEqual(got, item) {
					t.Fatalf("%s: AppendItem %v and Item %v differ", body, got, item)
				}
				if size := itemSize(item); size != kept {
					t.Fatalf("%s takes %d bytes, its attributes %d", body, kept, size)
				}
				for name, v := range item {
					if !allows(attributeTypes[name], v) {
						t.Fatalf("%s of %s is %T, AttributeTypes has %v", name, body, v, attributeTypes[name])
					}
				}
				shown := read(t, declared, item)
				if back := decodeOf(t, declared, `{"type":"`+typ.Put+`",`+shown[1:]); !reflect.DeepEqual(plain(Item(back)), plain(item)) {
					t.Fatalf("%s was written as %v and is shown as %s", body, item, shown)
				}
				gone := messages.Delete(typ, "tenant", "id")
				if again := decodeOf(t, declared, string(messages.Append(nil, &gone))); KeyOf(again) != KeyOf(&gone) || !again.Delete {
					t.Fatalf("%+v reads as %+v", gone, again)
				}
			}
		}
	}
}

// read returns what the query API shows of an item.
func read(t *testing.T, declared *schema.Set, item Attributes) string {
	t.Helper()
	s := rawjson.New(ddbjson.Item(item))
	stored := NewStored(declared)
	stored.Read(&s)
	key, err := stored.Key()
	if err != nil || s.End() != nil {
		t.Fatal(err, s.Err())
	}
	shown, unreadable := stored.AppendShown(nil, key)
	if len(unreadable) > 0 || !json.Valid(shown) {
		t.Fatalf("%v is shown as %s, unreadable %v", item, shown, unreadable)
	}
	return string(shown)
}

// plain returns an item whose numbers are in the one form in which equal ones are equal.
func plain(item Attributes) Attributes {
	out := Attributes{}
	for name, v := range item {
		out[name] = plainValue(v)
	}
	return out
}

func plainValue(v types.AttributeValue) types.AttributeValue {
	switch v := v.(type) {
	case *types.AttributeValueMemberN:
		b, _ := decimal.AppendPlain(nil, v.Value)
		return n(string(b))
	case *types.AttributeValueMemberM:
		return &types.AttributeValueMemberM{Value: plain(v.Value)}
	case *types.AttributeValueMemberL:
		list := make([]types.AttributeValue, len(v.Value))
		for i := range v.Value {
			list[i] = plainValue(v.Value[i])
		}
		return &types.AttributeValueMemberL{Value: list}
	}
	return v
}

func allows(kinds []string, v types.AttributeValue) bool {
	kind := ""
	switch v.(type) {
	case *types.AttributeValueMemberS:
		kind = "S"
	case *types.AttributeValueMemberN:
		kind = "N"
	case *types.AttributeValueMemberBOOL:
		kind = "BOOL"
	case *types.AttributeValueMemberM:
		kind = "M"
	case *types.AttributeValueMemberL:
		kind = "L"
	}
	for _, k := range kinds {
		if k == kind {
			return true
		}
	}
	return false
}

// TestReadDeclared: what is absent has its default, what is not of the field's type is named, and fields that need not be there
// are left out.
func TestReadDeclared(t *testing.T) {
	declared, err := schema.Read("types.yaml", []byte(`types:
  device:
    fields:
      state: {type: string, enum: [new, old], default: new}
      watts: {type: number, required: true}
      ports: {type: integer}
      on:    {type: boolean, default: false}
      tags:  {type: array}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		item       Attributes
		want       string
		unreadable []string
	}{
		"nothing": {Attributes{}, `"state":"new","watts":"","on":false`, nil},
		"all": {Attributes{"state": s("old"), "watts": n("1.50"), "ports": n("7.0"), "on": &types.AttributeValueMemberBOOL{Value: true},
			"tags": &types.AttributeValueMemberL{Value: []types.AttributeValue{s("a"), n("1")}}}, `"state":"old","watts":"1.5","ports":7,"on":true,"tags":["a",1]`, nil},
		"of other types": {Attributes{"state": &types.AttributeValueMemberBOOL{}, "ports": s("7"), "on": n("1"), "tags": s("a")},
			`"state":"new","watts":"","on":false`, []string{"state", "ports", "on", "tags"}},
		"an integer that is not one": {Attributes{"ports": n("1.5")}, `"state":"new","watts":"","on":false`, []string{"ports"}},
		"NULL":                       {Attributes{"ports": &types.AttributeValueMemberNULL{Value: true}}, `"state":"new","watts":"","on":false`, nil},
	} {
		test.item["PK"], test.item["SK"] = s("tenant#t"), s("device#d")
		scan := rawjson.New(ddbjson.Item(test.item))
		stored := NewStored(declared)
		stored.Read(&scan)
		key, err := stored.Key()
		if err != nil {
			t.Fatal(err)
		}
		got, unreadable := stored.AppendShown(nil, key)
		if want := `{"tenant_id":"t","device_id":"d",` + test.want + "}"; string(got) != want || !reflect.DeepEqual(unreadable, test.unreadable) {
			t.Errorf("%s is shown as %s, unreadable %v; want %s", name, got, unreadable, want)
		}
	}
}

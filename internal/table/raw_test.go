package table

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/test/support/ddbjson"
)

// TestAppendRaw: every type of value is written as a library's encoder would.
func TestAppendRaw(t *testing.T) {
	item := Attributes{
		"PK": s("tenant#t"), "quote\"é\n": s("a\"\\\u2028\x01"), "n": n("-1.50E+7"), "b": &types.AttributeValueMemberB{Value: []byte{0xff, 0}},
		"t": &types.AttributeValueMemberBOOL{Value: true}, "f": &types.AttributeValueMemberBOOL{}, "nul": &types.AttributeValueMemberNULL{Value: true},
		"ss": &types.AttributeValueMemberSS{Value: []string{"p", "q\""}}, "ns": &types.AttributeValueMemberNS{Value: []string{"1", "2"}},
		"bs": &types.AttributeValueMemberBS{Value: [][]byte{{1}, {2, 3}}},
		"l":  &types.AttributeValueMemberL{Value: []types.AttributeValue{n("1"), &types.AttributeValueMemberM{Value: Attributes{"x": s("y")}}}},
		"e":  &types.AttributeValueMemberM{}, "e2": &types.AttributeValueMemberL{Value: []types.AttributeValue{}},
	}
	var got, want any
	text := AppendRaw(nil, item)
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if err := json.Unmarshal([]byte(ddbjson.Item(item)), &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %s, want %s", text, ddbjson.Item(item))
	}
}

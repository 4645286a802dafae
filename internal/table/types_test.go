package table

import (
	"encoding/json"
	"testing"
	"time"

	"tributary/internal/messages"
)

func TestAttributeTypesAreThoseOfItems(t *testing.T) {
	seen := map[string]bool{}
	for _, item := range [][]byte{
		AppendItem(nil, &messages.Command{Kind: messages.PutUser, TenantID: "t", UserID: "u", UserName: "n", UserEmail: "e", Version: 1, Attributes: `{"a":1}`}),
		AppendItem(nil, &messages.Command{Kind: messages.PutOrder, TenantID: "t", OrderID: "o", UserID: "u", OrderAmount: "1"}),
		AppendTombstone(nil, &messages.Command{Kind: messages.DeleteUser, TenantID: "t", UserID: "u", Version: 1}, time.Unix(1, 0)),
	} {
		var attributes map[string]map[string]any
		if err := json.Unmarshal(item, &attributes); err != nil {
			t.Fatal(err)
		}
		for name, value := range attributes {
			seen[name] = true
			if _, ok := value[AttributeTypes[name]]; !ok {
				t.Errorf("%s is %v, AttributeTypes has %q", name, value, AttributeTypes[name])
			}
		}
	}
	for name := range AttributeTypes {
		if !seen[name] {
			t.Errorf("no item has %s", name)
		}
	}
}

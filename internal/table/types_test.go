package table

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tributary/test/support/commands"
)

func TestAttributeTypesAreThoseOfItems(t *testing.T) {
	user, order := commands.Version(commands.PutUser("t", "u", "n", "e"), 1), commands.PutOrder("t", "o", "u", "1")
	user.Attributes = `{"a":1}`
	gone := commands.Version(commands.DeleteUser("t", "u"), 1)
	types := AttributeTypes(commands.Types)
	seen := map[string]bool{}
	for _, item := range [][]byte{
		AppendItem(nil, &user), AppendItem(nil, &order), AppendTombstone(nil, &gone, time.Unix(1, 0)),
	} {
		var attributes map[string]map[string]any
		if err := json.Unmarshal(item, &attributes); err != nil {
			t.Fatal(err)
		}
		for name, value := range attributes {
			seen[name] = true
			if _, ok := value[strings.Join(types[name], ", ")]; !ok {
				t.Errorf("%s is %v, AttributeTypes has %q", name, value, types[name])
			}
		}
	}
	for name := range types {
		if !seen[name] {
			t.Errorf("no item has %s", name)
		}
	}
}

package dynamo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// anyValue makes up a value of at most so many levels.
func anyValue(r *rand.Rand, levels int) value {
	texts := func() []string {
		set := map[string]bool{}
		for range 1 + r.IntN(3) {
			set[fmt.Sprint(r.IntN(50))] = true
		}
		var out []string
		for s := range set {
			out = append(out, s)
		}
		return out
	}
	kinds := kinds
	if levels == 0 {
		kinds = []string{"S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS"}
	}
	v := value{kind: kinds[r.IntN(len(kinds))]}
	switch v.kind {
	case "S", "B":
		v.text = strings.Repeat("é\"\n", r.IntN(100))
	case "N":
		v.text = fmt.Sprintf("%d.5", r.IntN(1_000_000)-500_000)
	case "BOOL":
		v.flag = r.IntN(2) == 0
	case "NULL":
		v.flag = true
	case "L":
		for range r.IntN(4) {
			v.list = append(v.list, anyValue(r, levels-1))
		}
	case "M":
		v.m = anyAttributes(r, r.IntN(4), levels-1)
	default:
		v.set = texts()
	}
	return v
}

func anyAttributes(r *rand.Rand, n, levels int) map[string]value {
	m := make(map[string]value)
	for i := range n {
		m[fmt.Sprintf("name%d", i*r.IntN(1000))] = anyValue(r, levels)
	}
	return m
}

// An item is the same whichever way it went: through its encoding, and through DynamoDB's JSON.
func TestItemsSurviveTheirEncodings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	for range 2000 {
		want := anyAttributes(r, r.IntN(40), 3)
		size := 0
		for name, v := range want {
			size += len(name) + v.size()
		}
		it := encode(want)
		if got := it.decode(); !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded: %v, want %v", got, want)
		}
		text, err := json.Marshal(it)
		if err != nil {
			t.Fatal(err)
		}
		var again item
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if again != it || it.size() != size || it.count() != len(want) {
			t.Fatalf("%s: read again as %v; size %d, want %d", text, again.decode(), it.size(), size)
		}
		half := it.only(func(name string) bool { return len(name)%2 == 0 })
		for name, v := range want {
			got, ok := half.get(name)
			if ok != (len(name)%2 == 0) || ok && !reflect.DeepEqual(got, v) {
				t.Fatalf("%s of what was chosen: %v, %v, want %v", name, got, ok, v)
			}
			if !ok {
				size -= len(name) + v.size()
			}
		}
		if half.size() != size {
			t.Fatalf("size %d of what was chosen, want %d", half.size(), size)
		}
	}
}

func TestRefusedJSON(t *testing.T) {
	many := "{"
	for i := range 20 {
		many += fmt.Sprintf(`"a%d":{"NULL":true},`, i)
	}
	for text, want := range map[string]string{
		`{"a":{"S":"x"},"a":{"S":"y"}}`: "SerializationException",
		many + `"a3":{"NULL":true}}`:    "SerializationException",
		many + `"b":{"NULL":true}}`:     "",
		"{\"a\":{\"S\":\"\xff\"}}":      "SerializationException",
		`{"a":{"S":"\ud800"}}`:          "SerializationException",
		`{"a":{"S":1}}`:                 "SerializationException",
		`{"a":{"N":1}}`:                 "SerializationException",
		`{"a":{"B":"?"}}`:               "SerializationException",
		`{"a":[]}`:                      "SerializationException",
		`{"a":{"S":"x"}`:                "SerializationException",
		`{"a":{}}`:                      "ValidationException",
		`{"a":{"S":null}}`:              "ValidationException",
		`{"a":{"X":"x"}}`:               "ValidationException",
		`{"a":{"S":"x","N":"1"}}`:       "ValidationException",
		`{"a":{"S":"x","N":null}}`:      "",
		`{"a":{"NULL":false}}`:          "ValidationException",
		`{"a":{"SS":[]}}`:               "ValidationException",
		`{"a":{"NS":["1","1.0"]}}`:      "ValidationException",
		`{"":{"S":"x"}}`:                "ValidationException",
		`{"a":{"M":{"":{"S":"x"}}}}`:    "ValidationException",
	} {
		var it item
		err := json.Unmarshal([]byte(text), &it)
		got := ""
		if err != nil {
			got, _, _ = strings.Cut(asAPIError(err).Error(), ":")
		}
		if got != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

package schema

import (
	"encoding/json"
	"strings"

	"tributary/internal/base/decimal"
)

// plain returns a valid value in the form that all equal values have, which is how answers show it: numbers without exponents and
// superfluous zeros, also inside, and an object's members in the order of their names.
func (t FieldType) plain(text string) string {
	switch t {
	case Number, Integer:
		b, _ := decimal.AppendPlain(nil, text)
		return string(b)
	case Object, Array:
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var value any
		if err := d.Decode(&value); err != nil {
			return text // no valid value
		}
		b, _ := json.Marshal(plainNumbers(value)) // it was JSON
		return string(b)
	}
	return text
}

// plainNumbers makes the numbers in a decoded value plain, in place.
func plainNumbers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = plainNumbers(member)
		}
	case []any:
		for i, element := range v {
			v[i] = plainNumbers(element)
		}
	case json.Number:
		b, _ := decimal.AppendPlain(nil, string(v))
		return json.Number(b)
	}
	return value
}

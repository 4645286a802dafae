// Package declarations has declarations of types for tests: random ones, and pairs of an old and a new one.
package declarations

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	maxFields     = 24
	maxReferences = 16
)

var typeNames = []string{"site", "device", "customer", "order_line", "visit", "invoice", "a", "box"}

var (
	fieldTypes = []string{"string", "number", "integer", "boolean", "object", "array"}
	formats    = []string{"date-time", "date", "uuid", "email"}
)

// Random returns a right declaration with so many types, at most 9, as text. The last is called thing. Types have fields of all
// types and limits, and refer to each other, in circles too.
func Random(r *rand.Rand, types int) string {
	names := append(append([]string(nil), typeNames[:types-1]...), "thing")
	references := 0
	var b strings.Builder
	b.WriteString("types:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  %s:\n", name)
		if name == "box" {
			b.WriteString("    plural: boxes\n")
		}
		b.WriteString("    fields:\n")
		left := maxFields
		for _, other := range names {
			if other == name || references == maxReferences || r.IntN(3) > 0 {
				continue
			}
			references++
			left--
			fmt.Fprintf(&b, "      %s_id: {type: string, references: %s%s}\n", other, other, required(r))
		}
		for i := range 1 + r.IntN(left) {
			fmt.Fprintf(&b, "      f%d: {%s%s}\n", i, field(r), required(r))
		}
	}
	return b.String()
}

func required(r *rand.Rand) string {
	if r.IntN(3) == 0 {
		return ", required: true"
	}
	return ""
}

// field returns the words of a field, but for required.
func field(r *rand.Rand) string {
	kind := fieldTypes[r.IntN(len(fieldTypes))]
	words := []string{"type: " + kind}
	maybe := func(n int, format string, args ...any) {
		if r.IntN(n) == 0 {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	switch kind {
	case "string":
		switch r.IntN(4) {
		case 0:
			words = append(words, "format: "+formats[r.IntN(len(formats))])
		case 1:
			words = append(words, "enum: [a, bb, \"\", é]")
			maybe(3, "default: bb")
		case 2:
			low := r.IntN(4)
			words = append(words, fmt.Sprintf("minLength: %d", low))
			maybe(2, "maxLength: %d", low+r.IntN(4))
		default:
			maybe(3, "default: \"\"")
		}
	case "number", "integer":
		switch r.IntN(3) {
		case 0:
			words = append(words, "enum: [1, 2, -3e1]")
			maybe(3, "default: 2.0")
		case 1:
			low := r.IntN(20) - 10
			words = append(words, fmt.Sprintf("minimum: %d", low))
			maybe(2, "maximum: %d.5", max(1, low+r.IntN(10)))
		default:
			maybe(3, "default: 0")
		}
	case "boolean":
		maybe(4, "enum: [true]")
		maybe(4, "default: true")
	case "object":
		maybe(4, "default: {a: [1]}")
	case "array":
		maybe(4, "default: [{}]")
	}
	return strings.Join(words, ", ")
}

package schema

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"tributary/internal/base/decimal"
)

// Example returns a value that the field can have, the same one each time.
func (f *Field) Example() string {
	var candidates []string
	switch {
	case len(f.Enum) > 0:
		return f.Enum[0]
	case f.HasDefault:
		return f.Default
	case f.Type.numeric():
		candidates = []string{"1", "0", f.Minimum, f.Maximum}
	case f.Type == Boolean:
		return "true"
	case f.Type == Object:
		return "{}"
	case f.Type == Array:
		return "[]"
	case f.Format != NoFormat:
		candidates = []string{f.Format.Example(), f.Format.example(f.MinLength, f.MaxLength)}
	case f.References != nil:
		candidates = []string{f.References.ExampleID()}
	}
	for _, value := range candidates {
		if _, err := f.Check(value); err == nil {
			return value
		}
		if n, ok := decimal.Parse(value); ok && f.Type == Integer && !n.IsInteger() { // a limit with a fraction
			whole, _, _ := strings.Cut(string(n.AppendPlain(nil)), ".")
			for _, value := range []string{whole, whole + "1"} { // a digit more is always beyond it
				if _, err := f.Check(value); err == nil {
					return value
				}
			}
		}
	}
	return f.fit("example")
}

// fit cuts a word to the field's lengths, or repeats its last letter.
func (f *Field) fit(word string) string {
	if f.MaxLength >= 0 && f.MaxLength < len(word) {
		word = word[:f.MaxLength]
	}
	if n := f.MinLength - len(word); n > 0 {
		word += strings.Repeat("x", n)
	}
	return word
}

// example returns a value of the format with a length between the two; longest is -1 where there is no limit.
func (f Format) example(shortest, longest int) string {
	switch f {
	case DateTime:
		return "2026-11-24T11:00:00." + strings.Repeat("0", max(1, shortest-len("2026-11-24T11:00:00.Z"))) + "Z"
	case Email:
		n := max(shortest, len("a@b"))
		if longest >= 0 {
			n = min(n, longest)
		}
		address := []byte("a@")
		for i := range n - len(address) {
			if i%maxLabel == maxLabel-1 && i < n-len("a@b") {
				address = append(address, '.')
			} else {
				address = append(address, 'b')
			}
		}
		return string(address)
	}
	return f.Example()
}

var sampleWords = strings.Fields("amber birch cedar delta ember frost grove harbor island juniper kestrel lake maple north olive pine quartz river stone tide")

// Sample returns a random value that the field can have, and that a person would take for real. Where it has no better idea
// it returns Example. A reference is left to the caller, which knows what exists.
func (f *Field) Sample(r *rand.Rand) string {
	var value string
	word := func() string { return sampleWords[r.IntN(len(sampleWords))] }
	at := func() time.Time {
		return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(6*365*24*3600)) * time.Second)
	}
	switch {
	case len(f.Enum) > 0:
		return f.Enum[r.IntN(len(f.Enum))]
	case f.Type.numeric():
		value = f.sampleNumber(r)
	case f.Type == Boolean:
		value = strconv.FormatBool(r.IntN(2) == 0)
	case f.Type == Object:
		value = fmt.Sprintf(`{%q:%q,"count":%d}`, word(), word(), r.IntN(100))
	case f.Type == Array:
		value = fmt.Sprintf(`[%q,%q]`, word(), word())
	case f.Format == Date:
		value = at().Format(time.DateOnly)
	case f.Format == DateTime:
		value = at().Format(time.RFC3339)
	case f.Format == UUID:
		value = fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48))
	case f.Format == Email:
		value = fmt.Sprintf("%s.%s%d@example.com", word(), word(), r.IntN(1000))
	case f.References != nil:
		return f.Example()
	default:
		value = f.fit(word() + " " + word())
	}
	if _, err := f.Check(value); err != nil {
		return f.Example()
	}
	return value
}

// sampleNumber returns a number between the limits, with two places where it may have any.
func (f *Field) sampleNumber(r *rand.Rand) string {
	low, high := int64(0), int64(1000)
	hasLow, hasHigh := bound(f.Minimum, &low), bound(f.Maximum, &high)
	switch {
	case hasLow && !hasHigh:
		high = low + 1000
	case hasHigh && !hasLow:
		low = min(0, high-1000)
	}
	if high <= low {
		return f.Example()
	}
	text := strconv.FormatInt(low+r.Int64N(high-low), 10)
	if f.Type == Number && text[0] != '-' {
		text += fmt.Sprintf(".%02d", r.IntN(100))
	}
	return text
}

// bound reads the whole part of a limit, where it is small enough to count with.
func bound(limit string, n *int64) bool {
	d, ok := decimal.Parse(limit)
	if !ok || !d.Fits() {
		return false
	}
	whole, _, _ := strings.Cut(string(d.AppendPlain(nil)), ".")
	v, err := strconv.ParseInt(whole, 10, 32)
	if err != nil {
		return false
	}
	*n = v
	return true
}

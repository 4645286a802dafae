package dynamo

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// value is an attribute value. Numbers are kept as text in DynamoDB's own form, never as floats.
type value struct {
	kind string           // S, N, B, BOOL, NULL, L, M, SS, NS or BS
	text string           // S, N, and B's bytes
	flag bool             // BOOL
	list []value          // L
	m    map[string]value // M
	set  []string         // SS, NS, and BS's bytes
}

// checkSet refuses an empty set and one that has an element twice.
func (v *value) checkSet() error {
	if len(v.set) == 0 {
		name := map[string]string{"SS": "string", "NS": "number", "BS": "binary"}[v.kind]
		return errValidation("One or more parameter values were invalid: An %s set  may not be empty", name)
	}
	sorted := slices.Sorted(slices.Values(v.set))
	if len(slices.Compact(sorted)) < len(v.set) {
		return errValidation("One or more parameter values were invalid: Input collection [%s] contains duplicates.", strings.Join(v.set, ", "))
	}
	return nil
}

// size is the bytes that DynamoDB counts ("DynamoDB item sizes and formats").
func (v *value) size() int {
	switch v.kind {
	case "S", "B":
		return len(v.text)
	case "N":
		return numberSize(v.text)
	case "BOOL", "NULL":
		return 1
	case "L":
		n := 3
		for i := range v.list {
			n += 1 + v.list[i].size()
		}
		return n
	case "M":
		n := 3
		for name, e := range v.m {
			n += 1 + len(name) + e.size()
		}
		return n
	}
	n := 0
	for _, s := range v.set {
		if v.kind == "NS" {
			n += numberSize(s)
		} else {
			n += len(s)
		}
	}
	return n
}

func numberSize(text string) int {
	n, err := parseNumber(text)
	if err != nil {
		return len(text) // not stored: numbers are checked on their way in
	}
	return n.size()
}

// size is the bytes that DynamoDB counts for a number.
func (n number) size() int {
	size := (len(n.digits)+1)/2 + 1
	if n.negative {
		size++
	}
	return size
}

// depth is how many lists and maps are one inside another.
func (v *value) depth() int {
	deepest := -1
	for i := range v.list {
		deepest = max(deepest, v.list[i].depth())
	}
	for _, e := range v.m {
		deepest = max(deepest, e.depth())
	}
	if v.kind == "L" || v.kind == "M" {
		return 1 + max(deepest, 0)
	}
	return 0
}

// equal holds for values of one type that are the same, whatever the order of a set.
func equal(a, b value) bool {
	return a.kind == b.kind && a.text == b.text && a.flag == b.flag && len(a.set) == len(b.set) &&
		!slices.ContainsFunc(a.set, func(e string) bool { return !slices.Contains(b.set, e) }) &&
		slices.EqualFunc(a.list, b.list, equal) && maps.EqualFunc(a.m, b.m, equal)
}

func sortedNames(m map[string]value) []string { return slices.Sorted(maps.Keys(m)) }

// number is ±0.digits × 10^exponent, its digits without zeros at either end; zero has no digits.
type number struct {
	negative bool
	digits   string
	exponent int
}

func parseNumber(text string) (number, error) {
	bad := func() (number, error) {
		return number{}, errValidation("The parameter cannot be converted to a numeric value: %s", text)
	}
	var n number
	rest := text
	if rest != "" && (rest[0] == '-' || rest[0] == '+') {
		n.negative = rest[0] == '-'
		rest = rest[1:]
	}
	if at := strings.IndexAny(rest, "eE"); at >= 0 {
		exponent, err := strconv.Atoi(rest[at+1:])
		if err != nil || exponent > 100_000 || exponent < -100_000 {
			return bad()
		}
		n.exponent, rest = exponent, rest[:at]
	}
	whole, fraction, _ := strings.Cut(rest, ".")
	all := whole + fraction
	if all == "" || strings.ContainsFunc(all, func(r rune) bool { return r < '0' || r > '9' }) {
		return bad()
	}
	n.digits = strings.TrimLeft(all, "0")
	n.exponent += len(whole) - (len(all) - len(n.digits))
	n.digits = strings.TrimRight(n.digits, "0")
	switch {
	case n.digits == "":
		return number{}, nil
	case len(n.digits) > maxNumberDigits:
		return n, errValidation("Attempting to store more than 38 significant digits in a Number")
	case n.exponent-1 > maxNumberExponent:
		return n, errValidation("Number overflow. Attempting to store a number with magnitude larger than supported range")
	case n.exponent-1 < minNumberExponent:
		return n, errValidation("Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return n, nil
}

// String is n without exponent and without needless zeros.
func (n number) String() string {
	if n.digits == "" {
		return "0"
	}
	sign := ""
	if n.negative {
		sign = "-"
	}
	switch {
	case n.exponent <= 0:
		return sign + "0." + strings.Repeat("0", -n.exponent) + n.digits
	case n.exponent >= len(n.digits):
		return sign + n.digits + strings.Repeat("0", n.exponent-len(n.digits))
	}
	return sign + n.digits[:n.exponent] + "." + n.digits[n.exponent:]
}

// add is the exact sum of two numbers, or their difference.
func add(a, b value, subtract bool) (value, error) {
	n, err := parseNumber(a.text)
	if err != nil {
		return a, err
	}
	m, err := parseNumber(b.text)
	if err != nil {
		return b, err
	}
	x, y, shift := n.integer(), m.integer(), n.exponent-len(n.digits)
	other := m.exponent - len(m.digits)
	ten := big.NewInt(10)
	for ; shift > other; shift-- { // at most 255 + 38 times
		x.Mul(x, ten)
	}
	for ; other > shift; other-- {
		y.Mul(y, ten)
	}
	if subtract {
		y.Neg(y)
	}
	sum, err := parseNumber(fmt.Sprintf("%se%d", x.Add(x, y), shift))
	return value{kind: "N", text: sum.String()}, err
}

// integer is n's digits as a whole number: n is that × 10^(exponent - digits).
func (n number) integer() *big.Int {
	i, _ := new(big.Int).SetString("0"+n.digits, 10)
	if n.negative {
		i.Neg(i)
	}
	return i
}

// ordered is a text that sorts, byte by byte, as the numbers do, and of which none begins another.
func (n number) ordered() string {
	if n.digits == "" {
		return "\x80"
	}
	b := fmt.Appendf(nil, "\xC0%05d%s\x00", n.exponent+10_000, n.digits)
	if n.negative {
		for i := range b {
			b[i] = ^b[i]
		}
	}
	return string(b)
}

// ordered is a text that sorts as keys of v's type do, and of which none begins another.
func (v *value) ordered() string { return string(appendOrdered(nil, v.kind[0], v.text)) }

// appendOrdered appends the ordered text of a string, a number or binary.
func appendOrdered(b []byte, code byte, text string) []byte {
	if code == codeN {
		n, _ := parseNumber(text) // checked when it came in
		return append(b, n.ordered()...)
	}
	if strings.IndexByte(text, 0) >= 0 {
		text = escaped(text)
	}
	return append(append(b, text...), 0, 1)
}

// escaped is the part of ordered that a longer text with the same beginning shares.
func escaped(s string) string { return strings.ReplaceAll(s, "\x00", "\x00\xFF") }

// after is the first text behind all those that begin with prefix, empty where there is none: bytes of a key may be FF.
func after(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xFF {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}

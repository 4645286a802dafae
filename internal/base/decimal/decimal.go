// Package decimal reads, compares and writes decimal numbers as text. Nothing is computed, so nothing is rounded.
package decimal

import (
	"cmp"
	"strconv"

	"tributary/internal/aws/limits"
)

// Number is a decimal number as its text has it: nothing is computed, so nothing is rounded.
type Number struct {
	negative bool
	mantissa string // digits and at most one point
	point    int    // digits before the point
	first    int    // index, among the digits, of the first that is not 0
	digits   int    // from the first to the last that is not 0; 0 means the number is zero
	exponent int    // that follows the mantissa
}

// exponentBound is where reading an exponent stops counting: far beyond DynamoDB's range, and safe to add to.
const exponentBound = 1 << 30

// Parse reads -?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?: a JSON number, or one with zeros before it.
func Parse(text string) (n Number, ok bool) {
	i := 0
	if i < len(text) && text[i] == '-' {
		n.negative = true
		i++
	}
	start, seen, last, point := i, 0, -1, -1
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && point < 0 && seen > 0 {
			point = seen
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if c != '0' {
			if last < 0 {
				n.first = seen
			}
			last = seen
		}
		seen++
	}
	if seen == 0 || point == seen {
		return Number{}, false
	}
	n.mantissa = text[start:i]
	if n.point = point; point < 0 {
		n.point = seen
	}
	if last >= 0 {
		n.digits = last - n.first + 1
	}
	if i == len(text) {
		return n, true
	}
	if text[i] != 'e' && text[i] != 'E' {
		return Number{}, false
	}
	i++
	down := false
	if i < len(text) && (text[i] == '+' || text[i] == '-') {
		down = text[i] == '-'
		i++
	}
	if i == len(text) {
		return Number{}, false
	}
	for ; i < len(text); i++ {
		c := text[i]
		if c < '0' || c > '9' {
			return Number{}, false
		}
		if n.exponent < exponentBound {
			n.exponent = n.exponent*10 + int(c-'0')
		}
	}
	if down {
		n.exponent = -n.exponent
	}
	return n, true
}

// magnitude returns the exponent of the first digit: 2 for 150, -1 for 0.5.
func (n *Number) magnitude() int { return n.point - 1 - n.first + n.exponent }

// Fits says whether DynamoDB can store the number ("Supported data types and naming rules in Amazon DynamoDB"). Leading
// and trailing zeros don't count.
func (n *Number) Fits() bool {
	return n.digits == 0 || n.digits <= limits.DynamoDBNumberDigits &&
		n.magnitude() >= limits.DynamoDBNumberMinExp && n.magnitude() <= limits.DynamoDBNumberMaxExp
}

// Bytes returns what a number takes in an item. DynamoDB keeps two digits to a byte, in pairs counted from the point,
// a byte for the exponent, and a byte more where the number is negative. Its documentation says "approximately".
func (n *Number) Bytes() int {
	if n.digits == 0 {
		return 1
	}
	high := n.magnitude()
	low := high - n.digits + 1
	size := high>>1 - low>>1 + 2
	if n.negative {
		size++
	}
	return size
}

// digit returns the i-th digit from the first that is not 0.
func (n *Number) digit(i int) byte {
	if i += n.first; i >= n.point {
		i++ // behind the point
	}
	return n.mantissa[i]
}

// AppendPlain appends the number without exponent and without zeros that add nothing.
func (n *Number) AppendPlain(dst []byte) []byte {
	if n.digits == 0 {
		return append(dst, '0')
	}
	if n.negative {
		dst = append(dst, '-')
	}
	high := n.magnitude()
	if high < 0 {
		dst = append(dst, '0', '.')
		for range -high - 1 {
			dst = append(dst, '0')
		}
	}
	for i := range n.digits {
		if i > 0 && i == high+1 {
			dst = append(dst, '.')
		}
		dst = append(dst, n.digit(i))
	}
	for range high + 1 - n.digits {
		dst = append(dst, '0')
	}
	return dst
}

// Int64 returns the number where it is an integer from 1 to 2^63-1.
func (n *Number) Int64() (int64, bool) {
	if n.digits == 0 || n.negative || n.magnitude() > 18 || n.magnitude()+1 < n.digits {
		return 0, false
	}
	var buf [24]byte
	v, err := strconv.ParseInt(string(n.AppendPlain(buf[:0])), 10, 64)
	return v, err == nil
}

// Digits returns how many significant digits the number has; zeros at either end don't count.
func (n *Number) Digits() int { return n.digits }

// IsInteger says whether the number has no fraction, as 1, 1.0 and 1e2 have none.
func (n *Number) IsInteger() bool { return n.digits == 0 || n.magnitude()+1 >= n.digits }

// sign returns -1, 0 or 1.
func (n *Number) sign() int {
	switch {
	case n.digits == 0:
		return 0
	case n.negative:
		return -1
	}
	return 1
}

// Compare returns -1 where a is less than b, 1 where it is greater, and 0 where they are equal in value.
func Compare(a, b *Number) int {
	sign := a.sign()
	if other := b.sign(); sign != other || sign == 0 {
		return cmp.Compare(sign, other)
	}
	if c := cmp.Compare(a.magnitude(), b.magnitude()); c != 0 {
		return sign * c
	}
	for i := range min(a.digits, b.digits) {
		if c := cmp.Compare(a.digit(i), b.digit(i)); c != 0 {
			return sign * c
		}
	}
	return sign * cmp.Compare(a.digits, b.digits)
}

// AppendPlain appends text in the one form in which equal numbers are equal texts: without exponent, and without zeros
// that add nothing (150 for 150.00 and 1.5e2). It reports false, and appends nothing, where text is not a number that
// DynamoDB can store.
func AppendPlain(dst []byte, text string) ([]byte, bool) {
	n, ok := Parse(text)
	if !ok || !n.Fits() {
		return dst, false
	}
	return n.AppendPlain(dst), true
}

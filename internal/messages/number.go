package messages

import (
	"strconv"

	"tributary/internal/aws/limits"
)

// number is a decimal number as its text has it: nothing is computed, so nothing is rounded.
type number struct {
	negative bool
	mantissa string // digits and at most one point
	point    int    // digits before the point
	first    int    // index, among the digits, of the first that is not 0
	digits   int    // from the first to the last that is not 0; 0 means the number is zero
	exponent int    // that follows the mantissa
}

// exponentBound is where reading an exponent stops counting: far beyond DynamoDB's range, and safe to add to.
const exponentBound = 1 << 30

// parseNumber reads -?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?: a JSON number, or one with zeros before it.
func parseNumber(text string) (n number, ok bool) {
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
		return number{}, false
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
		return number{}, false
	}
	i++
	down := false
	if i < len(text) && (text[i] == '+' || text[i] == '-') {
		down = text[i] == '-'
		i++
	}
	if i == len(text) {
		return number{}, false
	}
	for ; i < len(text); i++ {
		c := text[i]
		if c < '0' || c > '9' {
			return number{}, false
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
func (n *number) magnitude() int { return n.point - 1 - n.first + n.exponent }

// fits says whether DynamoDB can store the number ("Supported data types and naming rules in Amazon DynamoDB"). Leading
// and trailing zeros don't count.
func (n *number) fits() bool {
	return n.digits == 0 || n.digits <= limits.DynamoDBNumberDigits &&
		n.magnitude() >= limits.DynamoDBNumberMinExp && n.magnitude() <= limits.DynamoDBNumberMaxExp
}

// bytes returns what a number takes in an item. DynamoDB keeps two digits to a byte, in pairs counted from the point,
// a byte for the exponent, and a byte more where the number is negative. Its documentation says "approximately".
func (n *number) bytes() int {
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
func (n *number) digit(i int) byte {
	if i += n.first; i >= n.point {
		i++ // behind the point
	}
	return n.mantissa[i]
}

// appendPlain appends the number without exponent and without zeros that add nothing.
func (n *number) appendPlain(dst []byte) []byte {
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

// int64 returns the number where it is an integer from 1 to 2^63-1.
func (n *number) int64() (int64, bool) {
	if n.digits == 0 || n.negative || n.magnitude() > 18 || n.magnitude()+1 < n.digits {
		return 0, false
	}
	var buf [24]byte
	v, err := strconv.ParseInt(string(n.appendPlain(buf[:0])), 10, 64)
	return v, err == nil
}

// ParseVersion reads a version: an integer from 1 to 2^63-1, however it is written (7, 7.0 or 7e0).
func ParseVersion(text string) (version int64, ok bool) {
	n, ok := parseNumber(text)
	if !ok {
		return 0, false
	}
	return n.int64()
}

// AppendNumber appends a number in the one form in which equal numbers are equal texts: without exponent, and without
// zeros that add nothing (150 for 150.00 and 1.5e2). It reports false, and appends nothing, where text is no number
// that DynamoDB can store.
func AppendNumber(dst []byte, text string) ([]byte, bool) {
	n, ok := parseNumber(text)
	if !ok || !n.fits() {
		return dst, false
	}
	return n.appendPlain(dst), true
}

// checkNumber says what keeps DynamoDB from storing text as a number, and how many bytes it takes if nothing does.
func checkNumber(field, text string) (int, *Error) {
	n, ok := parseNumber(text)
	switch {
	case !ok:
		return 0, invalid(field, quote(text)+" is not a decimal number such as 150, 149.99 or 1.5e2")
	case n.fits():
		return n.bytes(), nil
	case n.digits > limits.DynamoDBNumberDigits:
		return 0, invalid(field, quote(text)+" has "+strconv.Itoa(n.digits)+" significant digits, DynamoDB keeps at most "+
			strconv.Itoa(limits.DynamoDBNumberDigits))
	}
	return 0, invalid(field, quote(text)+" is out of DynamoDB's range, 1E"+strconv.Itoa(limits.DynamoDBNumberMinExp)+
		" to 9.99E"+strconv.Itoa(limits.DynamoDBNumberMaxExp))
}

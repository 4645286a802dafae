package schema

import (
	"math"
	"strings"
)

// Format is a form that a string must have. A value is kept as sent: a format never changes it.
type Format uint8

// The formats. Each is a rule that a pattern or a published standard states exactly:
//
//   - date: YYYY-MM-DD, a day of the Gregorian calendar from 0000-01-01 to 9999-12-31 (RFC 3339, full-date).
//   - date-time: RFC 3339, date-time: a date, T, a time with seconds, any fraction, and Z or an offset of at most 23:59. The
//     letters may be small. A second of 60 is allowed where it is 23:59:60 in UTC.
//   - uuid: 8-4-4-4-12 hexadecimal digits, small or capital (RFC 9562), of any version.
//   - email: a name of 1 to 64 of the letters, digits and signs of RFC 5322's dot-atom, @, and a domain of labels of 1 to 63
//     letters, digits and inner hyphens; at most 254 characters. Quoted names, address literals and characters beyond
//     ASCII are refused.
const (
	NoFormat Format = iota
	DateTime
	Date
	UUID
	Email
)

var formatNames = [...]string{"", "date-time", "date", "uuid", "email"}

func (f Format) String() string { return formatNames[f] }

// examples are in messages and documents.
var formatExamples = [...]string{"", "2026-11-24T11:00:00Z", "2026-11-24", "0192f0a1-7c3e-7000-8000-000000000042", "alice@example.com"}

// Example returns a value of the format.
func (f Format) Example() string { return formatExamples[f] }

// lengths returns the fewest and most characters of a value.
func (f Format) lengths() (shortest, longest int) {
	switch f {
	case DateTime:
		return len("2026-11-24T11:00:00Z"), math.MaxInt
	case Date, UUID:
		return len(f.Example()), len(f.Example())
	case Email:
		return len("a@b"), maxEmail
	}
	return 0, math.MaxInt
}

// emailPattern is Email as a regular expression of JSON Schema, but for its lengths.
const emailPattern = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@" +
	"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"

const (
	maxEmail      = 254
	maxEmailLocal = 64
	maxLabel      = 63
)

// has says whether text has the format.
func (f Format) has(text string) bool {
	switch f {
	case DateTime:
		return isDateTime(text)
	case Date:
		return isDate(text)
	case UUID:
		return isUUID(text)
	case Email:
		return isEmail(text)
	}
	return true
}

// number2 reads two digits at i. It returns -1 where there are none.
func number2(text string, i int) int {
	if i+2 > len(text) || !isDigit(text[i]) || !isDigit(text[i+1]) {
		return -1
	}
	return int(text[i]-'0')*10 + int(text[i+1]-'0')
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

var monthDays = [...]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func isDate(text string) bool {
	if len(text) != len("2026-11-24") || text[4] != '-' || text[7] != '-' {
		return false
	}
	century, year, month, day := number2(text, 0), number2(text, 2), number2(text, 5), number2(text, 8)
	if century < 0 || year < 0 || month < 1 || month > 12 || day < 1 || day > monthDays[month] {
		return false
	}
	leap := year%4 == 0 && (year != 0 || century%4 == 0)
	return leap || month != 2 || day < 29
}

func isDateTime(text string) bool {
	const date, time = len("2026-11-24"), len("2026-11-24T11:00:00")
	if len(text) <= time || text[date]|0x20 != 't' || !isDate(text[:date]) || text[13] != ':' || text[16] != ':' {
		return false
	}
	hour, minute, second := number2(text, 11), number2(text, 14), number2(text, 17)
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return false
	}
	i := time
	if text[i] == '.' {
		start := i + 1
		for i = start; i < len(text) && isDigit(text[i]); i++ {
		}
		if i == start {
			return false
		}
	}
	offset := 0
	switch rest := text[i:]; {
	case rest == "Z" || rest == "z":
	case len(rest) == len("+01:00") && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		hours, minutes := number2(rest, 1), number2(rest, 4)
		if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
			return false
		}
		if offset = hours*60 + minutes; rest[0] == '-' {
			offset = -offset
		}
	default:
		return false
	}
	const day = 24 * 60
	return second < 60 || (hour*60+minute-offset+day)%day == day-1
}

func isUUID(text string) bool {
	if len(text) != len("0192f0a1-7c3e-7000-8000-000000000042") {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if lower := c | 0x20; !isDigit(c) && (lower < 'a' || lower > 'f') {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }

func isEmail(text string) bool {
	at := strings.IndexByte(text, '@')
	if at < 1 || at > maxEmailLocal || len(text) > maxEmail {
		return false
	}
	dot := true // a dot may not follow
	for i := range at {
		c := text[i]
		switch {
		case c == '.':
			if dot {
				return false
			}
			dot = true
			continue
		case isAlphanumeric(c) || strings.IndexByte("!#$%&'*+/=?^_`{|}~-", c) >= 0:
		default:
			return false
		}
		dot = false
	}
	if dot {
		return false
	}
	domain := text[at+1:]
	start := 0
	for i := 0; i <= len(domain); i++ {
		if i < len(domain) && domain[i] != '.' {
			if !isAlphanumeric(domain[i]) && domain[i] != '-' {
				return false
			}
			continue
		}
		if i == start || i-start > maxLabel || domain[start] == '-' || domain[i-1] == '-' {
			return false
		}
		start = i + 1
	}
	return true
}

package table

import (
	"strconv"
	"time"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
)

// Size returns the bytes of a command's item as DynamoDB counts them; see messages.Command.ItemBytes.
func Size(c *messages.Command) int { return c.ItemBytes() }

// AppendItem appends the item of a valid put as DynamoDB's JSON has it.
func AppendItem(dst []byte, c *messages.Command) []byte {
	dst = appendKey(dst, KeyOf(c))
	text := func(name, value string) {
		dst = append(dst, name...)
		dst = rawjson.AppendString(dst, value)
	}
	if c.Kind == messages.PutUser {
		text(`,"user_id":{"S":`, c.UserID)
		text(`},"user_name":{"S":`, c.UserName)
		text(`},"user_email":{"S":`, c.UserEmail)
		dst = append(dst, '}')
	} else {
		text(`,"order_id":{"S":`, c.OrderID)
		text(`},"user_id":{"S":`, c.UserID)
		dst = append(dst, `},"order_amount":{"N":"`...)
		dst = appendNumber(dst, c.OrderAmount)
		dst = append(dst, `"}`...)
	}
	dst = appendVersion(dst, c.Version)
	if c.Attributes != "" {
		dst = append(dst, `,"attributes":`...)
		s := rawjson.New(c.Attributes)
		dst = appendValue(dst, &s)
	}
	return append(dst, '}')
}

// AppendTombstone appends the item that a versioned delete leaves, as DynamoDB's JSON has it.
func AppendTombstone(dst []byte, c *messages.Command, expiresAt time.Time) []byte {
	dst = appendKey(dst, KeyOf(c))
	dst = appendVersion(dst, c.Version)
	dst = append(dst, `,"deleted":{"BOOL":true},"expires_at":{"N":"`...)
	dst = strconv.AppendInt(dst, expiresAt.Unix(), 10)
	return append(dst, `"}}`...)
}

func appendVersion(dst []byte, version int64) []byte {
	if version == 0 {
		return dst
	}
	dst = append(dst, `,"version":{"N":"`...)
	dst = strconv.AppendInt(dst, version, 10)
	return append(dst, `"}`...)
}

// appendNumber appends a number as it stands where DynamoDB is sure to take it so, which is nearly always, and
// otherwise (zeros to more digits than DynamoDB keeps, exponents) in its plain form.
func appendNumber(dst []byte, text string) []byte {
	if len(text) <= 38 && !hasExponent(text) {
		return append(dst, text...)
	}
	dst, _ = messages.AppendNumber(dst, text)
	return dst
}

func hasExponent(text string) bool {
	for i := range len(text) {
		if text[i]|0x20 == 'e' {
			return true
		}
	}
	return false
}

// appendValue appends the next JSON value as a DynamoDB value. Strings are copied with their escapes: they mean the
// same there.
func appendValue(dst []byte, s *rawjson.Scanner) []byte {
	switch s.Peek() {
	case '{':
		dst = append(dst, `{"M":{`...)
		n := 0
		for s.Open('{'); s.More('}'); n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, s.RawName()...)
			dst = append(dst, ':')
			dst = appendValue(dst, s)
		}
		return append(dst, "}}"...)
	case '[':
		dst = append(dst, `{"L":[`...)
		n := 0
		for s.Open('['); s.More(']'); n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, s)
		}
		return append(dst, "]}"...)
	case '"':
		dst = append(dst, `{"S":`...)
		dst = append(dst, s.Skip()...)
	case 't', 'f':
		dst = append(dst, `{"BOOL":`...)
		dst = append(dst, s.Skip()...)
	case 'n':
		s.Skip()
		dst = append(dst, `{"NULL":true`...)
	default:
		dst = append(dst, `{"N":"`...)
		dst = appendNumber(dst, s.Number())
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

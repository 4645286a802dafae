package table

import (
	"strconv"
	"time"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// Size returns the bytes of a command's item as DynamoDB counts them; see messages.Command.ItemBytes.
func Size(c *messages.Command) int { return c.ItemBytes() }

// AppendItem appends the item of a valid put as DynamoDB's JSON has it.
func AppendItem(dst []byte, c *messages.Command) []byte {
	dst, id := appendKey(dst, KeyOf(c))
	dst = c.Type.AppendID(dst, id)
	dst = c.Type.AppendValues(dst, &c.Values)
	dst = appendVersion(dst, c.Version)
	if c.Attributes != "" {
		dst = append(dst, `,"attributes":`...)
		s := rawjson.New(c.Attributes)
		dst = schema.AppendValue(dst, &s)
	}
	return append(dst, '}')
}

// AppendTombstone appends the item that a versioned delete leaves, as DynamoDB's JSON has it.
func AppendTombstone(dst []byte, c *messages.Command, expiresAt time.Time) []byte {
	dst, _ = appendKey(dst, KeyOf(c))
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

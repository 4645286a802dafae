package messages

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/aws/limits"
	"tributary/internal/base/decimal"
	"tributary/internal/schema"
)

// MaxTenantIDBytes is the longest tenant id: it is SQS's MessageGroupId.
const MaxTenantIDBytes = limits.SQSGroupIDBytes

// Validate returns why the command can't be written, or nil. It is for commands that were made in Go: Decode has
// validated its own. It keeps the item's size in the command, which must not be changed afterwards. Defaults are left to
// Decode.
func (c *Command) Validate() *Error {
	t := c.Type
	if t == nil {
		return &Error{ReasonUnknownType, schema.TypeName, "the command has no type"}
	}
	if err := CheckTenantID(c.TenantID); err != nil {
		return err
	}
	if err := schema.CheckID(t.ID, c.ID); err != nil {
		return valueError(err)
	}
	if c.Version < 0 {
		return invalid(schema.VersionName, strconv.FormatInt(c.Version, 10)+versionRange)
	}
	given := c.Values.Given()
	if c.Delete {
		switch {
		case given != 0:
			return foreign(c, t.Fields[bits.TrailingZeros32(given)].Name)
		case c.Attributes != "":
			return foreign(c, schema.AttributesName)
		}
		c.bytes = int32(t.KeyBytes(c.TenantID, c.ID))
		return nil
	}
	size := t.HeadBytes(c.TenantID, c.ID) + versionBytes(c.Version)
	for position, f := range t.Fields {
		text, ok := c.Values.Get(position)
		if !ok {
			if f.Needed() {
				return missing(c, f.Name)
			}
			continue
		}
		n, err := f.Check(text)
		if err != nil {
			return valueError(err)
		}
		size += n
	}
	if c.Attributes != "" {
		n, err := schema.CheckAttributes(c.Attributes)
		if err != nil {
			return valueError(err)
		}
		size += n
	}
	return c.setBytes(size)
}

// setBytes keeps the size of the command's item, if DynamoDB takes an item of this size.
func (c *Command) setBytes(size int) *Error {
	if size > limits.DynamoDBItemBytes {
		return &Error{ReasonTooLarge, "", fmt.Sprintf("the item takes %d bytes, DynamoDB keeps at most %d", size, limits.DynamoDBItemBytes)}
	}
	c.bytes = int32(size) // at most DynamoDBItemBytes
	return nil
}

// ItemBytes returns the size of the item that a valid command writes, as DynamoDB counts it ("DynamoDB item sizes and
// formats"): every attribute's name and value, strings by their bytes of UTF-8. For a delete it is the size of the key.
// Decode and Validate have computed it: only for a command that was not validated is it computed here.
func (c *Command) ItemBytes() int {
	if c.bytes > 0 {
		return int(c.bytes)
	}
	t := c.Type
	if c.Delete {
		return t.KeyBytes(c.TenantID, c.ID)
	}
	size := t.HeadBytes(c.TenantID, c.ID) + versionBytes(c.Version)
	for position, f := range t.Fields {
		if text, ok := c.Values.Get(position); ok {
			size += f.Bytes(text)
		}
	}
	if c.Attributes != "" {
		n, _ := schema.CheckAttributes(c.Attributes)
		size += n
	}
	return size
}

// versionBytes returns what a version takes in an item.
func versionBytes(version int64) int {
	if version == 0 {
		return 0
	}
	var buf [20]byte
	n, _ := decimal.Parse(string(strconv.AppendInt(buf[:0], version, 10)))
	return len(schema.VersionName) + n.Bytes()
}

// ParseVersion reads a version: an integer from 1 to 2^63-1, however it is written (7, 7.0 or 7e0).
func ParseVersion(text string) (version int64, ok bool) {
	n, ok := decimal.Parse(text)
	if !ok {
		return 0, false
	}
	return n.Int64()
}

// CheckTenantID returns why id is no tenant id, or nil: 1 to 128 of A-Z a-z 0-9 . _ : @ = + -, not "." or "..", and not
// starting with "_". So it fits SQS's MessageGroupId, STS's session tags and a URL.
func CheckTenantID(id string) *Error {
	const field = "tenant_id"
	switch {
	case id == "":
		return invalid(field, "it is empty")
	case len(id) > MaxTenantIDBytes:
		return tooLong(field, id, MaxTenantIDBytes)
	case id == "." || id == "..":
		return invalid(field, quote(id)+" would be a step in a path, use another id")
	case id[0] == '_':
		return invalid(field, quote(id)+" starts with '_', which is kept for Tributary's own use")
	}
	for i := range len(id) {
		if c := id[i]; !tenantByte[c] {
			r, _ := utf8.DecodeRuneInString(id[i:])
			return invalid(field, quote(id)+" has "+strconv.QuoteRune(r)+", allowed are A-Z a-z 0-9 . _ : @ = + -")
		}
	}
	return nil
}

var tenantByte = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@=+-" {
		t[c] = true
	}
	return t
}()

const versionRange = ", it must be an integer from 1 to 9223372036854775807"

func invalid(field, detail string) *Error { return &Error{ReasonInvalidField, field, detail} }

// valueError is the error for a value that its field can't have.
func valueError(err *schema.ValueError) *Error {
	reason := ReasonInvalidField
	switch err.Cause {
	case schema.TooLarge:
		reason = ReasonTooLarge
	case schema.Duplicate:
		reason = ReasonDuplicateField
	}
	return &Error{reason, err.Field, err.Detail}
}

// foreign is the error for a member that commands of this name don't have.
func foreign(c *Command, name string) *Error {
	return &Error{ReasonUnknownField, name, "a " + c.Name() + " has no field " + name}
}

func missing(c *Command, name string) *Error {
	return &Error{ReasonMissingField, name, "the field is missing, a " + c.Name() + " must have it"}
}

func duplicateField(name string) *Error {
	return &Error{ReasonDuplicateField, name, "the field is there twice"}
}

func tooLong(field, value string, limit int) *Error {
	return &Error{ReasonTooLarge, field, fmt.Sprintf("%s takes %d bytes, at most %d are allowed", quote(value), len(value), limit)}
}

// shownBytes is how much of a value a message for people shows.
const shownBytes = 48

// quote returns a value for a message: cut short, with quotes, control characters and broken UTF-8 made visible.
func quote(value string) string {
	if len(value) <= shownBytes {
		return strconv.Quote(value)
	}
	return strconv.Quote(whole(value)) + "…"
}

// cut is quote for JSON text, which has quotes of its own.
func cut(text string) string {
	short := whole(text)
	quoted := strconv.Quote(short)
	short = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if len(text) > shownBytes {
		short += "…"
	}
	return short
}

// whole returns the start of a value without a part of a rune at its end.
func whole(value string) string {
	if len(value) <= shownBytes {
		return value
	}
	end := shownBytes
	for end > shownBytes-utf8.UTFMax && !utf8.RuneStart(value[end]) {
		end--
	}
	return value[:end]
}

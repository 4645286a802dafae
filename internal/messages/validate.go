package messages

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"tributary/internal/aws/limits"
	"tributary/internal/base/rawjson"
)

const (
	// MaxTenantIDBytes is the longest tenant id: it is SQS's MessageGroupId.
	MaxTenantIDBytes = limits.SQSGroupIDBytes
	// MaxIDBytes is the longest user or order id.
	MaxIDBytes = 256
	// maxNameBytes is the longest attribute name ("Supported data types and naming rules in Amazon DynamoDB": less than 64 KB).
	maxNameBytes = 64<<10 - 1
)

// MaxAttributeValues is the most values in `attributes`: every member and every element at any depth. Values cost more
// than their bytes: on the wire to DynamoDB and in every program that reads them.
const MaxAttributeValues = 10_000

// Validate returns why the command can't be written, or nil. What a decoded command was not given is not its affair:
// Decode reports missing fields. It keeps the item's size in the command, which must not be changed afterwards.
func (c *Command) Validate() *Error {
	if c.Kind < PutUser || c.Kind > DeleteOrder {
		return &Error{ReasonUnknownType, "type", "the command has none of the types " + kindList}
	}
	if err := CheckTenantID(c.TenantID); err != nil {
		return err
	}
	size := 0
	if extra := c.given() &^ allowed[c.Kind]; extra != 0 {
		return foreign(extra, c.Kind)
	}
	if required[c.Kind]&bit(fieldUserID) != 0 {
		if err := CheckID("user_id", c.UserID); err != nil {
			return err
		}
	}
	if required[c.Kind]&bit(fieldOrderID) != 0 {
		if err := CheckID("order_id", c.OrderID); err != nil {
			return err
		}
	}
	if c.Version < 0 {
		return invalid("version", strconv.FormatInt(c.Version, 10)+versionRange)
	}
	switch c.Kind {
	case PutUser:
		if err := checkText("user_name", c.UserName); err != nil {
			return err
		}
		if err := checkText("user_email", c.UserEmail); err != nil {
			return err
		}
	case PutOrder:
		n, err := checkNumber("order_amount", c.OrderAmount)
		if err != nil {
			return err
		}
		size += n
	}
	if c.Attributes != "" {
		n, err := checkAttributes(c.Attributes)
		if err != nil {
			return err
		}
		size += n
	}
	if size += c.fixedBytes(); size > limits.DynamoDBItemBytes {
		return &Error{ReasonTooLarge, "", fmt.Sprintf("the item takes %d bytes, DynamoDB keeps at most %d", size, limits.DynamoDBItemBytes)}
	}
	c.bytes = int32(size) // at most DynamoDBItemBytes
	return nil
}

// ItemBytes returns the size of the item that a valid command writes, as DynamoDB counts it ("DynamoDB item sizes and
// formats"): every attribute's name and value, strings by their bytes of UTF-8. For a delete it is the size of the key.
// Validate has computed it: only for a command that was not validated is it computed here.
func (c *Command) ItemBytes() int {
	if c.bytes > 0 {
		return int(c.bytes)
	}
	size := c.fixedBytes()
	if c.Kind == PutOrder {
		n, _ := checkNumber("", c.OrderAmount)
		size += n
	}
	if c.Attributes != "" {
		n, _ := checkAttributes(c.Attributes)
		size += n
	}
	return size
}

// fixedBytes is ItemBytes without the values of order_amount and attributes.
func (c *Command) fixedBytes() int {
	const keys = len("PK") + len("tenant#") + len("SK")
	size := keys + len(c.TenantID)
	switch c.Kind {
	case PutUser:
		size += len("user#") + len(c.UserID) + len("user_id") + len(c.UserID) +
			len("user_name") + len(c.UserName) + len("user_email") + len(c.UserEmail)
	case PutOrder:
		size += len("order#") + len(c.OrderID) + len("order_id") + len(c.OrderID) + len("user_id") + len(c.UserID) + len("order_amount")
	case DeleteUser:
		return size + len("user#") + len(c.UserID)
	case DeleteOrder:
		return size + len("order#") + len(c.OrderID)
	}
	if c.Version > 0 {
		var buf [20]byte
		n, _ := parseNumber(string(strconv.AppendInt(buf[:0], c.Version, 10)))
		size += len("version") + n.bytes()
	}
	if c.Attributes != "" {
		size += len("attributes")
	}
	return size
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

// CheckID returns why id is no user or order id, or nil: 1 to 256 bytes of UTF-8 without control characters and
// without '#', which separates the parts of a key.
func CheckID(field, id string) *Error {
	if id == "" {
		return invalid(field, "it is empty")
	}
	if len(id) > MaxIDBytes {
		return tooLong(field, id, MaxIDBytes)
	}
	ascii := true
	for i := range len(id) {
		switch c := id[i]; {
		case c == '#':
			return invalid(field, quote(id)+" has '#', which separates the parts of a key")
		case c < ' ' || c == 0x7f:
			return invalid(field, quote(id)+" has a control character")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if ascii {
		return nil
	}
	if strings.ContainsFunc(id, unicode.IsControl) {
		return invalid(field, quote(id)+" has a control character")
	}
	return checkText(field, id)
}

func checkText(field, text string) *Error {
	if !utf8.ValidString(text) {
		return invalid(field, quote(text)+" is not valid Unicode")
	}
	return nil
}

// checkAttributes returns the bytes that the value of `attributes` takes in an item.
func checkAttributes(text string) (int, *Error) {
	w := attributesWalk{scan: rawjson.New(text)}
	if w.scan.Peek() != '{' {
		return 0, invalid("attributes", cut(text)+" is not an object")
	}
	size := w.value(1)
	if w.err != nil {
		return 0, w.err
	}
	if err := w.scan.End(); err != nil {
		return 0, invalid("attributes", "it is not JSON: "+err.Error())
	}
	if w.scan.NotText() {
		return 0, invalid("attributes", "it has a string that is not valid Unicode (half of a surrogate pair, or broken UTF-8)")
	}
	return size, nil
}

// attributesWalk goes through the value of `attributes` once, up to the first error: it checks it and counts its bytes.
type attributesWalk struct {
	scan   rawjson.Scanner
	values int
	err    *Error
}

// fail keeps an error, after which the walk ends.
func (w *attributesWalk) fail(err *Error) { w.err = err }

// value returns the bytes of a value at a level of nesting. A list or map takes 3 bytes and 1 for each element, beside
// the elements and their names.
func (w *attributesWalk) value(level int) int {
	const field = "attributes"
	s := &w.scan
	switch s.Peek() {
	case '{':
		w.nested(level)
		size := 3
		var names nameSet
		for s.Open('{'); w.err == nil && s.More('}'); {
			name := s.Name()
			w.count()
			switch {
			case s.Err() != nil: // the walk's end
			case name == "":
				w.fail(invalid(field, "it has an empty name, DynamoDB wants at least one character"))
			case len(name) > maxNameBytes:
				w.fail(tooLong(field, name, maxNameBytes))
			case !names.add(name):
				w.fail(&Error{ReasonDuplicateField, field, quote(name) + " is there twice"})
			default:
				size += 1 + len(name) + w.value(level+1)
			}
		}
		return size
	case '[':
		w.nested(level)
		size := 3
		for s.Open('['); w.err == nil && s.More(']'); {
			w.count()
			size += 1 + w.value(level+1)
		}
		return size
	case '"':
		return len(s.String())
	case 't', 'f', 'n':
		s.Skip()
		return 1
	}
	text := s.Number()
	if s.Err() != nil {
		return 0
	}
	size, err := checkNumber(field, text)
	if err != nil {
		w.fail(err)
	}
	return size
}

// count counts one value.
func (w *attributesWalk) count() {
	if w.values++; w.values > MaxAttributeValues {
		w.fail(&Error{ReasonTooLarge, "attributes", fmt.Sprintf("it has more than %d values", MaxAttributeValues)})
	}
}

func (w *attributesWalk) nested(level int) {
	if level > maxAttributeLevels {
		w.fail(&Error{ReasonTooLarge, "attributes", fmt.Sprintf("it is nested more than %d levels deep", maxAttributeLevels)})
	}
}

// maxAttributeLevels is how many lists and maps may stand in each other, `attributes` itself included. The item is the
// first of DynamoDB's levels.
const maxAttributeLevels = limits.DynamoDBNesting - 1

// nameSet notices names that come twice. Few names, as they usually are, cost no allocation.
type nameSet struct {
	few  [16]string
	n    int
	many map[string]struct{}
}

// add reports whether name is new.
func (s *nameSet) add(name string) bool {
	if s.many == nil {
		for _, known := range s.few[:s.n] {
			if known == name {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = name
			s.n++
			return true
		}
		s.many = make(map[string]struct{}, 2*s.n)
		for _, known := range s.few {
			s.many[known] = struct{}{}
		}
	}
	before := len(s.many)
	s.many[name] = struct{}{}
	return len(s.many) > before
}

const versionRange = ", it must be an integer from 1 to 9223372036854775807"

func invalid(field, detail string) *Error { return &Error{ReasonInvalidField, field, detail} }

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

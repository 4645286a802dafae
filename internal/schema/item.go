package schema

import (
	"tributary/internal/aws/limits"
	"tributary/internal/base/decimal"
	"tributary/internal/base/rawjson"
)

// Bytes returns what the field's name and a valid value take in an item, as DynamoDB counts them ("DynamoDB item sizes and
// formats"). Read and Check return it too.
func (f *Field) Bytes(text string) int {
	switch f.Type {
	case Number, Integer:
		n, _ := decimal.Parse(text)
		return len(f.Name) + n.Bytes()
	case Boolean:
		return len(f.Name) + 1
	case Object, Array:
		n, _ := checkDocument(f.Name, text, f.Type)
		return len(f.Name) + n
	}
	return len(f.Name) + len(text)
}

// KeyBytes returns what the key of an item takes.
func (t *Type) KeyBytes(tenantID, id string) int {
	return len("PK") + len("tenant#") + len(tenantID) + len("SK") + len(t.Prefix) + len(id)
}

// HeadBytes returns what an item takes beside its fields, version and attributes: its key and its id.
func (t *Type) HeadBytes(tenantID, id string) int {
	return t.KeyBytes(tenantID, id) + len(t.ID) + len(id)
}

// AppendID appends the id as a member of an item in DynamoDB's JSON: `,"order_id":{"S":"o1"}`. The id is as rawjson.AppendText has
// it: an item has it in its key already.
func (t *Type) AppendID(dst, id []byte) []byte {
	dst = append(dst, t.idFragment...)
	dst = append(dst, id...)
	return append(dst, `"}`...)
}

// AppendIDMember appends the id as a member of a command: `,"order_id":"o1"`.
func (t *Type) AppendIDMember(dst []byte, id string) []byte {
	dst = append(dst, t.idFragment[:len(`,"":`)+len(t.ID)]...)
	return rawjson.AppendString(dst, id)
}

// AppendValues appends the values that there are as members of an item in DynamoDB's JSON, each with a comma before it.
func (t *Type) AppendValues(dst []byte, v *Values) []byte {
	for position, f := range t.Fields {
		if text, ok := v.Get(position); ok {
			dst = f.AppendItem(dst, text)
		}
	}
	return dst
}

// AppendItem appends a valid value as a member of an item in DynamoDB's JSON: `,"order_amount":{"N":"150.00"}`.
func (f *Field) AppendItem(dst []byte, text string) []byte {
	dst = append(dst, f.fragment...)
	switch f.Type {
	case String:
		dst = rawjson.AppendString(dst, text)
	case Number, Integer:
		dst = AppendNumber(dst, text)
		dst = append(dst, '"')
	case Boolean:
		dst = append(dst, text...)
	case Object, Array:
		s := rawjson.New(text)
		return AppendValue(dst, &s)
	}
	return append(dst, '}')
}

// AppendMember appends a valid value as a member of a command: `,"order_amount":"150.00"`. A number goes as a string, so that
// no library on its way reads it as a float. An integer goes as a number as long as a float keeps it.
func (f *Field) AppendMember(dst []byte, text string) []byte {
	dst = append(dst, f.fragment[:len(`,"":`)+len(f.Name)]...)
	switch f.Type {
	case String, Number:
		return rawjson.AppendString(dst, text)
	case Integer:
		at := len(dst)
		if dst, _ = decimal.AppendPlain(dst, text); len(dst)-at > floatDigits {
			dst = rawjson.AppendString(dst[:at], text)
		}
		return dst
	}
	return append(dst, text...)
}

// floatDigits is how many characters of an integer a float of 64 bits is sure to keep.
const floatDigits = 15

// AppendNumber appends a valid number as it stands where DynamoDB is sure to take it so, which is nearly always, and
// otherwise (zeros to more digits than DynamoDB keeps, exponents) in its plain form.
func AppendNumber(dst []byte, text string) []byte {
	if len(text) <= limits.DynamoDBNumberDigits && !hasExponent(text) {
		return append(dst, text...)
	}
	dst, _ = decimal.AppendPlain(dst, text)
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

// AppendValue appends the next JSON value as a DynamoDB value. Strings are copied with their escapes: they mean the same
// there.
func AppendValue(dst []byte, s *rawjson.Scanner) []byte {
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
			dst = AppendValue(dst, s)
		}
		return append(dst, "}}"...)
	case '[':
		dst = append(dst, `{"L":[`...)
		n := 0
		for s.Open('['); s.More(']'); n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = AppendValue(dst, s)
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
		dst = AppendNumber(dst, s.Number())
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

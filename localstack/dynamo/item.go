package dynamo

import (
	"encoding/base64"
	"encoding/binary"
	"slices"

	"tributary/internal/base/rawjson"
)

// item is an item as it is kept: encoded once, when it comes in, and decoded attribute by attribute when an
// expression asks. It is empty where there is no item.
//
// It is three bytes of size, as DynamoDB counts it, and then every attribute: its name and its value. A name is its
// length and its text. A value is a byte for its type, and then for S, N and B a length and the text, for lists, maps
// and sets four bytes of length and the elements.
type item string

const sizeBytes = 3

// The bytes that stand for types.
const (
	codeS     = 'S'
	codeN     = 'N'
	codeB     = 'B'
	codeTrue  = 't'
	codeFalse = 'f'
	codeNull  = '0'
	codeL     = 'L'
	codeM     = 'M'
	codeSS    = 's'
	codeNS    = 'n'
	codeBS    = 'b'
)

// size is the bytes that DynamoDB counts; no item has none.
func (it item) size() int {
	if it == "" {
		return 0
	}
	return int(it[0])<<16 | int(it[1])<<8 | int(it[2])
}

// attributes is a cursor before the first attribute.
func (it item) attributes() cursor {
	if it == "" {
		return ""
	}
	return cursor(it[sizeBytes:])
}

// cursor is what is left to read of an encoding. Encodings are made here, and so they are always whole.
type cursor string

// text reads a length and as many bytes.
func (c *cursor) text() string {
	rest := *c
	n, shift := 0, 0
	for i := 0; ; i++ {
		b := rest[i]
		n |= int(b&0x7F) << shift
		if shift += 7; b < 0x80 {
			*c = rest[i+1+n:]
			return string(rest[i+1 : i+1+n])
		}
	}
}

// block reads the elements of a list, map or set.
func (c *cursor) block() cursor {
	rest := *c
	n := int(rest[0])<<24 | int(rest[1])<<16 | int(rest[2])<<8 | int(rest[3])
	*c = rest[4+n:]
	return rest[4 : 4+n]
}

// code reads a value's type.
func (c *cursor) code() byte {
	code := (*c)[0]
	*c = (*c)[1:]
	return code
}

// raw reads a value's encoding.
func (c *cursor) raw() string {
	start := *c
	switch c.code() {
	case codeS, codeN, codeB:
		c.text()
	case codeTrue, codeFalse, codeNull:
	default:
		c.block()
	}
	return string(start[:len(start)-len(*c)])
}

// value reads and decodes a value.
func (c *cursor) value() value {
	switch code := c.code(); code {
	case codeS, codeN, codeB:
		return value{kind: string(rune(code)), text: c.text()}
	case codeTrue, codeFalse:
		return value{kind: "BOOL", flag: code == codeTrue}
	case codeNull:
		return value{kind: "NULL", flag: true}
	case codeL:
		v := value{kind: "L"}
		for elements := c.block(); elements != ""; {
			v.list = append(v.list, elements.value())
		}
		return v
	case codeM:
		v := value{kind: "M", m: make(map[string]value)}
		for elements := c.block(); elements != ""; {
			name := elements.text()
			v.m[name] = elements.value()
		}
		return v
	default:
		v := value{kind: setKinds[code]}
		for elements := c.block(); elements != ""; {
			v.set = append(v.set, elements.text())
		}
		return v
	}
}

var setKinds = map[byte]string{codeSS: "SS", codeNS: "NS", codeBS: "BS"}

// find gives the encoding of an attribute's value, empty where there is none.
func (it item) find(name string) string {
	for c := it.attributes(); c != ""; {
		if c.text() == name {
			return c.raw()
		}
		c.raw()
	}
	return ""
}

// get decodes an attribute's value.
func (it item) get(name string) (value, bool) {
	raw := cursor(it.find(name))
	if raw == "" {
		return value{}, false
	}
	return raw.value(), true
}

// scalar is the type and text of an attribute that is a string, a number or binary; its code is 0 where there is no
// attribute, and the type's where it is of another.
func (it item) scalar(name string) (code byte, text string) {
	raw := cursor(it.find(name))
	if raw == "" {
		return 0, ""
	}
	code = raw.code()
	if code == codeS || code == codeN || code == codeB {
		text = raw.text()
	}
	return code, text
}

// count is how many attributes there are.
func (it item) count() int {
	n := 0
	for c := it.attributes(); c != ""; n++ {
		c.text()
		c.raw()
	}
	return n
}

// same says whether two items have the same attributes, in whatever order. Maps within them count as different where their order is.
func (it item) same(other item) bool {
	if it == other {
		return true
	}
	if len(it) != len(other) || it.size() != other.size() {
		return false
	}
	for c := it.attributes(); c != ""; {
		if name := c.text(); other.find(name) != c.raw() {
			return false
		}
	}
	return true
}

// decode is all of it.
func (it item) decode() map[string]value {
	out := make(map[string]value)
	for c := it.attributes(); c != ""; {
		name := c.text()
		out[name] = c.value()
	}
	return out
}

// only is it without the attributes that keep turns away.
func (it item) only(keep func(name string) bool) item {
	b := make([]byte, sizeBytes, max(sizeBytes, len(it)))
	size := 0
	for c := it.attributes(); c != ""; {
		start := c
		name := c.text()
		raw := cursor(c.raw())
		if keep(name) {
			b = append(b, start[:len(start)-len(c)]...)
			v := raw.value()
			size += len(name) + v.size()
		}
	}
	return sealed(b, size)
}

// encode makes an item of its attributes. Their order is that of their names, so that equal items are equal texts.
func encode(attributes map[string]value) item {
	b := make([]byte, sizeBytes, 256)
	size := 0
	for _, name := range sortedNames(attributes) {
		v := attributes[name]
		b = append(appendText(b, name), v.encoded()...)
		size += len(name) + v.size()
	}
	return sealed(b, size)
}

// sealed writes the size before the attributes. More than fits is refused later, as is everything over 400 KB.
func sealed(b []byte, size int) item {
	size = min(size, 1<<(8*sizeBytes)-1)
	b[0], b[1], b[2] = byte(size>>16), byte(size>>8), byte(size)
	return item(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// open begins a list, map or set, and closed ends it.
func open(b []byte, code byte) (out []byte, at int) {
	return append(b, code, 0, 0, 0, 0), len(b) + 1
}

func closed(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4)) //nolint:gosec // a request has at most 16 MB
	return b
}

// encoded is v's encoding.
func (v *value) encoded() []byte { return v.append(nil) }

func (v *value) append(b []byte) []byte {
	switch v.kind {
	case "S", "N", "B":
		return appendText(append(b, v.kind[0]), v.text)
	case "BOOL":
		if v.flag {
			return append(b, codeTrue)
		}
		return append(b, codeFalse)
	case "NULL":
		return append(b, codeNull)
	case "L":
		b, at := open(b, codeL)
		for i := range v.list {
			b = v.list[i].append(b)
		}
		return closed(b, at)
	case "M":
		b, at := open(b, codeM)
		for _, name := range sortedNames(v.m) {
			e := v.m[name]
			b = e.append(appendText(b, name))
		}
		return closed(b, at)
	}
	b, at := open(b, map[string]byte{"SS": codeSS, "NS": codeNS, "BS": codeBS}[v.kind])
	for _, s := range v.set {
		b = appendText(b, s)
	}
	return closed(b, at)
}

// MarshalJSON writes the item as DynamoDB's JSON has it.
func (it item) MarshalJSON() ([]byte, error) {
	return appendMap(make([]byte, 0, len(it)*2), it.attributes()), nil
}

func appendMap(b []byte, c cursor) []byte {
	b = append(b, '{')
	for first := true; c != ""; first = false {
		if !first {
			b = append(b, ',')
		}
		b = append(rawjson.AppendString(b, c.text()), ':')
		b = appendJSON(b, &c)
	}
	return append(b, '}')
}

func appendJSON(b []byte, c *cursor) []byte {
	switch code := c.code(); code {
	case codeS:
		b = rawjson.AppendString(append(b, `{"S":`...), c.text())
	case codeN:
		b = rawjson.AppendString(append(b, `{"N":`...), c.text())
	case codeB:
		b = appendBase64(append(b, `{"B":`...), c.text())
	case codeTrue:
		b = append(b, `{"BOOL":true`...)
	case codeFalse:
		b = append(b, `{"BOOL":false`...)
	case codeNull:
		b = append(b, `{"NULL":true`...)
	case codeM:
		b = appendMap(append(b, `{"M":`...), c.block())
	default:
		each := appendJSON
		switch code {
		case codeL:
			b = append(b, `{"L":[`...)
		case codeSS, codeNS:
			b = append(append(append(b, `{"`...), setKinds[code]...), `":[`...)
			each = func(b []byte, c *cursor) []byte { return rawjson.AppendString(b, c.text()) }
		case codeBS:
			b = append(b, `{"BS":[`...)
			each = func(b []byte, c *cursor) []byte { return appendBase64(b, c.text()) }
		}
		elements := c.block()
		for first := true; elements != ""; first = false {
			if !first {
				b = append(b, ',')
			}
			b = each(b, &elements)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendBase64(b []byte, s string) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, []byte(s))
	return append(b, '"')
}

// UnmarshalJSON reads an item, and refuses what DynamoDB refuses in any place.
func (it *item) UnmarshalJSON(text []byte) error {
	d := newDecoder(string(text))
	*it = d.item()
	return d.end()
}

// UnmarshalJSON reads {"S":"text"} and its like, and refuses what DynamoDB refuses in any place.
func (v *value) UnmarshalJSON(text []byte) error {
	d := newDecoder(string(text))
	d.value(1)
	if err := d.end(); err != nil {
		return err
	}
	c := cursor(d.b)
	*v = c.value()
	return nil
}

// decoder reads DynamoDB's JSON into encodings, in one pass. Its first error stays.
type decoder struct {
	rawjson.Scanner
	b   []byte // the encoding under way
	err error
}

func newDecoder(text string) *decoder {
	return &decoder{Scanner: rawjson.New(text), b: make([]byte, 0, 512)}
}

func (d *decoder) refuse(err error) {
	if d.err == nil && d.Err() == nil { // otherwise it follows from that one
		d.err = err
	}
}

// end is the error of reading, if any; what follows the value is one.
func (d *decoder) end() error {
	syntax := d.End()
	if d.err != nil {
		return d.err
	}
	if syntax != nil {
		return errSerialization("%v", syntax)
	}
	return nil
}

// text reads a string, which must be Unicode.
func (d *decoder) text() string {
	s := d.String()
	if d.NotText() {
		d.refuse(errSerialization("a string is not valid UTF-8"))
	}
	return s
}

// item reads an item into memory of its own.
func (d *decoder) item() item {
	d.b = append(d.b[:0], 0, 0, 0)
	size, _ := d.object(0)
	return sealed(d.b, size)
}

// object reads a map's attributes and returns their size, names included, and their number.
func (d *decoder) object(depth int) (size, n int) {
	var few [16]string
	seen := few[:0]
	var many map[string]bool // as soon as comparing with each would be slow
	for d.Open('{'); d.More('}') && d.err == nil; {
		name := d.Name()
		if d.NotText() {
			d.refuse(errSerialization("an attribute's name is not valid UTF-8"))
		}
		if name == "" {
			d.refuse(errValidation("One or more parameter values were invalid: Attribute name must not be empty"))
		}
		twice := many[name]
		if many == nil {
			twice = slices.Contains(seen, name)
		}
		if twice {
			d.refuse(errSerialization("an attribute is given twice: %q", name))
		}
		if seen = append(seen, name); len(seen) > len(few) {
			if many == nil {
				many = make(map[string]bool)
				for _, s := range seen {
					many[s] = true
				}
			}
			many[name] = true
		}
		d.b = appendText(d.b, name)
		size += len(name) + d.value(depth+1)
		n++
	}
	return size, n
}

const (
	noType   = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
	manyType = "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"
)

// value reads a value that stands at the given level of its item, and returns its size.
func (d *decoder) value(depth int) (size int) {
	found := false
	for d.Open('{'); d.More('}') && d.err == nil; {
		kind := d.Name()
		if d.Peek() == 'n' { // a member that some encoders write for what is not there
			d.Null()
			continue
		}
		if found {
			d.refuse(errValidation(manyType))
			return 0
		}
		found = true
		size = d.content(kind, depth)
	}
	if !found && d.Err() == nil {
		d.refuse(errValidation(noType))
	}
	return size
}

func (d *decoder) content(kind string, depth int) (size int) {
	switch kind {
	case "S":
		s := d.text()
		d.b = appendText(append(d.b, codeS), s)
		return len(s)
	case "N":
		n, err := parseNumber(d.text())
		if err != nil {
			d.refuse(err)
			return 0
		}
		d.b = appendText(append(d.b, codeN), n.String())
		return n.size()
	case "B":
		s := d.binary()
		d.b = appendText(append(d.b, codeB), s)
		return len(s)
	case "BOOL":
		code := byte(codeFalse)
		if d.Bool() {
			code = codeTrue
		}
		d.b = append(d.b, code)
		return 1
	case "NULL":
		if !d.Bool() {
			d.refuse(errValidation("One or more parameter values were invalid: Null attribute value types must have the value of true"))
		}
		d.b = append(d.b, codeNull)
		return 1
	case "L", "M":
		if depth >= maxNesting { // the item is the first level
			d.refuse(errValidation("Nesting Levels have exceeded supported limits"))
			return 0
		}
		var at int
		if kind == "M" {
			d.b, at = open(d.b, codeM)
			inside, n := d.object(depth)
			size = 3 + inside + n
		} else {
			d.b, at = open(d.b, codeL)
			size = 3
			for d.Open('['); d.More(']') && d.err == nil; {
				size += 1 + d.value(depth+1)
			}
		}
		d.b = closed(d.b, at)
		return size
	case "SS", "NS", "BS":
		return d.elements(kind)
	}
	d.refuse(errValidation(noType))
	return 0
}

func (d *decoder) binary() string {
	b, err := base64.StdEncoding.DecodeString(d.String())
	if err != nil {
		d.refuse(errSerialization("B must be Base64: %v", err))
	}
	return string(b)
}

// elements reads a set.
func (d *decoder) elements(kind string) (size int) {
	v := value{kind: kind}
	for d.Open('['); d.More(']') && d.err == nil; {
		switch kind {
		case "SS":
			v.set = append(v.set, d.text())
		case "BS":
			v.set = append(v.set, d.binary())
		default:
			n, err := parseNumber(d.text())
			if err != nil {
				d.refuse(err)
			}
			v.set = append(v.set, n.String())
		}
	}
	if d.err == nil && d.Err() == nil {
		if err := v.checkSet(); err != nil {
			d.refuse(err)
		}
	}
	d.b = v.append(d.b)
	return v.size()
}

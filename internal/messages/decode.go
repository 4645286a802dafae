package messages

import (
	"strconv"
	"strings"

	"tributary/internal/base/rawjson"
)

// Attributes are the attributes of an SQS message that bear on its commands. Decode fills the empty ones with what a
// wrapping carries.
type Attributes struct {
	// TenantID is "tenant_id": every command of the message must be this tenant's. An attribute that is there and can't
	// be read is UnreadableTenant.
	TenantID    string
	TraceParent string // "traceparent", W3C Trace Context
	TraceState  string // "tracestate"
}

// UnreadableTenant stands for an attribute tenant_id that is not a String with a value. It is not a tenant id, so that no
// command is of this tenant.
const UnreadableTenant = "(unreadable)"

// MaxCommands is the most commands of one body. The smallest valid command takes 52 bytes and a comma, so a message of
// 1 MiB can't hold as many valid ones.
const MaxCommands = 20_000

// Decoded is one command of a body.
type Decoded struct {
	// Command is valid where Err is nil; otherwise it has what could be read of it.
	Command Command
	// Text is the command's own JSON text exactly as sent, without what it was wrapped in. SQS accepts it as the body of
	// a message if it accepted the body that it was decoded from. Where an element of an array could not be
	// unwrapped, or has a tenant_id of its own, it is the element with its wrapping.
	Text string
	// Err says why the command can't be written. Its neighbours are not touched by it.
	Err *Error
}

// maxWrappings is how many wrappings around one another are taken off. Two are usual (an EventBridge event by way of SNS).
const maxWrappings = 4

// Decode appends the commands of a message's body to dst, in their order. The body is a command, an array of commands or
// {"commands":[…]}, as it is or wrapped; so are the elements of an array. docs/messages names the wrappings. The commands
// are validated, and share the body's memory.
//
// A command that is JSON but not valid has an Err of its own. The *Error is for a body that can't be taken apart
// (nothing is appended then): broken JSON, neither object nor array, too many commands or none, or a wrapping around text
// that SQS would not accept as a body. Such a body is dead-lettered as it was received. The attributes may be nil.
func Decode(dst []Decoded, body string, a *Attributes) ([]Decoded, *Error) {
	d := decoder{dst: dst, start: len(dst)}
	if a != nil {
		d.attributes = *a
	}
	err := d.body(body, 0)
	if a != nil {
		*a = d.attributes
	}
	if d.tooMany {
		return dst, &Error{ReasonTooLarge, "", "the body has more than " + strconv.Itoa(MaxCommands) + " commands"}
	}
	if err != nil {
		return dst, err
	}
	d.demandTenant(d.start, d.attributes.TenantID)
	return d.dst, nil
}

// decoder decodes one body. Everything in it reads its text from start to end a bounded number of times for each wrapping.
type decoder struct {
	dst        []Decoded
	start      int        // of this body's commands in dst
	attributes Attributes // of the message, or of the element that is being unwrapped
	tooMany    bool       // there are more than MaxCommands: decoding stops
}

// demandTenant refuses the commands from an index on that are not the tenant's that an attribute names.
func (d *decoder) demandTenant(from int, tenant string) {
	if tenant == "" {
		return
	}
	names := quote(tenant)
	if tenant == UnreadableTenant {
		names = "which is not text and so names no tenant"
	}
	for i := from; i < len(d.dst); i++ {
		if e := &d.dst[i]; e.Err == nil && e.Command.TenantID != tenant {
			e.Err = &Error{ReasonTenantMismatch, "tenant_id",
				quote(e.Command.TenantID) + " is not the tenant of the message's attribute tenant_id, " + names}
		}
	}
}

// byteOrderMark may stand before a JSON text, and is ignored (RFC 8259, section 8.1).
const byteOrderMark = "\ufeff"

// body decodes text, which stands in so many wrappings.
func (d *decoder) body(text string, wrappings int) *Error {
	text = strings.TrimPrefix(text, byteOrderMark)
	s := rawjson.New(text)
	switch s.Peek() {
	case '[':
		if err := offloaded(text); err != nil {
			return err
		}
		if err := d.array(&s, wrappings); err != nil {
			return err
		}
		if err := s.End(); err != nil {
			return malformed(err)
		}
		return nil
	case '{':
		return d.object(text, wrappings)
	}
	switch {
	case s.Err() == nil && s.Offset() == len(text):
		return &Error{ReasonMalformed, "", "the body is empty"}
	case isBase64JSON(text):
		return &Error{ReasonMalformed, "", "the body is " + cut(text) + ", which is base64 of JSON: send the JSON itself"}
	}
	return &Error{ReasonMalformed, "", "the body is " + cut(text) + ", it must be a JSON object or array"}
}

// object decodes an object: a command, {"commands":[…]} or a wrapping. Nearly every one is a command. Only one that is no
// valid command is looked at as something else, so that no command can be taken for a wrapping.
func (d *decoder) object(text string, wrappings int) *Error {
	at := len(d.dst)
	if startsPacked(text) { // or its commands would be read twice
		if recognized, err := d.wrapping(text, wrappings, true); recognized {
			return err
		}
		return d.command(text)
	}
	if err := d.command(text); err != nil || d.dst[at].Err == nil {
		return err
	}
	bad := d.dst[at]
	d.dst = d.dst[:at]
	recognized, err := d.wrapping(text, wrappings, true)
	if !recognized {
		d.dst = append(d.dst, bad)
	}
	return err
}

// startsPacked says whether the first member of an object is `commands`.
func startsPacked(text string) bool {
	s := rawjson.New(text)
	s.Open('{')
	return s.More('}') && s.Name() == "commands"
}

// command decodes a text that is one command.
func (d *decoder) command(text string) *Error {
	s := rawjson.New(text)
	d.read(&s)
	if err := s.End(); err != nil {
		return malformed(err)
	}
	return nil
}

// array decodes an array of commands, each of which may be wrapped.
func (d *decoder) array(s *rawjson.Scanner, wrappings int) *Error {
	from := len(d.dst)
	for s.Open('['); !d.tooMany && s.More(']'); {
		at := len(d.dst)
		if s.Peek() != '{' {
			d.notObject(s)
			continue
		}
		d.read(s)
		if d.dst[at].Err != nil && s.Err() == nil {
			d.unwrap(at, wrappings)
		}
	}
	if err := s.Err(); err != nil {
		return malformed(err)
	}
	if len(d.dst) == from {
		return &Error{ReasonEmpty, "", "the message has no commands"}
	}
	return nil
}

// add makes room for one command more.
func (d *decoder) add() *Decoded {
	d.tooMany = d.tooMany || len(d.dst)-d.start >= MaxCommands
	d.dst = append(d.dst, Decoded{})
	return &d.dst[len(d.dst)-1]
}

// notObject reads an element that is no command. Equal ones that follow each other share an error.
func (d *decoder) notObject(s *rawjson.Scanner) {
	text := s.Skip()
	e := d.add()
	e.Text = text
	if i := len(d.dst) - 2; i >= d.start && d.dst[i].Text == text && d.dst[i].Err != nil {
		e.Err = d.dst[i].Err
		return
	}
	e.Err = &Error{ReasonMalformed, "", "the command is " + cut(text) + ", it must be a JSON object"}
}

// read decodes one command.
func (d *decoder) read(s *rawjson.Scanner) {
	s.Peek()
	start := s.Offset()
	e := d.add()
	var r commandReader
	e.Err = r.read(s, &e.Command)
	if s.Err() == nil {
		e.Text = s.Since(start)
	}
}

// unwrap puts what is wrapped in an element of an array, which is no command itself, into its place in dst. Without a
// wrapping the element stays.
func (d *decoder) unwrap(at, wrappings int) {
	element, outer := d.dst[at], d.attributes
	d.dst = d.dst[:at]
	recognized, err := d.wrapping(element.Text, wrappings, false)
	tenant := d.attributes.TenantID
	own := outer.TenantID == "" && tenant != ""
	d.attributes = outer // an element's attributes bear on that element alone
	switch n := len(d.dst) - at; {
	case !recognized:
	case err != nil:
		element.Err = err
	case own && n != 1:
		// A letter of one of them would lose the attribute, and all of them in each letter would be too many.
		element.Err = &Error{ReasonMalformed, "", "an element with a tenant_id attribute of its own must hold one command, it holds " + strconv.Itoa(n)}
	case own:
		d.demandTenant(at, tenant)
		d.dst[at].Text = element.Text
		return
	default:
		return
	}
	d.dst = append(d.dst[:at], element)
}

// commandReader reads one command. It goes on to the command's end whatever it finds, and keeps the first error. (The
// scanner is an argument, not a member, because it would be allocated then.)
type commandReader struct {
	err  *Error
	seen fieldSet
}

func (r *commandReader) fail(err *Error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *commandReader) read(s *rawjson.Scanner, c *Command) *Error {
	s.NotText() // what came before is not this command's
	kind := ""
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		f := fieldOf(name)
		if f == unknownField {
			s.Skip()
			if r.err == nil { // the text of an error costs more than the field
				r.err = &Error{ReasonUnknownField, cut(name), quote(name) + " is not a field of a command"}
			}
			continue
		}
		if r.seen&bit(f) != 0 {
			s.Skip()
			r.fail(duplicateField(name))
			continue
		}
		r.seen |= bit(f)
		switch f {
		case fieldType:
			kind = r.text(s, f)
		case fieldTenantID:
			c.TenantID = r.text(s, f)
		case fieldUserID:
			c.UserID = r.text(s, f)
		case fieldOrderID:
			c.OrderID = r.text(s, f)
		case fieldUserName:
			c.UserName = r.text(s, f)
		case fieldUserEmail:
			c.UserEmail = r.text(s, f)
		case fieldOrderAmount:
			c.OrderAmount = r.amount(s, f)
		case fieldVersion:
			c.Version = r.version(s, f)
		case fieldAttributes:
			c.Attributes = r.object(s, f)
		}
	}
	if s.Err() != nil {
		return nil // the whole body's affair
	}
	// Without a type nothing can be said of the fields, so that comes first.
	if r.seen&bit(fieldType) == 0 {
		return &Error{ReasonMissingField, "type", "the field is missing, it must be one of " + kindList}
	}
	if c.Kind = KindOf(kind); c.Kind == 0 && (r.err == nil || r.err.Field != "type") {
		return &Error{ReasonUnknownType, "type", quote(kind) + " is not one of " + kindList}
	}
	if r.err != nil {
		return r.err
	}
	if extra := r.seen &^ allowed[c.Kind]; extra != 0 {
		return foreign(extra, c.Kind)
	}
	if missing := required[c.Kind] &^ r.seen; missing != 0 {
		f := missing.lowest().String()
		return &Error{ReasonMissingField, f, "the field is missing, a " + c.Kind.String() + " must have it"}
	}
	return c.Validate()
}

// text reads a field that is a string.
func (r *commandReader) text(s *rawjson.Scanner, f field) string {
	if s.Peek() != '"' {
		r.wrongType(s, f, "a string")
		return ""
	}
	text := s.String()
	if s.NotText() {
		r.fail(invalid(f.String(), quote(text)+" is not valid Unicode (half of a surrogate pair, or broken UTF-8)"))
	}
	return text
}

// amount reads a field that is a number, or a number in a string.
func (r *commandReader) amount(s *rawjson.Scanner, f field) string {
	c := s.Peek()
	if c == '"' {
		return r.text(s, f)
	}
	if !isNumber(c) {
		r.wrongType(s, f, "a decimal number, or one in a string")
		return ""
	}
	return s.Number()
}

// version reads a field that is an integer, or one in a string. null is the same as no version.
func (r *commandReader) version(s *rawjson.Scanner, f field) int64 {
	var text string
	switch c := s.Peek(); {
	case c == 'n':
		s.Null()
		return 0
	case c == '"':
		if text = r.text(s, f); !isDigits(text) {
			r.fail(invalid(f.String(), quote(text)+versionRange))
			return 0
		}
	case isNumber(c):
		text = s.Number()
	default:
		r.wrongType(s, f, "an integer, or one in a string")
		return 0
	}
	n, _ := parseNumber(text)
	v, ok := n.int64()
	if !ok {
		r.fail(invalid(f.String(), quote(text)+versionRange))
	}
	return v
}

func isDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// object reads a field that is an object, as text. Validate looks into it. null is the same as no object.
func (r *commandReader) object(s *rawjson.Scanner, f field) string {
	switch s.Peek() {
	case 'n':
		s.Null()
		return ""
	case '{':
		text := s.Skip()
		s.NotText()
		return text
	}
	r.wrongType(s, f, "an object")
	return ""
}

func (r *commandReader) wrongType(s *rawjson.Scanner, f field, wanted string) {
	r.fail(invalid(f.String(), "it is "+cut(s.Skip())+", it must be "+wanted))
}

// isNumber says whether a number starts with c.
func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

func malformed(err *rawjson.SyntaxError) *Error {
	return &Error{ReasonMalformed, "", "the body is not JSON: " + err.Error()}
}

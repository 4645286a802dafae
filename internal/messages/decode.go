package messages

import (
	"tributary/internal/base/rawjson"
)

// Attributes are the attributes of an SQS message that bear on its commands. Decode fills the empty ones with what a
// wrapping carries.
type Attributes struct {
	TenantID string // "tenant_id": every command of the message must be this tenant's
	// OpaqueTenant says that there is a tenant_id that is not text: it is no tenant's, and TenantID is empty.
	OpaqueTenant bool
	TraceParent  string // "traceparent", W3C Trace Context
	TraceState   string // "tracestate"
}

// Decoded is one command of a body.
type Decoded struct {
	// Command is valid where Err is nil; otherwise it has what could be read of it.
	Command Command
	// Text is the command's own JSON text exactly as sent, without what it was wrapped in.
	Text string
	// Err says why the command can't be written. Its neighbours are not touched by it.
	Err *Error
}

// maxWrappings is how many wrappings around one another are taken off. Two are usual (an EventBridge event by way of SNS).
const maxWrappings = 4

// Decode appends the commands of a message's body to dst, in their order. The body is a command, an array of commands or
// {"commands":[…]}, as it is or wrapped: in an SNS notification, an EventBridge event or a CloudEvents envelope. The
// commands are validated, and share the body's memory.
//
// A command that is JSON but not valid has an Err of its own. The *Error is for a body that can't be taken apart
// (nothing is appended then): broken JSON, neither object nor array, or without commands. The attributes may be nil.
func Decode(dst []Decoded, body string, a *Attributes) ([]Decoded, *Error) {
	d := decoder{dst: dst, start: len(dst), attributes: a}
	if err := d.body(body, 0); err != nil {
		return dst, err
	}
	if d.attributes != nil && d.attributes.OpaqueTenant {
		for i := d.start; i < len(d.dst); i++ {
			if e := &d.dst[i]; e.Err == nil {
				e.Err = &Error{ReasonTenantMismatch, "tenant_id", "the message's attribute tenant_id is not text, so it names no tenant"}
			}
		}
	} else if d.attributes != nil && d.attributes.TenantID != "" {
		tenant := d.attributes.TenantID
		for i := d.start; i < len(d.dst); i++ {
			if e := &d.dst[i]; e.Err == nil && e.Command.TenantID != tenant {
				e.Err = &Error{ReasonTenantMismatch, "tenant_id",
					quote(e.Command.TenantID) + " is not the tenant of the message's attribute tenant_id, " + quote(tenant)}
			}
		}
	}
	return d.dst, nil
}

type decoder struct {
	dst        []Decoded
	start      int         // of this body's commands in dst
	attributes *Attributes // nil until there are any
}

// body decodes text, which stands in so many wrappings.
func (d *decoder) body(text string, wrappings int) *Error {
	s := rawjson.New(text)
	switch s.Peek() {
	case '[':
		if err := d.array(&s); err != nil {
			return err
		}
		if err := s.End(); err != nil {
			return malformed(err)
		}
		return nil
	case '{':
		return d.object(text, wrappings)
	}
	if s.Err() == nil && s.Offset() == len(text) {
		return &Error{ReasonMalformed, "", "the body is empty"}
	}
	return &Error{ReasonMalformed, "", "the body is " + cut(text) + ", it must be a JSON object or array"}
}

// object decodes an object: a command, {"commands":[…]} or a wrapping. Nearly every one is a command. Only one that is no
// valid command is looked at as something else, so that no command can be taken for a wrapping.
func (d *decoder) object(text string, wrappings int) *Error {
	if !startsPacked(text) { // or its commands would be read twice
		if err := d.command(text); err != nil || d.dst[d.start].Err == nil {
			return err
		}
		d.dst = d.dst[:d.start]
	}
	if recognized, err := d.wrapping(text, wrappings); recognized {
		return err
	}
	return d.command(text)
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
	d.element(&s)
	if err := s.End(); err != nil {
		return malformed(err)
	}
	return nil
}

// array decodes an array of commands.
func (d *decoder) array(s *rawjson.Scanner) *Error {
	for s.Open('['); s.More(']'); {
		d.element(s)
	}
	if err := s.Err(); err != nil {
		return malformed(err)
	}
	if len(d.dst) == d.start {
		return &Error{ReasonEmpty, "", "the message has no commands"}
	}
	return nil
}

// element decodes one command.
func (d *decoder) element(s *rawjson.Scanner) {
	first := s.Peek()
	start := s.Offset()
	d.dst = append(d.dst, Decoded{})
	e := &d.dst[len(d.dst)-1]
	if first != '{' {
		e.Text = s.Skip()
		e.Err = &Error{ReasonMalformed, "", "the command is " + cut(e.Text) + ", it must be a JSON object"}
		return
	}
	var r commandReader
	e.Err = r.read(s, &e.Command)
	if s.Err() == nil {
		e.Text = s.Since(start)
	}
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
			r.fail(&Error{ReasonUnknownField, cut(name), quote(name) + " is not a field of a command"})
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

func (r *commandReader) version(s *rawjson.Scanner, f field) int64 {
	if !isNumber(s.Peek()) {
		r.wrongType(s, f, "an integer")
		return 0
	}
	text := s.Number()
	n, _ := parseNumber(text)
	v, ok := n.int64()
	if !ok {
		r.fail(invalid(f.String(), quote(text)+versionRange))
	}
	return v
}

// object reads a field that is an object, as text. Validate looks into it.
func (r *commandReader) object(s *rawjson.Scanner, f field) string {
	if s.Peek() != '{' {
		r.wrongType(s, f, "an object")
		return ""
	}
	text := s.Skip()
	s.NotText()
	return text
}

func (r *commandReader) wrongType(s *rawjson.Scanner, f field, wanted string) {
	r.fail(invalid(f.String(), "it is "+cut(s.Skip())+", it must be "+wanted))
}

// isNumber says whether a number starts with c.
func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

func malformed(err *rawjson.SyntaxError) *Error {
	return &Error{ReasonMalformed, "", "the body is not JSON: " + err.Error()}
}

package messages

import (
	"math/bits"
	"strconv"
	"strings"

	"tributary/internal/base/decimal"
	"tributary/internal/base/rawjson"
	"tributary/internal/schema"
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

// Decode appends the commands of a message's body to dst, in their order. Their types are those of the set. The body is a command, an array of commands or
// {"commands":[…]}, as it is or wrapped; so are the elements of an array. docs/messages names the wrappings. The commands
// are validated, and share the body's memory.
//
// A command that is JSON but not valid has an Err of its own. The *Error is for a body that can't be taken apart
// (nothing is appended then): broken JSON, neither object nor array, too many commands or none, or a wrapping around text
// that SQS would not accept as a body. Such a body is dead-lettered as it was received. The attributes may be nil.
func Decode(types *schema.Set, dst []Decoded, body string, a *Attributes) ([]Decoded, *Error) {
	d := decoder{types: types, dst: dst, start: len(dst)}
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
	types      *schema.Set
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
	for i := from; i < len(d.dst); i++ {
		if e := &d.dst[i]; e.Err == nil && e.Command.TenantID != tenant {
			names := quote(tenant)
			if tenant == UnreadableTenant {
				names = "which is not text and so names no tenant"
			}
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
	from, counted := len(d.dst), 0
	for s.Open('['); !d.tooMany && s.More(']'); {
		at := len(d.dst)
		if s.Peek() != '{' {
			if counted == 0 {
				if counted = d.countNotObjects(*s); d.tooMany {
					break
				}
			}
			counted--
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

// countNotObjects counts the elements from here on that are not objects, up to the next object. Too many of them are found out
// before anything is allocated for one.
func (d *decoder) countNotObjects(s rawjson.Scanner) (n int) {
	for more := true; more && s.Peek() != '{'; more = s.More(']') {
		s.Skip()
		if n++; len(d.dst)-d.start+n > MaxCommands {
			d.tooMany = true
			return n
		}
	}
	return n
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
	e.Err = r.read(d.types, s, &e.Command)
	if s.Err() == nil {
		e.Text = s.Since(start)
	}
	if n := len(d.dst) - 2; n >= d.start && d.dst[n].Command.TenantID == e.Command.TenantID {
		e.Command.TenantID = d.dst[n].Command.TenantID // texts in one place compare at once, wherever that is done later
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
	seen uint64 // a bit (1 << slot) for each member
	size int    // of the values, as in an item
}

const (
	typeBit     = uint64(1) << schema.SlotType
	tenantIDBit = uint64(1) << schema.SlotTenantID
	idBit       = uint64(1) << schema.SlotID
)

func (r *commandReader) fail(err *Error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *commandReader) read(types *schema.Set, s *rawjson.Scanner, c *Command) *Error {
	s.NotText() // what came before is not this command's
	start := *s
	s.Open('{')
	if s.More('}') && s.Name() == schema.TypeName && s.Peek() == '"' {
		c.Type, c.Delete = types.Command(s.String())
	}
	if c.Type != nil {
		r.seen = typeBit
	} else {
		*s = start
		if err := r.find(types, s, c); c.Type == nil {
			return err
		}
		*s = start
		s.Open('{')
	}
	r.members(s, c)
	if s.Err() != nil {
		return nil // the whole body's affair
	}
	if r.err != nil {
		return r.err
	}
	return r.finish(c)
}

// find reads a command up to its type, without which nothing can be said of its other members. Of a command of no type it
// keeps the tenant.
func (r *commandReader) find(types *schema.Set, s *rawjson.Scanner, c *Command) *Error {
	var bad *Error
	for s.Open('{'); s.More('}'); {
		switch name := s.Name(); {
		case name == schema.TypeName && bad == nil:
			text, ok := r.text(s, schema.TypeName)
			if c.Type, c.Delete = types.Command(text); c.Type != nil {
				return nil
			}
			if bad = r.err; ok {
				bad = &Error{ReasonUnknownType, schema.TypeName, quote(text) + " is not one of " + types.CommandList()}
			}
		case name == schema.TenantIDName && c.TenantID == "" && s.Peek() == '"':
			c.TenantID = s.String()
		default:
			s.Skip()
		}
	}
	switch {
	case s.Err() != nil:
		return nil
	case bad == nil:
		return &Error{ReasonMissingField, schema.TypeName, "the field is missing, it must be one of " + types.CommandList()}
	}
	return bad
}

// members reads the members of a command whose type is known. After an error it keeps only the tenant.
func (r *commandReader) members(s *rawjson.Scanner, c *Command) {
	t := c.Type
	for s.More('}') {
		name := s.Name()
		slot := t.Slot(name)
		if slot == schema.SlotUnknown || r.err != nil && slot != schema.SlotTenantID {
			s.Skip()
			if r.err == nil { // the text of an error costs more than the field
				r.err = &Error{ReasonUnknownField, cut(name), quote(name) + " is not a field of a " + c.Name()}
			}
			continue
		}
		bit := uint64(1) << slot
		if r.seen&bit != 0 {
			s.Skip()
			r.fail(duplicateField(name))
			continue
		}
		r.seen |= bit
		switch {
		case slot.IsField() && !c.Delete:
			text, size, given, err := t.Fields[slot].Read(s)
			if err != nil {
				r.fail(valueError(err))
			} else if given {
				c.Values.Set(int(slot), text)
				r.size += size
			}
		case slot == schema.SlotType: // find read it
			s.Skip()
		case slot == schema.SlotTenantID:
			var ok bool
			if c.TenantID, ok = r.text(s, name); ok {
				if err := CheckTenantID(c.TenantID); err != nil {
					r.fail(err)
				}
			}
		case slot == schema.SlotID:
			var ok bool
			if c.ID, ok = r.text(s, name); ok {
				if err := schema.CheckID(name, c.ID); err != nil {
					r.fail(valueError(err))
				}
			}
		case slot == schema.SlotVersion:
			r.version(s, c)
		case slot == schema.SlotAttributes && !c.Delete:
			r.attributes(s, c)
		default:
			s.Skip()
			r.fail(foreign(c, name))
		}
	}
}

// finish demands that nothing is missing, and completes a command.
func (r *commandReader) finish(c *Command) *Error {
	needed := tenantIDBit | idBit
	if !c.Delete {
		needed |= uint64(c.Type.Needed)
	}
	if absent := needed &^ r.seen; absent != 0 {
		slot := schema.Slot(bits.TrailingZeros64(absent))
		if head := absent & (tenantIDBit | idBit); head != 0 {
			slot = schema.Slot(bits.TrailingZeros64(head))
		}
		return missing(c, c.Type.SlotName(slot))
	}
	if c.Delete {
		c.bytes = int32(c.Type.KeyBytes(c.TenantID, c.ID))
		return nil
	}
	r.size += c.Type.HeadBytes(c.TenantID, c.ID)
	r.size += c.Type.ApplyDefaults(&c.Values)
	return c.setBytes(r.size)
}

// text reads a string.
func (r *commandReader) text(s *rawjson.Scanner, name string) (text string, ok bool) {
	if s.Peek() != '"' {
		r.wrongType(s, name, "a string")
		return "", false
	}
	text = s.String()
	if s.NotText() {
		r.fail(invalid(name, quote(text)+" is not valid Unicode (half of a surrogate pair, or broken UTF-8)"))
		return text, false
	}
	return text, true
}

// version reads an integer, or one in a string. null is the same as no version.
func (r *commandReader) version(s *rawjson.Scanner, c *Command) {
	var text string
	switch first := s.Peek(); {
	case first == 'n':
		s.Null()
		return
	case first == '"':
		var ok bool
		if text, ok = r.text(s, schema.VersionName); !ok {
			return
		}
		if !isDigits(text) {
			r.fail(invalid(schema.VersionName, quote(text)+versionRange))
			return
		}
	case isNumber(first):
		text = s.Number()
	default:
		r.wrongType(s, schema.VersionName, "an integer, or one in a string")
		return
	}
	n, _ := decimal.Parse(text)
	v, ok := n.Int64()
	if !ok {
		r.fail(invalid(schema.VersionName, quote(text)+versionRange))
		return
	}
	c.Version = v
	r.size += len(schema.VersionName) + n.Bytes()
}

func isDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// attributes reads an object, as text. null is the same as no object.
func (r *commandReader) attributes(s *rawjson.Scanner, c *Command) {
	switch s.Peek() {
	case 'n':
		s.Null()
		return
	case '{':
	default:
		r.wrongType(s, schema.AttributesName, "an object")
		return
	}
	text, size, err := schema.ReadAttributes(s)
	if err != nil {
		r.fail(valueError(err))
		return
	}
	c.Attributes = text
	r.size += size
}

func (r *commandReader) wrongType(s *rawjson.Scanner, name, wanted string) {
	r.fail(invalid(name, "it is "+cut(s.Skip())+", it must be "+wanted))
}

// isNumber says whether a number starts with c.
func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

func malformed(err *rawjson.SyntaxError) *Error {
	return &Error{ReasonMalformed, "", "the body is not JSON: " + err.Error()}
}

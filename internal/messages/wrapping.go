package messages

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/base/rawjson"
)

// wrapping is what tells one wrapping from another, and what is in it. A member that is absent is empty. Members whose
// value may be a body are JSON texts.
type wrapping struct {
	duplicate string // the first member that comes twice

	// {"commands":[…]} of our own
	packed bool
	other  string // the first member beside `commands`

	// SNS notification ("Amazon SNS message and JSON formats")
	snsType, snsMessage, subscribeURL string
	snsAttributes                     string // JSON text

	// EventBridge event ("AWS service event metadata")
	detailType, source, detail string

	// CloudEvents 1.0, JSON event format
	specVersion, data, dataBase64 string
	traceParent, traceState       string // its distributed tracing extension

	// SQS record of EventBridge Pipes ("Amazon SQS as a source")
	eventSource, sqsBody string
	sqsAttributes        string // JSON text

	// S3 event notifications ("Event message structure"), which are no wrapping
	event, records string
}

// wrapping takes a wrapping off an object and decodes what is in it. It reports whether the object is one, or something
// that is known not to hold commands. packable says that {"commands":[…]} counts.
func (d *decoder) wrapping(text string, wrappings int, packable bool) (recognized bool, err *Error) {
	w, err := d.readWrapping(text, wrappings, packable)
	if err != nil {
		return true, err
	}
	var inner string
	switch {
	case w.packed:
		switch {
		case w.duplicate != "":
			err = duplicateField(w.duplicate)
		case w.other != "":
			err = &Error{ReasonUnknownField, cut(w.other), quote(w.other) + " is not a field of {\"commands\":[…]}"}
		}
		return true, err
	case w.snsType == "Notification" && isText(w.snsMessage):
		d.fromSNS(w.snsAttributes)
		inner, err = innerText("Message", w.snsMessage)
	case w.detailType != "" && w.source != "" && w.detail != "":
		inner, err = innerText("detail", w.detail)
	case w.specVersion != "" && w.data != "":
		inner, err = innerText("data", w.data)
	case w.specVersion != "" && isText(w.dataBase64):
		inner, err = innerBase64("data_base64", w.dataBase64)
	case w.eventSource == "aws:sqs" && isText(w.sqsBody):
		d.fromPipes(w.sqsAttributes)
		inner, err = innerText("body", w.sqsBody)
	default:
		err := w.notCommands()
		return err != nil, err
	}
	fill(&d.attributes.TraceParent, w.traceParent)
	fill(&d.attributes.TraceState, w.traceState)
	switch {
	case err != nil:
		return true, err
	case w.duplicate != "":
		return true, duplicateField(w.duplicate)
	case wrappings == maxWrappings:
		return true, &Error{ReasonTooLarge, "", "the body is wrapped too many times"}
	}
	return true, d.body(inner, wrappings+1)
}

// isText says whether a JSON text is a string.
func isText(text string) bool { return strings.HasPrefix(text, `"`) }

// innerText returns the body that a member of a wrapping holds: as JSON, or as a string that holds JSON.
func innerText(member, text string) (string, *Error) {
	if !isText(text) {
		return text, nil
	}
	s := rawjson.New(text)
	inner := s.String()
	if s.NotText() {
		return "", invalid(member, "it is not valid Unicode (half of a surrogate pair, or broken UTF-8)")
	}
	return inner, checkBody(member, inner)
}

func innerBase64(member, text string) (string, *Error) {
	s := rawjson.New(text)
	raw, err := base64.StdEncoding.DecodeString(s.String())
	if err != nil {
		return "", invalid(member, "it is not base64: "+err.Error())
	}
	inner := string(raw)
	return inner, checkBody(member, inner)
}

// checkBody says why SQS would not accept the text in a wrapping as a body, or returns nil: SQS takes #x9, #xA, #xD, #x20 to
// #xD7FF, #xE000 to #xFFFD and #x10000 to #x10FFFF ("SendMessage"). So every part of it can be a dead letter.
func checkBody(member, text string) *Error {
	for i, r := range text {
		switch {
		case r >= ' ' && r < utf8.RuneError, r > 0xFFFF, r == '\t', r == '\n', r == '\r':
			continue
		case r == utf8.RuneError:
			if strings.HasPrefix(text[i:], string(utf8.RuneError)) {
				continue
			}
			return invalid(member, "it is not valid UTF-8 at byte "+strconv.Itoa(i))
		}
		return invalid(member, "it has the character "+strconv.QuoteRuneToASCII(r)+", which SQS does not allow, at byte "+strconv.Itoa(i))
	}
	return nil
}

// readWrapping reads the members of an object, and its commands if it is {"commands":[…]}.
func (d *decoder) readWrapping(text string, wrappings int, packable bool) (w wrapping, err *Error) {
	s := rawjson.New(text)
	var seen rawjson.NameSet
	at, typed := len(d.dst), false
	for s.Open('{'); !d.tooMany && s.More('}'); {
		name := s.Name()
		if !seen.Add(name) && w.duplicate == "" {
			w.duplicate = cut(name)
		}
		isText := s.Peek() == '"'
		if name == "commands" && packable {
			if s.Peek() != '[' || w.packed {
				s.Skip()
				continue
			}
			w.packed = true
			err = d.array(&s, wrappings)
			continue
		}
		if w.other == "" {
			w.other = name
		}
		switch {
		case name == "type":
			typed = true
			s.Skip()
		case name == "Type" && isText:
			w.snsType = s.String()
		case name == "Message":
			w.snsMessage = s.Skip()
		case name == "MessageAttributes":
			w.snsAttributes = s.Skip()
		case name == "SubscribeURL" && isText:
			w.subscribeURL = s.String()
		case name == "detail-type" && isText:
			w.detailType = s.String()
		case name == "source" && isText:
			w.source = s.String()
		case name == "detail":
			w.detail = s.Skip()
		case name == "specversion" && isText:
			w.specVersion = s.String()
		case name == "data":
			w.data = s.Skip()
		case name == "data_base64":
			w.dataBase64 = s.Skip()
		case name == "traceparent" && isText:
			w.traceParent = s.String()
		case name == "tracestate" && isText:
			w.traceState = s.String()
		case name == "eventSource" && isText:
			w.eventSource = s.String()
		case name == "body":
			w.sqsBody = s.Skip()
		case name == "messageAttributes":
			w.sqsAttributes = s.Skip()
		case name == "Event" && isText:
			w.event = s.String()
		case name == "Records":
			w.records = s.Skip()
		default:
			s.Skip()
		}
	}
	if d.tooMany {
		return w, nil
	}
	if err := s.End(); err != nil {
		return w, malformed(err)
	}
	if w.packed && typed { // a command with a field too many
		w.packed = false
		d.dst = d.dst[:at]
		return w, nil
	}
	return w, err
}

// fromSNS fills the message's attributes from those of an SNS notification, {"name":{"Type":…,"Value":…}}.
func (d *decoder) fromSNS(attributes string) { d.attributesFrom(attributes, "Type", "Value") }

// fromPipes fills the message's attributes from those of an SQS record, {"name":{"dataType":…,"stringValue":…}}.
func (d *decoder) fromPipes(attributes string) {
	d.attributesFrom(attributes, "dataType", "stringValue")
}

func (d *decoder) attributesFrom(text, typeMember, valueMember string) {
	s := rawjson.New(text)
	if s.Peek() != '{' {
		return
	}
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		value := readAttribute(&s, typeMember, valueMember)
		switch name {
		case "tenant_id":
			if value == "" {
				value = UnreadableTenant
			}
			fill(&d.attributes.TenantID, value)
		case "traceparent":
			fill(&d.attributes.TraceParent, value)
		case "tracestate":
			fill(&d.attributes.TraceState, value)
		}
	}
}

// readAttribute returns the value of an attribute of type String, or of a type of the sender's own that is a String. Any
// other is empty.
func readAttribute(s *rawjson.Scanner, typeMember, valueMember string) string {
	if s.Peek() != '{' {
		s.Skip()
		return ""
	}
	dataType, value := "", ""
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		switch {
		case name == typeMember && s.Peek() == '"':
			dataType = s.String()
		case name == valueMember && s.Peek() == '"':
			value = s.String()
		default:
			s.Skip()
		}
	}
	if !IsText(dataType) {
		return ""
	}
	return value
}

// IsText says whether a message attribute of that type is a string ("Amazon SQS message metadata": String, perhaps with a
// label behind a point).
func IsText(typ string) bool { return typ == "String" || strings.HasPrefix(typ, "String.") }

func fill(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

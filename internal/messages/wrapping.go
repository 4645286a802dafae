package messages

import (
	"encoding/base64"
	"strings"

	"tributary/internal/base/rawjson"
)

// wrapping is what tells one wrapping from another, and what is in it. A member that is absent is empty.
type wrapping struct {
	duplicate string // the first member of these that comes twice

	// {"commands":[…]} of our own
	packed bool
	other  string // the first member beside `commands`

	// SNS notification ("Amazon SNS message and JSON formats")
	snsType, snsMessage string
	snsAttributes       string // JSON text

	// EventBridge event ("AWS service event metadata")
	detailType, source, detail string // JSON texts

	// CloudEvents 1.0, JSON event format
	specVersion, data, dataBase64 string // JSON texts
	traceParent, traceState       string // its distributed tracing extension
}

// wrapping takes a wrapping off an object and decodes what is in it. It reports whether the object is one.
func (d *decoder) wrapping(text string, wrappings int) (recognized bool, err *Error) {
	w, err := d.readWrapping(text)
	if err != nil {
		return true, err
	}
	if d.attributes == nil {
		d.attributes = new(Attributes)
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
	case w.snsType == "Notification" && w.snsMessage != "":
		d.snsAttributes(w.snsAttributes)
		inner = w.snsMessage
	case w.detailType != "" && w.source != "" && w.detail != "":
		inner = w.detail
	case w.specVersion != "" && w.data != "":
		inner = w.data
	case w.specVersion != "" && w.dataBase64 != "":
		raw, err := base64.StdEncoding.DecodeString(w.dataBase64)
		if err != nil {
			return true, invalid("data_base64", "it is not base64: "+err.Error())
		}
		inner = string(raw)
	default:
		return false, nil
	}
	fill(&d.attributes.TraceParent, w.traceParent)
	fill(&d.attributes.TraceState, w.traceState)
	if w.duplicate != "" {
		return true, duplicateField(w.duplicate)
	}
	if wrappings == maxWrappings {
		return true, &Error{ReasonTooLarge, "", "the body is wrapped too many times"}
	}
	return true, d.body(inner, wrappings+1)
}

// readWrapping reads the members of an object, and its commands if it is {"commands":[…]}.
func (d *decoder) readWrapping(text string) (w wrapping, err *Error) {
	s := rawjson.New(text)
	var seen nameSet
	typed := false
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		if !seen.add(name) && w.duplicate == "" {
			w.duplicate = cut(name)
		}
		isText := s.Peek() == '"'
		switch name {
		case "commands":
			if s.Peek() != '[' || w.packed {
				s.Skip()
				continue
			}
			w.packed = true
			err = d.array(&s)
			continue
		case "type":
			typed = true
		}
		if w.other == "" {
			w.other = name
		}
		switch {
		case name == "Type" && isText:
			w.snsType = s.String()
		case name == "Message" && isText:
			w.snsMessage = s.String()
		case name == "MessageAttributes":
			w.snsAttributes = s.Skip()
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
		case name == "data_base64" && isText:
			w.dataBase64 = s.String()
		case name == "traceparent" && isText:
			w.traceParent = s.String()
		case name == "tracestate" && isText:
			w.traceState = s.String()
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return w, malformed(err)
	}
	if w.packed && typed { // a command with a field too many
		w.packed = false
		d.dst = d.dst[:d.start]
		return w, nil
	}
	return w, err
}

// snsAttributes fills the message's attributes from those of an SNS notification, {"name":{"Type":…,"Value":…}}.
func (d *decoder) snsAttributes(text string) {
	s := rawjson.New(text)
	if s.Peek() != '{' {
		return
	}
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		value, typ := "", "String"
		if s.Peek() == '{' {
			for s.Open('{'); s.More('}'); {
				switch member := s.Name(); {
				case member == "Value" && s.Peek() == '"':
					value = s.String()
				case member == "Type" && s.Peek() == '"':
					typ = s.String()
				default:
					s.Skip()
				}
			}
		} else {
			s.Skip()
		}
		switch name {
		case "tenant_id":
			d.attributes.fillTenant(typ, value)
		case "traceparent":
			fill(&d.attributes.TraceParent, value)
		case "tracestate":
			fill(&d.attributes.TraceState, value)
		}
	}
}

// fillTenant takes a tenant_id of an SNS notification, unless the message has one of its own. What is no text names no tenant.
func (a *Attributes) fillTenant(typ, value string) {
	switch {
	case a.TenantID != "" || a.OpaqueTenant:
	case value == "" || !IsText(typ):
		a.OpaqueTenant = true
	default:
		a.TenantID = value
	}
}

// IsText says whether a message attribute of that type is a string ("Amazon SQS message metadata": String, perhaps with a label
// behind a point).
func IsText(typ string) bool { return typ == "String" || strings.HasPrefix(typ, "String.") }

func fill(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

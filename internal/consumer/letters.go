package consumer

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/aws/limits"
	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
)

// Letter is a dead letter: a command that can never be written, on its way to the dead-letter queue.
type Letter struct {
	Body       string
	Attributes map[string]string // of type String; none is empty
	// Others are further attributes of the command's message, and its tenant_id if that is not text.
	Others      []Attribute
	TraceHeader string // of X-Ray: the system attribute AWSTraceHeader
	// GroupID and DeduplicationID are for a FIFO dead-letter queue.
	GroupID         string
	DeduplicationID string

	delivery *delivery   // whose letter it is
	command  *badCommand // the command in question
	enclosed bool        // Body is the command in an envelope
}

// Size returns the bytes that SQS counts: the body, and the names, types and values of the attributes.
func (l *Letter) Size() int {
	n := len(l.Body)
	for name, value := range l.Attributes {
		n += len(name) + len("String") + len(value)
	}
	for i := range l.Others {
		n += l.Others[i].size()
	}
	return n
}

// maxDetailBytes limits the attribute detail.
const maxDetailBytes = 1024

// letterNames are the attributes that describe a letter. Attributes of the message with these names are not kept.
var letterNames = []string{
	"reason", "command_tenant_id", "field", "detail", "source_message_id", "source_index", "source_queue",
}

// newLetter makes the letter of a command. It carries the message's own attributes, so that a redrive is judged as the message
// was: tenant_id always, then the trace, then others while SQS's limit of ten allows. ok is false if the letter exceeds limit.
func newLetter(m *Message, queue string, b *badCommand, limit int) (l Letter, ok bool) {
	l = Letter{Body: b.text, Attributes: map[string]string{}, TraceHeader: m.TraceHeader, DeduplicationID: m.ID, command: b}
	set := func(name, value string) {
		if value = attributeText(value); value != "" {
			l.Attributes[name] = value
		}
	}
	if b.position >= 0 {
		set("source_index", strconv.Itoa(b.position))
		l.DeduplicationID += "-" + strconv.Itoa(b.position)
	}
	set("reason", string(b.why.Reason))
	set("command_tenant_id", cut(b.tenant, limits.SQSGroupIDBytes))
	set("field", cut(b.why.Field, limits.SQSGroupIDBytes))
	set("source_message_id", m.ID)
	set("source_queue", queue)
	set("detail", cut(b.why.Detail, maxDetailBytes))
	if tenant, given := senderTenant(m); given && messages.IsText(tenant.Type) {
		l.Attributes[tenant.Name] = tenant.Text
	} else if given {
		l.Others = []Attribute{tenant}
	}
	set("traceparent", m.Attributes.TraceParent)
	set("tracestate", m.Attributes.TraceState)
	l.setGroup(m, b.tenant)
	if !acceptable(l.Body) {
		l.enclose()
	}

	kept := len(l.Others)
	room := limits.SQSMessageAttributes - len(l.Attributes)
	for i := range m.Others {
		if a := &m.Others[i]; len(l.Others) < room && a.sendable() && a.Name != "tenant_id" && !slices.Contains(letterNames, a.Name) && l.Attributes[a.Name] == "" {
			l.Others = append(l.Others, *a)
		}
	}
	if l.Size() > limit {
		l.Others = l.Others[:kept]
	}
	for _, name := range []string{"detail", "tracestate", "traceparent"} {
		if l.Size() > limit {
			delete(l.Attributes, name)
		}
	}
	return l, l.Size() <= limit
}

// maxTenantBytes limits the tenant_id that a letter repeats as text.
const maxTenantBytes = 256

// senderTenant returns the message's attribute tenant_id, which names its sender. A value that can't be repeated exactly becomes
// Binary, which names no tenant: a tenant_id that was cut or repaired might name another tenant.
func senderTenant(m *Message) (a Attribute, given bool) {
	tenant := m.Attributes.TenantID
	for i := range m.Others {
		if m.Others[i].Name == "tenant_id" {
			if a := m.Others[i]; a.size() <= maxTenantBytes && a.sendable() {
				return a, true
			}
		}
	}
	switch {
	case tenant == messages.UnreadableTenant:
		return Attribute{Name: "tenant_id", Type: "Binary", Binary: []byte("not text")}, true
	case tenant == "":
		return a, false
	case len(tenant) > maxTenantBytes || attributeText(tenant) != tenant:
		return Attribute{Name: "tenant_id", Type: "Binary", Binary: []byte(cut(tenant, maxTenantBytes))}, true
	}
	return Attribute{Name: "tenant_id", Type: "String", Text: tenant}, true
}

// setGroup sets the message group: that of the message, otherwise the tenant if SQS takes it as a group.
func (l *Letter) setGroup(m *Message, tenant string) {
	l.GroupID = m.GroupID
	if l.GroupID == "" && len(tenant) <= limits.SQSGroupIDBytes && !strings.ContainsFunc(tenant, func(r rune) bool { return r <= ' ' || r > '~' }) {
		l.GroupID = tenant
	}
	if l.GroupID == "" {
		l.GroupID = "unknown"
	}
}

// enclose puts the body into a CloudEvents envelope, in base64. The worker unwraps such envelopes, so a redrive sends the body as
// it is, and the command's text stays exact.
func (l *Letter) enclose() {
	b := make([]byte, 0, 160+base64.StdEncoding.EncodedLen(len(l.Body)))
	b = append(b, `{"specversion":"1.0","type":"tributary.dead-letter","source":"tributary","id":`...)
	b = rawjson.AppendString(b, l.DeduplicationID)
	b = append(b, `,"datacontenttype":"application/json","data_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, []byte(l.Body))
	l.Body, l.enclosed = string(append(b, `"}`...)), true
}

// acceptable reports whether SQS takes a text as a body.
func acceptable(body string) bool {
	if body == "" || !utf8.ValidString(body) {
		return false
	}
	return !strings.ContainsFunc(body, func(r rune) bool { return !sqsText(r) })
}

// sqsText reports whether SQS takes a character in a body or an attribute: #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD |
// #x10000 to #x10FFFF ("SendMessage").
func sqsText(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000
}

// attributeText replaces the characters that SQS refuses in an attribute, and DEL, which controls terminals.
func attributeText(s string) string {
	return strings.Map(func(r rune) rune {
		if sqsText(r) && r != 0x7f {
			return r
		}
		return utf8.RuneError
	}, s)
}

// cut shortens s to at most n bytes without cutting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

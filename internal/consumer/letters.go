package consumer

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
)

// Letter is a command that can never be written, on its way to the dead-letter queue.
type Letter struct {
	Body       string
	Attributes map[string]string // none is empty
	// GroupID and DeduplicationID are for a FIFO dead-letter queue.
	GroupID         string
	DeduplicationID string

	delivery *delivery
}

// Size is what SQS counts: the body and the attributes' names, types and values.
func (l *Letter) Size() int {
	n := len(l.Body)
	for name, value := range l.Attributes {
		n += len(name) + len("String") + len(value)
	}
	return n
}

// detailBytes is the most that a letter says in words.
const detailBytes = 1024

// newLetter describes why a command of a message could not be written. index is the command's position in its
// message, or -1 where the body could not be decoded. ok is false where body and attributes exceed limit.
func newLetter(m *Message, queue string, index int, tenant, text string, why *messages.Error, limit int) (l Letter, ok bool) {
	l = Letter{Body: text, Attributes: map[string]string{}, GroupID: tenant, DeduplicationID: m.ID}
	set := func(name, value string) {
		if value = attributeText(value); value != "" {
			l.Attributes[name] = value
		}
	}
	if index >= 0 {
		set("source_index", strconv.Itoa(index))
		l.DeduplicationID += "-" + strconv.Itoa(index)
	}
	if l.GroupID == "" || len(l.GroupID) > limits.SQSGroupIDBytes || m.GroupID != "" {
		l.GroupID = m.GroupID
	}
	if l.GroupID == "" {
		l.GroupID = "unknown"
	}
	set("reason", string(why.Reason))
	set("tenant_id", cut(tenant, limits.SQSGroupIDBytes))
	set("field", cut(why.Field, limits.SQSGroupIDBytes))
	set("source_message_id", m.ID)
	set("source_queue", queue)
	set("detail", cut(why.Detail, detailBytes))
	if l.Size() > limit {
		delete(l.Attributes, "detail")
	}
	return l, l.Size() <= limit
}

// attributeText replaces what SQS refuses in an attribute's value: characters outside of #x9 | #xA | #xD |
// #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF ("SendMessage").
func attributeText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF && r != 0x7f || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 {
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

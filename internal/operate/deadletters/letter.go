// Package deadletters reads a dead-letter queue without emptying it, and sends letters back to where they came
// from or removes them.
package deadletters

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// ReasonReceivedTooOften is the reason given for letters that SQS's redrive policy moved: they carry none
// themselves.
const ReasonReceivedTooOften = "received_too_often"

// The message attributes of a letter that a worker wrote. All are strings; those that would be empty are absent. tenant_id is the
// message's own, and says who sent it; command_tenant_id is what the command says whose data it is. Letters by versions that had
// no command_tenant_id have the command's under tenant_id.
const (
	attributeReason          = "reason"
	attributeDetail          = "detail"
	attributeTenantID        = "tenant_id"
	attributeCommandTenantID = "command_tenant_id"
	attributeField           = "field"
	attributeSourceMessageID = "source_message_id"
	attributeSourceIndex     = "source_index"
	attributeSourceQueue     = "source_queue"
)

// ownAttributes are those that a worker added: a redrive leaves them out.
var ownAttributes = []string{
	attributeReason, attributeDetail, attributeField, attributeSourceMessageID, attributeSourceIndex, attributeSourceQueue,
	attributeCommandTenantID,
}

// Letter is one message of a dead-letter queue. Its JSON is a line of an export.
type Letter struct {
	ID              string    `json:"id"`      // the message's id in the dead-letter queue
	SentAt          time.Time `json:"sent_at"` // when it was sent there; when to the queue, where SQS moved it
	Reason          string    `json:"reason"`
	Detail          string    `json:"detail,omitempty"`
	TenantID        string    `json:"tenant_id,omitempty"`         // who sent it; the command's where the message doesn't say
	CommandTenantID string    `json:"command_tenant_id,omitempty"` // whose data the command claims to be
	Field           string    `json:"field,omitempty"`
	SourceMessageID string    `json:"source_message_id,omitempty"`
	SourceIndex     *int      `json:"source_index,omitempty"` // the command's place in its message, from 0
	SourceQueue     string    `json:"source_queue,omitempty"`
	GroupID         string    `json:"group_id,omitempty"`
	Receives        int       `json:"receives"` // how often it was received, looking included
	// Attributes are the message's other attributes. Binary values are in base64.
	Attributes map[string]Attribute `json:"attributes,omitempty"`
	Body       string               `json:"body"`

	moved   bool // by SQS: its attributes are the upstream's
	tagged  bool // TenantID is from an attribute
	trace   *string
	raw     map[string]types.MessageAttributeValue
	receipt string
	removed bool // from the dead-letter queue, by this walk
}

// Attribute is a message attribute that an upstream system sent.
type Attribute struct {
	Type   string `json:"type"`
	Text   string `json:"text,omitempty"`
	Binary []byte `json:"binary,omitempty"`
}

// newLetter reads a message that was received with all of its attributes. Its commands are of declared types.
func newLetter(declared *schema.Set, m *types.Message) *Letter {
	text := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
	l := &Letter{
		ID:       aws.ToString(m.MessageId),
		SentAt:   milliseconds(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)]),
		Reason:   text(attributeReason),
		TenantID: text(attributeTenantID),
		GroupID:  m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)],
		Body:     aws.ToString(m.Body),
		raw:      m.MessageAttributes,
		receipt:  aws.ToString(m.ReceiptHandle),
	}
	if trace := m.Attributes[string(types.MessageSystemAttributeNameAWSTraceHeader)]; trace != "" {
		l.trace = &trace
	}
	// A count that can't be read is shown as 0: it decides nothing.
	l.Receives, _ = strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	source := m.Attributes[string(types.MessageSystemAttributeNameDeadLetterQueueSourceArn)]
	l.moved = l.Reason == "" || source != ""
	if l.moved {
		l.Reason = ReasonReceivedTooOften
		l.Detail = "moved by the queue's redrive policy"
		l.SourceMessageID = l.ID // SQS keeps it
		l.SourceQueue = source[strings.LastIndexByte(source, ':')+1:]
		l.tagged = l.TenantID != ""
		if _, given := m.MessageAttributes[attributeTenantID]; !given {
			l.TenantID = tenantOf(declared, l.Body)
		}
	} else {
		l.CommandTenantID = text(attributeCommandTenantID)
		if _, given := m.MessageAttributes[attributeTenantID]; !given {
			l.TenantID = l.CommandTenantID
		}
		l.tagged = l.TenantID != ""
		l.Detail, l.Field = text(attributeDetail), text(attributeField)
		l.SourceMessageID, l.SourceQueue = text(attributeSourceMessageID), text(attributeSourceQueue)
		if index, err := strconv.Atoi(text(attributeSourceIndex)); err == nil {
			l.SourceIndex = &index
		}
	}
	for name, value := range m.MessageAttributes {
		if name == attributeTenantID && value.StringValue != nil || !l.moved && slices.Contains(ownAttributes, name) {
			continue
		}
		if l.Attributes == nil {
			l.Attributes = map[string]Attribute{}
		}
		l.Attributes[name] = Attribute{Type: aws.ToString(value.DataType), Text: aws.ToString(value.StringValue), Binary: value.BinaryValue}
	}
	return l
}

// tenantOf is the tenant of all commands of a body, or "" where they have several or can't be read. The tenant of a command is read
// whatever its type is.
func tenantOf(declared *schema.Set, body string) string {
	commands, err := messages.Decode(declared, nil, body, nil)
	if err != nil {
		return ""
	}
	tenant := commands[0].Command.TenantID
	for i := range commands {
		if commands[i].Command.TenantID != tenant {
			return ""
		}
	}
	return tenant
}

func milliseconds(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// Withheld says why a letter must not be sent back, or "". Letters of older versions don't say who sent a message that was
// refused for its tenant: sent back, it would be accepted.
func (l *Letter) Withheld() string {
	if l.Reason == string(messages.ReasonTenantMismatch) && l.CommandTenantID == "" {
		return "an older version wrote it, which did not keep the sender's tenant_id: sent back, the command would be accepted"
	}
	return ""
}

// envelope is how a body begins that a worker put into an envelope because SQS would not take it as it is.
const envelope = `{"specversion":"1.0","type":"tributary.dead-letter",`

// Enclosed is the command in a body that a worker put into an envelope; ok is false for other bodies.
func (l *Letter) Enclosed() (command string, ok bool) {
	if !strings.HasPrefix(l.Body, envelope) {
		return "", false
	}
	var e struct {
		Data []byte `json:"data_base64"`
	}
	if err := json.Unmarshal([]byte(l.Body), &e); err != nil {
		return "", false
	}
	return string(e.Data), true
}

// isGroup says whether SQS takes a text as a message group ("SendMessage").
func isGroup(text string) bool {
	return text != "" && len(text) <= limits.SQSGroupIDBytes && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// entry is what a redrive sends: the body as it is, the attributes that the worker didn't add, the trace, and the letter's
// own message group, or the tenant where it has none.
func (l *Letter) entry(fifo bool) types.SendMessageBatchRequestEntry {
	e := types.SendMessageBatchRequestEntry{MessageBody: &l.Body}
	for name, value := range l.raw {
		if !l.moved && slices.Contains(ownAttributes, name) {
			continue
		}
		if e.MessageAttributes == nil {
			e.MessageAttributes = map[string]types.MessageAttributeValue{}
		}
		e.MessageAttributes[name] = value
	}
	if l.trace != nil {
		e.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{
			string(types.MessageSystemAttributeNameForSendsAWSTraceHeader): {DataType: aws.String("String"), StringValue: l.trace},
		}
	}
	switch {
	case l.GroupID != "":
		e.MessageGroupId = &l.GroupID
	case l.tagged && isGroup(l.TenantID):
		e.MessageGroupId = &l.TenantID
	}
	if fifo {
		if e.MessageGroupId == nil {
			e.MessageGroupId = aws.String("redriven")
		}
		// A redrive that is repeated within five minutes, because its answer or the removal was lost, is not sent
		// twice. A letter that comes back has another id.
		e.MessageDeduplicationId = aws.String("redrive-" + l.ID)
	}
	return e
}

// entryBytes is the size of an entry as SQS counts it.
func entryBytes(e *types.SendMessageBatchRequestEntry) int {
	n := len(aws.ToString(e.MessageBody))
	for name, value := range e.MessageAttributes {
		n += len(name) + len(aws.ToString(value.DataType)) + len(aws.ToString(value.StringValue)) + len(value.BinaryValue)
	}
	return n
}

// Filter chooses letters. Its zero value chooses all.
type Filter struct {
	IDs     []string // of the letter or of the message it comes from
	Reasons []string
	Tenants []string
	Since   time.Time // sent at that time or later
	// Redrivable leaves out letters that a redrive withholds.
	Redrivable bool
}

// Match says whether the filter chooses the letter: each criterion that is given must fit.
func (f *Filter) Match(l *Letter) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, l.ID) || slices.Contains(f.IDs, l.SourceMessageID)) &&
		(len(f.Reasons) == 0 || slices.Contains(f.Reasons, l.Reason)) &&
		(len(f.Tenants) == 0 || slices.Contains(f.Tenants, l.TenantID)) &&
		(f.Since.IsZero() || !l.SentAt.Before(f.Since)) &&
		(!f.Redrivable || l.Withheld() == "")
}

// All says whether the filter chooses every letter.
func (f *Filter) All() bool {
	return len(f.IDs) == 0 && len(f.Reasons) == 0 && len(f.Tenants) == 0 && f.Since.IsZero()
}

package queue

import (
	"crypto/md5" //nolint:gosec // the protocol asks for MD5, as a checksum
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/uuid"
)

// state is where in its life a message is.
type state uint8

const (
	visible state = iota
	delayed
	inFlight
)

// messageID is a message's id, a UUID.
type messageID [16]byte

func (id messageID) String() string { return uuid.UUID(id).String() }

// message is one message of one queue, kept small: what is seldom asked for is encoded, and times are nanoseconds since
// 1970, 0 for never. What stands above the line never changes after the send, but when the message moves to a
// dead-letter queue.
type message struct {
	id         messageID
	sum        [md5.Size]byte // of the body
	body       string
	attributes string // as JSON, empty for none
	trace      string // AWSTraceHeader
	group      string
	dedup      string
	source     string // ARN of the queue whose redrive policy moved it here
	sequence   uint64 // of a FIFO queue
	order      uint64 // of its arrival, among all messages of the server
	sent       int64

	state         state
	receives      int32
	position      int32  // in the queue's timers, -1 outside
	place         uint64 // in the queue's ready messages, while it is visible
	receipt       uint64 // of the last receive
	firstReceived int64
	received      int64 // the last receive, from which the 12 hours count
	due           int64 // when a delayed or received message becomes visible
}

// send is what SendMessage and an entry of SendMessageBatch have in common.
type send struct {
	MessageBody             *string
	DelaySeconds            *int32
	MessageAttributes       map[string]types.MessageAttributeValue
	MessageSystemAttributes map[string]types.MessageSystemAttributeValue
	MessageDeduplicationId  *string //nolint:staticcheck // the wire name
	MessageGroupId          *string //nolint:staticcheck // the wire name
}

// size is what counts against MaximumMessageSize ("Amazon SQS message quotas"): the body, and each attribute's
// name, type and value. System attributes don't count.
func (s *send) size() int {
	n := len(text(s.MessageBody))
	for name, a := range s.MessageAttributes {
		n += len(name) + len(text(a.DataType)) + len(text(a.StringValue)) + len(a.BinaryValue)
	}
	return n
}

// message checks s against the rules of queue q and makes a message of it, without id and sequence number.
func (s *send) message(q *queue) (*message, time.Duration, *apiError) {
	configured := q.settings.Load()
	body := text(s.MessageBody)
	if body == "" {
		return nil, 0, errMissing("MessageBody")
	}
	if limit := configured.maximumMessageSize; s.size() > limit {
		return nil, 0, errParameter("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", limit)
	}
	if r, bad := badCharacter(body); bad {
		return nil, 0, fail("InvalidMessageContents", "InvalidMessageContents", "Invalid binary character '#x%X' was found in the message body, the set of allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF", r)
	}
	if err := checkAttributes(s.MessageAttributes); err != nil {
		return nil, 0, err
	}
	trace, err := traceHeader(s.MessageSystemAttributes)
	if err != nil {
		return nil, 0, err
	}
	m := &message{id: messageID(uuid.New()), sum: md5.Sum([]byte(body)), body: body, trace: trace, //nolint:gosec // the protocol asks for MD5
		group: text(s.MessageGroupId), dedup: text(s.MessageDeduplicationId), position: -1}
	if len(s.MessageAttributes) > 0 {
		b, _ := json.Marshal(s.MessageAttributes) //nolint:errchkjson // it was decoded from JSON
		m.attributes = string(b)
	}
	delay := configured.delay
	if s.DelaySeconds != nil {
		if *s.DelaySeconds < 0 || *s.DelaySeconds > maxDelaySeconds {
			return nil, 0, errValue("DelaySeconds", *s.DelaySeconds, "DelaySeconds must be >= 0 and <= 900.")
		}
		if q.fifo && *s.DelaySeconds > 0 {
			return nil, 0, errValue("DelaySeconds", *s.DelaySeconds, "The request include parameter that is not valid for this queue type.")
		}
		if !q.fifo {
			delay = time.Duration(*s.DelaySeconds) * time.Second
		}
	}
	if s.MessageGroupId != nil && !identifier(m.group) {
		return nil, 0, errValue("MessageGroupId", m.group, "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.")
	}
	if s.MessageDeduplicationId != nil && !identifier(m.dedup) {
		return nil, 0, errValue("MessageDeduplicationId", m.dedup, "MessageDeduplicationId can only include alphanumeric and punctuation characters. 1 to 128 in length.")
	}
	switch {
	case !q.fifo && m.dedup != "":
		return nil, 0, errValue("MessageDeduplicationId", m.dedup, "The request include parameter that is not valid for this queue type.")
	case q.fifo && m.group == "":
		return nil, 0, errMissing("MessageGroupId")
	case q.fifo && m.dedup == "":
		if !configured.contentBasedDeduplication {
			return nil, 0, errParameter("The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
		}
		hash := sha256.Sum256([]byte(body))
		m.dedup = hex.EncodeToString(hash[:])
	}
	return m, delay, nil
}

// identifier holds for a group or deduplication id: 1 to 128 of letters, digits and punctuation.
func identifier(s string) bool {
	if s == "" || len(s) > maxIDBytes {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// badCharacter finds the first character that XML, and so SQS, does not allow.
func badCharacter(s string) (rune, bool) {
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return rune(s[i]), true
			}
		case r == '\t', r == '\n', r == '\r', r >= 0x20 && r <= 0xD7FF, r >= 0xE000 && r <= 0xFFFD, r >= 0x10000:
		default:
			return r, true
		}
	}
	return 0, false
}

func checkAttributes(attributes map[string]types.MessageAttributeValue) *apiError {
	if len(attributes) > maxMessageAttributes {
		return errParameter("Number of message attributes [%d] exceeds the allowed maximum [%d].", len(attributes), maxMessageAttributes)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if err := checkAttribute(name, attributes[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkAttribute(name string, a types.MessageAttributeValue) *apiError {
	lower := strings.ToLower(name)
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
	}
	if name == "" || len(name) > maxAttributeName || strings.ContainsFunc(lower, bad) || strings.HasPrefix(name, ".") ||
		strings.HasSuffix(name, ".") || strings.Contains(name, "..") ||
		strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon.") {
		return errParameter("The message attribute name '%s' is invalid. Attribute name can contain A-Z, a-z, 0-9, underscore (_), hyphen (-), and period (.) characters, and it can't start with AWS. or Amazon.", name)
	}
	dataType := text(a.DataType)
	if dataType == "" {
		return errParameter("The message (user) attribute '%s' must contain a non-empty attribute type.", name)
	}
	kind, _, _ := strings.Cut(dataType, ".")
	if len(dataType) > maxAttributeName || kind != "String" && kind != "Number" && kind != "Binary" {
		return errParameter("The type of message (user) attribute '%s' is invalid. You must use only the following supported type prefixes: Binary, Number, String.", name)
	}
	if kind == "Binary" && len(a.BinaryValue) == 0 || kind != "Binary" && text(a.StringValue) == "" {
		return errParameter("The message (user) attribute '%s' must contain a non-empty value of type '%s'.", name, dataType)
	}
	if r, found := badCharacter(text(a.StringValue)); found {
		return errParameter("Invalid binary character '#x%X' was found in the message attribute '%s' value, the set of allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF", r, name)
	}
	if kind == "Number" {
		_, err := strconv.ParseFloat(text(a.StringValue), 64)
		if err != nil || strings.Trim(*a.StringValue, "0123456789+-.eE") != "" { // Go's NaN and 0x10 are no numbers to SQS
			return errParameter("Can't cast the value of message (user) attribute '%s' to a number.", name)
		}
	}
	return nil
}

// traceHeader reads the one system attribute that a sender may set.
func traceHeader(attributes map[string]types.MessageSystemAttributeValue) (string, *apiError) {
	for name, a := range attributes {
		if name != "AWSTraceHeader" {
			return "", errParameter("Message system attribute name '%s' is invalid.", name)
		}
		if text(a.DataType) != "String" {
			return "", errParameter("The type of message (system) attribute '%s' is invalid. You must use only the following supported type prefixes: String.", name)
		}
		if text(a.StringValue) == "" {
			return "", errParameter("The message (system) attribute '%s' must contain a non-empty value of type 'String'.", name)
		}
		return *a.StringValue, nil
	}
	return "", nil
}

// selected reads the attributes that a receive asked for by name, by prefix or all.
func (m *message) selected(names []string) map[string]types.MessageAttributeValue {
	if m.attributes == "" || len(names) == 0 {
		return nil
	}
	var attributes map[string]types.MessageAttributeValue
	_ = json.Unmarshal([]byte(m.attributes), &attributes) // it was encoded here
	var out map[string]types.MessageAttributeValue
	for name, a := range attributes {
		asked := slices.ContainsFunc(names, func(n string) bool {
			prefix, wild := strings.CutSuffix(n, ".*")
			return n == name || n == "All" || wild && strings.HasPrefix(name, prefix)
		})
		if asked {
			if out == nil {
				out = make(map[string]types.MessageAttributeValue)
			}
			out[name] = a
		}
	}
	return out
}

func sum(s string) string {
	hash := md5.Sum([]byte(s)) //nolint:gosec // the protocol asks for MD5
	return hex.EncodeToString(hash[:])
}

// attributesSum is the MD5 of message attributes as a client recomputes it ("Calculating the MD5 message digest
// for message attributes"): sorted by name, each part preceded by its length, the value by 1 for text, 2 for bytes.
func attributesSum(attributes map[string]types.MessageAttributeValue) string {
	if len(attributes) == 0 {
		return ""
	}
	var b []byte
	part := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // at most 1 MiB
		b = append(b, s...)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := attributes[name]
		part(name)
		part(text(a.DataType))
		if a.StringValue != nil {
			b = append(b, 1)
			part(*a.StringValue)
		} else {
			b = append(b, 2)
			part(string(a.BinaryValue))
		}
	}
	return sum(string(b))
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

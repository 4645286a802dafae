package consumer

import (
	"context"
	"strings"
	"time"

	"tributary/internal/messages"
)

// Queue is the command queue as the consumer uses it. Error codes are those of SQS.
type Queue interface {
	// Receive returns up to maxMessages messages. It waits up to wait for the first. An implementation must not retry: a lost
	// answer has made messages invisible, and another call would not return them.
	Receive(ctx context.Context, maxMessages int, wait time.Duration) ([]Message, error)
	// Delete deletes up to ten messages and returns the failures.
	Delete(ctx context.Context, handles []string) ([]Failure, error)
	// ChangeVisibility makes up to ten messages invisible for a time from now and returns the failures.
	ChangeVisibility(ctx context.Context, changes []Visibility) ([]Failure, error)
}

// DeadLetterQueue receives the commands that can never be written.
type DeadLetterQueue interface {
	// Send puts up to ten letters, 1 MiB in all, on the queue and returns the failures. After an error each letter may have been
	// accepted or not. If SQS refuses the whole call because of its only letter, that is a final failure of the letter.
	Send(ctx context.Context, letters []Letter) ([]Failure, error)
}

// Message is a message as one receive brought it.
type Message struct {
	ID            string
	ReceiptHandle string
	Body          string
	GroupID       string
	ReceiveCount  int
	SentAt        time.Time
	// FirstReceivedAt is the time of the message's first receive, by SQS's clock; zero: the queue does not tell.
	FirstReceivedAt time.Time
	Attributes      messages.Attributes
	TraceHeader     string // of X-Ray: the system attribute AWSTraceHeader
	// Others are the message attributes that Attributes does not hold: those of other names, and a tenant_id that is not a String.
	Others []Attribute
}

// Attribute is a message attribute of SQS.
type Attribute struct {
	Name   string
	Type   string // String, Number or Binary, perhaps followed by a dot and a label of the sender
	Text   string // the value, unless it is binary
	Binary []byte
}

// AddAttribute adds an attribute to those that the message has. Those that the consumer itself reads go into Attributes.
func (m *Message) AddAttribute(a Attribute) {
	switch {
	case a.Name == "tenant_id" && (a.Text == "" || !messages.IsText(a.Type)):
		m.Attributes.TenantID = messages.UnreadableTenant
	case a.Name == "tenant_id":
		m.Attributes.TenantID = a.Text
		return
	case a.Name == "traceparent" && a.Text != "":
		m.Attributes.TraceParent = a.Text
		return
	case a.Name == "tracestate" && a.Text != "":
		m.Attributes.TraceState = a.Text
		return
	}
	a.Name = strings.Clone(a.Name) // it may be part of a far larger answer
	m.Others = append(m.Others, a)
}

// sendable reports whether SQS accepts the attribute in a send.
func (a *Attribute) sendable() bool { return a.Type != "" && (a.Text != "" || len(a.Binary) > 0) }

// size returns the bytes that SQS counts.
func (a *Attribute) size() int { return len(a.Name) + len(a.Type) + len(a.Text) + len(a.Binary) }

// Visibility is a change of one message's visibility timeout, rounded up to whole seconds.
type Visibility struct {
	ReceiptHandle string
	Timeout       time.Duration
}

// Failure is an entry of a batch call that failed.
type Failure struct {
	Index int
	// Code is the error code from SQS.
	Code string
	// Final means that the entry is at fault: SQS would refuse it again.
	Final bool
}

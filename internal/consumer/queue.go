package consumer

import (
	"context"
	"time"

	"tributary/internal/messages"
)

// Queue is what the consumer asks of the command queue. Errors and codes are SQS's own.
type Queue interface {
	// Receive returns up to most messages. It waits for the first up to wait. It must not be retried below this
	// interface: an answer that was lost has made messages invisible, and another call would not return them.
	Receive(ctx context.Context, most int, wait time.Duration) ([]Message, error)
	// Delete removes up to ten messages and returns which it could not.
	Delete(ctx context.Context, handles []string) ([]Failure, error)
	// ChangeVisibility makes up to ten messages invisible for so long from now and returns which it could not.
	ChangeVisibility(ctx context.Context, changes []Visibility) ([]Failure, error)
}

// DeadLetterQueue is where commands go that can never be written.
type DeadLetterQueue interface {
	// Send puts up to ten letters on the queue, 1 MiB in all, and returns which were not taken. An error says nothing of the
	// letters: each may have been taken. A refusal of the call that is due to its only letter is that letter's, and final.
	Send(ctx context.Context, letters []Letter) ([]Failure, error)
}

// Message is a message as it was received.
type Message struct {
	ID            string
	ReceiptHandle string
	Body          string
	GroupID       string
	ReceiveCount  int
	SentAt        time.Time
	// FirstReceivedAt is when the message was received for the first time, by SQS's clock; zero where it doesn't say.
	FirstReceivedAt time.Time
	Attributes      messages.Attributes
	TraceHeader     string // X-Ray's, the system attribute AWSTraceHeader
	// Others are the message attributes that Attributes does not hold: those of other names, and a tenant_id that is no String.
	Others []Attribute
}

// Attribute is a message attribute as SQS has it.
type Attribute struct {
	Name   string
	Type   string // String, Number or Binary, perhaps with a label of the sender's behind a point
	Text   string // the value, unless it is binary
	Binary []byte
}

// sendable says whether SQS takes the attribute.
func (a *Attribute) sendable() bool { return a.Type != "" && (a.Text != "" || len(a.Binary) > 0) }

// size is what SQS counts.
func (a *Attribute) size() int { return len(a.Name) + len(a.Type) + len(a.Text) + len(a.Binary) }

// Visibility is a change of one message's visibility timeout, rounded up to whole seconds.
type Visibility struct {
	ReceiptHandle string
	Timeout       time.Duration
}

// Failure is an entry of a batch call that was refused.
type Failure struct {
	Index int
	// Code is SQS's error code.
	Code string
	// Final says that the entry is at fault: it will be refused again.
	Final bool
}

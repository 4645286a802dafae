package consumer

import (
	"errors"
	"fmt"
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/aws/queues"
	"tributary/internal/schema"
	"tributary/internal/tenants"
	"tributary/internal/writer"
)

// Config is the consumer's settings.
type Config struct {
	// QueueName is the source that dead letters name.
	QueueName string
	// FIFO is set for a queue that keeps groups in order. Its messages are held, never nacked because of a tenant's share.
	FIFO bool
	// VisibilityTimeout is that of the queue.
	VisibilityTimeout time.Duration
	// MaxReceives is the maxReceiveCount of the queue's redrive policy; 0: the queue has none.
	MaxReceives int
	// LetterBytes is the size limit of a message on the dead-letter queue.
	LetterBytes int
	// MaxInFlight and MaxInFlightBytes limit the commands held and the bytes of their messages.
	MaxInFlight      int
	MaxInFlightBytes int
	// DrainTimeout limits how long stopping takes. It should be longer than one long poll.
	DrainTimeout time.Duration
	// RequireVersion refuses commands without a version.
	RequireVersion bool
	// Types are the types of the commands.
	Types *schema.Set
	// Rules returns what operators have decided about tenants, as last read. It is called once for each receive; nil: nothing is
	// decided. The writer must obey them before Rules returns them.
	Rules func() *tenants.Rules
	// Meter is told how commands ended; nil: nobody is.
	Meter tenants.Meter
	// Ended, unless it is nil, is told once how each message ended: it was deleted, or it was nacked or left. It is for a queue that
	// lives in this process, as in a Lambda function. Such a queue gives messages out in order, so one poller takes them. Its
	// deletes make no call, so they are not gathered for long. The time of a receive says nothing about the order of messages.
	// Ended must not block.
	Ended func(receiptHandle string, deleted bool)
}

// DefaultDrainTimeout is longer than two long polls.
const DefaultDrainTimeout = 45 * time.Second

// Defaults returns the settings with defaults for those that are zero.
func (c Config) Defaults() Config {
	if c.VisibilityTimeout == 0 {
		c.VisibilityTimeout = 30 * time.Second
	}
	if c.LetterBytes == 0 {
		c.LetterBytes = limits.SQSMessageBytes
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = writer.DefaultMaxInFlight
	}
	if c.MaxInFlightBytes == 0 {
		c.MaxInFlightBytes = writer.DefaultMaxInFlightBytes
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	if c.Types == nil {
		c.Types = schema.Builtin()
	}
	return c
}

// Validate reports every setting that is out of range.
func (c Config) Validate() error {
	var errs []error
	if c.VisibilityTimeout < 2*time.Second || c.VisibilityTimeout > limits.SQSMaxVisibility {
		errs = append(errs, fmt.Errorf("the queue's visibility timeout is %v: it must be 2s to %v, so that messages can be held", c.VisibilityTimeout, limits.SQSMaxVisibility))
	}
	if c.MaxInFlight < limits.SQSBatchEntries {
		errs = append(errs, fmt.Errorf("--max-in-flight is %d: it must be at least %d, one receive", c.MaxInFlight, limits.SQSBatchEntries))
	}
	if c.DrainTimeout < time.Second {
		errs = append(errs, fmt.Errorf("--drain-timeout is %v: it must be at least 1s", c.DrainTimeout))
	}
	return errors.Join(errs...)
}

// TightReceives reports whether the queue's maxReceiveCount is so low that throttling alone could use it up.
func (c Config) TightReceives() bool {
	return c.MaxReceives > 0 && c.MaxReceives < queues.TightReceives
}

// Settings that nobody needs to change.
const (
	deleteLinger   = 25 * time.Millisecond // how long a batch that is not full may wait
	nackLinger     = 20 * time.Millisecond
	letterLinger   = 10 * time.Millisecond
	maxSends       = 64 // batch calls of one kind under way
	receiveTimeout = limits.SQSMaxLongPoll + 10*time.Second
	sendTimeout    = 10 * time.Second // of a batch call
	minRetryPause  = 50 * time.Millisecond
	maxRetryPause  = 5 * time.Second
	maxRounds      = 6 // failed rounds of letters, after which an untouched message is nacked
)

package queues

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/limits"
)

// AttributesAPI is the part of SQS that reads the attributes of a queue.
type AttributesAPI interface {
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
}

// ReadAPI is the part of SQS that finds a queue and reads its attributes.
type ReadAPI interface {
	API
	AttributesAPI
}

// Attributes are a queue and its attributes as SQS reported them.
type Attributes struct {
	Name string
	URL  string
	// ServerTime and LocalTime are when SQS answered, by its clock and by this machine's. ServerTime is zero where the answer
	// had no date.
	ServerTime, LocalTime time.Time

	values map[string]string
}

// Read finds a queue by its name or URL and reads its attributes. The error is a *NotFoundError where there is none.
func Read(ctx context.Context, api ReadAPI, nameOrURL string) (*Attributes, error) {
	url, err := URL(ctx, api, nameOrURL)
	if err != nil {
		return nil, err
	}
	return ReadURL(ctx, api, nameOrURL, url)
}

// ReadURL reads the attributes of the queue at a URL that is known already.
func ReadURL(ctx context.Context, api AttributesAPI, nameOrURL, url string) (*Attributes, error) {
	out, err := api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	if err != nil {
		return nil, wrap(api, nameOrURL, fmt.Errorf("read attributes of queue %s: %w", nameOrURL, err))
	}
	a := &Attributes{Name: Name(nameOrURL), URL: url, LocalTime: time.Now(), values: out.Attributes}
	a.ServerTime, _ = middleware.GetServerTime(out.ResultMetadata)
	if at, ok := middleware.GetResponseAt(out.ResultMetadata); ok {
		a.LocalTime = at
	}
	return a, nil
}

// NewAttributes makes the attributes of a queue without a call.
func NewAttributes(nameOrURL string, values map[string]string) *Attributes {
	return &Attributes{Name: Name(nameOrURL), values: values}
}

// Get is an attribute as SQS wrote it, or "" where SQS doesn't report it.
func (a *Attributes) Get(name types.QueueAttributeName) string { return a.values[string(name)] }

// Int is an attribute that is a number. ok is false where SQS doesn't report it.
func (a *Attributes) Int(name types.QueueAttributeName) (n int, ok bool) {
	n, err := strconv.Atoi(a.Get(name))
	return n, err == nil
}

// Seconds is an attribute that counts seconds. ok is false where SQS doesn't report it.
func (a *Attributes) Seconds(name types.QueueAttributeName) (d time.Duration, ok bool) {
	n, ok := a.Int(name)
	return time.Duration(n) * time.Second, ok
}

// ARN is the queue's ARN.
func (a *Attributes) ARN() string { return a.Get(types.QueueAttributeNameQueueArn) }

// VisibilityTimeout is that of the queue, or the default of SQS if it is not reported ("CreateQueue").
func (a *Attributes) VisibilityTimeout() time.Duration {
	if d, ok := a.Seconds(types.QueueAttributeNameVisibilityTimeout); ok {
		return d
	}
	return 30 * time.Second
}

// MessageBytes is the most bytes that a message of the queue may have.
func (a *Attributes) MessageBytes() int {
	if n, ok := a.Int(types.QueueAttributeNameMaximumMessageSize); ok {
		return min(n, limits.SQSMessageBytes)
	}
	return limits.SQSMessageBytes
}

// RedrivePolicy is a queue's attribute of that name.
type RedrivePolicy struct {
	DeadLetterTargetARN string      `json:"deadLetterTargetArn"`
	MaxReceiveCount     json.Number `json:"maxReceiveCount"` // SQS gives a number, some emulators a string
}

// Target is the name of the dead-letter queue.
func (p *RedrivePolicy) Target() string {
	return p.DeadLetterTargetARN[strings.LastIndexByte(p.DeadLetterTargetARN, ':')+1:]
}

// MaxReceives is the number of receives after which SQS moves a message, or 0 where it is not a number.
func (p *RedrivePolicy) MaxReceives() int {
	n, err := strconv.Atoi(p.MaxReceiveCount.String())
	if err != nil {
		return 0
	}
	return n
}

// TightReceives is the maxReceiveCount below which a tenant's throttling may dead-letter messages that are not at fault: each
// hand-back of a message costs it a receive.
const TightReceives = 10

// Tight says that the policy may dead-letter messages that are not at fault.
func (p *RedrivePolicy) Tight() bool {
	n := p.MaxReceives()
	return n > 0 && n < TightReceives
}

// Redrive is the queue's redrive policy, or nil where it has none.
func (a *Attributes) Redrive() (*RedrivePolicy, error) {
	text := a.Get(types.QueueAttributeNameRedrivePolicy)
	if text == "" {
		return nil, nil
	}
	var p RedrivePolicy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("decode redrive policy of queue %s: %w", a.Name, err)
	}
	return &p, nil
}

// Depth is how many messages a queue holds, as SQS counts them: approximately.
type Depth struct {
	Visible  int64 `json:"visible"`
	InFlight int64 `json:"in_flight"`
	Delayed  int64 `json:"delayed"`
}

// Total is the sum.
func (d Depth) Total() int64 { return d.Visible + d.InFlight + d.Delayed }

// Depth is how many messages the queue held when it was asked. A count that SQS doesn't report is 0.
func (a *Attributes) Depth() Depth {
	count := func(name types.QueueAttributeName) int64 {
		n, _ := a.Int(name)
		return int64(n)
	}
	return Depth{
		Visible:  count(types.QueueAttributeNameApproximateNumberOfMessages),
		InFlight: count(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible),
		Delayed:  count(types.QueueAttributeNameApproximateNumberOfMessagesDelayed),
	}
}

// ReadDepth asks SQS how many messages a queue holds.
func ReadDepth(ctx context.Context, api AttributesAPI, nameOrURL, url string) (Depth, error) {
	a, err := ReadURL(ctx, api, nameOrURL, url)
	if err != nil {
		return Depth{}, err
	}
	return a.Depth(), nil
}

package publish

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/queues"
)

// QueueAPI is what finding a queue asks of SQS.
type QueueAPI interface {
	queues.API
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
}

// Find looks up a queue by its name or URL. The error is a *queues.NotFoundError where there is none.
func Find(ctx context.Context, api QueueAPI, nameOrURL string) (Queue, error) {
	url, err := queues.URL(ctx, api, nameOrURL)
	if err != nil {
		return Queue{}, err
	}
	q := Queue{Name: queues.Name(nameOrURL), URL: url, FIFO: queues.IsFIFO(nameOrURL)}
	out, err := api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl:       &url,
		AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameMaximumMessageSize},
	})
	if err != nil {
		return Queue{}, queues.Wrap(nameOrURL, fmt.Errorf("read attributes of queue %s: %w", q.Name, err))
	}
	if text := out.Attributes[string(types.QueueAttributeNameMaximumMessageSize)]; text != "" {
		if q.MessageBytes, err = strconv.Atoi(text); err != nil {
			return Queue{}, fmt.Errorf("read MaximumMessageSize of queue %s: %w", q.Name, err)
		}
	}
	return q, nil
}

// Depth is how many messages a queue holds, as SQS counts them: approximately.
type Depth struct {
	Visible  int64 `json:"visible"`
	InFlight int64 `json:"in_flight"`
	Delayed  int64 `json:"delayed"`
}

// Total is the sum.
func (d Depth) Total() int64 { return d.Visible + d.InFlight + d.Delayed }

// Depth asks SQS how much the queue holds.
func (q *Queue) Depth(ctx context.Context, api QueueAPI) (Depth, error) {
	names := []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		types.QueueAttributeNameApproximateNumberOfMessagesDelayed,
	}
	out, err := api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.URL, AttributeNames: names})
	if err != nil {
		return Depth{}, fmt.Errorf("read attributes of queue %s: %w", q.Name, err)
	}
	var d Depth
	for i, to := range []*int64{&d.Visible, &d.InFlight, &d.Delayed} {
		text := out.Attributes[string(names[i])]
		if text == "" {
			continue
		}
		if *to, err = strconv.ParseInt(text, 10, 64); err != nil {
			return Depth{}, fmt.Errorf("read %s of queue %s: %w", names[i], q.Name, err)
		}
	}
	return d, nil
}

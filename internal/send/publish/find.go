package publish

import (
	"context"

	"tributary/internal/aws/queues"
)

// Find looks up a queue by its name or URL. The error is a *queues.NotFoundError if there is no such queue.
func Find(ctx context.Context, api queues.ReadAPI, nameOrURL string) (Queue, error) {
	a, err := queues.Read(ctx, api, nameOrURL)
	if err != nil {
		return Queue{}, err
	}
	return Queue{Name: a.Name, URL: a.URL, FIFO: queues.IsFIFO(nameOrURL), MessageBytes: a.MessageBytes()}, nil
}

// Depth is how much a queue holds.
type Depth = queues.Depth

// Depth asks SQS how much the queue holds.
func (q *Queue) Depth(ctx context.Context, api queues.AttributesAPI) (Depth, error) {
	return queues.ReadDepth(ctx, api, q.Name, q.URL)
}

package lambda

import (
	"context"
	"time"

	"tributary/internal/consumer"
)

// Letters is a dead-letter queue whose calls end in time for an invocation's answer.
type Letters struct {
	consumer.DeadLetterQueue
	// Patience is how long a call may take.
	Patience time.Duration
}

// Send implements consumer.DeadLetterQueue.
func (l Letters) Send(ctx context.Context, letters []consumer.Letter) ([]consumer.Failure, error) {
	within, cancel := context.WithTimeout(ctx, l.Patience)
	defer cancel()
	return l.DeadLetterQueue.Send(within, letters)
}

package queue

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// ChangeMessageVisibility and ChangeMessageVisibilityBatch.
//
// As AWS: the timeout counts from now, 12 hours from the receive are the most, 0 shows the message at once; only the
// last receive's handle is good, and only while the message is in flight.

func (s *Server) changeMessageVisibility(_ *call, in *struct {
	sqs.ChangeMessageVisibilityInput
	VisibilityTimeout *int32
}) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if in.VisibilityTimeout == nil {
			return errMissing("VisibilityTimeout")
		}
		if err := q.change(text(in.ReceiptHandle), *in.VisibilityTimeout, now); err != nil {
			return err
		}
		return nil
	})
}

func (s *Server) changeMessageVisibilityBatch(_ *call, in *sqs.ChangeMessageVisibilityBatchInput) (any, error) {
	q, err := s.lookup(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return batch(q, "ChangeMessageVisibilityBatch", in.Entries,
		func(e *types.ChangeMessageVisibilityBatchRequestEntry) *string { return e.Id },
		func(q *queue, e *types.ChangeMessageVisibilityBatchRequestEntry, now time.Time) (entryID, *apiError) {
			return entryID{text(e.Id)}, q.change(text(e.ReceiptHandle), e.VisibilityTimeout, now)
		})
}

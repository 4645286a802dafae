package queue

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// DeleteMessage and DeleteMessageBatch.
//
// As AWS: deleting twice succeeds; the handle of an earlier receive succeeds and deletes nothing; on a FIFO queue a
// handle is good for as long as its message is in flight.
// Differs: a handle that is no handle is ReceiptHandleIsInvalid by its form alone.

func (s *Server) deleteMessage(_ *call, in *sqs.DeleteMessageInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if err := q.delete(text(in.ReceiptHandle), now); err != nil {
			return err
		}
		return nil
	})
}

func (s *Server) deleteMessageBatch(_ *call, in *sqs.DeleteMessageBatchInput) (any, error) {
	q, err := s.lookup(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return batch(q, "DeleteMessageBatch", in.Entries,
		func(e *types.DeleteMessageBatchRequestEntry) *string { return e.Id },
		func(q *queue, e *types.DeleteMessageBatchRequestEntry, now time.Time) (entryID, *apiError) {
			return entryID{text(e.Id)}, q.delete(text(e.ReceiptHandle), now)
		})
}

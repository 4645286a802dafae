package queue

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// PurgeQueue.
//
// As AWS: every message goes, those in flight too; a second purge within a minute is refused.
// Differs: it is done when the answer is there (AWS: within 60 seconds).

func (s *Server) purgeQueue(_ *call, in *sqs.PurgeQueueInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if err := q.purge(now); err != nil {
			return err
		}
		return nil
	})
}

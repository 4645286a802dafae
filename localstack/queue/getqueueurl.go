package queue

import "github.com/aws/aws-sdk-go-v2/service/sqs"

// GetQueueUrl.
//
// As AWS: the URL of a queue by its name.
// Differs: the URL has the host that the client called.
// Missing: QueueOwnerAWSAccountId (ignored): there is one account.

func (s *Server) getQueueURL(c *call, in *sqs.GetQueueUrlInput) (any, error) {
	if text(in.QueueName) == "" {
		return nil, errMissing("QueueName")
	}
	q := s.named(*in.QueueName)
	if q == nil {
		return nil, errNoQueue()
	}
	return queueURL{q.url(c.base)}, nil
}

package queue

import "github.com/aws/aws-sdk-go-v2/service/sqs"

// DeleteQueue.
//
// As AWS: the queue goes with its messages.
// Differs: it is gone at once (AWS: within 60 seconds), and long polls on it return.

func (s *Server) deleteQueue(_ *call, in *sqs.DeleteQueueInput) (any, error) {
	q, err := s.lookup(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s.mu.Lock()
	if s.queues[q.name] == q {
		delete(s.queues, q.name)
		q.forget()
	}
	s.mu.Unlock()
	q.wake()
	return nil, nil
}

package queue

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/uuid"
)

// CreateQueue.
//
// As AWS: names, every attribute that can be set, with its range and its default; creating what is there succeeds with
// the same attributes alone.
// Differs: a name is free again as soon as its queue is deleted (AWS: after 60 seconds).
// Missing: tags (ignored). Policies and encryption are kept and described, not enforced.

type queueURL struct {
	QueueUrl string //nolint:staticcheck // the wire name
}

func (s *Server) createQueue(c *call, in *sqs.CreateQueueInput) (any, error) {
	name := text(in.QueueName)
	if name == "" {
		return nil, errMissing("QueueName")
	}
	stem, suffixed := strings.CutSuffix(name, ".fifo")
	if len(name) > maxNameBytes || !batchID(stem) {
		return nil, errParameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	fifo := strings.EqualFold(in.Attributes["FifoQueue"], "true")
	switch {
	case fifo && !suffixed:
		return nil, errParameter("The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.")
	case suffixed && !fifo:
		return nil, errParameter("The queue name %s ends with .fifo: the attribute FifoQueue must be true.", name)
	case !fifo && in.Attributes["FifoQueue"] != "":
		return nil, errAttributeValue("FifoQueue")
	}
	fresh, err := s.apply(name, defaults(fifo), in.Attributes)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	made := s.newQueue(name, fifo, fresh, now)
	q := s.insert(made)
	if q == made {
		return queueURL{q.url(c.base)}, nil
	}
	given := q.settings.Load().given
	wanted, err := s.apply(name, given, in.Attributes)
	if err != nil {
		return nil, err
	}
	for attribute, value := range wanted.given {
		if given[attribute] != value {
			return nil, fail("QueueNameExists", "QueueAlreadyExists", "A queue already exists with the same name and a different value for attribute %s", attribute)
		}
	}
	return queueURL{q.url(c.base)}, nil
}

// newQueue makes an empty queue.
func (s *Server) newQueue(name string, fifo bool, configured *settings, now time.Time) *queue {
	q := &queue{
		server: s, name: name, fifo: fifo, id: uuid.NewString(), created: now, modified: now,
		arn:      s.arn(name),
		messages: make(map[messageID]*message),
		groups:   make(map[string]*group),
		dedup:    make(map[string]sent),
		arrived:  make(chan struct{}),
	}
	q.settings.Store(configured)
	return q
}

// insert adds a queue, or gives the one that has its name.
func (s *Server) insert(made *queue) *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[made.name]; q != nil {
		return q
	}
	s.queues[made.name] = made
	made.save()
	return made
}

func (s *Server) arn(name string) string {
	return fmt.Sprintf("arn:aws:sqs:%s:%s:%s", s.options.Region, s.options.Account, name)
}

package queue

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

type queueURL struct {
	QueueUrl string //nolint:staticcheck // the wire name
}

func (s *Server) createQueue(c *call, in *sqs.CreateQueueInput) (any, error) {
	name := text(in.QueueName)
	if name == "" {
		return nil, errMissing("QueueName")
	}
	stem, suffixed := strings.CutSuffix(name, ".fifo")
	if len(name) > 80 || !batchID(stem) {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if q := s.queues[name]; q != nil {
		wanted, err := s.apply(name, q.settings.given, in.Attributes)
		if err != nil {
			return nil, err
		}
		for attribute, value := range wanted.given {
			if q.settings.given[attribute] != value {
				return nil, fail("QueueNameExists", "QueueAlreadyExists", "A queue already exists with the same name and a different value for attribute %s", attribute)
			}
		}
		return queueURL{q.url(c.base)}, nil
	}
	configured, err := s.apply(name, defaults(fifo), in.Attributes)
	if err != nil {
		return nil, err
	}
	q := &queue{
		server: s, name: name, fifo: fifo, settings: configured, created: now, modified: now,
		arn:      s.arn(name),
		tags:     make(map[string]string),
		messages: make(map[string]*message),
		groups:   make(map[string]*group),
		dedup:    make(map[string]sent),
		arrived:  make(chan struct{}),
	}
	maps.Copy(q.tags, in.Tags)
	s.queues[name] = q
	return queueURL{q.url(c.base)}, nil
}

func (s *Server) getQueueURL(c *call, in *sqs.GetQueueUrlInput) (any, error) {
	if text(in.QueueName) == "" {
		return nil, errMissing("QueueName")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[*in.QueueName]
	if q == nil {
		return nil, errNoQueue()
	}
	return queueURL{q.url(c.base)}, nil
}

func (s *Server) deleteQueue(_ *call, in *sqs.DeleteQueueInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, _ time.Time) error {
		delete(s.queues, q.name)
		q.wake()
		return nil
	})
}

func (s *Server) listQueues(c *call, in *sqs.ListQueuesInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.queues {
		if strings.HasPrefix(name, text(in.QueueNamePrefix)) {
			names = append(names, name)
		}
	}
	names, next, err := page(names, in.NextToken, in.MaxResults)
	return struct {
		QueueUrls []string `json:",omitempty"` //nolint:staticcheck // the wire name
		NextToken *string  `json:",omitempty"`
	}{s.urls(c, names), next}, err
}

func (s *Server) listDeadLetterSourceQueues(c *call, in *sqs.ListDeadLetterSourceQueuesInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.lookup(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	names, next, err := page(s.sources(q.arn), in.NextToken, in.MaxResults)
	return struct {
		QueueUrls []string `json:"queueUrls"` // lower case here, and only here
		NextToken *string  `json:",omitempty"`
	}{s.urls(c, names), next}, err
}

// sources are the names of the queues whose redrive policy names arn.
func (s *Server) sources(arn string) []string {
	names := []string{}
	for name, q := range s.queues {
		if q.settings.redrive != nil && q.settings.redrive.DeadLetterTargetARN == arn {
			names = append(names, name)
		}
	}
	return names
}

func (s *Server) urls(c *call, names []string) []string {
	urls := make([]string, len(names))
	for i, name := range names {
		urls[i] = s.queues[name].url(c.base)
	}
	return urls
}

func (s *Server) getQueueAttributes(_ *call, in *sqs.GetQueueAttributesInput) (any, error) {
	var out struct {
		Attributes map[string]string `json:",omitempty"`
	}
	err := s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		all, err := q.attributes(in.AttributeNames, now)
		if err != nil {
			return err
		}
		out.Attributes = all
		return nil
	})
	return out, err
}

func (s *Server) setQueueAttributes(_ *call, in *sqs.SetQueueAttributesInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if len(in.Attributes) == 0 {
			return errMissing("Attributes")
		}
		if _, given := in.Attributes["FifoQueue"]; given && !q.fifo {
			return fail("InvalidAttributeName", "InvalidAttributeName", "You can specify the FifoQueue only when FifoQueue is set to true.")
		}
		changed, err := s.apply(q.name, q.settings.given, in.Attributes)
		if err != nil {
			return err
		}
		q.settings, q.modified = changed, now // a long poll under way keeps its wait, and takes messages by the new settings
		return nil
	})
}

func (s *Server) tagQueue(_ *call, in *sqs.TagQueueInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, _ time.Time) error {
		if len(in.Tags) == 0 {
			return errMissing("Tags")
		}
		if total := len(q.tags) + len(in.Tags); total > 50 {
			return errParameter("Too many tags for the queue %s: at most 50.", q.name)
		}
		maps.Copy(q.tags, in.Tags)
		return nil
	})
}

func (s *Server) untagQueue(_ *call, in *sqs.UntagQueueInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, _ time.Time) error {
		for _, key := range in.TagKeys {
			delete(q.tags, key)
		}
		return nil
	})
}

func (s *Server) listQueueTags(_ *call, in *sqs.ListQueueTagsInput) (any, error) {
	var out struct {
		Tags map[string]string `json:",omitempty"`
	}
	err := s.with(in.QueueUrl, func(q *queue, _ time.Time) error {
		out.Tags = maps.Clone(q.tags)
		return nil
	})
	return out, err
}

func (s *Server) purgeQueue(_ *call, in *sqs.PurgeQueueInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if err := q.purge(now); err != nil {
			return err
		}
		return nil
	})
}

func (s *Server) arn(name string) string {
	return fmt.Sprintf("arn:aws:sqs:%s:%s:%s", s.options.Region, s.options.Account, name)
}

// redriveAllowed says whether the redrive policy of the queue with ARN source may name target.
func redriveAllowed(target *queue, source string) bool {
	var allow allowPolicy
	if json.Unmarshal([]byte(target.settings.given["RedriveAllowPolicy"]), &allow) != nil {
		return true
	}
	switch allow.Permission {
	case "denyAll":
		return false
	case "byQueue":
		return slices.Contains(allow.Sources, source)
	}
	return true
}

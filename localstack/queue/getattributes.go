package queue

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// GetQueueAttributes.
//
// As AWS: what was set with every default, counts, times and the ARN, by name or All.
// Differs: the approximate numbers are exact.

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

// attributes answers GetQueueAttributes.
func (q *queue) attributes(names []types.QueueAttributeName, now time.Time) (map[string]string, *apiError) {
	q.advance(now)
	q.sweep(now)
	all := maps.Clone(q.settings.Load().given)
	shown, invisible, waiting := q.counts()
	all["ApproximateNumberOfMessages"] = strconv.Itoa(shown)
	all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(invisible)
	all["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(waiting)
	all["CreatedTimestamp"] = strconv.FormatInt(q.created.Unix(), 10)
	all["LastModifiedTimestamp"] = strconv.FormatInt(q.modified.Unix(), 10)
	all["QueueArn"] = q.arn
	if slices.Contains(names, types.QueueAttributeNameAll) {
		return all, nil
	}
	out := make(map[string]string)
	for _, n := range names {
		name := string(n)
		value, ok := all[name]
		if ok {
			out[name] = value
			continue
		}
		if !known(name) {
			return nil, fail("InvalidAttributeName", "InvalidAttributeName", "Unknown Attribute %s.", name)
		}
	}
	return out, nil
}

func known(name string) bool {
	_, number := ranges[name]
	_, choice := choices[name]
	return number || choice || slices.Contains(readOnly, name) ||
		slices.Contains([]string{"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"}, name)
}

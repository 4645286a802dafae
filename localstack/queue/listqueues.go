package queue

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// ListQueues.
//
// As AWS: names by prefix, pages of up to 1,000.
// Differs: names are in order; a page's token is the last name.

func (s *Server) listQueues(c *call, in *sqs.ListQueuesInput) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for name := range s.queues {
		if strings.HasPrefix(name, text(in.QueueNamePrefix)) {
			names = append(names, name)
		}
	}
	names, next, err := page(names, in.NextToken, in.MaxResults)
	urls := make([]string, len(names))
	for i, name := range names {
		urls[i] = s.queues[name].url(c.base)
	}
	return struct {
		QueueUrls []string `json:",omitempty"` //nolint:staticcheck // the wire name
		NextToken *string  `json:",omitempty"`
	}{urls, next}, err
}

// page cuts a sorted list of names at a token, which is the last name of the page before.
func page(names []string, token *string, most *int32) (out []string, next *string, err error) {
	slices.Sort(names)
	if token != nil {
		at, found := slices.BinarySearch(names, *token)
		if found {
			at++
		}
		names = names[at:]
	}
	if most == nil {
		if len(names) > maxListed {
			names = names[:maxListed]
		}
		return names, nil, nil
	}
	if *most < 1 || *most > maxListed {
		return nil, nil, errValue("MaxResults", *most, fmt.Sprintf("MaxResults must be between 1 and %d.", maxListed))
	}
	if n := int(*most); len(names) > n {
		names = names[:n]
		next = &names[n-1]
	}
	return names, next, nil
}

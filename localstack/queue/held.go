package queue

import (
	"cmp"
	"slices"
	"time"
)

// Held is a message as its sender gave it.
type Held struct {
	Body, Group, Deduplication string
	Attributes                 map[string]string // those that are text
	Sent                       time.Time
}

// Held are a queue's messages in the order of their arrival, whatever their state: a test's look, which changes nothing.
func (s *Server) Held(name string) []Held {
	q := s.named(name)
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]*message, 0, len(q.messages))
	for _, m := range q.messages {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *message) int { return cmp.Compare(a.order, b.order) })
	out := make([]Held, len(all))
	for i, m := range all {
		attributes := map[string]string{}
		for name, a := range m.selected(everything) {
			attributes[name] = text(a.StringValue)
		}
		out[i] = Held{m.body, m.group, m.dedup, attributes, time.Unix(0, m.sent)}
	}
	return out
}

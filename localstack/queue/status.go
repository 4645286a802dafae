package queue

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Status says how many messages a queue has.
type Status struct {
	Name     string `json:"name"`
	Visible  int    `json:"visible"`
	InFlight int    `json:"in_flight"`
	Delayed  int    `json:"delayed"`
}

// Status is every queue's, by name.
func (s *Server) Status() []Status {
	s.mu.RLock()
	queues := slices.Collect(maps.Values(s.queues))
	s.mu.RUnlock()
	slices.SortFunc(queues, func(a, b *queue) int { return strings.Compare(a.name, b.name) })
	out := make([]Status, 0, len(queues))
	for _, q := range queues {
		q.mu.Lock()
		q.advance(time.Now())
		visible, invisible, waiting := q.counts()
		q.mu.Unlock()
		out = append(out, Status{q.name, visible, invisible, waiting})
	}
	return out
}

// Operations are the names of what a Server answers, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

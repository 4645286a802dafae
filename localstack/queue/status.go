package queue

import (
	"maps"
	"slices"
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
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.queues))
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		q := s.queues[name]
		q.advance(time.Now())
		visible, invisible, waiting := q.counts()
		out = append(out, Status{name, visible, invisible, waiting})
	}
	return out
}

// Operations are the names of what a Server answers, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

package dynamo

import (
	"maps"
	"slices"
)

// TableStatus says how much a table holds.
type TableStatus struct {
	Name string `json:"name"`
	Size
	Indexes []IndexStatus `json:"indexes"`
}

// IndexStatus says how much a secondary index holds.
type IndexStatus struct {
	Name string `json:"name"`
	Size
}

// Size is how much a table or index holds. A partition that was emptied still counts.
type Size struct {
	Items      int64 `json:"items"`
	Bytes      int64 `json:"bytes"` // as DynamoDB counts them
	Partitions int   `json:"partitions"`
}

// Status is every table's, by name.
func (s *Server) Status() []TableStatus {
	tables, unlock := s.rlock(s.names())
	defer unlock()
	out := make([]TableStatus, 0, len(tables))
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		t := tables[name]
		status := TableStatus{Name: name, Size: t.primary.measure(), Indexes: []IndexStatus{}}
		for _, x := range t.sortedIndexes() {
			status.Indexes = append(status.Indexes, IndexStatus{x.name, x.measure()})
		}
		out = append(out, status)
	}
	return out
}

func (x *index) measure() Size {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return Size{x.count.Load(), x.bytes.Load(), x.partitions.Len()}
}

// names are the tables' names, sorted.
func (s *Server) names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.tables))
}

// Operations are the names of what a Server answers, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// Package usage counts what tenants use, keeps the counts in the table, and adds them up again.
package usage

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// Count is what a tenant used. Units are DynamoDB's.
type Count struct {
	Written     int64 `json:"written,omitempty"`    // commands
	Superseded  int64 `json:"superseded,omitempty"` // commands that a later one made needless
	Stale       int64 `json:"stale,omitempty"`      // commands older than what the table had
	Erased      int64 `json:"erased,omitempty"`     // commands that were dropped
	DeadLetters int64 `json:"dead_letters,omitempty"`
	Bytes       int64 `json:"bytes,omitempty"` // of the items that were written
	// TableUnits and IndexUnits are write units as DynamoDB's answers have them. EstimatedUnits are those of calls whose answer was
	// lost, or has no count, by the size of the items.
	TableUnits     float64 `json:"table_units,omitempty"`
	IndexUnits     float64 `json:"index_units,omitempty"`
	EstimatedUnits float64 `json:"estimated_units,omitempty"`
	Requests       int64   `json:"requests,omitempty"` // to the query API
	ReadUnits      float64 `json:"read_units,omitempty"`
}

// Add adds another count.
func (c *Count) Add(o *Count) {
	c.Written += o.Written
	c.Superseded += o.Superseded
	c.Stale += o.Stale
	c.Erased += o.Erased
	c.DeadLetters += o.DeadLetters
	c.Bytes += o.Bytes
	c.TableUnits += o.TableUnits
	c.IndexUnits += o.IndexUnits
	c.EstimatedUnits += o.EstimatedUnits
	c.Requests += o.Requests
	c.ReadUnits += o.ReadUnits
}

// WriteUnits returns all write units, the estimated ones included.
func (c *Count) WriteUnits() float64 { return c.TableUnits + c.IndexUnits + c.EstimatedUnits }

// Meter counts what is used until it is taken. It can be used by many goroutines. A nil Meter counts nothing.
type Meter struct {
	mu     sync.Mutex
	counts map[string]*Count // by tenant; guarded by mu
}

// Add adds to a tenant's count.
func (m *Meter) Add(tenant string, c *Count) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.counts[tenant]
	if sum == nil {
		if m.counts == nil {
			m.counts = map[string]*Count{}
		}
		sum = new(Count)
		m.counts[string([]byte(tenant))] = sum // a substring would keep a message in memory
	}
	sum.Add(c)
}

// Tenant is the count of one tenant.
type Tenant struct {
	Tenant string `json:"tenant"`
	Count
}

// take returns what was counted since it was called last, by tenant.
func (m *Meter) take() []Tenant {
	m.mu.Lock()
	counts := m.counts
	m.counts = nil
	m.mu.Unlock()
	taken := make([]Tenant, 0, len(counts))
	for _, tenant := range slices.SortedFunc(maps.Keys(counts), cmp.Compare[string]) {
		taken = append(taken, Tenant{tenant, *counts[tenant]})
	}
	return taken
}

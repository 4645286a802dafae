// Package usage counts what tenants use, keeps the counts in the table, and adds them up again.
package usage

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"tributary/internal/tenants"
)

// Meter counts what is used until it is taken. It can be used by many goroutines.
type Meter struct {
	mu     sync.Mutex
	counts map[string]*tenants.Usage // by tenant; guarded by mu
}

// Used implements tenants.Meter.
func (m *Meter) Used(tenant string, u *tenants.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.counts[tenant]
	if sum == nil {
		if m.counts == nil {
			m.counts = map[string]*tenants.Usage{}
		}
		sum = new(tenants.Usage)
		m.counts[strings.Clone(tenant)] = sum // a substring would keep a message in memory
	}
	sum.Add(u)
}

// Tenant is the count of one tenant.
type Tenant struct {
	Tenant string `json:"tenant"`
	tenants.Usage
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

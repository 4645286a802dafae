package query

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// The algorithm: a request reserves memory once it knows the length of DynamoDB's answer, before it reads the answer. It
// keeps the memory of its own answer until the client has it. A request that holds nothing waits its turn. A request that
// holds memory never waits, so that no two can wait for each other: its page ends early instead. A tenant may hold a
// quarter at most.

// memory bounds the memory of all answers in flight.
type memory struct {
	all   *semaphore.Weighted
	share int64        // the most that one tenant may hold
	held  atomic.Int64 // by all leases; for a metric

	mu      sync.Mutex               // guards tenants
	tenants map[string]*tenantMemory // those with requests under way
}

type tenantMemory struct {
	share    *semaphore.Weighted
	requests int // guarded by memory.mu
}

// lease is the memory that one request holds. Only its goroutine uses it.
type lease struct {
	memory *memory
	name   string
	tenant *tenantMemory
	held   int64
}

// errNoRoom means that a request that holds memory can't have more.
var errNoRoom = errors.New("no memory is free to read on")

func newMemory(maxBytes int64) *memory {
	return &memory{all: semaphore.NewWeighted(maxBytes), share: max(1, maxBytes/4), tenants: map[string]*tenantMemory{}}
}

// lease returns a lease that holds nothing yet. The caller ends it.
func (m *memory) lease(tenant string) *lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tenants[tenant]
	if t == nil {
		t = &tenantMemory{share: semaphore.NewWeighted(m.share)}
		m.tenants[tenant] = t
	}
	t.requests++
	return &lease{memory: m, name: tenant, tenant: t}
}

// take sets n bytes aside, or the tenant's whole share where n is more. It waits until ctx ends, and then the error is a problem for the
// client; where the lease holds something already it does not wait, and the error is errNoRoom.
func (l *lease) take(ctx context.Context, n int64) error {
	if l.held > 0 {
		if n > l.memory.share-l.held || !l.tenant.share.TryAcquire(n) {
			return errNoRoom
		}
		if !l.memory.all.TryAcquire(n) {
			l.tenant.share.Release(n)
			return errNoRoom
		}
		l.held += n
		l.memory.held.Add(n)
		return nil
	}
	n = min(n, l.memory.share)
	if err := l.tenant.share.Acquire(ctx, n); err != nil {
		return retryLater(http.StatusTooManyRequests, "This tenant's other answers take all the memory that it may have. Wait for them, or ask for less.", time.Second, err)
	}
	if err := l.memory.all.Acquire(ctx, n); err != nil {
		l.tenant.share.Release(n)
		return retryLater(http.StatusServiceUnavailable, "The answers under way take all the memory that this server allows. Try again shortly.", time.Second, err)
	}
	l.held = n
	l.memory.held.Add(n)
	return nil
}

// keep gives back all but n bytes.
func (l *lease) keep(n int64) {
	if free := l.held - n; free > 0 {
		l.memory.held.Add(-free)
		l.memory.all.Release(free)
		l.tenant.share.Release(free)
		l.held = n
	}
}

// end gives everything back. The lease is of no further use.
func (l *lease) end() {
	l.keep(0)
	m := l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.tenant.requests--; l.tenant.requests == 0 {
		delete(m.tenants, l.name)
	}
}

package query

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tributary/internal/query/auth"
)

// Two things keep one tenant's readers from taking the API from the others: how often they may ask, and how much of what all
// share they may have under way.

// rateLimits is how often: a token bucket a tenant. A tenant that
// many others have pushed out of the table starts with a full bucket again, so the bound costs memory, not safety.
type rateLimits struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex // guards buckets
	buckets *lru[string, *rate.Limiter]
}

func newRateLimits(perSecond float64, burst, tenants int) *rateLimits {
	return &rateLimits{limit: rate.Limit(perSecond), burst: burst, buckets: newLRU[string, *rate.Limiter](tenants)}
}

// take takes a token of the tenant's. Where there is none it takes nothing and says when there will be one.
func (l *rateLimits) take(tenant auth.Tenant, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	bucket := l.buckets.get(tenant.ID(), func() *rate.Limiter { return rate.NewLimiter(l.limit, l.burst) })
	l.mu.Unlock()
	if bucket.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - bucket.TokensAt(now)
	return max(time.Millisecond, time.Duration(missing/float64(l.limit)*float64(time.Second))), false
}

// shares is how much: each tenant may have a quarter of what the server does at once.
type shares struct {
	most int

	mu       sync.Mutex
	underWay map[string]int // by tenant, of those that have any; guarded by mu
}

func newShares(all int) *shares {
	return &shares{most: max(1, all/4), underWay: map[string]int{}}
}

// take says whether the tenant may begin one more; give is called when that is over.
func (s *shares) take(tenant string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay[tenant] >= s.most {
		return false
	}
	s.underWay[tenant]++
	return true
}

func (s *shares) give(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay[tenant]--; s.underWay[tenant] == 0 {
		delete(s.underWay, tenant)
	}
}

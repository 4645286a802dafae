package query

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tributary/internal/query/auth"
)

// Two things keep one tenant's readers from taking the API from the others: how often they may ask, and how much of what all
// share they may have under way.

// rateLimits is how often: two token buckets a tenant, of requests and of DynamoDB's read units. A tenant that
// many others have pushed out of the table starts with full buckets again, so the bound costs memory, not safety.
type rateLimits struct {
	requests, halves rate.Limit // a second; DynamoDB counts in half units
	requestsBurst    int
	halvesBurst      int

	mu      sync.Mutex // guards buckets
	buckets *lru[string, *buckets]
}

type buckets struct{ requests, halves *rate.Limiter }

// unitsBurst is for how many seconds a tenant may save read units up.
const unitsBurst = 10

func newRateLimits(requests float64, burst int, units float64, tenants int) *rateLimits {
	return &rateLimits{
		requests: rate.Limit(requests), requestsBurst: burst,
		halves: rate.Limit(2 * units), halvesBurst: int(min(max(1, 2*units*unitsBurst), 1<<30)),
		buckets: newLRU[string, *buckets](tenants),
	}
}

func (l *rateLimits) of(tenant auth.Tenant) *buckets {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.get(tenant.ID(), func() *buckets {
		return &buckets{rate.NewLimiter(l.requests, l.requestsBurst), rate.NewLimiter(l.halves, l.halvesBurst)}
	})
}

// take takes a request of the tenant's. Where there is none, or the tenant has read more units than it has, it takes nothing and says
// when to ask again.
func (b *buckets) take(now time.Time) (wait time.Duration, ok bool) {
	if wait := b.debt(now); wait > 0 {
		return wait, false
	}
	if b.requests.AllowN(now, 1) {
		return 0, true
	}
	return timeFor(1-b.requests.TokensAt(now), b.requests.Limit()), false
}

// charge takes the read units of a call. What a call takes is known only after it, so the bucket may end in debt.
func (b *buckets) charge(now time.Time, units float64) {
	for n := int(math.Ceil(2 * units)); n > 0; {
		chunk := min(n, b.halves.Burst())
		b.halves.ReserveN(now, chunk)
		n -= chunk
	}
}

// debt returns how long it takes until the read units are no longer overdrawn.
func (b *buckets) debt(now time.Time) time.Duration {
	if tokens := b.halves.TokensAt(now); tokens < 0 {
		return timeFor(-tokens, b.halves.Limit())
	}
	return 0
}

// timeFor returns how long it takes for tokens to come, in whole milliseconds upwards.
func timeFor(tokens float64, limit rate.Limit) time.Duration {
	const most = time.Hour
	seconds := tokens / float64(limit)
	if seconds >= most.Seconds() {
		return most
	}
	return max(time.Millisecond, time.Duration(seconds*float64(time.Second)))
}

// shares limits how much each tenant may have in flight: a quarter of the server's.
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

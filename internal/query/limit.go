package query

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tributary/internal/query/auth"
	"tributary/internal/tenants"
)

// Two limits keep one tenant's readers from slowing down the others: how often each tenant may ask, and how many of the
// server's requests it may have in flight.

// rateLimits limits how often each tenant may ask, with two token buckets: one of requests, one of DynamoDB read units.
// A tenant that was evicted from the table starts again with full buckets.
type rateLimits struct {
	requests, halves rate.Limit // a second; DynamoDB counts in half units
	requestsBurst    int
	halvesBurst      int

	mu      sync.Mutex // guards buckets
	buckets *lru[string, *buckets]
}

type buckets struct{ requests, halves *rate.Limiter }

// unitsBurst is for how many seconds a tenant may save up read units.
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

// take takes one request from the tenant's bucket. If the bucket is empty, or the tenant is in debt for read units, it
// takes nothing and returns when to ask again.
func (b *buckets) take(now time.Time) (wait time.Duration, ok bool) {
	if wait := b.debt(now); wait > 0 {
		return wait, false
	}
	if b.requests.AllowN(now, 1) {
		return 0, true
	}
	return timeFor(1-b.requests.TokensAt(now), b.requests.Limit()), false
}

// charge takes the read units of a call. The cost of a call is known only after it, so the bucket may end in debt.
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

// obey makes the bucket of requests as small as what operators allow the tenant, and never larger than the server's own limit.
func (l *rateLimits) obey(b *buckets, now time.Time, allowed tenants.Limit) {
	limit, burst := l.requests, l.requestsBurst
	if allowed.Rate > 0 && rate.Limit(allowed.Rate) < limit {
		limit, burst = rate.Limit(allowed.Rate), min(burst, max(1, int(min(allowed.Burst, 1<<30))))
	}
	if b.requests.Limit() != limit {
		b.requests.SetLimitAt(now, limit)
	}
	if b.requests.Burst() != burst {
		b.requests.SetBurstAt(now, burst)
	}
}

// timeFor returns how long it takes for tokens to come, in whole milliseconds upwards.
func timeFor(tokens float64, limit rate.Limit) time.Duration {
	const maxWait = time.Hour
	seconds := tokens / float64(limit)
	if seconds >= maxWait.Seconds() {
		return maxWait
	}
	return max(time.Millisecond, time.Duration(seconds*float64(time.Second)))
}

// shares limits how much each tenant may have in flight: a quarter of the server's.
type shares struct {
	maxEach int // per tenant

	mu       sync.Mutex
	underWay map[string]int // by tenant, of those that have any; guarded by mu
}

func newShares(all int) *shares {
	return &shares{maxEach: max(1, all/4), underWay: map[string]int{}}
}

// take reports whether the tenant may begin another request; give ends it.
func (s *shares) take(tenant string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay[tenant] >= s.maxEach {
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

package metrics

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// OtherTenants is the label of the tenants that have none of their own. No tenant id starts with an underscore.
const OtherTenants = "_other"

const (
	// contestEvery is how often labels change hands, at most.
	contestEvery = time.Minute
	// idleAfter is how long a tenant keeps its label without a count.
	idleAfter = 10 * time.Minute
	// challenge is how many times busier a tenant must be than the least busy labelled one to take its label. It keeps
	// equally busy tenants from taking turns.
	challenge = 2
	// candidatesPerLabel sizes the search for tenants that deserve a label: a tenant without one is
	// certainly found if it has more than 1/(labels × candidatesPerLabel) of the commands of all tenants without one.
	candidatesPerLabel = 4
)

// top counts by tenant with a bounded number of labels: the busiest tenants have a label of their own and the others
// share one.
//
// The first tenants get labels while labels are free. At most once a minute, after a scrape, a tenant without a
// label takes that of the least busy one if it was more than twice as busy lately, and tenants that were idle for ten
// minutes lose theirs. The Space-Saving algorithm finds the busy ones among the tenants without a label (Metwally,
// Agrawal, El Abbadi, 2005). It has a fixed number of candidates.
//
// No counter goes backwards and nothing is counted twice: the series of a tenant that loses its label ends, and
// its later commands count in _other. If it gets a label again, its series starts from zero with a new created timestamp,
// which Prometheus treats as a counter reset. So rates, and sums of rates over all tenants, are always right. The sum of
// the counters is not, because ended series are missing.
//
// Counting reads no clock and, for labelled tenants, allocates nothing.
type top struct {
	desc      *prometheus.Desc
	max       int
	byOutcome bool

	mu         sync.Mutex
	labelled   map[string]*labelled // guarded by mu, as all below
	others     labelled
	search     candidates
	contested  time.Time     // when labels last changed hands
	lastPeriod time.Duration // between the last two contests
}

// labelled is a tenant with a label, or all those without one.
type labelled struct {
	counts  []outcomeCount
	created time.Time
	score   float64   // of the last contest: halves with each, so that one quiet minute loses no label
	period  float64   // counted since the last contest
	before  float64   // counted in the period before
	active  time.Time // the last contest before which something was counted
}

type outcomeCount struct {
	outcome string
	n       float64
}

func (l *labelled) add(outcome string, n float64) {
	l.period += n
	for i := range l.counts {
		if l.counts[i].outcome == outcome {
			l.counts[i].n += n
			return
		}
	}
	l.counts = append(l.counts, outcomeCount{outcome, n})
}

func newTop(desc *prometheus.Desc, tenants int, byOutcome bool) *top {
	now := time.Now()
	tenants = max(0, tenants)
	return &top{
		desc: desc, max: tenants, byOutcome: byOutcome, labelled: map[string]*labelled{},
		others: labelled{created: now}, contested: now,
		search: candidates{max: tenants * candidatesPerLabel, at: map[string]*candidate{}},
	}
}

func (t *top) add(tenant, outcome string, n float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.labelled[tenant]; l != nil {
		l.add(outcome, n)
		return
	}
	if tenant == OtherTenants {
		t.others.add(outcome, n)
		return
	}
	if len(t.labelled) < t.max {
		now := time.Now()
		l := &labelled{created: now, active: now}
		// A tenant id is part of its message's body, which must not stay in memory with it.
		t.labelled[strings.Clone(tenant)] = l
		l.add(outcome, n)
		return
	}
	t.others.add(outcome, n)
	t.search.add(tenant, n)
}

// contest lets labels change hands if it is time.
func (t *top) contest(now time.Time) {
	period := now.Sub(t.contested)
	if period < contestEvery {
		return
	}
	t.contested, t.lastPeriod = now, period
	type rank struct {
		tenant string
		score  float64
	}
	held := make([]rank, 0, len(t.labelled))
	for tenant, l := range t.labelled {
		if l.period > 0 {
			l.active = now
		} else if now.Sub(l.active) >= idleAfter {
			delete(t.labelled, tenant)
			continue
		}
		l.score = l.score/2 + l.period
		l.before, l.period = l.period, 0
		held = append(held, rank{tenant, l.score})
	}
	t.others.before, t.others.period = t.others.period, 0
	slices.SortFunc(held, func(a, b rank) int { return cmp.Compare(a.score, b.score) })
	for _, c := range t.search.take() {
		n := c.atLeast()
		if n <= 0 {
			break
		}
		if len(t.labelled) >= t.max {
			if len(held) == 0 || n <= challenge*held[0].score {
				break
			}
			delete(t.labelled, held[0].tenant)
			held = held[1:]
		}
		t.labelled[c.tenant] = &labelled{created: now, active: now, score: n}
	}
}

// Describe implements prometheus.Collector.
func (t *top) Describe(ch chan<- *prometheus.Desc) { ch <- t.desc }

// Collect implements prometheus.Collector.
func (t *top) Collect(ch chan<- prometheus.Metric) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.others.collect(t, OtherTenants, ch)
	for tenant, l := range t.labelled {
		l.collect(t, tenant, ch)
	}
	// Only now: a series that leaves was read up to its last count.
	t.contest(time.Now())
}

func (l *labelled) collect(t *top, tenant string, ch chan<- prometheus.Metric) {
	for _, c := range l.counts {
		labels := []string{tenant, c.outcome}
		if !t.byOutcome {
			labels = labels[:1]
		}
		ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(t.desc, prometheus.CounterValue, c.n, l.created, labels...)
	}
}

// rates returns how much a second each labelled tenant, and all others, counted between the last two contests and
// since.
func (t *top) rates(now time.Time) map[string]float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := (t.lastPeriod + now.Sub(t.contested)).Seconds()
	if took <= 0 {
		return nil
	}
	rates := make(map[string]float64, len(t.labelled)+1)
	for tenant, l := range t.labelled {
		rates[tenant] = (l.before + l.period) / took
	}
	if all := t.others.before + t.others.period; all > 0 {
		rates[OtherTenants] = all / took
	}
	return rates
}

// candidates are the tenants without a label that may deserve one: the Space-Saving summary.
type candidates struct {
	max  int
	at   map[string]*candidate
	heap byCount
}

type candidate struct {
	tenant string
	count  float64 // an upper bound of its commands
	before float64 // the part that may belong to tenants whose place it took
	place  int     // in the heap
}

// atLeast is a lower bound of its commands.
func (c *candidate) atLeast() float64 { return c.count - c.before }

func (s *candidates) add(tenant string, n float64) {
	if c := s.at[tenant]; c != nil {
		c.count += n
		heap.Fix(&s.heap, c.place)
		return
	}
	if len(s.heap) < s.max {
		c := &candidate{tenant: strings.Clone(tenant), count: n}
		s.at[c.tenant] = c
		heap.Push(&s.heap, c)
		return
	}
	if s.max == 0 {
		return
	}
	c := s.heap[0]
	delete(s.at, c.tenant)
	c.tenant, c.before = strings.Clone(tenant), c.count
	c.count += n
	s.at[c.tenant] = c
	heap.Fix(&s.heap, 0)
}

// take returns the candidates, the busiest first, and forgets them.
func (s *candidates) take() []*candidate {
	found := []*candidate(s.heap)
	slices.SortFunc(found, func(a, b *candidate) int { return cmp.Compare(b.atLeast(), a.atLeast()) })
	s.heap = nil
	clear(s.at)
	return found
}

// byCount is a heap, the least first.
type byCount []*candidate

func (h byCount) Len() int           { return len(h) }
func (h byCount) Less(i, j int) bool { return h[i].count < h[j].count }
func (h byCount) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *byCount) Push(x any) {
	c := x.(*candidate) //nolint:forcetypeassert // heap.Push of this file
	c.place = len(*h)
	*h = append(*h, c)
}

func (h *byCount) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}

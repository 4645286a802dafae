package consumer

import (
	"errors"
	"sync"
	"time"

	"tributary/internal/tenants"
)

// letterCalls are the calls that carry letters, by the rules under which they began. A letter of an erased tenant must not reach the
// dead-letter queue once the erasure has looked through it: the erasure waits until no call of earlier rules is under way.
type letterCalls struct {
	mu       sync.Mutex
	underWay map[int64]int // by the revision of the rules; guarded by mu
}

// begin counts a call that begins now. It returns the rules of the call, which may be nil, and a function that ends it.
func (l *letterCalls) begin(current func() *tenants.Rules) (rules *tenants.Rules, end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rules = current(); rules == nil {
		return nil, func() {}
	}
	if l.underWay == nil {
		l.underWay = map[int64]int{}
	}
	revision := rules.Revision
	l.underWay[revision]++
	return rules, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.underWay[revision]--; l.underWay[revision] == 0 {
			delete(l.underWay, revision)
		}
	}
}

// confirmed returns the newest revision for which no call is under way that began under an older one; 0: there are no rules.
func (l *letterCalls) confirmed(current func() *tenants.Rules) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	rules := current()
	if rules == nil {
		return 0
	}
	newest := rules.Revision
	for revision := range l.underWay {
		newest = min(newest, revision)
	}
	return newest
}

// Confirmed returns the newest revision of the rules for which no call is under way that carries letters and began under older ones.
// 0: there are no rules.
func (c *Consumer) Confirmed() int64 { return c.letterCalls.confirmed(c.rules) }

// rules returns what operators have decided; nil: nothing.
func (c *Consumer) rules() *tenants.Rules {
	if c.cfg.Rules == nil {
		return nil
	}
	return c.cfg.Rules()
}

// errRulesTooOld is why no letter is sent while the rules can't be read: its tenant may have been erased since.
var errRulesTooOld = errors.New("decisions about tenants could not be read for too long")

// withhold takes the letters of erased tenants out of a batch: they were on their way when their tenants were erased.
func (c *Consumer) withhold(rules *tenants.Rules, batch []Letter) (kept, withheld []Letter) {
	if rules.Len() == 0 {
		return batch, nil
	}
	r := &ruling{c, rules, time.Now()}
	for _, l := range batch {
		if r.drops(l.command, &l.delivery.message) {
			withheld = append(withheld, l)
		} else {
			kept = append(kept, l)
		}
	}
	return kept, withheld
}

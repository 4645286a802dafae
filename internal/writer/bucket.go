package writer

import (
	"time"

	"tributary/internal/tenants"
)

// bucket is what a limited tenant may still write: a token bucket in write units. The scheduler owns it, under Writer.mu. It
// outlives the tenant's state, so that a tenant that holds nothing for a moment gains nothing by it.
//
// A call may take a write while the bucket is not empty, whatever the write costs: the bucket then goes into debt. An empty bucket
// pauses the tenant until a quarter of a second's units are there. Otherwise each unit would wake the scheduler and have a call
// of its own.
type bucket struct {
	limit     tenants.Limit
	units     float64   // at the time at; negative: debt
	at        time.Time // never before the last change
	notBefore time.Time // while it was empty: when the tenant goes on
	turn      time.Time // when the next message that goes back has its turn, if it is to come
}

// refillPause is for how many seconds a tenant saves up, at least, once its bucket is empty.
const refillPause = 0.25

// newBucket returns a full bucket.
func newBucket(limit tenants.Limit, now time.Time) *bucket {
	return &bucket{limit: limit, units: limit.Burst, at: now}
}

// refill brings the bucket up to now.
func (b *bucket) refill(now time.Time) {
	if passed := now.Sub(b.at); passed > 0 {
		b.units = min(b.limit.Burst, b.units+passed.Seconds()*b.limit.Rate)
		b.at = now
	}
}

// take takes units out, or puts them back if the number is negative. It reports whether this has emptied the bucket.
func (b *bucket) take(units float64, now time.Time) (emptied bool) {
	b.refill(now)
	b.units = min(b.limit.Burst, b.units-units)
	return b.pause(now)
}

// obey changes the limit. What is saved up, or owed, stays.
func (b *bucket) obey(limit tenants.Limit, now time.Time) {
	if limit == b.limit {
		return
	}
	b.refill(now)
	if ahead := b.turn.Sub(now); ahead > 0 {
		b.turn = now.Add(time.Duration(float64(ahead) * b.limit.Rate / limit.Rate))
	}
	b.limit = limit
	b.units = min(b.units, limit.Burst)
	b.pause(now)
}

// pause sets when the tenant goes on, if the bucket is empty or was until now. It reports whether the tenant did not pause before.
func (b *bucket) pause(now time.Time) bool {
	paused := now.Before(b.notBefore)
	if b.units > 0 && !paused {
		return false
	}
	wait := max(0, refillPause-b.units/b.limit.Rate)
	b.notBefore = now.Add(time.Duration(wait * float64(time.Second)))
	return !paused
}

// full reports whether nothing is missing at now, and no message waits for its turn. A full bucket is as good as none.
func (b *bucket) full(now time.Time) bool {
	b.refill(now)
	return b.units >= b.limit.Burst && !b.turn.After(now)
}

// maxTurn bounds how far ahead turns are given: a limit may be raised, or the messages may go to other workers.
const maxTurn = 2 * time.Hour

// away returns for how long a message that goes back stays away: until those that went back before it have used up the limit. Then each
// message is received about twice, however long the backlog is, and enough of them come for the limit to be used. It costs so many
// units. The tenant holds others; half of them are left when the message comes, so that the tenant never waits for messages.
func (b *bucket) away(units, held int, now time.Time) time.Duration {
	takes := func(units float64) time.Duration { return time.Duration(units / b.limit.Rate * float64(time.Second)) }
	if begins := now.Add(takes(float64(held) / 2)); b.turn.Before(begins) {
		b.turn = begins
	}
	wait := min(maxTurn, b.turn.Sub(now))
	b.turn = now.Add(wait + takes(float64(units)))
	return wait
}

// short reports whether the tenant may not write so many units within a time from now.
func (b *bucket) short(units int, within time.Duration, now time.Time) bool {
	b.refill(now)
	return float64(units) > b.units+within.Seconds()*b.limit.Rate
}

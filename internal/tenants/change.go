package tenants

import (
	"fmt"
	"time"
)

// ErasedError is the error of a change that an erasure forbids.
type ErasedError struct {
	Decision Decision
	Problem  string // what can't be done, and what can
}

func (e *ErasedError) Error() string {
	return fmt.Sprintf("tenant %s is %s by %s since %s (erasure %s): %s", e.Decision.Tenant, e.Decision.Status, e.Decision.By,
		e.Decision.At.UTC().Format(time.RFC3339), e.Decision.Erasure, e.Problem)
}

// Suspension is how a tenant is suspended.
type Suspension struct {
	Letters bool // its commands become dead letters; otherwise they stay on the queue
	NoReads bool // the query API refuses it too
	Reason  string
}

// Suspend returns the decision that suspends a tenant. Its limits stay. A tenant that is suspended already is suspended as s says.
func Suspend(old Decision, s Suspension, by string, now time.Time) (Decision, error) {
	if err := old.editable(now, "its commands are dropped already"); err != nil {
		return old, err
	}
	next := old.by(by, now)
	next.Status, next.Letters, next.NoReads, next.Reason = Suspended, s.Letters, s.NoReads, s.Reason
	return next, nil
}

// Resume returns the decision that ends a suspension; with afterErasure, one that ends the memory of an erasure. Limits stay.
func Resume(old Decision, afterErasure bool, by string, now time.Time) (Decision, error) {
	if old.Status == Erasing || !afterErasure {
		if err := old.editable(now, erasedRemedy(old.Status)); err != nil {
			return old, err
		}
	}
	next := old.by(by, now)
	next.Status, next.Letters, next.NoReads, next.Reason = Active, false, false, ""
	return next, nil
}

func erasedRemedy(s Status) string {
	if s == Erasing {
		return "worker tenant erase finishes it"
	}
	return "resume --after-erasure lets its commands be written again, also those that were sent before the erasure"
}

// Limits are a tenant's limits; nil leaves one as it is, 0 removes it.
type Limits struct{ WriteUnits, Requests, Burst *float64 }

// WithLimits returns the decision that changes a tenant's limits. Its status stays.
func WithLimits(old Decision, l Limits, by string, now time.Time) (Decision, error) {
	if err := old.editable(now, "it has no commands to limit"); err != nil {
		return old, err
	}
	next := old.by(by, now)
	for _, change := range []struct{ to, from *float64 }{{&next.WriteUnits, l.WriteUnits}, {&next.Requests, l.Requests}, {&next.Burst, l.Burst}} {
		if change.from != nil {
			*change.to = *change.from
		}
	}
	if next.WriteUnits == 0 && next.Requests == 0 {
		next.Burst = 0
	}
	return next, nil
}

// editable returns an *ErasedError while an erasure is in force.
func (d *Decision) editable(now time.Time, problem string) error {
	if d.Verdict(now) == Drop {
		return &ErasedError{*d, problem}
	}
	return nil
}

// by returns the decision as the next one who decides begins with it. What an erasure that is over has left is forgotten.
func (d Decision) by(by string, now time.Time) Decision {
	d.By, d.At = by, now.UTC()
	if d.Status == Erased {
		d.Status, d.Erasure, d.Expires = Active, "", time.Time{}
	}
	return d
}

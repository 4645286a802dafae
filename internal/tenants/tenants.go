// Package tenants decides what a tenant may do: what operators have decided about it, and what a worker that has read this
// makes of it. The decisions are pure; package control reads and writes them.
package tenants

import (
	"time"
)

// Status is what an operator has decided about a tenant's commands.
type Status uint8

// The statuses. The zero value is that of a tenant about which nothing was decided.
const (
	Active    Status = iota
	Suspended        // commands stay on the queue, or are dead-lettered
	Erasing          // commands are dropped; its items are being removed
	Erased           // commands are dropped; its items were removed
)

var statusNames = [...]string{"active", "suspended", "erasing", "erased"}

func (s Status) String() string { return statusNames[s] }

// ParseStatus is the reverse of String.
func ParseStatus(name string) (Status, bool) {
	for s, n := range statusNames {
		if n == name {
			return Status(s), true
		}
	}
	return Active, false
}

// Decision is what operators have decided about one tenant. It is not changed once it is part of Rules.
type Decision struct {
	Tenant string
	Status Status
	// Letters dead-letters the commands of a suspended tenant. Otherwise they stay on the queue.
	Letters bool
	// NoReads stops the query API for a suspended tenant too.
	NoReads bool
	Reason  string // of a suspension, for people
	// WriteUnits and Requests limit the tenant, a second, over all workers together. 0 is no limit. Write units are DynamoDB's,
	// of the table and of its indexes.
	WriteUnits float64
	Requests   float64
	// Burst is for how many seconds an unused limit is saved up. It is at least 1 where there is a limit.
	Burst float64
	By    string    // who decided last
	At    time.Time // when
	// Erasure is the id of the erasure, of the statuses Erasing and Erased.
	Erasure string
	// Expires is when an erasure is forgotten; the zero time: never.
	Expires time.Time
}

// Nothing says whether the decision decides nothing, so that the tenant is as any other.
func (d *Decision) Nothing() bool {
	return *d == Decision{Tenant: d.Tenant, By: d.By, At: d.At, Burst: d.Burst, Reason: d.Reason}
}

// Verdict is what happens to a command.
type Verdict uint8

// The verdicts.
const (
	Write  Verdict = iota // as if nothing was decided
	Wait                  // it goes back to the queue
	Letter                // it becomes a dead letter with the reason tenant_suspended
	Drop                  // it is settled with the outcome erased, and never written
)

// Verdict returns what happens to the tenant's commands at now. A nil Decision lets them be written.
func (d *Decision) Verdict(now time.Time) Verdict {
	switch {
	case d == nil:
		return Write
	case d.Status == Suspended && d.Letters:
		return Letter
	case d.Status == Suspended:
		return Wait
	case d.Status == Erasing, d.Status == Erased && (d.Expires.IsZero() || now.Before(d.Expires)):
		return Drop
	}
	return Write
}

// MayRead says whether the query API answers for the tenant.
func (d *Decision) MayRead() bool { return d == nil || d.Status != Suspended || !d.NoReads }

// Rules is what a worker obeys: the decisions as it last read them, and how many workers share the limits. It is not changed
// once it is made.
type Rules struct {
	// Revision is that of the control partition when the decisions were read. It grows with each decision.
	Revision int64
	// Until is when the rules are too old to write by: another worker may have been told to erase a tenant since. The zero time
	// means that they don't get old, for nobody governs this worker.
	Until time.Time
	// Writers and Readers are how many workers are alive that consume and that answer queries, this one included.
	Writers, Readers int
	decisions        map[string]*Decision
}

// NewRules makes rules of decisions. Those that decide nothing are left out.
func NewRules(revision int64, until time.Time, writers, readers int, decisions []*Decision) *Rules {
	r := &Rules{Revision: revision, Until: until, Writers: max(1, writers), Readers: max(1, readers)}
	for _, d := range decisions {
		if d.Nothing() {
			continue
		}
		if r.decisions == nil {
			r.decisions = make(map[string]*Decision, len(decisions))
		}
		r.decisions[d.Tenant] = d
	}
	return r
}

// Renew returns the same rules with another end and other numbers of workers.
func (r *Rules) Renew(until time.Time, writers, readers int) *Rules {
	next := *r
	next.Until, next.Writers, next.Readers = until, max(1, writers), max(1, readers)
	return &next
}

// Of returns the decision about a tenant, or nil. It may be called on nil rules.
func (r *Rules) Of(tenant string) *Decision {
	if r == nil || r.decisions == nil {
		return nil
	}
	return r.decisions[tenant]
}

// Len returns about how many tenants something is decided.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.decisions)
}

// All calls f for every decision, in no order, until f returns false.
func (r *Rules) All(f func(*Decision) bool) {
	if r == nil {
		return
	}
	for _, d := range r.decisions {
		if !f(d) {
			return
		}
	}
}

// TooOld says whether nothing may be written by the rules any more at now. Both clocks count: the monotonic one may stand still while a
// machine is paused, as Lambda pauses one between two invocations, and the other may be set back.
func (r *Rules) TooOld(now time.Time) bool {
	return r != nil && !r.Until.IsZero() && (!now.Before(r.Until) || !now.Round(0).Before(r.Until.Round(0)))
}

// Limit is the part of a tenant's limit that one worker takes: so many a second, and so many saved up at most. The zero value is
// no limit.
type Limit struct{ Rate, Burst float64 }

// WriteLimit returns this worker's part of the tenant's limit in write units.
func (r *Rules) WriteLimit(tenant string) Limit {
	d := r.Of(tenant)
	if d == nil || d.WriteUnits == 0 {
		return Limit{}
	}
	rate := d.WriteUnits / float64(r.Writers)
	return Limit{rate, rate * max(1, d.Burst)}
}

// RequestLimit returns this worker's part of the tenant's limit in requests to the query API.
func (r *Rules) RequestLimit(tenant string) Limit {
	d := r.Of(tenant)
	if d == nil || d.Requests == 0 {
		return Limit{}
	}
	rate := d.Requests / float64(r.Readers)
	return Limit{rate, rate * max(1, d.Burst)}
}

// Times of the protocol between workers and those who decide.
const (
	// ReadEvery is how often a worker reads the control partition.
	ReadEvery = 5 * time.Second
	// Lease is for how long after the beginning of a successful read a worker may write by it. It is longer than two reads that
	// fail and a third that succeeds.
	Lease = 20 * time.Second
	// TellEvery is how often a worker writes its own item.
	TellEvery = 10 * time.Second
	// DeadAfter is the age of its item from which a worker counts as dead. Others take its part of the limits then.
	DeadAfter = 25 * time.Second
)

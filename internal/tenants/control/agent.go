package control

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"tributary/internal/table"
	"tributary/internal/tenants"
)

// Times of the agent beside those of package tenants.
const (
	// jitter keeps workers that were started together from reading together. It only shortens ReadEvery.
	jitter = tenants.ReadEvery / 10
	// rereadEvery is how often the decisions are read although the revision is the same: whoever decides may be killed
	// between writing a decision and adding to the revision.
	rereadEvery = time.Minute
	// deniedEvery is how often a worker that may not read the control partition tries again.
	deniedEvery = time.Minute
	// confirmEvery is how often the writer is asked whether it has confirmed a new revision.
	confirmEvery = 100 * time.Millisecond
	// readTimeout and tellTimeout bound one look and one item. The agent does one thing at a time.
	readTimeout = 10 * time.Second
	tellTimeout = 4 * time.Second
	retellAfter = 2 * time.Second
	// hurry is how soon a read that failed is tried again while the rules are too old to write by.
	hurry       = 500 * time.Millisecond
	leaveWithin = 3 * time.Second
	// workerStays is for how long DynamoDB keeps the item of a worker that died, where nobody removes it before.
	workerStays = 24 * time.Hour
	// removeAfter is for how long a worker has to be silent until others remove its item.
	removeAfter = 5 * time.Minute
	// maxChanges bounds the lines of log of one look.
	maxChanges = 20
)

// AgentAPI is the part of DynamoDB that an agent calls.
type AgentAPI interface {
	API
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
}

// AgentConfig is what an agent needs to know of its worker.
type AgentConfig struct {
	API     AgentAPI
	Table   string
	Role    string // all, consume, query or lambda
	Version string
	Types   string // the fingerprint of the declared types
	// Obey is told the rules whenever they change, also where only Until or the numbers of workers do, and nil where the worker turns
	// out not to be governed. It must not block.
	Obey func(*tenants.Rules)
	// Confirmed returns the newest revision for which no call that began under an older one is under way. Nil: what is obeyed
	// is confirmed.
	Confirmed func() int64
	// Held returns how many commands the worker holds. It may be nil.
	Held func() int
	Log  *slog.Logger
}

// Agent reads the control partition and makes its worker obey it. It writes the worker's own item.
//
// The loop: every ReadEvery it reads the revision, with a consistent read. The lease of the rules counts from the
// beginning of that read. Only where the revision is another, or a minute has passed, does it read the decisions. With
// each read it looks at the items of all workers, among which the limits are shared. Every TellEvery, and at once when
// the writer has confirmed a new revision, it writes the worker's own item.
//
// Begin and then Run are called once, by one goroutine at a time. The other methods may be called at any time.
type Agent struct {
	cfg     AgentConfig
	store   Store
	id      string
	host    string
	started time.Time

	wake   chan chan struct{}            // by Wake, which waits for the close
	rules  atomic.Pointer[tenants.Rules] // nil while the worker is not governed
	status atomic.Pointer[Status]

	// Begin's and Run's goroutine owns what follows.
	governed    bool // the control partition could be read once
	denied      bool // it could not, and the log says so
	failing     bool // it can't be read at the moment, and the log says so
	silent      bool // the own item can't be written, and the log says so
	revision    int64
	readAt      time.Time // the beginning of the last read that succeeded
	decisionsAt time.Time // likewise, of the decisions
	census      census
	all         int // workers that are alive, this one included
	beat        int64
	told        int64 // the revision that the own item confirms
	nextRead    time.Time
	nextTell    time.Time
	nextDeath   time.Time // of another worker; zero: none is near
}

// NewAgent makes an agent with a new worker id.
func NewAgent(cfg AgentConfig) *Agent {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	a := &Agent{
		cfg: cfg, store: Store{cfg.API, cfg.Table}, id: uuid.NewString(), host: host, started: time.Now(),
		census: census{trust: tenants.DeadAfter}, all: 1, wake: make(chan chan struct{}),
	}
	a.publish("")
	return a
}

// Rules returns what the worker obeys, or nil while it is not governed.
func (a *Agent) Rules() *tenants.Rules { return a.rules.Load() }

// ID returns the worker's id, which is another one for each process.
func (a *Agent) ID() string { return a.id }

// Begin reads the control partition for the first time. Until that has succeeded, or was refused for good, the worker obeys rules by
// which it writes nothing: a tenant may have been erased.
func (a *Agent) Begin(ctx context.Context) {
	a.obey(tenants.NewRules(0, time.Now(), 1, 1, nil))
	a.read(ctx)
}

// Wake makes Run look at once if a look is due by the time of day, or the rules are too old to write by, and waits for it until ctx ends. It
// is for processes that are paused now and then: their timers may have stood still.
func (a *Agent) Wake(ctx context.Context) {
	looked := make(chan struct{})
	select {
	case a.wake <- looked:
	case <-ctx.Done():
		return
	}
	select {
	case <-looked:
	case <-ctx.Done():
	}
}

// Run reads and writes until ctx ends, and then removes the worker's item. ctx must end only after the last write.
func (a *Agent) Run(ctx context.Context) {
	var woken chan struct{}
	for {
		next := a.step(ctx)
		if woken != nil {
			close(woken)
			woken = nil
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			a.leave(ctx)
			return
		case woken = <-a.wake:
			timer.Stop()
			a.catchUp(time.Now())
		case <-timer.C:
		}
	}
}

// catchUp lets the next step do what is due by the time of day.
func (a *Agent) catchUp(now time.Time) {
	if a.Rules().TooOld(now) {
		a.nextRead = now
	}
	for _, due := range []*time.Time{&a.nextRead, &a.nextTell} {
		if !now.Round(0).Before(due.Round(0)) {
			*due = now
		}
	}
}

// step does what is due, and returns when something is due again.
func (a *Agent) step(ctx context.Context) time.Time {
	if now := time.Now(); !now.Before(a.nextRead) {
		a.read(ctx)
	}
	if !a.governed {
		return a.nextRead
	}
	now := time.Now()
	if !a.nextDeath.IsZero() && !now.Before(a.nextDeath) {
		a.apply(a.rules.Load()) // another worker died since: its part of the limits is shared anew
	}
	confirmed := a.confirmed()
	if confirmed > a.told || !now.Before(a.nextTell) {
		a.tell(ctx, confirmed)
	}
	next := earliest(a.nextRead, a.nextTell, a.nextDeath)
	if confirmed < a.revision {
		next = earliest(next, time.Now().Add(confirmEvery))
	}
	return next
}

// earliest returns the earliest of some times, of which those that are zero don't count.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func (a *Agent) confirmed() int64 {
	if a.cfg.Confirmed == nil {
		return a.revision
	}
	return a.cfg.Confirmed()
}

// read looks at the control partition once.
func (a *Agent) read(ctx context.Context) {
	began := time.Now()
	a.nextRead = began.Add(tenants.ReadEvery - rand.N(jitter))
	within, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := a.readWithin(within, began); err != nil && ctx.Err() == nil {
		a.failed(began, err)
	}
}

func (a *Agent) readWithin(ctx context.Context, began time.Time) error {
	revision, err := a.store.Revision(ctx)
	if err != nil {
		return err
	}
	rules, decisionsAt := a.rules.Load(), a.decisionsAt
	var decisions []*tenants.Decision
	if !a.governed || revision != a.revision || began.Sub(a.decisionsAt) >= rereadEvery {
		if decisions, err = a.store.Decisions(ctx); err != nil {
			return err // not even the lease goes on: what was decided is unknown
		}
		rules, decisionsAt = tenants.NewRules(revision, began, 1, 1, decisions), began
	}
	workers, err := a.store.Workers(ctx, false)
	if err != nil {
		return err
	}
	a.census.look(time.Now(), workers)
	if decisionsAt != a.decisionsAt {
		a.logChanges(a.rules.Load(), rules, decisions)
	}
	a.revision, a.readAt, a.decisionsAt = revision, began, decisionsAt
	a.succeeded(rules)
	a.apply(rules)
	a.bury(ctx)
	return nil
}

// succeeded logs what a read that succeeded ends.
func (a *Agent) succeeded(rules *tenants.Rules) {
	switch {
	case !a.governed:
		a.cfg.Log.Info("worker obeys the control partition", "worker", a.id, "revision", a.revision, "decisions", rules.Len())
	case a.failing:
		a.cfg.Log.Info("control partition can be read again", "revision", a.revision)
	}
	a.governed, a.denied, a.failing = true, false, false
}

// failed says once that the control partition can't be read. A worker that was never allowed to read it is not governed.
func (a *Agent) failed(began time.Time, err error) {
	switch {
	case !a.governed && isDenied(err):
		a.nextRead = began.Add(deniedEvery - rand.N(jitter))
		if !a.denied {
			a.cfg.Log.Warn("worker obeys no decisions about tenants: it may not read the control partition; allow it dynamodb:GetItem, Query, "+
				"PutItem and DeleteItem on the table for the leading key "+Partition, "table", a.cfg.Table, "error", err)
			a.obey(nil)
		}
		a.denied = true
	case !a.failing:
		a.failing = true
		a.cfg.Log.Warn("control partition can't be read: nothing is written from the end of the lease on", "lease", tenants.Lease,
			"table", a.cfg.Table, "error", err)
	}
	if a.governed && a.rules.Load().TooOld(time.Now()) {
		a.nextRead = time.Now().Add(hurry)
	}
	a.nextDeath = time.Time{} // nobody is dead because this worker can't look
	a.publish(err.Error())
}

// apply makes the worker obey the rules, with the lease of the last read and the workers that are alive now.
func (a *Agent) apply(rules *tenants.Rules) {
	writers, readers, all, nextDeath := a.census.count(time.Now(), a.id)
	self := Worker{Role: a.cfg.Role}
	if self.writes() {
		writers++
	}
	if self.reads() {
		readers++
	}
	a.all, a.nextDeath = all+1, nextDeath
	a.obey(rules.Renew(a.readAt.Add(tenants.Lease), writers, readers))
	a.publish("")
}

// obey makes the writer obey the rules before the consumer can see them.
func (a *Agent) obey(rules *tenants.Rules) {
	if a.cfg.Obey != nil {
		a.cfg.Obey(rules)
	}
	a.rules.Store(rules)
}

// logChanges logs what is decided otherwise than before, a line each, up to maxChanges. The rules after are those of the decisions.
func (a *Agent) logChanges(before, after *tenants.Rules, decisions []*tenants.Decision) {
	if !a.governed && after.Len() > maxChanges {
		return // a worker that starts says how many there are
	}
	changes := 0
	log := func(d *tenants.Decision) {
		if changes++; changes > maxChanges {
			return
		}
		facts := []any{"tenant", d.Tenant, "status", d.Status.String(), "by", d.By}
		for _, f := range []struct {
			name  string
			value any
			given bool
		}{
			{"reason", d.Reason, d.Reason != ""},
			{"write_units", d.WriteUnits, d.WriteUnits > 0}, {"requests", d.Requests, d.Requests > 0},
			{"erasure", d.Erasure, d.Erasure != ""},
		} {
			if f.given {
				facts = append(facts, f.name, f.value)
			}
		}
		a.cfg.Log.Info("decision about tenant is obeyed", append(facts, "revision", after.Revision)...)
	}
	after.All(func(d *tenants.Decision) bool {
		if old := before.Of(d.Tenant); old == nil || *old != *d {
			log(d)
		}
		return true
	})
	ended := map[string]*tenants.Decision{} // who ended what was decided before
	for _, d := range decisions {
		if d.Nothing() {
			ended[d.Tenant] = d
		}
	}
	before.All(func(d *tenants.Decision) bool {
		if after.Of(d.Tenant) == nil {
			log(cmp.Or(ended[d.Tenant], &tenants.Decision{Tenant: d.Tenant}))
		}
		return true
	})
	if more := changes - maxChanges; more > 0 {
		a.cfg.Log.Info("more decisions about tenants are obeyed", "count", more, "revision", after.Revision)
	}
}

// tell writes the worker's own item.
func (a *Agent) tell(ctx context.Context, confirmed int64) {
	now := time.Now()
	a.beat++
	w := Worker{
		ID: a.id, Host: a.host, Process: os.Getpid(), Role: a.cfg.Role, Version: a.cfg.Version, Types: a.cfg.Types, Started: a.started,
		Updated: now, Beat: a.beat, Revision: a.revision, Confirmed: confirmed, Expires: now.Add(workerStays),
	}
	if a.cfg.Held != nil {
		w.Held = a.cfg.Held()
	}
	within, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	_, err := a.cfg.API.PutItem(within, &dynamodb.PutItemInput{TableName: &a.cfg.Table, Item: table.Attributes(workerItem(&w))})
	if err != nil {
		a.nextTell = now.Add(retellAfter)
		if isDenied(err) {
			a.nextTell = now.Add(deniedEvery)
		}
		if !a.silent && ctx.Err() == nil {
			a.silent = true
			a.cfg.Log.Warn("worker can't write its item of the control partition: limits are shared without it, and decisions wait for it", "error", err)
		}
		a.told = max(a.told, confirmed) // what failed is tried again by the clock, not at once
		return
	}
	a.silent, a.told, a.nextTell = false, max(a.told, confirmed), now.Add(tenants.TellEvery)
}

// bury removes the items of workers that have been silent for long. DynamoDB itself takes days.
func (a *Agent) bury(ctx context.Context) {
	for _, w := range a.census.gone(time.Now(), removeAfter) {
		if w.ID == a.id {
			continue
		}
		// A worker that speaks again meanwhile keeps its item; another agent may have been first. Neither matters, nor does a failure.
		_, _ = a.cfg.API.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: &a.cfg.Table, Key: key(workerPrefix + w.ID), ConditionExpression: aws.String("beat = :beat"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":beat": integer(w.Beat)},
		})
	}
}

// leave removes the worker's own item, so that nobody waits for it.
func (a *Agent) leave(ctx context.Context) {
	if a.beat == 0 {
		return
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	if _, err := a.cfg.API.DeleteItem(within, &dynamodb.DeleteItemInput{TableName: &a.cfg.Table, Key: key(workerPrefix + a.id)}); err != nil {
		a.cfg.Log.Info("worker's item of the control partition stays until it expires", "error", err)
	}
}

// isDenied says that a call is refused however often it is made: for want of permission, or because what answers has no such call or
// table.
func isDenied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode() {
	case "AccessDeniedException", "AccessDenied", "ResourceNotFoundException", "ValidationException", "UnknownOperationException":
		return true
	}
	return false
}

// Status is what an agent says about itself.
type Status struct {
	Worker    string  `json:"worker"`
	Governed  bool    `json:"governed"`
	Revision  int64   `json:"revision"`
	Confirmed int64   `json:"confirmed"`
	Age       float64 `json:"age_seconds"` // since the beginning of the last read that succeeded, or since the start; 0 where not governed
	Decisions int     `json:"decisions"`
	Suspended int     `json:"suspended"`
	Alive     int     `json:"workers_alive"` // this one included
	Writers   int     `json:"writers"`       // of them, those among which limits of write units are shared
	Readers   int     `json:"readers"`       // likewise, of requests
	Error     string  `json:"error,omitempty"`

	readAt time.Time
}

func (a *Agent) publish(failure string) {
	s := &Status{Worker: a.id, Governed: a.governed, Revision: a.revision, Alive: a.all, Error: failure, readAt: a.readAt}
	if rules := a.rules.Load(); rules != nil {
		if a.readAt.IsZero() {
			s.readAt = a.started // nothing is written until the first read, so this age counts too
		}
		s.Decisions, s.Writers, s.Readers = rules.Len(), rules.Writers, rules.Readers
		rules.All(func(d *tenants.Decision) bool {
			if d.Status == tenants.Suspended {
				s.Suspended++
			}
			return true
		})
	}
	a.status.Store(s)
}

// Status returns the state of now.
func (a *Agent) Status() Status {
	s := *a.status.Load()
	if !s.readAt.IsZero() {
		s.Age = time.Since(s.readAt).Seconds()
	}
	if s.Confirmed = s.Revision; a.cfg.Confirmed != nil {
		s.Confirmed = a.cfg.Confirmed()
	}
	return s
}

package model

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tributary/internal/consumer"
	"tributary/internal/messages"
	"tributary/internal/tenants"
	"tributary/internal/writer"
)

// control is what operators have decided. The world's mutex guards it.
type control struct {
	governed  bool // processes read the decisions
	revision  int64
	decisions map[string]*tenants.Decision
	writers   int           // processes that are alive
	away      time.Duration // until then it can't be read
	letters   []*message    // letters of suspended tenants, to be redriven
	late      int           // writes that have still to take effect although their call was given up
}

// governor is a process's agent: it reads the decisions and says what it obeys.
type governor struct {
	rules  atomic.Pointer[tenants.Rules]
	paused time.Duration // the process stands still until then; guarded by the world's mutex
	stood  bool          // it stood still at some time, so nothing is said of how long it takes to stop; guarded by the world's mutex
	told   int64         // the revision that it said it obeys; guarded by the world's mutex
	toldAt time.Duration // guarded by the world's mutex
}

// decide changes what is decided about a tenant. The caller holds the world's mutex.
func (w *world) decide(d tenants.Decision) {
	w.control.revision++
	w.control.decisions[d.Tenant] = &d
	w.note(event{kind: decided, decision: &d, revision: w.control.revision})
}

// change changes what is decided about a tenant, unless it is erased.
func (r *run) change(tenant string, change func(*tenants.Decision)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := tenants.Decision{Tenant: tenant}
	if old := r.control.decisions[tenant]; old != nil {
		d = *old
	}
	if d.Status != tenants.Erasing && d.Status != tenants.Erased {
		change(&d)
		r.decide(d)
	}
}

// resume resumes all tenants and lets the queue become empty. It redrives the letters of suspended tenants when all processes have
// read that the tenants are resumed.
func (r *run) resume() {
	for _, tenant := range tenantNames {
		r.change(tenant, func(d *tenants.Decision) { d.Status = tenants.Active })
	}
	r.settle()
	if !r.control.governed {
		return
	}
	time.Sleep(10 * time.Second)
	r.settle()
	r.mu.Lock()
	for _, m := range r.control.letters {
		r.send(m)
	}
	r.control.letters = nil
	r.mu.Unlock()
	r.settle()
}

// countWriters lets the processes share the limits.
func (r *run) countWriters() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.control.writers = len(r.alive)
}

// stand waits while the process stands still, and reports whether it did. The caller holds the world's mutex.
func (p *process) stand() (did bool) {
	for p.governor.paused > p.now() && !p.dead {
		if !p.governor.stood {
			p.governor.stood = true
			p.note(event{kind: stood, process: p.id})
		}
		did = true
		p.sleep(min(time.Second, p.governor.paused-p.now()))
	}
	return did
}

// read makes the process obey what is decided, if it can be read. It reports whether it could.
func (p *process) read() bool {
	p.mu.Lock()
	p.stand()
	c := &p.control
	if p.dead || p.now() < c.away {
		p.mu.Unlock()
		return false
	}
	rules := tenants.NewRules(c.revision, time.Now().Add(tenants.Lease), max(1, p.control.writers), 0, slices.Collect(maps.Values(c.decisions)))
	p.mu.Unlock()
	time.Sleep(time.Millisecond)
	p.mu.Lock()
	p.stand()
	p.mu.Unlock()
	p.writer.Obey(rules)
	p.governor.rules.Store(rules)
	p.mu.Lock()
	if p.governor.toldAt == 0 {
		p.governor.toldAt = p.now() // its item is there before it begins
	}
	p.note(event{kind: obeyed, process: p.id, revision: rules.Revision, until: rules.Until.Sub(p.began)})
	p.mu.Unlock()
	return true
}

// govern reads the decisions every five seconds, and says what it obeys every second, until the process ends.
func (p *process) govern() {
	for tick := 1; ; tick++ {
		select {
		case <-p.done:
			return
		case <-p.killed:
			return
		case <-time.After(time.Second):
		}
		if tick%5 == 0 {
			p.read()
		}
		p.mu.Lock()
		p.stand()
		if !p.dead && p.now() >= p.control.away {
			p.governor.told, p.governor.toldAt = p.writer.Confirmed(), p.now()
		}
		p.mu.Unlock()
	}
}

// erase erases a tenant, in the steps of docs/adr/0034-an-erasure-is-final.md.
func (r *run) erase(tenant string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.control.decisions[tenant]; old != nil && (old.Status == tenants.Erasing || old.Status == tenants.Erased) {
		return
	}
	r.decide(tenants.Decision{Tenant: tenant, Status: tenants.Erasing})
	revision := r.control.revision
	r.erasures.Go(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for !r.quiet(revision) {
			r.mu.Unlock()
			time.Sleep(time.Second)
			r.mu.Lock()
		}
		for k := range r.items {
			if k.tenant == tenant {
				delete(r.items, k)
				r.note(event{kind: removed, key: k})
			}
		}
		r.decide(tenants.Decision{Tenant: tenant, Status: tenants.Erased})
	})
}

// quiet reports whether no process can write by what was decided before the revision: each has said so, or its lease and its longest
// call are over. The caller holds the world's mutex.
func (r *run) quiet(revision int64) bool {
	const longestCall = 15 * time.Second
	for _, p := range r.all {
		select {
		case <-p.done:
			continue
		default:
		}
		if p.governor.told < revision && r.now() < p.governor.toldAt+tenants.Lease+longestCall {
			return false
		}
	}
	return r.control.late == 0
}

// decisions draws what operators do during a schedule.
func (r *run) decisions(span time.Duration) []action {
	d := r.draw
	var actions []action
	at := func(do func(*run)) { actions = append(actions, action{d.upTo(span + 30*time.Second), do}) }
	for range 1 + d.below(5) {
		tenant := pick(d, tenantNames...)
		switch d.below(8) {
		case 0, 1, 2:
			letters := !r.ordered && d.below(4) == 0
			at(func(r *run) {
				r.change(tenant, func(d *tenants.Decision) { d.Status, d.Letters = tenants.Suspended, letters })
			})
		case 3:
			at(func(r *run) { r.change(tenant, func(d *tenants.Decision) { d.Status = tenants.Active }) })
		case 4:
			units := pick(d, 1.0, 5, 50)
			at(func(r *run) { r.change(tenant, func(d *tenants.Decision) { d.WriteUnits, d.Burst = units, 1 }) })
		case 5, 6:
			if !r.ordered {
				at(func(r *run) { r.erase(tenant) })
			}
		case 7:
			if r.ordered {
				continue
			}
			began, pause := d.upTo(span), d.upTo(100*time.Second)
			actions = append(actions, action{began, func(r *run) {
				if p := r.some(); p != nil {
					r.mu.Lock()
					p.governor.paused = r.now() + pause
					r.mu.Unlock()
				}
			}})
			if d.below(2) == 0 { // and does not see that a tenant is erased
				actions = append(actions, action{began + d.upTo(10*time.Second), func(r *run) { r.erase(tenant) }})
			}
		}
	}
	if d.below(3) == 0 {
		r.control.away = d.upTo(span + 60*time.Second)
	}
	return append(actions, action{span + d.upTo(60*time.Second), func(*run) {}})
}

// again sends every message with commands of erased tenants once more.
func (r *run) again() (sent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Clone(r.queue.stored) {
		if s.message.barred {
			continue // it takes a hundred receives
		}
		for i := range s.message.commands {
			if d := r.control.decisions[s.message.commands[i].TenantID]; d != nil && d.Status == tenants.Erased {
				m := *s.message
				m.id += "-again"
				r.send(&m)
				sent = true
				break
			}
		}
	}
	return sent
}

// observedRules is what the oracle knows of decisions.
type observedRules struct {
	status    map[string][]decisionAt // by tenant, in the order of revisions
	suspended bool                    // a tenant was suspended at some time
	unclear   bool                    // with letters, or erased: what becomes of commands depends on when a process reads it
	lettered  map[string]bool         // tenants that were suspended with letters at some time
}

type decisionAt struct {
	revision int64
	status   tenants.Status
}

// at returns a tenant's status as of a revision.
func (o *observedRules) at(tenant string, revision int64) tenants.Status {
	status := tenants.Active
	for _, d := range o.status[tenant] {
		if d.revision <= revision {
			status = d.status
		}
	}
	return status
}

// erased reports whether a tenant was erased, or is being erased.
func (o *observedRules) erased(tenant string) bool { return o.at(tenant, 1<<62) >= tenants.Erasing }

func (o *oracle) decided(e *event) {
	d := e.decision
	o.rules.status[d.Tenant] = append(o.rules.status[d.Tenant], decisionAt{e.revision, d.Status})
	o.rules.unclear = o.rules.unclear || d.Letters || d.Status >= tenants.Erasing
	if d.Status == tenants.Suspended {
		o.rules.suspended = true
		o.rules.lettered[d.Tenant] = o.rules.lettered[d.Tenant] || d.Letters
	}
}

// allowed checks that a process may begin a write by the rules that it obeys. A call of the instant in which it began to obey them
// may be older.
func (o *oracle) allowed(e *event, p *observed, c *messages.Command) {
	if p.until == 0 {
		return // not governed
	}
	if e.at >= p.until {
		o.fail("process %d writes to %v by rules that were too old at %v", e.process, keyOf(c), p.until)
	}
	if e.at == p.obeyedAt {
		return
	}
	switch status := o.rules.at(c.TenantID, p.revision); {
	case status == tenants.Suspended:
		o.fail("process %d writes to %v, although it obeys the suspension since %v", e.process, keyOf(c), p.obeyedAt)
	case status >= tenants.Erasing && (!c.Delete || c.Version > 0):
		o.fail("process %d writes to %v, although it obeys the erasure since %v", e.process, keyOf(c), p.obeyedAt)
	}
}

// TestADayOfSuspension: a suspended tenant's messages wait for a day without being received more than ten times, nothing of the tenant
// is written meanwhile, and all of it afterwards.
func TestADayOfSuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRun(newDraw(1, nil), newMetrics())
		r.queue = queue{visibility: visibility, maxReceives: 100, receipts: map[string]*stored{}}
		r.writing = writer.Config{}.Defaults()
		r.consuming = consumer.Config{QueueName: "commands", VisibilityTimeout: visibility, MaxReceives: 100}.Defaults()
		r.control.governed = true
		r.start()
		time.Sleep(time.Second)
		r.change("red", func(d *tenants.Decision) { d.Status = tenants.Suspended })
		time.Sleep(10 * time.Second)
		const count = 30
		r.mu.Lock()
		for i := range count {
			m := r.message(fmt.Sprintf("m%d", i))
			r.send(m)
		}
		r.mu.Unlock()
		time.Sleep(24 * time.Hour)
		r.mu.Lock()
		waiting := 0
		for _, s := range r.queue.stored {
			if s.gone {
				continue
			}
			if waiting++; s.receives > 10 {
				t.Errorf("%s was received %d times within a day", s.message.id, s.receives)
			}
		}
		r.mu.Unlock()
		if waiting == 0 || waiting == count {
			t.Errorf("%d messages wait", waiting)
		}
		r.finish()
		for _, broken := range append(r.broken, newOracle(false, false, r.writing.MaxInFlight).judge(r.history)...) {
			t.Error(broken)
		}
	})
}

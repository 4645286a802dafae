package model

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"tributary/internal/consumer"
	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/tenants"
	"tributary/internal/writer"
	"tributary/test/support/commands"
)

// faults are the chances of faults, in a thousand, and the times until which some last.
type faults struct {
	unprocessed, whole, failBefore, failAfter, hang, slow        int // of the table
	receive, receiveLost, delete, deleteLost, change, changeLost int // of the queue
	letter, letterLost                                           int // of the dead-letter queue
	duplicate                                                    int

	outage  time.Duration
	foreign time.Duration // until then the table has other keys, and refuses everything
	dlqAway time.Duration
	hot     map[string]time.Duration // until then a tenant's key range is throttled
}

// heal ends all faults.
func (f *faults) heal() { *f = faults{} }

// action is one step of a schedule.
type action struct {
	at time.Duration
	do func(*run)
}

// run is one schedule under way.
type run struct {
	*world
	metrics   *metrics.Metrics
	log       *slog.Logger
	writing   writer.Config
	consuming consumer.Config
	alive     []*process
	all       []*process // guarded by the world's mutex
	serial    int
	erasures  sync.WaitGroup
	governing sync.WaitGroup
	versions  map[key]int64    // the highest version given to each key
	given     map[version]bool // all versions given
	healed    bool             // the faults are over
	hostile   int              // how many of a hundred commands can't be written
}

// version is a version of a key.
type version struct {
	key
	n int64
}

// process is a worker. It loses what it holds when it dies.
type process struct {
	*world
	id       int
	writer   *writer.Writer
	consumer *consumer.Consumer
	cancel   context.CancelFunc
	done     chan struct{}
	killed   chan struct{}
	dead     bool // guarded by the world's mutex
	pollers  int  // receives under way; guarded by the world's mutex
	governor governor

	drain time.Duration // its time limit for stopping
	asked time.Duration // when it was told to stop
	calm  bool          // nothing failed from then on
}

// There are few tenants and ids, so that keys are hot. Ids that begin with v have versions, those with u have none.
var tenantNames = []string{"red", "green", "blue"}

// start starts a process.
func (r *run) start() {
	p := &process{world: r.world, id: len(r.all) + 1, done: make(chan struct{}), killed: make(chan struct{}), drain: r.consuming.DrainTimeout}
	r.mu.Lock()
	r.all = append(r.all, p)
	r.mu.Unlock()
	r.alive = append(r.alive, p)
	r.countWriters()
	p.writer = writer.New(r.writing, table{p}, &r.metrics.Writer, r.log)
	consuming := r.consuming
	consuming.Rules = p.governor.rules.Load
	p.consumer = consumer.New(consuming, sqs{p}, dlq{p}, p.writer, &r.metrics.Consumer, r.log)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	calls, over := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() { p.writer.Run(calls) })
	go func() {
		defer close(p.done)
		if r.control.governed {
			for !p.read() && ctx.Err() == nil { // it begins nothing before it knows the rules
				time.Sleep(time.Second)
			}
			r.governing.Go(p.govern)
		}
		summary := p.consumer.Run(ctx)
		p.mu.Lock()
		at, invisible := p.now(), 0
		for _, s := range p.queue.stored {
			if s.owner == p.id && !s.gone && !s.asked && !s.lost && s.visible > at {
				invisible++
			}
		}
		p.mu.Unlock()
		writing.Wait()
		over()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.dead {
			return
		}
		load, limit := p.writer.Stats(), p.drain
		if p.governor.stood {
			limit = time.Hour
		}
		p.note(event{kind: stopped, process: p.id, stop: &stop{
			summary: summary, consumer: p.consumer.Stats(), waiting: load.Waiting, calls: load.Calls,
			took: at - p.asked, limit: limit, invisible: invisible, calm: p.calm && !p.governor.stood,
		}})
	}()
}

// stop tells a process to stop.
func (r *run) stop(p *process) {
	r.alive = slices.DeleteFunc(r.alive, func(a *process) bool { return a == p })
	r.countWriters()
	r.mu.Lock()
	p.asked, p.calm = r.now(), r.healed
	r.note(event{kind: stopping, process: p.id})
	r.mu.Unlock()
	p.cancel()
}

// kill ends a process at once. Its goroutines run on, but have no effect any longer.
func (r *run) kill(p *process) {
	r.alive = slices.DeleteFunc(r.alive, func(a *process) bool { return a == p })
	r.countWriters()
	r.mu.Lock()
	p.dead = true
	close(p.killed)
	r.note(event{kind: died, process: p.id})
	r.mu.Unlock()
	p.cancel()
}

// some returns one of the running processes, or nil.
func (r *run) some() *process {
	if len(r.alive) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alive[r.draw.below(len(r.alive))]
}

// play plays one schedule in a bubble and returns the world with its history.
func play(d *draw, m *metrics.Metrics) (*world, consumer.Config, writer.Config) {
	r := newRun(d, m)
	actions := r.plan()
	for _, a := range actions {
		if wait := a.at - r.now(); wait > 0 {
			time.Sleep(wait)
		}
		a.do(r)
	}
	r.finish()
	return r.world, r.consuming, r.writing
}

func newRun(d *draw, m *metrics.Metrics) *run {
	return &run{
		world:    &world{draw: d, began: time.Now(), items: map[key]item{}, control: control{decisions: map[string]*tenants.Decision{}}, refuse: map[messages.Command]bool{}, barred: map[string]bar{}, changed: make(chan struct{})},
		metrics:  m,
		log:      slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1})),
		versions: map[key]int64{}, given: map[version]bool{},
	}
}

// finish ends all faults, waits until the queue is empty, and stops all processes.
func (r *run) finish() {
	r.mu.Lock()
	r.faults.heal()
	r.healed = true
	r.control.away = 0
	for _, p := range r.all {
		p.governor.paused = 0
	}
	r.mu.Unlock()
	if len(r.alive) == 0 {
		r.start()
	}
	r.resume()
	r.erasures.Wait()
	if r.again() {
		r.settle()
	}
	r.late.Wait()
	for len(r.alive) > 0 {
		r.stop(r.alive[0])
	}
	for _, p := range r.all {
		<-p.done
	}
	time.Sleep(time.Millisecond)
	r.governing.Wait()
}

// settle waits until the queue is empty.
func (r *run) settle() {
	longest := 3 * time.Hour
	if r.control.governed {
		longest = 9 * time.Hour // a suspended message may be invisible for over six
	}
	pause := 500 * time.Millisecond
	for waited := time.Duration(0); waited < longest; waited += pause {
		time.Sleep(pause)
		r.mu.Lock()
		left := r.queue.left()
		r.mu.Unlock()
		if left == 0 {
			return
		}
		pause = min(20*time.Second, pause*5/4)
	}
}

// plan draws a schedule.
func (r *run) plan() []action {
	d := r.draw
	r.queue = queue{fifo: d.below(5) == 0, visibility: visibility, maxReceives: 100, receipts: map[string]*stored{}}
	r.writing = writer.Config{
		Writers: 1 + d.below(4), Linger: pick(d, 0, 5*time.Millisecond), MaxInFlight: pick(d, 10, 20, 100, 1000),
		TenantShare: pick(d, 1, 3, 10), CallTimeout: pick(d, time.Second, 3*time.Second),
	}.Defaults()
	r.consuming = consumer.Config{
		QueueName: "commands", FIFO: r.queue.fifo, VisibilityTimeout: r.queue.visibility, MaxReceives: r.queue.maxReceives,
		MaxInFlight: r.writing.MaxInFlight, DrainTimeout: pick(d, 45*time.Second, 30*time.Second), RequireVersion: d.below(20) == 0,
	}.Defaults()

	r.hostile = pick(d, 5, 5, 5, 5, 60)
	r.control.governed = d.below(3) == 0
	if r.ordered = r.control.governed && r.queue.fifo && d.below(4) != 0; r.ordered {
		r.hostile = 0 // a message whose letters can't be sent is left, and comes again after later ones
	}

	var actions []action
	span := pick(d, 0, time.Second, 5*time.Second, 40*time.Second)
	count := 1 + d.below(pick(d, 4, 12, 30))
	if d.below(200) == 0 && !r.control.governed { // with decisions it would last for so long that keys are forgotten
		count = 200
	}
	var last *message
	for i := range count {
		m := last
		if m == nil || d.below(12) != 0 {
			m = r.message(fmt.Sprintf("m%d", i))
		} else { // the upstream sends it twice
			again := *m
			again.id = fmt.Sprintf("m%d", i)
			m = &again
		}
		last = m
		actions = append(actions, action{d.upTo(span), func(r *run) {
			r.mu.Lock()
			r.send(m)
			r.mu.Unlock()
		}})
	}
	actions = append(actions, action{0, (*run).start})
	if d.below(5) == 0 && !r.ordered {
		actions = append(actions, action{d.upTo(span), (*run).start})
	}
	ends := d.below(4) * d.below(2)
	if r.ordered {
		ends = 0
	}
	for range ends {
		at := d.upTo(span + 2*time.Second)
		end := (*run).kill
		if d.below(2) == 0 {
			end = (*run).stop
		}
		actions = append(actions,
			action{at, func(r *run) {
				if p := r.some(); p != nil {
					end(r, p)
				}
			}},
			action{at + pick(d, 0, time.Millisecond, time.Second, 40*time.Second), (*run).start})
	}
	r.trouble(span)
	if r.ordered {
		r.faults = faults{unprocessed: r.faults.unprocessed, whole: r.faults.whole, slow: r.faults.slow, hot: map[string]time.Duration{}}
		for _, t := range tenantNames { // so that messages wait when a tenant is suspended
			r.faults.hot[t] = d.upTo(span + 40*time.Second)
		}
		if d.below(2) == 0 {
			r.faults.hot[tenantNames[1]], r.faults.hot[tenantNames[2]] = r.faults.hot[tenantNames[0]], r.faults.hot[tenantNames[0]]
		}
	}
	if r.control.governed {
		actions = append(actions, r.decisions(span)...)
	}
	if r.hostile > 5 && d.below(2) == 0 { // and no letter can be sent
		r.faults.dlqAway = time.Hour
		actions = append(actions, action{span + 90*time.Second, func(*run) {}})
	}
	if span > 0 || d.below(2) == 0 {
		actions = append(actions, action{span + d.upTo(20*time.Second), func(*run) {}}) // faults last so long
	}
	slices.SortStableFunc(actions, func(a, b action) int { return int(a.at - b.at) })
	return actions
}

// trouble draws the faults.
func (r *run) trouble(span time.Duration) {
	d, f := r.draw, &r.faults
	if d.below(8) == 0 {
		return
	}
	rare := func(of int) int {
		if d.below(of) != 0 {
			return 0
		}
		return pick(d, 20, 100, 300)
	}
	f.unprocessed, f.whole, f.failBefore, f.failAfter, f.hang = rare(3), rare(4), rare(4), rare(4), rare(5)
	f.slow = rare(4)
	f.receive, f.receiveLost, f.delete, f.deleteLost = rare(6), rare(6), rare(4), rare(5)
	f.change, f.changeLost, f.letter, f.letterLost, f.duplicate = rare(4), rare(5), rare(4), rare(5), rare(6)
	if d.below(6) == 0 {
		f.outage = d.upTo(span + 5*time.Second)
	}
	if d.below(8) == 0 {
		f.foreign = d.upTo(span + 10*time.Second)
	}
	if d.below(5) == 0 {
		f.dlqAway = d.upTo(span + 60*time.Second)
	}
	if d.below(3) == 0 {
		f.hot = map[string]time.Duration{}
		for _, t := range tenantNames[:1+d.below(2)] {
			f.hot[t] = d.upTo(span + 60*time.Second)
		}
	}
}

// message draws a message.
func (r *run) message(id string) *message {
	d := r.draw
	m := &message{id: id}
	tenant := pick(d, tenantNames...)
	n := 1
	if d.below(3) == 0 {
		n = 2 + d.below(pick(d, 3, 8, 40))
	}
	mixed := n > 1 && (d.below(4) == 0 || r.ordered)
	if d.below(30) == 0 {
		r.serial++
		m.wrapped = true
		text := fmt.Sprintf(`{"type":"nonsense`+pick(d, "\ufffe", "\xff", "")+`","n":%d}`, r.serial)
		m.body = `{"specversion":"1.0","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(text)) + `"}`
		m.commands = []command{{fate: poison, text: text}}
	} else if d.below(25) == 0 {
		m.whole = true
		m.body = pick(d, `{"type":`, `[]`, `"put_user"`, `{"commands":[]}`)
		reason := messages.ReasonMalformed
		if m.body == `[]` || m.body == `{"commands":[]}` {
			reason = messages.ReasonEmpty
		}
		m.commands = []command{{fate: poison, text: m.body, reason: reason}}
	} else {
		for range n {
			if mixed {
				tenant = pick(d, tenantNames...)
			}
			m.commands = append(m.commands, r.command(tenant))
			m.barred = m.barred || r.barred[m.commands[len(m.commands)-1].text] == barAll
		}
		texts := make([]string, n)
		for i, c := range m.commands {
			texts[i] = c.text
		}
		switch {
		case n == 1 && strings.HasPrefix(texts[0], "{"):
			m.body = pick(d, texts[0], texts[0], "["+texts[0]+"]")
		case d.below(2) == 0:
			m.body = "[" + strings.Join(texts, ",") + "]"
		default:
			m.body = `{"commands":[` + strings.Join(texts, " , ") + "]}"
		}
		if !mixed && d.below(3) == 0 {
			m.tenant = tenant
			if d.below(10) == 0 {
				m.tenant = "yellow"
			}
			for i := range m.commands {
				if c := &m.commands[i]; (c.fate != poison || c.reason == messages.ReasonVersionRequired) && c.TenantID != m.tenant {
					c.fate, c.reason = poison, messages.ReasonTenantMismatch
				}
			}
		}
	}
	switch {
	case r.ordered:
		m.group = "all"
	case r.queue.fifo:
		m.group = tenant + "#" + string(rune('a'+d.below(2)))
		if n == 1 && !m.whole && m.commands[0].fate != poison {
			m.group = messages.GroupID(&m.commands[0].Command, true)
		}
	}
	return m
}

// command draws a command.
func (r *run) command(tenant string) command {
	d := r.draw
	if d.below(100) < r.hostile {
		if d.below(6) == 0 { // its letter will be refused
			r.serial++
			text := fmt.Sprintf(`{"type":"put_shop","tenant_id":"%s","n":%d}`, tenant, r.serial)
			r.barred[text] = barPlain
			if d.below(8) == 0 {
				r.barred[text] = barAll
			}
			return command{text: text, reason: messages.ReasonUnknownType}.poisoned(tenant)
		}
		return pick(d,
			command{text: `{"type":"put_shop","tenant_id":"` + tenant + `"}`, reason: messages.ReasonUnknownType},
			command{text: `{"type":"delete_user","tenant_id":"` + tenant + `"}`, reason: messages.ReasonMissingField},
			command{text: `{"type":"delete_user","tenant_id":"` + tenant + `","user_id":"a#b"}`, reason: messages.ReasonInvalidField},
			command{text: `{"type":"delete_user","tenant_id":"` + tenant + `","user_id":"a","user_name":"b"}`, reason: messages.ReasonUnknownField},
			command{text: `{"type":"delete_user", "tenant_id":"` + tenant + `","user_id":"a","shoe_size":46}`, reason: messages.ReasonUnknownField},
			command{text: `{"type":"delete_user","tenant_id":"` + tenant + `","user_id":"a","user_id":"a"}`, reason: messages.ReasonDuplicateField},
		).poisoned(tenant)
	}
	versioned := d.below(2) == 0
	id := string(rune('a' + d.below(3)))
	if versioned {
		id = "v" + id
	} else {
		id = "u" + id
	}
	r.serial++
	var c messages.Command
	switch d.below(6) {
	case 0, 1:
		c = commands.PutUser(tenant, id, fmt.Sprint("n", r.serial), "e")
	case 2, 3:
		c = commands.PutOrder(tenant, id, "u", fmt.Sprint(r.serial))
	case 4:
		c = commands.DeleteUser(tenant, id)
	case 5:
		c = commands.DeleteOrder(tenant, id)
	}
	if versioned {
		// Versions mostly rise, and each is given once, so that equal versions are equal commands.
		k := keyOf(&c)
		r.versions[k] += 10
		c.Version = r.versions[k]
		if d.below(3) == 0 && c.Version > 20 {
			c.Version = c.Version - 10*int64(1+d.below(2)) - int64(1+d.below(9))
		}
		for r.given[version{k, c.Version}] {
			c.Version++
		}
		r.given[version{k, c.Version}] = true
	}
	if err := c.Validate(); err != nil { // it is compared with commands that are decoded, and validated
		panic(err)
	}
	out := command{Command: c, text: string(messages.Append(nil, &c))}
	switch {
	case r.consuming.RequireVersion && c.Version == 0:
		out.fate, out.reason = poison, messages.ReasonVersionRequired
	case d.below(20) == 0 && !c.Delete:
		out.fate, out.reason = refused, messages.ReasonRefused
		r.refuse[c] = true
	}
	return out
}

func (c command) poisoned(tenant string) command {
	c.fate, c.TenantID = poison, tenant
	return c
}

package model

import (
	"fmt"
	"strconv"
	"time"

	"tributary/internal/messages"
)

// oracle reads a history and reports each broken promise. It knows what was sent, received, written and deleted, and nothing of
// a worker's decisions.
type oracle struct {
	fifo        bool
	ordered     bool       // the order of sending must hold
	sending     []*message // in the order of sending
	rules       observedRules
	maxInFlight int
	largest     int // message, in commands

	at        time.Duration
	broken    []string
	sent      map[string]*message // by id
	sentAt    map[string]time.Duration
	commands  map[messages.Command][]*message
	table     map[key]messages.Command
	highest   map[key]int64                      // the highest version that the table has had
	durable   map[messages.Command]time.Duration // when content last took effect
	processes map[int]*observed
	orders    map[processKey]*order
	calls     map[int]*call
	letters   map[letterKey]int
	excused   map[letterKey]bool    // letters that may be sent twice
	unsure    map[key]bool          // an unversioned write took effect after its call was given up
	ranked    map[time.Duration]int // messages by the time of their first receive
	last      map[key]position      // of the command received last, over all processes
	touchedBy map[key]map[int]int   // writes to a key by each process since the position in last
	receives  map[string]int
	deleted   map[string]bool
}

// maxFailures is how many failed extensions in a row excuse that a held message became visible.
const maxFailures = 3

type processKey struct {
	process int
	key     key
}

type letterKey struct {
	id    string
	index int // -1: the whole body
}

// position is a command's place, from min to max, in the order of first receives by SQS's clock. It is exact if the process saw
// the first receive. Otherwise only the millisecond is known.
type position struct {
	process  int
	min, max int // rise over all of a history
	content  messages.Command
}

// order is the unversioned commands that a process received for a key, and how far it has written them.
type order struct {
	positions []position
	written   int // the smallest position that the last write that took effect can have had
	covered   int // the largest one: all commands before it are durable or overtaken
}

// delivery is a message as a process holds it.
type delivery struct {
	message    *message
	receipt    int
	at         time.Duration
	position   int // the smallest of its first command
	touched    string
	redone     bool // the process held the message twice at the same time
	stale      bool // the message was received again since
	away       bool // it was nacked
	awayAt     time.Duration
	waitsSince time.Duration // since when it was seen to wait only for letters
	failures   int           // extensions in a row that failed
}

// observed is a process.
type observed struct {
	held     map[int]*delivery // by receipt
	inFlight map[key]int       // by which call
	gone     []gone
	stopping bool
	stood    bool // it stood still at some time, so that it may stop with messages that it holds
	over     bool
	revision int64         // that it obeys
	obeyedAt time.Duration // since when
	until    time.Duration // when the rules are too old; 0: it is not governed
}

// gone is a message that was deleted. Its process may not know yet.
type gone struct {
	at  time.Duration
	bad int
}

type call struct {
	process  int
	commands []messages.Command
}

func newOracle(fifo, ordered bool, maxInFlight int) *oracle {
	return &oracle{
		fifo: fifo, ordered: ordered, maxInFlight: maxInFlight, rules: observedRules{status: map[string][]decisionAt{}, lettered: map[string]bool{}},
		sent: map[string]*message{}, sentAt: map[string]time.Duration{}, commands: map[messages.Command][]*message{},
		table: map[key]messages.Command{}, highest: map[key]int64{}, durable: map[messages.Command]time.Duration{},
		processes: map[int]*observed{}, orders: map[processKey]*order{}, calls: map[int]*call{}, letters: map[letterKey]int{},
		excused: map[letterKey]bool{}, unsure: map[key]bool{}, ranked: map[time.Duration]int{}, last: map[key]position{}, touchedBy: map[key]map[int]int{},
		receives: map[string]int{}, deleted: map[string]bool{},
	}
}

func (o *oracle) fail(format string, args ...any) {
	if len(o.broken) < 20 {
		o.broken = append(o.broken, fmt.Sprintf("%8v ", o.at)+fmt.Sprintf(format, args...))
	}
}

// judge returns the broken promises of a history. The history began with an empty table, and ended after all faults had.
func (o *oracle) judge(history []event) []string {
	for i := range history {
		o.at = history[i].at
		o.see(i, &history[i])
	}
	o.end()
	return o.broken
}

func (o *oracle) process(id int) *observed {
	p := o.processes[id]
	if p == nil {
		p = &observed{held: map[int]*delivery{}, inFlight: map[key]int{}}
		o.processes[id] = p
	}
	return p
}

func (o *oracle) see(n int, e *event) {
	p := o.process(e.process)
	switch e.kind {
	case sent:
		o.largest = max(o.largest, len(e.message.commands))
		o.sending = append(o.sending, e.message)
		o.sent[e.message.id], o.sentAt[e.message.id] = e.message, e.at
		for _, c := range e.message.commands {
			if c.fate != poison {
				o.commands[c.Command] = append(o.commands[c.Command], e.message)
			}
		}
	case receiving:
		o.bounded(e, p)
	case received:
		o.received(n, e, p)
	case began:
		o.began(e, p)
	case applied:
		o.applied(e)
	case ended:
		o.ended(e, p)
	case changed:
		o.changed(e, p)
	case unchanged:
		if d := p.held[e.receipt]; d != nil && e.timeout == visibility {
			d.failures++
		} else if d != nil {
			d.away, d.awayAt = true, e.at // after a failed nack the message may be left
		}
	case deleted:
		o.deleted[e.message.id] = true
		if d := p.held[e.receipt]; d != nil {
			o.earned(d, e.process, true)
			p.gone = append(p.gone, gone{e.at, d.message.bad()})
			delete(p.held, e.receipt)
		} else {
			o.fail("%s: deleted by process %d, which does not hold it", e.message.id, e.process)
		}
	case lettered:
		o.lettered(e, p)
	case redriven:
		o.deleted[e.message.id] = true
		if !e.message.barred {
			o.fail("%s: received more than a hundred times", e.message.id)
		}
	case stopping:
		p.stopping = true
	case died:
		p.over = true
	case stopped:
		p.over = true
		o.stopped(e)
	case decided:
		o.decided(e)
	case obeyed:
		if e.revision != p.revision || p.until == 0 {
			p.revision, p.obeyedAt = e.revision, e.at
		}
		p.until = e.until
	case stood:
		p.stood = true
	case removed:
		delete(o.table, e.key)
		delete(o.highest, e.key)
	}
}

// bounded checks how much a process holds when it asks for more: at most the bound, and one receive per other poller. Messages
// that wait only for their letters have a bound of their own, a quarter. One message may always wait.
func (o *oracle) bounded(e *event, p *observed) {
	const soon = 30 * time.Second // a letter's first call and its pause are over by then
	held, waiting, long, all, messages := 0, 0, 0, 0, 0
	for _, d := range p.held {
		switch {
		case d.stale || d.away:
		case o.waits(d, e.process):
			waiting += d.message.bad()
			if d.waitsSince == 0 {
				d.waitsSince = e.at
			}
			if e.at-d.waitsSince > soon && !d.message.barred { // a barred message is left, which no event shows
				messages++
				all += d.message.bad()
				if d.message.poisoned() {
					long += d.message.bad()
				}
			}
		default:
			held += len(d.message.commands)
		}
	}
	if p.until > 0 {
		return // a process that is governed may hold what is durable already, because it may not write now
	}
	// A message with good commands may still wait for the answer to a write that is durable already, so those have more room.
	if !o.fifo && messages > 1 && (long > o.share() || all > 2*o.share()) {
		o.fail("process %d holds %d messages whose %d commands wait for letters alone, and may hold %d", e.process, messages, all, o.share())
	}
	held += max(0, waiting-o.share()-o.largest)
	if bound := o.maxInFlight + e.call*10*o.largest; held > bound {
		o.fail("process %d holds %d commands and receives more: the bound is %d and one receive a poller, of which there are %d", e.process, held, o.maxInFlight, e.call)
	}
}

// share returns how many commands may wait for their letters beside the room.
func (o *oracle) share() int { return o.maxInFlight / 4 }

// waits reports whether a delivery waits only for its letters.
func (o *oracle) waits(d *delivery, process int) bool {
	if d.message.bad() == 0 {
		return false
	}
	for i := range d.message.commands {
		if d.message.commands[i].fate == good && !o.done(d, process, i) {
			return false
		}
	}
	return true
}

// crowded reports whether a message finds no place to wait for its letters.
func (o *oracle) crowded(d *delivery, p *observed, process int) bool {
	const late = 11 * time.Second // a call's time-out
	others := 0
	for _, g := range p.gone {
		if o.at-g.at < late {
			others += g.bad
		}
	}
	for _, other := range p.held {
		if other != d && (!other.away || o.at-other.awayAt < late) && o.waits(other, process) {
			others += other.message.bad()
		}
	}
	return o.waits(d, process) && others > 0 && others+d.message.bad() > o.share()
}

// bad returns how many commands of a message can't be written.
func (m *message) bad() int {
	n := 0
	for i := range m.commands {
		if m.commands[i].fate != good {
			n++
		}
	}
	return n
}

// poisoned reports whether none of a message's commands can be decoded, so that none reaches the writer.
func (m *message) poisoned() bool {
	for i := range m.commands {
		if m.commands[i].fate != poison {
			return false
		}
	}
	return true
}

func (o *oracle) received(n int, e *event, p *observed) {
	m := e.message
	o.receives[m.id]++
	from, to := o.position(n, e)
	d := &delivery{message: m, receipt: e.receipt, at: e.at, position: from}
	for _, other := range p.held {
		if other.message == m && !other.away {
			d.redone, other.redone = true, true
		}
	}
	for id, other := range o.processes {
		for _, d := range other.held {
			if d.message != m {
				continue
			}
			if !e.twice && (!other.stood || !other.stopping) && !d.stale && !d.away && !m.barred && !other.over && d.failures < maxFailures {
				o.fail("%s: process %d let it become visible while it held it; %d extensions had failed", m.id, id, d.failures)
			}
			d.stale = true
		}
	}
	p.held[e.receipt] = d
	for i := range m.commands {
		c := &m.commands[i]
		if c.fate == poison {
			continue
		}
		k := keyOf(&c.Command)
		at := position{process: e.process, min: from + i, max: to + i, content: c.Command}
		if c.Version == 0 {
			l := o.order(e.process, k)
			l.positions = append(l.positions, at)
			if last, known := o.last[k]; c.fate == good && (!known || at.max >= last.min) {
				if known && at.min <= last.max && (at.content != last.content || at.process != last.process) {
					at.process = nobody // one of the two is the last
				}
				at.max = max(at.max, last.max)
				o.last[k] = at
				o.touchedBy[k] = map[int]int{}
			}
		}
	}
}

// nobody is the process of a position if two are equally possible.
const nobody = -1

// A position consists of the millisecond of the first receive, and of a number that distinguishes messages and commands within it.
const (
	perMessage     = 1000 // commands
	perMillisecond = 1000 * perMessage
)

// position returns the position of the first command of a message that event n receives. A FIFO queue has the order of arrival.
func (o *oracle) position(n int, e *event) (from, to int) {
	if o.fifo {
		return n * perMessage, n * perMessage
	}
	at := int(e.first/time.Millisecond) * perMillisecond
	if o.receives[e.message.id] > 1 || e.first != e.at {
		return at, at + perMillisecond - perMessage
	}
	o.ranked[e.first]++
	at += o.ranked[e.first] * perMessage
	return at, at
}

func (o *oracle) order(process int, k key) *order {
	l := o.orders[processKey{process, k}]
	if l == nil {
		l = &order{written: -1, covered: -1}
		o.orders[processKey{process, k}] = l
	}
	return l
}

// began checks that a process writes only commands that it holds, and never has two writes to one key in flight.
func (o *oracle) began(e *event, p *observed) {
	o.calls[e.call] = &call{process: e.process, commands: e.commands}
	for _, c := range e.commands {
		k := keyOf(&c)
		if other, busy := p.inFlight[k]; busy {
			o.fail("process %d writes to %v while call %d does", e.process, k, other)
		}
		p.inFlight[k] = e.call
		o.allowed(e, p, &c)
		if c.Delete && c.Version == 0 && o.rules.erased(c.TenantID) {
			continue // it deletes what may have been written before the erasure
		}
		if len(o.commands[c]) == 0 {
			o.fail("process %d writes what nobody sent: %+v", e.process, c)
		}
		holds := false
		for _, d := range p.held {
			holds = holds || d.has(&c)
		}
		if !holds {
			o.wroteUnheld(e, &c)
		}
	}
}

// wroteUnheld allows for messages that the process still holds, although SQS has given them to another process, or a delete took
// effect without an answer.
func (o *oracle) wroteUnheld(e *event, c *messages.Command) {
	for _, m := range o.commands[*c] {
		if o.receives[m.id] > 0 {
			return
		}
	}
	o.fail("process %d writes what it never received: %+v", e.process, *c)
}

func (d *delivery) has(c *messages.Command) bool {
	for i := range d.message.commands {
		if d.message.commands[i].fate != poison && d.message.commands[i].Command == *c {
			return true
		}
	}
	return false
}

// applied checks that the writes of a process to a key take effect in the order in which it received them.
func (o *oracle) applied(e *event) {
	c := e.commands[0]
	k := keyOf(&c)
	o.durable[c] = e.at
	o.table[k] = c
	if c.Delete && c.Version == 0 {
		delete(o.table, k)
	}
	if o.rules.erased(c.TenantID) {
		return
	}
	if t := o.touchedBy[k]; t != nil {
		t[e.process]++
	}
	if c.Version > 0 {
		o.highest[k] = max(o.highest[k], c.Version)
		o.touch(e.process, &c, "written")
		return
	}
	l := o.order(e.process, k)
	if e.late {
		o.unsure[k] = true
		return
	}
	from, to := -1, -1
	for _, p := range l.positions {
		if p.content != c {
			continue
		}
		if p.max < l.written {
			continue
		}
		if at := max(p.min, l.written); from < 0 || at < from {
			from = at
		}
		to = max(to, p.max)
	}
	if from < 0 {
		o.fail("process %d wrote to %v what it had received before what it wrote last: %+v", e.process, k, c)
		return
	}
	l.written, l.covered = from, max(l.covered, to)
	o.touch(e.process, &c, "written")
}

// touch marks the delivery of a process that a command belongs to, if only one is possible.
func (o *oracle) touch(process int, c *messages.Command, how string) {
	var of *delivery
	for _, d := range o.process(process).held {
		if !d.away && d.has(c) {
			if of != nil {
				return
			}
			of = d
		}
	}
	if of != nil && of.touched == "" {
		of.touched = how
	}
}

func (o *oracle) ended(e *event, p *observed) {
	c := o.calls[e.call]
	for i := range c.commands {
		k := keyOf(&c.commands[i])
		if p.inFlight[k] == e.call {
			delete(p.inFlight, k)
		}
		if !e.certain {
			o.touch(e.process, &c.commands[i], "perhaps written")
		}
	}
}

// changed checks that a nacked message is untouched, unless its process is stopping.
func (o *oracle) changed(e *event, p *observed) {
	d := p.held[e.receipt]
	if d == nil {
		o.fail("%s: process %d changes the visibility of what it does not hold", e.message.id, e.process)
		return
	}
	if e.timeout == visibility {
		if d.away {
			o.fail("%s: extended after it was handed back", e.message.id)
		}
		if d.failures++; e.certain {
			d.failures = 0
		}
		return
	}
	if d.away {
		return // the answer was lost
	}
	d.away, d.awayAt = true, e.at
	if p.stopping {
		return
	}
	suspended := o.fifo && o.rules.suspended // it goes back with an earlier message of its group
	if d.touched != "" && !d.redone && !suspended && !o.rules.unclear && !o.crowded(d, p, e.process) {
		o.fail("%s: handed back by process %d, but part of it was %s", e.message.id, e.process, d.touched)
	}
	if o.fifo && !suspended && !d.message.has(poison) && !d.message.has(refused) {
		o.fail("%s: handed back by process %d out of its FIFO group", e.message.id, e.process)
	}
	if e.timeout < time.Second {
		o.fail("%s: handed back for %v, so that it burns receives", e.message.id, e.timeout)
	}
}

func (m *message) has(f fate) bool {
	for i := range m.commands {
		if m.commands[i].fate == f {
			return true
		}
	}
	return false
}

// earned checks that each command of a delivery is durable or overtaken by a durable one. If letters is set, the bad ones must be
// on the dead-letter queue.
func (o *oracle) earned(d *delivery, process int, letters bool) {
	for i := range d.message.commands {
		c := &d.message.commands[i]
		switch {
		case o.rules.erased(c.TenantID):
		case c.fate != poison && o.rules.lettered[c.TenantID] && (!letters || o.letters[d.message.letter(i)] > 0): // suspended
		case c.fate == poison || c.fate == refused && o.letters[d.message.letter(i)] > 0:
			if letters && o.letters[d.message.letter(i)] == 0 {
				o.fail("%s: deleted, but command %d has no dead letter (%s)", d.message.id, i, c.reason)
			}
		case c.fate == refused && !letters: // its letter may be on its way
		case c.Version > 0:
			if o.highest[keyOf(&c.Command)] < c.Version {
				o.fail("%s: done with, but version %d of %v is not durable", d.message.id, c.Version, keyOf(&c.Command))
			}
		case !o.done(d, process, i):
			o.fail("%s: done with, but command %d is neither durable nor overtaken: %+v", d.message.id, i, c.Command)
		}
	}
}

// done reports whether a good command is durable, or overtaken by a durable one.
func (o *oracle) done(d *delivery, process, i int) bool {
	c := &d.message.commands[i]
	if o.rules.erased(c.TenantID) || c.fate == good && o.rules.lettered[c.TenantID] {
		return true
	}
	if c.Version > 0 {
		return o.highest[keyOf(&c.Command)] >= c.Version
	}
	at, written := o.durable[c.Command]
	return written && at >= o.sentAt[d.message.id] || o.order(process, keyOf(&c.Command)).covered >= d.position+i
}

func (m *message) letter(i int) letterKey {
	if m.whole {
		return letterKey{m.id, -1}
	}
	return letterKey{m.id, i}
}

// lettered checks that a dead letter is exact, and that its message's good commands are done.
func (o *oracle) lettered(e *event, p *observed) {
	a := e.letter.Attributes
	m := o.sent[a["source_message_id"]]
	if m == nil {
		o.fail("a letter of the unknown message %q", a["source_message_id"])
		return
	}
	i, k := 0, letterKey{m.id, -1}
	if m.wrapped {
		k = letterKey{m.id, 0}
	} else if !m.whole {
		n, err := strconv.Atoi(a["source_index"])
		if err != nil || n < 0 || n >= len(m.commands) {
			o.fail("%s: a letter with source_index %q", m.id, a["source_index"])
			return
		}
		i, k = n, letterKey{m.id, n}
	} else if _, given := a["source_index"]; given {
		o.fail("%s: the letter of a whole body has a source_index", m.id)
	}
	c := &m.commands[i]
	suspended := a["reason"] == string(messages.ReasonTenantSuspended) && o.rules.suspended && !o.fifo || o.rules.lettered[c.TenantID]
	if c.fate == good && !suspended {
		o.fail("%s: command %d is a dead letter (%s: %s) and could be written", m.id, i, a["reason"], a["detail"])
		return
	}
	if body, _ := opened(e.letter.Body); body != c.text && (!m.wrapped || body != m.body) {
		o.fail("%s: letter %d is %q, sent was %q", m.id, i, e.letter.Body, c.text)
	}
	if c.reason != "" && !suspended && a["reason"] != string(c.reason) || a["tenant_id"] != m.tenant || a["command_tenant_id"] != c.TenantID || a["source_queue"] != "commands" || a["detail"] == "" {
		o.fail("%s: letter %d has the attributes %v, its reason is %s", m.id, i, a, c.reason)
	}
	o.letters[k]++
	if o.letters[k] > 1 && !o.excused[k] && o.receives[m.id] == 1 {
		o.fail("%s: letter %d is there twice", m.id, i)
	}
	if !e.certain {
		o.excused[k] = true
	}
	for _, d := range p.held {
		if d.message == m && !d.redone && !d.away {
			o.earned(d, e.process, false)
			if e.certain && d.touched == "" {
				d.touched = "dead-lettered"
			}
		}
	}
}

// stopped checks the report of a process that has stopped.
func (o *oracle) stopped(e *event) {
	s := e.stop
	if s.consumer.Messages != 0 || s.consumer.Commands != 0 || s.consumer.Bytes != 0 {
		if s.summary.Left == 0 || s.calm {
			o.fail("process %d has stopped and holds %+v", e.process, s.consumer)
		}
	}
	if s.waiting != 0 || s.calls != 0 {
		o.fail("process %d has stopped with %d commands waiting and %d calls under way", e.process, s.waiting, s.calls)
	}
	if s.summary.Received != s.summary.Deleted+s.summary.HandedBack+s.summary.Left {
		o.fail("process %d counts wrongly: %v", e.process, s.summary)
	}
	if s.took > s.limit+time.Second {
		o.fail("process %d took %v to stop, its limit is %v", e.process, s.took, s.limit)
	}
	if s.invisible > int(s.summary.Left) {
		o.fail("process %d has stopped and left %d messages invisible: %v", e.process, s.invisible, s.summary)
	}
	if s.calm && s.took > 21*time.Second {
		o.fail("process %d took %v to stop with nothing to do", e.process, s.took)
	}
}

// end checks the final state.
func (o *oracle) end() {
	for id, m := range o.sent {
		if !o.deleted[id] {
			o.fail("%s: still on the queue (%d receives, %d commands)", id, o.receives[id], len(m.commands))
		}
	}
	versions := map[key]messages.Command{}
	written := map[key]bool{}
	for _, m := range o.sent {
		for i := range m.commands {
			c := &m.commands[i]
			if c.fate != good || o.rules.erased(c.TenantID) {
				continue
			}
			k := keyOf(&c.Command)
			written[k] = true
			if c.Version > versions[k].Version {
				versions[k] = c.Command
			}
		}
	}
	if o.ordered {
		o.inOrder()
	}
	for k, c := range o.table {
		if !written[k] {
			o.fail("%v: the table holds %+v", k, c)
		}
	}
	for k, want := range versions {
		if got := o.table[k]; got != want {
			o.fail("%v: the table holds %+v, the highest version is %+v", k, got, want)
		}
	}
	for k, last := range o.last {
		if o.unsure[k] || last.process == nobody || o.rules.erased(k.tenant) || o.rules.lettered[k.tenant] {
			continue
		}
		others := false
		for process := range o.touchedBy[k] {
			others = others || process != last.process
		}
		if others {
			continue
		}
		got, exists := o.table[k]
		if last.content.Delete == exists || exists && got != last.content {
			o.fail("%v: the table holds %+v, received last was %+v", k, got, last.content)
		}
	}
}

// inOrder checks that each key holds what was sent last.
func (o *oracle) inOrder() {
	last := map[key]messages.Command{}
	for _, m := range o.sending {
		for i := range m.commands {
			if c := &m.commands[i]; c.fate == good && c.Version == 0 {
				last[keyOf(&c.Command)] = c.Command
			}
		}
	}
	for k, want := range last {
		if got, exists := o.table[k]; want.Delete == exists || exists && got != want {
			o.fail("%v: the table holds %+v, sent last was %+v", k, got, want)
		}
	}
}

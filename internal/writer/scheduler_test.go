package writer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tributary/internal/messages"
	"tributary/test/support/commands"
)

// rig drives a scheduler by hand. Groups are named; jitter is fixed.
type rig struct {
	t      *testing.T
	s      *scheduler
	now    time.Time
	groups map[string]*Group
	jitter float64

	received int64 // of the groups to come
}

type nobody struct{}

func (nobody) Settled(*Group) {}

func newRig(t *testing.T, cfg Config) *rig {
	r := &rig{t: t, now: time.Unix(1_700_000_000, 0), groups: map[string]*Group{}, jitter: 0.5}
	r.s = newScheduler(cfg.Defaults(), func() float64 { return r.jitter })
	return r
}

// order makes a put of tenant/order, or a delete, with or without a version: "a/1", "a/1@7", "-a/1@8".
func order(text string) messages.Command {
	c := commands.PutOrder("", "", "u", "1")
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		text = rest
		c = commands.DeleteOrder("", "")
	}
	text, version, _ := strings.Cut(text, "@")
	c.TenantID, c.ID, _ = strings.Cut(text, "/")
	_, _ = fmt.Sscan(version, &c.Version)
	return c
}

// submit submits a group of commands under a name and reports whether it was taken.
func (r *rig) submit(name string, commands ...string) bool {
	g := &Group{Owner: nobody{}, Received: r.received, Writes: make([]Write, len(commands))}
	for i, c := range commands {
		g.Writes[i].Command = order(c)
	}
	r.groups[name] = g
	return r.s.submit(r.now, g) == Admitted
}

func (r *rig) take() *call {
	c, _ := r.s.nextCall(r.now)
	return c
}

// mustTake takes a call and checks what is in it.
func (r *rig) mustTake(want string) *call {
	r.t.Helper()
	c := r.take()
	if got := show(c); got != want {
		r.t.Fatalf("took %q, want %q", got, want)
	}
	return c
}

// apply answers a call. The table takes the probe that follows a write refused alone; the write is sent once more, and answered
// likewise unless other calls come first.
func (r *rig) apply(c *call, a answer) {
	r.s.apply(r.now, c, a)
	if a.verdict != invalid || len(c.writes) != 1 {
		return
	}
	r.s.apply(r.now, r.mustTake("probe"), answer{})
	if c.writes[0].Outcome == Pending && len(r.s.retries) == 1 {
		r.apply(r.mustTake(show(c)), a)
	}
}

// outcomes returns the outcomes of a group.
func (r *rig) outcomes(name string) string {
	var out []string
	for i := range r.groups[name].Writes {
		out = append(out, r.groups[name].Writes[i].Outcome.String())
	}
	return strings.Join(out, " ")
}

func (r *rig) check(want map[string]string) {
	r.t.Helper()
	for name, w := range want {
		if got := r.outcomes(name); got != w {
			r.t.Errorf("%s is %q, want %q", name, got, w)
		}
	}
}

// empty checks that nothing is left anywhere.
func (r *rig) empty() {
	r.t.Helper()
	s := r.s
	queues := 0
	for _, kq := range s.keyQueues {
		if !kq.empty() || kq.writtenRank == 0 {
			queues++
		}
	}
	if len(s.doubt.suspects) != 0 || s.doubt.probing {
		r.t.Errorf("left: suspects %v, probing %v", s.doubt.suspects, s.doubt.probing)
	}
	if queues != 0 || s.waiting != 0 || s.calls != 0 || len(s.retries) != 0 || s.rings[batchRing].ready != 0 || s.rings[conditionalRing].ready != 0 {
		r.t.Errorf("left: %d key queues, %d waiting, %d calls, %d retries, rings %d and %d", queues, s.waiting, s.calls, len(s.retries), s.rings[batchRing].ready, s.rings[conditionalRing].ready)
	}
	for id, t := range s.tenants {
		if t.held != 0 || t.heldBytes != 0 || t.inFlight != 0 {
			r.t.Errorf("tenant %s holds %d commands, %d bytes, %d in flight", id, t.held, t.heldBytes, t.inFlight)
		}
	}
}

// show writes a call as "a/1 a/2@7".
func show(c *call) string {
	if c == nil {
		return ""
	}
	if c.probe != nil {
		return "probe"
	}
	var out []string
	for _, w := range c.writes {
		text := w.Command.TenantID + "/" + w.Command.Get("order_id")
		if w.Command.Version > 0 {
			text += fmt.Sprint("@", w.Command.Version)
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestOvertaking(t *testing.T) {
	refusal := answer{verdict: invalid, refusal: &messages.Error{Reason: messages.ReasonRefused}}
	for _, test := range []struct {
		name string
		do   func(*rig)
		want map[string]string
	}{
		{"a later unversioned one replaces the one that waits", func(r *rig) {
			r.submit("1", "a/k")
			r.submit("2", "a/k")
			r.submit("3", "-a/k")
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "superseded", "2": "superseded", "3": "written"}},
		{"in one message too", func(r *rig) {
			r.submit("1", "a/k", "a/k")
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "superseded written"}},
		{"the one in flight is not replaced, and no other is in flight beside it", func(r *rig) {
			r.submit("1", "a/k")
			c := r.mustTake("a/k")
			r.submit("2", "a/k")
			r.mustTake("")
			r.apply(c, answer{})
			r.check(map[string]string{"1": "written", "2": "pending"})
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "written", "2": "written"}},
		{"one that comes back unwritten is overtaken by one that waits", func(r *rig) {
			r.submit("1", "a/k")
			c := r.mustTake("a/k")
			r.submit("2", "a/k")
			r.apply(c, answer{verdict: trouble})
			r.now = r.now.Add(time.Minute)
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "superseded", "2": "written"}},
		{"overtaken writes come back when their superior is refused, the latest first", func(r *rig) {
			r.submit("1", "a/k")
			r.submit("2", "a/k")
			r.submit("3", "a/k")
			r.apply(r.mustTake("a/k"), refusal)
			r.check(map[string]string{"1": "pending", "2": "pending", "3": "dead_lettered"})
			r.apply(r.mustTake("a/k"), refusal)
			r.check(map[string]string{"1": "pending", "2": "dead_lettered"})
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "written", "2": "dead_lettered", "3": "dead_lettered"}},
		{"one that comes back is overtaken by one that came later", func(r *rig) {
			r.submit("1", "a/k")
			r.submit("2", "a/k")
			c := r.mustTake("a/k")
			r.submit("3", "a/k")
			r.apply(c, refusal)
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "superseded", "2": "dead_lettered", "3": "written"}},
		{"the higher version wins, whichever came first", func(r *rig) {
			r.submit("1", "a/k@5")
			r.submit("2", "a/k@9")
			r.submit("3", "a/k@7")
			r.submit("4", "a/k@9")
			r.apply(r.mustTake("a/k@9"), answer{})
		}, map[string]string{"1": "superseded", "2": "written", "3": "superseded", "4": "superseded"}},
		{"a lower version than the one in flight is settled with it", func(r *rig) {
			r.submit("1", "a/k@5")
			c := r.mustTake("a/k@5")
			r.submit("2", "a/k@4")
			r.submit("3", "a/k@6")
			r.apply(c, answer{})
			r.check(map[string]string{"1": "written", "2": "superseded", "3": "pending"})
			r.apply(r.mustTake("a/k@6"), answer{verdict: stale})
		}, map[string]string{"1": "written", "2": "superseded", "3": "stale"}},
		{"versions come back highest first", func(r *rig) {
			r.submit("1", "a/k@5")
			r.submit("2", "a/k@9")
			r.submit("3", "a/k@7")
			r.apply(r.mustTake("a/k@9"), refusal)
			r.apply(r.mustTake("a/k@7"), refusal)
			r.apply(r.mustTake("a/k@5"), answer{verdict: already})
		}, map[string]string{"1": "written", "2": "dead_lettered", "3": "dead_lettered"}},
		{"neither kind overtakes the other", func(r *rig) {
			r.submit("1", "a/k")
			r.submit("2", "a/k@5")
			r.submit("3", "a/k")
			r.apply(r.mustTake("a/k"), answer{})
			r.check(map[string]string{"1": "written", "2": "pending", "3": "pending"})
			r.apply(r.mustTake("a/k@5"), answer{})
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "written", "2": "written", "3": "written"}},
		{"one that was received earlier is overtaken, though it was submitted later", func(r *rig) {
			r.received = 20
			r.submit("2", "a/k")
			r.received = 10
			r.submit("1", "a/k")
			c := r.mustTake("a/k")
			r.received = 15
			r.submit("1b", "a/k") // while 2 is in flight
			r.received = 30
			r.submit("3", "a/k")
			r.received = 25
			r.submit("2b", "a/k")
			r.apply(c, answer{})
			r.check(map[string]string{"1": "superseded", "1b": "superseded", "2": "written", "2b": "pending"})
			r.apply(r.mustTake("a/k"), refusal)
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"2b": "written", "3": "dead_lettered"}},
		{"a stale superior settles those that it overtook", func(r *rig) {
			r.submit("1", "a/k@5")
			r.submit("2", "a/k@6")
			r.apply(r.mustTake("a/k@6"), answer{verdict: stale})
		}, map[string]string{"1": "superseded", "2": "stale"}},
		{"an abandoned superior gives its place back", func(r *rig) {
			r.submit("1", "a/k")
			r.submit("2", "a/k")
			r.s.abandon(r.now, r.groups["2"])
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "written", "2": "handed_back"}},
		{"so does one in flight, when it comes back", func(r *rig) {
			r.submit("1", "a/k")
			r.submit("2", "a/k")
			c := r.mustTake("a/k")
			r.s.abandon(r.now, r.groups["2"])
			r.apply(c, answer{verdict: trouble})
			r.now = r.now.Add(time.Minute)
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "written", "2": "handed_back"}},
		{"one that was overtaken can be abandoned", func(r *rig) {
			r.submit("1", "a/k")
			r.submit("2", "a/k")
			r.submit("3", "a/k")
			r.s.abandon(r.now, r.groups["2"])
			r.apply(r.mustTake("a/k"), answer{})
		}, map[string]string{"1": "superseded", "2": "handed_back", "3": "written"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, Config{Linger: time.Millisecond})
			test.do(r)
			r.check(test.want)
			r.empty()
		})
	}
}

func TestBatchesFillOrGo(t *testing.T) {
	r := newRig(t, Config{Linger: 5 * time.Millisecond})
	r.submit("1", "a/1")
	first := r.mustTake("a/1") // nothing is under way: at once
	r.submit("2", "a/2")
	c, next := r.s.nextCall(r.now)
	if c != nil || !next.Equal(r.now.Add(5*time.Millisecond)) {
		t.Fatalf("a part-filled batch beside another: took %q, ask again at %v, want %v", show(c), next, r.now.Add(5*time.Millisecond))
	}
	for i := range 24 {
		r.submit(fmt.Sprint("f", i), fmt.Sprint("b/", i))
	}
	full := r.take()
	if full == nil || len(full.writes) != 25 {
		t.Fatalf("25 are ready and %q is taken", show(full))
	}
	r.submit("3", "a/3")
	r.mustTake("")
	r.now = r.now.Add(5 * time.Millisecond)
	late := r.mustTake("a/3")
	for _, c := range []*call{first, full, late} {
		r.apply(c, answer{})
	}
	r.empty()
}

func TestRoundRobinByWriteUnits(t *testing.T) {
	r := newRig(t, Config{})
	for i := range 100 {
		r.submit(fmt.Sprint("big", i), fmt.Sprint("big/", i))
		r.submit(fmt.Sprint("small", i), fmt.Sprint("small/", i))
	}
	// Let every command of tenant big cost four units.
	for i := range 100 {
		r.groups[fmt.Sprint("big", i)].Writes[0].units = 4
	}
	units := map[string]int{}
	for range 4 {
		c := r.take()
		for _, w := range c.writes {
			units[w.Command.TenantID] += int(w.units)
		}
	}
	if d := units["big"] - units["small"]; d < -2*quantum || d > 2*quantum {
		t.Errorf("units taken: %v; tenants with the same wish should get the same, give or take a round", units)
	}
}

func TestALeftoverIsItsTenantsOwn(t *testing.T) {
	r := newRig(t, Config{})
	r.submit("a", "a/1")
	r.submit("b", "b/1")
	c := r.take()
	left := 0
	if c.writes[0].Command.TenantID != "a" {
		left = 1
	}
	r.apply(c, answer{left: []int{left}})
	r.check(map[string]string{"a": "pending", "b": "written"})
	if r.s.events.unprocessed != 1 || len(r.s.events.throttled) != 1 || r.s.events.throttled[0] != "a" {
		t.Errorf("events: %+v", r.s.events)
	}
	r.submit("b2", "b/2")
	r.submit("a2", "a/2")
	again := r.mustTake("b/2") // a backs off, b goes on
	wait := baseBackoff / 2    // jitter is a half
	if _, next := r.s.nextCall(r.now); !next.Equal(r.now.Add(wait)) {
		t.Errorf("ask again at %v, want %v", next.Sub(r.now), wait)
	}
	r.apply(again, answer{})
	r.now = r.now.Add(wait)
	r.apply(r.mustTake("a/1 a/2"), answer{}) // the leftover first
	r.check(map[string]string{"a": "written", "a2": "written"})
	r.empty()
}

func TestAWholeRefusalFindsItsTenant(t *testing.T) {
	r := newRig(t, Config{})
	r.submit("m", "a/1", "b/1", "b/2")
	r.apply(r.mustTake("a/1 b/1 b/2"), answer{verdict: throttledTenant})
	r.apply(r.mustTake("a/1 b/1 b/2"), answer{verdict: throttledTenant}) // once more as a whole
	first := r.mustTake("a/1")
	second := r.mustTake("b/1 b/2")
	r.apply(first, answer{})
	r.apply(second, answer{verdict: throttledTenant})
	r.check(map[string]string{"m": "written pending pending"})
	if r.s.tenants["b"] == nil || !r.s.tenants["b"].backingOff() || r.s.tenants["a"] != nil {
		t.Error("b should back off, and a be forgotten")
	}
	if int(r.s.limiter.limit) != r.s.cfg.Writers {
		t.Error("a tenant's throttle has cost everybody concurrency")
	}
	r.now = r.now.Add(time.Minute)
	r.apply(r.mustTake("b/1 b/2"), answer{})
	r.empty()
}

func TestOneInvalidCommandStandsAlone(t *testing.T) {
	r := newRig(t, Config{})
	var ids []string
	for i := range 25 {
		ids = append(ids, fmt.Sprint("a/", i))
	}
	r.submit("m", ids...)
	calls := 0
	for c := r.take(); c != nil; c = r.take() {
		calls++ // and two probes, within apply
		a := answer{}
		for _, w := range c.writes {
			if w.Command.Get("order_id") == "17" {
				a = answer{verdict: invalid, refusal: &messages.Error{Reason: messages.ReasonRefused, Detail: "no"}}
			}
		}
		r.apply(c, a)
	}
	for i := range r.groups["m"].Writes {
		want := Written
		if i == 17 {
			want = Refused
		}
		if got := r.groups["m"].Writes[i].Outcome; got != want {
			t.Errorf("command %d is %v, want %v", i, got, want)
		}
	}
	if calls > 12 { // halving 25 takes 5 steps of two calls, and the bad one is sent once more
		t.Errorf("%d calls", calls)
	}
	r.empty()
}

func TestAWriteThatMakesDynamoDBFailEndsAlone(t *testing.T) {
	r := newRig(t, Config{})
	r.submit("m", "a/1", "a/2", "a/3")
	for range soloFailures {
		r.now = r.now.Add(time.Minute)
		r.apply(r.mustTake("a/1 a/2 a/3"), answer{verdict: trouble})
	}
	seen := map[string]bool{}
	for range 3 {
		r.now = r.now.Add(time.Minute)
		c := r.take()
		seen[show(c)] = true
		r.apply(c, answer{})
	}
	if len(seen) != 3 {
		t.Errorf("sent together again: %v", seen)
	}
	r.empty()
}

func TestAWriteThatAlwaysFailsStaysAloneAndPauses(t *testing.T) {
	for _, poison := range []string{"a/poison", "a/poison@5"} {
		t.Run(poison, func(t *testing.T) {
			r := newRig(t, Config{})
			r.submit("poison", poison)
			const step, steps = 5 * time.Millisecond, 4000 // 20 s
			tries, shared := 0, 0
			for n := range steps {
				r.now = r.now.Add(step)
				r.submit(fmt.Sprint(n), fmt.Sprintf("a/%d", n), fmt.Sprintf("b/%d", n))
				for c := r.take(); c != nil; c = r.take() {
					if !strings.Contains(show(c)+" ", poison+" ") {
						r.apply(c, answer{})
						continue
					}
					tries++
					shared += len(c.writes) - 1
					r.apply(c, answer{verdict: trouble})
				}
			}
			// There are three tries with its neighbours (two a step, and those put back) and one alone. Then come pauses of 50 ms,
			// 100 ms, …, 3 s, of which the jitter of the rig leaves three quarters. After that one try follows every 2.25 s.
			if maxTries := 3 + 1 + 7 + 9; tries > maxTries || tries < maxTries/2 || shared > 9 {
				t.Errorf("%d tries with %d neighbours, want at most %d, with 9", tries, shared, maxTries)
			}
			if r.s.waiting > 2 || int(r.s.limiter.limit) < 60 {
				t.Errorf("%d wait, %v calls are allowed: others suffer", r.s.waiting, r.s.limiter.limit)
			}
			r.now = r.now.Add(maxBackoff)
			r.submit("later", poison)
			for c := r.take(); c != nil; c = r.take() {
				r.apply(c, answer{})
			}
			if r.outcomes("poison") == "pending" {
				t.Error("it is never tried again")
			}
			r.empty()
		})
	}
}

// If nothing passes, the table is at fault and not the writes that happened to be sent, however few they are.
func TestAnOutageIsNotTakenForPoison(t *testing.T) {
	for _, held := range []int{1, 20, 75} {
		r := newRig(t, Config{})
		for i := range held {
			r.submit(fmt.Sprint(i), fmt.Sprintf("a/%d", i))
		}
		calls := 0
		for range 12_000 { // 60 s
			r.now = r.now.Add(5 * time.Millisecond)
			var under []*call
			for c := r.take(); c != nil; c = r.take() {
				under = append(under, c)
			}
			for _, c := range under {
				r.apply(c, answer{verdict: trouble})
			}
			calls += len(under)
		}
		if !r.s.limiter.probing() || calls > 500 {
			t.Errorf("%d commands: %d calls within a minute of outage, probing: %v", held, calls, r.s.limiter.probing())
		}
	}
}

// A slow receive may bring a write that is older than the one already in the table.
func TestWhatComesLateIsOvertakenByWhatIsWritten(t *testing.T) {
	r := newRig(t, Config{})
	write := func(name string, received int64, commands ...string) {
		r.received = received
		r.submit(name, commands...)
		for c := r.take(); c != nil; c = r.take() {
			r.apply(c, answer{})
		}
	}
	write("newer", 2000, "a/1")
	write("unknown", 0, "a/1")
	write("older", 1999, "a/1", "a/2")
	write("equal", 2000, "a/1") // a millisecond is as exact as it gets
	write("versioned", 1999, "a/1@1")
	write("delete", 1998, "-a/1")
	r.check(map[string]string{"unknown": "written", "older": "superseded written", "equal": "written", "versioned": "written", "delete": "superseded"})
	for n := range maxRecentKeys { // "a/2" was written before "a/1" was for the last time
		write("other", 3000, fmt.Sprint("b/", n))
		write("other", 3000, "c/again")
	}
	write("too late", 1000, "a/1")
	r.check(map[string]string{"too late": "written"}) // the limit that docs/guarantees.md states
	if len(r.s.keyQueues) > maxRecentKeys {
		t.Errorf("%d key queues are remembered", len(r.s.keyQueues))
	}
	r.empty()
}

func TestShares(t *testing.T) {
	r := newRig(t, Config{MaxInFlight: 8, TenantShare: 4})
	for i := range 12 { // not backing off: all there is
		if !r.submit(fmt.Sprint(i), fmt.Sprint("a/", i)) {
			t.Fatal("a tenant that does not back off was refused")
		}
	}
	r.submit("held", "a/held")
	r.groups["held"].Hold = true
	r.apply(r.take(), answer{verdict: throttledTenant}) // 13 refusals: more than half of what it sent lately
	handed := 0
	for i := range 12 {
		if r.outcomes(fmt.Sprint(i)) == "handed_back" {
			handed++
			if i < 3 {
				t.Errorf("%d was handed back before later ones", i)
			}
		}
	}
	if handed != 9 || r.outcomes("held") != "pending" { // 4 stay: 3 and the one that must be held
		t.Errorf("%d were handed back, the held one is %s", handed, r.outcomes("held"))
	}
	if !r.submit("b", "b/1", "b/2", "b/3") {
		t.Error("the others should go on")
	}
	if r.submit("over", "a/over") || r.outcomes("over") != "pending" {
		t.Error("taken over the share")
	}
	r.apply(r.mustTake("b/1 b/2 b/3"), answer{})
	if !r.submit("room", "a/room") {
		t.Error("refused although there is room for everybody")
	}
	for range 100 { // its writes pass again
		r.now = r.now.Add(time.Minute)
		if c := r.take(); c != nil {
			r.apply(c, answer{})
		}
	}
	r.empty()
	for i := range 12 {
		if !r.submit(fmt.Sprint("again", i), fmt.Sprint("a/", i)) {
			t.Error("a tenant that has recovered was refused")
		}
	}
}

// One refused write in fifty, of every tenant, is no reason to hand anything back.
func TestStrayLeftoversAreNoStall(t *testing.T) {
	r := newRig(t, Config{MaxInFlight: 1000})
	for i := range 1000 {
		r.submit(fmt.Sprint(i), fmt.Sprintf("t%d/%d", i%10, i))
	}
	n := 0
	for range 2000 {
		c := r.take()
		if c == nil {
			r.now = r.now.Add(time.Millisecond)
			continue
		}
		a := answer{}
		for i := range c.writes {
			if n++; n%50 == 0 {
				a.left = append(a.left, i)
			}
		}
		r.apply(c, a)
		r.now = r.now.Add(time.Millisecond)
	}
	for i := range 1000 {
		if got := r.outcomes(fmt.Sprint(i)); got != "written" {
			t.Fatalf("%d is %s", i, got)
		}
	}
	r.empty()
}

func TestATenantStallsByWaitingToo(t *testing.T) {
	r := newRig(t, Config{})
	r.submit("1", "a/1")
	r.apply(r.mustTake("a/1"), answer{verdict: throttledTenant})
	a := r.s.tenants["a"]
	if a.stalled(r.now) {
		t.Error("stalled by one refusal")
	}
	if !a.stalled(r.now.Add(stalledWait + time.Second)) {
		t.Error("what waits for so long is stalled")
	}
}

func TestATenantThatHoldsNothingIsLetIn(t *testing.T) {
	r := newRig(t, Config{MaxInFlight: 2, TenantShare: 1})
	r.submit("1", "a/1")
	r.apply(r.mustTake("a/1"), answer{verdict: throttledTenant})
	r.s.tenants["a"].refused = 1
	r.submit("others", "b/1", "b/2", "b/3")
	if r.submit("over", "a/2") {
		t.Error("taken over the share")
	}
	r.s.abandon(r.now, r.groups["1"])
	if !r.s.tenants["a"].backingOff() {
		t.Fatal("should back off still")
	}
	if !r.submit("2", "a/1", "a/2", "a/3", "a/4") {
		t.Error("a message larger than the share must pass when nothing else is held")
	}
}

func TestWhatIsTouchedIsHeld(t *testing.T) {
	r := newRig(t, Config{MaxInFlight: 1, TenantShare: 1})
	r.submit("part", "a/1", "a/2", "a/3")
	c := r.mustTake("a/1 a/2 a/3")
	r.s.tenants["a"].refused = 1
	r.apply(c, answer{left: []int{1, 2}})
	if !r.s.tenants["a"].stalled(r.now) || !r.s.scarce() {
		t.Fatal("the tenant should be stalled, and room scarce")
	}
	if got := r.outcomes("part"); got != "written pending pending" {
		t.Errorf("a part-written message is %s", got)
	}
	r.submit("fresh", "a/4")
	if r.groups["fresh"].Touched() || !r.groups["part"].Touched() {
		t.Error("touched is wrong")
	}
	r.now = r.now.Add(time.Minute)
	r.apply(r.take(), answer{verdict: trouble})
	if got := r.outcomes("part"); strings.Contains(got, "handed_back") {
		t.Errorf("a part-written message is %s", got)
	}
}

func TestDrainAndClose(t *testing.T) {
	r := newRig(t, Config{})
	r.submit("well", "a/1")
	r.submit("off", "b/1")
	c := r.take()
	left := 0
	if c.writes[0].Command.TenantID == "a" {
		left = 1
	}
	r.apply(c, answer{left: []int{left}})
	r.s.tenants["b"].refused = 1
	r.s.drain(r.now)
	r.check(map[string]string{"well": "written", "off": "handed_back"})

	r = newRig(t, Config{})
	r.submit("old", "a/1")
	r.submit("inflight", "a/1", "a/2")
	c = r.mustTake("a/1 a/2")
	r.submit("waits", "a/2", "c/1")
	r.s.close(r.now)
	r.check(map[string]string{"old": "handed_back", "inflight": "pending pending", "waits": "handed_back handed_back"})
	r.apply(c, answer{left: []int{1}})
	r.check(map[string]string{"inflight": "written handed_back"})
	if r.submit("late", "a/9") {
		t.Error("accepted after close")
	}
	r.empty()
}

func TestCloseEmptiesRetries(t *testing.T) {
	r := newRig(t, Config{})
	r.submit("m", "a/1", "a/2")
	r.apply(r.mustTake("a/1 a/2"), answer{verdict: invalid})
	r.s.close(r.now)
	r.check(map[string]string{"m": "handed_back handed_back"})
	r.empty()
}

func TestConditionalWritesDontStarveBatches(t *testing.T) {
	r := newRig(t, Config{Linger: time.Millisecond})
	for i := range 10 {
		r.submit(fmt.Sprint("v", i), fmt.Sprintf("a/v%d@1", i))
	}
	for i := range 60 {
		r.submit(fmt.Sprint("u", i), fmt.Sprint("a/u", i))
	}
	kinds := ""
	for range 6 {
		if r.take().conditional {
			kinds += "c"
		} else {
			kinds += "b"
		}
	}
	if kinds != "bcbccc" { // the third batch is part-filled and lingers
		t.Errorf("calls in turn: %s", kinds)
	}
}

package writer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tributary/internal/tenants"
)

func TestBucket(t *testing.T) {
	begun := time.Unix(1_700_000_000, 0)
	type step struct {
		at      time.Duration
		take    float64        // units
		limit   *tenants.Limit // nil: it does not change
		emptied bool
		units   float64       // afterwards
		pauses  time.Duration // from at on
	}
	ten := tenants.Limit{Rate: 10, Burst: 20}
	for name, steps := range map[string][]step{
		"it is full at first, and refills to its burst": {
			{at: 0, take: 5, units: 15}, {at: 250 * time.Millisecond, take: 0, units: 17.5}, {at: time.Hour, take: 1, units: 19},
		},
		"the last write takes it into debt": {
			{at: 0, take: 19, units: 1}, {at: 0, take: 25, emptied: true, units: -24, pauses: 2650 * time.Millisecond},
			{at: 2650 * time.Millisecond, units: 2.5},
		},
		"more debt while it pauses": {
			{at: 0, take: 20, emptied: true, units: 0, pauses: 250 * time.Millisecond}, {at: 0, take: 5, units: -5, pauses: 750 * time.Millisecond},
		},
		"what is paid back shortens the pause": {
			{at: 0, take: 40, emptied: true, units: -20, pauses: 2250 * time.Millisecond}, {at: 0, take: -21, units: 1, pauses: 150 * time.Millisecond},
			{at: 0, take: -19, units: 20, pauses: 0}, {at: 0, take: -7, units: 20},
		},
		"a new rate keeps the fill": {
			{at: 0, take: 10, units: 10}, {at: time.Second, limit: &tenants.Limit{Rate: 100, Burst: 100}, units: 20},
			{at: 1100 * time.Millisecond, units: 30}, {at: 1100 * time.Millisecond, limit: &tenants.Limit{Rate: 1, Burst: 1}, units: 1},
		},
		"a higher rate shortens the pause": {
			{at: 0, take: 40, emptied: true, units: -20, pauses: 2250 * time.Millisecond},
			{at: 0, limit: &tenants.Limit{Rate: 100, Burst: 100}, units: -20, pauses: 450 * time.Millisecond},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBucket(ten, begun)
			for i, s := range steps {
				now := begun.Add(s.at)
				emptied := false
				if s.limit != nil {
					b.obey(*s.limit, now)
				} else {
					emptied = b.take(s.take, now)
				}
				if pauses := max(0, b.notBefore.Sub(now)); emptied != s.emptied || math.Abs(b.units-s.units) > 1e-6 || (pauses-s.pauses).Abs() > time.Microsecond {
					t.Errorf("step %d: emptied %v, %v units, pauses for %v; want %+v", i, emptied, b.units, pauses, s)
				}
			}
		})
	}
}

func limitRules(n int, units float64) *tenants.Rules {
	ds := make([]*tenants.Decision, n)
	for i := range ds {
		ds[i] = &tenants.Decision{Tenant: fmt.Sprintf("limited-%d", i), WriteUnits: units}
	}
	return tenants.NewRules(1, time.Time{}, 1, 1, ds)
}

// TestALimitedTenantKeepsToItsLimit: with a load over its limit, within a minute, by what DynamoDB counts and not by the estimate,
// while another tenant is not delayed.
func TestALimitedTenantKeepsToItsLimit(t *testing.T) {
	for _, test := range []struct {
		limit    float64
		writers  int
		consumes float64 // units of one write; the estimate is 2: an order is in one index
	}{
		{1, 1, 2}, {10, 1, 2}, {500, 1, 2}, {100, 4, 2}, {100, 1, 1}, {100, 1, 5}, {30, 1, 12},
	} {
		r := newRig(t, Config{MaxInFlight: 1 << 20})
		r.s.obey(r.now, tenants.NewRules(1, time.Time{}, test.writers, 1, []*tenants.Decision{{Tenant: "a", WriteUnits: test.limit}}))
		limit := test.limit / float64(test.writers)
		used, n, others, waited := 0.0, 0, 0, 0
		begun := r.now
		for step := range 3500 { // 70 s
			r.now = begun.Add(time.Duration(step) * 20 * time.Millisecond)
			if step == 500 {
				used = 0 // the burst is over
			}
			for r.s.tenants["a"] == nil || r.s.tenants["a"].held < 100 {
				n++
				r.submit("a", fmt.Sprint("a/", n))
			}
			r.submit("b", fmt.Sprint("b/", step))
			others++
			for c := r.take(); c != nil; c = r.take() {
				units := Units{}
				for _, w := range c.writes {
					if w.Command.TenantID == "a" {
						units.Table += test.consumes / 2
						units.Index += test.consumes / 2
						used += test.consumes
					} else {
						units.Table++
						units.Index++
						others--
					}
				}
				if len(c.writes) == 1 || test.consumes == 2 { // otherwise the parts would be mixed up
					attribute(c, nil, units)
				} else {
					for _, w := range c.writes {
						w.used = used0(w, test.consumes)
					}
				}
				r.apply(c, answer{})
			}
			waited = max(waited, others)
		}
		if want := limit * 60; used < 0.95*want || used > 1.05*want+test.consumes {
			t.Errorf("%+v: %v units within a minute, want %v", test, used, want)
		}
		if waited > 0 {
			t.Errorf("%+v: %d writes of another tenant waited", test, waited)
		}
		if len(r.s.events.limited) == 0 || len(r.s.events.throttled) > 0 {
			t.Errorf("%+v: limited %d times, throttled %d", test, len(r.s.events.limited), len(r.s.events.throttled))
		}
	}
}

func used0(w *Write, units float64) used {
	if w.Command.TenantID != "a" {
		units = 2
	}
	return used{known: true, tableHalves: int32(units), indexHalves: int32(units)}
}

// TestALimitedTenantHoldsItsShare: once half of the room is taken, and it is not handed back for a load that it can write soon.
func TestALimitedTenantHoldsItsShare(t *testing.T) {
	r := newRig(t, Config{MaxInFlight: 100, TenantShare: 10})
	r.s.obey(r.now, tenants.NewRules(1, time.Time{}, 1, 1, []*tenants.Decision{{Tenant: "a", WriteUnits: 5}, {Tenant: "c", WriteUnits: 1000}}))
	for i := range 60 {
		r.submit(fmt.Sprint(i), fmt.Sprint("a/", i))
		if i < 20 {
			r.submit(fmt.Sprint("c", i), fmt.Sprint("c/", i))
		}
	}
	for c := r.take(); c != nil; c = r.take() {
		r.apply(c, answer{})
	}
	a := r.s.tenants["a"]
	if a == nil || a.held > 10 || !a.atLimit || !a.stalled(r.now) {
		t.Fatalf("the tenant's state is %+v", a)
	}
	back := 0
	for i := range 60 {
		if r.outcomes(fmt.Sprint(i)) == "handed_back" && r.groups[fmt.Sprint(i)].Back() == Limited {
			back++
		}
		if i < 20 && r.outcomes(fmt.Sprint("c", i)) != "written" {
			t.Errorf("a tenant far from its limit: %s", r.outcomes(fmt.Sprint("c", i)))
		}
	}
	if back < 40 {
		t.Errorf("%d messages went back", back)
	}
	for i := range 60 {
		r.submit(fmt.Sprint("b", i), fmt.Sprint("b/", i))
	}
	if got := r.offer("over", &Group{}, "a/over"); got != Limited {
		t.Errorf("over the share: %v", got)
	}
	for range 100 {
		r.now = r.now.Add(time.Second)
		for c := r.take(); c != nil; c = r.take() {
			r.apply(c, answer{})
		}
	}
	r.empty()
	if r.s.atLimit != 0 {
		t.Errorf("%d tenants count as at their limits", r.s.atLimit)
	}
}

// TestALimitedBacklogComesInTurns: two workers use a tenant's limit to the end of its backlog, while messages that go back stay away
// until their turn, and no message is received often. Nor is one when a worker dies and the other has its part.
func TestALimitedBacklogComesInTurns(t *testing.T) {
	const backlog, limit, cost = 12_000, 200.0, 2
	type message struct {
		id       int
		receives int
	}
	var workers [2]*rig
	for i := range workers {
		workers[i] = newRig(t, Config{MaxInFlight: 600, TenantShare: 150})
	}
	begun := workers[0].now
	obey := func(alive int) {
		for _, r := range workers[:alive] {
			r.s.obey(r.now, tenants.NewRules(1, time.Time{}, alive, 1, []*tenants.Decision{{Tenant: "a", WriteUnits: limit}}))
		}
	}
	obey(2)
	queue := map[int][]*message{} // by the step of 50 ms in which they become visible
	messages := make([]*message, backlog)
	for i := range messages {
		messages[i] = &message{id: i}
	}
	queue[0] = messages
	written, most := 0, 0
	const aWindow = 200 // steps
	inWindow, alive := 0, 2
	for step := 0; written < backlog && step < 200_000; step++ {
		if step == 600 {
			alive = 1 // what the other holds comes back
			dead := workers[1]
			for _, m := range messages {
				if g := dead.groups[fmt.Sprint(m.id)]; g != nil && g.Writes[0].Outcome == Pending {
					queue[step+600] = append(queue[step+600], m)
				}
			}
			obey(1)
		}
		for i, m := range queue[step] {
			if i > 100 { // what a worker receives at most in this time
				queue[step+1] = append(queue[step+1], queue[step][i:]...)
				break
			}
			r := workers[m.id%alive]
			m.receives++
			most = max(most, m.receives)
			g := new(Group)
			if back := r.offer(fmt.Sprint(m.id), g, fmt.Sprint("a/", m.id)); back == Limited {
				queue[step+1+int(g.Away()/(50*time.Millisecond))] = append(queue[step+1+int(g.Away()/(50*time.Millisecond))], m)
			}
		}
		delete(queue, step)
		for _, r := range workers[:alive] {
			r.now = begun.Add(time.Duration(step) * 50 * time.Millisecond)
			for c := r.take(); c != nil; c = r.take() {
				written += len(c.writes)
				inWindow += len(c.writes)
				r.apply(c, answer{})
			}
			for id, g := range r.groups { // those that were handed back later
				if g.Writes[0].Outcome == HandedBack {
					n := 0
					_, _ = fmt.Sscan(id, &n)
					at := step + 1 + int(g.Away()/(50*time.Millisecond))
					queue[at] = append(queue[at], messages[n])
					delete(r.groups, id)
				}
			}
		}
		if step%aWindow == aWindow-1 {
			rate := float64(inWindow*cost) / (aWindow * .05)
			if steady := step > aWindow && (step < 600 || step > 1400) && written < backlog-2*150; steady && (rate < .95*limit || rate > 1.05*limit) {
				t.Errorf("%v: %.0f units a second with %d written, want %v", workers[0].now.Sub(begun), rate, written, limit)
			}
			inWindow = 0
		}
	}
	sum := 0
	for _, m := range messages {
		sum += m.receives
	}
	t.Logf("%d messages were received %.1f times on average, %d times at most", backlog, float64(sum)/backlog, most)
	if written < backlog || most > 12 || sum > 4*backlog {
		t.Errorf("%d of %d are written; received %d times at most, %d in all", written, backlog, most, sum)
	}
}

// TestABucketOutlivesItsTenant: a tenant that holds nothing for a moment gains nothing. The bucket goes with the limit.
func TestABucketOutlivesItsTenant(t *testing.T) {
	r := newRig(t, Config{})
	r.s.obey(r.now, limitRules(1, 10))
	taken := 0
	for i := range 20 {
		if r.submit("m", fmt.Sprint("limited-0/", i)); r.take() == nil {
			break
		}
		taken++
		r.s.close(r.now)
		r.s.closed, r.s.calls, r.s.era.calls = false, 0, 0
		clear(r.s.tenants)
		clear(r.s.keyQueues)
	}
	if taken != 5 { // of two units each
		t.Errorf("%d writes were taken of a burst of ten units", taken)
	}
	r.s.obey(r.now, limitRules(1, 20))
	if b := r.s.buckets["limited-0"]; b == nil || b.units > 0 || b.limit.Rate != 20 {
		t.Errorf("the bucket is %+v", b)
	}
	r.s.abandon(r.now, r.groups["m"])
	r.now = r.now.Add(600 * time.Millisecond)
	r.mustTake("")
	r.s.obey(r.now, limitRules(1, 20))
	if r.s.tenants["limited-0"] != nil || r.s.buckets["limited-0"] == nil {
		t.Error("a bucket that is not full is forgotten with its tenant's state")
	}
	r.now = r.now.Add(time.Hour)
	r.mustTake("")
	r.s.obey(r.now, limitRules(1, 20))
	if len(r.s.buckets) != 0 {
		t.Error("a full bucket of a tenant that holds nothing is remembered")
	}
	r.submit("m", "limited-0/x")
	r.s.obey(r.now, nil)
	if len(r.s.buckets) != 0 || r.s.tenants["limited-0"].bucket != nil {
		t.Error("the bucket is there without a limit")
	}
}

func TestSleepers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	begun := time.Unix(1_700_000_000, 0)
	for range 100 {
		var h sleepers
		at := map[*tenant]time.Time{}
		for range r.IntN(200) {
			s := &tenant{}
			if len(at) > 0 && r.IntN(3) == 0 {
				for s = range at {
					break
				}
			}
			when := begun.Add(time.Duration(r.IntN(100)) * time.Second)
			if old, asleep := at[s]; h.put(s, when) != (!asleep || when.Before(old)) {
				t.Fatal("the later of two times counts")
			}
			if old, asleep := at[s]; !asleep || when.Before(old) {
				at[s] = when
			}
		}
		var woken []time.Time
		for now := begun; len(h) > 0; now = now.Add(time.Second) {
			for s := h.pop(now); s != nil; s = h.pop(now) {
				if at[s].After(now) || s.asleep {
					t.Fatalf("woken at %v instead of %v", now, at[s])
				}
				woken = append(woken, at[s])
			}
		}
		if len(woken) != len(at) || !slices.IsSortedFunc(woken, time.Time.Compare) {
			t.Fatalf("%d of %d woke, in the order %v", len(woken), len(at), woken)
		}
	}
}

func TestAttribute(t *testing.T) {
	for name, test := range map[string]struct {
		of     int
		weight []int
		want   []int
	}{
		"as estimated":               {12, []int{1, 2, 3}, []int{2, 4, 6}},
		"the largest remainder":      {10, []int{1, 1, 1}, []int{4, 3, 3}},
		"two of three":               {11, []int{1, 1, 1}, []int{4, 4, 3}},
		"by weight":                  {7, []int{5, 1, 1}, []int{5, 1, 1}},
		"without weights":            {5, []int{0, 0}, []int{3, 2}},
		"nothing":                    {0, []int{3, 4}, []int{0, 0}},
		"to nobody":                  {4, nil, nil},
		"less than there are writes": {2, []int{1, 1, 1, 1}, []int{1, 1, 0, 0}},
		"one that weighs nothing":    {3, []int{0, 2}, []int{0, 3}},
	} {
		got := slices.Clone(test.weight)
		if divide(test.of, got); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		weights := make([]int, 1+r.IntN(25))
		for i := range weights {
			weights[i] = r.IntN(5)
		}
		n, sum := r.IntN(500), 0
		divide(n, weights)
		for _, part := range weights {
			sum += part
		}
		if sum != n {
			t.Fatalf("%d are divided into %v", n, weights)
		}
	}
}

// BenchmarkLimits is BenchmarkTakeApply with decisions about 10,000 tenants: about others, about all with limits that none
// reaches, and with all others asleep at their limits.
func BenchmarkLimits(b *testing.B) {
	const limited = 10_000
	for _, of := range []struct {
		name   string
		prefix string
		units  float64
		asleep bool
	}{
		{"ungoverned", "tenant", 0, false},
		{"about others", "tenant", 1e9, false},
		{"none reached", "limited", 1e9, false},
		{"others asleep", "tenant", 1, true},
	} {
		b.Run(of.name, func(b *testing.B) {
			s := newScheduler(Config{}.Defaults(), func() float64 { return 0.5 })
			now := time.Now()
			if of.units > 0 {
				s.obey(now, limitRules(limited, of.units))
			}
			for i := range limited {
				if !of.asleep {
					break
				}
				g := &Group{Owner: nobody{}, Writes: make([]Write, 2)}
				for j := range g.Writes {
					g.Writes[j].Command = order(fmt.Sprintf("limited-%d/%d", i, j))
				}
				s.submit(now, g)
			}
			for c, _ := s.nextCall(now); c != nil; c, _ = s.nextCall(now) {
				s.apply(now, c, answer{})
			}
			const n = 1000
			groups := make([]Group, n)
			for i := range groups {
				groups[i].Writes = make([]Write, 1)
				groups[i].Writes[0].Command = order(fmt.Sprintf("%s-%d/order-%d", of.prefix, i%100, i))
				if err := groups[i].Writes[0].Command.Validate(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(n * 5 * time.Microsecond) // 200,000 commands a second
				for i := range groups {
					c := groups[i].Writes[0].Command
					groups[i] = Group{Writes: groups[i].Writes}
					groups[i].Writes[0] = Write{Command: c}
					s.submit(now, &groups[i])
				}
				for c, _ := s.nextCall(now); c != nil; c, _ = s.nextCall(now) {
					s.apply(now, c, answer{})
				}
				s.settled, s.events = s.settled[:0], events{}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// BenchmarkObey is what an agent that has read decisions about 10,000 tenants costs the writer, while 1,000 of them hold something.
func BenchmarkObey(b *testing.B) {
	s := newScheduler(Config{}.Defaults(), func() float64 { return 0.5 })
	now := time.Now()
	rules := limitRules(10_000, 100)
	s.obey(now, rules)
	for i := range 1000 {
		g := &Group{Owner: nobody{}, Writes: make([]Write, 1)}
		g.Writes[0].Command = order(fmt.Sprintf("limited-%d/1", i))
		s.submit(now, g)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.obey(now, rules)
	}
}

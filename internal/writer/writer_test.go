package writer

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// tally is an Owner that counts outcomes.
type tally struct {
	mu       sync.Mutex
	outcomes map[Outcome]int
	groups   int
}

func (o *tally) Settled(g *Group) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.groups++
	for i := range g.Writes {
		o.outcomes[g.Writes[i].Outcome]++
	}
}

func submit(w *Writer, o Owner, commands ...string) bool {
	g := &Group{Owner: o, Writes: make([]Write, len(commands))}
	for i, c := range commands {
		g.Writes[i].Command = order(c)
	}
	return w.Submit(g) == Admitted
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Defaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for name, c := range map[string]Config{
		"writers":          {Writers: -1},
		"linger":           {Linger: time.Minute},
		"share over all":   {MaxInFlight: 10, TenantShare: 11},
		"bytes below 1MiB": {MaxInFlightBytes: 1000},
		"timeout":          {CallTimeout: -1},
	} {
		if c.Defaults().Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkTakeApply(b *testing.B) {
	for _, of := range []struct {
		name       string
		attributes string
	}{
		{"plain", ""},
		{"attributes", `{"lines":[` + strings.Repeat(`{"sku":"A-1","quantity":2},`, 1000) + `0]}`},
	} {
		b.Run(of.name, func(b *testing.B) { benchmarkTakeApply(b, of.attributes) })
	}
}

func benchmarkTakeApply(b *testing.B, attributes string) {
	s := newScheduler(Config{}.Defaults(), func() float64 { return 0.5 })
	now := time.Now()
	const n = 1000
	groups := make([]Group, n)
	for i := range groups {
		groups[i].Writes = make([]Write, 1)
		c := &groups[i].Writes[0].Command
		*c = order(fmt.Sprintf("tenant-%d/order-%d", i%100, i))
		c.Attributes = attributes
		if err := c.Validate(); err != nil { // as all that are decoded are
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range groups {
			c := groups[i].Writes[0].Command
			groups[i] = Group{Writes: groups[i].Writes}
			groups[i].Writes[0] = Write{Command: c}
			s.submit(now, &groups[i])
		}
		for c, _ := s.nextCall(now); c != nil; c, _ = s.nextCall(now) {
			s.apply(now, c, answer{})
		}
		s.settled = s.settled[:0]
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "commands/s")
}

package metrics

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"tributary/internal/schema"
)

// series are the counters of one metric, by tenant.
type series map[string]struct {
	n       float64
	created time.Time
}

func scrape(t *testing.T, reg prometheus.Gatherer, name string) (series, int) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := series{}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			s := found[label(m, "tenant")]
			s.n += m.GetCounter().GetValue()
			s.created = m.GetCounter().GetCreatedTimestamp().AsTime()
			found[label(m, "tenant")] = s
		}
	}
	return found, text.Len()
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

const commandsName = "tributary_tenant_commands_total"

func TestHundredThousandTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, light, heavy = 50, 100_000, 30
		reg := prometheus.NewRegistry()
		m := New(reg, schema.Builtin(), most)
		id := func(i int) string { return fmt.Sprintf("tenant-%06d", i) }
		for range 3 { // minutes
			for i := range light {
				m.TenantCommands(id(i), "written", 1)
				m.TenantThrottled(id(i))
				// The busy ones come last and thinly spread, so that they find every label taken.
				if busy := light - 1 - i%heavy; i%10 == 0 {
					m.TenantCommands(id(busy), "written", 100)
				}
			}
			time.Sleep(contestEvery)
			if _, size := scrape(t, reg, commandsName); size > 40_000 {
				t.Errorf("a scrape has %d bytes", size)
			}
		}
		got, _ := scrape(t, reg, commandsName)
		if len(got) > most+1 {
			t.Errorf("%d labels, want at most %d and %s", len(got), most, OtherTenants)
		}
		missing := 0
		for i := range heavy {
			if i%10 == 0 && got[id(light-1-i)].n == 0 { // i%heavy of every tenth are 0, 10 and 20
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d of the busiest have no label", missing)
		}
		if throttled, _ := scrape(t, reg, "tributary_tenant_throttled_total"); len(throttled) > most+1 {
			t.Errorf("%d labels of throttled tenants", len(throttled))
		}
		for _, top := range []*top{m.commands, m.throttled} {
			if len(top.labelled) > most || len(top.search.at) > most*candidatesPerLabel || len(top.search.heap) != len(top.search.at) {
				t.Errorf("holds %d tenants and %d candidates", len(top.labelled), len(top.search.at))
			}
		}
		if all := m.Busiest(); len(all) > 2*most+2 || all[0].CommandsPerSecond == 0 {
			t.Errorf("status lists %d tenants, first %+v", len(all), all[0])
		}
	})
}

// TestNoCountIsLostOrGoesBackwards plays tenants that rise and fall and checks what Prometheus makes of the scrapes:
// every series only grows while it has one created timestamp, and the increases of all series are what was counted.
func TestNoCountIsLostOrGoesBackwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		m := New(reg, schema.Builtin(), 5)
		rnd := rand.New(rand.NewPCG(1, 2))
		var counted, increased float64
		last := series{}
		came, left := 0, 0
		for range 500 {
			shift := rnd.IntN(100)
			for range 300 {
				n := 1 + rnd.IntN(9)
				m.TenantCommands(fmt.Sprintf("t%d", (shift+int(rnd.ExpFloat64()*4))%100), "written", n)
				counted += float64(n)
			}
			time.Sleep(15 * time.Second)
			now, _ := scrape(t, reg, commandsName)
			for tenant, s := range now {
				was, known := last[tenant]
				switch {
				case !known:
					came++
					increased += s.n
				case was.created.Equal(s.created):
					if s.n < was.n {
						t.Fatalf("%s went from %v to %v", tenant, was.n, s.n)
					}
					increased += s.n - was.n
				default:
					increased += s.n
				}
			}
			for tenant := range last {
				if _, still := now[tenant]; !still {
					left++
				}
			}
			last = now
		}
		if increased != counted {
			t.Errorf("increases are %v, counted were %v", increased, counted)
		}
		if came < 20 || left < 20 {
			t.Errorf("labels hardly changed hands (%d came, %d left): the test shows nothing", came, left)
		}
	})
}

func TestBusierTenantTakesLabelOfLessBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		m := New(reg, schema.Builtin(), 2)
		minute := func(loads map[string]int) {
			for _, tenant := range []string{"a", "b", "c"} {
				if n := loads[tenant]; n > 0 {
					m.TenantCommands(tenant, "written", n)
				}
			}
			time.Sleep(contestEvery)
			scrape(t, reg, commandsName)
		}
		has := func(when string, want ...string) {
			t.Helper()
			got, _ := scrape(t, reg, commandsName)
			for _, tenant := range want {
				m.TenantCommands(tenant, "stale", 1)
			}
			after, _ := scrape(t, reg, commandsName)
			for _, tenant := range want {
				if after[tenant].n != got[tenant].n+1 {
					t.Errorf("%s: %s has no label: %v", when, tenant, after)
				}
			}
		}
		minute(map[string]int{"a": 100, "b": 100})
		minute(map[string]int{"a": 100, "b": 100, "c": 150})
		has("an equal does not displace", "a", "b")
		minute(map[string]int{"a": 100, "b": 10, "c": 1000})
		has("a far busier one does", "a", "c")
		minute(map[string]int{"a": 100, "b": 5000, "c": 1000})
		has("and loses again to the still busier", "b", "c")
	})
}

func TestIdleTenantsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		m := New(reg, schema.Builtin(), 10)
		m.TenantCommands("gone", "written", 1)
		for range 15 {
			m.TenantCommands("stays", "written", 1)
			time.Sleep(contestEvery)
			scrape(t, reg, commandsName)
		}
		got, _ := scrape(t, reg, commandsName)
		if _, still := got["gone"]; still || got["stays"].n != 15 {
			t.Errorf("labels are %v, want that of stays alone", got)
		}
	})
}

func TestNoTenantLabels(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := New(reg, schema.Builtin(), 0)
	m.TenantCommands("a", "written", 3)
	m.TenantThrottled("a")
	if got, _ := scrape(t, reg, commandsName); len(got) != 1 || got[OtherTenants].n != 3 {
		t.Errorf("labels are %v, want %s alone", got, OtherTenants)
	}
}

// TestTenantIsCopied: an id is a part of its message's body, up to 1 MiB, that a label must not keep in memory.
func TestTenantIsCopied(t *testing.T) {
	m := New(prometheus.NewRegistry(), schema.Builtin(), 1)
	body := strings.Repeat("x", 1000)
	for i, id := range []string{body[:5], body[:6], body[:7], body[:8], body[:9], body[:10]} {
		m.TenantCommands(id, "written", i+1)
	}
	start := uintptr(unsafe.Pointer(unsafe.StringData(body)))
	check := func(id string) {
		if at := uintptr(unsafe.Pointer(unsafe.StringData(id))); at >= start && at < start+1000 {
			t.Errorf("%q is part of the body", id)
		}
	}
	for id := range m.commands.labelled {
		check(id)
	}
	for id, c := range m.commands.search.at {
		check(id)
		check(c.tenant)
	}
}

func BenchmarkTenantCommands(b *testing.B) {
	for _, tenants := range []int{50, 1000, 100_000} {
		b.Run(fmt.Sprint(tenants), func(b *testing.B) {
			m := New(prometheus.NewRegistry(), schema.Builtin(), 50)
			ids := make([]string, tenants)
			for i := range ids {
				ids[i] = fmt.Sprintf("tenant-%d", i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m.TenantCommands(ids[i], "written", 1)
				if i++; i == tenants {
					i = 0
				}
			}
		})
	}
}

// BenchmarkMessage is what one message of one command costs in metrics.
func BenchmarkMessage(b *testing.B) {
	m := New(prometheus.NewRegistry(), schema.Builtin(), 50)
	b.ReportAllocs()
	for b.Loop() {
		m.TenantCommands("tenant", "written", 1)
		m.Commands.WithLabelValues("put_order", "written").Inc()
		m.Settled.WithLabelValues("deleted").Inc()
		m.CommandDuration.Observe(0.012)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

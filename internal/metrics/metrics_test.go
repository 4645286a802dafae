package metrics

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// row is a metric as docs/metrics.md or the registry has it.
type row struct{ kind, labels string }

var (
	tableRow = regexp.MustCompile("(?m)^\\| `(tributary_[a-z_]+)` \\| (\\w+) \\| ([^|]*)\\| (.+) \\|$")
	code     = regexp.MustCompile("`([^`]+)`")
)

// used is a registry in which every metric has every label.
func used(t *testing.T) (*Metrics, *prometheus.Registry) {
	t.Helper()
	reg := NewRegistry()
	m := New(reg, 5)
	m.QueueMessages.WithLabelValues("visible").Set(1)
	m.Request("SQS", "ReceiveMessage", "ok", time.Second)
	m.Answered("/v1/tenants/{tenant_id}/users", 200, time.Second)
	m.TenantCommands("a", "written", 1)
	m.TenantThrottled("a")
	return m, reg
}

func TestPageDescribesWhatIsRegistered(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]row{}
	for _, found := range tableRow.FindAllStringSubmatch(string(page), -1) {
		var labels []string
		for _, l := range code.FindAllStringSubmatch(found[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		documented[found[1]] = row{found[2], strings.Join(labels, " ")}
	}

	_, reg := used(t)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	registered := map[string]row{}
	for _, f := range families {
		name := f.GetName()
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		registered[name] = row{strings.ToLower(f.GetType().String()), strings.Join(labels, " ")}
	}
	for _, name := range slices.Sorted(maps.Keys(registered)) {
		if got, want := documented[name], registered[name]; got != want {
			t.Errorf("docs/metrics.md has %s as %+v, want %+v", name, got, want)
		}
	}
	for name := range documented {
		if _, ok := registered[name]; !ok {
			t.Errorf("docs/metrics.md has %s, which is not registered", name)
		}
	}
}

func TestNamesAreOfTheHouse(t *testing.T) {
	_, reg := used(t)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "tributary_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestHistogramsAreNativeAndClassicAndWithoutTenants(t *testing.T) {
	m, reg := used(t)
	m.BatchCommands.Observe(25)
	m.CommandDuration.Observe(0.1)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range families {
		if f.GetType() != dto.MetricType_HISTOGRAM || !strings.HasPrefix(f.GetName(), "tributary_") {
			continue
		}
		seen++
		h := f.GetMetric()[0].GetHistogram()
		if len(h.GetBucket()) == 0 || len(h.GetPositiveDelta()) == 0 {
			t.Errorf("%s has %d classic and %d native buckets", f.GetName(), len(h.GetBucket()), len(h.GetPositiveDelta()))
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			if l.GetName() == "tenant" {
				t.Errorf("histogram %s has a tenant label", f.GetName())
			}
		}
	}
	if seen != 4 {
		t.Errorf("%d histograms, want 4", seen)
	}
}

// TestSeriesExistBeforeTheFirstEvent: an alert on an increase doesn't see a series' first value.
func TestSeriesExistBeforeTheFirstEvent(t *testing.T) {
	reg := prometheus.NewRegistry()
	New(reg, 5)
	for name, want := range map[string]int{
		"tributary_commands_total": 20, "tributary_messages_settled_total": 3, "tributary_dead_letters_total": 11,
		"tributary_tenant_throttled_total": 1, "tributary_tenant_commands_total": 5,
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != want {
			t.Errorf("%s has %d series at the start (%v), want %d", name, n, err, want)
		}
	}
}

package metrics

import (
	"log/slog"
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

	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/tenants/control"
	"tributary/internal/tenants/usage"
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
	reg := NewRegistry(schema.Builtin())
	m := New(reg, schema.Builtin(), 5)
	m.QueueMessages.WithLabelValues("visible").Set(1)
	m.Request("SQS", "ReceiveMessage", "ok", time.Second)
	m.TenantCommands("a", "written", 1)
	m.TenantThrottled("a")
	return m, reg
}

func TestPageDescribesWhatIsRegistered(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
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

	registered := map[string]row{}
	reg := &recorder{rows: registered}
	New(reg, schema.Builtin(), 5)
	reg.MustRegister(buildInfo(schema.Builtin()))
	api := query.Config{Listen: "127.0.0.1:0", QueryTimeout: time.Second, QueryConcurrency: 1, QueryExports: 1, QueryRate: 1, QueryBurst: 1, QueryTenants: 1, QueryReadUnits: 1, QueryMemory: 64 << 20}
	if _, err := query.New(t.Context(), api, query.Deps{Types: schema.Builtin(), Log: slog.New(slog.DiscardHandler), Metrics: reg}); err != nil {
		t.Fatal(err)
	}
	control.NewAgent(control.AgentConfig{}).Register(reg)
	usage.NewKeeper(nil, "", nil, reg, nil)
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

// recorder is a Registerer that notes what is registered, whether or not it has series yet.
type recorder struct{ rows map[string]row }

var described = regexp.MustCompile(`fqName: "([^"]+)".* constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

func (r *recorder) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		var kind string
		switch c := c.(type) {
		case *prometheus.CounterVec, *top:
			kind = "counter"
		case *prometheus.GaugeVec:
			kind = "gauge"
		case *prometheus.HistogramVec:
			kind = "histogram"
		case prometheus.Metric:
			var is dto.Metric
			if err := c.Write(&is); err != nil {
				panic(err)
			}
			switch {
			case is.Counter != nil:
				kind = "counter"
			case is.Gauge != nil:
				kind = "gauge"
			case is.Histogram != nil:
				kind = "histogram"
			}
		}
		descs := make(chan *prometheus.Desc, 10)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			found := described.FindStringSubmatch(d.String())
			labels := strings.FieldsFunc(found[3], func(c rune) bool { return c == ',' })
			for _, l := range strings.FieldsFunc(found[2], func(c rune) bool { return c == ',' }) {
				name, _, _ := strings.Cut(l, "=")
				labels = append(labels, name)
			}
			slices.Sort(labels)
			r.rows[found[1]] = row{kind, strings.Join(labels, " ")}
		}
	}
}

func (r *recorder) Register(c prometheus.Collector) error { r.MustRegister(c); return nil }

func (r *recorder) Unregister(prometheus.Collector) bool { return false }

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
	if seen != 3 {
		t.Errorf("%d histograms, want 3", seen)
	}
}

// TestSeriesExistBeforeTheFirstEvent: an alert on an increase doesn't see a series' first value.
func TestSeriesExistBeforeTheFirstEvent(t *testing.T) {
	reg := prometheus.NewRegistry()
	New(reg, schema.Builtin(), 5)
	for name, want := range map[string]int{
		"tributary_commands_total": 24, "tributary_messages_settled_total": 3, "tributary_dead_letters_total": 13,
		"tributary_tenant_throttled_total": 1, "tributary_tenant_limited_total": 1, "tributary_tenant_commands_total": 6,
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != want {
			t.Errorf("%s has %d series at the start (%v), want %d", name, n, err, want)
		}
	}
}

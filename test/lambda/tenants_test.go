package lambda_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	"tributary/test/support/standin"
)

// tenant runs worker tenant.
func (r *rig) tenant(args ...string) []byte {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), r.path, append([]string{"tenant"}, args...)...)
	cmd.Env = standin.Environ(r.url, r.url, "TRIBUTARY_QUEUE="+r.name)
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("worker tenant %s: %v\n%s", args[0], err, out)
	}
	return out
}

// TestSuspendedTenant: a frozen environment obeys what was decided since. What waits is hidden for longer than for a throttle, and is
// written once the tenant is resumed.
func TestSuspendedTenant(t *testing.T) {
	t.Parallel()
	r := newRig(t, false, 60)
	cfg := r.config("TRIBUTARY_PATIENCE=30s")
	cfg.Freeze = true
	m := r.mapping(cfg)
	r.send("", order("a", "before", 1))
	r.invoke(m, r.batch(m, 1))

	r.tenant("suspend", "a", "--no-wait")
	time.Sleep(6 * time.Second) // the environment looks again after five
	r.send("", order("a", "paused", 2), order("b", "goes-on", 3))
	records := r.batch(m, 2)
	if reported := r.invoke(m, records); !slices.Equal(reported, []bool{true, false}) {
		t.Errorf("while it is suspended, reported are %v", reported)
	}
	if r.amount("a", "before") != "1" || r.amount("a", "paused") != "" || r.amount("b", "goes-on") != "3" {
		t.Error("the table is not as it was decided")
	}
	r.tenant("resume", "a", "--no-wait")
	time.Sleep(6 * time.Second)
	if visible, hidden := r.depth(r.queue); visible != 0 || hidden != 3 { // nobody has deleted the others
		t.Errorf("%d messages are visible, %d hidden", visible, hidden)
	}
	if reported := r.invoke(m, records[:1]); reported[0] || r.amount("a", "paused") != "2" {
		t.Errorf("after it was resumed, reported are %v", reported)
	}
	if m.Environments.Load() != 1 {
		t.Errorf("%v", &m.Stats)
	}
}

// TestErasedWhileFrozen: an environment that was frozen before the erasure, and wakes after it, brings nothing back, and has deleted what a
// redelivered message may have written.
func TestErasedWhileFrozen(t *testing.T) {
	t.Parallel()
	r := newRig(t, false, 60)
	cfg := r.config("TRIBUTARY_PATIENCE=30s")
	cfg.Freeze = true
	m := r.mapping(cfg)
	r.send("", order("gone", "o", 1), order("stays", "o", 2), `{"type":"put_order","tenant_id":"gone"}`)
	records := r.batch(m, 3)
	r.invoke(m, records)
	r.send("", order("gone", "late", 3))
	late := r.batch(m, 1)

	var certificate struct {
		Items   struct{ Total int }
		Letters struct{ Removed int }
	}
	if err := json.Unmarshal(r.tenant("erase", "gone", "--confirm", "gone", "-o", "json"), &certificate); err != nil {
		t.Fatal(err)
	}
	if certificate.Items.Total != 1 || certificate.Letters.Removed != 1 {
		t.Errorf("certificate %+v", certificate)
	}
	if reported := r.invoke(m, append(late, records...)); slices.Contains(reported, true) {
		t.Errorf("reported are %v", reported)
	}
	if r.amount("gone", "o") != "" || r.amount("gone", "late") != "" || r.amount("stays", "o") != "2" {
		t.Error("the erased tenant is back, or another is gone")
	}
	if visible, hidden := r.depth(r.letters); visible+hidden > 0 {
		t.Errorf("%d dead letters", visible+hidden)
	}
	if m.Environments.Load() != 1 {
		t.Errorf("%v", &m.Stats)
	}
}

// TestLimitedTenant: a tenant keeps to its limit, and others are not delayed.
func TestLimitedTenant(t *testing.T) {
	t.Parallel()
	r := newRig(t, false, 60)
	r.tenant("limit", "slow", "--write-units", "10/s")
	cfg := r.config("TRIBUTARY_PATIENCE=2s", "TRIBUTARY_DEADLINE_MARGIN=4s")
	cfg.BatchSize, cfg.Window = 100, time.Second
	m := r.mapping(cfg)
	for i := range 90 {
		r.send("", order("slow", fmt.Sprint("o", i), i))
	}
	r.send("", order("other", "o", 1))
	records := r.batch(m, 91)
	began := time.Now()
	reported := r.invoke(m, records)
	took := time.Since(began)
	written := 0
	for i := range 90 {
		if r.amount("slow", fmt.Sprint("o", i)) != "" {
			written++
		}
	}
	// Two units an order; a second's worth is saved up.
	if most := 5 * (took.Seconds() + 2); float64(written) > most || written < 5 {
		t.Errorf("%d orders were written in %v, at most %.0f may be", written, took, most)
	}
	failed := 0
	for i, is := range reported {
		if is {
			failed++
		}
		if is && records[i].Body == order("other", "o", 1) {
			t.Error("another tenant's is reported")
		}
	}
	if failed != 90-written {
		t.Errorf("%d are reported, and %d are written", failed, written)
	}
}

// TestUsageOfAFunction: what the first invocation of an environment has used is kept before it is answered.
func TestUsageOfAFunction(t *testing.T) {
	t.Parallel()
	r := newRig(t, false, 60)
	m := r.mapping(r.config())
	r.send("", order("a", "1", 1), order("a", "2", 2), order("b", "1", 3))
	r.invoke(m, r.batch(m, 3))
	var report struct {
		Usage []struct {
			Tenant     string
			Written    int
			TableUnits float64 `json:"table_units"`
			IndexUnits float64 `json:"index_units"`
		}
	}
	if err := json.Unmarshal(r.tenant("usage", "-o", "json"), &report); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(report.Usage), "[{a 2 2 2} {b 1 1 1}]"; got != want {
		t.Errorf("usage is %s, want %s", got, want)
	}
}

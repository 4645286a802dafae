package main

import (
	"context"
	"encoding/csv"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/base/cli"
	"tributary/internal/tenants"
	"tributary/internal/tenants/usage"
)

// used keeps what tenants used, as a worker that stops at once does. It returns a time before.
func used(t *testing.T, counts map[string]*tenants.Usage) time.Time {
	t.Helper()
	before := time.Now().UTC()
	var meter usage.Meter
	for tenant, u := range counts {
		meter.Used(tenant, u)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	usage.NewKeeper(tables(t), "MultiTenantTable", &meter, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)).Run(ctx)
	return before
}

// TestAnOperatorReportsUsage has two workers keep usage, and reports it in every form.
func TestAnOperatorReportsUsage(t *testing.T) {
	onStack(t)
	run := func(line string) string {
		t.Helper()
		status, out, talk := command(t, strings.Fields(line)...)
		if status != 0 || talk != "" {
			t.Fatalf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
		return out
	}
	if status, out, talk := command(t, "tenant", "usage"); status != cli.StatusFailed || out != "" || !strings.Contains(talk, "worker setup") {
		t.Errorf("no table: status %d, out %q, talk %q", status, out, talk)
	}
	if status, _, talk := command(t, "setup"); status != 0 {
		t.Fatal(talk)
	}
	if out := run("tenant usage"); out != "no usage is recorded for this time; workers record it once a minute\n" {
		t.Errorf("no usage: %q", out)
	}
	var none struct{ Usage []usage.Line }
	if decode(t, run("tenant usage -o json"), &none); none.Usage == nil || len(none.Usage) != 0 {
		t.Errorf("no usage: %v", none.Usage)
	}

	at := used(t, map[string]*tenants.Usage{
		"acme": {Written: 1000, Superseded: 20, Stale: 3, DeadLettered: 4, Writes: 1001, Deletes: 2, Bytes: 123456, TableUnits: 1500, IndexUnits: 900.5,
			EstimatedTableUnits: 2, EstimatedIndexUnits: 1, Requests: 70, ReadUnits: 35.5},
		"globex": {Erased: 5},
	})
	used(t, map[string]*tenants.Usage{"acme": {Written: 1, Writes: 1, Bytes: 100, TableUnits: 1, IndexUnits: 1}})
	hour := at.Truncate(time.Hour)
	if !time.Now().UTC().Truncate(time.Hour).Equal(hour) {
		t.Skip("NOT RUN: an hour began meanwhile, and usage is kept by hour")
	}

	// 2405.5 write units at $10 and 35.5 read units at $100, each for a million.
	const prices = " --write-price 10 --read-price 100"
	want := []string{
		"TENANT FROM (UTC) COMMANDS DEAD LETTERS WRITE UNITS OF INDEXES ESTIMATED REQUESTS READ UNITS COST",
		"acme all 1024 4 2402 902 3 70 35.5 $0.0276",
		"globex all 5 0 0 0 0 0 0.0 $0.0000",
	}
	if got := words(run("tenant usage" + prices)); got != strings.Join(want, "\n") {
		t.Errorf("text:\n%s", got)
	}
	for by, form := range map[string]string{"hour": "2006-01-02 15:00", "day": time.DateOnly} {
		line := strings.Replace(want[1], "all", hour.Format(form), 1)
		if got := words(run("tenant usage acme --by " + by + prices)); got != want[0]+"\n"+line {
			t.Errorf("by %s:\n%s", by, got)
		}
	}

	var report struct {
		From   time.Time
		By     string
		Prices usage.Prices `json:"prices_usd_per_million"`
		Usage  []usage.Line
	}
	decode(t, run("tenant usage acme --by hour -o json --from 2h"+prices), &report)
	sum := tenants.Usage{Written: 1001, Superseded: 20, Stale: 3, DeadLettered: 4, Writes: 1002, Deletes: 2, Bytes: 123556, TableUnits: 1501, IndexUnits: 901.5,
		EstimatedTableUnits: 2, EstimatedIndexUnits: 1, Requests: 70, ReadUnits: 35.5}
	if len(report.Usage) != 1 || report.Usage[0].Usage != sum || report.Usage[0].Tenant != "acme" || !report.Usage[0].Start.Equal(hour) || report.By != "hour" ||
		!report.From.Equal(hour.Add(-2*time.Hour)) || report.Prices != (usage.Prices{WriteUnits: 10, ReadUnits: 100}) {
		t.Errorf("JSON: %+v", report)
	}
	decode(t, run("tenant usage acme -o json"), &report)
	if report.Prices != usage.ListPrices || len(report.Usage) != 1 || report.Usage[0].Cost != usage.ListPrices.Of(&sum) || report.Usage[0].Cost == 0 {
		t.Errorf("at list prices: %+v", report)
	}

	rows, err := csv.NewReader(strings.NewReader(run("tenant usage --csv --by day" + prices))).ReadAll() // every row has as many fields as the first
	if err != nil || len(rows) != 3 {
		t.Fatalf("CSV: %q, %v", rows, err)
	}
	if got, want := strings.Join(rows[1], " "), "acme "+at.Format(time.DateOnly)+"T00:00:00Z 1001 20 3 4 0 1002 2 123556 1501 901.5 2 1 70 35.5 0.027605"; got != want {
		t.Errorf("CSV:\n got %s\nwant %s", got, want)
	}
	if got := strings.Join(rows[0], " "); got != strings.Join(usageColumns, " ") {
		t.Errorf("the header is %s", got)
	}

	// Hours outside of the report don't count; the hour of --from counts as a whole.
	if out := run("tenant usage --from 3d --to 2d"); !strings.HasPrefix(out, "no usage") {
		t.Errorf("of other days: %q", out)
	}
	if out := run("tenant usage --from 1s"); !strings.Contains(out, "acme") {
		t.Errorf("of this hour: %q", out)
	}
	if out := run("tenant usage --from 400d"); !strings.Contains(out, "acme") {
		t.Errorf("of all that is kept: %q", out)
	}
}

// words are the lines of a table with one space between columns.
func words(table string) string {
	var lines []string
	for line := range strings.Lines(table) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestWrongUsageOfTenantUsage(t *testing.T) {
	settings(t, "http://127.0.0.1:1")
	for _, line := range []string{
		"tenant usage a#b", "tenant usage --by week", "tenant usage --from yesterday", "tenant usage --from 1h --to 2h", "tenant usage --from 401d",
		"tenant usage --to 2026-01-31 --from 2026-01-31", "tenant usage --write-price=-1", "tenant usage --read-price=-1", "tenant usage --read-price x", "tenant usage --csv -o json",
	} {
		status, out, talk := command(t, strings.Fields(line)...)
		if status != cli.StatusUsage || out != "" || strings.Count(talk, "\n") != 1 || !strings.HasPrefix(talk, "worker: ") {
			t.Errorf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
	}
	if status, out, talk := command(t, "tenant", "usage"); status != cli.StatusFailed || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, "no answer from http://127.0.0.1:1") {
		t.Errorf("no endpoint: status %d, out %q, talk %q", status, out, talk)
	}
}

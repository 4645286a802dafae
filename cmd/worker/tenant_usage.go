package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"tributary/internal/base/cli"
	"tributary/internal/tenants/usage"
)

type tenantUsageCmd struct {
	names
	cli.Output
	Tenant     string     `arg:"" optional:"" help:"Only this tenant (default: all)."`
	From       cli.Moment `env:"TRIBUTARY_TENANT_FROM" placeholder:"TIME" help:"Since when: 90m, 24h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z (default: 24h). Counts are kept by hour: the whole hour counts."`
	To         cli.Moment `env:"TRIBUTARY_TENANT_TO" placeholder:"TIME" help:"Until when (default: now)."`
	By         string     `enum:"hour,day,total" env:"TRIBUTARY_TENANT_BY_PERIOD" default:"total" help:"A line for each tenant and hour, for each tenant and UTC day, or for each tenant (${default})."`
	CSV        bool       `name:"csv" env:"TRIBUTARY_TENANT_CSV" help:"Write CSV."`
	WritePrice float64    `env:"TRIBUTARY_TENANT_WRITE_PRICE" default:"${list_write_price}" placeholder:"USD" help:"Price of a million write units (${default}: on demand in us-east-1, November 2026)."`
	ReadPrice  float64    `env:"TRIBUTARY_TENANT_READ_PRICE" default:"${list_read_price}" placeholder:"USD" help:"Price of a million read units (${default}: on demand in us-east-1, November 2026)."`
}

// Help is what `worker tenant usage --help` says below its summary.
func (*tenantUsageCmd) Help() string {
	return "Workers count what each tenant uses, and keep the counts in the table every minute: the last minute of a worker that was killed is " +
		"missing. Write units are what DynamoDB's answers say; what calls without an answer may have consumed is estimated by the sizes of the " +
		"items, and is in a column of its own. SQS, storage, backups and traffic are not in the cost."
}

// span returns the time that the report is about.
func (c *tenantUsageCmd) span(now time.Time) (from, to time.Time, err error) {
	from, to = time.Time(c.From), time.Time(c.To)
	if to.IsZero() {
		to = now
	}
	if from.IsZero() {
		from = to.Add(-24 * time.Hour)
	}
	switch span := to.Sub(from); {
	case span <= 0:
		return from, to, cli.Usage("--from %s is not before --to %s", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	case span.Truncate(time.Hour) > usage.MaxHours*time.Hour: // --from 400d is some microseconds more than 400 days ago
		return from, to, cli.Usage("--from %s: counts are kept for %d days", from.UTC().Format(time.RFC3339), usage.MaxHours/24)
	}
	return from, to, nil
}

// Run reports what tenants used.
func (c *tenantUsageCmd) Run(ctx context.Context, s *cli.Streams) error {
	if c.Tenant != "" {
		if err := (&tenantArg{c.Tenant}).check(); err != nil {
			return err
		}
	}
	if c.WritePrice < 0 || c.ReadPrice < 0 {
		return cli.Usage("--write-price %v and --read-price %v: they must be 0 or more", c.WritePrice, c.ReadPrice)
	}
	if c.CSV && c.JSON() {
		return cli.Usage("give --csv or --output json, not both")
	}
	from, to, err := c.span(time.Now())
	if err != nil {
		return err
	}
	_, client, err := c.store(ctx)
	if err != nil {
		return err
	}
	prices := usage.Prices{WriteUnits: c.WritePrice, ReadUnits: c.ReadPrice}
	lines, err := usage.Report(ctx, client, c.Table, from, to, c.Tenant, usage.Period(c.By), prices)
	if err != nil {
		return c.explainTable(err)
	}
	switch {
	case c.JSON():
		if lines == nil {
			lines = []usage.Line{}
		}
		return cli.WriteJSON(s.Out, map[string]any{
			"from": from.UTC().Truncate(time.Hour), "to": to.UTC(), "by": c.By, "prices_usd_per_million": prices, "usage": lines,
		})
	case c.CSV:
		return writeUsageCSV(s.Out, lines)
	}
	return c.writeUsage(s.Out, lines)
}

// usageColumns are the columns of CSV.
var usageColumns = []string{
	"tenant", "start", "written", "superseded", "stale", "dead_lettered", "erased", "writes", "deletes", "bytes", "table_units", "index_units",
	"estimated_table_units", "estimated_index_units", "requests", "read_units", "cost_usd",
}

func writeUsageCSV(out io.Writer, lines []usage.Line) error {
	w := csv.NewWriter(out)
	_ = w.Write(usageColumns) // the error comes with Flush
	for i := range lines {
		l := &lines[i]
		whole := func(n int64) string { return strconv.FormatInt(n, 10) }
		units := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
		_ = w.Write([]string{
			l.Tenant, start(l.Start), whole(l.Written), whole(l.Superseded), whole(l.Stale), whole(l.DeadLettered), whole(l.Erased),
			whole(l.Writes), whole(l.Deletes), whole(l.Bytes), units(l.TableUnits), units(l.IndexUnits),
			units(l.EstimatedTableUnits), units(l.EstimatedIndexUnits), whole(l.Requests), units(l.ReadUnits), fmt.Sprintf("%.6f", l.Cost),
		})
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("write usage: %w", err)
	}
	return nil
}

func start(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// writeUsage writes the report for people.
func (c *tenantUsageCmd) writeUsage(out io.Writer, lines []usage.Line) error {
	buffered := bufio.NewWriter(out)
	if len(lines) == 0 {
		_, _ = fmt.Fprintln(buffered, "no usage is recorded for this time; workers record it once a minute")
	}
	w := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(lines) > 0 {
		_, _ = fmt.Fprintln(w, "TENANT\tFROM (UTC)\tCOMMANDS\tDEAD LETTERS\tWRITE UNITS\tOF INDEXES\tESTIMATED\tREQUESTS\tREAD UNITS\tCOST\t")
	}
	for i := range lines {
		l := &lines[i]
		from := "all"
		switch usage.Period(c.By) {
		case usage.Hour:
			from = l.Start.Format("2006-01-02 15:00")
		case usage.Day:
			from = l.Start.Format(time.DateOnly)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.0f\t%.0f\t%.0f\t%d\t%.1f\t$%.4f\t\n", l.Tenant, from, l.Written+l.Superseded+l.Stale+l.Erased, l.DeadLettered,
			l.TableUnits+l.IndexUnits, l.IndexUnits, l.EstimatedTableUnits+l.EstimatedIndexUnits, l.Requests, l.ReadUnits, l.Cost)
	}
	_ = w.Flush() // to a bufio.Writer, whose error comes with its own Flush
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write usage: %w", err)
	}
	return nil
}

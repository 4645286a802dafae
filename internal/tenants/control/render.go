package control

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"tributary/internal/base/cli"
	"tributary/internal/tenants"
)

// DecisionJSON is a decision for scripts.
type DecisionJSON struct {
	Tenant     string     `json:"tenant"`
	Status     string     `json:"status"`
	Letters    bool       `json:"dead_letters"`
	NoReads    bool       `json:"reads_stopped"`
	Reason     string     `json:"reason,omitempty"`
	WriteUnits float64    `json:"write_units_per_second,omitempty"`
	Requests   float64    `json:"requests_per_second,omitempty"`
	Burst      float64    `json:"burst_seconds,omitempty"`
	By         string     `json:"by,omitempty"`
	At         *time.Time `json:"at,omitempty"`
	Erasure    string     `json:"erasure,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`
}

// JSON returns a decision for scripts.
func JSON(d *tenants.Decision) DecisionJSON {
	given := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return DecisionJSON{
		d.Tenant, d.Status.String(), d.Letters, d.NoReads, d.Reason, d.WriteUnits, d.Requests, d.Burst, d.By, given(d.At), d.Erasure, given(d.Expires),
	}
}

// Words says what a decision means, in one line without the tenant's name.
func Words(d *tenants.Decision) string {
	text := d.Status.String()
	switch d.Status {
	case tenants.Suspended:
		if text += ", commands stay on the queue"; d.Letters {
			text = "suspended, commands become dead letters"
		}
		if d.NoReads {
			text += ", reads are stopped"
		}
	case tenants.Erasing, tenants.Erased:
		text += ", commands are dropped"
		if !d.Expires.IsZero() {
			text += " until " + day(d.Expires)
		}
	}
	if d.WriteUnits > 0 {
		text += ", at most " + Number(d.WriteUnits) + " write units/s"
	}
	if d.Requests > 0 {
		text += ", at most " + Number(d.Requests) + " requests/s"
	}
	if d.Burst > 0 {
		text += ", bursts of " + Number(d.Burst) + " s"
	}
	return text
}

// Number writes a number as people do.
func Number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func orDash(text string, most int) string {
	if text == "" {
		return "-"
	}
	return cli.Printable(text, most)
}

func limit(f float64) string {
	if f == 0 {
		return "-"
	}
	return Number(f)
}

// WriteDecisions writes a table of decisions for people.
func WriteDecisions(out io.Writer, all []*tenants.Decision) error {
	buffered := bufio.NewWriter(out)
	w := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	if len(all) == 0 {
		_, _ = fmt.Fprintln(w, "nothing is decided about any tenant")
	} else {
		_, _ = fmt.Fprint(w, "TENANT\tSTATUS\tWRITE UNITS/S\tREQUESTS/S\tBY\tSINCE (UTC)\tREASON\n")
	}
	for _, d := range all {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Tenant, d.Status, limit(d.WriteUnits), limit(d.Requests),
			orDash(d.By, 40), day(d.At), orDash(d.Reason, 60))
	}
	_ = w.Flush() // to a bufio.Writer, whose error comes with its own Flush
	return flush(buffered)
}

// WriteWorkers writes a table of what workers obey, for people. revision is the newest.
func WriteWorkers(out io.Writer, all []Worker, revision int64, now time.Time) error {
	buffered := bufio.NewWriter(out)
	if len(all) == 0 {
		_, _ = fmt.Fprintf(buffered, "no worker obeys the control partition, whose revision is %d\n", revision)
		return flush(buffered)
	}
	w := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "WORKER\tROLE\tVERSION\tOBEYS\tCONFIRMED, OF %d\tHOLDS\tSAID\n", revision)
	for i := range all {
		k := &all[i]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s ago\n", cli.Printable(k.Name(), 100), orDash(k.Role, 10), orDash(k.Version, 30), k.Revision, k.Confirmed,
			k.Held, max(0, now.Sub(k.Updated)).Truncate(time.Second))
	}
	_ = w.Flush()
	return flush(buffered)
}

// WriteAudit writes records of decisions for people.
func WriteAudit(out io.Writer, all []Entry) error {
	buffered := bufio.NewWriter(out)
	w := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	if len(all) == 0 {
		_, _ = fmt.Fprintln(w, "no decisions are recorded for this time")
	} else {
		_, _ = fmt.Fprint(w, "AT (UTC)\tTENANT\tACTION\tBY\tWHAT\tREASON\n")
	}
	for i := range all {
		e := &all[i]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", day(e.At), e.Tenant, e.Action, orDash(e.By, 40), orDash(e.Detail, 120), orDash(e.Reason, 60))
	}
	_ = w.Flush()
	return flush(buffered)
}

func flush(w *bufio.Writer) error {
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write list: %w", err)
	}
	return nil
}

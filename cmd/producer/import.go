package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
	"tributary/internal/send/importer"
	"tributary/internal/send/publish"
)

type importCmd struct {
	queueFlag
	schema.File
	cli.Output
	Files []string `arg:"" name:"file" help:"Files: CSV, or JSON Lines of commands or of objects, also .gz and .zst, or a JSON array; - is standard input."`

	Format    importer.Format `enum:"auto,csv,jsonl" default:"auto" help:"Format: auto (by name, otherwise by the first byte), csv or jsonl (${default})."`
	Delimiter string          `placeholder:"CHAR" help:"Between the fields of CSV: a character, or tab (a comma; a tab for .tsv and .tab, | for .tbl)."`
	Quote     string          `placeholder:"QUOTE" help:"What fields of CSV may stand in: none, double or single, or the character (double; none for .tsv, .tab and .tbl)."`
	Columns   []string        `placeholder:"NAME,…" help:"Names of the columns of a CSV file that has no header."`

	Type          string            `placeholder:"COMMAND" help:"What rows are: put_TYPE or delete_TYPE, such as put_order (a column type says; JSON Lines: lines are commands)."`
	Tenant        string            `placeholder:"ID" xor:"tenant" help:"Tenant of all rows."`
	TenantColumn  string            `placeholder:"COLUMN" xor:"tenant" help:"Column with the tenant (tenant_id)."`
	Map           map[string]string `placeholder:"FIELD=COLUMN" mapsep:"," help:"Column of a field, for each field whose column has another name, of whatever type; a comma in a name is written \\,."`
	Attributes    []string          `placeholder:"COLUMN,…" help:"Columns to carry in attributes exactly as they are, or all."`
	VersionColumn string            `placeholder:"COLUMN" help:"Column with the version (version)."`
	ID            ids.Kind          `name:"id" enum:",uuid7,uuid4" default:"" placeholder:"KIND" help:"Make ids (uuid7 or uuid4) for rows without one."`

	Pack        int     `placeholder:"N" help:"Commands in a message at most (as many as fit --pack-bytes)."`
	PackBytes   int     `default:"61440" placeholder:"BYTES" help:"Bytes of a message at most; SQS bills by 65536 (${default})."`
	Concurrency int     `default:"8" placeholder:"N" help:"Calls to SQS under way at most (${default})."`
	Rate        float64 `placeholder:"N" help:"Rows a second at most (no limit)."`

	DryRun   bool          `help:"Check every row and show the first three commands, but send nothing."`
	Resume   *bool         `negatable:"" help:"Continue an import that stopped; it is an error if there is none. --no-resume begins anew."`
	Rejected string        `placeholder:"FILE" help:"Where rows that are refused go (the file's name with .rejected.csv or .rejected.jsonl)."`
	Wait     bool          `help:"Wait until the queue is empty, and report the progress of the workers."`
	WaitMost time.Duration `default:"1h" placeholder:"TIME" help:"How long --wait waits at most (${default})."`
	Quiet    bool          `short:"q" help:"Print errors only."`
}

// Validate is called by kong before Run.
func (i *importCmd) Validate() error {
	if err := inRange([]bounded{
		{"--pack", float64(i.Pack), 0, 1e6}, {"--pack-bytes", float64(i.PackBytes), 1024, 1 << 20},
		{"--concurrency", float64(i.Concurrency), 1, 256}, {"--rate", i.Rate, 0, 1e9},
	}); err != nil {
		return err
	}
	if i.Rejected != "" && len(i.Files) > 1 {
		return errors.New("--rejected: with several files each has a file of rejected rows of its own")
	}
	if i.DryRun && (i.Wait || i.Resume != nil) {
		return errors.New("--dry-run sends nothing: --wait and --resume make no sense with it")
	}
	return nil
}

// options makes the importer's of the flags.
func (i *importCmd) options(s *cli.Streams) (*importer.Options, error) {
	types, err := readTypes(s, i.File)
	if err != nil {
		return nil, err
	}
	o := &importer.Options{
		Format: i.Format, Header: i.Columns, Rate: i.Rate, Resume: i.Resume, Rejected: i.Rejected, Stdin: s.In,
		Publish: publish.Config{PackBytes: i.PackBytes, PackCommands: i.Pack, Concurrency: i.Concurrency},
		Mapping: importer.Mapping{
			Types: types, Command: i.Type, Tenant: i.Tenant, Columns: map[string]string{}, IDs: i.ID,
			Attributes: i.Attributes, AllAttributes: len(i.Attributes) == 1 && i.Attributes[0] == "all",
		},
	}
	if o.Mapping.AllAttributes {
		o.Mapping.Attributes = nil
	}
	switch d := i.Delimiter; {
	case d == "":
	case d == "tab" || d == `\t`:
		o.Delimiter = '\t'
	case len(d) == 1 && d[0] < 0x7f && (d[0] >= ' ' || d[0] == '\t') && d[0] != '"':
		o.Delimiter = d[0]
	default:
		return nil, cli.Usage("--delimiter: %q is not one ASCII character other than a quote, or the word tab", d)
	}
	switch i.Quote {
	case "":
	case "none":
		o.Quote = importer.QuoteNone
	case "double", `"`:
		o.Quote = importer.QuoteDouble
	case "single", "'":
		o.Quote = importer.QuoteSingle
	default:
		return nil, cli.Usage("--quote: %q is not none, double or single", i.Quote)
	}
	if o.Quote == importer.QuoteSingle && o.Delimiter == '\'' {
		return nil, cli.Usage("--delimiter and --quote are the same character")
	}
	for field, column := range i.Map {
		o.Mapping.Columns[field] = column
	}
	for _, further := range []struct{ flag, field, column string }{
		{"--tenant-column", "tenant_id", i.TenantColumn}, {"--version-column", "version", i.VersionColumn},
	} {
		if further.column == "" {
			continue
		}
		if other, twice := o.Mapping.Columns[further.field]; twice && other != further.column {
			return nil, cli.Usage("%s and --map %s=%s exclude one another", further.flag, further.field, other)
		}
		o.Mapping.Columns[further.field] = further.column
	}
	if err := o.Mapping.Check(); err != nil {
		return nil, cli.Usage("%w", err)
	}
	return o, nil
}

// shownRefusals is how many rejected rows are named on the terminal.
const shownRefusals = 5

// Run imports the files, one after the other.
func (i *importCmd) Run(ctx context.Context, s *cli.Streams) error {
	o, err := i.options(s)
	if err != nil {
		return err
	}
	notes := s.Err
	if i.Quiet {
		notes = io.Discard
	}
	var to *connection
	if i.DryRun {
		o.Sample = func(command string) { _, _ = fmt.Fprintln(s.Out, command) }
	} else {
		if to, err = i.connect(ctx, s, i.Concurrency); err != nil {
			return err
		}
		defer to.close(ctx)
		o.API, o.Queue, o.Publish.Trace = to.send, to.queue, to.traced()
		if !i.Quiet {
			o.Progress = progressFor(s.Err)
		}
	}
	var refusals []string
	seen := 0
	o.Refusal = func(file string, line int64, why *messages.Error) {
		seen++
		if len(refusals) < shownRefusals {
			refusals = append(refusals, fmt.Sprintf("%s:%d: %s", file, line, why.Error()))
		}
	}
	var warnings []string
	o.Warn = func(line string) { warnings = append(warnings, line) }

	started := time.Now()
	total, err := importer.Files(ctx, i.Files, o)
	elapsed := time.Since(started)
	for _, line := range append(warnings, refusals...) {
		_, _ = fmt.Fprintln(s.Err, line)
	}
	if more := seen - len(refusals); more > 0 {
		_, _ = fmt.Fprintf(s.Err, "and %s rejected rows more\n", importer.Thousands(int64(more)))
	}
	sum := i.summary(&total, elapsed)
	if err == nil || total.Rows > 0 {
		sum.write(notes, i.DryRun)
	}
	if err == nil && i.Wait {
		err = waitEmpty(ctx, to, i.WaitMost, notes)
	}
	if i.JSON() && !i.DryRun && (err == nil || total.Rows > 0) {
		if err := cli.WriteJSON(s.Out, sum); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return i.failure(err, &total)
	case total.Rejected > 0:
		return &cli.StatusError{Status: cli.StatusPartial}
	}
	return nil
}

// failure says how to go on after an error.
func (i *importCmd) failure(err error, total *importer.Result) error {
	if _, ok := errors.AsType[*cli.StatusError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*importer.UsageError](err); ok {
		return cli.Usage("%w", err)
	}
	err = explain(err)
	if total.Resumable {
		return fmt.Errorf("%w (--resume goes on)", err)
	}
	return err
}

func progressFor(w io.Writer) importer.Progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return importer.NewBar(w)
	}
	return importer.NewLines(w)
}

// summary is the report at the end of an import.
type summary struct {
	importer.Counts
	Resumed     int64         `json:"resumed_rows"`
	Messages    int64         `json:"messages"`
	Calls       int64         `json:"calls"`
	Refused     int64         `json:"retried_messages"`
	Seconds     float64       `json:"seconds"`
	RowsASecond float64       `json:"rows_per_second"`
	Cost        importer.Cost `json:"list_price_usd"`
	PriceRegion string        `json:"list_price_region"`
	Rejects     []string      `json:"rejected_files"`
}

func (i *importCmd) summary(r *importer.Result, elapsed time.Duration) *summary {
	fifo := strings.HasSuffix(i.Queue, ".fifo")
	return &summary{
		Counts: r.Counts, Resumed: r.Resumed, Messages: r.Messages.Messages, Calls: r.Messages.Calls, Refused: r.Messages.Refused,
		Seconds: elapsed.Seconds(), RowsASecond: float64(r.Rows-r.Resumed) / elapsed.Seconds(),
		Cost: importer.CostOf(r.Messages, r.WriteUnits, fifo), PriceRegion: importer.PriceRegion, Rejects: append([]string{}, r.Rejects...),
	}
}

// write writes the summary for people.
func (s *summary) write(w io.Writer, dry bool) {
	n := importer.Thousands
	if dry {
		_, _ = fmt.Fprintf(w, "%s rows checked in %.1f s: %s commands, %s rows would be rejected; nothing was sent\n",
			n(s.Rows), s.Seconds, n(s.Commands), n(s.Rejected))
		s.writeRows(w)
		return
	}
	resumed := ""
	if s.Resumed > 0 {
		resumed = fmt.Sprintf(" (%s of them by the import that stopped)", n(s.Resumed))
	}
	_, _ = fmt.Fprintf(w, "%s rows%s: %s commands in %s messages by %s calls, %s rejected; %.1f s, %s rows/s\n",
		n(s.Rows), resumed, n(s.Commands), n(s.Messages), n(s.Calls), n(s.Rejected), s.Seconds, n(int64(s.RowsASecond)))
	s.writeRows(w)
	if s.Refused > 0 {
		_, _ = fmt.Fprintf(w, "SQS refused %s messages at first; they were sent again\n", n(s.Refused))
	}
	_, _ = fmt.Fprintf(w, "list price in %s: $%.4f for sending to SQS, $%.4f for %s DynamoDB write units on demand, index included\n",
		s.PriceRegion, s.Cost.SQS, s.Cost.DynamoDB, n(s.WriteUnits))
	for _, path := range s.Rejects {
		_, _ = fmt.Fprintf(w, "rejected rows, with reasons: %s\n", path)
	}
}

// writeRows reports rows that a person may not expect.
func (s *summary) writeRows(w io.Writer) {
	say := func(n int64, one, many string) {
		switch {
		case n == 1:
			_, _ = fmt.Fprintln(w, "1 "+one)
		case n > 1:
			_, _ = fmt.Fprintln(w, importer.Thousands(n)+" "+many)
		}
	}
	say(s.RepeatedKeys, "row has the key of an earlier row: the table keeps one item of each key", "rows have the key of an earlier row: the table keeps one item of each key")
	say(s.RepeatedHeaders, "line is the header again: passed over", "lines are the header again: passed over")
	say(s.BlankRows, "row has no value in any column: passed over", "rows have no value in any column: passed over")
}

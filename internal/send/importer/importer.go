// Package importer reads commands from files, CSV or JSON Lines, and publishes them: every row is sent, or it is in
// the file of rejected rows with its reason.
//
// One goroutine reads, maps, validates and packs; the publisher's senders send. At a cut, all that was packed is
// closed; once SQS has accepted everything before a cut, the cut is the checkpoint.
package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"tributary/internal/messages"
	"tributary/internal/send/publish"
)

// Format is how a file holds its rows.
type Format string

// The formats. Auto goes by the file's name, and by its first byte for standard input.
const (
	Auto      Format = "auto"
	CSV       Format = "csv"
	JSONLines Format = "jsonl"
)

// Quote is the quote character of CSV fields.
type Quote string

// The quotes. By the zero value, QuoteAuto, *.tsv, *.tab and *.tbl have none and other files double ones; a field that
// holds a line that would be a row is refused then.
const (
	QuoteAuto   Quote = ""
	QuoteNone   Quote = "none"
	QuoteDouble Quote = "double"
	QuoteSingle Quote = "single"
)

// Options say how to import. They are the same for all files of an import.
type Options struct {
	Format    Format
	Delimiter byte     // of CSV; 0: a comma, a tab for *.tsv and *.tab, a bar for *.tbl
	Quote     Quote    // of CSV
	Header    []string // the columns of CSV files that have no header of their own
	Mapping   Mapping
	Queue     publish.Queue
	API       publish.API // nil: validate only
	Publish   publish.Config
	Rate      float64 // rows a second; 0: as fast as they go
	Resume    *bool   // go on from a checkpoint; nil: fail where there is one
	Rejected  string  // path of the rejected rows; "": the file's name with .rejected.csv or .rejected.jsonl
	Stdin     io.Reader
	// Progress is told of every file. It may be nil.
	Progress Progress
	// Sample is shown the first valid commands of a run that only validates. It may be nil.
	Sample func(command string)
	// Refusal is told of every rejected row, in order. It may be nil.
	Refusal func(file string, line int64, why *messages.Error)
	// Warn receives warnings, which do not end the import.
	Warn func(line string)
}

// Progress watches an import. Its methods are called by one goroutine.
type Progress interface {
	// Start is told a file's name and size; size is -1 when unknown.
	Start(file string, size int64)
	// Update is called now and then, with the bytes of the file read so far.
	Update(read int64, now Counts)
	// Stop ends the file.
	Stop()
}

// Counts count rows as they are read, and commands. Every row is sent or rejected.
type Counts struct {
	Rows       int64 `json:"rows"`
	Rejected   int64 `json:"rejected"`
	Commands   int64 `json:"commands"`
	WriteUnits int64 `json:"write_units"` // that DynamoDB takes for them, index included
	// RepeatedKeys are rows with the key of an earlier row. They are commands as well. Beyond maxKeys keys, and behind
	// a stop, not all are found.
	RepeatedKeys int64 `json:"repeated_keys"`
	// RepeatedHeaders and BlankRows are lines of CSV that are no rows: the header again, or delimiters alone.
	RepeatedHeaders int64 `json:"repeated_headers"`
	BlankRows       int64 `json:"blank_rows"`
}

func (c *Counts) add(other Counts) {
	c.Rows += other.Rows
	c.Rejected += other.Rejected
	c.Commands += other.Commands
	c.WriteUnits += other.WriteUnits
	c.RepeatedKeys += other.RepeatedKeys
	c.RepeatedHeaders += other.RepeatedHeaders
	c.BlankRows += other.BlankRows
}

// Result is the result of importing one file or several. If an import stopped, it counts the commands that SQS accepted.
type Result struct {
	Counts
	Resumed  int64 // rows that an earlier run had done, and this one left out; they are in Counts
	Rejects  []string
	Messages publish.Stats // of this run
	// Resumable says, of an import that stopped, that Resume would go on with it.
	Resumable bool
	// Problem describes bytes after the last row of a file that are not rows. None of them was sent.
	Problem error
}

// Add sums results.
func (r *Result) Add(other Result) {
	r.add(other.Counts)
	r.Resumed += other.Resumed
	r.Rejects = append(r.Rejects, other.Rejects...)
	r.Messages.Add(other.Messages)
	r.Problem = errors.Join(r.Problem, other.Problem)
}

// Files imports files, one after the other; "-" is standard input. All are opened and checked before anything is sent, but
// for pipes after the first.
// The Result counts the work done even if there is an error. A problem with a file is a *FileError, or a *UsageError
// while nothing has been sent.
func Files(ctx context.Context, names []string, o *Options) (total Result, err error) {
	runs, err := prepare(ctx, names, o)
	defer func() {
		for _, r := range runs {
			r.close()
		}
	}()
	if err != nil {
		return Result{}, err
	}
	if o.Resume != nil && !*o.Resume {
		// All of them before the first is sent: none is to be taken for a file that this import had done.
		if err := forget(runs); err != nil {
			return Result{}, err
		}
	}
	for _, r := range runs {
		result, err := r.do()
		total.Add(result)
		if err != nil {
			total.Resumable = !r.stream && slices.ContainsFunc(runs, (*run).hasCheckpoint)
			return total, err
		}
	}
	return total, errors.Join(forget(runs), total.Problem)
}

// prepare opens and checks all files. What it returns is to be closed even where there is an error.
func prepare(ctx context.Context, names []string, o *Options) (runs []*run, err error) {
	var inputs []input
	streams := 0
	for _, name := range names {
		in, err := look(name, o.Stdin)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(inputs, in.same); i >= 0 {
			return nil, usage("%s: it is named twice, as %s before", name, inputs[i].name)
		}
		if in.stream {
			if streams++; streams > 1 {
				in.beside = fmt.Sprintf("%s-%d", in.beside, streams)
			}
		}
		inputs = append(inputs, in)
	}
	resumed := false
	streams = 0
	taken := map[string]bool{} // by rejected rows
	keys, units := &keySet{}, newWriteUnits(o.Mapping.types())
	for i, in := range inputs {
		r := &run{Options: o, ctx: ctx, input: in, inputs: inputs, last: i == len(inputs)-1, keys: keys, units: units}
		runs = append(runs, r)
		if in.stream {
			if streams++; streams > 1 {
				continue // its writer may write the first one first
			}
		}
		if err := r.prepare(); err != nil {
			return runs, err
		}
		if path := filepath.Clean(r.rejects.path); r.rejects.path != "" {
			if taken[path] {
				return runs, usage("%s: its rejected rows would go to %s, as another file's do: import them one by one", r.name, path)
			}
			taken[path] = true
		}
		resumed = resumed || r.before != nil
	}
	if o.Resume != nil && *o.Resume && !resumed {
		return runs, usage("--resume: there is nothing to resume: no import of what is named stopped (without --resume all is sent from the start)")
	}
	return runs, nil
}

// Package importer reads commands from files, CSV or JSON Lines, and publishes them: every row is sent, or it is in
// the file of rejected rows with its reason.
//
// One goroutine reads, maps, validates and packs; the publisher's senders send. At a cut, all that was packed is
// closed; once SQS has accepted what lies before a cut, the cut is the checkpoint.
package importer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"tributary/internal/aws/limits"
	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/send/ids"
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

// Options say how to import. They are the same for all files of an import.
type Options struct {
	Format    Format
	Delimiter byte     // of CSV; 0: a comma, a tab for *.tsv
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
	// Warn is told what a person should know and what does not end the import.
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
}

func (c *Counts) add(other Counts) {
	c.Rows += other.Rows
	c.Rejected += other.Rejected
	c.Commands += other.Commands
	c.WriteUnits += other.WriteUnits
}

// Result is what became of a file, or of several. Where an import stopped, its commands are those that SQS accepted.
type Result struct {
	Counts
	Resumed  int64 // rows that an earlier run had done, and this one left out; they are in Counts
	Rejects  []string
	Messages publish.Stats // of this run
	// Resumable says, of an import that stopped, that Resume would go on with it.
	Resumable bool
}

// Add sums results.
func (r *Result) Add(other Result) {
	r.add(other.Counts)
	r.Resumed += other.Resumed
	r.Rejects = append(r.Rejects, other.Rejects...)
	r.Messages.Add(other.Messages)
}

// checkpointEvery is how often a checkpoint is written, and how often a slow import is cut, at most.
const checkpointEvery = time.Second

// run is the import of one file.
type run struct {
	*Options
	input
	ctx      context.Context
	inputs   []input     // of the whole import
	last     bool        // of these
	before   *checkpoint // to go on from, or nil
	source   *source     // nil while it is closed, as window and rows are
	window   *window
	rows     rowReader
	rejects  rejects
	pub      *publish.Publisher // nil: validate only
	limiter  *rate.Limiter
	sequence ids.Sequence
	scope    string // of deduplication: this import's, over all runs that it takes
	settings string
	counts   Counts
	sampled  int
	sinceCut int
	lastCut  time.Time
	current  [4]atomic.Int64 // counts, for the watcher

	mu     sync.Mutex
	cuts   []cut // not yet written as checkpoints
	warned bool  // that no checkpoint can be written; of the watcher
}

type cut struct {
	number int64
	checkpoint
}

// rowReader reads rows of one format.
type rowReader interface {
	// read reads the next row and appends its commands, or says why it is refused. The error is io.EOF at the end.
	read(dst []messages.Decoded, number uint64) ([]messages.Decoded, *messages.Error, error)
	// last returns the text of the row read last, valid until the next read, and the line on which it starts.
	last() (raw []byte, line int64)
}

// Files imports files, one after the other; "-" is standard input. All are opened and checked before anything is sent, but
// for pipes after the first.
// The Result counts what was done even where there is an error. An error that says what is wrong with a file is a
// *FileError or an error of usage; of the latter nothing was done.
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
	return total, forget(runs)
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
			return nil, cli.Usage("%s: it is named twice, as %s before", name, inputs[i].name)
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
	for i, in := range inputs {
		r := &run{Options: o, ctx: ctx, input: in, inputs: inputs, last: i == len(inputs)-1}
		runs = append(runs, r)
		if in.stream {
			if streams++; streams > 1 {
				continue // who writes it may write the first one first
			}
		}
		if err := r.prepare(); err != nil {
			return runs, err
		}
		if path := filepath.Clean(r.rejects.path); r.rejects.path != "" {
			if taken[path] {
				return runs, cli.Usage("%s: its rejected rows would go to %s, as another file's do: import them one by one", r.name, path)
			}
			taken[path] = true
		}
		resumed = resumed || r.before != nil
	}
	if o.Resume != nil && *o.Resume && !resumed {
		return runs, cli.Usage("--resume: there is nothing to resume: no import of what is named stopped (without --resume all is sent from the start)")
	}
	return runs, nil
}

// prepare finds out what can be wrong with a file before anything is sent. It leaves the file open where it can't be
// opened again, or reading goes on far within it.
func (r *run) prepare() (err error) {
	if r.API != nil && !r.stream {
		r.settings = r.Options.settings()
	}
	if r.before, err = r.earlier(); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	if r.before == nil || !r.before.Done {
		if err := r.rejects.check(r.name, r.inputs); err != nil {
			return err
		}
	}
	if r.before != nil {
		err = r.skip()
	}
	if !r.stream && (r.before == nil || r.before.Done) {
		r.close()
	}
	return err
}

// close closes the file, if it is open.
func (r *run) close() {
	if r.source != nil {
		r.source.close()
		r.source, r.window, r.rows = nil, nil, nil
	}
}

// do imports the file.
func (r *run) do() (result Result, err error) {
	o := r.Options
	resumed := checkpoint{Scope: rand.Text()}
	if o.Mapping.IDs != "" {
		sequence := ids.NewSequence(o.Mapping.IDs)
		resumed.IDs = &sequence
	}
	if r.before != nil {
		resumed = *r.before
	}
	if resumed.Done {
		result = Result{Counts: resumed.Counts, Resumed: resumed.Rows}
		if resumed.RejectedBytes > 0 {
			result.Rejects = []string{r.rejects.path}
		}
		return result, nil
	}
	if r.source == nil {
		err := r.open()
		if err == nil && r.stream {
			err = r.rejects.check(r.name, r.inputs)
		}
		if _, usage := errors.AsType[*cli.StatusError](err); usage { // no longer: something may have been done
			if err = errors.New(err.Error()); !r.stream {
				err = &FileError{r.name, "has changed since it was checked", nil}
			}
		}
		if err != nil {
			return Result{}, err
		}
	}
	defer r.close()
	if err := r.rejects.start(resumed.RejectedBytes); err != nil {
		return Result{}, err
	}
	r.counts, r.scope = resumed.Counts, resumed.Scope
	if resumed.IDs != nil {
		r.sequence = *resumed.IDs
	}
	result.Resumed = resumed.Rows
	if o.Rate > 0 {
		r.limiter = rate.NewLimiter(rate.Limit(o.Rate), max(1, int(o.Rate/10)))
	}
	if o.API != nil {
		cfg := o.Publish
		cfg.Scope = r.scope
		if !o.Queue.FIFO && (o.Rate > 0 || r.stream) {
			cfg.Linger = time.Second // what trickles in should not wait for a pack to fill
		}
		r.pub = publish.New(r.ctx, o.API, o.Queue, cfg)
	}
	if r.settings != "" && r.before == nil {
		r.note(0) // before anything is sent: what goes on from here makes the same ids, of items and for deduplication
		r.storeOrWarn()
	}
	stop := r.watch()
	err = r.all()
	if closed := r.rejects.close(); err == nil {
		err = closed
	}
	if r.pub != nil {
		sendErr := r.pub.Close()
		if sendErr != nil && (err == nil || errors.Is(err, sendErr)) {
			err = sendErr
		}
		result.Messages = r.pub.Stats()
	}
	stop()
	result.Counts = r.counts
	if r.pub != nil { // r.counts has what was packed
		result.Commands = resumed.Commands + result.Messages.Commands
		result.WriteUnits = resumed.WriteUnits + result.Messages.WriteUnits
	}
	if r.rejects.size > 0 {
		result.Rejects = []string{r.rejects.path}
	}
	r.finish(err)
	return result, err
}

// earlier returns the checkpoint to go on from, nil to begin anew.
func (r *run) earlier() (*checkpoint, error) {
	if r.settings == "" || r.Resume != nil && !*r.Resume {
		return nil, nil
	}
	before, err := readCheckpoint(CheckpointPath(r.name))
	switch {
	case err != nil || before == nil:
		return nil, err
	case r.Resume == nil:
		return nil, cli.Usage("%s: an earlier import stopped after %d rows: go on with --resume, or begin anew with --no-resume", r.name, before.Rows)
	case before.Settings != r.settings:
		return nil, cli.Usage("%s: the import that stopped had other flags, or another queue: go on with those, or begin anew with --no-resume", r.name)
	}
	return before, nil
}

// skip goes behind what the checkpoint says was done, and makes sure that it is what it was.
func (r *run) skip() error {
	before := r.before
	if err := r.window.skipTo(before.Offset, before.Line); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return &FileError{r.name, "can't read it", err}
	}
	if r.window.offset != before.Offset || r.window.fingerprint() != before.Fingerprint || before.Done && !r.window.ended() {
		return cli.Usage("%s: the file has changed since the import stopped: begin anew with --no-resume", r.name)
	}
	return nil
}

// all goes through the rows.
func (r *run) all() error {
	var commands []messages.Decoded
	for {
		if r.limiter != nil {
			if err := r.limiter.Wait(r.ctx); err != nil {
				return context.Cause(r.ctx)
			}
		} else if r.counts.Rows%1024 == 0 && r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		var bad *messages.Error
		var err error
		commands, bad, err = r.rows.read(commands[:0], uint64(r.counts.Rows))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &FileError{r.name, "can't read on", err}
		}
		if bad == nil {
			bad, err = r.send(commands)
		}
		if err != nil {
			return err
		}
		r.counts.Rows++
		if bad != nil {
			raw, line := r.rows.last()
			if err := r.rejects.add(line, raw, bad); err != nil {
				return err
			}
			r.counts.Rejected++
			if r.Refusal != nil {
				r.Refusal(r.name, line, bad)
			}
		}
		r.publishCounts()
		if err := r.cutWhenDue(); err != nil {
			return err
		}
	}
}

// send publishes a row's commands: all, or none of them.
func (r *run) send(commands []messages.Decoded) (*messages.Error, error) {
	for i := range commands {
		if commands[i].Err != nil {
			return commands[i].Err, nil
		}
	}
	line := r.counts.Rows
	var units int64
	for i := range commands {
		c := &commands[i].Command
		its := writeUnits(c)
		units += its
		if r.pub == nil {
			if r.Sample != nil && r.sampled < 3 {
				r.sampled++
				r.Sample(string(messages.Append(nil, c)))
			}
			continue
		}
		if len(commands) > 1 && i == 0 {
			for j := range commands {
				if err := r.pub.Fits(&commands[j].Command); err != nil {
					return &messages.Error{Reason: messages.ReasonTooLarge, Detail: err.Error()}, nil
				}
			}
		}
		if err := r.pub.Add(c, line, its); err != nil {
			if large, ok := errors.AsType[*publish.TooLargeError](err); ok {
				return &messages.Error{Reason: messages.ReasonTooLarge, Detail: large.Error()}, nil
			}
			return nil, err
		}
	}
	r.counts.Commands += int64(len(commands))
	r.counts.WriteUnits += units
	return nil, nil
}

// writeUnits is what DynamoDB takes to write a command: a unit for each KiB begun, and the same again for the index
// that orders are in ("DynamoDB read and write operations").
func writeUnits(c *messages.Command) int64 {
	units := int64(1)
	if !c.IsDelete() {
		units = int64((c.ItemBytes() + limits.DynamoDBWriteUnitBytes - 1) / limits.DynamoDBWriteUnitBytes)
	}
	if c.Kind == messages.PutOrder || c.Kind == messages.DeleteOrder {
		units *= 2
	}
	return units
}

// cutEvery is how many rows lie between two looks at whether a cut is due.
const cutEvery = 256

// cutWhenDue notes a place to go on from. Where no time plays a part, cuts are at the same rows in every run.
func (r *run) cutWhenDue() error {
	if r.settings == "" {
		return nil
	}
	if r.sinceCut++; r.sinceCut%cutEvery != 0 && r.limiter == nil {
		return nil
	}
	due := r.sinceCut%cutEvery == 0 && r.pub.CutDue()
	if !due && r.limiter != nil && !r.Queue.FIFO {
		due = time.Since(r.lastCut) > checkpointEvery
	}
	if !due {
		return nil
	}
	return r.cut()
}

func (r *run) cut() error {
	number, err := r.pub.Cut()
	if err != nil {
		return err
	}
	if err := r.rejects.flush(); err != nil {
		return err
	}
	r.note(number)
	r.sinceCut, r.lastCut = 0, time.Now()
	return nil
}

// note keeps the place where the import is as that of a cut.
func (r *run) note(number int64) {
	c := cut{number, r.place()}
	r.mu.Lock()
	r.cuts = append(r.cuts, c)
	r.mu.Unlock()
}

// place is where the import is.
func (r *run) place() checkpoint {
	c := checkpoint{
		Format: checkpointFormat, Offset: r.window.offset, Line: r.window.line, Fingerprint: r.window.fingerprint(),
		Settings: r.settings, Scope: r.scope, Counts: r.counts, RejectedBytes: r.rejects.size,
	}
	if r.Mapping.IDs != "" {
		c.IDs = &r.sequence
	}
	return c
}

// store writes the newest checkpoint that SQS's acceptance allows.
func (r *run) store() error {
	if r.pub == nil {
		return nil
	}
	accepted := r.pub.Accepted()
	var newest *cut
	r.mu.Lock()
	for len(r.cuts) > 0 && r.cuts[0].number <= accepted {
		newest = &r.cuts[0]
		r.cuts = r.cuts[1:]
	}
	r.mu.Unlock()
	if newest == nil {
		return nil
	}
	return newest.write(CheckpointPath(r.name))
}

// storeOrWarn is store for the time of the import: where no checkpoint can be written it goes on without.
func (r *run) storeOrWarn() { r.warnOnce(r.store()) }

func (r *run) warnOnce(err error) {
	if err != nil && !r.warned && r.Warn != nil {
		r.warned = true
		r.Warn(fmt.Sprintf("%s: this import could not be resumed: %v", r.name, err))
	}
}

// finish leaves the checkpoint that the next file's stop needs: the last one, or that this file is done.
func (r *run) finish(err error) {
	switch {
	case r.settings == "":
	case err != nil:
		r.warnOnce(r.store())
	case !r.last:
		done := r.place()
		done.Done = true
		r.warnOnce(done.write(CheckpointPath(r.name)))
	}
}

func (r *run) hasCheckpoint() bool {
	_, err := os.Stat(CheckpointPath(r.name))
	return r.settings != "" && err == nil
}

// forget removes all checkpoints.
func forget(runs []*run) error {
	for _, r := range runs {
		if r.settings == "" {
			continue
		}
		if err := os.Remove(CheckpointPath(r.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove checkpoint: %w", err)
		}
	}
	return nil
}

// publishCounts lets the watcher see the counts.
func (r *run) publishCounts() {
	r.current[0].Store(r.counts.Rows)
	r.current[1].Store(r.counts.Rejected)
	r.current[2].Store(r.counts.Commands)
	r.current[3].Store(r.counts.WriteUnits)
}

// watch writes checkpoints and reports progress until the function that it returns is called.
func (r *run) watch() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	if r.Progress != nil {
		r.Progress.Start(r.name, r.source.size)
	}
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				if now.Sub(last) >= checkpointEvery {
					last = now
					r.storeOrWarn()
				}
				r.progress()
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
		if r.Progress != nil {
			r.progress()
			r.Progress.Stop()
		}
	}
}

func (r *run) progress() {
	if r.Progress == nil {
		return
	}
	r.Progress.Update(r.source.read.Load(), Counts{
		Rows: r.current[0].Load(), Rejected: r.current[1].Load(), Commands: r.current[2].Load(), WriteUnits: r.current[3].Load(),
	})
}

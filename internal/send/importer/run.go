package importer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"tributary/internal/messages"
	"tributary/internal/send/ids"
	"tributary/internal/send/publish"
)

// run is the import of one file. Its fields are those of the goroutine that imports; journal and shown are the watcher's
// too, and say how.
type run struct {
	*Options
	input
	reading
	rejects  rejects
	ctx      context.Context
	inputs   []input     // of the whole import
	last     bool        // of these
	before   *checkpoint // to go on from, or nil
	keys     *keySet     // of the whole import
	units    writeUnits
	pub      *publish.Publisher // nil: validate only
	limiter  *rate.Limiter
	sequence ids.Sequence
	scope    string // of deduplication: this import's, over all runs that it takes
	settings string // "": there are no checkpoints
	counts   Counts
	sampled  int
	hinted   bool // that ids look like rounded numbers
	journal  journal
	shown    shown
}

// reading is an open file. Its zero value is a closed one.
type reading struct {
	source *source
	window *window
	rows   rowReader
}

// prepare checks a file before anything is sent. It leaves the file open where it can't be
// opened again, or reading goes on far within it.
func (r *run) prepare() (err error) {
	r.journal.path = CheckpointPath(r.name)
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
		r.reading = reading{}
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
		if wrong, ok := errors.AsType[*UsageError](err); ok { // of usage no longer: something may have been done
			if err = wrong.Err; !r.stream {
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
			cfg.Linger = time.Second // slow input should not wait for a pack to fill
		}
		r.pub = publish.New(r.ctx, o.API, o.Queue, cfg)
	}
	if r.settings != "" && r.before == nil {
		r.journal.note(0, r.place()) // before anything is sent: what goes on from here makes the same ids, of items and for deduplication
		r.storeOrWarn()
	}
	stop := r.watch()
	err = r.all()
	r.counts.RepeatedKeys += r.keys.flush()
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
	if err == nil && r.source.trailing {
		result.Problem = &FileError{r.name, "all its rows were read, but behind its compressed data are bytes that are not: part of it may be missing", nil}
	}
	result.Counts = r.counts
	if r.pub != nil { // r.counts counts packed commands
		result.Commands = resumed.Commands + result.Messages.Commands
		result.WriteUnits = resumed.WriteUnits + result.Messages.WriteUnits
	}
	if r.rejects.size > 0 {
		result.Rejects = []string{r.rejects.path}
	}
	r.finish(err)
	return result, err
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
		r.shown.set(&r.counts)
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
		its := r.units.of(c)
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
	r.counts.RepeatedKeys += r.keys.addRow(commands)
	r.hint(commands)
	return nil, nil
}

// hint says, once a file, that an id looks like a number that a spreadsheet has rounded: many rows may have it then.
func (r *run) hint(commands []messages.Decoded) {
	if r.hinted || r.Warn == nil {
		return
	}
	for i := range commands {
		c := &commands[i].Command
		if id := roundedID(c); id != "" {
			_, line := r.rows.last()
			r.hinted = true
			r.Warn(fmt.Sprintf("%s:%d: the id %s looks like a number that a spreadsheet has rounded: in the spreadsheet, format that column as text, and save it again", r.name, line, id))
			return
		}
	}
}

// roundedID returns an id of the command, its own or one that it refers to, that looks rounded, or "".
func roundedID(c *messages.Command) string {
	if rounded(c.ID) {
		return c.ID
	}
	for _, reference := range c.Type.References {
		if id, _ := c.Values.Get(reference.Field.Position); rounded(id) {
			return id
		}
	}
	return ""
}

// rounded says whether an id is a number as spreadsheets write large ones, such as 1.23457E+12.
func rounded(id string) bool {
	mantissa, exponent, ok := strings.Cut(id, "E+")
	return ok && mantissa != "" && exponent != "" && strings.Trim(mantissa, "0123456789.,") == "" && strings.Trim(exponent, "0123456789") == ""
}

package importer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// checkpointEvery is how often a checkpoint is written, and how often a slow import is cut, at most.
const checkpointEvery = time.Second

// earlier returns the checkpoint to go on from, nil to begin anew.
func (r *run) earlier() (*checkpoint, error) {
	if r.settings == "" || r.Resume != nil && !*r.Resume {
		return nil, nil
	}
	before, err := readCheckpoint(r.journal.path)
	switch {
	case err != nil || before == nil:
		return nil, err
	case r.Resume == nil:
		return nil, usage("%s: an earlier import stopped after %d rows: go on with --resume, or begin anew with --no-resume", r.name, before.Rows)
	case before.Settings != r.settings:
		return nil, usage("%s: the import that stopped had other flags, or another queue: go on with those, or begin anew with --no-resume", r.name)
	}
	return before, nil
}

// skip goes behind what the checkpoint says was done, and makes sure that it is what it was.
func (r *run) skip() error {
	before := r.before
	if err := r.window.skipTo(before.Offset, before.Line); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return &FileError{r.name, "can't read it", err}
	}
	if values, ok := r.rows.(*valueReader); ok {
		values.inArray = before.InArray
	}
	if r.window.offset != before.Offset || r.window.fingerprint() != before.Fingerprint || before.Done && !r.window.ended() {
		return usage("%s: the file has changed since the import stopped: begin anew with --no-resume", r.name)
	}
	return nil
}

// cutEvery is how many rows lie between two looks at whether a cut is due.
const cutEvery = 256

// journal keeps a file's checkpoint: what the run has cut and SQS has accepted.
type journal struct {
	path     string
	sinceCut int // rows; of the run's goroutine, as lastCut is
	lastCut  time.Time

	mu     sync.Mutex
	cuts   []cut // not yet written
	warned bool  // that no checkpoint can be written; of the watcher, and of the run once that has stopped
}

type cut struct {
	number int64
	checkpoint
}

// note keeps a place as that of a cut.
func (j *journal) note(number int64, place checkpoint) {
	j.mu.Lock()
	j.cuts = append(j.cuts, cut{number, place})
	j.mu.Unlock()
}

// store writes the newest checkpoint that SQS's acceptance allows.
func (j *journal) store(accepted int64) error {
	var newest *cut
	j.mu.Lock()
	for len(j.cuts) > 0 && j.cuts[0].number <= accepted {
		newest = &j.cuts[0]
		j.cuts = j.cuts[1:]
	}
	j.mu.Unlock()
	if newest == nil {
		return nil
	}
	return newest.write(j.path)
}

// cutWhenDue notes a place to go on from. Where no time plays a part, cuts are at the same rows in every run.
func (r *run) cutWhenDue() error {
	if r.settings == "" {
		return nil
	}
	j := &r.journal
	if j.sinceCut++; j.sinceCut%cutEvery != 0 && r.limiter == nil {
		return nil
	}
	due := j.sinceCut%cutEvery == 0 && r.pub.CutDue()
	if !due && r.limiter != nil && !r.Queue.FIFO {
		due = time.Since(j.lastCut) > checkpointEvery
	}
	if !due {
		return nil
	}
	number, err := r.pub.Cut()
	if err != nil {
		return err
	}
	if err := r.rejects.flush(); err != nil {
		return err
	}
	r.counts.RepeatedKeys += r.keys.flush()
	j.note(number, r.place())
	j.sinceCut, j.lastCut = 0, time.Now()
	return nil
}

// place is where the import is.
func (r *run) place() checkpoint {
	c := checkpoint{
		Format: checkpointFormat, Offset: r.window.offset, Line: r.window.line, Fingerprint: r.window.fingerprint(),
		Settings: r.settings, Scope: r.scope, Counts: r.counts, RejectedBytes: r.rejects.size,
	}
	if values, ok := r.rows.(*valueReader); ok {
		c.InArray = values.inArray
	}
	if r.Mapping.IDs != "" {
		c.IDs = &r.sequence
	}
	return c
}

// storeOrWarn writes a checkpoint in the course of the import: where none can be written it goes on without.
func (r *run) storeOrWarn() {
	if r.pub != nil {
		r.warnOnce(r.journal.store(r.pub.TakeAccepted()))
	}
}

func (r *run) warnOnce(err error) {
	if err != nil && !r.journal.warned && r.Warn != nil {
		r.journal.warned = true
		r.Warn(fmt.Sprintf("%s: this import could not be resumed: %v", r.name, err))
	}
}

// finish leaves the checkpoint that the next file's stop needs: the last one, or that this file is done.
func (r *run) finish(err error) {
	switch {
	case r.settings == "":
	case err != nil:
		r.storeOrWarn()
	case !r.last:
		done := r.place()
		done.Done = true
		r.warnOnce(done.write(r.journal.path))
	}
}

func (r *run) hasCheckpoint() bool {
	_, err := os.Stat(r.journal.path)
	return r.settings != "" && err == nil
}

// forget removes all checkpoints.
func forget(runs []*run) error {
	for _, r := range runs {
		if r.settings == "" {
			continue
		}
		if err := os.Remove(r.journal.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove checkpoint: %w", err)
		}
	}
	return nil
}

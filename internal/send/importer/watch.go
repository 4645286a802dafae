package importer

import (
	"sync"
	"sync/atomic"
	"time"
)

// shown are a run's counts as its watcher may see them while the run goes on.
type shown struct {
	rows, rejected, commands, units atomic.Int64
}

func (s *shown) set(c *Counts) {
	s.rows.Store(c.Rows)
	s.rejected.Store(c.Rejected)
	s.commands.Store(c.Commands)
	s.units.Store(c.WriteUnits)
}

func (s *shown) counts() Counts {
	return Counts{Rows: s.rows.Load(), Rejected: s.rejected.Load(), Commands: s.commands.Load(), WriteUnits: s.units.Load()}
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
	if r.Progress != nil {
		r.Progress.Update(r.source.read.Load(), r.shown.counts())
	}
}

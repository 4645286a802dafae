package control

import (
	"time"

	"tributary/internal/tenants"
)

// A census tells which workers are alive, by what one reader observes. Clocks of two machines may differ, so the time in a
// worker's item decides little: a worker is alive while the reader sees its beat change, by the reader's own clock. Only
// when the reader sees an item for the first time does it believe that the item is as old as it says, up to the census's trust:
// a reader that begins would otherwise have to wait before it could call any worker dead.
//
// The caller locks.
type census struct {
	trust time.Duration
	seen  map[string]*sighting
}

// sighting is one worker as it was last seen.
type sighting struct {
	Worker
	changed time.Time // when its beat last changed, by the reader's clock
}

// look takes what was read of all workers at now.
func (c *census) look(now time.Time, workers []Worker) {
	next := make(map[string]*sighting, len(workers))
	for _, w := range workers {
		s := &sighting{w, now}
		if old := c.seen[w.ID]; old == nil {
			s.changed = now.Add(-min(max(0, now.Sub(w.Updated)), c.trust))
		} else if old.Beat == w.Beat {
			s.changed = old.changed
		}
		next[w.ID] = s
	}
	c.seen = next
}

// isAlive says whether the worker's beat changed less than deadAfter ago.
func (s *sighting) isAlive(now time.Time, deadAfter time.Duration) bool {
	return now.Sub(s.changed) < deadAfter
}

// count returns how many other workers than self are alive that consume, that answer queries, and in all; and when the next of
// them counts as dead, or the zero time.
func (c *census) count(now time.Time, self string) (writers, readers, all int, nextDeath time.Time) {
	for id, s := range c.seen {
		if id == self || !s.isAlive(now, tenants.DeadAfter) {
			continue
		}
		all++
		if s.writes() {
			writers++
		}
		if s.reads() {
			readers++
		}
		if dies := s.changed.Add(tenants.DeadAfter); nextDeath.IsZero() || dies.Before(nextDeath) {
			nextDeath = dies
		}
	}
	return writers, readers, all, nextDeath
}

// gone returns the workers whose beat has not changed for age.
func (c *census) gone(now time.Time, age time.Duration) []Worker {
	var all []Worker
	for _, s := range c.seen {
		if !s.isAlive(now, age) {
			all = append(all, s.Worker)
		}
	}
	return all
}

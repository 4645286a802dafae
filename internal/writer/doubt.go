package writer

import (
	"time"

	"tributary/internal/messages"
)

// DynamoDB refuses a write in the same way for two reasons: the item is bad, or the table is not the one that the
// worker was made for, because its keys or those of an index are others. The first is a dead letter; the second would be one
// for every message of the queue. Only the error's text tells them apart, and nothing goes by that. So a write that was
// refused alone is a suspect until a probe has been sent: a write of the same shape that is known to be good, and that
// takes no effect (Table.Probe). When the table takes the probe, the suspect is refused. When it refuses the probe as
// well, the suspect goes back to its line, and nothing but probes is sent until the table takes one.
type doubt struct {
	suspects []suspect // writes that were refused alone; they still count as flying
	probing  bool      // a probe is under way
	refusing bool      // the table has refused the last probe
	refused  *messages.Command
	since    time.Time // when it began to refuse
	tries    int       // probes in a row that were not answered by yes
	notUntil time.Time // no probe is sent before
}

// suspect is a write that was refused alone, and why.
type suspect struct {
	write   *Write
	refusal *messages.Error
}

// Pauses between probes that the table does not take: from the time of a call to a time that costs next to nothing, and after
// which a table that was mended is noticed soon enough.
const (
	doubtPauseMin = 100 * time.Millisecond
	doubtPauseMax = 5 * time.Second
)

// due says whether a probe is to be sent at now; where it is not, when to ask again (zero: not by the passing of time).
func (d *doubt) due(now time.Time) (bool, time.Time) {
	if d.probing || len(d.suspects) == 0 && !d.refusing {
		return false, time.Time{}
	}
	return !now.Before(d.notUntil), d.notUntil
}

// take makes the call of a probe: of the shape that was refused last, or that of the first suspect.
func (d *doubt) take() *call {
	d.probing = true
	if d.refusing {
		return &call{probe: d.refused}
	}
	c := &call{probe: probeLike(&d.suspects[0].write.Command)}
	shape := *c.probe
	rest := d.suspects[:0]
	for _, x := range d.suspects {
		if *probeLike(&x.write.Command) == shape {
			c.suspects = append(c.suspects, x)
		} else {
			rest = append(rest, x)
		}
	}
	d.suspects = rest
	return c
}

// later lets the next probe wait: for longer each time.
func (d *doubt) later(now time.Time, jitter float64) {
	pause := min(doubtPauseMax, doubtPauseMin<<min(d.tries, 10))
	d.tries++
	d.notUntil = now.Add(pause/2 + time.Duration(jitter*float64(pause/2)))
}

// applyProbe decides on suspects by what became of a probe.
func (s *scheduler) applyProbe(now time.Time, c *call, a answer) {
	d := &s.doubt
	d.probing = false
	switch a.verdict {
	case passed, stale, already, spoiled:
		s.limiter.succeeded()
		d.refusing, d.refused, d.tries, d.notUntil = false, nil, 0, time.Time{}
		for _, x := range c.suspects {
			s.land(now, x.write, Refused, x.refusal)
		}
		return
	case invalid:
		s.limiter.succeeded()
		if !d.refusing {
			d.refusing, d.refused, d.since = true, c.probe, now
		}
	case throttledTable, trouble:
		s.limiter.failed(c.started, now, s.jitter())
	}
	d.later(now, s.jitter())
	d.suspects = append(c.suspects, d.suspects...)
	if d.refusing || s.closed {
		s.dissolve(now)
	}
}

// probeTenant is a tenant that no command can be of, so that no item has the key of a probe.
const probeTenant = "_probe"

// probeLike returns a good command of the same shape as c: it has the same attributes, with values that every table takes
// whose attributes have the types that the worker writes.
func probeLike(c *messages.Command) *messages.Command {
	p := &messages.Command{Type: c.Type, TenantID: probeTenant, ID: "probe", Delete: c.Delete, Version: min(c.Version, 1)}
	for position, f := range c.Type.Fields {
		if _, given := c.Values.Get(position); given {
			p.Values.Set(position, f.Example())
		}
	}
	if c.Attributes != "" {
		p.Attributes = `{"probe":true}`
	}
	return p
}

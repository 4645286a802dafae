package writer

import (
	"time"

	"tributary/internal/messages"
)

// doubt decides whether a refusal is the fault of the write or of the table. The scheduler owns it, under Writer.mu.
//
// DynamoDB refuses a write with the same error for two reasons: the item is bad, or the table's keys or those of an index
// differ from what the worker expects. The first calls for one dead letter. The second would make one of every message on the
// queue. Only the error's text tells the two apart, and the worker does not rely on texts. So a write that was refused alone
// is a suspect until a probe was answered: a write of the same shape that is known to be good and takes no effect
// (Table.Probe). If the table takes the probe, the suspect is sent once more, because the table may have been repaired in the
// meantime. The suspect is refused if it fails again and the table takes a second probe. If the table refuses a probe, the
// suspect goes back to its queue, and only probes are sent until the table takes one.
type doubt struct {
	suspects  []suspect         // writes that were refused alone; they still count as in flight
	probing   bool              // a probe is under way
	refusing  bool              // the table refused the last probe
	refused   *messages.Command // the last probe that it refused, while refusing
	since     time.Time         // when it began to refuse
	tries     int               // probes in a row that the table did not take
	notBefore time.Time         // no probe is sent before
}

// suspect is a write that was refused alone, and the reason.
type suspect struct {
	write   *Write
	refusal *messages.Error
}

// Bounds of the pause between probes that the table does not take. The longest costs next to nothing, and a repaired table is
// still noticed soon.
const (
	minDoubtPause = 100 * time.Millisecond
	maxDoubtPause = 5 * time.Second
)

// due reports whether a probe is to be sent at now, and otherwise when to ask again (zero: when something happens).
func (d *doubt) due(now time.Time) (bool, time.Time) {
	if d.probing || len(d.suspects) == 0 && !d.refusing {
		return false, time.Time{}
	}
	return !now.Before(d.notBefore), d.notBefore
}

// probe makes a call of a probe. It has the shape that the table refused last, or else that of the first suspect. The suspects
// of its shape move into the call.
func (d *doubt) probe() *call {
	d.probing = true
	if d.refusing {
		return &call{probe: d.refused}
	}
	c := &call{probe: probeLike(&d.suspects[0].write.Command)}
	shape := *c.probe
	rest := d.suspects[:0]
	for i, x := range d.suspects {
		if i == 0 || *probeLike(&x.write.Command) == shape {
			c.suspects = append(c.suspects, x)
		} else {
			rest = append(rest, x)
		}
	}
	d.suspects = rest
	return c
}

// backOff delays the next probe, for longer each time.
func (d *doubt) backOff(now time.Time, jitter float64) {
	pause := min(maxDoubtPause, minDoubtPause<<min(d.tries, 10))
	d.tries++
	d.notBefore = now.Add(pause/2 + time.Duration(jitter*float64(pause/2)))
}

// applyProbe decides on a probe's suspects by its answer.
func (s *scheduler) applyProbe(now time.Time, c *call, a answer) {
	d := &s.doubt
	d.probing = false
	switch a.verdict {
	case passed, stale, already, spoiled:
		s.limiter.succeeded()
		d.refusing, d.refused, d.tries, d.notBefore = false, nil, 0, time.Time{}
		for _, x := range c.suspects {
			if x.write.suspected {
				s.refuse(now, x.write, x.refusal)
				continue
			}
			x.write.suspected = true
			s.retry(now, &call{writes: []*Write{x.write}, conditional: x.write.Versioned()})
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
	d.backOff(now, s.jitter())
	d.suspects = append(c.suspects, d.suspects...)
	if d.refusing || s.closed {
		s.dissolve(now)
	}
}

// probeTenant is a tenant that no command can have, so that no item has the key of a probe.
const probeTenant = "_probe"

// probeLike returns a good command of the same shape as c. It has the same attributes, with values that a table with the right
// keys takes.
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

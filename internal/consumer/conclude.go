package consumer

import (
	"tributary/internal/tenants"
	"tributary/internal/writer"
)

// end is how a message ends.
type end uint8

const (
	deleted end = iota
	nacked
	left // neither: it comes back when its visibility timeout ends
	ends
)

func (e end) String() string { return [...]string{"deleted", "handed_back", "left"}[e] }

// Settled implements writer.Owner: every command that the writer held has its outcome.
func (d *delivery) Settled(*writer.Group) { d.consumer.conclude(d) }

// conclude decides how a message goes on once each of its commands has an outcome: it is nacked if the writer handed one of
// them back, dead-lettered if one can never be written, and otherwise deleted.
func (c *Consumer) conclude(d *delivery) {
	back := false
	for i := range d.Writes {
		back = back || d.Writes[i].Outcome == writer.HandedBack
	}
	if back {
		c.nackUnwritten(d, d.Back())
		return
	}
	c.count(d)
	for i := range d.Writes {
		if d.Writes[i].Outcome == writer.Refused {
			d.bad = append(d.bad, d.refused(i))
		}
	}
	if len(d.bad) > 0 {
		c.deadLetter(d)
		return
	}
	c.deletes.add(d)
}

// count tells the metrics the outcomes of a message's commands. Refused ones count when their letters are sent.
func (c *Consumer) count(d *delivery) {
	settled := 0
	for i := range d.Writes {
		w := &d.Writes[i]
		outcome := w.Outcome
		if outcome == writer.Pending { // the writer never took it
			outcome = writer.HandedBack
		}
		if outcome == writer.Refused {
			continue
		}
		if outcome != writer.HandedBack {
			settled++
		}
		c.outcomes[kindOf(&w.Command)][outcome].Inc()
		c.metrics.TenantCommands(w.Command.TenantID, outcome.String(), 1)
		if outcome < writer.Refused && !d.message.SentAt.IsZero() {
			c.metrics.CommandDuration.Observe(w.SettledAt.Sub(d.message.SentAt).Seconds())
		}
	}
	c.commands.Add(int64(settled))
	if c.cfg.Meter != nil {
		c.measure(d)
	}
}

// measure tells the meter the outcomes that count has counted.
func (c *Consumer) measure(d *delivery) {
	tenant := ""
	var u tenants.Usage
	tell := func() {
		if u != (tenants.Usage{}) {
			c.cfg.Meter.Used(tenant, &u)
		}
	}
	for i := range d.Writes {
		w := &d.Writes[i]
		if id := w.Command.TenantID; id != tenant {
			tell()
			tenant, u = id, tenants.Usage{}
		}
		switch w.Outcome {
		case writer.Written:
			u.Written++
		case writer.Superseded:
			u.Superseded++
		case writer.Stale:
			u.Stale++
		case writer.Erased:
			u.Erased++
		}
	}
	tell()
}

// finish ends a delivery and gives its room back. Its owner calls it once, after it has deleted or nacked the message, or has
// given it up.
func (c *Consumer) finish(d *delivery, e end) {
	if !c.held.remove(d) {
		return
	}
	c.finished[e].Add(1)
	defer d.forget()
	if c.cfg.Ended != nil {
		defer c.cfg.Ended(d.message.ReceiptHandle, e == deleted) // last, when the metrics count it
	}
	if d.Span.Recorded() {
		reason := ""
		if len(d.bad) > 0 {
			reason = string(d.bad[0].why.Reason)
		}
		d.Span.Settled(e.String(), reason)
	}
	c.metrics.Settled.WithLabelValues(e.String()).Inc()
	if d.inLetterRoom {
		c.letterRoom.leave(d.commands, d.bytes)
	} else {
		c.room.release(d.commands, d.bytes)
	}
	c.gauge()
}

package consumer

import (
	"sync"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/tenants"
	"tributary/internal/writer"
)

// ruling is what operators have decided about tenants, for the messages of one receive.
type ruling struct {
	consumer *Consumer
	rules    *tenants.Rules
	now      time.Time
}

// rule returns the ruling for a receive; nil: nothing is decided about any tenant.
func (c *Consumer) rule(now time.Time) *ruling {
	rules := c.rules()
	if rules.Len() == 0 {
		return nil
	}
	return &ruling{c, rules, now}
}

// suspends reports whether a message with these commands waits as a whole, because one of its tenants is suspended. No part of it
// may be written: it would be written again when the message comes again, and could overwrite what came after. On a
// standard queue on which too many messages are delayed already, none waits, and letter makes dead letters of such commands.
func (r *ruling) suspends(decoded []messages.Decoded) bool {
	for i := range decoded {
		e := &decoded[i]
		if e.Err == nil && r.rules.Of(e.Command.TenantID).Verdict(r.now) == tenants.Wait {
			c := r.consumer
			if c.cfg.FIFO || !c.crowded(r.now) {
				return true
			}
			c.overflows(r.now)
			return false
		}
	}
	return false
}

// letter returns why a command of a message that does not wait becomes a dead letter; nil: it does not.
func (r *ruling) letter(tenant string) *messages.Error {
	d := r.rules.Of(tenant)
	switch d.Verdict(r.now) {
	case tenants.Wait, tenants.Letter:
		detail := "operators have suspended the tenant"
		if d.Reason != "" {
			detail += ": " + d.Reason
		}
		return &messages.Error{Reason: messages.ReasonTenantSuspended, Field: "tenant_id", Detail: detail}
	}
	return nil
}

// drops reports whether there is no dead letter for a bad command, because its tenant, or the one that the message names, is erased.
func (r *ruling) drops(b *badCommand, m *Message) bool {
	return r != nil && (r.rules.Of(b.tenant).Verdict(r.now) == tenants.Drop || r.rules.Of(m.Attributes.TenantID).Verdict(r.now) == tenants.Drop)
}

// countDropped tells the metrics of a bad command of an erased tenant.
func (c *Consumer) countDropped(b *badCommand) {
	c.commands.Add(1)
	c.outcomes[b.kind][writer.Erased].Inc()
	tenant := b.tenant
	if messages.CheckTenantID(tenant) != nil {
		tenant = metrics.OtherTenants
	} else if c.cfg.Meter != nil {
		c.cfg.Meter.Used(tenant, &tenants.Usage{Erased: 1})
	}
	c.metrics.TenantCommands(tenant, writer.Erased.String(), 1)
}

// chain links the messages of each FIFO group of a receive, so that those behind a message that goes back go back too.
func chain(deliveries []delivery) {
	for i := range deliveries {
		for j := i + 1; j < len(deliveries); j++ {
			if deliveries[j].message.GroupID == deliveries[i].message.GroupID {
				deliveries[i].later, deliveries[i].Later = &deliveries[j], &deliveries[j].Group
				break
			}
		}
	}
}

// nackSuspended nacks a message that was not submitted, or was refused, because a tenant is suspended. The later messages of its
// FIFO group in this receive are not submitted yet, and go back too, whatever the rules are by then.
func (c *Consumer) nackSuspended(d *delivery) {
	if d.later != nil {
		d.later.suspended = true
	}
	c.nackUnwritten(d, writer.Suspended)
}

// overflow is the log of messages that could not wait for the end of a suspension.
type overflow struct {
	mu     sync.Mutex
	logged time.Time // guarded by mu
}

// overflowLogEvery is how often it is logged, at most, that messages can't wait.
const overflowLogEvery = time.Minute

// overflows counts a message of a suspended tenant that becomes a dead letter because too many messages are delayed.
func (c *Consumer) overflows(now time.Time) {
	c.metrics.Overflowed.Inc()
	c.overflow.mu.Lock()
	due := now.Sub(c.overflow.logged) >= overflowLogEvery
	if due {
		c.overflow.logged = now
	}
	c.overflow.mu.Unlock()
	if due {
		c.log.Warn("too many messages are delayed for others to wait; commands of suspended tenants are dead-lettered",
			"reason", messages.ReasonTenantSuspended, "delayed", maxDelayed, "queue_in_flight", c.queueInFlight.Load())
	}
}

package writer

import (
	"math"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/tenants"
)

// Units are the write units that an answer says a call has consumed, of the table and of its indexes. The zero value: it does not
// say.
type Units struct{ Table, Index float64 }

// used is a write's part of the units that its call has consumed, in half units.
type used struct {
	known                    bool // the answer said so
	tableHalves, indexHalves int32
}

func (u used) table() float64 { return float64(u.tableHalves) / 2 }
func (u used) index() float64 { return float64(u.indexHalves) / 2 }

// indexCounts returns in how many indexes an item of each type can be, by the type's position.
func indexCounts(types *schema.Set) []int {
	if types == nil {
		return nil
	}
	counts := make([]int, len(types.Types))
	for _, t := range types.Types {
		counts[t.Position] = len(types.Indexed(t))
	}
	return counts
}

func (s *scheduler) indexesOf(c *messages.Command) int {
	if c.Type == nil || c.Type.Position >= len(s.indexes) {
		return 0
	}
	return s.indexes[c.Type.Position]
}

// attribute gives each write that a call has made its part of the units consumed, by the estimates. left are the indexes of the
// writes that were not made.
func attribute(c *call, left []int, units Units) {
	for _, w := range c.writes {
		w.used = used{known: units.Table > 0}
	}
	for _, i := range left {
		c.writes[i].used.known = false
	}
	var table, index [limits.DynamoDBBatchWrites]int
	n := 0
	for _, w := range c.writes {
		if w.used.known {
			table[n], index[n] = int(w.units), int(w.cost-w.units)
			n++
		}
	}
	divide(halves(units.Table), table[:n])
	divide(halves(units.Index), index[:n])
	n = 0
	for _, w := range c.writes {
		if w.used.known {
			w.used.tableHalves, w.used.indexHalves = int32(table[n]), int32(index[n]) //nolint:gosec // of at most 25 items of 400 KB
			n++
		}
	}
}

// halves returns units as half units. DynamoDB counts no smaller ones.
func halves(units float64) int { return int(math.Round(2 * units)) }

// divide divides n by weights, of which there are up to 25, and puts the parts in their place. The parts add up to n: those with the
// largest remainders get what is left over. If all weigh nothing, they weigh the same.
func divide(n int, weights []int) {
	total := 0
	for _, weight := range weights {
		total += weight
	}
	if total == 0 {
		for i := range weights {
			weights[i] = 1
		}
		total = len(weights)
	}
	var remainders [limits.DynamoDBBatchWrites]int
	rest := n
	for i, weight := range weights {
		weights[i], remainders[i] = n*weight/total, n*weight%total
		rest -= weights[i]
	}
	for ; rest > 0 && len(weights) > 0; rest-- {
		largest := 0
		for i := range weights {
			if remainders[i] > remainders[largest] {
				largest = i
			}
		}
		weights[largest]++
		remainders[largest] = -1
	}
}

// measure tells the meter what an answered call has used. attribute has been called.
func measure(m tenants.Meter, c *call, a answer) {
	if a.verdict.unused() {
		return
	}
	var left [limits.DynamoDBBatchWrites]bool
	for _, i := range a.left {
		left[i] = true
	}
	tenant := ""
	var u tenants.Usage
	for i, w := range c.writes {
		if id := w.Command.TenantID; id != tenant {
			if i > 0 && u != (tenants.Usage{}) {
				m.Used(tenant, &u)
			}
			tenant, u = id, tenants.Usage{}
		}
		if !left[i] {
			w.use(&u, a.verdict)
		}
	}
	if u != (tenants.Usage{}) {
		m.Used(tenant, &u)
	}
}

// unused reports whether a call with this answer has consumed nothing.
func (v verdict) unused() bool { return v == throttledTenant || v == throttledTable || v == invalid }

// use adds what the write's call has used for it.
func (w *Write) use(u *tenants.Usage, v verdict) {
	switch v {
	case passed:
		u.Writes++
		u.Bytes += int64(w.bytes)
		if w.Command.Delete {
			u.Deletes++
		}
		if w.used.known {
			u.TableUnits += w.used.table()
			u.IndexUnits += w.used.index()
			return
		}
		u.EstimatedTableUnits += float64(w.units)
		u.EstimatedIndexUnits += float64(w.cost - w.units)
	case stale, already, spoiled: // a condition that is not met consumes, of the table alone
		u.EstimatedTableUnits += float64(w.units)
	case trouble:
		u.EstimatedTableUnits += float64(w.units)
		u.EstimatedIndexUnits += float64(w.cost - w.units)
	}
}

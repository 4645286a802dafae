// Package generator makes synthetic load: items of tenants, and updates of them. The same settings make the same commands.
package generator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
)

// Config describes the commands to generate.
type Config struct {
	Types   *schema.Set // nil: the built-in ones
	Tenants int
	// Counts are the commands of a type, by its name, updates included. Of a type that it lacks there are DefaultCount. Of a declared
	// type that others refer to there is at least one for each tenant.
	Counts      map[string]int
	Skew        float64
	UpdateShare float64 // of the commands of types that no other refers to: those that write an item again
	Versions    bool    // commands carry versions, counted up by item
	Seed        uint64
	IDs         ids.Kind
}

// DefaultCount is how many commands of a type there are where nothing else is asked for.
func DefaultCount(t *schema.Type) int {
	if len(t.ReferredBy) > 0 {
		return 100
	}
	return 1000
}

// Generator makes one command after the other. The types that others refer to come first, each behind those that it refers to
// itself: every item once, dealt out to the tenants in turn. The other types follow, mixed, with updates, and dealt out by the skew.
type Generator struct {
	cfg     Config
	builtin bool
	rng     *rand.Rand
	shares  []float64 // of the tenants, summed up: the last is 1
	ids     ids.Sequence
	total   int
	sources []source  // by the type's position
	parents []*source // whose types others refer to, in the order in which they are made
	others  []*source // with commands left
	left    int       // commands of others
	fresh   uint64    // the number of the next id of others
}

// source is where the commands of a type come from.
type source struct {
	t     *schema.Type
	count int
	made  int
	rank  int      // of a parent: its place in the order
	first uint64   // of a parent: the number of its first id
	items [][]item // of others: by tenant
}

type item struct {
	number  uint64 // of its id
	version int64
}

// idsStart is the time from which ids of kind UUIDv7 count: a fixed one, so that a seed always makes the same.
var idsStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// New returns a generator.
func New(cfg Config) *Generator {
	if cfg.Types == nil {
		cfg.Types = schema.Builtin()
	}
	g := &Generator{
		cfg: cfg, builtin: cfg.Types == schema.Builtin(), rng: rand.New(rand.NewPCG(cfg.Seed, 0)), shares: make([]float64, cfg.Tenants),
		ids: ids.Sequence{Kind: cfg.IDs, Start: idsStart, Seed: cfg.Seed}, sources: make([]source, len(cfg.Types.Types)),
	}
	// Zipf's law: the k-th tenant has a share of 1/k^skew. math/rand's needs a skew over 1.
	sum := 0.0
	for k := range g.shares {
		sum += math.Pow(float64(k+1), -cfg.Skew)
		g.shares[k] = sum
	}
	for k := range g.shares {
		g.shares[k] /= sum
	}
	for position, t := range cfg.Types.Types {
		g.sources[position] = source{t: t, count: g.count(t)}
		g.total += g.sources[position].count
	}
	for rank, t := range parents(cfg.Types) {
		s := &g.sources[t.Position]
		s.rank, s.first = rank, g.fresh
		g.fresh += uint64(max(s.count, cfg.Tenants))
		g.parents = append(g.parents, s)
	}
	for i := range g.sources {
		if s := &g.sources[i]; len(s.t.ReferredBy) == 0 && s.count > 0 {
			s.items = make([][]item, cfg.Tenants)
			g.others = append(g.others, s)
			g.left += s.count
		}
	}
	return g
}

// count is how many commands of a type there are. The built-in types may have fewer items than there are tenants: then
// references of the others lead nowhere.
func (g *Generator) count(t *schema.Type) int {
	n, ok := g.cfg.Counts[t.Name]
	if !ok {
		n = DefaultCount(t)
	}
	if len(t.ReferredBy) > 0 && !g.builtin {
		n = max(n, g.cfg.Tenants)
	}
	return n
}

// parents returns the types that others refer to, each behind those that it refers to itself. Where they refer to each other in a
// circle, that holds for the references that are needed, unless these alone make a circle.
func parents(types *schema.Set) (order []*schema.Type) {
	var left []*schema.Type
	for _, t := range types.Types {
		if len(t.ReferredBy) > 0 {
			left = append(left, t)
		}
	}
	for len(left) > 0 {
		at := slices.IndexFunc(left, func(t *schema.Type) bool { return waitsFor(t, left, false) == nil })
		if at < 0 {
			at = slices.IndexFunc(left, func(t *schema.Type) bool { return waitsFor(t, left, true) == nil })
		}
		if at < 0 {
			at = slices.Index(left, inCircle(left))
		}
		order = append(order, left[at])
		left = slices.Delete(left, at, at+1)
	}
	return order
}

// waitsFor returns a type among those given that a type refers to, or nil.
func waitsFor(t *schema.Type, among []*schema.Type, neededOnly bool) *schema.Type {
	for _, r := range t.References {
		if slices.Contains(among, r.To) && (r.Field.Needed() || !neededOnly) {
			return r.To
		}
	}
	return nil
}

// inCircle returns one of types that all need another of them: one that needs only such as need it in turn.
func inCircle(types []*schema.Type) *schema.Type {
	ahead := slices.Clone(types) // not yet on the way
	for t := types[0]; ; {
		ahead = slices.DeleteFunc(ahead, func(other *schema.Type) bool { return other == t })
		next := waitsFor(t, ahead, true)
		if next == nil { // all that it needs are on the way to it
			return t
		}
		t = next
	}
}

// Total is how many commands there are in all.
func (g *Generator) Total() int { return g.total }

// Next makes the next command; false after the last.
func (g *Generator) Next(c *messages.Command) bool {
	for len(g.parents) > 0 && g.parents[0].made == g.parents[0].count {
		g.parents = g.parents[1:]
	}
	switch {
	case len(g.parents) > 0:
		g.putParent(c, g.parents[0])
	case g.left > 0:
		g.putOther(c, g.pick())
	default:
		return false
	}
	return true
}

func (g *Generator) putParent(c *messages.Command, s *source) {
	n, tenant := s.made/g.cfg.Tenants, s.made%g.cfg.Tenants
	g.put(c, s, tenant, n, item{s.first + uint64(s.made), 1})
	s.made++
}

// pick returns one of the others, each as likely as it has commands left.
func (g *Generator) pick() *source {
	if len(g.others) == 1 { // without a draw, which would change what the built-in types' seeds make
		return g.others[0]
	}
	n := g.rng.IntN(g.left)
	for _, s := range g.others {
		if n -= s.count - s.made; n < 0 {
			return s
		}
	}
	panic("generator: the commands that are left don't add up")
}

func (g *Generator) putOther(c *messages.Command, s *source) {
	s.made++
	g.left--
	tenant, _ := slices.BinarySearch(g.shares, g.rng.Float64())
	tenant = min(tenant, g.cfg.Tenants-1)
	known := s.items[tenant]
	at := len(known)
	if at > 0 && g.rng.Float64() < g.cfg.UpdateShare {
		at = g.rng.IntN(at)
	} else {
		known = append(known, item{number: g.fresh})
		s.items[tenant] = known
		g.fresh++
	}
	known[at].version++
	g.put(c, s, tenant, at, known[at])
}

// put makes a command for an item, which is the n-th of its type and tenant.
func (g *Generator) put(c *messages.Command, s *source, tenant, n int, it item) {
	*c = messages.Command{Type: s.t, TenantID: tenantID(tenant), ID: g.ids.At(it.number)}
	for position, f := range s.t.Fields {
		if text, ok := g.value(s, f, tenant, n); ok {
			c.Values.Set(position, text)
		}
	}
	if g.cfg.Versions {
		c.Version = it.version
	}
}

// absentShare is the share of items that lack a field which they may lack.
const absentShare = 0.25

// value makes the value of a field of a tenant's n-th item; false where the item lacks it.
func (g *Generator) value(s *source, f *schema.Field, tenant, n int) (text string, ok bool) {
	if !f.Needed() && g.rng.Float64() < absentShare {
		return "", false
	}
	if f.References != nil {
		return g.reference(s, f, tenant, n)
	}
	if g.builtin {
		return builtinValue(f, g.rng, tenantID(tenant), n+1), true
	}
	return f.Sample(g.rng), true
}

// reference returns the id of an item that was made before for the tenant: always the same one for the n-th item, so that an update
// keeps it. Types that need each other in a circle have ids of items that are made later. An id that the field's
// own limits don't allow is left out, or replaced by an example.
func (g *Generator) reference(s *source, f *schema.Field, tenant, n int) (id string, ok bool) {
	to := &g.sources[f.References.Position]
	if len(s.t.ReferredBy) > 0 && to.rank >= s.rank && !f.Needed() {
		return "", false
	}
	// A tenant without any, because there are fewer than tenants, gets the id that its first would have.
	of := max(1, (to.count+g.cfg.Tenants-1-tenant)/g.cfg.Tenants)
	id = g.ids.At(to.first + uint64(n%of*g.cfg.Tenants+tenant))
	if _, err := f.Check(id); err != nil {
		return f.Example(), f.Needed()
	}
	return id, true
}

func tenantID(tenant int) string { return fmt.Sprintf("tenant-%04d", tenant+1) }

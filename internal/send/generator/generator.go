// Package generator makes synthetic load: tenants' users and orders, and updates of these orders. The same settings
// make the same commands.
package generator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
)

// Config describes the commands to generate.
type Config struct {
	Tenants     int
	Users       int // dealt out to the tenants in turn
	Orders      int // commands for orders, updates included
	Skew        float64
	UpdateShare float64 // of the orders' commands that write an order again
	Versions    bool    // commands carry versions, counted up by order
	Seed        uint64
	IDs         ids.Kind
}

// Generator makes one command after the other: first the users, then the orders.
type Generator struct {
	cfg    Config
	rng    *rand.Rand
	shares []float64 // of the tenants, summed up: the last is 1
	orders [][]order // by tenant
	ids    ids.Sequence
	users  int // commands made for users
	made   int // commands made for orders
	fresh  int // of them, those that made a new order
}

type order struct {
	number  int // counts all orders
	version int64
}

// idsStart is the time from which ids of kind UUIDv7 count: a fixed one, so that a seed always makes the same.
var idsStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// New returns a generator.
func New(cfg Config) *Generator {
	g := &Generator{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0)), shares: make([]float64, cfg.Tenants),
		orders: make([][]order, cfg.Tenants), ids: ids.Sequence{Kind: cfg.IDs, Start: idsStart, Seed: cfg.Seed},
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
	return g
}

var userType, orderType = schema.Builtin().Type("user"), schema.Builtin().Type("order")

// Total is how many commands there are in all.
func (g *Generator) Total() int { return g.cfg.Users + g.cfg.Orders }

// Next makes the next command; false after the last.
func (g *Generator) Next(c *messages.Command) bool {
	switch {
	case g.users < g.cfg.Users:
		g.putUser(c)
	case g.made < g.cfg.Orders:
		g.putOrder(c)
	default:
		return false
	}
	return true
}

func (g *Generator) putUser(c *messages.Command) {
	n := strconv.Itoa(g.users/g.cfg.Tenants + 1)
	tenant := tenantID(g.users % g.cfg.Tenants)
	*c = messages.Put(userType, tenant, g.ids.At(uint64(g.users)),
		"User "+n+" of "+tenant, "user"+n+"@"+tenant+".example")
	if g.cfg.Versions {
		c.Version = 1
	}
	g.users++
}

func (g *Generator) putOrder(c *messages.Command) {
	g.made++
	tenant, _ := slices.BinarySearch(g.shares, g.rng.Float64())
	tenant = min(tenant, g.cfg.Tenants-1)
	known := g.orders[tenant]
	at := len(known)
	if at > 0 && g.rng.Float64() < g.cfg.UpdateShare {
		at = g.rng.IntN(at)
	} else {
		known = append(known, order{number: g.fresh})
		g.orders[tenant] = known
		g.fresh++
	}
	known[at].version++
	// An order keeps its user. A tenant without users, because there are fewer than tenants, has orders all the same.
	users := max(1, (g.cfg.Users+g.cfg.Tenants-1-tenant)/g.cfg.Tenants)
	*c = messages.Put(orderType, tenantID(tenant), g.ids.At(uint64(max(g.cfg.Users, g.cfg.Tenants)+known[at].number)),
		g.ids.At(uint64(at%users*g.cfg.Tenants+tenant)), amount(g.rng))
	if g.cfg.Versions {
		c.Version = known[at].version
	}
}

func tenantID(tenant int) string { return fmt.Sprintf("tenant-%04d", tenant+1) }

// amount is one of many small ones and few large ones, in cents: each doubling from 1.28 to 655.36 is as likely.
func amount(rng *rand.Rand) string {
	low := 128 << rng.IntN(9)
	cents := low + rng.IntN(low)
	return fmt.Sprintf("%d.%02d", cents/100, cents%100)
}

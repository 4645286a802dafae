package generator

import (
	"math"
	"testing"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
)

var userType = schema.Builtin().Type("user")

func counts(users, orders int) map[string]int { return map[string]int{"user": users, "order": orders} }

func all(t *testing.T, cfg Config) []messages.Command {
	t.Helper()
	g := New(cfg)
	var list []messages.Command
	var c messages.Command
	for g.Next(&c) {
		if err := c.Validate(); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		list = append(list, c)
	}
	if len(list) != g.Total() {
		t.Fatalf("%d commands, Total says %d", len(list), g.Total())
	}
	return list
}

func TestSameSeedSameCommands(t *testing.T) {
	cfg := Config{Tenants: 7, Counts: counts(20, 500), Skew: 1.2, UpdateShare: 0.3, Seed: 9, IDs: ids.UUIDv7}
	first, second := all(t, cfg), all(t, cfg)
	differ := 0
	cfg.Seed++
	for i, c := range all(t, cfg) {
		if first[i] != second[i] {
			t.Fatalf("command %d: %+v and %+v", i, first[i], second[i])
		}
		if c.Get("order_id") != first[i].Get("order_id") || c.Get("user_id") != first[i].Get("user_id") {
			differ++
		}
	}
	if differ != len(first) {
		t.Errorf("another seed changes %d of %d commands", differ, len(first))
	}
}

func TestSkewUsersAndUpdates(t *testing.T) {
	const tenants, orders = 50, 40_000
	for _, skew := range []float64{0, 0.5, 1, 2} {
		users := map[string]map[string]bool{}
		byTenant := map[string]int{}
		versions := map[string]int64{}
		owner := map[string]string{}
		updates := 0
		for _, c := range all(t, Config{Tenants: tenants, Counts: counts(200, orders), Skew: skew, UpdateShare: 0.25, Versions: true, Seed: 1, IDs: ids.UUIDv4}) {
			if c.Type == userType {
				if users[c.TenantID] == nil {
					users[c.TenantID] = map[string]bool{}
				}
				users[c.TenantID][c.Get("user_id")] = true
				continue
			}
			byTenant[c.TenantID]++
			if !users[c.TenantID][c.Get("user_id")] {
				t.Fatalf("an order of %s has a user that the tenant does not have", c.TenantID)
			}
			if versions[c.Get("order_id")]++; versions[c.Get("order_id")] != c.Version {
				t.Fatalf("order %s: version %d, written %d times", c.Get("order_id"), c.Version, versions[c.Get("order_id")])
			}
			if c.Version > 1 {
				updates++
				if owner[c.Get("order_id")] != c.TenantID+c.Get("user_id") {
					t.Fatalf("order %s moved", c.Get("order_id"))
				}
			}
			owner[c.Get("order_id")] = c.TenantID + c.Get("user_id")
		}
		if share := float64(updates) / orders; math.Abs(share-0.25) > 0.01 {
			t.Errorf("skew %v: a share of %.3f is updates", skew, share)
		}
		// Zipf: the first tenant has 4^skew times as many as the fourth.
		if got, want := float64(byTenant["tenant-0001"])/float64(byTenant["tenant-0004"]), math.Pow(4, skew); math.Abs(got/want-1) > 0.15 {
			t.Errorf("skew %v: the first tenant has %.2f times the fourth's orders, not %.2f", skew, got, want)
		}
	}
}

func TestFewerUsersThanTenants(t *testing.T) {
	orders := map[string]bool{}
	for _, c := range all(t, Config{Tenants: 30, Counts: counts(0, 300), Seed: 4, IDs: ids.UUIDv7}) {
		if orders[c.Get("order_id")] || orders[c.Get("user_id")] {
			t.Fatalf("an id comes twice: %+v", c)
		}
		orders[c.Get("order_id")] = true
	}
}

func BenchmarkNext(b *testing.B) {
	g := New(Config{Tenants: 1000, Counts: counts(0, math.MaxInt), Skew: 1, UpdateShare: 0.5, Seed: 1, IDs: ids.UUIDv7})
	var c messages.Command
	b.ReportAllocs()
	for b.Loop() {
		g.Next(&c)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

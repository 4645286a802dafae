package generator

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
	"tributary/test/support/declarations"
)

// lines are the commands as text.
func lines(t *testing.T, cfg Config) []byte {
	t.Helper()
	var b []byte
	for _, c := range all(t, cfg) {
		b = append(messages.Append(b, &c), '\n')
	}
	return b
}

// The built-in types' seeds make what they made before types were declared. The hashes are of that version's output.
func TestBuiltinOutputStays(t *testing.T) {
	for want, cfg := range map[string]Config{
		"a98d39ed71989a99da8811aa99ea2bb651cb0ee26604d992781acc278cce582a": {Tenants: 10, Seed: 1, IDs: ids.UUIDv7},
		"555ef938146e09440ca87053514e1dbd136ed7d9747192dc49ab7cc80b550daa": {Tenants: 3, Counts: counts(5, 400), Skew: 1.1, UpdateShare: 0.4, Versions: true, Seed: 7, IDs: ids.UUIDv7},
		"e4ea2bca7b677e99abb908e43bdf3c3be8992068da811722cbab995ff6b3a32e": {Tenants: 30, Counts: counts(0, 300), UpdateShare: 0.1, Seed: 4, IDs: ids.UUIDv4},
	} {
		text := lines(t, cfg)
		sum := sha256.Sum256(text)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%+v: %s, want %s", cfg, got, want)
		}
		cfg.Types = schema.Builtin()
		if !bytes.Equal(lines(t, cfg), text) {
			t.Errorf("%+v: other commands with the types given", cfg)
		}
	}
	const first = `{"type":"put_user","tenant_id":"tenant-0001","user_id":"019b76da-a800-7000-a9fd-6049d65af21e","user_name":"User 1 of tenant-0001","user_email":"user1@tenant-0001.example"}`
	if got, _, _ := bytes.Cut(lines(t, Config{Tenants: 10, Seed: 1, IDs: ids.UUIDv7}), []byte("\n")); string(got) != first {
		t.Errorf("the first is %s", got)
	}
}

func read(t *testing.T, text string) *schema.Set {
	t.Helper()
	types, err := schema.Read("types.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// needsCircle says whether a type needs another that needs it, by whatever steps.
func needsCircle(from, at *schema.Type, seen map[*schema.Type]bool) bool {
	for _, r := range at.References {
		if !r.Field.Needed() {
			continue
		}
		if r.To == from {
			return true
		}
		if !seen[r.To] {
			seen[r.To] = true
			if needsCircle(from, r.To, seen) {
				return true
			}
		}
	}
	return false
}

// Whatever is declared: all that is generated decodes as it is, and its references lead to items of the same tenant that were made
// before. Only types that need each other in a circle refer to items that are made later.
func TestRandomDeclarations(t *testing.T) {
	references, later := 0, 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		types := read(t, declarations.Random(r, 1+r.IntN(8)))
		cfg := Config{Types: types, Tenants: 1 + r.IntN(6), Counts: map[string]int{}, Skew: 1, UpdateShare: 0.3, Versions: true, Seed: seed, IDs: ids.UUIDv7}
		total := 0
		for _, typ := range types.Types {
			n := r.IntN(40)
			cfg.Counts[typ.Name] = n
			if len(typ.ReferredBy) > 0 {
				n = max(n, cfg.Tenants)
			}
			total += n
		}
		list := all(t, cfg)
		if len(list) != total {
			t.Fatalf("seed %d: %d commands, want %d", seed, len(list), total)
		}
		key := func(c *messages.Command, typ *schema.Type, id string) string {
			return c.TenantID + "/" + typ.Prefix + id
		}
		ever, before := map[string]bool{}, map[string]int64{}
		for _, c := range list {
			ever[key(&c, c.Type, c.ID)] = true
		}
		for i := range list {
			c := &list[i]
			text := string(messages.Append(nil, c))
			decoded, bad := messages.Decode(types, nil, text, nil)
			if bad != nil || decoded[0].Err != nil {
				t.Fatalf("seed %d: %v, %v: %s", seed, bad, decoded[0].Err, text)
			}
			for _, ref := range c.Type.References {
				id, ok := c.Values.Get(ref.Field.Position)
				if !ok {
					continue
				}
				references++
				switch to := key(c, ref.To, id); {
				case !ever[to]:
					t.Fatalf("seed %d: a %s refers to %s, which is nowhere", seed, c.Type.Name, to)
				case before[to] == 0 && (!ref.Field.Needed() || !needsCircle(c.Type, c.Type, map[*schema.Type]bool{})):
					t.Fatalf("seed %d: a %s refers to %s, which comes later", seed, c.Type.Name, to)
				case before[to] == 0:
					later++
				}
			}
			at := key(c, c.Type, c.ID)
			if before[at]++; before[at] != c.Version || c.Version > 1 && len(c.Type.ReferredBy) > 0 {
				t.Fatalf("seed %d: %s has the version %d, it was written %d times", seed, at, c.Version, before[at])
			}
		}
	}
	if references < 1000 || later == 0 {
		t.Errorf("%d references, %d to what comes later", references, later)
	}
}

func TestParentsComeInOrder(t *testing.T) {
	for text, want := range map[string]string{
		"types: {c: {fields: {b_id: {type: string, references: b}}}, b: {fields: {a_id: {type: string, references: a}}}, a: {}}": "[a b]",
		// In a circle, the reference that is needed decides.
		"types: {a: {fields: {b_id: {type: string, required: true, references: b}}}, b: {fields: {a_id: {type: string, references: a}}}}": "[b a]",
		"types: {a: {fields: {b_id: {type: string, references: b}}}, b: {fields: {a_id: {type: string, required: true, references: a}}}}": "[a b]",
		"types: {a: {fields: {b_id: {type: string, references: b}}}, b: {fields: {a_id: {type: string, references: a}}}}":                 "[a b]",
		"types: {a: {}, b: {}}": "[]",
	} {
		var names []string
		for _, typ := range parents(read(t, text)) {
			names = append(names, typ.Name)
		}
		if got := fmt.Sprint(names); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Types that no other refers to are mixed, by how many commands each has, and an update keeps what its item refers to.
func TestMixOfTypes(t *testing.T) {
	types := read(t, `types:
  device: {fields: {name: {type: string, required: true}}}
  reading: {fields: {device_id: {type: string, required: true, references: device}, celsius: {type: number}}}
  alarm: {fields: {source_id: {type: string, required: true, references: device}, severity: {type: integer, enum: [1, 2, 3]}}}
`)
	list := all(t, Config{Types: types, Tenants: 4, Counts: map[string]int{"reading": 3000}, UpdateShare: 0.5, Seed: 5, IDs: ids.UUIDv4})
	if len(list) != 100+3000+1000 {
		t.Fatalf("%d commands", len(list))
	}
	of, absent := map[string]string{}, 0
	half := map[string]int{}
	for i, c := range list {
		if c.Type.Name == "device" {
			if i >= 100 {
				t.Fatal("a device comes late")
			}
			continue
		}
		if i < 2100 {
			half[c.Type.Name]++
		}
		to := c.Get(c.Type.Fields[0].Name)
		if before, again := of[c.ID]; again && before != to {
			t.Fatalf("%s moved", c.ID)
		}
		of[c.ID] = to
		if _, ok := c.Values.Get(1); !ok {
			absent++
		}
	}
	if n := half["alarm"]; n < 400 || n > 600 {
		t.Errorf("of the first 2,000, %d are alarms", n)
	}
	if n := len(of); n < 1800 || n > 2200 {
		t.Errorf("%d items of 4,000 commands, half of which update", n)
	}
	if absent < 800 || absent > 1200 {
		t.Errorf("%d of 4,000 lack the field that they may lack", absent)
	}
}

// An id that a field's own limits don't allow is no value of it.
func TestReferencesWithLimits(t *testing.T) {
	types := read(t, `types:
  site: {}
  device: {fields: {site_id: {type: string, required: true, references: site, maxLength: 8}, other: {type: string}}}
  sensor: {fields: {site_id: {type: string, references: site, enum: [s1, s2]}}}
`)
	for _, c := range all(t, Config{Types: types, Tenants: 2, Seed: 1, IDs: ids.UUIDv7}) {
		if _, ok := c.Values.Get(0); ok && c.Type.Name == "sensor" {
			t.Fatalf("%+v", c)
		}
	}
}

// The same seed makes the same commands, whatever the order of a map.
func TestDeclaredSeeds(t *testing.T) {
	types := read(t, declarations.Random(rand.New(rand.NewPCG(1, 1)), 6))
	cfg := Config{Types: types, Tenants: 3, Seed: 8, IDs: ids.UUIDv7, UpdateShare: 0.2}
	first := lines(t, cfg)
	if !bytes.Equal(lines(t, cfg), first) {
		t.Error("the same seed makes other commands")
	}
	cfg.Seed++
	if slices.Equal(lines(t, cfg), first) {
		t.Error("another seed makes the same commands")
	}
}

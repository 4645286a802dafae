package query_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/base/decimal"
	"tributary/internal/messages"
	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/test/support/declarations"
)

// oddIDs are ids that a path could take for something else, or that need an encoding.
var oddIDs = []string{"1", "a/b", "..", ".", "%2F", "a%20b+c", "?x=1&y", ";", "things", "v1", "{thing_id}", `"<é> 𝄞\`, "ÿ", strings.Repeat("ü", 128)}

func mustRead(t testing.TB, text string) *schema.Set {
	t.Helper()
	declared, err := schema.Read("types.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return declared
}

// randomPut returns a put with values that its fields can have. It refers to ids.
func randomPut(r *rand.Rand, t *schema.Type, tenant, id string, ids []string) messages.Command {
	c := messages.Command{Type: t, TenantID: tenant, ID: id}
	for position, f := range t.Fields {
		switch {
		case !f.Needed() && r.IntN(3) == 0:
		case f.References != nil:
			if to := ids[r.IntN(len(ids))]; valid(f, to) {
				c.Values.Set(position, to)
			} else {
				c.Values.Set(position, f.Sample(r))
			}
		default:
			c.Values.Set(position, f.Sample(r))
		}
	}
	if r.IntN(2) == 0 {
		c.Version = 1 + r.Int64N(1<<60)
	}
	if r.IntN(2) == 0 {
		c.Attributes = `{"a":[1,{"b":"c"},null,true],"n":-12.50}`
	}
	return c
}

func valid(f *schema.Field, value string) bool {
	_, err := f.Check(value)
	return err == nil
}

// shownAs returns a put as answers must have it, values as json.Decoder makes them with UseNumber.
func shownAs(c *messages.Command) map[string]any {
	want := map[string]any{"tenant_id": c.TenantID, c.Type.ID: c.ID}
	for position, f := range c.Type.Fields {
		text, there := c.Values.Get(position)
		switch {
		case !there && f.HasDefault:
			text = f.Default
		case !there && f.Shown():
			want[f.Name] = ""
			continue
		case !there:
			continue
		}
		switch f.Type {
		case schema.String:
			want[f.Name] = text
		case schema.Number:
			want[f.Name] = plainNumber(text)
		case schema.Integer:
			want[f.Name] = json.Number(plainNumber(text))
		default:
			want[f.Name] = plainJSON(text)
		}
	}
	if c.Version != 0 {
		want["version"] = json.Number(fmt.Sprint(c.Version))
	}
	if c.Attributes != "" {
		want["attributes"] = plainJSON(c.Attributes)
	}
	return want
}

func plainNumber(text string) string {
	b, _ := decimal.AppendPlain(nil, text)
	return string(b)
}

// plainJSON decodes a value. Numbers are in the one form in which equal ones are equal.
func plainJSON(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(fmt.Sprintf("%s: %v", text, err))
	}
	return plainValue(v)
}

func plainValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		return json.Number(plainNumber(string(v)))
	case map[string]any:
		for name := range v {
			v[name] = plainValue(v[name])
		}
	case []any:
		for i := range v {
			v[i] = plainValue(v[i])
		}
	}
	return v
}

// pathOf returns a route's path for a tenant and an id.
func pathOf(route *schema.Route, tenant, id string) string {
	path := strings.Replace(route.Path, "{tenant_id}", tenant, 1)
	if at := strings.IndexByte(path, '{'); at >= 0 {
		path = path[:at] + url.PathEscape(id) + path[strings.IndexByte(path, '}')+1:]
	}
	return path
}

// TestDeclaredTypesAreReadBack writes items of random declarations and reads them back through every route: alone, by pages, by
// reference and as exports. Some items are older than a field, and some stand for deleted ones.
func TestDeclaredTypesAreReadBack(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			text := declarations.Random(r, 1+r.IntN(9))
			declared := mustRead(t, text)
			fake := newFakeOf(t, declared)
			want := map[*schema.Type]map[string]map[string]any{}
			referred := map[*schema.Reference]map[string]map[string]map[string]any{}
			for _, typ := range declared.Types {
				want[typ] = map[string]map[string]any{}
				for _, id := range oddIDs {
					c := randomPut(r, typ, "tenantA", id, oddIDs)
					other := randomPut(r, typ, "tenantB", id, oddIDs)
					fake.put(table.Item(&c), table.Item(&other))
					want[typ][id] = shownAs(&c)
				}
				gone := messages.Delete(typ, "tenantA", "gone")
				gone.Version = 9
				fake.put(table.Tombstone(&gone, time.Unix(2e9, 0)))
				for _, ref := range typ.References {
					referred[ref] = map[string]map[string]map[string]any{}
					for id, item := range want[typ] {
						if to, ok := item[ref.Field.Name].(string); ok && to != "" {
							if referred[ref][to] == nil {
								referred[ref][to] = map[string]map[string]any{}
							}
							referred[ref][to][id] = item
						}
					}
				}
			}
			base := serve(t, defaults(), query.Deps{DynamoDB: fake, Types: declared})
			for _, route := range declared.Routes() {
				switch route.Kind {
				case schema.GetOne:
					for id, item := range want[route.Type] {
						a := get(t, base+pathOf(&route, "tenantA", id)+"?consistent=true")
						if a.status != 200 || !reflect.DeepEqual(plainJSON(a.body), any(item)) {
							t.Errorf("%s of %q: got %s\nwant %v\n%s", route.Path, id, a, item, text)
						}
					}
					if a := get(t, base+pathOf(&route, "tenantA", "gone")); a.status != 404 || !strings.Contains(a.body, "There is no such "+route.Type.Name+".") {
						t.Errorf("%s of what is deleted: %s", route.Path, a)
					}
				case schema.List:
					readsList(t, base+pathOf(&route, "tenantA", ""), want[route.Type])
				case schema.ByReference:
					for _, id := range oddIDs {
						readsList(t, base+pathOf(&route, "tenantA", id), referred[route.Reference][id])
					}
				}
			}
		})
	}
}

// readsList reads a list by pages, both ways, and as an export.
func readsList(t *testing.T, address string, want map[string]map[string]any) {
	t.Helper()
	items := make([]any, 0, len(want))
	for _, id := range slices.Sorted(maps.Keys(want)) {
		items = append(items, want[id])
	}
	got := pages(t, address+"?limit=3")
	if !reflect.DeepEqual(got, items) {
		t.Errorf("%s: got\n%v\nwant\n%v", address, got, items)
	}
	got = pages(t, address+"?limit=5&descending=true")
	if slices.Reverse(got); !reflect.DeepEqual(got, items) {
		t.Errorf("%s, descending: got\n%v\nwant\n%v", address, got, items)
	}
	got = []any{}
	for line := range strings.Lines(get(t, address, "Accept", "application/x-ndjson").body) {
		got = append(got, plainJSON(line))
	}
	if !reflect.DeepEqual(got, items) {
		t.Errorf("%s, export: got\n%v\nwant\n%v", address, got, items)
	}
}

func pages(t *testing.T, address string) []any {
	t.Helper()
	items := []any{}
	for cursor := ""; ; {
		page, _ := plainJSON(get(t, address+cursor).body).(map[string]any)
		some, ok := page["items"].([]any)
		if !ok {
			t.Fatalf("%s%s: got %v", address, cursor, page)
		}
		items = append(items, some...)
		next, _ := page["next_cursor"].(string)
		if next == "" {
			return items
		}
		cursor = "&cursor=" + next
	}
}

// TestOlderItemsHaveDefaults: a field that was declared after an item was written has its default, or is absent.
func TestOlderItemsHaveDefaults(t *testing.T) {
	declared := mustRead(t, `types:
  site: {}
  device:
    fields:
      name:   {type: string, required: true}
      site_id: {type: string, references: site}
      state:  {type: string, enum: [new, old], default: new}
      watts:  {type: number, default: 1.50}
      ports:  {type: integer, default: 4}
      on:     {type: boolean, default: false}
      tags:   {type: array, default: [a]}
      serial: {type: number}
      made:   {type: string, format: date}
      limit:  {type: number, required: true}
`)
	older := mustRead(t, "types: {device: {fields: {name: {type: string}}}}")
	fake := newFakeOf(t, declared)
	c := messages.Put(older.Type("device"), "tenantA", "d1", "lamp")
	fake.put(table.Item(&c))
	base := serve(t, defaults(), query.Deps{DynamoDB: fake, Types: declared})
	const device = `{"tenant_id":"tenantA","device_id":"d1","name":"lamp","state":"new","watts":"1.5","ports":4,"on":false,"tags":["a"],"limit":""}`
	for path, want := range map[string]string{"/devices/d1": device, "/devices": `{"items":[` + device + `]}`, "/sites/s1/devices": `{"items":[]}`} {
		if a := get(t, base+"/v1/tenants/tenantA"+path); a.status != 200 || strings.TrimSpace(a.body) != want {
			t.Errorf("%s: got %s\nwant %s", path, a, want)
		}
	}
}

// TestIndexesAnswerTheirTypeOnly: an index has the items of every type with the field; a route answers those of its own. The
// fields' names are words that DynamoDB reserves.
func TestIndexesAnswerTheirTypeOnly(t *testing.T) {
	declared := mustRead(t, `types:
  site: {}
  read: {fields: {order: {type: string, references: site}, date: {type: string, references: reads}}}
  reads: {plural: all_reads, fields: {order: {type: string, references: site}}}
  rea: {fields: {order: {type: string, references: site}}}
`)
	fake := newFakeOf(t, declared)
	for _, name := range []string{"read", "reads", "rea"} {
		for _, id := range []string{"1", "2"} {
			c := messages.Put(declared.Type(name), "tenantA", name+id, "s1")
			fake.put(table.Item(&c))
		}
	}
	c := messages.Put(declared.Type("read"), "tenantA", "both", "s1", "r1")
	fake.put(table.Item(&c))
	base := serve(t, defaults(), query.Deps{DynamoDB: fake, Types: declared}) + "/v1/tenants/tenantA"
	ids := func(path, name string) (ids []string) {
		for _, item := range pages(t, base+path) {
			ids = append(ids, item.(map[string]any)[name].(string))
		}
		return ids
	}
	for path, want := range map[string][]string{
		"/sites/s1/reads?limit=1 read_id": {"both", "read1", "read2"}, "/sites/s1/all_reads?limit=1 reads_id": {"reads1", "reads2"},
		"/sites/s1/reas?limit=1 rea_id": {"rea1", "rea2"}, "/all_reads/r1/reads?limit=1 read_id": {"both"}, "/all_reads/s1/reads?limit=1 read_id": nil,
	} {
		path, name, _ := strings.Cut(path, " ")
		if got := ids(path, name); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
	// Each index has cursors of its own, though the ids referred to are equal.
	cursor := decode[ordersPageAny](t, get(t, base+"/sites/s1/reads?limit=1")).NextCursor
	if a := get(t, base+"/all_reads/s1/reads?limit=1&cursor="+cursor); a.status != 400 {
		t.Errorf("the cursor of one index is good for another: %s", a)
	}
}

// TestEveryRouteIsReached: whatever plurals are declared, each route answers its own type, with every id.
func TestEveryRouteIsReached(t *testing.T) {
	texts := []string{
		// Names that paths and documents have already, and plurals that are names of others.
		"types: {v1: {plural: tenants}, docs: {plural: v1, fields: {x: {type: string, references: v1}}}, openapi: {plural: docs, fields: {x: {type: string, references: docs}}}, " +
			"a: {plural: b, fields: {b: {type: string, references: b}}}, b: {plural: a, fields: {a: {type: string, references: a}}}, problem: {}, tenant_: {}, items: {plural: items}}",
	}
	r := rand.New(rand.NewPCG(7, 8))
	for range 10 {
		texts = append(texts, declarations.Random(r, 1+r.IntN(9)))
	}
	for _, text := range texts {
		declared := mustRead(t, text)
		fake := newFakeOf(t, declared)
		for _, typ := range declared.Types {
			for _, id := range oddIDs {
				c := randomPut(r, typ, "tenantA", id, oddIDs)
				for position, f := range typ.Fields {
					if f.References != nil {
						c.Values.Set(position, id)
					}
				}
				fake.put(table.Item(&c))
			}
		}
		reg := prometheus.NewRegistry()
		base := serve(t, defaults(), query.Deps{DynamoDB: fake, Types: declared, Metrics: reg})
		for _, route := range declared.Routes() {
			for _, id := range oddIDs {
				a := get(t, base+pathOf(&route, "tenantA", id))
				answer := plainJSON(a.body).(map[string]any)
				items, _ := answer["items"].([]any)
				if route.Kind == schema.GetOne {
					items = []any{answer}
				}
				found := slices.ContainsFunc(items, func(item any) bool { return item.(map[string]any)[route.Type.ID] == id })
				if a.status != 200 || !found || route.Kind == schema.ByReference && len(items) != 1 {
					t.Errorf("%s with %q: %s\n%s", route.Path, id, a, text)
				}
			}
			if got := requestsOf(t, reg, route.Path); got != len(oddIDs) {
				t.Errorf("%s was counted %d times, want %d", route.Path, got, len(oddIDs))
			}
		}
	}
}

func requestsOf(t *testing.T, reg *prometheus.Registry, route string) (n int) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "tributary_query_requests_total" && l.GetName() == "route" && l.GetValue() == route {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return n
}

// TestTextsNameTheDeclaredTypes: documents, log and metrics speak of what is declared, and of nothing else.
func TestTextsNameTheDeclaredTypes(t *testing.T) {
	declared := mustRead(t, `types:
  patient: {description: Somebody who is <treated> here., fields: {born_on: {type: string, format: date}, tags: {type: array}, kind: {type: string, enum: [in, out]}}}
  visit: {fields: {patient_id: {type: string, references: patient, description: Whose visit it is.}, minutes: {type: integer}}}
`)
	fake, log, reg := newFakeOf(t, declared), &lockedBuffer{}, prometheus.NewRegistry()
	nameless := messages.Put(declared.Type("visit"), "tenantA", "v1")
	item := table.Item(&nameless)
	item[table.SKAttribute] = &types.AttributeValueMemberS{Value: "visit#"}
	fake.put(item)
	base := serve(t, defaults(), query.Deps{DynamoDB: fake, Types: declared, Log: slog.New(slog.NewJSONHandler(log, nil)), Metrics: reg})
	if a := get(t, base+"/v1/tenants/tenantA/visits"); strings.TrimSpace(a.body) != `{"items":[]}` {
		t.Errorf("got %s", a)
	}
	asJSON, page := get(t, base+"/openapi.json").body, get(t, base+"/docs").body
	for text, wanted := range map[string][]string{
		asJSON:       {"its table: patients and visits, each tenant's own", "a slash in an id is %2F", `"list-patient-visits"`, `"VisitPage"`, `"Somebody who is \u003ctreated\u003e here."`},
		log.String(): {"item left out, its key names no patient or visit"},
		page: {"patients and visits", "$API/v1/tenants/tenantA/patients/p1/visits", "Somebody who is &lt;treated&gt; here.", "Whose visit it is.",
			`<code>born_on</code> <i>optional</i></td><td>date`, `<code>tags</code> <i>optional</i></td><td>list<`, `string, one of &#34;in&#34;, &#34;out&#34;<`},
		helpOf(t, reg, "tributary_query_unreadable_items_total"): {"names no patient or visit."},
	} {
		for _, want := range wanted {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in %.2000s", want, text)
			}
		}
		for _, other := range []string{"user_", "order_", "users", "orders"} {
			if strings.Contains(text, other) {
				t.Errorf("%q is in a text of types that are others", other)
			}
		}
	}
}

func helpOf(t *testing.T, reg *prometheus.Registry, name string) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetHelp()
		}
	}
	return ""
}

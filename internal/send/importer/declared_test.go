package importer

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
	"tributary/test/faults"
	"tributary/test/support/declarations"
	"tributary/test/support/sqstest"
)

// randomTypes reads a random declaration.
func randomTypes(t testing.TB, r *rand.Rand) *schema.Set {
	t.Helper()
	types, err := schema.Read("types.yaml", []byte(declarations.Random(r, 1+r.IntN(5))))
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// awkward are texts that tables and JSON have to quote.
var awkward = []string{"", " a ", "a,b", "say \"hi\"", "two\nlines", "\r\n", "'", "\\", "\t", "größe\u2028", "null", "-5", "a;b|c"}

// randomValue returns a value that the field can have. Of a field that may be absent it is not empty, because tables can't say that.
func randomValue(r *rand.Rand, f *schema.Field) string {
	candidates := []string{f.Sample(r), f.Example()}
	switch f.Type {
	case schema.String:
		candidates = append(candidates, awkward[r.IntN(len(awkward))], fmt.Sprint("id-", r.IntN(100)))
	case schema.Number, schema.Integer:
		candidates = append(candidates, "7", "-12", "1e2", "1.50e1", "123456789012345678901234567890", "0.10")
	case schema.Object:
		candidates = append(candidates, `{"a":{"b":[1.0,null,"x\"\n"]},"c":12345678901234567890}`)
	case schema.Array:
		candidates = append(candidates, `[ {"a": 1e2} , [], "," ]`)
	}
	r.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	for _, text := range candidates {
		if _, err := f.Check(text); err == nil && (text != "" || f.Needed()) {
			return text
		}
	}
	return ""
}

// randomCommand returns a valid command without attributes.
func randomCommand(t testing.TB, r *rand.Rand, typ *schema.Type, remove bool) messages.Command {
	t.Helper()
	c := messages.Command{Type: typ, TenantID: fmt.Sprint("t", r.IntN(3)), ID: fmt.Sprint("id ", r.IntN(1000)), Delete: remove}
	if r.IntN(2) == 0 {
		c.Version = 1 + r.Int64()
	}
	for position, f := range typ.Fields {
		if remove || !f.Needed() && r.IntN(3) == 0 {
			continue
		}
		if text := randomValue(r, f); text != "" || f.Needed() {
			c.Values.Set(position, text)
		}
	}
	if err := c.Validate(); err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	return c
}

// cell is the text of a command's member in a table.
func cell(c *messages.Command, name string) string {
	switch slot := c.Type.Slot(name); {
	case name == schema.TypeName:
		return c.Name()
	case slot == schema.SlotTenantID:
		return c.TenantID
	case slot == schema.SlotVersion && c.Version > 0:
		return fmt.Sprint(c.Version)
	case slot == schema.SlotID || slot.IsField():
		return c.Get(name)
	}
	return ""
}

// table writes commands as CSV, with a column for each name.
func table(list []messages.Command, names []string, prefix string) string {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	row := make([]string, len(names))
	for i, name := range names {
		row[i] = prefix + name
	}
	_ = w.Write(row)
	for _, c := range list {
		for i, name := range names {
			row[i] = cell(&c, name)
		}
		_ = w.Write(row)
	}
	w.Flush()
	return b.String()
}

// objects writes commands as JSON Lines, in an order of members of their own, with null for some that are absent.
func objects(r *rand.Rand, list []messages.Command, names []string, prefix string) string {
	var b []byte
	for _, c := range list {
		b = append(b, '{')
		for i, at := range r.Perm(len(names)) {
			if i > 0 {
				b = append(b, ", "...)
			}
			name := names[at]
			b = append(rawjson.AppendString(b, prefix+name), ':')
			text, f := cell(&c, name), c.Type.Field(name)
			given := text != ""
			if f != nil {
				_, given = c.Values.Get(f.Position)
			}
			switch {
			case !given:
				b = append(b, "null"...)
			case f != nil && (f.Type == schema.Boolean || f.Type == schema.Object || f.Type == schema.Array):
				b = append(b, text...)
			case f != nil && f.Type != schema.String && r.IntN(2) == 0: // a number, exact
				b = append(b, text...)
			default:
				b = rawjson.AppendString(b, text)
			}
		}
		b = append(b, "}\n"...)
	}
	return string(b)
}

// arrived returns the commands on a queue as texts, sorted. They carry their defaults.
func arrived(t testing.TB, q *sqstest.Queue, types *schema.Set) []string {
	t.Helper()
	var list []string
	for _, m := range q.Messages() {
		decoded, bad := messages.Decode(types, nil, m.Body, nil)
		if bad != nil {
			t.Fatal(bad)
		}
		for _, d := range decoded {
			if d.Err != nil {
				t.Fatalf("%v: %s", d.Err, d.Text)
			}
			list = append(list, d.Text)
		}
	}
	slices.Sort(list)
	return list
}

// What is written as a table or as objects arrives as the same commands, whatever the types.
func TestImportBringsBackRandomCommands(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 1))
		types := randomTypes(t, r)
		mixed := seed%2 == 0
		first, remove := types.Types[r.IntN(len(types.Types))], r.IntN(4) == 0
		var list []messages.Command
		var want []string
		for range 1 + r.IntN(40) {
			typ := first
			if mixed {
				typ, remove = types.Types[r.IntN(len(types.Types))], r.IntN(4) == 0
			}
			c := randomCommand(t, r, typ, remove)
			list = append(list, c)
			if !c.Delete {
				typ.ApplyDefaults(&c.Values)
			}
			want = append(want, string(messages.Append(nil, &c)))
		}
		slices.Sort(want)
		m := Mapping{Types: types}
		if !mixed {
			m.Command = list[0].Name()
		}
		names := m.names()
		prefix := ""
		if r.IntN(2) == 0 {
			prefix = "col "
			m.Columns = map[string]string{}
			for _, name := range names {
				if m.mapped(m.kind(), name) {
					m.Columns[name] = prefix + name
				}
			}
		}
		if err := m.Check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		plain := ""
		for _, c := range list {
			plain += string(messages.Append(nil, &c)) + "\n"
		}
		for name, file := range map[string]struct {
			content string
			mapping Mapping
		}{
			"f.csv":     {table(list, names, prefix), m},
			"f.jsonl":   {objects(r, list, names, prefix), m},
			"g.jsonl":   {plain, Mapping{Types: types}},
			"g.csv":     {table(list, names, prefix), m},
			"h.json":    {"[" + strings.ReplaceAll(strings.TrimSpace(objects(r, list, names, prefix)), "\n", ",\n") + "]", m},
			"i.csv.gz":  {gzipped(table(list, names, prefix)), m},
			"j.unknown": {table(list, names, prefix), m},
		} {
			if strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".jsonl") {
				if file.mapping.Command == "" && file.mapping.Columns == nil && name != "g.jsonl" {
					file.mapping.Columns = map[string]string{"type": "type"} // objects, not commands
				}
			}
			q, result, rejected, err := importText(t, name, file.content, file.mapping, func(o *Options) { o.Quote = QuoteDouble })
			if got := arrived(t, q, types); err != nil || !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s: %v, rejected %s\ngot  %s\nwant %s", seed, name, err, rejected, got, want)
			}
			if result.Rows != int64(len(list)) || result.Rejected != 0 {
				t.Fatalf("seed %d, %s: %+v", seed, name, result.Counts)
			}
		}
	}
}

// wrong are values as JSON. Each is wrong for most fields.
var wrong = []string{
	`"nope"`, `""`, `"1.5"`, `"1e200"`, `"é"`, `"` + strings.Repeat("é", 60) + `"`, `5`, `-31`, `0.5`, `1e2`, strings.Repeat("7", 40), `true`, `false`,
	`{"a":1}`, `{"a":1,"a":2}`, `{"":1}`, `[1]`, `[1e999]`, `"2026-02-30"`, `"a#b"`, deep(40),
}

// A value is refused with the words that the worker has for it.
func TestWrongValuesAreToldAsByTheWorker(t *testing.T) {
	compared := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		types := randomTypes(t, r)
		typ := types.Types[r.IntN(len(types.Types))]
		command := randomCommand(t, r, typ, false)
		m := Mapping{Types: types, Command: typ.Put}
		for position, f := range typ.Fields {
			for _, token := range wrong {
				said := func(token string) string {
					c := command
					c.Values = schema.Values{}
					for i := range typ.Fields {
						if text, ok := command.Values.Get(i); ok && i != position {
							c.Values.Set(i, text)
						}
					}
					text := string(messages.Append(nil, &c))
					text = text[:len(text)-1] + `,"` + f.Name + `":` + token + "}"
					decoded, bad := messages.Decode(types, nil, text, nil)
					if bad != nil {
						t.Fatal(bad)
					}
					var row messages.Command
					err := m.forObjects(nil).command(&row, text, 0)
					want := decoded[0].Err
					if f.Type == schema.String && (token[0] == '-' || '0' <= token[0] && token[0] <= '9') {
						want = nil // is taken as it is written
						if err != nil {
							want = err
						}
					}
					if fmt.Sprint(err) != fmt.Sprint(want) {
						t.Fatalf("seed %d, %s: %s: %v, the worker says %v", seed, f.Name, token, err, want)
					}
					if decoded[0].Err == nil {
						return ""
					}
					return decoded[0].Err.Error()
				}
				want := said(token)
				// In a table the same, where a text can be what JSON has.
				var text string
				switch document := token[0] == '{' || token[0] == '['; {
				case f.Type == schema.Object && token[0] == '{', f.Type == schema.Array && token[0] == '[':
					text = token
				case document || f.Type == schema.Object || f.Type == schema.Array || f.Type == schema.Boolean && token[0] == '"':
					continue
				case token[0] == '"':
					s := rawjson.New(token)
					text = s.String()
				case f.Type == schema.Number || f.Type == schema.Integer:
					if text = token; text == "true" || text == "false" {
						continue
					}
				default:
					continue
				}
				if text == "" && !f.Needed() {
					continue // it is absent
				}
				compared++
				names := m.names()
				lines := table([]messages.Command{command}, names, "")
				record, err := csv.NewReader(strings.NewReader(lines)).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				mapping, err := m.forColumns("f.csv", record[0], nil)
				if err != nil {
					t.Fatal(err)
				}
				record[1][slices.Index(names, f.Name)] = text
				var row messages.Command
				got := ""
				if err := mapping.command(&row, record[1], 0); err != nil {
					got = err.Error()
				}
				if got != want {
					t.Fatalf("seed %d, %s: in a table %q, the worker says %q", seed, f.Name, got, want)
				}
			}
		}
	}
	if compared < 1000 {
		t.Errorf("%d values were compared", compared)
	}
}

const fleet = `types:
  site:
    fields:
      name: {type: string, required: true}
  device:
    fields:
      site_id: {type: string, references: site}
      on:      {type: boolean}
      count:   {type: integer, default: 3}
      note:    {type: string}
      settings: {type: object}
  reading:
    fields:
      device_id: {type: string, required: true, references: device}
      site_id:   {type: string, references: site}
      celsius:   {type: number, required: true}
`

func fleetTypes(t testing.TB) *schema.Set {
	t.Helper()
	types, err := schema.Read("fleet.yaml", []byte(fleet))
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func TestRowsOfDeclaredTypes(t *testing.T) {
	types := fleetTypes(t)
	for name, test := range map[string]struct {
		file, content string
		mapping       Mapping
		sent          []string
		rejected      string // a part of the reason; "": none
	}{
		"an empty cell is absent where it may be": {"f.csv", "tenant_id,device_id,site_id,on,count,note,settings\nt,d1,,,,,\n", Mapping{Command: "put_device"},
			[]string{`{"type":"put_device","tenant_id":"t","device_id":"d1","count":3}`}, ""},
		"an empty cell is a text where one is needed": {"f.csv", "tenant_id,site_id,name\nt,s1,\n", Mapping{Command: "put_site"},
			[]string{`{"type":"put_site","tenant_id":"t","site_id":"s1","name":""}`}, ""},
		"a column for an optional field may lack": {"f.csv", "tenant_id,device_id\nt,d1\n", Mapping{Command: "put_device"},
			[]string{`{"type":"put_device","tenant_id":"t","device_id":"d1","count":3}`}, ""},
		"values by their types": {"f.csv", "device_id,on,count,settings\nd1,true,1e2,\"{\"\"a\"\":1.0}\"\n", Mapping{Command: "put_device", Tenant: "t"},
			[]string{`{"type":"put_device","tenant_id":"t","device_id":"d1","on":true,"count":100,"settings":{"a":1.0}}`}, ""},
		"JSON by its types": {"f.jsonl", `{"device_id":7,"on":false,"count":"5","note":1.50,"site_id":null,"settings":{"a":[1.0]}}` + "\n", Mapping{Command: "put_device", Tenant: "t"},
			[]string{`{"type":"put_device","tenant_id":"t","device_id":"7","on":false,"count":5,"note":"1.50","settings":{"a":[1.0]}}`}, ""},
		"each row its type, each type its fields": {"f.csv", "type,tenant_id,site_id,name,device_id,celsius\nput_site,t,s1,Hall,,\nput_device,t,s1,,d1,x\nput_reading,t,,,d1,1\ndelete_site,t,s1,,,\n",
			Mapping{IDs: ids.UUIDv7}, nil, ""},
		"an id that a row lacks": {"f.csv", "type,tenant_id,device_id,celsius\nput_reading,t,d1,1\n", Mapping{}, nil, "reading_id: the row has none"},
		"a field that a row lacks": {"f.csv", "type,tenant_id,device_id,reading_id\nput_reading,t,d1,r1\n", Mapping{}, nil,
			"celsius: the row has none"},
		"a column that has the name of another type's field is carried": {"f.csv", "tenant_id,device_id,celsius,note\nt,d1,5,x\n",
			Mapping{Command: "put_device", AllAttributes: true}, []string{`{"type":"put_device","tenant_id":"t","device_id":"d1","count":3,"note":"x","attributes":{"celsius":"5"}}`}, ""},
		"an unknown command": {"f.csv", "type,tenant_id,device_id\nput_order,t,d1\n", Mapping{}, nil,
			`type: "put_order" is not one of put_site, put_device, put_reading, delete_site, delete_device, delete_reading`},
		"no boolean": {"f.csv", "tenant_id,device_id,on\nt,d1,yes\n", Mapping{Command: "put_device"}, nil, `on: "yes" is neither true nor false`},
		"a JSON object that says its type last": {"f.jsonl", `{"celsius":"x","id":"s1","name":"Hall","kind":"put_site"}` + "\n",
			Mapping{Tenant: "t", Columns: map[string]string{"type": "kind", "site_id": "id"}}, []string{`{"type":"put_site","tenant_id":"t","site_id":"s1","name":"Hall"}`}, ""},
		"no member of that type": {"f.jsonl", `{"id":"s1","kind":"put_hall"}` + "\n",
			Mapping{Tenant: "t", Columns: map[string]string{"type": "kind"}}, nil, `type: "put_hall" is not one of`},
		"a type that is no text": {"f.jsonl", `{"id":"s1","kind":[true]}` + "\n",
			Mapping{Tenant: "t", Columns: map[string]string{"type": "kind"}}, nil, `type: [true] is neither string nor number`},
		"a fault before an unknown type": {"f.jsonl", `{"id":"s1","kind":"put_hall"` + "\n",
			Mapping{Tenant: "t", Columns: map[string]string{"type": "kind"}}, nil, `the line is not JSON`},
	} {
		test.mapping.Types = types
		if err := test.mapping.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		reason := ""
		q, result, _, err := importText(t, test.file, test.content, test.mapping, func(o *Options) {
			o.Refusal = func(_ string, _ int64, why *messages.Error) { reason = why.Error() }
		})
		if err != nil || test.rejected == "" && reason != "" || !strings.Contains(reason, test.rejected) {
			t.Errorf("%s: %v, rejected: %q, want %q", name, err, reason, test.rejected)
		}
		got := arrived(t, q, types)
		if test.sent != nil && !slices.Equal(got, test.sent) || result.Rows != result.Commands+result.Rejected {
			t.Errorf("%s: %+v\ngot  %s\nwant %s", name, result.Counts, got, test.sent)
		}
		if strings.HasPrefix(name, "each row") && len(got) != 4 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Ids that an item refers to are hinted at as its own is.
func TestRoundedReferencesAreHintedAt(t *testing.T) {
	var warned []string
	_, result, _, err := importText(t, "f.csv", "device_id,reading_id,celsius\nd1,r1,1\n1.23457E+12,r2,1\n1.23457E+12,r3,1\n",
		Mapping{Types: fleetTypes(t), Command: "put_reading", Tenant: "t"}, func(o *Options) {
			o.Warn = func(line string) { warned = append(warned, line) }
		})
	if err != nil || result.Rejected > 0 || len(warned) != 1 || !strings.Contains(warned[0], "f.csv:3: the id 1.23457E+12") {
		t.Errorf("%v, %+v, %q", err, result.Counts, warned)
	}
}

func TestMappingsOfDeclaredTypes(t *testing.T) {
	types := fleetTypes(t)
	for name, test := range map[string]struct {
		mapping Mapping
		says    string
	}{
		"no such command":    {Mapping{Command: "put_devise"}, `--type: "put_devise" is not one of put_site, put_device, put_reading, delete_site, delete_device, delete_reading, did you mean put_device?`},
		"no such field":      {Mapping{Columns: map[string]string{"celsiu": "c"}}, "only type, tenant_id, site_id, device_id, reading_id, name, on, count, note, settings, celsius, version, did you mean celsius?"},
		"another's field":    {Mapping{Command: "put_device", Columns: map[string]string{"celsius": "c"}}, "a put_device has no field celsius"},
		"a delete's field":   {Mapping{Command: "delete_device", Columns: map[string]string{"note": "c"}}, "a delete_device has no field note"},
		"a delete's made id": {Mapping{Command: "delete_device", IDs: ids.UUIDv7}, "a delete_device needs the id"},
	} {
		test.mapping.Types = types
		if err := test.mapping.Check(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
	}
	for content, says := range map[string]string{
		"tenant_id,x\n":           "--type put_reading (or put_device, put_site, delete_reading, delete_device, delete_site)",
		"type,x\n":                "--tenant ID",
		"type,tenant_id,on,on\n":  "two columns are called on",
		"type,tenant_id\nput_a\n": "",
	} {
		if _, _, _, err := importText(t, "f.csv", content, Mapping{Types: types}); says != "" && (err == nil || !strings.Contains(err.Error(), says)) || says == "" && err != nil {
			t.Errorf("%q: %v, want %q", content, err, says)
		}
	}
}

func TestWriteUnitsOfDeclaredTypes(t *testing.T) {
	types := fleetTypes(t)
	site, device, reading := types.Types[0], types.Types[1], types.Types[2]
	units := newWriteUnits(types)
	put := func(typ *schema.Type, values map[string]string) messages.Command {
		c := messages.Command{Type: typ, TenantID: "t", ID: "i"}
		for name, text := range values {
			c.Values.Set(typ.Field(name).Position, text)
		}
		return c
	}
	long := strings.Repeat("x", 2048)
	for name, test := range map[string]struct {
		command messages.Command
		want    int64
	}{
		"a site is in both indexes by site":         {put(site, map[string]string{"name": "x"}), 3},
		"of three KiB":                              {put(site, map[string]string{"name": long}), 9},
		"a device without a site, by its id":        {put(device, nil), 2},
		"a device of a site":                        {put(device, map[string]string{"site_id": "s"}), 4},
		"of three KiB, of a site":                   {put(device, map[string]string{"site_id": "s", "note": long}), 12},
		"a reading, by its device":                  {put(reading, map[string]string{"device_id": "d"}), 2},
		"a reading of a site too":                   {put(reading, map[string]string{"device_id": "d", "site_id": "s"}), 4},
		"a delete, of all that it may be in":        {messages.Delete(reading, "t", "i"), 4},
		"a delete of what nothing but its id is of": {messages.Delete(site, "t", "i"), 3},
	} {
		if got := units.of(&test.command); got != test.want {
			t.Errorf("%s: %d units, want %d", name, got, test.want)
		}
	}
}

// Checkpoints of imports from before types were declared stay good; with declared types they are those of one declaration.
func TestSettingsOfCheckpoints(t *testing.T) {
	settings := func(m Mapping, quote Quote) string {
		o := &Options{Format: CSV, Delimiter: ';', Header: []string{"h"}, Mapping: m, Rejected: "r", Quote: quote}
		o.Queue.URL = "u"
		return o.settings()
	}
	columns := map[string]string{"order_id": "k", "user_id": "c"}
	for i, test := range []struct {
		mapping  Mapping
		want, of string // without and with a quote
	}{
		{Mapping{}, "563f56c4acb56dc5", "e2bbcb357f3a01b7"},
		{Mapping{Command: "put_user", Tenant: "t"}, "9df4ab1b609a6c8e", "1ab5005cc372f85e"},
		{Mapping{Command: "put_order", Columns: columns, IDs: ids.UUIDv7}, "3c50abff20488fe3", "60ca4552f1ffa6b5"},
		{Mapping{Command: "delete_user"}, "139b54ca174c9a1c", "9080e4b9e4def734"},
		{Mapping{Command: "delete_order", Columns: map[string]string{}}, "ba91a49b4ee3a762", "38b54d16cf711232"},
		{Mapping{Command: "put_order", Attributes: []string{"a"}, AllAttributes: true}, "3d6610b41c122ce8", "155a3a6e3fc17da0"},
	} {
		if got, of := settings(test.mapping, QuoteAuto), settings(test.mapping, QuoteNone); got != test.want || of != test.of {
			t.Errorf("%d: %s and %s, older programs have %s and %s", i, got, of, test.want, test.of)
		}
		test.mapping.Types = schema.Builtin()
		if got := settings(test.mapping, QuoteAuto); got != test.want {
			t.Errorf("%d, types given: %s", i, got)
		}
	}
	seen := map[string]bool{}
	for _, m := range []Mapping{{}, {Types: fleetTypes(t)}, {Types: fleetTypes(t), Command: "put_site"}, {Types: fleetTypes(t), Command: "put_device"}} {
		if seen[settings(m, QuoteAuto)] {
			t.Errorf("%+v has the settings of another", m)
		}
		seen[settings(m, QuoteAuto)] = true
	}
	other, err := schema.Read("other.yaml", []byte(strings.Replace(fleet, "name: {type: string,", "name: {type: string, maxLength: 9,", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if seen[settings(Mapping{Types: other}, QuoteAuto)] {
		t.Error("another declaration has the same settings")
	}
}

// An import of a declared type that stopped goes on only with the same declaration.
func TestResumeOfDeclaredTypes(t *testing.T) {
	types := fleetTypes(t)
	path := filepath.Join(t.TempDir(), "f.csv")
	const rows = 3000
	var b strings.Builder
	b.WriteString("site_id,name\n")
	for i := range rows {
		fmt.Fprintf(&b, "s%d,%s\n", i, strings.Repeat("n", 100))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	q := &sqstest.Queue{Fail: func(call int) faults.Plan {
		if call >= 20 {
			return sqstest.Denied()
		}
		return faults.Plan{}
	}}
	o := to(q, Mapping{Types: types, Command: "put_site", Tenant: "t"})
	o.Publish.PackCommands, o.Publish.Concurrency = 10, 1
	if _, err := Files(t.Context(), []string{path}, o); err == nil {
		t.Fatal("it did not stop")
	}
	q.Fail = nil
	yes := true
	o.Resume = &yes
	other, err := schema.Read("other.yaml", []byte(strings.Replace(fleet, "on:", "off:", 1)))
	if err != nil {
		t.Fatal(err)
	}
	o.Mapping.Types = other
	if _, err := Files(t.Context(), []string{path}, o); err == nil || !strings.Contains(err.Error(), "other flags") {
		t.Errorf("another declaration: %v", err)
	}
	o.Mapping.Types = types
	result, err := Files(t.Context(), []string{path}, o)
	if got := slices.Compact(arrived(t, q, types)); err != nil || result.Rows != rows || result.Resumed == 0 || len(got) != rows {
		t.Errorf("%v, %+v, %d arrived", err, result, len(got))
	}
}

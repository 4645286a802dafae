package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tributary/internal/base/decimal"
	"tributary/internal/schema"
)

// TestExampleTypes takes each example of a declaration from the file to the query: what the generator makes, and what is put by hand,
// comes back through every route.
func TestExampleTypes(t *testing.T) {
	files, err := filepath.Glob("../../examples/types/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			eachBackend(t, func(t *testing.T, w *world) { useTypes(t, w, file) })
		})
	}
}

func useTypes(t *testing.T, w *world, file string) {
	types, err := schema.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "TRIBUTARY_TYPES="+file)
	if shown, err := schema.Read("shown", []byte(w.must("worker", "types", "show"))); err != nil || shown.Fingerprint != types.Fingerprint {
		t.Fatalf("types show prints another declaration: %v", err)
	}
	w.must("worker", "types", "check", file, file)
	w.must("worker", "setup", "--update") // the table had the built-in types' index
	w.must("worker", "doctor")
	p := w.start()

	const tenants = 3
	generated := filepath.Join(t.TempDir(), "commands.jsonl")
	w.must("producer", "generate", "--file", generated, "--tenants", strconv.Itoa(tenants), "--seed", "7")
	w.must("producer", "import", generated)
	expected := read(t, types, generated)
	for _, typ := range types.Types {
		put := []string{"put", typ.Name, "--tenant", "by-hand", "--id", "an id/1"}
		for _, f := range typ.Fields {
			put = append(put, f.Name+"="+f.Example())
		}
		w.must("producer", put...)
		if _, errs, status := w.run("producer", append(put, "colour=red")...); status != 2 || !strings.Contains(errs, "colour") {
			t.Errorf("put %s with an unknown field: status %d, %s", typ.Name, status, errs)
		}
	}
	w.drained()
	if letters := w.letters(); len(letters) > 0 {
		t.Fatalf("%d commands were dead-lettered, such as %+v", len(letters), letters[0])
	}

	for _, typ := range types.Types {
		for i := range tenants {
			tenant := fmt.Sprintf("tenant-%04d", i+1)
			p.answers("/v1/tenants/"+tenant+"/"+typ.Plural, expected.of(tenant, typ, nil, ""))
		}
		path := "/v1/tenants/by-hand/" + typ.Plural + "/" + url.PathEscape("an id/1")
		if status, body := p.read(path); status != 200 || !strings.Contains(body, `"`+typ.ID+`":"an id/1"`) {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
		w.must("producer", "delete", typ.Name, "--tenant", "by-hand", "an id/1")
		w.drained()
		if status, body := p.read(path); status != 404 {
			t.Errorf("GET %s: %d %s, want 404", path, status, body)
		}
	}
	for _, r := range types.References {
		const tenant = "tenant-0001"
		ids := expected.referred(tenant, r)
		if len(ids) == 0 {
			t.Errorf("nothing was generated that refers by %s", r.Index)
		}
		for _, id := range ids {
			p.answers(fmt.Sprintf("/v1/tenants/%s/%s/%s/%s", tenant, r.To.Plural, id, r.From.Plural), expected.of(tenant, r.From, r, id))
		}
	}
	p.stop()
}

// sent is the last command of each item: an object's members, by tenant, type and id.
type sent map[[3]string]map[string]any

func read(t *testing.T, types *schema.Set, file string) sent {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := sent{}
	for line := range strings.Lines(string(text)) {
		var members map[string]any
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			t.Fatal(err)
		}
		typ, remove := types.Command(members["type"].(string))
		if typ == nil || remove {
			t.Fatalf("generated is %s", line)
		}
		delete(members, "type")
		for _, f := range typ.Fields {
			value, given := members[f.Name]
			switch {
			case !given && f.HasDefault:
				value = f.Default
				if f.Type != schema.String && f.Type != schema.Number {
					if err := json.Unmarshal([]byte(f.Default), &value); err != nil {
						t.Fatal(err)
					}
				}
			case !given:
				continue
			}
			if f.Type == schema.Number { // answers have it as plain text
				plain, _ := decimal.AppendPlain(nil, fmt.Sprint(value))
				value = string(plain)
			}
			members[f.Name] = value
		}
		all[[3]string{members["tenant_id"].(string), typ.Name, members[typ.ID].(string)}] = members
	}
	return all
}

// of returns a tenant's items of a type, or those that refer to an id, in the order of their ids.
func (s sent) of(tenant string, t *schema.Type, by *schema.Reference, id string) (items []any) {
	for key, members := range s {
		if key[0] == tenant && key[1] == t.Name && (by == nil || members[by.Field.Name] == id) {
			items = append(items, members)
		}
	}
	slices.SortFunc(items, func(a, b any) int {
		return strings.Compare(a.(map[string]any)[t.ID].(string), b.(map[string]any)[t.ID].(string))
	})
	return items
}

// referred returns some of the ids that a tenant's items refer to.
func (s sent) referred(tenant string, r *schema.Reference) (ids []string) {
	for key, members := range s {
		if id, ok := members[r.Field.Name].(string); ok && key[0] == tenant && key[1] == r.From.Name && !slices.Contains(ids, id) && len(ids) < 5 {
			ids = append(ids, id)
		}
	}
	return ids
}

// answers waits until a list has these items: what is read through an index may come later.
func (p *process) answers(path string, want []any) {
	p.w.t.Helper()
	var got []any
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got = nil
		for next := path + "?limit=100"; next != ""; {
			var page struct {
				Items  []any  `json:"items"`
				Cursor string `json:"next_cursor"`
			}
			status, body := p.read(next)
			if err := json.Unmarshal([]byte(body), &page); status != 200 || err != nil {
				p.w.t.Fatalf("GET %s: %d %s", next, status, body)
			}
			got = append(got, page.Items...)
			next = ""
			if page.Cursor != "" {
				next = path + "?limit=100&cursor=" + page.Cursor
			}
		}
		if reflect.DeepEqual(got, want) {
			return
		}
		if time.Now().After(deadline) {
			p.w.t.Errorf("GET %s: %d items, want %d\n%v\n%v", path, len(got), len(want), got[:min(2, len(got))], want[:min(2, len(want))])
			return
		}
	}
}

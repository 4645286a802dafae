package types

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/test/support/declarations"
)

// TestEvolution: the verdict about each pair of declarations is right. A worker with the old one writes commands that try every
// limit of both. Then everything is upgraded. A change is compatible if the same commands are still written, every item
// reads as before, and every address still answers.
func TestEvolution(t *testing.T) {
	for _, p := range declarations.Pairs {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			old, new := read(t, p.Old), read(t, p.New)
			var broken []string
			synctest.Test(t, func(t *testing.T) { broken = upgrade(t, old, new) })
			switch compatible := schema.Compatible(schema.Compare(old, new)); {
			case compatible && len(broken) > 0:
				t.Errorf("it is called compatible, but %s", strings.Join(broken[:min(3, len(broken))], "; "))
			case !compatible && len(broken) == 0:
				t.Error("it is called not compatible, but nothing broke")
			}
		})
	}
}

// upgrade returns what breaks.
func upgrade(t *testing.T, old, new *schema.Set) (broken []string) {
	h := newHouse(t, old)
	commands, bodies := trials(old, new)
	refused := h.work(old, bodies)
	before := h.api(old)

	was := make([]map[string]any, len(commands)) // nil: it was never valid
	path := func(i int) string {
		return fmt.Sprintf("/v1/tenants/%s/%s/%s", tenant, commands[i].Type.Plural, commands[i].ID)
	}
	for i := range commands {
		if _, bad := refused[i]; !bad {
			was[i] = answer(t, before, path(i))
		}
	}
	h.setup(new)
	after := h.api(new)
	for range 2 { // the items of the old worker, and then those of the new one
		for i, c := range commands {
			if was[i] == nil {
				continue
			}
			if what := differs(new.Type(c.Type.Name), was[i], answer(t, after, path(i))); what != "" {
				broken = append(broken, what)
			}
		}
		if len(broken) > 0 {
			break
		}
		for i, why := range h.work(new, bodies) {
			if was[i] != nil {
				broken = append(broken, bodies[i]+" is refused: "+why)
			}
		}
	}
	for _, r := range old.Routes() {
		path := strings.NewReplacer("{tenant_id}", tenant, "{"+r.Type.ID+"}", "none").Replace(r.Path)
		if r.Reference != nil {
			path = strings.Replace(path, "{"+r.Reference.To.ID+"}", "a", 1)
		}
		was, items, err := get(before, path)
		is, now, err2 := get(after, path)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if r.Kind == schema.GetOne { // there is no such item; but a path that is unknown has another text
			if items["detail"] != now["detail"] {
				broken = append(broken, "route "+r.Path+" is gone")
			}
			continue
		}
		if was != http.StatusOK || is != http.StatusOK || len(items["items"].([]any)) > len(now["items"].([]any)) {
			broken = append(broken, fmt.Sprintf("route %s answered %d, %v and answers %d, %v", r.Path, was, items, is, now))
		}
	}
	return broken
}

// answer returns the item that an API has at a path, or the problem.
func answer(t *testing.T, api http.Handler, path string) map[string]any {
	t.Helper()
	_, item, err := get(api, path)
	if err != nil {
		t.Fatal(err)
	}
	return item
}

// differs says how an item reads differently. A field that was absent may have its new default.
func differs(now *schema.Type, was, is map[string]any) string {
	for name, value := range was {
		if !reflect.DeepEqual(is[name], value) {
			return fmt.Sprintf("%s of %v is now %v", name, was, is[name])
		}
	}
	for name, value := range is {
		if _, known := was[name]; !known && !now.Field(name).HasDefault {
			return fmt.Sprintf("%s of %v was absent and is now %v", name, was, value)
		}
	}
	return ""
}

// trials returns commands of the old types, as commands and as bodies: with one field at a time absent, and with every value
// that a limit of either declaration is about.
func trials(old, new *schema.Set) (commands []*messages.Command, bodies []string) {
	for _, t := range old.Types {
		now := new.Type(t.Name)
		add := func(members string) {
			c := &messages.Command{Type: t, TenantID: tenant, ID: fmt.Sprint("i", len(bodies))}
			commands = append(commands, c)
			bodies = append(bodies, fmt.Sprintf(`{"type":%q,"tenant_id":%q,%q:%q%s}`, t.Put, tenant, t.ID, c.ID, members))
		}
		add(needed(t, nil))
		for _, f := range t.Fields {
			others := needed(t, f)
			add(others)
			limits := []*schema.Field{f}
			if now != nil && now.Field(f.Name) != nil {
				limits = append(limits, now.Field(f.Name))
			}
			for _, value := range candidates(limits) {
				if _, err := f.Check(value); err == nil {
					add(string(f.AppendMember([]byte(others), value)))
				}
			}
		}
	}
	return commands, bodies
}

// needed returns the members of the fields, but for one, without which a put is refused.
func needed(t *schema.Type, but *schema.Field) string {
	var b []byte
	for _, f := range t.Fields {
		if f != but && f.Needed() {
			b = f.AppendMember(b, f.Example())
		}
	}
	return string(b)
}

func candidates(fields []*schema.Field) []string {
	values := []string{"", "a", "bb", "#", "0", "1", "-7.5", "12.25", "1e100", "-1e100", "true", "false", "{}", `{"a":1}`, "[]", "[1]",
		"2026-11-24", "2026-11-24T11:00:00Z", "0189d7c4-0000-7000-8000-000000000000", "a@example.com"}
	for _, f := range fields {
		values = append(values, f.Enum...)
		values = append(values, f.Minimum, f.Maximum, f.Default, strings.Repeat("x", f.MinLength), strings.Repeat("x", max(0, f.MaxLength)))
	}
	slices.Sort(values)
	return slices.Compact(values)
}

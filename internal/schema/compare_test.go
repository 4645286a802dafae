package schema

import (
	"slices"
	"strings"
	"testing"

	"tributary/internal/base/rawjson"
	"tributary/test/support/declarations"
)

// TestCompare: the verdicts are those of the table, and right: see broken.
func TestCompare(t *testing.T) {
	if len(declarations.Pairs) < 50 {
		t.Errorf("only %d pairs", len(declarations.Pairs))
	}
	for _, p := range declarations.Pairs {
		t.Run(p.Name, func(t *testing.T) {
			old, new := mustRead(t, p.Old), mustRead(t, p.New)
			changes := Compare(old, new)
			var got []string
			for _, c := range changes {
				verdict := "no "
				if c.Compatible {
					verdict = "ok "
				}
				got = append(got, verdict+c.Name+": "+c.What)
				if c.Why == "" {
					t.Errorf("%s has no reason", c)
				}
			}
			if !slices.EqualFunc(got, p.Want, strings.HasPrefix) {
				t.Errorf("the changes are\n%q\nwant\n%q", got, p.Want)
			}
			// Equal numbers in other forms are no change, and equal fingerprints mean no changes.
			if old.Fingerprint == new.Fingerprint && len(changes) > 0 {
				t.Error("the fingerprints are equal")
			}
			breaks := broken(old, new)
			if Compatible(changes) && len(breaks) > 0 {
				t.Errorf("it is called compatible, but %s", breaks[0])
			}
			if !Compatible(changes) && len(breaks) == 0 {
				t.Error("it is called not compatible, but nothing breaks")
			}
		})
	}
}

// broken writes commands with old and reads them with new: the commands themselves, and the items that they became. It returns
// what went wrong.
func broken(old, new *Set) (breaks []string) {
	fail := func(text string) { breaks = append(breaks, text) }
	for _, r := range old.Routes() {
		if !slices.ContainsFunc(new.Routes(), func(n Route) bool { return n.Path == r.Path }) {
			fail("route " + r.Path + " is gone")
		}
	}
	for _, r := range old.References {
		if !slices.ContainsFunc(new.References, func(n *Reference) bool { return n.Index == r.Index && n.Field.Name == r.Field.Name }) {
			fail("index " + r.Index + " is gone")
		}
	}
	for _, t := range old.Types {
		now := new.Type(t.Name)
		if now == nil {
			fail(t.Put + " is unknown")
			continue
		}
		for _, members := range commandsOf(t, now) {
			before, ok := viewOf(t, members)
			if !ok {
				continue // old refuses it too
			}
			after, ok := viewOf(now, members)
			if !ok {
				fail(members + " is refused")
				continue
			}
			var item []byte // as a command, which has what the item has
			for _, f := range t.Fields {
				if text, ok := before[f.Name]; ok {
					item = f.AppendMember(item, text)
				}
			}
			stored, ok := viewOf(now, string(item))
			if !ok {
				fail("the item of " + members + " can't be read")
			}
			for _, f := range t.Fields {
				was, ok := before[f.Name]
				if !ok {
					continue
				}
				n := now.Field(f.Name)
				if n == nil || n.Type != f.Type || !sameValue(f.Type, after[f.Name], was) || !sameValue(f.Type, stored[f.Name], was) {
					fail(f.Name + " of " + members + " reads differently")
				}
				// An item that was written before the default of old was declared reads by the default of today.
			}
		}
	}
	return breaks
}

// viewOf reads members of a command by a type, and returns what an answer shows.
func viewOf(t *Type, members string) (map[string]string, bool) {
	var v Values
	if _, ok := readKnown(t, "{"+strings.TrimPrefix(members, ",")+"}", &v); !ok {
		return nil, false
	}
	view := map[string]string{}
	for position, f := range t.Fields {
		if text, ok := v.Get(position); ok {
			view[f.Name] = text
		}
	}
	return view, true
}

// readKnown is readCommand that refuses unknown fields.
func readKnown(t *Type, text string, v *Values) (int, bool) {
	s := rawjson.New(text)
	for s.Open('{'); s.More('}'); {
		if t.Slot(s.Name()) == SlotUnknown {
			return 0, false
		}
		s.Skip()
	}
	return readCommand(t, text, v)
}

// commandsOf returns commands, as members, that try one field at a time: absent, and with every value that a limit of either
// declaration is about.
func commandsOf(old, new *Type) []string {
	rest := func(but *Field) string {
		var b []byte
		for _, f := range old.Fields {
			if f != but && f.Needed() {
				b = f.AppendMember(b, f.Example())
			}
		}
		return string(b)
	}
	commands := []string{rest(nil)}
	for _, f := range old.Fields {
		others := rest(f)
		commands = append(commands, others)
		n := new.Field(f.Name)
		if n == nil {
			n = f
		}
		for _, value := range candidates(f, n) {
			if _, err := f.Check(value); err == nil {
				commands = append(commands, string(f.AppendMember([]byte(others), value)))
			}
		}
	}
	return commands
}

func candidates(fields ...*Field) []string {
	values := []string{"", "a", "bb", "#", "0", "1", "-7.5", "12.25", "1e100", "-1e100", "true", "false", "{}", `{"a":1}`, "[]", "[1]"}
	for _, f := range formatExamples {
		values = append(values, f)
	}
	for _, f := range fields {
		values = append(values, f.Enum...)
		values = append(values, f.Minimum, f.Maximum, f.Default, strings.Repeat("x", f.MinLength), strings.Repeat("x", max(0, f.MaxLength)))
	}
	return values
}

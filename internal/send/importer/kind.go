package importer

import (
	"strings"

	"tributary/internal/schema"
)

// kind is what a row becomes: a put or a delete of a type. The zero value is not known yet: a column says.
type kind struct {
	t      *schema.Type
	delete bool
}

// takes says whether the command has a member that a column can be mapped to.
func (k kind) takes(slot schema.Slot) bool {
	if slot.IsField() {
		return !k.delete
	}
	return slot == schema.SlotTenantID || slot == schema.SlotID || slot == schema.SlotVersion
}

// types are those that rows can be of.
func (m *Mapping) types() *schema.Set {
	if m.Types == nil {
		return schema.Builtin()
	}
	return m.Types
}

// kind is that of every row, or none.
func (m *Mapping) kind() kind {
	t, remove := m.types().Command(m.Command)
	return kind{t, remove}
}

// names are those of all members that a column can be mapped to, which is all but attributes, in the order in which columns are
// looked for: a field that has the name of another type's id stands where that does.
func (m *Mapping) names() []string {
	list := []string{schema.TypeName, schema.TenantIDName}
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	types := m.types().Types
	for _, t := range types {
		add(t.ID)
	}
	for _, t := range types {
		for _, f := range t.Fields {
			add(f.Name)
		}
	}
	return append(list, schema.VersionName)
}

// mapped says whether rows are asked for a member at all.
func (m *Mapping) mapped(k kind, name string) bool {
	switch {
	case name == schema.TypeName:
		return k.t == nil
	case name == schema.TenantIDName:
		return m.Tenant == ""
	case k.t == nil:
		return true
	}
	return k.takes(k.t.Slot(name))
}

// columnOf is where a member's value is found.
func (m *Mapping) columnOf(name string) string {
	if column, ok := m.Columns[name]; ok {
		return column
	}
	return name
}

// mustGive says whether a row must give a member: the command needs it, and nothing else gives it.
func (m *Mapping) mustGive(k kind, slot schema.Slot) bool {
	switch {
	case slot.IsField():
		return !k.delete && k.t.Fields[slot].Needed()
	case slot == schema.SlotTenantID:
		return m.Tenant == ""
	case slot == schema.SlotID:
		return m.IDs == "" || k.delete
	}
	return false
}

// commandsFor shows people which commands there are, those of the types declared last first: they refer to the others, and there are
// most of them.
func (m *Mapping) commandsFor() (first, others string) {
	var names []string
	types := m.types().Types
	for i := range types {
		names = append(names, types[len(types)-1-i].Put)
	}
	for i := range types {
		names = append(names, types[len(types)-1-i].Delete)
	}
	return names[0], shownNames(names[1:])
}

// shownNames lists names for people; of many it shows the first.
func shownNames(names []string) string {
	const most = 20
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

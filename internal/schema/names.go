package schema

// nameTable finds names without allocating: open addressing over a few bytes of the name, at most half full.
type nameTable struct {
	entries []nameEntry // a power of two of them
}

type nameEntry struct {
	name  string // "" in an empty entry
	index int8
}

// newNameTable makes a table that finds the index of each name. Empty names are left out, and all others differ.
func newNameTable(names []string) nameTable {
	size := 8
	for size < 2*len(names) {
		size *= 2
	}
	t := nameTable{make([]nameEntry, size)}
	for index, name := range names {
		if name == "" {
			continue
		}
		i := t.start(name)
		for t.entries[i].name != "" {
			i = (i + 1) & (size - 1)
		}
		t.entries[i] = nameEntry{name, int8(index)}
	}
	return t
}

// start is the entry at which the search for a name, which is not empty, begins.
func (t *nameTable) start(name string) int {
	n := len(name)
	return (n*3 + int(name[0])*5 + int(name[n/2])*7 + int(name[n-1])*11) & (len(t.entries) - 1)
}

// find returns the index of a name, or -1.
func (t *nameTable) find(name string) int {
	if name == "" {
		return -1
	}
	for i := t.start(name); ; i = (i + 1) & (len(t.entries) - 1) {
		switch e := &t.entries[i]; e.name {
		case name:
			return int(e.index)
		case "":
			return -1
		}
	}
}

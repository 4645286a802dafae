package dynamo

import (
	"encoding/binary"

	"github.com/tidwall/btree"
)

// tree is items in the order of their keys' text.
type tree struct{ entries *btree.BTreeG[entry] }

// entry has the first bytes of its key beside it, so that a comparison seldom has to fetch the key itself: in a large
// tree that is a wait for memory each time.
type entry struct {
	head [2]uint64
	key  string
	item item
}

func newEntry(key string, it item) entry {
	var head [16]byte
	copy(head[:], key)
	return entry{[2]uint64{binary.BigEndian.Uint64(head[:8]), binary.BigEndian.Uint64(head[8:])}, key, it}
}

func before(a, b entry) bool {
	if a.head[0] != b.head[0] {
		return a.head[0] < b.head[0]
	}
	if a.head[1] != b.head[1] {
		return a.head[1] < b.head[1]
	}
	return a.key < b.key
}

func newTree() tree {
	return tree{btree.NewBTreeGOptions(before, btree.Options{NoLocks: true})} // a partition has a lock of its own
}

// place is where a key is or would be: the way there is found once, for a look and a change.
type place struct {
	tree tree
	key  string
	hint btree.PathHint
}

func (t tree) at(key string) *place { return &place{tree: t, key: key} }

func (p *place) get() item {
	found, _ := p.tree.entries.GetHint(newEntry(p.key, ""), &p.hint)
	return found.item
}

// set puts an item into the place, or takes away what is there where it is none. It returns what was there.
func (p *place) set(next item) item {
	var old entry
	if next == "" {
		old, _ = p.tree.entries.DeleteHint(newEntry(p.key, ""), &p.hint)
	} else {
		old, _ = p.tree.entries.SetHint(newEntry(p.key, next), &p.hint)
	}
	return old.item
}

func (t tree) scan(visit func(key string, it item) bool) {
	t.entries.Scan(func(e entry) bool { return visit(e.key, e.item) })
}

func (t tree) reverse(visit func(key string, it item) bool) {
	t.entries.Reverse(func(e entry) bool { return visit(e.key, e.item) })
}

func (t tree) ascend(from string, visit func(key string, it item) bool) {
	t.entries.Ascend(newEntry(from, ""), func(e entry) bool { return visit(e.key, e.item) })
}

func (t tree) descend(from string, visit func(key string, it item) bool) {
	t.entries.Descend(newEntry(from, ""), func(e entry) bool { return visit(e.key, e.item) })
}

package dynamo

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/aws/limits"
)

// table is a table and its indexes. The server's mutex guards it.
type table struct {
	name    string
	arn     string
	id      string
	created time.Time
	input   dynamodb.CreateTableInput // as changed since by UpdateTable
	tags    map[string]string
	types   map[string]string // of key attributes
	primary *index
	indexes map[string]*index
	ttl     string // the TTL attribute, empty where off
	backups bool   // point-in-time recovery
	bytes   int
	count   int
	buckets map[string]*bucket
}

// index is the items of a table in the order of some key: the table's own or that of a secondary index. A key
// may have several attributes on either side ("Multi-attribute keys pattern" of global secondary indexes).
type index struct {
	name       string // empty for the table's own
	local      bool
	hash       []string
	ranges     []string
	projection types.Projection
	partitions map[string][]entry // by the hash attributes' ordered text, each in order
}

// entry is an item in its place.
type entry struct {
	sort string // the range attributes' ordered text; in a secondary index the table's key behind it
	item item
	size int
}

func newIndex(name string, schema []types.KeySchemaElement) *index {
	x := &index{name: name, partitions: make(map[string][]entry)}
	for _, e := range schema {
		if e.KeyType == types.KeyTypeHash {
			x.hash = append(x.hash, text(e.AttributeName))
		} else {
			x.ranges = append(x.ranges, text(e.AttributeName))
		}
	}
	return x
}

// place is where it belongs in x; ok is false where it lacks a key attribute, and so isn't in the index.
func (t *table) place(x *index, it item) (hash, sort string, ok bool) {
	if hash, ok = join(it, x.hash); !ok {
		return "", "", false
	}
	if sort, ok = join(it, x.ranges); !ok {
		return "", "", false
	}
	if x != t.primary {
		h, _ := join(it, t.primary.hash)
		s, _ := join(it, t.primary.ranges)
		sort += h + s
	}
	return hash, sort, true
}

func join(it item, names []string) (string, bool) {
	var b strings.Builder
	for _, name := range names {
		v, ok := it[name]
		if !ok {
			return "", false
		}
		b.WriteString(v.ordered())
	}
	return b.String(), true
}

// search finds the first entry at or behind sort.
func search(entries []entry, at string) int {
	return sort.Search(len(entries), func(i int) bool { return entries[i].sort >= at })
}

// get finds the item with key's key attributes, nil where there is none.
func (t *table) get(key item) (item, int) {
	hash, sort, _ := t.place(t.primary, key)
	entries := t.primary.partitions[hash]
	if i := search(entries, sort); i < len(entries) && entries[i].sort == sort {
		return entries[i].item, entries[i].size
	}
	return nil, 0
}

// replace puts next in old's place; either may be nil.
func (t *table) replace(old, next item) {
	if old != nil {
		t.count--
		t.bytes -= old.size()
	}
	size := 0
	if next != nil {
		size = next.size()
		t.count++
		t.bytes += size
	}
	t.reindex(t.primary, old, next, size)
	for _, x := range t.indexes {
		t.reindex(x, old, next, size)
	}
}

func (t *table) reindex(x *index, old, next item, size int) {
	if hash, sort, ok := t.place(x, old); ok && old != nil {
		entries := x.partitions[hash]
		i := search(entries, sort)
		if entries = slices.Delete(entries, i, i+1); len(entries) > 0 {
			x.partitions[hash] = entries
		} else {
			delete(x.partitions, hash)
		}
	}
	if next == nil {
		return
	}
	if hash, sort, ok := t.place(x, next); ok {
		entries := x.partitions[hash]
		x.partitions[hash] = slices.Insert(entries, search(entries, sort), entry{sort, x.project(t, next), size})
	}
}

// project is what of an item the index holds.
func (x *index) project(t *table, it item) item {
	if x.whole() {
		return it
	}
	out := item{}
	for name, v := range it {
		if x.has(t, name) {
			out[name] = v
		}
	}
	return out
}

// has says whether the index holds the attribute of that name, of the items that have it.
func (x *index) has(t *table, name string) bool {
	return x.whole() || slices.Contains(x.projection.NonKeyAttributes, name) || t.isKey(x, name)
}

// whole says whether the index holds all of an item.
func (x *index) whole() bool {
	return x.name == "" || x.projection.ProjectionType == types.ProjectionTypeAll
}

// isKey says whether name is a key attribute of the table or of x.
func (t *table) isKey(x *index, name string) bool {
	return slices.Contains(t.primary.hash, name) || slices.Contains(t.primary.ranges, name) ||
		slices.Contains(x.hash, name) || slices.Contains(x.ranges, name)
}

// keyOf is the key attributes of it, in the table and in x: what a page ends with.
func (t *table) keyOf(x *index, it item) item {
	out := item{}
	for name, v := range it {
		if t.isKey(x, name) {
			out[name] = v
		}
	}
	return out
}

// checkKey refuses a key that isn't exactly the table's.
func (t *table) checkKey(key item) error {
	names := slices.Concat(t.primary.hash, t.primary.ranges)
	if len(key) != len(names) {
		return errValidation("The provided key element does not match the schema")
	}
	for _, name := range names {
		if v, ok := key[name]; !ok || v.kind != t.types[name] {
			return errValidation("The provided key element does not match the schema")
		}
	}
	return t.checkKeySizes(key)
}

func (t *table) checkKeySizes(it item) error {
	for _, name := range slices.Concat(t.primary.hash, t.primary.ranges) {
		if v := it[name]; v.kind != "N" && v.text == "" {
			return errValidation("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s", kindName(v.kind), name)
		}
	}
	for _, name := range t.primary.hash {
		if v := it[name]; v.size() > limits.DynamoDBPartitionKeyBytes {
			return errValidation("One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of%d bytes", limits.DynamoDBPartitionKeyBytes)
		}
	}
	for _, name := range t.primary.ranges {
		if v := it[name]; v.size() > limits.DynamoDBSortKeyBytes {
			return errValidation("One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of %d bytes", limits.DynamoDBSortKeyBytes)
		}
	}
	return nil
}

func kindName(kind string) string {
	if kind == "B" {
		return "binary"
	}
	return "string"
}

// checkItem refuses an item that the table can't hold.
func (t *table) checkItem(it item) error {
	for _, name := range slices.Concat(t.primary.hash, t.primary.ranges) {
		v, ok := it[name]
		if !ok {
			return errValidation("One or more parameter values were invalid: Missing the key %s in the item", name)
		}
		if v.kind != t.types[name] {
			return errValidation("One or more parameter values were invalid: Type mismatch for key %s expected: %s actual: %s", name, t.types[name], v.kind)
		}
	}
	if err := t.checkKeySizes(it); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.indexes)) {
		x := t.indexes[name]
		for _, key := range slices.Concat(x.hash, x.ranges) {
			v, ok := it[key]
			if !ok {
				continue
			}
			if v.kind != t.types[key] {
				return errValidation("One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", key, t.types[key], v.kind, name)
			}
			if v.kind != "N" && v.text == "" {
				return errValidation("One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty %s value. IndexName: %s, IndexKey: %s", kindName(v.kind), name, key)
			}
		}
	}
	for name, v := range it {
		if name == "" || v.unnamed() {
			return errValidation("One or more parameter values were invalid: Attribute name must not be empty")
		}
		if v.depth() >= limits.DynamoDBNesting { // the item is the first level
			return errValidation("Nesting Levels have exceeded supported limits")
		}
	}
	if it.size() > limits.DynamoDBItemBytes {
		return errValidation("Item size has exceeded the maximum allowed size")
	}
	return nil
}

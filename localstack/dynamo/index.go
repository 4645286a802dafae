package dynamo

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/tidwall/btree"
)

// table is a table and its indexes.
//
// Locks are taken in this order: the table's, a partition's of the table itself, a partition's of an index. A write
// holds its partition from the first look at the item to the last change of an index, so that each item's writes are
// one after another, and those of two partitions don't meet.
type table struct {
	name    string
	arn     string
	id      string
	created time.Time
	primary *index

	mu      sync.RWMutex              // guards what follows; who reads or writes items holds it for reading
	input   dynamodb.CreateTableInput // as changed since by UpdateTable
	types   map[string]string         // of key attributes
	indexes map[string]*index
	ttl     string // the TTL attribute, empty where off
	backups bool   // point-in-time recovery
}

// index is the items of a table in the order of some key: the table's own or that of a secondary index. A key
// may have several attributes on either side ("Multi-attribute keys pattern" of global secondary indexes).
type index struct {
	name       string // empty for the table's own
	hash       []string
	ranges     []string
	tail       []string // the table's key attributes that the index's key has not: they tell its items apart
	projection types.Projection
	count      atomic.Int64
	bytes      atomic.Int64

	mu         sync.RWMutex // guards partitions
	partitions btree.Map[string, *partition]
}

// partition is the items with one partition key, by the ordered text of the rest of their key. It stays when its
// last item goes.
type partition struct {
	mu     sync.RWMutex // guards what follows
	items  tree
	bucket bucket // of the table's own partitions
}

func newIndex(name string, schema []types.KeySchemaElement) *index {
	x := &index{name: name}
	for _, e := range schema {
		if e.KeyType == types.KeyTypeHash {
			x.hash = append(x.hash, text(e.AttributeName))
		} else {
			x.ranges = append(x.ranges, text(e.AttributeName))
		}
	}
	return x
}

// find is the partition of that key, nil where there is none.
func (x *index) find(hash string) *partition {
	x.mu.RLock()
	defer x.mu.RUnlock()
	p, _ := x.partitions.Get(hash)
	return p
}

// partition is the partition of that key, which it makes where there is none.
func (x *index) partition(hash string) *partition {
	if p := x.find(hash); p != nil {
		return p
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	p, ok := x.partitions.Get(hash)
	if !ok {
		p = &partition{items: newTree()}
		x.partitions.Set(hash, p)
	}
	return p
}

// from gives up to n partitions from the key at on, in order.
func (x *index) from(at string, n int) (keys []string, partitions []*partition) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.partitions.Ascend(at, func(key string, p *partition) bool {
		keys, partitions = append(keys, key), append(partitions, p)
		return len(keys) < n
	})
	return keys, partitions
}

// set puts an item into its place, or takes what is there away where it is none.
func (x *index) set(at *place, next item) {
	old := at.set(next)
	if next != "" {
		x.count.Add(1)
	}
	if old != "" {
		x.count.Add(-1)
	}
	x.bytes.Add(int64(next.size() - old.size()))
}

// place is where an item belongs in x; ok is false where it lacks a key attribute, and so isn't in the index.
func (x *index) place(it item) (hash, sort string, ok bool) {
	if hash, ok = join(it, x.hash); !ok {
		return "", "", false
	}
	sort, ok = join(it, x.ranges, x.tail)
	return hash, sort, ok
}

// join is the ordered text of the attributes of those names, false where one is missing.
func join(it item, lists ...[]string) (string, bool) {
	var memory [128]byte
	b := memory[:0]
	for _, names := range lists {
		for _, name := range names {
			code, text := it.scalar(name)
			if code == 0 {
				return "", false
			}
			b = appendOrdered(b, code, text)
		}
	}
	return string(b), true
}

// get finds the item with key's key attributes.
func (t *table) get(key item) item {
	hash, sort, _ := t.primary.place(key)
	p := t.primary.find(hash)
	if p == nil {
		return ""
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.items.at(sort).get()
}

// change is one write: what it found, and what it left.
type change struct {
	old, next item
	units     int
}

// write lets next say what comes in the place of the item that is there, no item to delete it. It pays for that from
// the partition's units. Where next gives an error, nothing is written, and the item that next gives beside it is paid for. What a
// write costs is added to the bill.
func (s *Server) write(t *table, hash, sort string, b *bill, next func(old item) (item, error)) (change, error) {
	p := t.primary.partition(hash)
	p.mu.Lock()
	defer p.mu.Unlock()
	var c change
	var err error
	at := p.items.at(sort)
	c.old = at.get()
	c.next, err = next(c.old)
	c.units = writeUnits(c.old.size(), c.next.size())
	if !p.bucket.take(c.units, s.options.WriteUnits, time.Now()) {
		return change{}, errThrottled(t.arn)
	}
	if err != nil {
		return change{}, err
	}
	b.add(t.primary, c.units)
	if c.old == "" && c.next == "" {
		return c, nil
	}
	t.primary.set(at, c.next)
	for _, x := range t.indexes {
		b.add(x, t.reindex(x, c.old, c.next))
	}
	s.store.Set(itemsKind(t), hash+sort, string(c.next))
	return c, nil
}

// reindex brings x up to date with an item that was old and is next, and returns the write units that this costs: nothing where the
// index holds the same as before; one write where it holds something else at the same place; a delete and a put where the place is another
// ("Global secondary indexes", provisioned throughput considerations).
func (t *table) reindex(x *index, old, next item) (units int) {
	oldHash, oldSort, was := "", "", false
	if old != "" {
		oldHash, oldSort, was = x.place(old)
	}
	hash, sort, is := "", "", false
	if next != "" {
		hash, sort, is = x.place(next)
	}
	replace := func(hash, sort string, next item) {
		p := x.partition(hash)
		p.mu.Lock()
		defer p.mu.Unlock()
		x.set(p.items.at(sort), next)
	}
	moved := was && (!is || oldHash != hash || oldSort != sort)
	var held, holds item
	if was {
		held = x.project(t, old)
	}
	if moved {
		replace(oldHash, oldSort, "")
		units, held = writeUnits(held.size(), 0), ""
	}
	if is {
		holds = x.project(t, next)
		replace(hash, sort, holds)
		if !holds.same(held) {
			units += writeUnits(held.size(), holds.size())
		}
	}
	return units
}

// project is what of an item the index holds.
func (x *index) project(t *table, it item) item {
	if x.whole() {
		return it
	}
	return it.only(func(name string) bool { return x.has(t, name) })
}

// has says whether the index holds the attribute of that name, of the items that have it.
func (x *index) has(t *table, name string) bool {
	return x.whole() || slices.Contains(x.projection.NonKeyAttributes, name) || t.isKey(x, name)
}

// whole says whether the index holds all of an item.
func (x *index) whole() bool {
	return x.name == "" || x.projection.ProjectionType == types.ProjectionTypeAll
}

// keyNames are the names of the table's key attributes.
func (t *table) keyNames() []string { return slices.Concat(t.primary.hash, t.primary.ranges) }

// isKey says whether name is a key attribute of the table or of x.
func (t *table) isKey(x *index, name string) bool {
	return slices.Contains(t.primary.hash, name) || slices.Contains(t.primary.ranges, name) ||
		slices.Contains(x.hash, name) || slices.Contains(x.ranges, name)
}

// keyOf is the key attributes of it, in the table and in x: what a page ends with.
func (t *table) keyOf(x *index, it item) item {
	return it.only(func(name string) bool { return t.isKey(x, name) })
}

// checkKey refuses a key that isn't exactly the table's.
func (t *table) checkKey(key item) error {
	if key.count() != len(t.primary.hash)+len(t.primary.ranges) {
		return errValidation("The provided key element does not match the schema")
	}
	for _, names := range [][]string{t.primary.hash, t.primary.ranges} {
		for _, name := range names {
			if code, _ := key.scalar(name); code == 0 || string(rune(code)) != t.types[name] {
				return errValidation("The provided key element does not match the schema")
			}
		}
	}
	return t.checkKeySizes(key)
}

// checkKeySizes refuses keys that are empty or too long. Their types are right.
func (t *table) checkKeySizes(it item) error {
	for _, name := range t.primary.hash {
		code, value := it.scalar(name)
		if err := checkKeySize(name, code, value); err != nil {
			return err
		}
		if code != codeN && len(value) > maxPartitionKeyBytes {
			return errValidation("One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of%d bytes", maxPartitionKeyBytes)
		}
	}
	for _, name := range t.primary.ranges {
		code, value := it.scalar(name)
		if err := checkKeySize(name, code, value); err != nil {
			return err
		}
		if code != codeN && len(value) > maxSortKeyBytes {
			return errValidation("One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of %d bytes", maxSortKeyBytes)
		}
	}
	return nil
}

func checkKeySize(name string, code byte, value string) error {
	if code != codeN && value == "" {
		return errValidation("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s", kindName(string(rune(code))), name)
	}
	return nil
}

func kindName(kind string) string {
	if kind == "B" {
		return "binary"
	}
	return "string"
}

// checkItem refuses an item that the table can't hold. What no table can hold was refused when it was read.
func (t *table) checkItem(it item) error {
	for _, names := range [][]string{t.primary.hash, t.primary.ranges} {
		for _, name := range names {
			v := cursor(it.find(name))
			if v == "" {
				return errValidation("One or more parameter values were invalid: Missing the key %s in the item", name)
			}
			if kind := kindOf(v[0]); kind != t.types[name] {
				return errValidation("One or more parameter values were invalid: Type mismatch for key %s expected: %s actual: %s", name, t.types[name], kind)
			}
		}
	}
	if err := t.checkKeySizes(it); err != nil {
		return err
	}
	if err := t.checkIndexKeys(it); err != nil {
		return err
	}
	if it.size() > maxItemBytes {
		return errValidation("Item size has exceeded the maximum allowed size")
	}
	return nil
}

// checkIndexKeys refuses attributes that an index can't have in its key.
func (t *table) checkIndexKeys(it item) error {
	for _, x := range t.sortedIndexes() {
		for _, names := range [][]string{x.hash, x.ranges} {
			for _, name := range names {
				v := cursor(it.find(name))
				if v == "" {
					continue
				}
				if kind := kindOf(v[0]); kind != t.types[name] {
					return errValidation("One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", name, t.types[name], kind, x.name)
				}
				if code, value := it.scalar(name); code != codeN && value == "" {
					return errValidation("One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty %s value. IndexName: %s, IndexKey: %s", kindName(kindOf(code)), x.name, name)
				}
			}
		}
	}
	return nil
}

// sortedIndexes are the secondary indexes by name, so that of several errors it is always the same one.
func (t *table) sortedIndexes() []*index {
	out := make([]*index, 0, 4)
	for _, x := range t.indexes {
		out = append(out, x)
	}
	if len(out) > 1 {
		slices.SortFunc(out, func(a, b *index) int { return strings.Compare(a.name, b.name) })
	}
	return out
}

// kindOf is the name of a type.
func kindOf(code byte) string {
	switch code {
	case codeTrue, codeFalse:
		return "BOOL"
	case codeNull:
		return "NULL"
	case codeSS, codeNS, codeBS:
		return setKinds[code]
	}
	return string(rune(code))
}

// addIndex makes a secondary index and fills it with what the table holds.
func (t *table) addIndex(name string, schema []types.KeySchemaElement, projection *types.Projection) error {
	if !tableName.MatchString(name) {
		return errValidation("Invalid table/index name %q", name)
	}
	if t.indexes[name] != nil {
		return errValidation("One or more parameter values were invalid: Duplicate index name: %s", name)
	}
	if projection == nil || projection.ProjectionType == "" {
		return errValidation("One or more parameter values were invalid: Unknown ProjectionType: null")
	}
	x := newIndex(name, schema)
	x.projection = *projection
	if err := t.checkSchema(schema, x, maxIndexKeyParts); err != nil {
		return err
	}
	for _, key := range t.keyNames() {
		if !slices.Contains(x.hash, key) && !slices.Contains(x.ranges, key) {
			x.tail = append(x.tail, key)
		}
	}
	t.primary.partitions.Scan(func(_ string, p *partition) bool { // nobody writes: the table is held for writing
		p.items.scan(func(_ string, it item) bool {
			t.reindex(x, "", it)
			return true
		})
		return true
	})
	t.indexes[name] = x
	return nil
}

// checkSchema refuses a key schema that x was made from: hash attributes first, then the range's, of known types.
func (t *table) checkSchema(schema []types.KeySchemaElement, x *index, most int) error {
	if len(x.hash) == 0 || len(x.hash) > most || len(x.ranges) > most {
		return errValidation("One or more parameter values were invalid: Invalid KeySchema: from 1 to %d HASH and from 0 to %d RANGE attributes", most, most)
	}
	if len(schema) == 0 || schema[0].KeyType != types.KeyTypeHash {
		return errValidation("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	names := slices.Concat(x.hash, x.ranges)
	for i, name := range names {
		if name != text(schema[i].AttributeName) {
			return errValidation("Invalid KeySchema: HASH attributes must come before RANGE attributes")
		}
		if slices.Contains(names[:i], name) {
			return errValidation("Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
		if kind := t.types[name]; kind != "S" && kind != "N" && kind != "B" {
			return errValidation("One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s]", name)
		}
	}
	return nil
}

// checkDefinitions refuses attribute definitions that no key uses.
func (t *table) checkDefinitions() error {
	for _, name := range slices.Sorted(maps.Keys(t.types)) {
		used := t.isKey(t.primary, name)
		for _, x := range t.indexes {
			used = used || t.isKey(x, name)
		}
		if !used {
			return errValidation("One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions: %s is in no key", name)
		}
	}
	return nil
}

package dynamo

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/localstack/store"
)

// What a store keeps of tables: of the kind tables each table's definition by its id, and of a kind of its own each
// table's items by their key's ordered text. Indexes are made of these.
const (
	kindTables = "tables"
	kindItems  = "items/"
)

func itemsKind(t *table) string { return kindItems + t.id }

// definition is all of a table but its items.
type definition struct {
	Input   dynamodb.CreateTableInput
	Created time.Time
	TTL     string
	Backups bool
}

func (t *table) definition() string {
	b, _ := json.Marshal(definition{t.input, t.created, t.ttl, t.backups}) //nolint:errchkjson // it was decoded from JSON
	return string(b)
}

// save notes a table's definition. The caller holds the table, or has just made it.
func (s *Server) save(t *table) { s.store.Set(kindTables, t.id, t.definition()) }

// forget notes that a table is gone.
func (s *Server) forget(t *table) {
	s.store.Set(kindTables, t.id, "")
	s.store.Drop(itemsKind(t))
}

// Restorer takes in what a store kept, change by change. Nothing else may use its Server meanwhile.
type Restorer struct {
	server *Server
	tables map[string]*restored // by id
}

// restored is a table on its way: its items are placed when its definition is the last one.
type restored struct {
	definition string
	items      map[string]item
}

// Restorer begins to restore what a store kept into a Server that has no tables yet.
func (s *Server) Restorer() *Restorer {
	return &Restorer{server: s, tables: make(map[string]*restored)}
}

// Apply takes in one change, and says whether it was one of tables.
func (r *Restorer) Apply(kind, key, value string) (mine bool, err error) {
	id, items := strings.CutPrefix(kind, kindItems)
	if !items {
		id = key
	}
	if !items && kind != kindTables {
		return false, nil
	}
	t := r.tables[id]
	switch {
	case !items && value == "":
		delete(r.tables, id)
	case !items && t == nil:
		r.tables[id] = &restored{value, make(map[string]item)}
	case !items:
		t.definition = value
	case t == nil: // a write that met its table's deletion
	case key == "":
		clear(t.items)
	case value == "":
		delete(t.items, key)
	case len(value) < sizeBytes:
		return true, fmt.Errorf("an item of table %s has no size", id)
	default:
		t.items[key] = item(value)
	}
	return true, nil
}

// Finish makes the tables.
func (r *Restorer) Finish() error {
	for id, kept := range r.tables {
		var d definition
		if err := json.Unmarshal([]byte(kept.definition), &d); err != nil {
			return fmt.Errorf("read definition of table %s: %w", id, err)
		}
		t, err := r.server.newTable(&d.Input, id, d.Created)
		if err != nil {
			return fmt.Errorf("make table %s: %w", id, err)
		}
		t.ttl, t.backups = d.TTL, d.Backups
		for key, it := range kept.items {
			hash, sort, _ := t.primary.place(it)
			if hash+sort != key {
				return fmt.Errorf("an item of table %s is not at its key", t.name)
			}
			t.primary.set(t.primary.partition(hash).items.at(sort), it)
			for _, x := range t.indexes {
				t.reindex(x, "", it)
			}
		}
		r.server.tables[t.name] = t
	}
	r.tables = nil
	return nil
}

// Keep makes the Server note every change in a store from now on.
func (s *Server) Keep(in *store.Store) { s.store = in }

// Dump gives all that a store has to keep, before the Server is used.
func (s *Server) Dump(set func(kind, key, value string)) {
	for _, t := range s.tables {
		set(kindTables, t.id, t.definition())
		t.primary.partitions.Scan(func(hash string, p *partition) bool {
			p.items.scan(func(sort string, it item) bool {
				set(itemsKind(t), hash+sort, string(it))
				return true
			})
			return true
		})
	}
}

package query

import (
	"strings"

	"tributary/internal/schema"
	"tributary/internal/table"
)

// The routes, parameters and schemas of the API follow from a list of entities.

// entity describes how the API serves one kind of item.
type entity struct {
	kind    *schema.Type
	plural  string     // in paths
	example string     // of an id
	fields  []property // its own
	parents []parent   // what it refers to: each has a list of those that refer to it
}

// property is a member of a schema that is text.
type property struct{ name, doc string }

// parent is an entity that another one refers to, through an index.
type parent struct{ of *entity }

var users = entity{
	kind: schema.Builtin().Type("user"), plural: "users", example: "u1",
	fields: []property{
		{table.UserNameAttribute, "The user's name, as sent."},
		{table.UserEmailAttribute, "The user's address, as sent."},
	},
}

var orders = entity{
	kind: schema.Builtin().Type("order"), plural: "orders", example: "o1",
	fields: []property{
		{table.UserIDAttribute, "The user whose order it is."},
		{table.AmountAttribute, "A decimal number of up to 38 digits, as text so that none is lost; without exponent and superfluous zeros."},
	},
	parents: []parent{{of: &users}},
}

var entities = []*entity{&users, &orders}

func (e *entity) name() string { return e.kind.Name }

func (e *entity) schemaName() string { return capital(e.name()) }

// operation is one route with data.
type operation struct {
	id, path, summary, doc string
	entity                 *entity
	list                   bool
	parent                 *entity // whose items a list has; nil: the tenant's
}

const tenantPath = "/v1/tenants/{tenant_id}"

// operations returns the routes: of each entity one item, all items, and those of each parent.
func operations(entities []*entity) (all []operation) {
	for _, e := range entities {
		name := e.name()
		collection := tenantPath + "/" + e.plural
		all = append(all, operation{
			id: "get-" + name, path: collection + "/{" + e.kind.ID + "}", entity: e,
			summary: "One " + name,
			doc:     "Answers 404 where there is no such " + name + ", also where it was deleted.",
		}, operation{
			id: "list-" + e.plural, path: collection, entity: e, list: true,
			summary: capital(e.plural) + ", by id",
			doc:     "All " + e.plural + " of the tenant, or those whose ids since and until select.",
		})
		for _, p := range e.parents {
			owner := p.of.name()
			all = append(all, operation{
				id: "list-" + owner + "-" + e.plural, path: tenantPath + "/" + p.of.plural + "/{" + p.of.kind.ID + "}/" + e.plural, entity: e, list: true, parent: p.of,
				summary: "One " + owner + "'s " + e.plural + ", by id",
				doc: "Read through an index: " + article(name) + " that was written just now may be missing for a moment, and consistent=true is refused. " +
					capital(article(owner)) + " without " + e.plural + " and " + article(owner) + " that does not exist look the same: an empty list.",
			})
		}
	}
	return all
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// article puts a or an before a noun.
func article(noun string) string {
	if strings.ContainsRune("aeio", rune(noun[0])) { // as in user, a u is mostly spoken "you"
		return "an " + noun
	}
	return "a " + noun
}

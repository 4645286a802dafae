package schema

import "strings"

// RouteKind says what a route of the query API answers.
type RouteKind uint8

// The kinds of route.
const (
	GetOne      RouteKind = iota + 1 // one item
	List                             // a tenant's items, a page
	ByReference                      // the items that refer to one, a page
)

// Route is a route of the query API. All are for the method GET.
type Route struct {
	Kind        RouteKind
	Type        *Type      // of what it answers
	Reference   *Reference // of a ByReference
	Path        string     // "/v1/tenants/{tenant_id}/orders/{order_id}"
	OperationID string     // "get-order"
	Tag         string     // "orders"
	Summary     string
	Description string
}

// TenantPath starts every route.
const TenantPath = "/v1/tenants/{tenant_id}"

// Routes returns the routes of the query API: by type, one and all, and then those by reference.
func (s *Set) Routes() []Route {
	routes := make([]Route, 0, 2*len(s.Types)+len(s.References))
	for _, t := range s.Types {
		routes = append(routes,
			Route{Kind: GetOne, Type: t, Path: t.path() + "/{" + t.ID + "}", OperationID: "get-" + t.Name, Tag: t.Plural,
				Summary:     "One " + t.Name,
				Description: "Answers 404 where there is no such " + t.Name + ", also where it was deleted."},
			Route{Kind: List, Type: t, Path: t.path(), OperationID: "list-" + t.Plural, Tag: t.Plural,
				Summary:     capital(t.Plural) + ", by id",
				Description: "All " + t.Plural + " of the tenant, or those whose ids since and until select."})
	}
	for _, r := range s.References {
		t, to := r.From, r.To
		routes = append(routes, Route{Kind: ByReference, Type: t, Reference: r,
			Path: to.path() + "/{" + to.ID + "}/" + t.Plural, OperationID: "list-" + to.Name + "-" + t.Plural, Tag: t.Plural,
			Summary: "One " + to.Name + "'s " + t.Plural + ", by id",
			Description: "Read through an index: " + article(t.Name) + " that was written just now may be missing for a moment, and consistent=true is refused. " +
				capital(article(to.Name)) + " without " + t.Plural + " and " + article(to.Name) + " that does not exist look the same: an empty list."})
	}
	return routes
}

func (t *Type) path() string { return TenantPath + "/" + t.Plural }

// article returns a name with a or an before it.
func article(name string) string {
	if strings.IndexByte("aeio", name[0]) >= 0 {
		return "an " + name
	}
	return "a " + name
}

// NameWithArticle returns the type's name with a or an before it.
func (t *Type) NameWithArticle() string { return article(t.Name) }

func capital(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

const pageSuffix = "Page"

// schemaNames are schemas of the OpenAPI document that are no type's.
var schemaNames = map[string]bool{"Problem": true, "ProblemDetail": true, "ExportEnd": true}

// SchemaName returns the name of the type's schema in the OpenAPI document: "OrderLine" for order_line. That of its page is
// this and "Page".
func (t *Type) SchemaName() string {
	var b strings.Builder
	for part := range strings.SplitSeq(t.Name, "_") {
		if part != "" {
			b.WriteString(capital(part))
		}
	}
	if name := b.String(); !schemaNames[name] {
		return name
	}
	return b.String() + "Item"
}

// PageName returns the name of the schema of a page.
func (t *Type) PageName() string { return t.SchemaName() + pageSuffix }

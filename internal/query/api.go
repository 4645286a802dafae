package query

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"tributary/internal/messages"
	"tributary/internal/table"
)

const (
	jsonType   = "application/json"
	ndjsonType = "application/x-ndjson"
)

// TenantPath names the tenant in the path. Handlers do not read it: they get a reader.
type TenantPath struct {
	TenantID string `path:"tenant_id" minLength:"1" maxLength:"128" pattern:"^([A-Za-z0-9:@=+-]|\\.[A-Za-z0-9_:@=+-]|\\.\\.[A-Za-z0-9._:@=+-])[A-Za-z0-9._:@=+-]*$" patternDescription:"1 to 128 of A-Z a-z 0-9 . _ : @ = + -, not starting with _, and not . or .." example:"tenantA" doc:"The tenant. The bearer token must be for it."`
}

type UserPath struct {
	TenantPath
	UserID string `path:"user_id" minLength:"1" maxLength:"256" pattern:"^[^#\\x00-\\x1f\\x7f-\\x9f]+$" patternDescription:"text without # and control characters" example:"u1" doc:"The user, 1 to 256 bytes of UTF-8, percent-encoded (a slash is %2F)."`
}

type OrderPath struct {
	TenantPath
	OrderID string `path:"order_id" minLength:"1" maxLength:"256" pattern:"^[^#\\x00-\\x1f\\x7f-\\x9f]+$" patternDescription:"text without # and control characters" example:"o1" doc:"The order, 1 to 256 bytes of UTF-8, percent-encoded (a slash is %2F)."`
}

type ConsistentParam struct {
	Consistent bool `query:"consistent" doc:"Read strongly consistently: see every write that was done before. Costs twice the read units."`
}

type PageParams struct {
	Limit      int       `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many items a page has at most. An export (application/x-ndjson) has all of them, whatever the limit."`
	Cursor     string    `query:"cursor" maxLength:"1500" doc:"Where to go on: next_cursor of the page before. It fits only the same tenant and query; limit and consistent may change."`
	After      string    `query:"after" maxLength:"256" doc:"Where to go on: after the item with this id, whether or not it is still there. For an export that broke off."`
	Descending bool      `query:"descending" doc:"The last ids first. With UUIDv7 ids: the newest first."`
	Since      time.Time `query:"since" doc:"Only items whose id is a UUIDv7 made at or after this time (to the millisecond). Ids of other kinds are left out."`
	Until      time.Time `query:"until" doc:"Only items whose id is a UUIDv7 made before this time (to the millisecond). Ids of other kinds are left out."`
}

type getUserInput struct {
	UserPath
	ConsistentParam
}

type getOrderInput struct {
	OrderPath
	ConsistentParam
}

type listInput struct {
	TenantPath
	PageParams
	ConsistentParam
}

type listUserOrdersInput struct {
	UserPath
	PageParams
	ConsistentParam
}

// itemOutput is one item, which writes itself.
type itemOutput struct {
	Body func(huma.Context)
}

// listOutput is a page, or an export, which writes itself.
type listOutput struct {
	Link string `header:"Link" doc:"The next page, where there is one: <…>; rel=\"next\"."`
	Body func(huma.Context)
}

// newAPI registers the routes with m, through huma, which checks parameters and describes it all in OpenAPI.
func (s *Server) newAPI(m *router) huma.API {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "Tributary query API",
				Version:     "1",
				Description: apiDescription,
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "A JWT of the configured issuer, or a static token made by `worker token`. Not asked for by a worker that has no authentication configured, which listens on loopback only."},
				},
			},
			Security: []map[string][]string{{"bearer": {}}},
			Tags:     []*huma.Tag{{Name: "users"}, {Name: "orders"}},
		},
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                jsonType,
		RejectUnknownQueryParameters: true,
	}
	api := humago.New(m, config)
	api.UseMiddleware(s.guard)

	huma.Register(api, s.operation("get-user", "/users/{user_id}", "users", "One user", itemResponse[user](registry)), s.getUser)
	huma.Register(api, s.operation("list-users", "/users", "users", "Users, by id", listResponse[user](registry)), s.listUsers)
	huma.Register(api, s.operation("get-order", "/orders/{order_id}", "orders", "One order", itemResponse[order](registry)), s.getOrder)
	huma.Register(api, s.operation("list-orders", "/orders", "orders", "Orders, by id", listResponse[order](registry)), s.listOrders)
	huma.Register(api, s.operation("list-user-orders", "/users/{user_id}/orders", "orders", "One user's orders, by id", listResponse[order](registry)), s.listUserOrders)
	describe(api.OpenAPI())
	return api
}

// operation describes a route. Ok is its good answer where huma can't tell it from the handler's type.
func (s *Server) operation(id, path, tag, summary string, ok *huma.Response) huma.Operation {
	o := huma.Operation{
		OperationID: id,
		Method:      http.MethodGet,
		Path:        "/v1/tenants/{tenant_id}" + path,
		Tags:        []string{tag},
		Summary:     summary,
		Description: operationDescriptions[id],
		Errors:      []int{400, 401, 403, 404, 414, 415, 429, 431, 503},
		Responses:   map[string]*huma.Response{},
	}
	if ok != nil {
		o.Responses["200"] = ok
	}
	return o
}

func (s *Server) getUser(ctx context.Context, in *getUserInput) (*itemOutput, error) {
	return s.get(ctx, table.UserEntity, in.UserID, in.Consistent)
}

func (s *Server) getOrder(ctx context.Context, in *getOrderInput) (*itemOutput, error) {
	return s.get(ctx, table.OrderEntity, in.OrderID, in.Consistent)
}

// get reads one item of the request's tenant.
func (s *Server) get(ctx context.Context, entity table.Entity, id string, consistent bool) (*itemOutput, error) {
	current := requestOf(ctx)
	if err := checkID("path."+entity.IDName(), entity.IDName(), id); err != nil {
		return nil, current.fail(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	reader := current.reader
	found, err := reader.get(ctx, table.Key{TenantID: reader.tenant, Entity: entity, ID: id}, consistent)
	if err == nil && !found {
		err = newProblem(http.StatusNotFound, "There is no such "+entity.String()+".")
	}
	if err != nil {
		return nil, current.fail(ctx, err)
	}
	if !s.show(current) { // the key that was asked for is one
		return nil, current.fail(ctx, errors.New("the item is not the one that was asked for"))
	}
	reader.out = append(reader.out, '\n')
	return &itemOutput{func(h huma.Context) {
		h.SetHeader("Content-Type", jsonType)
		_, _ = h.BodyWriter().Write(reader.out) // a client that is gone needs no answer
	}}, nil
}

// show appends the item at hand to the answer and says whether it could: an item whose key names no user or order is left out. What
// somebody else put into the table is logged with its key, so that it can be mended.
func (s *Server) show(current *request) bool {
	reader := current.reader
	key, err := reader.item.Key()
	if err != nil {
		s.metrics.unreadable.Inc()
		current.log.Warn("item left out, its key names no user or order", "request_id", current.id, "tenant", reader.tenant, "sk", cut(reader.item.SortKey()), "error", err)
		return false
	}
	var unreadable []string
	reader.out, unreadable = reader.item.AppendShown(reader.out, key)
	if len(unreadable) > 0 {
		s.metrics.unreadable.Inc()
		current.log.Warn("item shown without attributes that can't be read", "request_id", current.id, "tenant", reader.tenant, "sk", key.SK(), "attributes", unreadable)
	}
	return true
}

// checkID refuses what can't be an id.
func checkID(where, name, id string) error {
	if invalid := messages.CheckID(name, id); invalid != nil {
		return badParameter(where, id, invalid.Detail)
	}
	return nil
}

func (s *Server) listUsers(ctx context.Context, in *listInput) (*listOutput, error) {
	return listItems(ctx, s, &in.PageParams, listQuery{entity: table.UserEntity, consistent: in.Consistent})
}

func (s *Server) listOrders(ctx context.Context, in *listInput) (*listOutput, error) {
	return listItems(ctx, s, &in.PageParams, listQuery{entity: table.OrderEntity, consistent: in.Consistent})
}

func (s *Server) listUserOrders(ctx context.Context, in *listUserOrdersInput) (*listOutput, error) {
	current := requestOf(ctx)
	if err := checkID("path.user_id", "user_id", in.UserID); err != nil {
		return nil, current.fail(ctx, err)
	}
	if in.Consistent {
		return nil, current.fail(ctx, badParameter("query.consistent", "true",
			"a user's orders are read through an index, which DynamoDB reads only eventually consistently"))
	}
	return listItems(ctx, s, &in.PageParams, listQuery{entity: table.OrderEntity, userID: in.UserID})
}

// listItems answers with a page, or with an export, as the request's Accept header asks.
func listItems(ctx context.Context, s *Server, in *PageParams, q listQuery) (*listOutput, error) {
	current := requestOf(ctx)
	// Year 1 was asked for, which is no time for Go: nothing is that old.
	for name, at := range map[string]*time.Time{"since": &in.Since, "until": &in.Until} {
		if at.IsZero() && current.http.URL.Query().Has(name) {
			*at = time.Unix(0, 0)
		}
	}
	f, err := q.apply(in, current.reader.tenant)
	if err != nil {
		return nil, current.fail(ctx, err)
	}
	if wantsExport(current.http.Header.Values("Accept")) {
		return s.export(ctx, q, f)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	reader := current.reader
	reader.out = append(reader.out, `{"items":[`...)
	empty := len(reader.out)
	after, more, err := reader.page(ctx, q, in.Limit, func() bool {
		shown := s.show(current)
		if shown {
			reader.out = append(reader.out, ',')
		}
		return shown
	})
	if err != nil {
		return nil, current.fail(ctx, err)
	}
	if len(reader.out) > empty {
		reader.out = reader.out[:len(reader.out)-1]
	}
	reader.out = append(reader.out, ']')
	out := &listOutput{}
	if more {
		cursor := encodeCursor(f, after)
		reader.out = append(reader.out, `,"next_cursor":"`+cursor+`"`...)
		out.Link = nextLink(current.http, cursor)
	}
	reader.out = append(reader.out, "}\n"...)
	out.Body = func(h huma.Context) {
		h.SetHeader("Content-Type", jsonType)
		if out.Link == "" {
			// huma sends an empty one.
			_, w := humago.Unwrap(h)
			w.Header().Del("Link")
		}
		_, _ = h.BodyWriter().Write(reader.out) // a client that is gone needs no answer
	}
	return out, nil
}

// apply takes over what the parameters say, and returns the fingerprint of cursors for it.
func (q *listQuery) apply(in *PageParams, tenant string) (fingerprint, error) {
	var err error
	q.descending = in.Descending
	if q.ids, err = newIDRange(in.Since, in.Until); err != nil {
		return fingerprint{}, badParameter("query.since", in.Since.Format(time.RFC3339Nano), err.Error())
	}
	f := q.fingerprint(tenant)
	switch {
	case in.Cursor != "" && in.After != "":
		return fingerprint{}, badParameter("query.after", in.After, "give cursor or after, not both")
	case in.Cursor != "":
		position, err := decodeCursor(f, q.entity, in.Cursor)
		if err != nil || q.ids.set() && !q.ids.within(position) {
			return fingerprint{}, badParameter("query.cursor", in.Cursor, errCursor.Error())
		}
		q.after, q.started = position, true
	case in.After != "":
		if err := checkID("query.after", "after", in.After); err != nil {
			return fingerprint{}, err
		}
		q.goOnAfter(in.After)
	}
	return f, nil
}

// goOnAfter starts the list after an id that the client saw, or made up. Where the range has not begun there yet, the
// list starts at its beginning: DynamoDB refuses a start outside the range that it is asked for.
func (q *listQuery) goOnAfter(id string) {
	early := q.ids.set() && (!q.descending && id < q.ids.since || q.descending && id > q.ids.until)
	if !early {
		q.after, q.started = id, true
	}
}

// wantsExport says whether the client prefers NDJSON.
func wantsExport(accept []string) bool {
	return negotiation.SelectQValue(strings.Join(accept, ","), []string{jsonType, ndjsonType}) == ndjsonType
}

// nextLink is the Link header for the page after cursor: the same path and query, relative to this server.
func nextLink(r *http.Request, cursor string) string {
	q := r.URL.Query()
	q.Del("after")
	q.Set("cursor", cursor)
	next := url.URL{RawQuery: q.Encode()}
	return "<" + strings.NewReplacer("<", "%3C", ">", "%3E", `"`, "%22").Replace(rawPath(r)) + next.String() + `>; rel="next"`
}

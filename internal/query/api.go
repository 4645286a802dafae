package query

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tributary/internal/schema"
	"tributary/internal/table"
)

const (
	jsonType   = "application/json"
	ndjsonType = "application/x-ndjson"
)

// addRoutes adds the routes with data.
func (s *Server) addRoutes(m *router) {
	for _, route := range s.types.Routes() {
		serve := s.list
		if route.Kind == schema.GetOne {
			serve = s.get
		}
		m.get(route.Path, s.guard(func(w http.ResponseWriter, r *http.Request) {
			in, p := readInput(r, params(route.Kind))
			if p == nil {
				if err := serve(w, r, &route, in); err != nil {
					p = requestOf(r.Context()).fail(r.Context(), err)
				}
			}
			if p != nil {
				p.write(w)
			}
		}))
	}
}

// get answers with one item of the request's tenant. It returns an error if it can't answer.
func (s *Server) get(w http.ResponseWriter, r *http.Request, route *schema.Route, in input) error {
	current := requestOf(r.Context())
	id, err := pathID(r, route.Type)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	reader := current.reader
	found, err := reader.get(ctx, table.Key{TenantID: reader.tenant, Type: route.Type, ID: id}, in.consistent)
	if err != nil {
		return err
	}
	if !found {
		return newProblem(http.StatusNotFound, "There is no such "+route.Type.Name+".")
	}
	if !s.show(current) { // the key that was asked for is one
		return errors.New("the item is not the one that was asked for")
	}
	reader.out = append(reader.out, '\n')
	writeJSON(w, reader.out)
	return nil
}

func writeJSON(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // a client that is gone needs no answer
}

// pathID returns the id of the type in the path, and refuses an invalid one.
func pathID(r *http.Request, t *schema.Type) (string, error) {
	id := r.PathValue(t.ID)
	return id, checkID("path."+t.ID, t.ID, id)
}

// checkID refuses an invalid id.
func checkID(where, name, id string) error {
	if invalid := schema.CheckID(name, id); invalid != nil {
		return badParameter(where, id, invalid.Detail)
	}
	return nil
}

// show appends the item at hand to the answer and says whether it could: an item whose key names no type is left out. What
// somebody else put into the table is logged with its key, so that it can be mended.
func (s *Server) show(current *request) bool {
	reader := current.reader
	key, err := reader.item.Key()
	if err != nil {
		s.metrics.unreadable.Inc()
		current.log.Warn("item left out, its key names no "+s.types.NameList(), "request_id", current.id, "tenant", reader.tenant, "sk", cut(reader.item.SortKey()), "error", err)
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

// list answers with a page, or with an export, as the request's Accept header asks. It returns an error if it can't answer.
func (s *Server) list(w http.ResponseWriter, r *http.Request, route *schema.Route, in input) error {
	current := requestOf(r.Context())
	reader := current.reader
	q := listQuery{of: route.Type, by: route.Reference, consistent: in.consistent}
	if q.by != nil {
		var err error
		if q.referred, err = pathID(r, q.by.To); err != nil {
			return err
		}
		if in.consistent {
			return badParameter("query.consistent", "true",
				q.by.To.NameWithArticle()+"'s "+q.of.Plural+" are read through an index, which DynamoDB reads only eventually consistently")
		}
	}
	f, err := q.apply(&in, reader.tenant)
	if err != nil {
		return err
	}
	if wantsExport(r.Header.Values("Accept")) {
		return s.export(w, r, q, f)
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	reader.out = append(reader.out, `{"items":[`...)
	empty := len(reader.out)
	after, more, err := reader.page(ctx, q, in.limit, func() bool {
		shown := s.show(current)
		if shown {
			reader.out = append(reader.out, ',')
		}
		return shown
	})
	if err != nil {
		return err
	}
	if len(reader.out) > empty {
		reader.out = reader.out[:len(reader.out)-1]
	}
	reader.out = append(reader.out, ']')
	if more {
		cursor := encodeCursor(f, after)
		reader.out = append(reader.out, `,"next_cursor":"`+cursor+`"`...)
		w.Header().Set("Link", nextLink(r, cursor))
	}
	reader.out = append(reader.out, "}\n"...)
	writeJSON(w, reader.out)
	return nil
}

// apply sets the query from the parameters, and returns the fingerprint for its cursors.
func (q *listQuery) apply(in *input, tenant string) (fingerprint, error) {
	var err error
	q.descending = in.descending
	if q.ids, err = newIDRange(in.since, in.until); err != nil {
		return fingerprint{}, badParameter("query.since", in.since.Format(time.RFC3339Nano), err.Error())
	}
	f := q.fingerprint(tenant)
	switch {
	case in.cursor != "" && in.after != "":
		return fingerprint{}, badParameter("query.after", in.after, "give cursor or after, not both")
	case in.cursor != "":
		position, err := decodeCursor(f, q.of, in.cursor)
		if err != nil || q.ids.set() && !q.ids.within(position) {
			return fingerprint{}, badParameter("query.cursor", in.cursor, errCursor.Error())
		}
		q.after, q.started = position, true
	case in.after != "":
		if err := checkID("query.after", "after", in.after); err != nil {
			return fingerprint{}, err
		}
		q.goOnAfter(in.after)
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

// nextLink is the Link header for the page after cursor: the same path and query, relative to this server.
func nextLink(r *http.Request, cursor string) string {
	q := r.URL.Query()
	q.Del("after")
	q.Set("cursor", cursor)
	next := url.URL{RawQuery: q.Encode()}
	return "<" + strings.NewReplacer("<", "%3C", ">", "%3E", `"`, "%22").Replace(rawPath(r)) + next.String() + `>; rel="next"`
}

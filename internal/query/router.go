package query

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// router finds the route of a request by its path as it came, segment by segment, and only then decodes each segment,
// once. So an id may hold a slash (%2F), and nothing in it can become a step in the path. It never redirects.
// net/http's own mux cleans paths and falls back to the decoded one where the encoding is unusual.
type router struct {
	routes []*route
	// notFound and notAllowed answer where no route does.
	notFound   http.HandlerFunc
	notAllowed http.HandlerFunc
	badPath    http.HandlerFunc
}

type route struct {
	pattern  string
	segments []string // "{name}" takes any segment that is not empty
	handler  http.HandlerFunc
}

// get adds a route for a path such as /a/{b}. Every route serves GET, and so HEAD: net/http drops the body.
func (m *router) get(path string, handler http.HandlerFunc) {
	m.routes = append(m.routes, &route{pattern: path, segments: strings.Split(strings.TrimPrefix(path, "/"), "/"), handler: handler})
}

func (m *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(rawPath(r), "/")
	if !ok {
		m.notFound(w, r)
		return
	}
	segments := strings.Split(path, "/")
	found := m.find(segments)
	if found == nil {
		m.notFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		m.notAllowed(w, r)
		return
	}
	r.Pattern = found.pattern
	for i, s := range found.segments {
		name, isParam := strings.CutPrefix(s, "{")
		if !isParam {
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil || !utf8.ValidString(value) {
			m.badPath(w, r)
			return
		}
		r.SetPathValue(strings.TrimSuffix(name, "}"), value)
	}
	found.handler(w, r)
}

func (m *router) find(segments []string) *route {
	i := slices.IndexFunc(m.routes, func(t *route) bool {
		return slices.EqualFunc(t.segments, segments, func(pattern, segment string) bool {
			if strings.HasPrefix(pattern, "{") {
				return segment != ""
			}
			return pattern == segment
		})
	})
	if i < 0 {
		return nil
	}
	return m.routes[i]
}

// rawPath is the path as the client sent it. URL.EscapedPath is not: where it finds the client's encoding unusual it
// makes one of its own from the decoded path, in which an encoded slash has become a real one.
func rawPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(path, "/") {
		return path
	}
	// A request line with the whole URL, as proxies get it.
	if r.URL.RawPath != "" {
		return r.URL.RawPath
	}
	return r.URL.EscapedPath()
}

package query

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tributary/internal/schema"
)

// input holds the parameters of a request's query.
type input struct {
	limit         int
	cursor, after string
	descending    bool
	consistent    bool
	since, until  time.Time
}

const (
	defaultLimit   = 100
	maxLimit       = 1000
	maxCursorChars = 1500
	maxAfterChars  = 256
)

// param is a parameter of the query.
type param struct {
	name, doc string
	schema    map[string]any
	// read sets it; a message says why a value can't be accepted. Shown is the value as the answer repeats it.
	read func(in *input, text string) (shown any, message string)
}

// pageParams are the parameters of lists, itemParams those of everything.
var pageParams = []param{
	{"limit", "How many items a page has at most. An export (application/x-ndjson) has all of them, whatever the limit.",
		map[string]any{"type": "integer", "format": "int64", "default": defaultLimit, "minimum": 1, "maximum": maxLimit}, readLimit},
	{"cursor", "Where to go on: next_cursor of the page before. It fits only the same tenant and query; limit and consistent may change.",
		map[string]any{"type": "string", "maxLength": maxCursorChars}, readText(maxCursorChars, func(in *input) *string { return &in.cursor })},
	{"after", "Where to go on: after the item with this id, whether or not it is still there. For an export that broke off.",
		map[string]any{"type": "string", "maxLength": maxAfterChars}, readText(maxAfterChars, func(in *input) *string { return &in.after })},
	{"descending", "The last ids first. With UUIDv7 ids: the newest first.",
		map[string]any{"type": "boolean"}, readBool(func(in *input) *bool { return &in.descending })},
	{"since", "Only items whose id is a UUIDv7 made at or after this time (to the millisecond). Ids of other kinds are left out.",
		map[string]any{"type": "string", "format": "date-time"}, readTime(func(in *input) *time.Time { return &in.since })},
	{"until", "Only items whose id is a UUIDv7 made before this time (to the millisecond). Ids of other kinds are left out.",
		map[string]any{"type": "string", "format": "date-time"}, readTime(func(in *input) *time.Time { return &in.until })},
}

var itemParams = []param{
	{"consistent", "Read strongly consistently: see every write that was done before. Costs twice the read units.",
		map[string]any{"type": "boolean"}, readBool(func(in *input) *bool { return &in.consistent })},
}

// params returns the parameters that a kind of route has.
func params(kind schema.RouteKind) []param {
	if kind == schema.GetOne {
		return itemParams
	}
	return slices.Concat(pageParams, itemParams)
}

func readLimit(in *input, text string) (any, string) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return text, "invalid integer"
	case n < 1:
		return n, "expected number >= 1"
	case n > maxLimit:
		return n, "expected number <= " + strconv.Itoa(maxLimit)
	}
	in.limit = int(n)
	return n, ""
}

func readText(most int, field func(*input) *string) func(*input, string) (any, string) {
	return func(in *input, text string) (any, string) {
		if utf8.RuneCountInString(text) > most {
			return text, "expected length <= " + strconv.Itoa(most)
		}
		*field(in) = text
		return text, ""
	}
}

func readBool(field func(*input) *bool) func(*input, string) (any, string) {
	return func(in *input, text string) (any, string) {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return text, "invalid boolean"
		}
		*field(in) = v
		return v, ""
	}
}

func readTime(field func(*input) *time.Time) func(*input, string) (any, string) {
	return func(in *input, text string) (any, string) {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return text, "expected a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z"
		}
		if at.IsZero() { // year 1, which is no time for Go: nothing is that old
			at = time.Unix(0, 0)
		}
		*field(in) = at
		return text, ""
	}
}

// readInput reads the query of a request, which may have these parameters. The problem names all that is wrong with it.
func readInput(r *http.Request, params []param) (input, *problem) {
	if p := checkQuery(r.URL.RawQuery); p != nil {
		return input{}, p
	}
	values := r.URL.Query()
	in := input{limit: defaultLimit}
	var wrong []problemDetail
	for _, p := range params {
		if !values.Has(p.name) {
			continue
		}
		if shown, message := p.read(&in, values.Get(p.name)); message != "" {
			wrong = append(wrong, problemDetail{message, "query." + p.name, shown})
		}
		values.Del(p.name)
	}
	for _, name := range sortedNames(values) {
		wrong = append(wrong, problemDetail{"unknown query parameter", "query." + name, ""})
	}
	if len(wrong) > 0 {
		return input{}, badParameters(wrong)
	}
	return in, nil
}

func sortedNames(values url.Values) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkQuery refuses queries that can be read in more than one way: broken encoding, a parameter given twice, or
// without a value.
func checkQuery(raw string) *problem {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return newProblem(http.StatusBadRequest, "The query can't be read: its percent-encoding is broken, or it has a semicolon.")
	}
	for _, name := range sortedNames(values) {
		switch v := values[name]; {
		case !utf8.ValidString(name) || !utf8.ValidString(v[0]):
			return newProblem(http.StatusBadRequest, "The query is not UTF-8.")
		case len(v) > 1:
			return badParameter("query."+name, v[1], "the parameter is given more than once")
		case v[0] == "":
			return badParameter("query."+name, "", "the parameter has no value")
		}
	}
	return nil
}

// wantsExport says whether the client prefers NDJSON: by weight, and between equal ones by order ("RFC 9110", "Accept"). Wildcards
// mean JSON, the default.
func wantsExport(accept []string) bool {
	best, export := 0.0, false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		mediaType, parameters, _ := strings.Cut(part, ";")
		mediaType = strings.TrimSpace(mediaType)
		if mediaType != jsonType && mediaType != ndjsonType {
			continue
		}
		if q := weight(parameters); q > best {
			best, export = q, mediaType == ndjsonType
		}
	}
	return export
}

// weight returns the q of a media type's parameters, 1 if it is missing, 0 if it can't be read.
func weight(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
			q, err := strconv.ParseFloat(text, 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return 0
			}
			return q
		}
	}
	return 1
}

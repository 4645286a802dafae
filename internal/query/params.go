package query

import (
	"net/url"
	"slices"
	"unicode/utf8"
)

// checkQuery refuses queries that can be read in more than one way: broken encoding, a parameter given twice, or
// without a value.
func checkQuery(raw string) *problem {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return newProblem(400, "The query can't be read: its percent-encoding is broken, or it has a semicolon.")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch v := values[name]; {
		case !utf8.ValidString(name) || !utf8.ValidString(v[0]):
			return newProblem(400, "The query is not UTF-8.")
		case len(v) > 1:
			return badParameter("query."+name, v[1], "the parameter is given more than once")
		case v[0] == "":
			return badParameter("query."+name, "", "the parameter has no value")
		}
	}
	return nil
}

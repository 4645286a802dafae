package dynamo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parameters are the names and values that expressions refer to, and which of them were used.
type parameters struct {
	names  map[string]string
	values map[string]value
	used   map[string]bool
}

func newParameters(names map[string]string, values map[string]value) *parameters {
	return &parameters{names: names, values: values, used: make(map[string]bool)}
}

// unused refuses names and values that no expression refers to, and an empty set of them, as AWS does.
func (p *parameters) unused() error {
	var names, values []string
	for name := range p.names {
		if !p.used[name] {
			names = append(names, name)
		}
	}
	for name := range p.values {
		if !p.used[name] {
			values = append(values, name)
		}
	}
	slices.Sort(names)
	slices.Sort(values)
	switch {
	case p.names != nil && len(p.names) == 0, p.values != nil && len(p.values) == 0:
		return errValidation("ExpressionAttributeNames and ExpressionAttributeValues must not be empty where they are given")
	case len(names) > 0:
		return errValidation("Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", strings.Join(names, ", "))
	case len(values) > 0:
		return errValidation("Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", strings.Join(values, ", "))
	}
	return nil
}

// parser reads an expression. Its first error stays, and takes the rest away, so that all that reads comes to an end.
type parser struct {
	*parameters
	kind    string // ConditionExpression and its like, for messages
	rest    []string
	err     error
	paths   []path // that were read
	grouped bool   // the condition read last stands in parentheses
}

func (p *parameters) parse(kind, expression string) *parser {
	r := &parser{parameters: p, kind: kind}
	switch {
	case expression == "":
		r.fail("The expression can not be empty;")
	case len(expression) > maxExpressionBytes:
		r.fail("Expression size has exceeded the maximum allowed size; expression size: %d", len(expression))
	default:
		r.rest = tokens(expression)
	}
	return r
}

// tokens cuts an expression into words, placeholders and signs. A character that has no place in any of them is a
// token by itself, which nobody expects.
func tokens(expression string) []string {
	var out []string
	for rest := strings.TrimLeft(expression, " \t\r\n"); rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		_, n := utf8.DecodeRuneInString(rest)
		switch {
		case word(rest[0]) || rest[0] == '#' || rest[0] == ':':
			for n = 1; n < len(rest) && word(rest[n]); n++ {
			}
		case strings.HasPrefix(rest, "<=") || strings.HasPrefix(rest, ">=") || strings.HasPrefix(rest, "<>"):
			n = 2
		}
		out = append(out, rest[:n])
		rest = rest[n:]
	}
	return out
}

func letter(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }
func word(b byte) bool   { return letter(b) || b >= '0' && b <= '9' || b == '_' }

func (r *parser) refuse(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *parser) fail(format string, args ...any) {
	r.refuse(errValidation("Invalid %s: %s", r.kind, fmt.Sprintf(format, args...)))
}

func (r *parser) syntax(token string) {
	if token == "" {
		token = "<EOF>"
	}
	r.fail("Syntax error; token: %q", token)
}

// end is the reading's error; what is left of the expression is one too.
func (r *parser) end() error {
	if len(r.rest) > 0 {
		r.syntax(r.rest[0])
	}
	return r.err
}

func (r *parser) peek() string {
	if len(r.rest) == 0 {
		return ""
	}
	return r.rest[0]
}

func (r *parser) next() string {
	token := r.peek()
	if token != "" {
		r.rest = r.rest[1:]
	}
	return token
}

// skip passes over a sign or keyword if that comes next.
func (r *parser) skip(token string) bool {
	if !strings.EqualFold(r.peek(), token) {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *parser) expect(token string) {
	if !r.skip(token) {
		r.syntax(r.peek())
	}
}

// call says whether a function of that name comes next; without a name, whether any does.
func (r *parser) call(name string) bool {
	return len(r.rest) > 1 && r.rest[1] == "(" && (name == "" || r.rest[0] == name)
}

// name reads one attribute's name.
func (r *parser) name() string {
	token := r.next()
	if strings.HasPrefix(token, "#") && token != "#" {
		r.used[token] = true
		name, ok := r.names[token]
		if !ok {
			r.fail("An expression attribute name used in the document path is not defined; attribute name: %s", token)
		} else if name == "" {
			r.refuse(errValidation("ExpressionAttributeNames contains invalid value: Empty attribute name for key %s", token))
		}
		return name
	}
	switch {
	case token == "" || !letter(token[0]):
		r.syntax(token)
	case reserved(token):
		r.fail("Attribute name is a reserved keyword; reserved keyword: %s", token)
	}
	return token
}

// value reads a placeholder of a value.
func (r *parser) value() value {
	token := r.next()
	if !strings.HasPrefix(token, ":") || token == ":" {
		r.syntax(token)
		return value{}
	}
	r.used[token] = true
	v, ok := r.values[token]
	if !ok {
		r.fail("An expression attribute value used in expression is not defined; attribute value: %s", token)
	}
	return v
}

// path leads to a value in an item.
type path []step

// step is an attribute of a map, or an element of a list.
type step struct {
	name  string
	index int // -1 in a map
}

func (p path) String() string {
	var parts []string
	for _, s := range p {
		if s.index >= 0 {
			s.name = fmt.Sprintf("[%d]", s.index)
		}
		parts = append(parts, s.name)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// path reads names with points between them, and indexes in brackets.
func (r *parser) path() path {
	out := path{{r.name(), -1}}
	for {
		switch {
		case r.skip("."):
			out = append(out, step{r.name(), -1})
		case r.skip("["):
			token := r.next()
			n, err := strconv.ParseInt(token, 10, 32)
			if err != nil || strconv.FormatInt(n, 10) != token {
				r.syntax(token)
			}
			r.expect("]")
			out = append(out, step{index: int(n)})
		default:
			r.paths = append(r.paths, out)
			return out
		}
	}
}

// find is the value that p leads to in an item, nil where there is none.
func (p path) find(it item) *value {
	v, ok := it.get(p[0].name)
	if !ok {
		return nil
	}
	return p[1:].in(&v)
}

// in is the value that p leads to from v, nil where there is none.
func (p path) in(v *value) *value {
	for _, s := range p {
		if s.index >= 0 {
			if s.index >= len(v.list) {
				return nil
			}
			v = &v.list[s.index]
			continue
		}
		e, ok := v.m[s.name]
		if !ok {
			return nil
		}
		v = &e
	}
	return v
}

// projection are the paths that a ProjectionExpression keeps; nil keeps all.
type projection []path

// projection reads a ProjectionExpression, which may be missing.
func (p *parameters) projection(expression *string) (projection, error) {
	if expression == nil {
		return nil, nil
	}
	r := p.parse("ProjectionExpression", *expression)
	for {
		b := r.path()
		for _, a := range r.paths[:len(r.paths)-1] {
			if how := clash(a, b); how != "" {
				r.fail("Two document paths %s with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", how, a, b)
			}
		}
		if !r.skip(",") {
			return r.paths, r.end()
		}
	}
}

// clash says why two paths can't be in one projection, if they can't: one leads through the other, or one takes for a
// map what the other takes for a list.
func clash(a, b path) string {
	for i := range min(len(a), len(b)) {
		if (a[i].index < 0) != (b[i].index < 0) {
			return "conflict"
		}
		if a[i] != b[i] {
			return ""
		}
	}
	return "overlap"
}

// of is what of it the projection keeps.
func (p projection) of(it item) item {
	if p == nil || it == "" {
		return it
	}
	kept, ok := keep(value{kind: "M", m: it.decode()}, p)
	if !ok {
		return encode(nil)
	}
	return encode(kept.m)
}

// keep is what of v the paths lead to; ok is false where that is nothing. Elements of a list move up.
func keep(v value, paths []path) (kept value, ok bool) {
	if len(paths[0]) == 0 { // and so there is no other: they don't overlap
		return v, true
	}
	following := func(s step) (out []path) {
		for _, p := range paths {
			if p[0] == s {
				out = append(out, p[1:])
			}
		}
		return out
	}
	kept = value{kind: v.kind, m: make(map[string]value)}
	for name, e := range v.m {
		if next := following(step{name, -1}); next != nil {
			if e, ok := keep(e, next); ok {
				kept.m[name] = e
			}
		}
	}
	for i, e := range v.list {
		if next := following(step{index: i}); next != nil {
			if e, ok := keep(e, next); ok {
				kept.list = append(kept.list, e)
			}
		}
	}
	return kept, len(kept.m)+len(kept.list) > 0
}

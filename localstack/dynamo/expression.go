package dynamo

import (
	"slices"
	"strings"

	"github.com/truora/minidyn/interpreter"
	minidyn "github.com/truora/minidyn/types"
)

// Conditions, filters and projections are evaluated by minidyn's interpreter. It keeps numbers as
// float64, which would let versions above 2^53 and amounts of 38 digits go wrong. So, wherever nothing is
// calculated, it gets numbers as strings that sort as the numbers do, and that carry them.

const numberMark = "\x00number\x00"

// toMinidyn turns v into minidyn's form; exact says whether numbers go as marked strings.
func (v *value) toMinidyn(exact bool) *minidyn.Item {
	number := func(s string) string {
		if !exact {
			return s
		}
		n, _ := parseNumber(s) // checked when it came in
		return numberMark + n.ordered() + numberMark + s
	}
	out := &minidyn.Item{}
	switch v.kind {
	case "S":
		out.S = &v.text
	case "N":
		if s := number(v.text); exact {
			out.S = &s
		} else {
			out.N = &s
		}
	case "B":
		out.B = []byte(v.text)
	case "BOOL":
		out.BOOL = &v.flag
	case "NULL":
		out.NULL = &v.flag
	case "L":
		out.L = make([]*minidyn.Item, len(v.list))
		for i := range v.list {
			out.L[i] = v.list[i].toMinidyn(exact)
		}
	case "M":
		out.M = toMinidyn(v.m, exact)
	case "BS":
		for _, s := range v.set {
			out.BS = append(out.BS, []byte(s))
		}
	default:
		for _, s := range v.set {
			if v.kind == "NS" {
				s = number(s)
			}
			if v.kind == "NS" && !exact {
				out.NS = append(out.NS, &s)
			} else {
				out.SS = append(out.SS, &s)
			}
		}
	}
	return out
}

func toMinidyn(m map[string]value, exact bool) map[string]*minidyn.Item {
	out := make(map[string]*minidyn.Item, len(m))
	for name, v := range m {
		out[name] = v.toMinidyn(exact)
	}
	return out
}

// fromMinidyn turns minidyn's form back.
func fromMinidyn(in *minidyn.Item) (value, error) {
	unmark := func(s string) (string, bool) {
		rest, marked := strings.CutPrefix(s, numberMark)
		if !marked {
			return s, false
		}
		return rest[strings.LastIndex(rest, numberMark)+len(numberMark):], true
	}
	out := value{}
	switch {
	case in.S != nil:
		text, number := unmark(*in.S)
		out.kind, out.text = "S", text
		if number {
			out.kind = "N"
		}
	case in.N != nil:
		out.kind, out.text = "N", *in.N
	case in.BOOL != nil:
		out.kind, out.flag = "BOOL", *in.BOOL
	case in.NULL != nil:
		out.kind, out.flag = "NULL", true
	case in.B != nil:
		out.kind, out.text = "B", string(in.B)
	case in.L != nil:
		out.kind = "L"
		for _, e := range in.L {
			v, err := fromMinidyn(e)
			if err != nil {
				return out, err
			}
			out.list = append(out.list, v)
		}
	case in.M != nil:
		out.kind, out.m = "M", make(map[string]value, len(in.M))
		for name, e := range in.M {
			v, err := fromMinidyn(e)
			if err != nil {
				return out, err
			}
			out.m[name] = v
		}
	case in.SS != nil:
		out.kind = "SS"
		for _, s := range in.SS {
			text, number := unmark(*s)
			if number {
				out.kind = "NS"
			}
			out.set = append(out.set, text)
		}
	case in.NS != nil:
		out.kind = "NS"
		for _, s := range in.NS {
			out.set = append(out.set, *s)
		}
	case in.BS != nil:
		out.kind = "BS"
		for _, b := range in.BS {
			out.set = append(out.set, string(b))
		}
	default:
		out.kind = "L" // an empty list comes back as nothing
	}
	slices.Sort(out.set)
	return out, out.normalize()
}

// use notes the names and values that expression refers to, and refuses one that was not given.
func (p *parameters) use(expression string) error {
	for _, token := range tokens(expression) {
		for part := range strings.SplitSeq(token, ".") {
			switch {
			case strings.HasPrefix(part, "#"):
				if _, ok := p.names[part]; !ok {
					return errValidation("An expression attribute name used in the document path is not defined; attribute name: %s", part)
				}
				p.used[part] = true
			case strings.HasPrefix(part, ":"):
				if _, ok := p.values[part]; !ok {
					return errValidation("An expression attribute value used in expression is not defined; attribute value: %s", part)
				}
				p.used[part] = true
			}
		}
	}
	return nil
}

// unused refuses names and values that no expression refers to, as AWS does.
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
	case len(names) > 0:
		return errValidation("Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", strings.Join(names, ", "))
	case len(values) > 0:
		return errValidation("Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", strings.Join(values, ", "))
	}
	return nil
}

var language interpreter.Language

// matches evaluates a condition or a filter on it; no expression matches everything.
func (p *parameters) matches(kind interpreter.ExpressionType, expression string, it item) (bool, error) {
	if expression == "" {
		return true, nil
	}
	exact := !strings.Contains(expression, "attribute_type")
	ok, err := language.Match(interpreter.MatchInput{
		Expression: expression, ExpressionType: kind, Item: toMinidyn(it, exact), Attributes: toMinidyn(p.values, exact), Aliases: p.names,
	})
	if err != nil {
		return false, errValidation("Invalid expression %q: %v", expression, err)
	}
	return ok, nil
}

// project evaluates a projection on it; no expression keeps all.
func (p *parameters) project(expression string, it item) (item, error) {
	if expression == "" {
		return it, nil
	}
	projected, err := language.Project(interpreter.ProjectInput{Expression: expression, Item: toMinidyn(it, true), Aliases: p.names})
	if err != nil {
		return nil, errValidation("Invalid ProjectionExpression: %v", err)
	}
	out := item{}
	for name, e := range projected {
		if out[name], err = fromMinidyn(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

package dynamo

import (
	"slices"
	"strings"
)

// keyRange is what a key condition asks for: one partition, and the part of it from low (included) to high (not),
// or to the partition's end where high is empty.
type keyRange struct {
	hash, low, high string
	attributes      []string // that the condition names
}

// of cuts from the partition's entries what is in the range.
func (k *keyRange) of(entries []entry) (low, high int) {
	low, high = search(entries, k.low), len(entries)
	if k.high != "" {
		high = search(entries, k.high)
	}
	return low, high
}

func (k *keyRange) has(sort string) bool {
	return sort >= k.low && (k.high == "" || sort < k.high)
}

// keyTerm is one comparison of a key condition.
type keyTerm struct {
	name     string
	operator string // =, <, <=, >, >=, BETWEEN or begins_with
	values   []value
}

// keyCondition reads a KeyConditionExpression for index x: an equality for every hash attribute, then for the
// range attributes, from the left without a gap, equalities of which the last may be another comparison.
func (t *table) keyCondition(x *index, p *parameters, expression string) (keyRange, error) {
	if expression == "" {
		return keyRange{}, errValidation("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	terms, err := p.keyTerms(expression)
	if err != nil {
		return keyRange{}, err
	}
	byName := make(map[string]keyTerm, len(terms))
	var out keyRange
	for _, term := range terms {
		if _, twice := byName[term.name]; twice {
			return out, errValidation("Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key")
		}
		for _, v := range term.values {
			if !slices.Contains(x.hash, term.name) && !slices.Contains(x.ranges, term.name) {
				break
			}
			if v.kind != t.types[term.name] {
				return out, errValidation("One or more parameter values were invalid: Condition parameter type does not match schema type")
			}
			if v.kind != "N" && v.text == "" {
				return out, errValidation("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s", kindName(v.kind), term.name)
			}
		}
		byName[term.name] = term
		out.attributes = append(out.attributes, term.name)
	}
	for _, name := range x.hash {
		term, ok := byName[name]
		if !ok {
			return out, errValidation("Query condition missed key schema element: %s", name)
		}
		if term.operator != "=" {
			return out, errValidation("Query key condition not supported")
		}
		out.hash += term.values[0].ordered()
		delete(byName, name)
	}
	prefix, last := "", keyTerm{operator: "="}
	for _, name := range x.ranges {
		term, ok := byName[name]
		if !ok {
			break
		}
		if last.operator != "=" {
			return out, errValidation("Query key condition not supported")
		}
		if term.operator == "=" {
			prefix += term.values[0].ordered()
		}
		last = term
		delete(byName, name)
	}
	if len(byName) > 0 {
		if len(x.ranges) > 0 {
			for _, name := range x.ranges {
				if !slices.Contains(out.attributes, name) {
					return out, errValidation("Query condition missed key schema element: %s", name)
				}
			}
		}
		return out, errValidation("Query key condition not supported")
	}
	out.low, out.high = last.bounds(prefix)
	if last.operator == "BETWEEN" && out.low >= out.high {
		return out, errValidation("Invalid KeyConditionExpression: The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {%s:%s}, upper bound operand: AttributeValue: {%s:%s}",
			last.values[0].kind, last.values[0].text, last.values[1].kind, last.values[1].text)
	}
	return out, nil
}

// bounds are the ordered texts from low to high (not included; empty: without end) that t lets through behind prefix.
func (t *keyTerm) bounds(prefix string) (low, high string) {
	end := after(prefix)
	at := func(i int) string { return prefix + t.values[i].ordered() }
	switch t.operator {
	case "<":
		return prefix, at(0)
	case "<=":
		return prefix, after(at(0))
	case ">":
		return after(at(0)), end
	case ">=":
		return at(0), end
	case "BETWEEN":
		return at(0), after(at(1))
	case "begins_with":
		begin := prefix + escaped(t.values[0].text)
		return begin, after(begin)
	}
	return prefix, end // every equality is in the prefix
}

// parameters are the names and values that expressions refer to, and which of them were used.
type parameters struct {
	names  map[string]string
	values map[string]value
	used   map[string]bool
}

func (p *parameters) name(token string) (string, error) {
	if !strings.HasPrefix(token, "#") {
		return token, nil
	}
	p.used[token] = true
	name, ok := p.names[token]
	if !ok {
		return "", errValidation("Invalid KeyConditionExpression: An expression attribute name used in the document path is not defined; attribute name: %s", token)
	}
	return name, nil
}

func (p *parameters) value(token string) (value, error) {
	if !strings.HasPrefix(token, ":") {
		return value{}, errSyntax(token)
	}
	p.used[token] = true
	v, ok := p.values[token]
	if !ok {
		return value{}, errValidation("Invalid KeyConditionExpression: An expression attribute value used in expression is not defined; attribute value: %s", token)
	}
	return v, nil
}

func errSyntax(token string) error {
	if token == "" {
		token = "<EOF>"
	}
	return errValidation("Invalid KeyConditionExpression: Syntax error; token: %q", token)
}

// tokens cuts an expression into words, placeholders and signs.
func tokens(expression string) []string {
	var out []string
	for rest := strings.TrimSpace(expression); rest != ""; rest = strings.TrimSpace(rest) {
		n := strings.IndexFunc(rest, func(r rune) bool { return strings.ContainsRune(" \t\r\n(),=<>+-[]", r) })
		switch {
		case n < 0:
			n = len(rest)
		case n == 0 && len(rest) > 1 && (rest[:2] == "<=" || rest[:2] == ">=" || rest[:2] == "<>"):
			n = 2
		case n == 0:
			n = 1
		}
		out = append(out, rest[:n])
		rest = rest[n:]
	}
	return out
}

// keyTerms reads comparisons joined by AND, each of them or all of them in parentheses or not.
func (p *parameters) keyTerms(expression string) ([]keyTerm, error) {
	r := &keyReader{parameters: p, rest: tokens(expression)}
	terms, err := r.conjunction()
	if err != nil {
		return nil, err
	}
	if len(r.rest) > 0 {
		if strings.EqualFold(r.rest[0], "OR") {
			return nil, errValidation("Invalid operator used in KeyConditionExpression: OR")
		}
		return nil, errSyntax(r.rest[0])
	}
	return terms, nil
}

type keyReader struct {
	*parameters
	rest []string
}

func (r *keyReader) next() string {
	if len(r.rest) == 0 {
		return ""
	}
	token := r.rest[0]
	r.rest = r.rest[1:]
	return token
}

func (r *keyReader) expect(sign string) error {
	if token := r.next(); !strings.EqualFold(token, sign) {
		return errSyntax(token)
	}
	return nil
}

func (r *keyReader) conjunction() ([]keyTerm, error) {
	var out []keyTerm
	for {
		terms, err := r.term()
		if err != nil {
			return nil, err
		}
		out = append(out, terms...)
		if len(r.rest) == 0 || !strings.EqualFold(r.rest[0], "AND") {
			return out, nil
		}
		r.next()
	}
}

func (r *keyReader) term() ([]keyTerm, error) {
	token := r.next()
	switch token {
	case "(":
		terms, err := r.conjunction()
		if err != nil {
			return nil, err
		}
		return terms, r.expect(")")
	case "begins_with":
		return r.beginsWith()
	}
	name, err := r.name(token)
	if err != nil {
		return nil, err
	}
	out := keyTerm{name: name, operator: strings.ToUpper(r.next())}
	switch out.operator {
	case "=", "<", "<=", ">", ">=", "BETWEEN":
	case "<>", "IN":
		return nil, errValidation("Invalid operator used in KeyConditionExpression: %s", out.operator)
	default:
		return nil, errSyntax(out.operator)
	}
	for {
		v, err := r.value(r.next())
		if err != nil {
			return nil, err
		}
		out.values = append(out.values, v)
		if out.operator != "BETWEEN" || len(out.values) == 2 {
			return []keyTerm{out}, nil
		}
		if err := r.expect("AND"); err != nil {
			return nil, err
		}
	}
}

func (r *keyReader) beginsWith() ([]keyTerm, error) {
	if err := r.expect("("); err != nil {
		return nil, err
	}
	name, err := r.name(r.next())
	if err != nil {
		return nil, err
	}
	if err := r.expect(","); err != nil {
		return nil, err
	}
	v, err := r.value(r.next())
	if err != nil {
		return nil, err
	}
	if v.kind == "N" {
		return nil, errValidation("Invalid KeyConditionExpression: Incorrect operand type for operator or function; operator or function: begins_with, operand type: N")
	}
	return []keyTerm{{name: name, operator: "begins_with", values: []value{v}}}, r.expect(")")
}

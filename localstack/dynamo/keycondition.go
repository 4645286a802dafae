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
func (t *table) keyCondition(x *index, p *parameters, expression *string) (keyRange, error) {
	if expression == nil {
		return keyRange{}, errValidation("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	r := p.parse("KeyConditionExpression", *expression)
	terms := r.keyTerms()
	if r.skip("OR") {
		r.refuse(errValidation("Invalid operator used in KeyConditionExpression: OR"))
	}
	if err := r.end(); err != nil {
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

// keyTerms reads comparisons joined by AND, each of them or all of them in parentheses or not.
func (r *parser) keyTerms() []keyTerm {
	var out []keyTerm
	for first := true; ; first = false {
		grouped := r.skip("(")
		if grouped {
			out = append(out, r.keyTerms()...)
			r.expect(")")
			if r.grouped {
				r.fail("The expression has redundant parentheses;")
			}
		} else {
			out = append(out, r.keyTerm())
		}
		r.grouped = grouped && first
		if !r.skip("AND") {
			return out
		}
	}
}

func (r *parser) keyTerm() keyTerm {
	if r.call("begins_with") {
		r.next()
		r.expect("(")
		out := keyTerm{name: r.name(), operator: "begins_with"}
		r.expect(",")
		out.values = []value{r.value()}
		r.expect(")")
		if out.values[0].kind == "N" {
			r.fail("Incorrect operand type for operator or function; operator or function: begins_with, operand type: N")
		}
		return out
	}
	out := keyTerm{name: r.name()}
	token := r.next()
	switch out.operator = strings.ToUpper(token); out.operator {
	case "=", "<", "<=", ">", ">=":
		out.values = []value{r.value()}
	case "BETWEEN":
		low := r.value()
		r.expect("AND")
		out.values = []value{low, r.value()}
	case "<>", "IN":
		r.refuse(errValidation("Invalid operator used in KeyConditionExpression: %s", out.operator))
	default:
		r.syntax(token)
	}
	return out
}

package dynamo

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// condition says whether an item passes. It can't fail: all that may be wrong with an expression is refused when it is
// read, whatever the items are, as on AWS.
type condition func(item) bool

// condition reads a ConditionExpression or FilterExpression, which may be missing, and the paths that are in it.
func (t *table) condition(p *parameters, kind string, expression *string) (condition, []path, error) {
	if expression == nil {
		return func(item) bool { return true }, nil, nil
	}
	r := p.parse(kind, *expression)
	out := r.or()
	r.scalarKeys(t)
	return out, r.paths, r.end()
}

// scalarKeys refuses paths into key attributes.
func (r *parser) scalarKeys(t *table) {
	for _, path := range r.paths {
		if _, key := t.types[path[0].name]; key && len(path) > 1 {
			r.refuse(errValidation("Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: %s", path[0].name))
		}
	}
}

func (r *parser) or() condition {
	out := r.and()
	for r.skip("OR") {
		left, right := out, r.and()
		out = func(it item) bool { return left(it) || right(it) }
		r.grouped = false
	}
	return out
}

func (r *parser) and() condition {
	out := r.not()
	for r.skip("AND") {
		left, right := out, r.not()
		out = func(it item) bool { return left(it) && right(it) }
		r.grouped = false
	}
	return out
}

func (r *parser) not() condition {
	switch {
	case r.skip("NOT"):
		inner := r.not()
		r.grouped = false
		return func(it item) bool { return !inner(it) }
	case r.skip("("):
		inner := r.or()
		r.expect(")")
		if r.grouped {
			r.fail("The expression has redundant parentheses;")
		}
		r.grouped = true
		return inner
	}
	r.grouped = false
	if r.call("") && !r.call("size") {
		return r.function()
	}
	return r.comparison()
}

func (r *parser) comparison() condition {
	v := r.operand()
	token := r.next()
	switch operator := strings.ToUpper(token); operator {
	case "=", "<>", "<", "<=", ">", ">=":
		w := r.operand()
		r.distinct(operator, v, w)
		if operator != "=" && operator != "<>" {
			r.takes(operator, ordered, v, w)
		}
		return func(it item) bool { return holds(v.of(it), operator, w.of(it)) }
	case "BETWEEN":
		low := r.operand()
		r.expect("AND")
		high := r.operand()
		r.distinct(operator, v, low, high)
		r.takes(operator, ordered, v, low, high)
		if low.path == nil && high.path == nil && low.kind() != high.kind() {
			r.fail("The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: %s, upper bound operand: %s", low.kind(), high.kind())
		}
		if low.path == nil && high.path == nil && !holds(low.of(""), "<=", high.of("")) {
			r.fail("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
		}
		return func(it item) bool { return holds(v.of(it), ">=", low.of(it)) && holds(v.of(it), "<=", high.of(it)) }
	case "IN":
		r.expect("(")
		list := r.operands()
		r.distinct(operator, append([]operand{v}, list...)...)
		if len(list) > maxInOperands {
			r.fail("The IN operator takes at most %d operands; number of operands: %d", maxInOperands, len(list))
		}
		return func(it item) bool {
			return slices.ContainsFunc(list, func(e operand) bool { return holds(v.of(it), "=", e.of(it)) })
		}
	}
	if token == ")" {
		r.fail(aroundOperand)
	}
	r.syntax(token)
	return nil
}

const aroundOperand = "This server does not support parentheses around an operand, only around a condition"

// functions that are conditions by themselves, and how many operands each takes.
var functions = map[string]int{
	"attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2, "begins_with": 2, "contains": 2,
}

func (r *parser) function() condition {
	name := r.next()
	n, ok := functions[name]
	if !ok {
		r.fail("Invalid function name; function: %s", name)
		return nil
	}
	r.expect("(")
	operands := r.operands()
	if len(operands) != n {
		r.fail("Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", name, len(operands))
		return nil
	}
	v, w := operands[0], operands[n-1]
	if n == 2 {
		r.distinct(name, v, w)
	}
	switch name {
	case "attribute_exists", "attribute_not_exists":
		if v.path == nil || v.size {
			r.fail("Operator or function requires a document path; operator or function: %s", name)
		}
		return func(it item) bool { return (v.path.find(it) != nil) == (name == "attribute_exists") }
	case "attribute_type":
		r.takes(name, []string{"S"}, w)
		if w.path != nil || !slices.Contains(kinds, w.literal.text) {
			r.fail("attribute_type takes the name of a type, as a value; valid types: {%s}", strings.Join(kinds, ","))
		}
		return func(it item) bool {
			found := v.of(it)
			return found != nil && found.kind == w.literal.text
		}
	case "begins_with":
		r.takes(name, []string{"S", "B"}, v, w)
		return func(it item) bool { return begins(v.of(it), w.of(it)) }
	}
	return func(it item) bool { return contains(v.of(it), w.of(it)) }
}

var (
	kinds   = []string{"S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"}
	ordered = []string{"S", "N", "B"}
	sized   = []string{"S", "B", "L", "M", "SS", "NS", "BS"}
)

// operand is what is compared, or given to a function.
type operand struct {
	path    path // nil for a value of the request's
	literal value
	size    bool // of what is there
}

func (r *parser) operand() operand {
	switch {
	case r.call("size"):
		r.next()
		r.expect("(")
		out := r.operand()
		r.expect(")")
		r.takes("size", sized, out)
		out.size = true
		return out
	case r.peek() == "(":
		r.fail(aroundOperand)
	case strings.HasPrefix(r.peek(), ":"):
		return operand{literal: r.value()}
	}
	return operand{path: r.path()}
}

// operands reads a list to its closing parenthesis.
func (r *parser) operands() []operand {
	var out []operand
	for {
		out = append(out, r.operand())
		if !r.skip(",") {
			r.expect(")")
			return out
		}
	}
}

// kind is the operand's type, empty where only an item can tell.
func (o *operand) kind() string {
	switch {
	case o.size:
		return "N"
	case o.path == nil:
		return o.literal.kind
	}
	return ""
}

// of is the operand's value for an item, nil where there is none.
func (o *operand) of(it item) *value {
	v := &o.literal
	if o.path != nil {
		v = o.path.find(it)
	}
	if o.size && v != nil {
		return v.length()
	}
	return v
}

// takes refuses operands of which it is plain that they have a type that the operator never takes.
func (r *parser) takes(operator string, wanted []string, operands ...operand) {
	for _, o := range operands {
		if kind := o.kind(); kind != "" && !slices.Contains(wanted, kind) {
			r.fail("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", operator, kind)
		}
	}
}

// distinct refuses a path that is compared with itself.
func (r *parser) distinct(operator string, operands ...operand) {
	first := operands[0]
	for _, o := range operands[1:] {
		if first.path != nil && !first.size && !o.size && slices.Equal(first.path, o.path) {
			r.fail("The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %s", operator, first.path)
		}
	}
}

// holds compares two values, nil where there is none. Values of two types are not equal and have no order.
func holds(a *value, operator string, b *value) bool {
	switch operator {
	case "=":
		return a != nil && b != nil && equal(*a, *b)
	case "<>":
		return !holds(a, "=", b)
	}
	if a == nil || b == nil || a.kind != b.kind || !slices.Contains(ordered, a.kind) {
		return false
	}
	switch order := strings.Compare(a.ordered(), b.ordered()); operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

func begins(v, prefix *value) bool {
	return v != nil && prefix != nil && v.kind == prefix.kind && (v.kind == "S" || v.kind == "B") && strings.HasPrefix(v.text, prefix.text)
}

func contains(v, part *value) bool {
	if v == nil || part == nil {
		return false
	}
	switch v.kind {
	case "S", "B":
		return part.kind == v.kind && strings.Contains(v.text, part.text)
	case "L":
		return slices.ContainsFunc(v.list, func(e value) bool { return equal(e, *part) })
	case "SS", "NS", "BS":
		return part.kind+"S" == v.kind && slices.Contains(v.set, part.text)
	}
	return false
}

// length is what the function size gives, nil for a type that has no size. Strings are counted in UTF-16, as DynamoDB
// Local counts them.
func (v *value) length() *value {
	n := len(v.list) + len(v.m) + len(v.set)
	switch {
	case v.kind == "S":
		n = len(utf16.Encode([]rune(v.text)))
	case v.kind == "B":
		n = len(v.text)
	case !slices.Contains(sized, v.kind):
		return nil
	}
	return &value{kind: "N", text: strconv.Itoa(n)}
}

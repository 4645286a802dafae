package dynamo

import (
	"slices"
	"strings"
)

// UpdateItem.
//
// As AWS, and as DynamoDB Local by expressions that are made up: SET with +, -, if_not_exists and list_append, REMOVE,
// ADD and DELETE, paths into maps and lists, conditions, every ReturnValues, the old item with a refusal; every operand
// is read from the item as it was. An item that is not there is made, of its key and what the expression gives.
// UPDATED_OLD and UPDATED_NEW give whole attributes, even where a part of one was changed.
// Differs: as in PutItem.
// Missing: AttributeUpdates (a ValidationException).

func (s *Server) updateItem(in *writeInput) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if err := in.check("ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"); err != nil {
		return nil, err
	}
	p := newParameters(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	u, err := t.update(p, in.UpdateExpression)
	if err != nil {
		return nil, err
	}
	passes, _, err := t.condition(p, "ConditionExpression", in.ConditionExpression)
	if err != nil {
		return nil, err
	}
	if err := p.unused(); err != nil {
		return nil, err
	}
	if err := t.checkKey(in.Key); err != nil {
		return nil, err
	}
	hash, sort, _ := t.primary.place(in.Key)
	costs := newBill(in.ReturnConsumedCapacity)
	done, err := s.write(t, hash, sort, costs, func(old item) (item, error) {
		if !passes(old) {
			return old, errCondition(old, in.ReturnValuesOnConditionCheckFailure == "ALL_OLD")
		}
		if u.refusal != nil {
			return old, u.refusal
		}
		if name, is := u.ofKey(t); is {
			return old, errValidation("One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", name)
		}
		next, err := u.apply(old, in.Key)
		if err != nil {
			return old, err
		}
		return next, t.checkUpdated(next)
	})
	if err != nil {
		return nil, err
	}
	out := writeOutput{ConsumedCapacity: t.written(in.ReturnConsumedCapacity, costs)}
	switch in.ReturnValues {
	case "ALL_OLD":
		out.Attributes = done.old
	case "ALL_NEW":
		out.Attributes = done.next
	case "UPDATED_OLD":
		out.Attributes = u.touched(done.old)
	case "UPDATED_NEW":
		out.Attributes = u.touched(done.next)
	}
	return out, nil
}

// checkUpdated refuses an item that an update may not leave.
func (t *table) checkUpdated(next item) error {
	if next.size() > maxItemBytes {
		return errValidation("Item size to update has exceeded the maximum allowed size")
	}
	for _, v := range next.decode() {
		if v.depth() >= maxNesting {
			return errValidation("Nesting Levels have exceeded supported limits")
		}
	}
	return t.checkIndexKeys(next)
}

// update is what an UpdateExpression does.
type update struct {
	actions []action
	refusal error // found only where the condition holds
}

// action changes what one path leads to.
type action struct {
	clause string // SET, REMOVE, ADD or DELETE
	path   path
	give   func(old item) (value, error) // of all but REMOVE
}

// update reads an UpdateExpression, which may be missing.
func (t *table) update(p *parameters, expression *string) (*update, error) {
	u := &update{}
	if expression == nil {
		return u, nil
	}
	r := p.parse("UpdateExpression", *expression)
	seen := make(map[string]bool)
	for first := true; first || len(r.rest) > 0; first = false {
		token := r.next()
		clause := strings.ToUpper(token)
		if !slices.Contains([]string{"SET", "REMOVE", "ADD", "DELETE"}, clause) {
			r.syntax(token)
			break
		}
		if seen[clause] {
			r.fail("The %q section can only be used once in an update expression;", clause)
		}
		seen[clause] = true
		for {
			u.actions = append(u.actions, r.action(clause))
			if !r.skip(",") {
				break
			}
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	r.scalarKeys(t)
	u.refusal = r.err
	for i, b := range u.actions {
		for _, a := range u.actions[:i] {
			if how := clash(a.path, b.path); how != "" {
				return nil, errValidation("Invalid UpdateExpression: Two document paths %s with each other; must remove or rewrite one of these paths; path one: %s, path two: %s", how, a.path, b.path)
			}
		}
	}
	return u, nil
}

func (r *parser) action(clause string) action {
	a := action{clause: clause, path: r.path()}
	switch clause {
	case "SET":
		r.expect("=")
		a.give = r.sum(false).of
	case "ADD", "DELETE":
		v := r.value()
		wanted := []string{"N", "SS", "NS", "BS"}
		if clause == "DELETE" {
			wanted = wanted[1:]
		}
		if r.err == nil && !slices.Contains(wanted, v.kind) {
			r.fail("Incorrect operand type for operator or function; operator: %s, operand type: %s", clause, longName(v.kind))
		}
		a.give = func(item) (value, error) { return v, nil }
	}
	return a
}

// longName is a type's name in messages about updates.
func longName(kind string) string {
	names := map[string]string{"S": "STRING", "N": "NUMBER", "B": "BINARY", "BOOL": "BOOLEAN", "L": "LIST", "M": "MAP"}
	if name := names[kind]; name != "" {
		return name
	}
	return kind
}

// given is an operand of a SET: what it is for an item, and its type where the expression alone tells it.
type given struct {
	of   func(old item) (value, error)
	kind string
	path path
}

// sum reads an operand, or two with + or - between them.
func (r *parser) sum(nested bool) given {
	a := r.given(nested)
	operator := r.peek()
	if operator != "+" && operator != "-" {
		return a
	}
	r.next()
	b := r.given(nested)
	r.grouped = false
	for _, kind := range []string{a.kind, b.kind} {
		if kind != "" && kind != "N" {
			r.fail("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", operator, kind)
		}
	}
	return given{kind: "N", of: func(old item) (value, error) {
		v, err := a.of(old)
		if err != nil {
			return v, err
		}
		w, err := b.of(old)
		if err != nil {
			return w, err
		}
		if v.kind != "N" || w.kind != "N" {
			return v, errOperandType()
		}
		return add(v, w, operator == "-")
	}}
}

func errOperandType() error {
	return errValidation("An operand in the update expression has an incorrect data type")
}

func errPath() error {
	return errValidation("The document path provided in the update expression is invalid for update")
}

// given reads a value, a path or a function. A function whose operand it is makes it nested.
func (r *parser) given(nested bool) given {
	r.grouped = false
	switch {
	case r.call("if_not_exists"):
		r.next()
		r.expect("(")
		p := r.path()
		r.expect(",")
		otherwise := r.given(true)
		r.expect(")")
		if slices.Equal(p, otherwise.path) {
			r.fail("The first operand must be distinct from the remaining operands for this operator or function; operator: if_not_exists, first operand: %s", p)
		}
		return given{of: func(old item) (value, error) {
			v, err := otherwise.of(old) // which has to be there, needed or not
			if found := p.find(old); found != nil && err == nil {
				v = *found
			}
			return v, err
		}}
	case r.call("list_append"):
		if nested {
			r.fail("The function is not allowed to be used this way in an expression; function: list_append")
		}
		r.next()
		r.expect("(")
		a := r.given(true)
		r.expect(",")
		b := r.given(true)
		r.expect(")")
		for _, kind := range []string{a.kind, b.kind} {
			if kind != "" && kind != "L" {
				r.fail("Incorrect operand type for operator or function; operator or function: list_append, operand type: %s", kind)
			}
		}
		return given{kind: "L", of: func(old item) (value, error) {
			v, err := a.of(old)
			if err != nil {
				return v, err
			}
			w, err := b.of(old)
			if err != nil {
				return w, err
			}
			if v.kind != "L" || w.kind != "L" {
				return v, errOperandType()
			}
			return value{kind: "L", list: slices.Concat(v.list, w.list)}, nil
		}}
	case r.skip("("):
		inner := r.sum(nested)
		r.expect(")")
		if r.grouped {
			r.fail("The expression has redundant parentheses;")
		}
		r.grouped = true
		return inner
	case r.call(""):
		r.fail("Invalid function name; function: %s", r.peek())
		return given{}
	case strings.HasPrefix(r.peek(), ":"):
		v := r.value()
		return given{kind: v.kind, of: func(item) (value, error) { return v, nil }}
	}
	p := r.path()
	return given{path: p, of: func(old item) (value, error) {
		v := p.find(old)
		if v == nil {
			return value{}, errValidation("The provided expression refers to an attribute that does not exist in the item")
		}
		return *v, nil
	}}
}

// apply makes the item that the update leaves of what was there, or of the key where nothing was.
func (u *update) apply(old, key item) (item, error) {
	if old == "" {
		old = key
	}
	root := value{kind: "M", m: old.decode()}
	gifts := make([]value, len(u.actions))
	for i, a := range u.actions {
		if a.give == nil {
			continue
		}
		var err error
		if gifts[i], err = a.give(old); err != nil {
			return "", err
		}
	}
	order := make([]int, len(u.actions)) // lists grow in the order of their indexes, whatever the order of the actions
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := u.actions[i].path, u.actions[j].path
		return a[len(a)-1].index - b[len(b)-1].index
	})
	for _, i := range order {
		a := &u.actions[i]
		var err error
		if root, err = root.change(a.path, func(there *value) (*value, error) { return a.change(there, gifts[i]) }); err != nil {
			return "", err
		}
	}
	return encode(root.closed().m), nil
}

// change puts what to gives in the place that p leads to in v, whose maps and lists are the update's own. An element
// that is taken away leaves its place empty, so that the indexes behind it keep their meaning until the end.
func (v value) change(p path, to func(there *value) (*value, error)) (value, error) {
	s := p[0]
	var there *value
	switch {
	case s.index < 0 && v.kind == "M":
		if e, ok := v.m[s.name]; ok {
			there = &e
		}
	case s.index >= 0 && v.kind == "L":
		if s.index < len(v.list) {
			there = &v.list[s.index]
		}
	default:
		return v, errPath()
	}
	var next *value
	if len(p) > 1 {
		if there == nil {
			return v, errPath()
		}
		inside, err := there.change(p[1:], to)
		if err != nil {
			return v, err
		}
		next = &inside
	} else {
		var err error
		if next, err = to(there); err != nil {
			return v, err
		}
	}
	switch {
	case next == nil && there == nil:
	case s.index < 0 && next == nil:
		delete(v.m, s.name)
	case s.index < 0:
		v.m[s.name] = *next
	case next == nil:
		*there = value{}
	case there == nil:
		v.list = append(v.list, *next)
	default:
		*there = *next
	}
	return v, nil
}

// closed is v without the places in its lists that were emptied.
func (v value) closed() value {
	for name, e := range v.m {
		v.m[name] = e.closed()
	}
	v.list = slices.DeleteFunc(v.list, func(e value) bool { return e.kind == "" })
	for i := range v.list {
		v.list[i] = v.list[i].closed()
	}
	return v
}

// change is what an action makes of the value that is there, nil where there is none. It gives nil where nothing stays.
func (a *action) change(there *value, gift value) (*value, error) {
	switch a.clause {
	case "SET":
		return &gift, nil
	case "REMOVE":
		return nil, nil
	}
	if there == nil {
		if a.clause == "DELETE" {
			return nil, nil
		}
		return &gift, nil
	}
	if there.kind != gift.kind {
		return nil, errOperandType()
	}
	if gift.kind == "N" {
		sum, err := add(*there, gift, false)
		return &sum, err
	}
	out := value{kind: there.kind}
	for _, e := range there.set {
		if a.clause == "ADD" || !slices.Contains(gift.set, e) {
			out.set = append(out.set, e)
		}
	}
	if a.clause == "ADD" {
		for _, e := range gift.set {
			if !slices.Contains(there.set, e) {
				out.set = append(out.set, e)
			}
		}
	}
	if len(out.set) == 0 {
		return nil, nil
	}
	return &out, nil
}

// ofKey finds an attribute of the table's key that the update would change.
func (u *update) ofKey(t *table) (name string, is bool) {
	for _, a := range u.actions {
		if name := a.path[0].name; slices.Contains(t.keyNames(), name) {
			return name, true
		}
	}
	return "", false
}

// touched is the attributes of an item that the update's paths lead into, as far as they lead to something. They are
// whole even where the update changes a part of them.
func (u *update) touched(it item) item {
	out := it.only(func(name string) bool {
		return slices.ContainsFunc(u.actions, func(a action) bool { return a.path[0].name == name && a.path.find(it) != nil })
	})
	if out.count() == 0 {
		return ""
	}
	return out
}

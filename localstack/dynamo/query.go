package dynamo

import "slices"

// Query.
//
// As AWS: key conditions with every operator, filters, projections, Select, both directions, pages of 1 MB or of a
// limit, start keys that need not be an item's, indexes with keys of several attributes, consumed capacity.
// Differs: an index is as up to date as its table. It never throttles.
// Missing: KeyConditions, QueryFilter and AttributesToGet (a ValidationException).

// readInput is what Query and Scan have in common.
type readInput struct {
	TableName                 string
	IndexName                 string
	ConsistentRead            bool
	ExclusiveStartKey         item
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]value
	FilterExpression          *string
	ProjectionExpression      *string
	ReturnConsumedCapacity    string
	Limit                     *int32
	Select                    string
}

type queryInput struct {
	readInput
	KeyConditionExpression *string
	ScanIndexForward       *bool
	legacyRead
}

// legacyRead are the parameters that expressions replaced. This server refuses them rather than ignoring them.
type legacyRead struct {
	KeyConditions       map[string]any
	QueryFilter         map[string]any
	ScanFilter          map[string]any
	AttributesToGet     []string
	ConditionalOperator string
}

func (l *legacyRead) check() error {
	if l.KeyConditions != nil || l.QueryFilter != nil || l.ScanFilter != nil || l.AttributesToGet != nil || l.ConditionalOperator != "" {
		return errValidation("The parameters before expressions (KeyConditions, QueryFilter, ScanFilter, AttributesToGet) are not supported here: use the expressions")
	}
	return nil
}

// readOutput is a page.
type readOutput struct {
	Items            []item `json:",omitempty"`
	Count            int
	ScannedCount     int
	LastEvaluatedKey item      `json:",omitempty"`
	ConsumedCapacity *capacity `json:",omitempty"`
}

func (s *Server) query(in *queryInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	r, err := s.prepare(&in.readInput)
	if err != nil {
		return nil, err
	}
	defer r.unlock()
	t, x := r.t, r.x
	for _, path := range r.filtered {
		if name := path[0].name; slices.Contains(x.hash, name) || slices.Contains(x.ranges, name) {
			return nil, errValidation("Filter Expression can only contain non-primary key attributes: Primary key attribute: %s", name)
		}
	}
	wanted, err := t.keyCondition(x, r.p, in.KeyConditionExpression)
	if err != nil {
		return nil, err
	}
	if err := r.p.unused(); err != nil {
		return nil, err
	}
	forward := in.ScanIndexForward == nil || *in.ScanIndexForward
	var start *string
	if in.ExclusiveStartKey != "" {
		hash, sort, err := t.startKey(x, in.ExclusiveStartKey)
		if err != nil {
			return nil, err
		}
		if hash != wanted.hash || !wanted.has(sort) {
			return nil, errValidation("The provided starting key is outside query boundaries based on provided conditions")
		}
		start = &sort
	}
	if p := x.find(wanted.hash); p != nil {
		p.each(&wanted, start, forward, r.read)
	}
	return r.page()
}

// each gives the items of a range in order, or in the reverse order, from behind the key start on where there is one,
// until read has enough.
func (p *partition) each(k *keyRange, start *string, forward bool, read func(item) bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	visit := func(sort string, it item) bool {
		return start != nil && sort == *start || sort == k.high && !forward || k.has(sort) && read(it)
	}
	switch {
	case forward && start != nil:
		p.items.ascend(*start, visit)
	case forward:
		p.items.ascend(k.low, visit)
	case start != nil:
		p.items.descend(*start, visit)
	case k.high != "":
		p.items.descend(k.high, visit)
	default:
		p.items.reverse(visit)
	}
}

// prepare finds table and index and checks what both kinds of read share. Every expression is read here, so that it is
// refused on an empty table too.
func (s *Server) prepare(in *readInput) (*reader, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	r, err := t.prepare(in)
	if err != nil {
		t.mu.RUnlock()
		return nil, err
	}
	r.unlock = t.mu.RUnlock
	return r, nil
}

func (t *table) prepare(in *readInput) (*reader, error) {
	var err error
	x := t.primary
	if in.IndexName != "" {
		if x = t.indexes[in.IndexName]; x == nil {
			return nil, errValidation("The table does not have the specified index: %s", in.IndexName)
		}
		if in.ConsistentRead {
			return nil, errValidation("Consistent reads are not supported on global secondary indexes")
		}
	}
	if in.Limit != nil && *in.Limit < 1 {
		return nil, errValidation("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1", *in.Limit)
	}
	if err := in.checkSelect(x); err != nil {
		return nil, err
	}
	r := &reader{t: t, x: x, p: newParameters(in.ExpressionAttributeNames, in.ExpressionAttributeValues), in: in}
	if r.filter, r.filtered, err = t.condition(r.p, "FilterExpression", in.FilterExpression); err != nil {
		return nil, err
	}
	if r.kept, err = r.p.projection(in.ProjectionExpression); err != nil {
		return nil, err
	}
	for _, path := range slices.Concat(r.filtered, r.kept) {
		if !x.has(t, path[0].name) {
			return nil, errValidation("One or more parameter values were invalid: Secondary index %s does not project %s", x.name, path)
		}
	}
	return r, nil
}

// checkSelect refuses a choice of attributes that contradicts the rest or is none ("Query", Select).
func (in *readInput) checkSelect(x *index) error {
	projected := in.ProjectionExpression != nil
	switch in.Select {
	case "":
	case "SPECIFIC_ATTRIBUTES":
		if !projected {
			return errValidation("Must specify the ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
		}
	case "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "COUNT":
		switch {
		case projected:
			return errValidation("Cannot specify the ProjectionExpression when choosing to get %s", in.Select)
		case in.Select == "ALL_PROJECTED_ATTRIBUTES" && x.name == "":
			return errValidation("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
		case in.Select == "ALL_ATTRIBUTES" && !x.whole():
			return errValidation("One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for secondary index %s because its projection type is not ALL", x.name)
		}
	default:
		return errValidation("Select must be ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES, COUNT, or SPECIFIC_ATTRIBUTES")
	}
	return nil
}

// startKey reads an ExclusiveStartKey: the key attributes of table and index, and nothing else.
func (t *table) startKey(x *index, key item) (hash, sort string, err error) {
	for c := key.attributes(); c != ""; {
		name := c.text()
		if kind := kindOf(c.raw()[0]); !t.isKey(x, name) || kind != t.types[name] {
			return "", "", errValidation("The provided starting key is invalid")
		}
	}
	hash, sort, ok := x.place(key)
	if _, whole := join(key, t.keyNames()); !ok || !whole {
		return "", "", errValidation("The provided starting key is invalid")
	}
	return hash, sort, nil
}

// reader collects a page.
type reader struct {
	t        *table
	x        *index
	p        *parameters
	in       *readInput
	filter   condition
	filtered []path // that the filter names
	kept     projection
	out      readOutput
	bytes    int
	last     item // where the page ended, none at the end of the data
	seen     item
	unlock   func()
}

// read takes one more entry, or ends the page: before the entry that makes it larger than 1 MB, and behind the
// one that makes the limit full.
func (r *reader) read(it item) (more bool) {
	if r.bytes > 0 && r.bytes+it.size() > maxPageBytes {
		r.last = r.seen
		return false
	}
	r.bytes += it.size()
	r.out.ScannedCount++
	r.seen = it
	if r.filter(it) {
		r.out.Count++
		if r.in.Select != "COUNT" {
			r.out.Items = append(r.out.Items, r.kept.of(it))
		}
	}
	if r.in.Limit != nil && r.out.ScannedCount == int(*r.in.Limit) {
		r.last = r.seen
		return false
	}
	return true
}

func (r *reader) page() (any, error) {
	if r.last != "" {
		r.out.LastEvaluatedKey = r.t.keyOf(r.x, r.last)
	}
	r.out.ConsumedCapacity = r.t.consumed(r.in.ReturnConsumedCapacity, r.x, readUnits(r.bytes, r.in.ConsistentRead))
	return struct {
		readOutput
		Items *[]item `json:",omitempty"`
	}{r.out, r.items()}, nil
}

// items are the page's, an empty list where nothing matched, nothing at all where only a count was asked for.
func (r *reader) items() *[]item {
	if r.in.Select == "COUNT" {
		return nil
	}
	if r.out.Items == nil {
		r.out.Items = []item{}
	}
	return &r.out.Items
}

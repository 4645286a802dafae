package dynamo

import (
	"hash/fnv"
	"maps"
	"slices"

	"tributary/internal/aws/limits"
)

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

type scanInput struct {
	readInput
	Segment       *int32
	TotalSegments *int32
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
	entries := x.partitions[wanted.hash]
	low, high := wanted.of(entries)
	if in.ExclusiveStartKey != nil {
		hash, sort, err := t.startKey(x, in.ExclusiveStartKey)
		if err != nil {
			return nil, err
		}
		if hash != wanted.hash || !wanted.has(sort) {
			return nil, errValidation("The provided starting key is outside query boundaries based on provided conditions")
		}
		if at := search(entries, sort); forward {
			low = at
			if at < len(entries) && entries[at].sort == sort {
				low++
			}
		} else {
			high = at
		}
	}
	for i := range max(0, high-low) {
		at := low + i
		if !forward {
			at = high - 1 - i
		}
		if !r.read(entries[at]) {
			break
		}
	}
	return r.page()
}

func (s *Server) scan(in *scanInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	r, err := s.prepare(&in.readInput)
	if err != nil {
		return nil, err
	}
	t, x := r.t, r.x
	if err := r.p.unused(); err != nil {
		return nil, err
	}
	if (in.Segment == nil) != (in.TotalSegments == nil) {
		return nil, errValidation("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	}
	segments := uint32(1)
	segment := uint32(0)
	if in.Segment != nil {
		if *in.TotalSegments < 1 || *in.TotalSegments > 1_000_000 || *in.Segment < 0 || *in.Segment >= *in.TotalSegments {
			return nil, errValidation("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d, TotalSegments: %d", *in.Segment, *in.TotalSegments)
		}
		segments, segment = uint32(*in.TotalSegments), uint32(*in.Segment) //nolint:gosec // checked
	}
	var startHash, startSort string
	if in.ExclusiveStartKey != nil {
		if startHash, startSort, err = t.startKey(x, in.ExclusiveStartKey); err != nil {
			return nil, err
		}
	}
	for _, hash := range slices.Sorted(maps.Keys(x.partitions)) {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(hash)) // never fails
		if hash < startHash || sum.Sum32()%segments != segment {
			continue
		}
		for _, e := range x.partitions[hash] {
			if hash == startHash && e.sort <= startSort {
				continue
			}
			if !r.read(e) {
				return r.page()
			}
		}
	}
	return r.page()
}

// prepare finds table and index and checks what both kinds of read share. Every expression is read here, so that it is
// refused on an empty table too.
func (s *Server) prepare(in *readInput) (*reader, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	x := t.primary
	if in.IndexName != "" {
		if x = t.indexes[in.IndexName]; x == nil {
			return nil, errValidation("The table does not have the specified index: %s", in.IndexName)
		}
		if in.ConsistentRead && !x.local {
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
		if !x.has(t, path[0].name) { // AWS fetches it for a local index, this server doesn't
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
	for name, v := range key {
		if !t.isKey(x, name) || v.kind != t.types[name] {
			return "", "", errValidation("The provided starting key is invalid")
		}
	}
	hash, sort, ok := t.place(x, key)
	if _, whole := join(key, slices.Concat(t.primary.hash, t.primary.ranges)); !ok || !whole {
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
	last     item // where the page ended, nil at the end of the data
	seen     item
}

// read takes one more entry, or ends the page: before the entry that makes it larger than 1 MB, and behind the
// one that makes the limit full.
func (r *reader) read(e entry) (more bool) {
	if r.bytes > 0 && r.bytes+e.size > limits.DynamoDBPageBytes {
		r.last = r.seen
		return false
	}
	r.bytes += e.size
	r.out.ScannedCount++
	r.seen = e.item
	if r.filter(e.item) {
		r.out.Count++
		if r.in.Select != "COUNT" {
			r.out.Items = append(r.out.Items, r.kept.of(e.item))
		}
	}
	if r.in.Limit != nil && r.out.ScannedCount == int(*r.in.Limit) {
		r.last = r.seen
		return false
	}
	return true
}

func (r *reader) page() (any, error) {
	if r.last != nil {
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

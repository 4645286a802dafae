package dynamo

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"tributary/internal/aws/limits"
)

// writeInput is what the calls that write one item have in common.
type writeInput struct {
	TableName                           string
	Item                                item // PutItem
	Key                                 item // DeleteItem
	ConditionExpression                 *string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           map[string]value
	ReturnValues                        string
	ReturnConsumedCapacity              string
	ReturnValuesOnConditionCheckFailure string

	Expected            map[string]any // what expressions replaced: refused
	ConditionalOperator string
}

type writeOutput struct {
	Attributes       item      `json:",omitempty"`
	ConsumedCapacity *capacity `json:",omitempty"`
}

func (s *Server) putItem(in *writeInput) (any, error) {
	return s.write(in, in.Item, in.Item, (*table).checkItem)
}

func (s *Server) deleteItem(in *writeInput) (any, error) {
	return s.write(in, in.Key, nil, (*table).checkKey)
}

// write puts next in place of the item with key's key attributes, or deletes that where next is nil.
func (s *Server) write(in *writeInput, key, next item, check func(*table, item) error) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	if in.Expected != nil || in.ConditionalOperator != "" {
		return nil, errValidation("The parameters before expressions (Expected, ConditionalOperator) are not supported here: use a ConditionExpression")
	}
	if !slices.Contains([]string{"", "NONE", "ALL_OLD"}, in.ReturnValues) {
		return nil, errValidation("ReturnValues can only be ALL_OLD or NONE")
	}
	p := newParameters(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	passes, _, err := t.condition(p, "ConditionExpression", in.ConditionExpression)
	if err != nil {
		return nil, err
	}
	if err := p.unused(); err != nil {
		return nil, err
	}
	if err := check(t, key); err != nil {
		return nil, err
	}
	old, before := t.get(key)
	units := writeUnits(before, next.size())
	hash, _ := join(key, t.primary.hash)
	if !t.take(hash, units, s.options.WriteUnits, time.Now()) {
		return nil, errThrottled(t.arn)
	}
	if !passes(old) {
		return nil, errCondition(old, in.ReturnValuesOnConditionCheckFailure == "ALL_OLD")
	}
	t.replace(old, next)
	out := writeOutput{ConsumedCapacity: t.consumed(in.ReturnConsumedCapacity, t.primary, float64(units))}
	if in.ReturnValues == "ALL_OLD" {
		out.Attributes = old
	}
	return out, nil
}

type getInput struct {
	TableName                string
	Key                      item
	ConsistentRead           bool
	ExpressionAttributeNames map[string]string
	ProjectionExpression     *string
	ReturnConsumedCapacity   string
	legacyRead
}

func (s *Server) getItem(in *getInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	kept, err := onlyProjection(in.ProjectionExpression, in.ExpressionAttributeNames)
	if err != nil {
		return nil, err
	}
	shown, size, err := t.read(in.Key, kept)
	if err != nil {
		return nil, err
	}
	return struct {
		Item             *item     `json:",omitempty"`
		ConsumedCapacity *capacity `json:",omitempty"`
	}{shown, t.consumed(in.ReturnConsumedCapacity, t.primary, readUnits(size, in.ConsistentRead))}, nil
}

// onlyProjection reads the projection of a call that has no other expression.
func onlyProjection(expression *string, names map[string]string) (projection, error) {
	p := newParameters(names, nil)
	out, err := p.projection(expression)
	if err != nil {
		return nil, err
	}
	return out, p.unused()
}

// read gets one item, nil where there is none, and the bytes that it took.
func (t *table) read(key item, kept projection) (*item, int, error) {
	if err := t.checkKey(key); err != nil {
		return nil, 0, err
	}
	found, size := t.get(key)
	if found == nil {
		return nil, 0, nil
	}
	shown := kept.of(found)
	return &shown, size, nil
}

type writeRequest struct {
	PutRequest    *putRequest    `json:",omitempty"`
	DeleteRequest *deleteRequest `json:",omitempty"`
}

type putRequest struct{ Item item }

type deleteRequest struct{ Key item }

type batchWriteInput struct {
	RequestItems           map[string][]writeRequest
	ReturnConsumedCapacity string
}

// batchWriteItem checks the whole call first: one wrong request refuses all of them. Then each is written by
// itself, but for those whose partition key has no units left.
func (s *Server) batchWriteItem(in *batchWriteInput) (any, error) {
	if err := s.checkBatch(in); err != nil {
		return nil, err
	}
	now := time.Now()
	written, refused := 0, ""
	unprocessed := make(map[string][]writeRequest)
	var consumed []*capacity
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		t := s.tables[name]
		units := 0
		for _, r := range in.RequestItems[name] {
			key, next := r.parts()
			old, before := t.get(key)
			cost := writeUnits(before, next.size())
			hash, _ := join(key, t.primary.hash)
			if !t.take(hash, cost, s.options.WriteUnits, now) {
				unprocessed[name] = append(unprocessed[name], r)
				refused = t.arn
				continue
			}
			t.replace(old, next)
			units += cost
			written++
		}
		if c := t.consumed(in.ReturnConsumedCapacity, t.primary, float64(units)); c != nil {
			consumed = append(consumed, c)
		}
	}
	if written == 0 {
		return nil, errThrottled(refused)
	}
	return struct {
		UnprocessedItems map[string][]writeRequest
		ConsumedCapacity []*capacity `json:",omitempty"`
	}{unprocessed, consumed}, nil
}

// parts are the key and the item that r leaves, nil for a delete.
func (r *writeRequest) parts() (key, next item) {
	if r.PutRequest != nil {
		return r.PutRequest.Item, r.PutRequest.Item
	}
	return r.DeleteRequest.Key, nil
}

func (s *Server) checkBatch(in *batchWriteInput) error {
	total := 0
	for _, requests := range in.RequestItems {
		total += len(requests)
	}
	if total == 0 {
		return errValidation("1 validation error detected: Value '{}' at 'requestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	if total > limits.DynamoDBBatchWrites {
		return errValidation("Too many items requested for the BatchWriteItem call")
	}
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		t := s.tables[name]
		if t == nil {
			return errNoTable()
		}
		if len(in.RequestItems[name]) == 0 {
			return errValidation("1 validation error detected: Value '[]' at 'requestItems.%s.member' failed to satisfy constraint: Member must have length greater than or equal to 1", name)
		}
		seen := make(map[string]bool)
		for _, r := range in.RequestItems[name] {
			if (r.PutRequest == nil) == (r.DeleteRequest == nil) {
				return errValidation("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
			}
			key, next := r.parts()
			check := t.checkKey
			if next != nil {
				check = t.checkItem
			}
			if err := check(key); err != nil {
				return err
			}
			whole, _ := join(key, slices.Concat(t.primary.hash, t.primary.ranges))
			if seen[whole] {
				return errValidation("Provided list of item keys contains duplicates")
			}
			seen[whole] = true
		}
	}
	return nil
}

// CheckBatch says why DynamoDB refuses a BatchWriteItem whole, or nil, to those who know its tables' key attributes and
// not the tables: partition and sort are the tables' own keys, indexed are those of their indexes, and all are strings.
func CheckBatch(body []byte, partition, sort string, indexed ...string) error {
	var in batchWriteInput
	if err := json.Unmarshal(body, &in); err != nil {
		return asAPIError(err)
	}
	t := &table{
		types:   map[string]string{partition: "S", sort: "S"},
		primary: &index{hash: []string{partition}, ranges: []string{sort}},
		indexes: map[string]*index{"": {ranges: indexed}},
	}
	for _, name := range indexed {
		t.types[name] = "S"
	}
	s := NewServer(Options{})
	for name := range in.RequestItems {
		s.tables[name] = t
	}
	return s.checkBatch(&in)
}

type keysAndAttributes struct {
	Keys                     []item
	ConsistentRead           bool              `json:",omitempty"`
	ExpressionAttributeNames map[string]string `json:",omitempty"`
	ProjectionExpression     *string           `json:",omitempty"`
	AttributesToGet          []string          `json:",omitempty"` // refused
}

type batchGetInput struct {
	RequestItems           map[string]keysAndAttributes
	ReturnConsumedCapacity string
}

// batchGetBytes is the most that a BatchGetItem returns ("BatchGetItem").
const batchGetBytes = 16 << 20

func (s *Server) batchGetItem(in *batchGetInput) (any, error) {
	total := 0
	for _, requests := range in.RequestItems {
		total += len(requests.Keys)
	}
	if total == 0 {
		return nil, errValidation("1 validation error detected: Value '{}' at 'requestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	if total > 100 {
		return nil, errValidation("Too many items requested for the BatchGetItem call")
	}
	out := struct {
		Responses        map[string][]item
		UnprocessedKeys  map[string]keysAndAttributes
		ConsumedCapacity []*capacity `json:",omitempty"`
	}{Responses: make(map[string][]item), UnprocessedKeys: make(map[string]keysAndAttributes)}
	bytes := 0
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		t, err := s.table(name)
		if err != nil {
			return nil, err
		}
		requests := in.RequestItems[name]
		if err := (&legacyRead{AttributesToGet: requests.AttributesToGet}).check(); err != nil {
			return nil, err
		}
		kept, err := onlyProjection(requests.ProjectionExpression, requests.ExpressionAttributeNames)
		if err != nil {
			return nil, err
		}
		out.Responses[name] = []item{}
		seen := make(map[string]bool)
		units := 0.0
		for i, key := range requests.Keys {
			whole, _ := join(key, slices.Concat(t.primary.hash, t.primary.ranges))
			if seen[whole] {
				return nil, errValidation("Provided list of item keys contains duplicates")
			}
			seen[whole] = true
			shown, size, err := t.read(key, kept)
			if err != nil {
				return nil, err
			}
			if bytes += size; bytes > batchGetBytes {
				left := requests
				left.Keys = requests.Keys[i:]
				out.UnprocessedKeys[name] = left
				break
			}
			units += readUnits(size, requests.ConsistentRead)
			if shown != nil {
				out.Responses[name] = append(out.Responses[name], *shown)
			}
		}
		if c := t.consumed(in.ReturnConsumedCapacity, t.primary, units); c != nil {
			out.ConsumedCapacity = append(out.ConsumedCapacity, c)
		}
	}
	return out, nil
}

// capacity is what a call consumed.
type capacity struct {
	TableName              string
	CapacityUnits          float64
	Table                  *units           `json:",omitempty"`
	GlobalSecondaryIndexes map[string]units `json:",omitempty"`
	LocalSecondaryIndexes  map[string]units `json:",omitempty"`
}

type units struct{ CapacityUnits float64 }

// consumed is what to say of n units on x, nil where nobody asked. Writes to indexes are not counted.
func (t *table) consumed(asked string, x *index, n float64) *capacity {
	if asked == "" || asked == "NONE" {
		return nil
	}
	out := &capacity{TableName: t.name, CapacityUnits: n}
	if asked != "INDEXES" {
		return out
	}
	switch {
	case x == t.primary:
		out.Table = &units{n}
	case x.local:
		out.Table, out.LocalSecondaryIndexes = &units{}, map[string]units{x.name: {n}}
	default:
		out.Table, out.GlobalSecondaryIndexes = &units{}, map[string]units{x.name: {n}}
	}
	return out
}

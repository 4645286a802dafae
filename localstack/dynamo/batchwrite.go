package dynamo

import (
	"maps"
	"slices"
)

// BatchWriteItem.
//
// As AWS: up to 25 puts and deletes of different keys; one wrong request refuses all of them. Then each is written by
// itself, but for those whose partition key has no units left: they come back as UnprocessedItems, and where that is
// all of them the call is refused.
// Differs: as PutItem. Tables are named by name, not by ARN.
// Missing: item collection metrics (ignored).

type batchWriteInput struct {
	RequestItems           map[string][]writeRequest
	ReturnConsumedCapacity string
}

type writeRequest struct {
	PutRequest    *putRequest    `json:",omitempty"`
	DeleteRequest *deleteRequest `json:",omitempty"`

	hash, sort string // where it belongs, as soon as it was checked
}

type putRequest struct{ Item item }

type deleteRequest struct{ Key item }

// parts are the key and the item that r leaves, none for a delete.
func (r *writeRequest) parts() (key, next item) {
	if r.PutRequest != nil {
		return r.PutRequest.Item, r.PutRequest.Item
	}
	return r.DeleteRequest.Key, ""
}

// decode reads the call in one pass: it is the one that everything is written by.
func (in *batchWriteInput) decode(d *decoder) {
	for d.Open('{'); d.More('}') && d.err == nil; {
		switch d.Name() {
		case "RequestItems":
			in.RequestItems = make(map[string][]writeRequest)
			for d.Open('{'); d.More('}') && d.err == nil; {
				name := d.Name()
				in.RequestItems[name] = d.writeRequests()
			}
		case "ReturnConsumedCapacity":
			in.ReturnConsumedCapacity = d.OwnString()
		default:
			d.Skip()
		}
	}
}

func (d *decoder) writeRequests() []writeRequest {
	out := make([]writeRequest, 0, maxBatchWrites)
	for d.Open('['); d.More(']') && d.err == nil; {
		var r writeRequest
		for d.Open('{'); d.More('}') && d.err == nil; {
			switch kind := d.Name(); {
			case d.Peek() == 'n':
				d.Null()
			case kind == "PutRequest":
				r.PutRequest = &putRequest{d.only("Item")}
			case kind == "DeleteRequest":
				r.DeleteRequest = &deleteRequest{d.only("Key")}
			default:
				d.Skip()
			}
		}
		out = append(out, r)
	}
	return out
}

// only reads the object's member of that name, an item.
func (d *decoder) only(name string) (out item) {
	for d.Open('{'); d.More('}') && d.err == nil; {
		if d.Name() == name {
			out = d.item()
		} else {
			d.Skip()
		}
	}
	return out
}

func (s *Server) batchWriteItem(in *batchWriteInput) (any, error) {
	tables, unlock := s.rlock(slices.Sorted(maps.Keys(in.RequestItems)))
	defer unlock()
	if err := checkBatch(in, tables); err != nil {
		return nil, err
	}
	written := 0
	var refused error
	unprocessed := make(map[string][]writeRequest)
	var consumed []*capacity
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		t := tables[name]
		costs := newBill(in.ReturnConsumedCapacity)
		requests := in.RequestItems[name]
		for i := range requests {
			r := &requests[i]
			_, next := r.parts()
			_, err := s.write(t, r.hash, r.sort, costs, func(item) (item, error) { return next, nil })
			if err != nil {
				unprocessed[name] = append(unprocessed[name], *r)
				refused = err
				continue
			}
			written++
		}
		if c := t.written(in.ReturnConsumedCapacity, costs); c != nil {
			consumed = append(consumed, c)
		}
	}
	if written == 0 {
		return nil, refused
	}
	return struct {
		UnprocessedItems map[string][]writeRequest
		ConsumedCapacity []*capacity `json:",omitempty"`
	}{unprocessed, consumed}, nil
}

// rlock holds the tables of those names for reading. Those that are not there are left out.
func (s *Server) rlock(names []string) (tables map[string]*table, unlock func()) {
	tables = make(map[string]*table, len(names))
	s.mu.RLock()
	for _, name := range names {
		if t := s.tables[name]; t != nil {
			tables[name] = t
		}
	}
	s.mu.RUnlock()
	for _, t := range tables {
		t.mu.RLock()
	}
	return tables, func() {
		for _, t := range tables {
			t.mu.RUnlock()
		}
	}
}

// checkBatch refuses a batch whole, and finds every request's place.
func checkBatch(in *batchWriteInput, tables map[string]*table) error {
	total := 0
	for _, requests := range in.RequestItems {
		total += len(requests)
	}
	if len(in.RequestItems) == 0 {
		return errValidation("1 validation error detected: Value '{}' at 'requestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	if total > maxBatchWrites {
		return errValidation("Too many items requested for the BatchWriteItem call")
	}
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		t := tables[name]
		requests := in.RequestItems[name]
		if len(requests) == 0 {
			return errValidation("1 validation error detected: Value '[]' at 'requestItems.%s.member' failed to satisfy constraint: Member must have length greater than or equal to 1", name)
		}
		if t == nil {
			return errNoTable()
		}
		for i := range requests {
			r := &requests[i]
			if (r.PutRequest == nil) == (r.DeleteRequest == nil) {
				return errValidation(manyType)
			}
			key, next := r.parts()
			check := t.checkKey
			if r.PutRequest != nil {
				key, check = next, t.checkItem
			}
			if err := check(key); err != nil {
				return err
			}
			r.hash, r.sort, _ = t.primary.place(key)
			if slices.ContainsFunc(requests[:i], func(o writeRequest) bool { return o.sort == r.sort && o.hash == r.hash }) {
				return errValidation("Provided list of item keys contains duplicates")
			}
		}
	}
	return nil
}

// CheckBatch says why DynamoDB refuses a BatchWriteItem whole, or nil, to those who know its tables' key attributes and
// not the tables: partition and sort are the tables' own keys, indexed are those of their indexes, and all are strings.
func CheckBatch(body []byte, partition, sort string, indexed ...string) error {
	var in batchWriteInput
	d := newDecoder(string(body))
	in.decode(d)
	if err := d.end(); err != nil {
		return err
	}
	t := &table{
		types:   map[string]string{partition: "S", sort: "S"},
		primary: &index{hash: []string{partition}, ranges: []string{sort}},
		indexes: map[string]*index{"": {ranges: indexed}},
	}
	for _, name := range indexed {
		t.types[name] = "S"
	}
	tables := make(map[string]*table)
	for name := range in.RequestItems {
		tables[name] = t
	}
	return checkBatch(&in, tables)
}

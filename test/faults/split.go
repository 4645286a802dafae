package faults

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"tributary/internal/table"
	"tributary/localstack/dynamo"
)

// bucket is the write capacity of one partition key. It may be overdrawn by one write, as an item may cost more
// than a bucket holds.
type bucket struct {
	units float64
	at    time.Time // when units was right
}

// take takes units at a time, and says whether they were there.
func (b *bucket) take(units, rate, burst float64, now time.Time) bool {
	b.units = min(burst, b.units+now.Sub(b.at).Seconds()*rate)
	b.at = now
	if b.units <= 0 {
		return false
	}
	b.units -= units
	return true
}

// admit asks the bucket of a write's partition key.
func (c *call) admit(table string, keys, item map[string]json.RawMessage) bool {
	if c.config.WriteUnits == 0 {
		return true
	}
	f := c.front
	f.mu.Lock()
	defer f.mu.Unlock()
	burst := c.config.Burst
	if burst == 0 {
		burst = c.config.WriteUnits
	}
	id := table + "\x00" + string(keys["PK"])
	b := f.buckets[id]
	if b == nil {
		b = &bucket{units: burst, at: f.now()}
		f.buckets[id] = b
	}
	return b.take(writeUnits(item), c.config.WriteUnits, burst, f.now())
}

// maxEntries is what SQS takes of a batch ("Amazon SQS message quotas"); it is written out, so that a wrong constant of the
// product shows.
const maxEntries = 10

// part is the part of a batch that the front withheld, to be reported in the answer.
type part struct {
	unprocessed map[string][]json.RawMessage
	failed      []map[string]any
}

// split removes the entries that must not reach the backend. A refusal is the whole call's answer.
func (c *call) split() (*part, *answer) {
	p := &part{}
	if c.config.WriteUnits == 0 && c.plan.Left == nil && len(c.rates(Unprocessed)) == 0 && len(c.rates(FailEntry)) == 0 {
		return p, nil // nothing can be taken out: spare large bodies the decoding
	}
	switch c.operation {
	case "PutItem", "UpdateItem", "DeleteItem":
		var in struct {
			TableName string
			Item, Key map[string]json.RawMessage
		}
		if json.Unmarshal(c.body, &in) != nil {
			break // the backend reports the error
		}
		keys := in.Key
		if c.operation == "PutItem" {
			keys = in.Item
		}
		if !c.admit(in.TableName, keys, in.Item) {
			c.count("throttle-bucket", 1)
			return nil, c.service.throttle(ThrottleKeyRange, c.operation, in.TableName)
		}
	case "BatchWriteItem":
		return p, c.splitWrites(p)
	case "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch":
		return p, c.splitEntries(p)
	}
	return p, nil
}

// write is one of a BatchWriteItem.
type write struct {
	PutRequest    struct{ Item map[string]json.RawMessage }
	DeleteRequest struct{ Key map[string]json.RawMessage }
}

// keys are those of the item, among its other attributes if it is put.
func (w *write) keys() map[string]json.RawMessage {
	if w.PutRequest.Item != nil {
		return w.PutRequest.Item
	}
	return w.DeleteRequest.Key
}

func (c *call) splitWrites(p *part) *answer {
	var in map[string]json.RawMessage
	var items map[string][]json.RawMessage
	// What DynamoDB refuses whole must not be hidden by taking some out.
	if dynamo.CheckBatch(c.body, table.PKAttribute, table.SKAttribute, "user_id") != nil ||
		json.Unmarshal(c.body, &in) != nil || json.Unmarshal(in["RequestItems"], &items) != nil {
		return nil
	}
	left, i := 0, -1
	for table, writes := range items {
		items[table] = slices.DeleteFunc(writes, func(raw json.RawMessage) bool {
			var w write
			_ = json.Unmarshal(raw, &w) // CheckBatch could read it
			i++
			why := ""
			if c.left(i, Unprocessed, "unprocessed") != "" {
				why = "unprocessed"
			} else if !c.admit(table, w.keys(), w.PutRequest.Item) {
				why = "unprocessed-bucket"
			}
			if why == "" {
				left++
				return false
			}
			c.count(why, 1)
			if p.unprocessed == nil {
				p.unprocessed = map[string][]json.RawMessage{}
			}
			p.unprocessed[table] = append(p.unprocessed[table], slices.Clone(raw))
			return true
		})
		if len(items[table]) == 0 {
			delete(items, table)
		}
	}
	if len(p.unprocessed) == 0 {
		return nil
	}
	if left == 0 {
		c.count("throttle-bucket", 1)
		return c.service.throttle(ThrottleKeyRange, c.operation, c.table())
	}
	in["RequestItems"] = mustMarshal(items)
	c.body = mustMarshal(in)
	return nil
}

func (c *call) splitEntries(p *part) *answer {
	var in map[string]json.RawMessage
	var entries []json.RawMessage
	if json.Unmarshal(c.body, &in) != nil || json.Unmarshal(in["Entries"], &entries) != nil || len(entries) > maxEntries {
		return nil
	}
	i := -1
	entries = slices.DeleteFunc(entries, func(raw json.RawMessage) bool {
		var entry struct{ Id string }
		i++
		code := c.left(i, FailEntry, "InternalError")
		if code == "" || json.Unmarshal(raw, &entry) != nil {
			return false
		}
		c.count(string(FailEntry), 1)
		p.failed = append(p.failed, map[string]any{
			"Id": entry.Id, "Code": code, "SenderFault": senderFault(code), "Message": "We encountered an internal error. Please try again."})
		return true
	})
	if len(p.failed) == 0 {
		return nil
	}
	if len(entries) == 0 {
		a := newAnswer(200, map[string]any{"Successful": []any{}, "Failed": p.failed})
		a.header.Del("X-Amz-Crc32")
		return a
	}
	in["Entries"] = mustMarshal(entries)
	c.body = mustMarshal(in)
	return nil
}

// merge adds the withheld entries to the backend's answer.
func (p *part) merge(a *answer) {
	if p.unprocessed == nil && p.failed == nil {
		return
	}
	var out map[string]json.RawMessage
	if json.Unmarshal(a.body, &out) != nil {
		return
	}
	if p.unprocessed != nil {
		all := map[string][]json.RawMessage{}
		if raw := out["UnprocessedItems"]; raw != nil && json.Unmarshal(raw, &all) != nil {
			return
		}
		for table, writes := range p.unprocessed {
			all[table] = append(all[table], writes...)
		}
		out["UnprocessedItems"] = mustMarshal(all)
	}
	if p.failed != nil {
		var all []any
		if raw := out["Failed"]; raw != nil && json.Unmarshal(raw, &all) != nil {
			return
		}
		for _, f := range p.failed {
			all = append(all, f)
		}
		out["Failed"] = mustMarshal(all)
	}
	checked := a.header.Get("X-Amz-Crc32") != ""
	a.replace(mustMarshal(out))
	if !checked {
		a.header.Del("X-Amz-Crc32") // SQS sends none
	}
}

// mustMarshal encodes a value that was decoded before.
func mustMarshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// writeUnits is the cost of writing an item: a unit a KB begun, and one for a delete, whose item is not known.
func writeUnits(item map[string]json.RawMessage) float64 {
	bytes := 0
	for name, value := range item {
		bytes += len(name) + valueBytes(value)
	}
	return max(1, math.Ceil(float64(bytes)/1024))
}

// valueBytes approximates the size that DynamoDB counts for a value ("DynamoDB item sizes and formats").
func valueBytes(raw json.RawMessage) int {
	var v struct {
		S, N, B *string
		M       map[string]json.RawMessage
		L       []json.RawMessage
	}
	if json.Unmarshal(raw, &v) != nil {
		return 0
	}
	switch {
	case v.S != nil:
		return len(*v.S)
	case v.N != nil:
		return len(strings.Trim(*v.N, "-+."))/2 + 1
	case v.B != nil:
		return base64.StdEncoding.DecodedLen(len(*v.B))
	case v.M != nil:
		bytes := 3
		for name, value := range v.M {
			bytes += 1 + len(name) + valueBytes(value)
		}
		return bytes
	case v.L != nil:
		bytes := 3
		for _, value := range v.L {
			bytes += 1 + valueBytes(value)
		}
		return bytes
	}
	return 1 // BOOL and NULL
}

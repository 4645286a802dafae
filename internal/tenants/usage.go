package tenants

// Usage is what one tenant has used. It only ever adds up. The units are those of DynamoDB.
type Usage struct {
	// Commands by outcome. A command that went back to the queue is not counted; it comes again.
	Written      int64 `json:"written,omitempty"`
	Superseded   int64 `json:"superseded,omitempty"`
	Stale        int64 `json:"stale,omitempty"`
	DeadLettered int64 `json:"dead_lettered,omitempty"`
	Erased       int64 `json:"erased,omitempty"`

	// Writes are those that the table has carried out, Deletes those of them that are deletes, and Bytes the sizes of their items.
	// A command that was written twice, because an answer was lost, counts twice.
	Writes  int64 `json:"writes,omitempty"`
	Deletes int64 `json:"deletes,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
	// TableUnits and IndexUnits are what DynamoDB says that these writes have consumed, of the table and of its indexes. Of a call
	// with writes of several tenants each has its part by the sizes of its items, in half units. The sum over all tenants is what
	// the answers said, exactly.
	TableUnits float64 `json:"table_units,omitempty"`
	IndexUnits float64 `json:"index_units,omitempty"`
	// EstimatedTableUnits and EstimatedIndexUnits are what writes may have consumed of which no answer tells: the answer was lost, or
	// it is an error that consumes, such as a condition that was not met. They come from the sizes of the items.
	EstimatedTableUnits float64 `json:"estimated_table_units,omitempty"`
	EstimatedIndexUnits float64 `json:"estimated_index_units,omitempty"`

	// Requests are those to the query API, and ReadUnits what DynamoDB says that they have consumed.
	Requests  int64   `json:"requests,omitempty"`
	ReadUnits float64 `json:"read_units,omitempty"`
}

// WriteUnits returns all write units, the estimated ones included.
func (u *Usage) WriteUnits() float64 {
	return u.TableUnits + u.IndexUnits + u.EstimatedTableUnits + u.EstimatedIndexUnits
}

// Add adds what more was used.
func (u *Usage) Add(more *Usage) {
	u.Written += more.Written
	u.Superseded += more.Superseded
	u.Stale += more.Stale
	u.DeadLettered += more.DeadLettered
	u.Erased += more.Erased
	u.Writes += more.Writes
	u.Deletes += more.Deletes
	u.Bytes += more.Bytes
	u.TableUnits += more.TableUnits
	u.IndexUnits += more.IndexUnits
	u.EstimatedTableUnits += more.EstimatedTableUnits
	u.EstimatedIndexUnits += more.EstimatedIndexUnits
	u.Requests += more.Requests
	u.ReadUnits += more.ReadUnits
}

// Meter adds up what tenants use. The writer tells it of every call, at most once for each run of writes of one tenant, the
// consumer of every message, at most once for each run of commands of one tenant, and the query API of every request. None holds a
// lock meanwhile.
type Meter interface {
	// Used adds to what a tenant has used. It must be quick and safe for concurrent use. It must not keep u, nor tenant without a
	// copy: tenant shares memory with a message.
	Used(tenant string, u *Usage)
}

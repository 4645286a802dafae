package tenants

// Usage is what the commands of one tenant have used. It only ever adds up. The units are DynamoDB's write units.
type Usage struct {
	// Commands by outcome. A command that went back to the queue is not counted; it comes again.
	Written, Superseded, Stale, DeadLettered, Erased int64

	// Writes are those that the table has carried out, Deletes those of them that are deletes, and Bytes the sizes of their items.
	// A command that was written twice, because an answer was lost, counts twice.
	Writes, Deletes, Bytes int64
	// TableUnits and IndexUnits are what DynamoDB says that these writes have consumed, of the table and of its indexes. Of a call
	// with writes of several tenants each has its part by the sizes of its items, in half units. The sum over all tenants is what
	// the answers said, exactly.
	TableUnits, IndexUnits float64
	// EstimatedTableUnits and EstimatedIndexUnits are what writes may have consumed of which no answer tells: the answer was lost, or
	// it is an error that consumes, such as a condition that was not met. They come from the sizes of the items.
	EstimatedTableUnits, EstimatedIndexUnits float64
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
}

// Meter adds up what tenants use. The writer tells it of every call, at most once for each run of writes of one tenant, and the
// consumer of every message, at most once for each run of commands of one tenant. Neither holds a lock meanwhile.
type Meter interface {
	// Used adds to what a tenant has used. It must be quick and safe for concurrent use. It must not keep u, nor tenant without a
	// copy: tenant shares memory with a message.
	Used(tenant string, u *Usage)
}

package dynamo

// capacity is what a call consumed.
type capacity struct {
	TableName              string
	CapacityUnits          float64
	Table                  *units           `json:",omitempty"`
	GlobalSecondaryIndexes map[string]units `json:",omitempty"`
}

type units struct{ CapacityUnits float64 }

// bill adds up what the writes of a call cost, by index; the table itself is the primary one. A nil bill adds nothing up.
type bill map[*index]int

// newBill returns a bill, or nil where nobody asked for it.
func newBill(asked string) *bill {
	if asked == "" || asked == "NONE" {
		return nil
	}
	return &bill{}
}

func (b *bill) add(x *index, units int) {
	if b != nil && units > 0 {
		(*b)[x] += units
	}
}

// written is what to say of a bill for writes, nil where nobody asked.
func (t *table) written(asked string, b *bill) *capacity {
	if b == nil {
		return nil
	}
	out := &capacity{TableName: t.name}
	for x, n := range *b {
		out.CapacityUnits += float64(n)
		switch {
		case asked != "INDEXES":
		case x == t.primary:
			out.Table = &units{float64(n)}
		default:
			if out.GlobalSecondaryIndexes == nil {
				out.GlobalSecondaryIndexes = map[string]units{}
			}
			out.GlobalSecondaryIndexes[x.name] = units{float64(n)}
		}
	}
	return out
}

// consumed is what to say of n units that a read of x has consumed, nil where nobody asked.
func (t *table) consumed(asked string, x *index, n float64) *capacity {
	if asked == "" || asked == "NONE" {
		return nil
	}
	out := &capacity{TableName: t.name, CapacityUnits: n}
	if asked != "INDEXES" {
		return out
	}
	if x == t.primary {
		out.Table = &units{n}
	} else {
		out.Table, out.GlobalSecondaryIndexes = &units{}, map[string]units{x.name: {n}}
	}
	return out
}

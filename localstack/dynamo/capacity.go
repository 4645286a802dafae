package dynamo

// capacity is what a call consumed.
type capacity struct {
	TableName              string
	CapacityUnits          float64
	Table                  *units           `json:",omitempty"`
	GlobalSecondaryIndexes map[string]units `json:",omitempty"`
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
	if x == t.primary {
		out.Table = &units{n}
	} else {
		out.Table, out.GlobalSecondaryIndexes = &units{}, map[string]units{x.name: {n}}
	}
	return out
}

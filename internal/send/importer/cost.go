package importer

import (
	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/publish"
)

// List prices of us-east-1 in dollars a million ("Amazon SQS pricing", "Pricing for On-Demand Capacity" of DynamoDB),
// as of November 2026. Free tiers, and receiving and deleting the messages, are left out.
const (
	PriceRegion        = "us-east-1"
	priceSQSStandard   = 0.40
	priceSQSFIFO       = 0.50
	priceDynamoDBWrite = 0.625
)

// Cost is an import's list price, in dollars.
type Cost struct {
	SQS      float64 `json:"sqs_usd"`
	DynamoDB float64 `json:"dynamodb_usd"`
}

// CostOf returns the price of sending the messages and of writing their commands.
func CostOf(sent publish.Stats, writeUnits int64, fifo bool) Cost {
	price := priceSQSStandard
	if fifo {
		price = priceSQSFIFO
	}
	return Cost{SQS: float64(sent.Units) * price / 1e6, DynamoDB: float64(writeUnits) * priceDynamoDBWrite / 1e6}
}

// writeUnits computes how many write units commands cost: a unit for each KiB begun, and the same again for each index that the
// item is in ("DynamoDB read and write operations"). It has the indexes by the types' positions.
type writeUnits []indexed

// indexed are the indexes that items of a type can be in.
type indexed struct {
	always int64 // by their id
	fields []int // by a field, where they have it: its position
}

func newWriteUnits(types *schema.Set) writeUnits {
	u := make(writeUnits, len(types.Types))
	for position, t := range types.Types {
		for _, r := range types.Indexed(t) {
			if f := t.Field(r.Field.Name); f != nil {
				u[position].fields = append(u[position].fields, f.Position)
			} else {
				u[position].always++
			}
		}
	}
	return u
}

// of returns the units of a valid command. A delete takes them of the indexes that the item may be in.
func (u writeUnits) of(c *messages.Command) int64 {
	in := &u[c.Type.Position]
	if c.Delete {
		return 1 + in.always + int64(len(in.fields))
	}
	copies, given := 1+in.always, c.Values.Given()
	for _, position := range in.fields {
		copies += int64(given >> position & 1)
	}
	return copies * int64((c.ItemBytes()+limits.DynamoDBWriteUnitBytes-1)/limits.DynamoDBWriteUnitBytes)
}

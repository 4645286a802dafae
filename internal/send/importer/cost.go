package importer

import (
	"tributary/internal/aws/limits"
	"tributary/internal/messages"
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

// writeUnits is how many write units a command costs: a unit for each KiB begun, and the same again for the index
// orders_by_user, which users are in as well ("DynamoDB read and write operations").
func writeUnits(c *messages.Command) int64 {
	if c.Delete {
		return 2
	}
	return 2 * int64((c.ItemBytes()+limits.DynamoDBWriteUnitBytes-1)/limits.DynamoDBWriteUnitBytes)
}

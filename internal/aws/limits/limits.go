// Package limits names, in one place, the limits that AWS sets on what Tributary
// sends. Each constant's comment gives the title of the AWS page that sets it.
package limits

import "time"

// SQS ("Amazon SQS message quotas", "Amazon SQS standard queue quotas").
const (
	// SQSBatchEntries is the most entries of a batch call, and the most messages of a ReceiveMessage.
	SQSBatchEntries = 10
	// SQSMessageBytes is the most bytes of a message: its body and its attributes' names, types and values.
	// A queue's MaximumMessageSize may be lower.
	SQSMessageBytes = 1 << 20
	// SQSBatchBytes is the most bytes of a SendMessageBatch, summed over its entries.
	SQSBatchBytes = 1 << 20
	// SQSMessageAttributes is the most attributes of a message. None may have an empty value.
	SQSMessageAttributes = 10
	// SQSMaxVisibility is the longest that a message may be invisible, counted from its receive.
	SQSMaxVisibility = 12 * time.Hour
	// SQSMaxLongPoll is the longest wait of a ReceiveMessage.
	SQSMaxLongPoll = 20 * time.Second
	// SQSInFlight is the most messages of a queue that may be received and not deleted.
	SQSInFlight = 120_000
	// SQSDeduplication is how long a FIFO queue remembers a deduplication id.
	SQSDeduplication = 5 * time.Minute
	// SQSGroupIDBytes is the longest MessageGroupId.
	SQSGroupIDBytes = 128
	// SQSBillingBytes is the unit in which SQS bills a request's payload ("Amazon SQS pricing").
	SQSBillingBytes = 64 << 10
)

// DynamoDB ("Quotas in Amazon DynamoDB", "Constraints in Amazon DynamoDB", "BatchWriteItem").
const (
	// DynamoDBBatchWrites is the most writes of a BatchWriteItem.
	DynamoDBBatchWrites = 25
	// DynamoDBBatchBytes is the most bytes of a BatchWriteItem request.
	DynamoDBBatchBytes = 16 << 20
	// DynamoDBItemBytes is the most bytes of an item, attribute names included ("DynamoDB item sizes and formats").
	DynamoDBItemBytes = 400 << 10
	// DynamoDBPartitionKeyBytes and DynamoDBSortKeyBytes are the longest key values.
	DynamoDBPartitionKeyBytes = 2048
	DynamoDBSortKeyBytes      = 1024
	// DynamoDBNumberDigits is the precision of a number, DynamoDBNumberMaxExp the decimal exponent of the
	// largest (9.99…E125) and DynamoDBNumberMinExp that of the smallest (1E-130).
	DynamoDBNumberDigits = 38
	DynamoDBNumberMaxExp = 125
	DynamoDBNumberMinExp = -130
	// DynamoDBNesting is how many levels deep a document may be.
	DynamoDBNesting = 32
	// DynamoDBWriteUnitBytes is what one write unit pays for.
	DynamoDBWriteUnitBytes = 1 << 10
	// DynamoDBPageBytes is the most bytes that a Query reads before it returns a page.
	DynamoDBPageBytes = 1 << 20
)

package queue

import "time"

// The limits of SQS, written out here rather than taken from the product, so that a wrong number there shows. The titles
// are those of AWS's pages.
const (
	maxRequestBytes      = 16 << 20        // that are read of a request: a batch of 1 MiB, escaped by the most wasteful client
	maxBatchEntries      = 10              // of a batch, and messages of a receive ("Amazon SQS message quotas")
	maxMessageBytes      = 1 << 20         // of a message with its attributes ("Amazon SQS message quotas")
	maxBatchBytes        = 1 << 20         // of a SendMessageBatch ("Amazon SQS message quotas")
	maxMessageAttributes = 10              // of a message ("Amazon SQS message quotas")
	maxIDBytes           = 128             // of a group or deduplication id ("SendMessage")
	maxNameBytes         = 80              // of a queue's name or a batch entry's id ("Amazon SQS standard queue quotas")
	maxAttributeName     = 256             // bytes of a message attribute's name or type ("Amazon SQS message quotas")
	maxInFlight          = 120_000         // messages of a queue in flight ("Amazon SQS standard queue quotas")
	maxVisibilitySeconds = 43_200          // of invisibility, counted from the receive ("Amazon SQS visibility timeout")
	maxDelaySeconds      = 900             // of a delay ("Amazon SQS delay queues")
	maxWaitSeconds       = 20              // of a long poll ("ReceiveMessage")
	maxReceives          = 1000            // that a redrive policy may ask for ("Amazon SQS dead-letter queues")
	maxListed            = 1000            // queues of one ListQueues ("ListQueues")
	deduplication        = 5 * time.Minute // that a FIFO queue remembers an id for ("Exactly-once processing")
	betweenPurges        = time.Minute     // "PurgeQueue"
)

package dynamo

// The limits of DynamoDB, written out here rather than taken from the product, so that a wrong number there shows.
// The titles are those of AWS's pages.
const (
	maxRequestBytes      = 16 << 20  // of one request ("BatchWriteItem")
	maxBatchWrites       = 25        // of one BatchWriteItem ("BatchWriteItem")
	maxItemBytes         = 400 << 10 // of an item, attribute names included ("Constraints in Amazon DynamoDB")
	maxPartitionKeyBytes = 2048      // of a partition key's value ("Constraints in Amazon DynamoDB")
	maxSortKeyBytes      = 1024      // of a sort key's value ("Constraints in Amazon DynamoDB")
	maxNesting           = 32        // levels of a document, the item itself is the first ("Constraints in Amazon DynamoDB")
	maxPageBytes         = 1 << 20   // that a Query or Scan reads for one page ("Query")
	maxExpressionBytes   = 4096      // of an expression; this bounds the parser's depth too ("Constraints in Amazon DynamoDB")
	maxInOperands        = 100       // of the operator IN ("Condition and filter expressions")
	maxIndexKeyParts     = 4         // hash attributes, and range attributes, of an index ("Multi-attribute keys pattern")
	maxTableNames        = 100       // of one ListTables ("ListTables")
	maxSegments          = 1_000_000 // of a Scan ("Scan")

	// Numbers have up to 38 digits and are between 1E-130 and 9.99…E+125 ("Constraints in Amazon DynamoDB").
	maxNumberDigits   = 38
	maxNumberExponent = 125
	minNumberExponent = -130

	writeUnitBytes = 1 << 10 // that one write unit pays for ("Read and write capacity")
	readUnitBytes  = 4 << 10 // that one read unit pays for
)

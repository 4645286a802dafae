package table

// AttributeTypes are the types of the attributes that the worker writes, as DynamoDB names them. An index whose key is one of
// them must have its type: DynamoDB refuses items that don't fit the key of an index.
var AttributeTypes = map[string]string{
	PKAttribute: "S", SKAttribute: "S",
	UserIDAttribute: "S", UserNameAttribute: "S", UserEmailAttribute: "S", OrderIDAttribute: "S",
	AmountAttribute: "N", VersionAttribute: "N", TTLAttribute: "N",
	AttributesAttribute: "M", DeletedAttribute: "BOOL",
}

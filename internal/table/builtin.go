package table

// Names of the attributes and of the index of the types that hold without a declaration.
const (
	UserIDAttribute    = "user_id"
	UserNameAttribute  = "user_name"
	UserEmailAttribute = "user_email"
	OrderIDAttribute   = "order_id"
	AmountAttribute    = "order_amount"
	// IndexOrdersByUser is the index that finds a user's orders: hash PK, range user_id and SK.
	IndexOrdersByUser = "orders_by_user"
)

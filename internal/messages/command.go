// Package messages defines the commands that travel over the queue: their types, their
// validation, and how bodies of messages are decoded and encoded.
package messages

// Kind says what a command does. Its String is the `type` field of the wire format.
type Kind uint8

// The kinds of command.
const (
	PutUser Kind = iota + 1
	PutOrder
	DeleteUser
	DeleteOrder
)

// Command is one write to the table, asked for by an upstream system.
//
// Strings may share memory with the body that they were decoded from; a Command is not changed once decoded.
type Command struct {
	Kind Kind
	// bytes is ItemBytes as Validate computed it, 0: it has not. (Here it takes no space.)
	bytes    int32
	TenantID string
	UserID   string // of a user, or the user whose order it is
	OrderID  string
	UserName string
	// UserEmail is kept as sent: an address is the upstream's affair.
	UserEmail string
	// OrderAmount is a decimal number within DynamoDB's limits, in a form that DynamoDB accepts.
	OrderAmount string
	// Attributes is the JSON text of an object, as sent, or empty.
	Attributes string
	// Version is 1 or more; 0 means that the command has none.
	Version int64
}

// IsDelete says whether the command deletes.
func (c *Command) IsDelete() bool { return c.Kind == DeleteUser || c.Kind == DeleteOrder }

// Reason is a stable code that says why a command can never be written. It is the `reason` attribute of a
// dead letter and of operators' filters: codes are added, never renamed.
type Reason string

// The reasons.
const (
	ReasonMalformed       Reason = "malformed"        // not JSON, or no command, array or {"commands":[…]}
	ReasonEmpty           Reason = "empty"            // a message without commands
	ReasonNotACommand     Reason = "not_a_command"    // something known that is no command: an S3 notification, an SNS confirmation
	ReasonUnknownType     Reason = "unknown_type"     // `type` is none of the four
	ReasonUnknownField    Reason = "unknown_field"    // a field that the contract does not know
	ReasonDuplicateField  Reason = "duplicate_field"  // a field given twice
	ReasonMissingField    Reason = "missing_field"    // a field that the type demands is absent
	ReasonInvalidField    Reason = "invalid_field"    // a value of the wrong type, form or range
	ReasonTooLarge        Reason = "too_large"        // an id, item, nesting or count over its limit
	ReasonTenantMismatch  Reason = "tenant_mismatch"  // the message's tenant_id attribute names another tenant
	ReasonVersionRequired Reason = "version_required" // no version, and the worker demands one
	ReasonRefused         Reason = "refused_by_table" // DynamoDB refused the item on its own
)

// Error says why a command, or a whole body, is not valid.
type Error struct {
	Reason Reason
	Field  string // the field's name, or "" where it is the whole
	Detail string // one sentence with the value (cut short) and the limit
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

// Package messages defines the commands that travel over the queue: their
// validation, and how bodies of messages are decoded and encoded. Package schema has their types.
package messages

import "tributary/internal/schema"

// Command is one write to the table, asked for by an upstream system.
//
// Strings may share memory with the body that they were decoded from; a Command is not changed once decoded.
type Command struct {
	// Type is the type of what is put or deleted. It is nil in a command that could not be read.
	Type     *schema.Type
	TenantID string
	ID       string
	// Values are those of a put's fields, by the positions of the type. Those that were absent have their defaults.
	Values schema.Values
	// Attributes is the JSON text of an object, as sent, or empty.
	Attributes string
	// Version is 1 or more; 0 means that the command has none.
	Version int64
	// bytes is what ItemBytes returns, as Decode or Validate computed it; 0: none has.
	bytes int32
	// Delete says that the command deletes.
	Delete bool
}

// Put returns a put with the first values of its type, by position. Validate says whether it is a valid command.
func Put(t *schema.Type, tenantID, id string, values ...string) Command {
	c := Command{Type: t, TenantID: tenantID, ID: id}
	for position, text := range values {
		c.Values.Set(position, text)
	}
	return c
}

// Delete returns a delete.
func Delete(t *schema.Type, tenantID, id string) Command {
	return Command{Type: t, TenantID: tenantID, ID: id, Delete: true}
}

// Name returns the command's name, as the wire format's `type` has it, or "" where the command could not be read.
func (c *Command) Name() string {
	switch {
	case c.Type == nil:
		return ""
	case c.Delete:
		return c.Type.Delete
	}
	return c.Type.Put
}

// Get returns the value of a field, or the id by its name; "" where the command has none.
func (c *Command) Get(field string) string {
	if field == c.Type.ID {
		return c.ID
	}
	if f := c.Type.Field(field); f != nil {
		text, _ := c.Values.Get(f.Position)
		return text
	}
	return ""
}

// Reason is a stable code that says why a command can never be written. It is the `reason` attribute of a
// dead letter and of operators' filters: codes are added, never renamed.
type Reason string

// The reasons.
const (
	ReasonMalformed       Reason = "malformed"        // not JSON, or no command, array or {"commands":[…]}
	ReasonEmpty           Reason = "empty"            // a message without commands
	ReasonNotACommand     Reason = "not_a_command"    // something known that is no command: an S3 notification, an SNS confirmation
	ReasonUnknownType     Reason = "unknown_type"     // `type` is not a command of a declared type
	ReasonUnknownField    Reason = "unknown_field"    // a field that the type does not have
	ReasonDuplicateField  Reason = "duplicate_field"  // a field given twice
	ReasonMissingField    Reason = "missing_field"    // a field that the type demands is absent
	ReasonInvalidField    Reason = "invalid_field"    // a value of the wrong type, form or range
	ReasonTooLarge        Reason = "too_large"        // an id, item, nesting or count over its limit
	ReasonTenantMismatch  Reason = "tenant_mismatch"  // the message's tenant_id attribute names another tenant
	ReasonVersionRequired Reason = "version_required" // no version, and the worker demands one
	ReasonRefused         Reason = "refused_by_table" // DynamoDB refused the item on its own
	ReasonTenantSuspended Reason = "tenant_suspended" // operators have suspended the tenant, and want its commands as dead letters
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

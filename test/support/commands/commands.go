// Package commands makes commands of the built-in types for tests.
package commands

import (
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// The built-in types.
var (
	Types = schema.Builtin()
	User  = Types.Type("user")
	Order = Types.Type("order")
)

// PutUser returns a put_user.
func PutUser(tenantID, id, name, email string) messages.Command {
	return messages.Put(User, tenantID, id, name, email)
}

// PutOrder returns a put_order.
func PutOrder(tenantID, id, userID, amount string) messages.Command {
	return messages.Put(Order, tenantID, id, userID, amount)
}

// DeleteUser returns a delete_user.
func DeleteUser(tenantID, id string) messages.Command { return messages.Delete(User, tenantID, id) }

// DeleteOrder returns a delete_order.
func DeleteOrder(tenantID, id string) messages.Command { return messages.Delete(Order, tenantID, id) }

// Version returns the command with a version.
func Version(c messages.Command, version int64) messages.Command {
	c.Version = version
	return c
}

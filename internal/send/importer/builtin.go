package importer

import (
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// The commands that rows can become are those of the built-in types.

var types = schema.Builtin()

// Kind is a command's name. Its String is the `type` field of the wire format.
type Kind uint8

// The kinds of command.
const (
	PutUser Kind = iota + 1
	PutOrder
	DeleteUser
	DeleteOrder
)

var kindNames = [...]string{"", "put_user", "put_order", "delete_user", "delete_order"}

func (k Kind) String() string { return kindNames[k] }

// KindOf returns the kind with this name, or 0.
func KindOf(name string) Kind {
	for k := PutUser; k <= DeleteOrder; k++ {
		if kindNames[k] == name {
			return k
		}
	}
	return 0
}

// command returns a command of this kind without id and values.
func (k Kind) command(tenantID string) messages.Command {
	t, remove := types.Command(k.String())
	return messages.Command{Type: t, TenantID: tenantID, Delete: remove}
}

// field is a field of a command, for the columns that it can be mapped to.
type field uint8

const (
	fieldType field = iota
	fieldTenantID
	fieldUserID
	fieldOrderID
	fieldUserName
	fieldUserEmail
	fieldOrderAmount
	fieldVersion
	fieldAttributes
)

var fieldNames = [...]string{"type", "tenant_id", "user_id", "order_id", "user_name", "user_email", "order_amount", "version", "attributes"}

func (f field) String() string { return fieldNames[f] }

// fieldOf returns the field of this name; ok is false where there is none.
func fieldOf(name string) (f field, ok bool) {
	for i, known := range fieldNames {
		if known == name {
			return field(i), true
		}
	}
	return 0, false
}

// requires says whether commands of a kind must have a field.
func requires(k Kind, f field) bool {
	switch c := k.command(""); f {
	case fieldType, fieldTenantID:
		return true
	case fieldVersion, fieldAttributes:
		return false
	default:
		return f.String() == c.Type.ID || !c.Delete && c.Type.Field(f.String()) != nil
	}
}

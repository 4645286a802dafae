package messages

import (
	"math/bits"
)

// field is a field of a command, and its place in a set of fields.
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
	unknownField
)

var fieldNames = [...]string{"type", "tenant_id", "user_id", "order_id", "user_name", "user_email", "order_amount", "version", "attributes"}

func (f field) String() string { return fieldNames[f] }

func fieldOf(name string) field {
	switch name {
	case "type":
		return fieldType
	case "tenant_id":
		return fieldTenantID
	case "user_id":
		return fieldUserID
	case "order_id":
		return fieldOrderID
	case "user_name":
		return fieldUserName
	case "user_email":
		return fieldUserEmail
	case "order_amount":
		return fieldOrderAmount
	case "version":
		return fieldVersion
	case "attributes":
		return fieldAttributes
	}
	return unknownField
}

// fieldSet is a set of fields, one a bit.
type fieldSet uint16

func bit(f field) fieldSet { return 1 << f }

// lowest returns the first field of a set that is not empty.
func (s fieldSet) lowest() field { return field(bits.TrailingZeros16(uint16(s))) }

// required and allowed say, by kind, which fields a command must and may have.
var required, allowed = func() (required, allowed [DeleteOrder + 1]fieldSet) {
	head := bit(fieldType) | bit(fieldTenantID)
	required = [...]fieldSet{
		PutUser:     head | bit(fieldUserID) | bit(fieldUserName) | bit(fieldUserEmail),
		PutOrder:    head | bit(fieldOrderID) | bit(fieldUserID) | bit(fieldOrderAmount),
		DeleteUser:  head | bit(fieldUserID),
		DeleteOrder: head | bit(fieldOrderID),
	}
	for k, set := range required {
		allowed[k] = set | bit(fieldVersion)
	}
	allowed[PutUser] |= bit(fieldAttributes)
	allowed[PutOrder] |= bit(fieldAttributes)
	return required, allowed
}()

// given returns the fields that are not empty.
func (c *Command) given() fieldSet {
	set := bit(fieldType)
	for _, f := range [...]struct {
		field field
		set   bool
	}{
		{fieldTenantID, c.TenantID != ""}, {fieldUserID, c.UserID != ""}, {fieldOrderID, c.OrderID != ""},
		{fieldUserName, c.UserName != ""}, {fieldUserEmail, c.UserEmail != ""}, {fieldOrderAmount, c.OrderAmount != ""},
		{fieldVersion, c.Version != 0}, {fieldAttributes, c.Attributes != ""},
	} {
		if f.set {
			set |= bit(f.field)
		}
	}
	return set
}

// foreign is the error for fields that commands of this kind don't have.
func foreign(extra fieldSet, k Kind) *Error {
	f := extra.lowest().String()
	return &Error{ReasonUnknownField, f, "a " + k.String() + " has no field " + f}
}

var kindNames = [...]string{"", "put_user", "put_order", "delete_user", "delete_order"}

const kindList = "put_user, put_order, delete_user, delete_order"

// String returns the kind as the wire format's `type` has it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// KindOf returns the kind with this name, or 0.
func KindOf(name string) Kind {
	switch name {
	case "put_order":
		return PutOrder
	case "put_user":
		return PutUser
	case "delete_order":
		return DeleteOrder
	case "delete_user":
		return DeleteUser
	}
	return 0
}

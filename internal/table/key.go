// Package table defines the items of the table: their keys, how commands become items, and how items are read back.
package table

import (
	"fmt"
	"strings"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
)

// Names of the table's attributes and of its index.
const (
	PKAttribute         = "PK"
	SKAttribute         = "SK"
	UserIDAttribute     = "user_id"
	UserNameAttribute   = "user_name"
	UserEmailAttribute  = "user_email"
	OrderIDAttribute    = "order_id"
	AmountAttribute     = "order_amount"
	VersionAttribute    = "version"
	AttributesAttribute = "attributes"
	// DeletedAttribute is true in a tombstone and absent elsewhere.
	DeletedAttribute = "deleted"
	// TTLAttribute says when DynamoDB may remove a tombstone, in seconds since 1970.
	TTLAttribute = "expires_at"
	// IndexOrdersByUser is the index that finds a user's orders: hash PK, range user_id and SK.
	IndexOrdersByUser = "orders_by_user"
)

// Prefixes of key values.
const (
	tenantPrefix = "tenant#"
	userPrefix   = "user#"
	orderPrefix  = "order#"
)

// Entity is a kind of item.
type Entity uint8

// The entities.
const (
	UserEntity Entity = iota + 1
	OrderEntity
)

// String returns "user" or "order".
func (e Entity) String() string { return strings.TrimSuffix(e.Prefix(), "#") }

// Prefix returns what the sort keys of all items of the entity begin with.
func (e Entity) Prefix() string {
	switch e {
	case UserEntity:
		return userPrefix
	case OrderEntity:
		return orderPrefix
	}
	return ""
}

// Key is an item's primary key. Keys can be compared and used as keys of maps.
type Key struct {
	TenantID string
	Entity   Entity
	ID       string // of the user or order
}

// KeyOf returns the key of the item that a command writes.
func KeyOf(c *messages.Command) Key {
	if c.Kind == messages.PutUser || c.Kind == messages.DeleteUser {
		return Key{c.TenantID, UserEntity, c.UserID}
	}
	return Key{c.TenantID, OrderEntity, c.OrderID}
}

// PK returns the value of the partition key.
func (k Key) PK() string { return PartitionKey(k.TenantID) }

// SK returns the value of the sort key.
func (k Key) SK() string { return k.Entity.Prefix() + k.ID }

// PartitionKey returns the value of the partition key of all of a tenant's items.
func PartitionKey(tenantID string) string { return tenantPrefix + tenantID }

// ParseKey is the reverse of PK and SK. Items that others put into the table may have keys that it refuses.
func ParseKey(pk, sk string) (Key, error) {
	tenant, ok := strings.CutPrefix(pk, tenantPrefix)
	if !ok || tenant == "" {
		return Key{}, fmt.Errorf("parse key: PK %.200q is not %q and a tenant id", pk, tenantPrefix)
	}
	for _, e := range [...]Entity{UserEntity, OrderEntity} {
		if id, ok := strings.CutPrefix(sk, e.Prefix()); ok && id != "" {
			return Key{tenant, e, id}, nil
		}
	}
	return Key{}, fmt.Errorf("parse key: SK %.200q is neither %q nor %q and an id", sk, userPrefix, orderPrefix)
}

// AppendKey appends a key as DynamoDB's JSON has it: {"PK":{"S":…},"SK":{"S":…}}.
func AppendKey(dst []byte, k Key) []byte {
	return append(appendKey(dst, k), '}')
}

// appendKey appends a key and leaves its object open.
func appendKey(dst []byte, k Key) []byte {
	dst = append(dst, `{"PK":{"S":`...)
	dst = appendPrefixed(dst, tenantPrefix, k.TenantID)
	dst = append(dst, `},"SK":{"S":`...)
	dst = appendPrefixed(dst, k.Entity.Prefix(), k.ID)
	return append(dst, '}')
}

// appendPrefixed appends prefix and text as one JSON string.
func appendPrefixed(dst []byte, prefix, text string) []byte {
	at := len(dst) + len(prefix)
	dst = append(dst, prefix...)
	dst = rawjson.AppendString(dst, text)
	copy(dst[at-len(prefix)+1:], prefix) // AppendString's quote goes before the prefix
	dst[at-len(prefix)] = '"'
	return dst
}

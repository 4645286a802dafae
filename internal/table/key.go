// Package table defines the items of the table: their keys, how commands become items, and how items are read back.
package table

import (
	"fmt"
	"strings"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// Names of the table's attributes that items of every type can have.
const (
	PKAttribute         = "PK"
	SKAttribute         = "SK"
	VersionAttribute    = schema.VersionName
	AttributesAttribute = schema.AttributesName
	// DeletedAttribute is true in a tombstone and absent elsewhere.
	DeletedAttribute = "deleted"
	// TTLAttribute says when DynamoDB may remove a tombstone, in seconds since 1970.
	TTLAttribute = "expires_at"
)

// tenantPrefix starts every partition key.
const tenantPrefix = "tenant#"

// Key is an item's primary key. Keys can be compared and used as keys of maps.
type Key struct {
	TenantID string
	Type     *schema.Type
	ID       string
}

// KeyOf returns the key of the item that a command writes.
func KeyOf(c *messages.Command) Key { return Key{c.TenantID, c.Type, c.ID} }

// PK returns the value of the partition key.
func (k Key) PK() string { return PartitionKey(k.TenantID) }

// SK returns the value of the sort key.
func (k Key) SK() string { return k.Type.Prefix + k.ID }

// PartitionKey returns the value of the partition key of all of a tenant's items.
func PartitionKey(tenantID string) string { return tenantPrefix + tenantID }

// ParseKey is the reverse of PK and SK. Items that others put into the table may have keys that it refuses.
func ParseKey(types *schema.Set, pk, sk string) (Key, error) {
	tenant, ok := strings.CutPrefix(pk, tenantPrefix)
	if !ok || tenant == "" {
		return Key{}, fmt.Errorf("parse key: PK %.200q is not %q and a tenant id", pk, tenantPrefix)
	}
	t, id := types.SplitSK(sk)
	if t == nil {
		return Key{}, fmt.Errorf("parse key: SK %.200q is not a type, '#' and an id", sk)
	}
	return Key{tenant, t, id}, nil
}

// AppendKey appends a key as DynamoDB's JSON has it: {"PK":{"S":…},"SK":{"S":…}}.
func AppendKey(dst []byte, k Key) []byte {
	dst, _ = appendKey(dst, k)
	return append(dst, '}')
}

// appendKey appends a key and leaves its object open. It also returns the id as the JSON has it, which is a part of dst.
func appendKey(dst []byte, k Key) (_, id []byte) {
	dst = append(dst, `{"PK":{"S":"`+tenantPrefix...)
	dst = rawjson.AppendText(dst, k.TenantID)
	dst = append(dst, `"},"SK":{"S":"`...)
	dst = append(dst, k.Type.Prefix...)
	start := len(dst)
	dst = rawjson.AppendText(dst, k.ID)
	id = dst[start:]
	return append(dst, `"}`...), id
}

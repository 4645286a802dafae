package table

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
)

// User is a user as the query API shows it.
type User struct {
	TenantID   string          `json:"tenant_id"`
	UserID     string          `json:"user_id"`
	UserName   string          `json:"user_name"`
	UserEmail  string          `json:"user_email"`
	Version    int64           `json:"version,omitempty"`
	Attributes json.RawMessage `json:"attributes,omitempty"`
}

// Order is an order as the query API shows it.
type Order struct {
	TenantID string `json:"tenant_id"`
	OrderID  string `json:"order_id"`
	UserID   string `json:"user_id"`
	// OrderAmount is a plain decimal number: no exponent, and no zeros that add nothing.
	OrderAmount string          `json:"order_amount"`
	Version     int64           `json:"version,omitempty"`
	Attributes  json.RawMessage `json:"attributes,omitempty"`
}

// ReadUser returns the user in an item, whoever wrote it: ids come from the key, and what is absent is empty. It fails
// for items that are no user, or that have another type of value where a user's belong.
func ReadUser(item Attributes) (User, error) {
	r := reader{item: item}
	key := r.key(UserEntity)
	u := User{
		TenantID:   key.TenantID,
		UserID:     key.ID,
		UserName:   r.text(UserNameAttribute),
		UserEmail:  r.text(UserEmailAttribute),
		Version:    r.version(),
		Attributes: r.attributes(),
	}
	if r.err != nil {
		return User{}, fmt.Errorf("read user: %w", r.err)
	}
	return u, nil
}

// ReadOrder is ReadUser for orders.
func ReadOrder(item Attributes) (Order, error) {
	r := reader{item: item}
	key := r.key(OrderEntity)
	o := Order{
		TenantID:    key.TenantID,
		OrderID:     key.ID,
		UserID:      r.text(UserIDAttribute),
		OrderAmount: r.text(AmountAttribute),
		Version:     r.version(),
		Attributes:  r.attributes(),
	}
	if r.err != nil {
		return Order{}, fmt.Errorf("read order: %w", r.err)
	}
	return o, nil
}

// IsTombstone says whether an item stands for a deleted one. Readers skip it.
func IsTombstone(item Attributes) bool {
	deleted, ok := item[DeletedAttribute].(*types.AttributeValueMemberBOOL)
	return ok && deleted.Value
}

// ReadKey returns the key of an item.
func ReadKey(item Attributes) (Key, error) {
	pk, ok := item[PKAttribute].(*types.AttributeValueMemberS)
	sk, ok2 := item[SKAttribute].(*types.AttributeValueMemberS)
	if !ok || !ok2 {
		return Key{}, fmt.Errorf("read key: the item has no PK and SK that are strings")
	}
	return ParseKey(pk.Value, sk.Value)
}

// reader reads the attributes of one item and keeps the first error.
type reader struct {
	item Attributes
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) key(want Entity) Key {
	key, err := ReadKey(r.item)
	if err != nil {
		r.fail(err)
	} else if key.Entity != want {
		r.fail(fmt.Errorf("SK %q is not of a %s", key.SK(), want))
	}
	return key
}

// text reads a string, or a number as text.
func (r *reader) text(name string) string {
	switch v := r.item[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
		return ""
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return string(appendPlain(nil, v.Value))
	default:
		r.fail(fmt.Errorf("attribute %s is neither a string nor a number", name))
		return ""
	}
}

func (r *reader) version() int64 {
	v, ok := r.item[VersionAttribute].(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(string(appendPlain(nil, v.Value)), 10, 64)
	if err != nil {
		r.fail(fmt.Errorf("attribute %s is no integer of 64 bits: %w", VersionAttribute, err))
	}
	return n
}

// attributes reads the attributes where they are a map.
func (r *reader) attributes() json.RawMessage {
	v, ok := r.item[AttributesAttribute].(*types.AttributeValueMemberM)
	if !ok {
		return nil
	}
	return AppendJSON(nil, v)
}

// AppendJSON appends a DynamoDB value as plain JSON: members in the order of their names, numbers exact and in plain form.
// Types that JSON does not have, which commands never write, become the next best: sets are arrays, binaries base64.
func AppendJSON(dst []byte, v types.AttributeValue) []byte {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return rawjson.AppendString(dst, v.Value)
	case *types.AttributeValueMemberN:
		return appendPlain(dst, v.Value)
	case *types.AttributeValueMemberBOOL:
		return strconv.AppendBool(dst, v.Value)
	case *types.AttributeValueMemberB:
		return appendBinary(dst, v.Value)
	case *types.AttributeValueMemberM:
		dst = append(dst, '{')
		for i, name := range slices.Sorted(maps.Keys(v.Value)) {
			dst = comma(dst, i)
			dst = append(rawjson.AppendString(dst, name), ':')
			dst = AppendJSON(dst, v.Value[name])
		}
		return append(dst, '}')
	case *types.AttributeValueMemberL:
		return appendArray(dst, v.Value, AppendJSON)
	case *types.AttributeValueMemberSS:
		return appendArray(dst, v.Value, rawjson.AppendString)
	case *types.AttributeValueMemberNS:
		return appendArray(dst, v.Value, appendPlain)
	case *types.AttributeValueMemberBS:
		return appendArray(dst, v.Value, appendBinary)
	}
	return append(dst, "null"...)
}

func appendArray[T any](dst []byte, values []T, appendOne func([]byte, T) []byte) []byte {
	dst = append(dst, '[')
	for i, v := range values {
		dst = appendOne(comma(dst, i), v)
	}
	return append(dst, ']')
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func appendBinary(dst, b []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"')
}

// appendPlain appends a stored number in plain form.
func appendPlain(dst []byte, text string) []byte {
	plain, ok := messages.AppendNumber(dst, text)
	if !ok { // no backend should store it
		return rawjson.AppendString(dst, text)
	}
	return plain
}

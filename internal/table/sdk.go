package table

import (
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// Attributes are an item or a key as the SDK has them.
type Attributes = map[string]types.AttributeValue

// KeyAttributes is AppendKey in the SDK's types.
func KeyAttributes(k Key) Attributes {
	return Attributes{PKAttribute: text(k.PK()), SKAttribute: text(k.SK())}
}

// Item is AppendItem in the SDK's types.
func Item(c *messages.Command) Attributes {
	item := KeyAttributes(KeyOf(c))
	item[c.Type.ID] = text(c.ID)
	for position, f := range c.Type.Fields {
		v, ok := c.Values.Get(position)
		if !ok {
			continue
		}
		switch f.Type {
		case schema.Number, schema.Integer:
			item[f.Name] = number(v)
		case schema.Boolean:
			item[f.Name] = &types.AttributeValueMemberBOOL{Value: v == "true"}
		case schema.Object, schema.Array:
			s := rawjson.New(v)
			item[f.Name] = value(&s)
		default:
			item[f.Name] = text(v)
		}
	}
	if c.Version != 0 {
		item[VersionAttribute] = integer(c.Version)
	}
	if c.Attributes != "" {
		s := rawjson.New(c.Attributes)
		item[AttributesAttribute] = value(&s)
	}
	return item
}

// Tombstone is AppendTombstone in the SDK's types.
func Tombstone(c *messages.Command, expiresAt time.Time) Attributes {
	item := KeyAttributes(KeyOf(c))
	if c.Version != 0 {
		item[VersionAttribute] = integer(c.Version)
	}
	item[DeletedAttribute] = &types.AttributeValueMemberBOOL{Value: true}
	item[TTLAttribute] = integer(expiresAt.Unix())
	return item
}

// IsTombstone says whether an item stands for a deleted one.
func IsTombstone(item Attributes) bool {
	deleted, ok := item[DeletedAttribute].(*types.AttributeValueMemberBOOL)
	return ok && deleted.Value
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func integer(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func number(s string) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: string(schema.AppendNumber(nil, s))}
}

// value returns the next JSON value as a DynamoDB value.
func value(s *rawjson.Scanner) types.AttributeValue {
	switch s.Peek() {
	case '{':
		m := Attributes{}
		for s.Open('{'); s.More('}'); {
			name := s.Name()
			m[name] = value(s)
		}
		return &types.AttributeValueMemberM{Value: m}
	case '[':
		l := []types.AttributeValue{}
		for s.Open('['); s.More(']'); {
			l = append(l, value(s))
		}
		return &types.AttributeValueMemberL{Value: l}
	case '"':
		return text(s.String())
	case 't', 'f':
		return &types.AttributeValueMemberBOOL{Value: s.Bool()}
	case 'n':
		s.Null()
		return &types.AttributeValueMemberNULL{Value: true}
	}
	return number(s.Number())
}

package table

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/base/rawjson"
)

// AppendRaw appends an item as DynamoDB's JSON has it, whatever its attributes are, with the names in their order. It loses nothing, but for
// what the SDK does not know.
func AppendRaw(dst []byte, item Attributes) []byte {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(item)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(rawjson.AppendString(dst, name), ':')
		dst = appendRawValue(dst, item[name])
	}
	return append(dst, '}')
}

func appendRawValue(dst []byte, v types.AttributeValue) []byte {
	text := func(kind, value string) []byte {
		dst = append(dst, `{"`+kind+`":`...)
		return append(rawjson.AppendString(dst, value), '}')
	}
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return text("S", v.Value)
	case *types.AttributeValueMemberN:
		return text("N", v.Value)
	case *types.AttributeValueMemberB:
		return text("B", base64.StdEncoding.EncodeToString(v.Value))
	case *types.AttributeValueMemberBOOL:
		return append(strconv.AppendBool(append(dst, `{"BOOL":`...), v.Value), '}')
	case *types.AttributeValueMemberM:
		return append(AppendRaw(append(dst, `{"M":`...), v.Value), '}')
	case *types.AttributeValueMemberL:
		dst = append(dst, `{"L":`...)
		return append(appendList(dst, v.Value, appendRawValue), '}')
	case *types.AttributeValueMemberSS:
		return append(appendList(append(dst, `{"SS":`...), v.Value, rawjson.AppendString), '}')
	case *types.AttributeValueMemberNS:
		return append(appendList(append(dst, `{"NS":`...), v.Value, rawjson.AppendString), '}')
	case *types.AttributeValueMemberBS:
		dst = append(dst, `{"BS":`...)
		return append(appendList(dst, v.Value, func(dst, b []byte) []byte {
			return rawjson.AppendString(dst, base64.StdEncoding.EncodeToString(b))
		}), '}')
	}
	return append(dst, `{"NULL":true}`...)
}

func appendList[T any](dst []byte, list []T, appendOne func([]byte, T) []byte) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendOne(dst, v)
	}
	return append(dst, ']')
}

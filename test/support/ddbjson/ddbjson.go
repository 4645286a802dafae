// Package ddbjson writes the SDK's attribute values as DynamoDB's JSON has them, for tests.
package ddbjson

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Item returns an item, or a key, as text.
func Item(attributes map[string]types.AttributeValue) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(members(attributes)); err != nil {
		panic(err) // there is nothing in it that could fail
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func members(attributes map[string]types.AttributeValue) map[string]any {
	m := make(map[string]any, len(attributes))
	for name, v := range attributes {
		m[name] = value(v)
	}
	return m
}

func value(v types.AttributeValue) map[string]any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *types.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *types.AttributeValueMemberB:
		return map[string]any{"B": v.Value}
	case *types.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}
	case *types.AttributeValueMemberNULL:
		return map[string]any{"NULL": v.Value}
	case *types.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}
	case *types.AttributeValueMemberNS:
		return map[string]any{"NS": v.Value}
	case *types.AttributeValueMemberBS:
		return map[string]any{"BS": v.Value}
	case *types.AttributeValueMemberM:
		return map[string]any{"M": members(v.Value)}
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i, element := range v.Value {
			list[i] = value(element)
		}
		return map[string]any{"L": list}
	}
	panic(fmt.Sprintf("no attribute value: %T", v))
}

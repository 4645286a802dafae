package table

import (
	"slices"

	"tributary/internal/schema"
)

// AttributeTypes returns the types of the attributes that the worker writes, as DynamoDB names them. An index whose key is
// one of them must have its type: DynamoDB refuses items that don't fit the key of an index. Fields of one name have
// several where the types that declare them differ.
func AttributeTypes(types *schema.Set) map[string][]string {
	m := map[string][]string{
		PKAttribute: {"S"}, SKAttribute: {"S"}, VersionAttribute: {"N"}, TTLAttribute: {"N"},
		AttributesAttribute: {"M"}, DeletedAttribute: {"BOOL"},
	}
	add := func(name, kind string) {
		if !slices.Contains(m[name], kind) {
			m[name] = append(m[name], kind)
		}
	}
	for _, t := range types.Types {
		add(t.ID, "S")
		for _, f := range t.Fields {
			add(f.Name, attributeType(f.Type))
		}
	}
	return m
}

// attributeType returns how DynamoDB names the type of a field's values.
func attributeType(t schema.FieldType) string {
	switch t {
	case schema.Number, schema.Integer:
		return "N"
	case schema.Boolean:
		return "BOOL"
	case schema.Object:
		return "M"
	case schema.Array:
		return "L"
	}
	return "S"
}

package setup

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/schema"
	"tributary/internal/table"
)

// IndexKeys returns the key schema of a reference's index. It has two range attributes: the pair orders the items that refer to
// one by their own key, without an attribute made for the index alone, so that items which others wrote are in it
// ("Multi-attribute keys pattern").
func IndexKeys(r *schema.Reference) []types.KeySchemaElement {
	return []types.KeySchemaElement{
		{AttributeName: aws.String(table.PKAttribute), KeyType: types.KeyTypeHash},
		{AttributeName: aws.String(r.Field.Name), KeyType: types.KeyTypeRange},
		{AttributeName: aws.String(table.SKAttribute), KeyType: types.KeyTypeRange},
	}
}

// keyAttributes defines the key attributes of a table and of the indexes of references, each once, as DynamoDB demands.
func keyAttributes(references []*schema.Reference) []types.AttributeDefinition {
	names := []string{table.PKAttribute, table.SKAttribute}
	for _, r := range references {
		if !slices.Contains(names, r.Field.Name) {
			names = append(names, r.Field.Name)
		}
	}
	definitions := make([]types.AttributeDefinition, 0, len(names))
	for _, name := range names {
		definitions = append(definitions, types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS})
	}
	return definitions
}

// newIndexes returns the indexes that a new table has.
func newIndexes(plan *Plan) []types.GlobalSecondaryIndex {
	var indexes []types.GlobalSecondaryIndex // nil where there is none: DynamoDB refuses an empty list
	for _, r := range plan.types().References {
		indexes = append(indexes, types.GlobalSecondaryIndex{
			IndexName:             aws.String(r.Index),
			KeySchema:             IndexKeys(r),
			Projection:            &types.Projection{ProjectionType: types.ProjectionTypeAll},
			ProvisionedThroughput: plan.throughput(),
		})
	}
	return indexes
}

// FindIndex returns a table's index of this name, or nil.
func FindIndex(description *types.TableDescription, name string) *types.GlobalSecondaryIndexDescription {
	for i := range description.GlobalSecondaryIndexes {
		if index := &description.GlobalSecondaryIndexes[i]; aws.ToString(index.IndexName) == name {
			return index
		}
	}
	return nil
}

// CompareIndex returns how a reference's index differs from what the query API needs, or nil.
func CompareIndex(description *types.TableDescription, r *schema.Reference) *Difference {
	want := KeysText(IndexKeys(r)) + ", all attributes"
	d := &Difference{Setting: "index " + r.Index, Want: want}
	index := FindIndex(description, r.Index)
	if index == nil {
		d.Is = "none: " + Answers(r) + " can't be asked for"
		return d
	}
	d.Is = KeysText(index.KeySchema) + ", all attributes"
	if p := index.Projection; p != nil && p.ProjectionType != types.ProjectionTypeAll {
		d.Is = KeysText(index.KeySchema) + ", projection " + string(p.ProjectionType)
	}
	if d.Is == want {
		return nil
	}
	d.Remedy = fmt.Sprintf("an index can't be changed: delete it (aws dynamodb update-table --table-name %s "+
		"--global-secondary-index-updates '[{\"Delete\":{\"IndexName\":%q}}]'), then run worker setup --update",
		aws.ToString(description.TableName), r.Index)
	return d
}

// Answers says for people what a reference's index is asked for: "a patient's visits".
func Answers(r *schema.Reference) string {
	article := "a "
	switch r.To.Name[0] {
	case 'a', 'e', 'i', 'o':
		article = "an "
	}
	return article + r.To.Name + "'s " + r.From.Plural
}

// index returns the step that compares a reference's index, and creates it where the plan asks for it. DynamoDB creates one index of
// a table at a time ("UpdateTable"), so each has a step of its own.
func (s *Setup) index(r *schema.Reference) step {
	return func(ctx context.Context, plan *Plan, description *types.TableDescription) (*Difference, error) {
		d := CompareIndex(description, r)
		if d == nil || d.Remedy != "" || !plan.Update {
			return d, nil
		}
		action := &types.CreateGlobalSecondaryIndexAction{
			IndexName: aws.String(r.Index), KeySchema: IndexKeys(r),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}
		// An index of a provisioned table needs units; as many as the table has keep up with it.
		if action.ProvisionedThroughput = plan.throughput(); action.ProvisionedThroughput == nil {
			if t := description.ProvisionedThroughput; t != nil && aws.ToInt64(t.WriteCapacityUnits) > 0 {
				action.ProvisionedThroughput = &types.ProvisionedThroughput{ReadCapacityUnits: t.ReadCapacityUnits, WriteCapacityUnits: t.WriteCapacityUnits}
			}
		}
		return d, s.update(ctx, d, &dynamodb.UpdateTableInput{
			TableName: &plan.Table, AttributeDefinitions: keyAttributes([]*schema.Reference{r}),
			GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: action}},
		})
	}
}

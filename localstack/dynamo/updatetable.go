package dynamo

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// UpdateTable.
//
// As AWS: billing mode, capacity, deletion protection, table class and indexes change; an index that is added has what
// the table held before.
// Differs: changes take effect at once, an index is ACTIVE as soon as the answer is there, and one call may make several.
// Missing: replicas; streams and encryption are remembered only.

func (s *Server) updateTable(in *dynamodb.UpdateTableInput) (any, error) {
	t, err := s.named(text(in.TableName))
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.input
	if in.BillingMode != "" {
		next.BillingMode, next.ProvisionedThroughput = in.BillingMode, nil
	}
	if in.ProvisionedThroughput != nil {
		next.ProvisionedThroughput = in.ProvisionedThroughput
	}
	if err := checkBilling(next.BillingMode, next.ProvisionedThroughput); err != nil {
		return nil, err
	}
	if in.DeletionProtectionEnabled != nil {
		next.DeletionProtectionEnabled = in.DeletionProtectionEnabled
	}
	if in.TableClass != "" {
		next.TableClass = in.TableClass
	}
	if in.OnDemandThroughput != nil {
		next.OnDemandThroughput = in.OnDemandThroughput
	}
	if in.StreamSpecification != nil {
		next.StreamSpecification = in.StreamSpecification
	}
	if in.SSESpecification != nil {
		next.SSESpecification = in.SSESpecification
	}
	for name, kind := range attributeTypes(in.AttributeDefinitions) {
		if have := t.types[name]; have != "" && have != kind {
			return nil, errValidation("One or more parameter values were invalid: Attribute %s is defined as %s already", name, have)
		}
		if t.types[name] == "" {
			next.AttributeDefinitions = append(slices.Clone(next.AttributeDefinitions), types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeType(kind)})
		}
	}
	previous := t.types
	t.types = attributeTypes(next.AttributeDefinitions)
	for _, u := range in.GlobalSecondaryIndexUpdates {
		if err := t.updateIndex(&next, &u); err != nil {
			t.types = previous
			return nil, err
		}
	}
	t.input = next
	s.save(t)
	return map[string]any{"TableDescription": t.describe()}, nil
}

func (t *table) updateIndex(next *dynamodb.CreateTableInput, u *types.GlobalSecondaryIndexUpdate) error {
	find := func(name *string) int {
		return slices.IndexFunc(next.GlobalSecondaryIndexes, func(g types.GlobalSecondaryIndex) bool { return text(g.IndexName) == text(name) })
	}
	switch {
	case u.Create != nil:
		if err := t.addIndex(text(u.Create.IndexName), u.Create.KeySchema, u.Create.Projection); err != nil {
			return err
		}
		next.GlobalSecondaryIndexes = append(slices.Clone(next.GlobalSecondaryIndexes), types.GlobalSecondaryIndex{
			IndexName: u.Create.IndexName, KeySchema: u.Create.KeySchema, Projection: u.Create.Projection, ProvisionedThroughput: u.Create.ProvisionedThroughput,
		})
	case u.Delete != nil:
		i := find(u.Delete.IndexName)
		if i < 0 {
			return errNoTable()
		}
		delete(t.indexes, text(u.Delete.IndexName))
		next.GlobalSecondaryIndexes = slices.Delete(slices.Clone(next.GlobalSecondaryIndexes), i, i+1)
	case u.Update != nil:
		i := find(u.Update.IndexName)
		if i < 0 {
			return errNoTable()
		}
		next.GlobalSecondaryIndexes = slices.Clone(next.GlobalSecondaryIndexes)
		next.GlobalSecondaryIndexes[i].ProvisionedThroughput = u.Update.ProvisionedThroughput
	}
	return nil
}

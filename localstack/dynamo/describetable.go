package dynamo

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DescribeTable.
//
// As AWS: what CreateTable and UpdateTable asked for, with ARNs, status and times.
// Differs: ItemCount and TableSizeBytes are exact and of now (AWS: of the last six hours). An index's size is that of what it projects.

type tableInput struct{ TableName string }

// nameOf is the table's name in a name or ARN.
func nameOf(nameOrARN string) string {
	if strings.HasPrefix(nameOrARN, "arn:") {
		return nameOrARN[strings.LastIndexByte(nameOrARN, '/')+1:]
	}
	return nameOrARN
}

// table finds a table by its name or ARN.
func (s *Server) table(nameOrARN string) (*table, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tables[nameOf(nameOrARN)]
	if t == nil {
		return nil, errNoTable()
	}
	return t, nil
}

// named is table, with the error that the calls about tables themselves give.
func (s *Server) named(name string) (*table, error) {
	t, err := s.table(name)
	if err != nil {
		return nil, errNoTableNamed(name)
	}
	return t, nil
}

func (s *Server) describeTable(in *tableInput) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return map[string]any{"Table": t.describe()}, nil
}

// describe is the table's description. A table is active as soon as it is there.
func (t *table) describe() map[string]any {
	created := float64(t.created.UnixMilli()) / 1000
	protected := t.input.DeletionProtectionEnabled != nil && *t.input.DeletionProtectionEnabled
	out := map[string]any{
		"TableName": t.name, "TableArn": t.arn, "TableId": t.id, "TableStatus": "ACTIVE", "CreationDateTime": created,
		"AttributeDefinitions": t.input.AttributeDefinitions, "KeySchema": t.input.KeySchema,
		"ItemCount": t.primary.count.Load(), "TableSizeBytes": t.primary.bytes.Load(), "DeletionProtectionEnabled": protected,
		"ProvisionedThroughput": throughput(t.input.ProvisionedThroughput),
		"WarmThroughput":        map[string]any{"ReadUnitsPerSecond": 12000, "WriteUnitsPerSecond": 4000, "Status": "ACTIVE"},
	}
	if t.input.BillingMode == types.BillingModePayPerRequest {
		out["BillingModeSummary"] = map[string]any{"BillingMode": t.input.BillingMode, "LastUpdateToPayPerRequestDateTime": created}
	}
	if t.input.TableClass != "" {
		out["TableClassSummary"] = map[string]any{"TableClass": t.input.TableClass}
	}
	if t.input.OnDemandThroughput != nil {
		out["OnDemandThroughput"] = t.input.OnDemandThroughput
	}
	if sse := t.input.SSESpecification; sse != nil && sse.Enabled != nil && *sse.Enabled {
		out["SSEDescription"] = map[string]any{"Status": "ENABLED", "SSEType": "KMS"}
	}
	describe := func(name *string, schema []types.KeySchemaElement, projection *types.Projection) map[string]any {
		x := t.indexes[text(name)]
		shown := map[string]any{"ProjectionType": projection.ProjectionType}
		if len(projection.NonKeyAttributes) > 0 {
			shown["NonKeyAttributes"] = projection.NonKeyAttributes
		}
		return map[string]any{
			"IndexName": text(name), "IndexArn": t.arn + "/index/" + text(name), "KeySchema": schema,
			"Projection": shown, "ItemCount": x.count.Load(), "IndexSizeBytes": x.bytes.Load(),
		}
	}
	var global []map[string]any
	for _, g := range t.input.GlobalSecondaryIndexes {
		d := describe(g.IndexName, g.KeySchema, g.Projection)
		d["IndexStatus"] = "ACTIVE"
		d["ProvisionedThroughput"] = throughput(g.ProvisionedThroughput)
		global = append(global, d)
	}
	if global != nil {
		out["GlobalSecondaryIndexes"] = global
	}
	return out
}

func throughput(p *types.ProvisionedThroughput) map[string]any {
	out := map[string]any{"NumberOfDecreasesToday": 0, "ReadCapacityUnits": int64(0), "WriteCapacityUnits": int64(0)}
	if p != nil {
		out["ReadCapacityUnits"], out["WriteCapacityUnits"] = *p.ReadCapacityUnits, *p.WriteCapacityUnits
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

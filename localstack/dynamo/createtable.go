package dynamo

import (
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"
)

// CreateTable.
//
// As AWS: names, key schemas of up to one hash and one range attribute, global secondary indexes of up to four of each,
// attribute definitions that some key must use, billing modes and their capacity.
// Differs: the table is ACTIVE at once. Capacity, table class, encryption and streams are described as asked for and have no effect.
// Missing: local secondary indexes (a ValidationException), tags (ignored), resource policies, replicas, the quotas of
// an account.

var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

func (s *Server) createTable(in *dynamodb.CreateTableInput) (any, error) {
	name := text(in.TableName)
	if !tableName.MatchString(name) {
		return nil, errValidation("Invalid table/index name. Table/index names must be between 3 and 255 characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables[name] != nil {
		return nil, errInUse("Table already exists: %s", name)
	}
	if len(in.LocalSecondaryIndexes) > 0 {
		return nil, errValidation("This server has no local secondary indexes: use a global one")
	}
	if err := checkBilling(in.BillingMode, in.ProvisionedThroughput); err != nil {
		return nil, err
	}
	t, err := s.newTable(in, uuid.NewString(), time.Now())
	if err != nil {
		return nil, err
	}
	s.tables[name] = t
	s.save(t)
	return map[string]any{"TableDescription": t.describe()}, nil
}

// newTable makes an empty table of its description.
func (s *Server) newTable(in *dynamodb.CreateTableInput, id string, created time.Time) (*table, error) {
	t := &table{
		name: text(in.TableName), id: id, created: created, input: *in,
		arn:     fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", s.options.Region, s.options.Account, text(in.TableName)),
		types:   attributeTypes(in.AttributeDefinitions),
		primary: newIndex("", in.KeySchema),
		indexes: make(map[string]*index),
	}
	if err := t.checkSchema(in.KeySchema, t.primary, 1); err != nil {
		return nil, err
	}
	for _, g := range in.GlobalSecondaryIndexes {
		if err := t.addIndex(text(g.IndexName), g.KeySchema, g.Projection); err != nil {
			return nil, err
		}
	}
	return t, t.checkDefinitions()
}

func checkBilling(mode types.BillingMode, p *types.ProvisionedThroughput) error {
	switch {
	case mode == types.BillingModePayPerRequest && p != nil:
		return errValidation("One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
	case mode != types.BillingModePayPerRequest && (p == nil || p.ReadCapacityUnits == nil || p.WriteCapacityUnits == nil):
		return errValidation("One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
	case p != nil && (*p.ReadCapacityUnits < 1 || *p.WriteCapacityUnits < 1):
		return errValidation("ReadCapacityUnits and WriteCapacityUnits must both be at least 1")
	}
	return nil
}

func attributeTypes(definitions []types.AttributeDefinition) map[string]string {
	out := make(map[string]string)
	for _, d := range definitions {
		out[text(d.AttributeName)] = string(d.AttributeType)
	}
	return out
}

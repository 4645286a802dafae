package dynamo

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"
)

var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

// table finds a table by its name or ARN.
func (s *Server) table(name string) (*table, error) {
	if strings.HasPrefix(name, "arn:") {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	t := s.tables[name]
	if t == nil {
		return nil, errNoTable()
	}
	return t, nil
}

func (s *Server) createTable(in *dynamodb.CreateTableInput) (any, error) {
	name := text(in.TableName)
	if !tableName.MatchString(name) {
		return nil, errValidation("Invalid table/index name. Table/index names must be between 3 and 255 characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'")
	}
	if s.tables[name] != nil {
		return nil, errInUse("Table already exists: %s", name)
	}
	if err := checkBilling(in.BillingMode, in.ProvisionedThroughput); err != nil {
		return nil, err
	}
	t := &table{
		name: name, id: uuid.NewString(), created: time.Now(), input: *in,
		arn:     fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", s.options.Region, s.options.Account, name),
		tags:    make(map[string]string),
		types:   attributeTypes(in.AttributeDefinitions),
		primary: newIndex("", in.KeySchema),
		indexes: make(map[string]*index),
		buckets: make(map[string]*bucket),
	}
	if err := t.checkSchema(in.KeySchema, t.primary, 1); err != nil {
		return nil, err
	}
	for _, g := range in.GlobalSecondaryIndexes {
		if err := t.addIndex(text(g.IndexName), g.KeySchema, g.Projection, false); err != nil {
			return nil, err
		}
	}
	for _, l := range in.LocalSecondaryIndexes {
		if err := t.addIndex(text(l.IndexName), l.KeySchema, l.Projection, true); err != nil {
			return nil, err
		}
	}
	if err := t.checkDefinitions(); err != nil {
		return nil, err
	}
	for _, tag := range in.Tags {
		t.tags[text(tag.Key)] = text(tag.Value)
	}
	s.tables[name] = t
	return map[string]any{"TableDescription": t.describe()}, nil
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

// addIndex makes a secondary index and fills it with what the table holds.
func (t *table) addIndex(name string, schema []types.KeySchemaElement, projection *types.Projection, local bool) error {
	if !tableName.MatchString(name) {
		return errValidation("Invalid table/index name %q", name)
	}
	if t.indexes[name] != nil {
		return errValidation("One or more parameter values were invalid: Duplicate index name: %s", name)
	}
	if projection == nil || projection.ProjectionType == "" {
		return errValidation("One or more parameter values were invalid: Unknown ProjectionType: null")
	}
	x := newIndex(name, schema)
	x.local, x.projection = local, *projection
	most := 4 // "Multi-attribute keys pattern": up to four attributes on either side
	if local {
		most = 1
	}
	if err := t.checkSchema(schema, x, most); err != nil {
		return err
	}
	if local && !slices.Equal(x.hash, t.primary.hash) {
		return errValidation("One or more parameter values were invalid: Table KeySchema and index KeySchema do not have the same leading hash key: %s", name)
	}
	for _, entries := range t.primary.partitions {
		for _, e := range entries {
			t.reindex(x, nil, e.item, e.size)
		}
	}
	t.indexes[name] = x
	return nil
}

// checkSchema refuses a key schema that x was made from: hash attributes first, then the range's, of known types.
func (t *table) checkSchema(schema []types.KeySchemaElement, x *index, most int) error {
	if len(x.hash) == 0 || len(x.hash) > most || len(x.ranges) > most {
		return errValidation("One or more parameter values were invalid: Invalid KeySchema: from 1 to %d HASH and from 0 to %d RANGE attributes", most, most)
	}
	if len(schema) == 0 || schema[0].KeyType != types.KeyTypeHash {
		return errValidation("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	names := slices.Concat(x.hash, x.ranges)
	for i, name := range names {
		if name != text(schema[i].AttributeName) {
			return errValidation("Invalid KeySchema: HASH attributes must come before RANGE attributes")
		}
		if slices.Contains(names[:i], name) {
			return errValidation("Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
		if kind := t.types[name]; kind != "S" && kind != "N" && kind != "B" {
			return errValidation("One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s]", name)
		}
	}
	return nil
}

// checkDefinitions refuses attribute definitions that no key uses.
func (t *table) checkDefinitions() error {
	for _, name := range slices.Sorted(maps.Keys(t.types)) {
		used := t.isKey(t.primary, name)
		for _, x := range t.indexes {
			used = used || t.isKey(x, name)
		}
		if !used {
			return errValidation("One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions: %s is in no key", name)
		}
	}
	return nil
}

type tableInput struct{ TableName string }

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
	return map[string]any{"Table": t.describe()}, nil
}

func (s *Server) deleteTable(in *tableInput) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, err
	}
	if p := t.input.DeletionProtectionEnabled; p != nil && *p {
		return nil, errValidation("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	delete(s.tables, t.name)
	description := t.describe()
	description["TableStatus"] = "DELETING"
	return map[string]any{"TableDescription": description}, nil
}

func (s *Server) listTables(in *struct {
	ExclusiveStartTableName string
	Limit                   *int
}) (any, error) {
	names := slices.Sorted(maps.Keys(s.tables))
	at, found := slices.BinarySearch(names, in.ExclusiveStartTableName)
	if found {
		at++
	}
	names = names[at:]
	most := 100
	if in.Limit != nil {
		most = *in.Limit
	}
	if most < 1 || most > 100 {
		return nil, errValidation("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value between 1 and 100", most)
	}
	out := map[string]any{"TableNames": append([]string{}, names[:min(most, len(names))]...)}
	if len(names) > most {
		out["LastEvaluatedTableName"] = names[most-1]
	}
	return out, nil
}

func (s *Server) updateTable(in *dynamodb.UpdateTableInput) (any, error) {
	t, err := s.named(text(in.TableName))
	if err != nil {
		return nil, err
	}
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
	return map[string]any{"TableDescription": t.describe()}, nil
}

func (t *table) updateIndex(next *dynamodb.CreateTableInput, u *types.GlobalSecondaryIndexUpdate) error {
	find := func(name *string) int {
		return slices.IndexFunc(next.GlobalSecondaryIndexes, func(g types.GlobalSecondaryIndex) bool { return text(g.IndexName) == text(name) })
	}
	switch {
	case u.Create != nil:
		if err := t.addIndex(text(u.Create.IndexName), u.Create.KeySchema, u.Create.Projection, false); err != nil {
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

// describe is the table's description. A table is active as soon as it is there.
func (t *table) describe() map[string]any {
	created := float64(t.created.UnixMilli()) / 1000
	protected := t.input.DeletionProtectionEnabled != nil && *t.input.DeletionProtectionEnabled
	out := map[string]any{
		"TableName": t.name, "TableArn": t.arn, "TableId": t.id, "TableStatus": "ACTIVE", "CreationDateTime": created,
		"AttributeDefinitions": t.input.AttributeDefinitions, "KeySchema": t.input.KeySchema,
		"ItemCount": t.count, "TableSizeBytes": t.bytes, "DeletionProtectionEnabled": protected,
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
		count, bytes := t.indexes[text(name)].measure()
		shown := map[string]any{"ProjectionType": projection.ProjectionType}
		if len(projection.NonKeyAttributes) > 0 {
			shown["NonKeyAttributes"] = projection.NonKeyAttributes
		}
		return map[string]any{
			"IndexName": text(name), "IndexArn": t.arn + "/index/" + text(name), "KeySchema": schema,
			"Projection": shown, "ItemCount": count, "IndexSizeBytes": bytes,
		}
	}
	var global, local []map[string]any
	for _, g := range t.input.GlobalSecondaryIndexes {
		d := describe(g.IndexName, g.KeySchema, g.Projection)
		d["IndexStatus"] = "ACTIVE"
		d["ProvisionedThroughput"] = throughput(g.ProvisionedThroughput)
		global = append(global, d)
	}
	for _, l := range t.input.LocalSecondaryIndexes {
		local = append(local, describe(l.IndexName, l.KeySchema, l.Projection))
	}
	if global != nil {
		out["GlobalSecondaryIndexes"] = global
	}
	if local != nil {
		out["LocalSecondaryIndexes"] = local
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

// measure counts an index's items and their bytes.
func (x *index) measure() (count, bytes int) {
	for _, entries := range x.partitions {
		count += len(entries)
		for i := range entries {
			bytes += entries[i].size
		}
	}
	return count, bytes
}

func (s *Server) describeTimeToLive(in *tableInput) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, err
	}
	description := map[string]any{"TimeToLiveStatus": "DISABLED"}
	if t.ttl != "" {
		description = map[string]any{"TimeToLiveStatus": "ENABLED", "AttributeName": t.ttl}
	}
	return map[string]any{"TimeToLiveDescription": description}, nil
}

// updateTimeToLive only remembers: nothing expires here.
func (s *Server) updateTimeToLive(in *struct {
	TableName               string
	TimeToLiveSpecification struct {
		AttributeName string
		Enabled       bool
	}
}) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, err
	}
	wanted := in.TimeToLiveSpecification
	switch {
	case wanted.AttributeName == "":
		return nil, errValidation("TimeToLiveSpecification.AttributeName must not be empty")
	case wanted.Enabled && t.ttl == wanted.AttributeName:
		return nil, errValidation("TimeToLive is already enabled")
	case wanted.Enabled && t.ttl != "":
		return nil, errValidation("TimeToLive is active on a different AttributeName: current AttributeName is %s", t.ttl)
	case !wanted.Enabled && t.ttl == "":
		return nil, errValidation("TimeToLive is already disabled")
	case wanted.Enabled:
		t.ttl = wanted.AttributeName
	default:
		t.ttl = ""
	}
	return map[string]any{"TimeToLiveSpecification": wanted}, nil
}

func (s *Server) describeContinuousBackups(in *tableInput) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, &apiError{code: "TableNotFoundException", message: "Table not found: " + in.TableName}
	}
	return t.continuousBackups(), nil
}

func (t *table) continuousBackups() map[string]any {
	status := map[string]any{"PointInTimeRecoveryStatus": "DISABLED"}
	if t.backups {
		status["PointInTimeRecoveryStatus"], status["RecoveryPeriodInDays"] = "ENABLED", 35
	}
	return map[string]any{"ContinuousBackupsDescription": map[string]any{"ContinuousBackupsStatus": "ENABLED", "PointInTimeRecoveryDescription": status}}
}

// updateContinuousBackups only remembers: nothing can be restored here.
func (s *Server) updateContinuousBackups(in *struct {
	TableName                        string
	PointInTimeRecoverySpecification struct{ PointInTimeRecoveryEnabled bool }
}) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, &apiError{code: "TableNotFoundException", message: "Table not found: " + in.TableName}
	}
	t.backups = in.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled
	return t.continuousBackups(), nil
}

type tagInput struct {
	ResourceArn string
	Tags        []struct{ Key, Value string }
	TagKeys     []string
}

func (s *Server) tagResource(in *tagInput) (any, error) {
	t, err := s.table(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	for _, tag := range in.Tags {
		t.tags[tag.Key] = tag.Value
	}
	return nil, nil
}

func (s *Server) untagResource(in *tagInput) (any, error) {
	t, err := s.table(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(t.tags, key)
	}
	return nil, nil
}

func (s *Server) listTagsOfResource(in *tagInput) (any, error) {
	t, err := s.table(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags := []map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(t.tags)) {
		tags = append(tags, map[string]string{"Key": key, "Value": t.tags[key]})
	}
	return map[string]any{"Tags": tags}, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

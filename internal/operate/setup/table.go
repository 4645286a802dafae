package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/internal/schema"
	"tributary/internal/table"
)

// TableAPI is what Setup asks of DynamoDB for the table itself.
type TableAPI interface {
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	UpdateTable(context.Context, *dynamodb.UpdateTableInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateTableOutput, error)
}

// TableFeatureAPI is what Setup asks of DynamoDB for what a table has besides.
type TableFeatureAPI interface {
	DescribeTimeToLive(context.Context, *dynamodb.DescribeTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTimeToLiveOutput, error)
	UpdateTimeToLive(context.Context, *dynamodb.UpdateTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error)
	DescribeContinuousBackups(context.Context, *dynamodb.DescribeContinuousBackupsInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeContinuousBackupsOutput, error)
	UpdateContinuousBackups(context.Context, *dynamodb.UpdateContinuousBackupsInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateContinuousBackupsOutput, error)
}

const (
	// pollEvery is how often a table that is being made is looked at.
	pollEvery = 2 * time.Second
	// reportEvery is how often somebody who waits for it is told.
	reportEvery = 30 * time.Second
	// backupsPatience is how long a new table may answer that backups can't be turned on yet.
	backupsPatience = 2 * time.Minute
)

// TableStateError says that a table is in a state in which nothing can be done with it.
type TableStateError struct {
	Table  string
	Status types.TableStatus
}

func (e *TableStateError) Error() string {
	return fmt.Sprintf("table %s is %s: wait until it is ACTIVE or gone, then run setup again", e.Table, e.Status)
}

// TableKeys returns the key schema of the worker's table.
func TableKeys() []types.KeySchemaElement {
	return []types.KeySchemaElement{
		{AttributeName: aws.String(table.PKAttribute), KeyType: types.KeyTypeHash},
		{AttributeName: aws.String(table.SKAttribute), KeyType: types.KeyTypeRange},
	}
}

// KeysText writes a key schema for people: "hash PK, range patient_id, SK".
func KeysText(keys []types.KeySchemaElement) string {
	var hash, ranges []string
	for _, k := range keys {
		if k.KeyType == types.KeyTypeHash {
			hash = append(hash, aws.ToString(k.AttributeName))
		} else {
			ranges = append(ranges, aws.ToString(k.AttributeName))
		}
	}
	text := "hash " + strings.Join(hash, ", ")
	if len(ranges) > 0 {
		text += ", range " + strings.Join(ranges, ", ")
	}
	return text
}

func (p *Plan) throughput() *types.ProvisionedThroughput {
	if p.ReadCapacity == 0 {
		return nil
	}
	return &types.ProvisionedThroughput{ReadCapacityUnits: &p.ReadCapacity, WriteCapacityUnits: &p.WriteCapacity}
}

func (p *Plan) billing() types.BillingMode {
	if p.ReadCapacity == 0 {
		return types.BillingModePayPerRequest
	}
	return types.BillingModeProvisioned
}

func billingText(read, write int64) string {
	if read == 0 && write == 0 {
		return "on demand"
	}
	return fmt.Sprintf("provisioned, %d read and %d write units a second", read, write)
}

// table sees to the table, its indexes and its features.
func (s *Setup) table(ctx context.Context, plan *Plan) (*Resource, error) {
	_, err := s.describe(ctx, plan.Table)
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		made, err := s.createTable(ctx, plan)
		if made || err != nil {
			return s.newTable(ctx, plan, made, err)
		}
		// Somebody else made it in the meantime: it was there, then.
	} else if err != nil {
		return nil, err
	}
	return s.oldTable(ctx, plan)
}

// createTable reports false where the table exists after all.
func (s *Setup) createTable(ctx context.Context, plan *Plan) (bool, error) {
	_, err := s.Tables.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:                 &plan.Table,
		AttributeDefinitions:      keyAttributes(plan.types().References),
		KeySchema:                 TableKeys(),
		BillingMode:               plan.billing(),
		ProvisionedThroughput:     plan.throughput(),
		GlobalSecondaryIndexes:    newIndexes(plan),
		DeletionProtectionEnabled: &plan.DeletionProtection,
	})
	if _, exists := errors.AsType[*types.ResourceInUseException](err); exists {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create table %s: %w", plan.Table, err)
	}
	return true, nil
}

// newTable waits for the table that was just made and turns its features on.
func (s *Setup) newTable(ctx context.Context, plan *Plan, made bool, err error) (*Resource, error) {
	if !made {
		return nil, err
	}
	as := &Resource{Kind: Table, Name: plan.Table, Outcome: Created}
	description, err := s.awaitActive(ctx, plan.Table)
	if err != nil {
		return as, err
	}
	as.ARN = aws.ToString(description.TableArn)
	parts := []string{billingText(plan.ReadCapacity, plan.WriteCapacity)}
	for _, r := range plan.types().References {
		parts = append(parts, "index "+r.Index)
	}
	parts = append(parts, "TTL on "+table.TTLAttribute)
	if plan.DeletionProtection {
		parts = append(parts, "deletion protection")
	}
	if err := s.enableTTL(ctx, plan.Table); err != nil {
		return as, err
	}
	if plan.PointInTimeRecovery {
		switch err := s.enableRecovery(ctx, plan.Table); {
		case UnknownOperation(err):
			as.Differences = append(as.Differences, recoveryUnknown())
		case err != nil:
			return as, err
		default:
			parts = append(parts, "point-in-time recovery")
		}
	}
	as.Settings = strings.Join(parts, ", ")
	return as, nil
}

// step compares one setting of a table that was there, and changes it where the plan asks for it. The description is from before the
// first step.
type step func(context.Context, *Plan, *types.TableDescription) (*Difference, error)

func (s *Setup) steps(plan *Plan) []step {
	steps := []step{s.capacity, s.protection}
	for _, r := range plan.types().References {
		steps = append(steps, s.index(r))
	}
	return append(steps, s.timeToLive, s.recovery)
}

// oldTable compares a table that was there, and changes it where the plan asks for it.
func (s *Setup) oldTable(ctx context.Context, plan *Plan) (*Resource, error) {
	as := &Resource{Kind: Table, Name: plan.Table, Outcome: Differs}
	description, err := s.awaitActive(ctx, plan.Table)
	if err != nil {
		return as, err
	}
	as.ARN = aws.ToString(description.TableArn)
	if d := CompareKeys(description, plan.types()); d != nil {
		as.Differences = []Difference{*d}
		return as, nil
	}
	for _, step := range s.steps(plan) {
		d, err := step(ctx, plan, description)
		if d != nil {
			as.Differences = append(as.Differences, *d)
		}
		if err != nil {
			return as, err
		}
	}
	as.conclude()
	return as, nil
}

// CompareKeys returns how a table's keys differ from what the worker needs, or nil. An index counts as far as it has a say in
// what may be written: DynamoDB refuses an item whose attribute has another type than an index's key.
func CompareKeys(description *types.TableDescription, declared *schema.Set) *Difference {
	is, want := KeysText(description.KeySchema), KeysText(TableKeys())
	// AttributeDefinitions are the key attributes of the table and of all of its indexes.
	other := differentTypes(description.AttributeDefinitions, declared)
	if is == want && other == "" {
		return nil
	}
	d := &Difference{
		Setting: "keys", Is: is + other, Want: want + ", both strings", Fatal: true,
		Remedy: "a table's keys can't be changed: name another table with --table",
	}
	if is == want && !strings.Contains(other, ", "+table.PKAttribute+" of") && !strings.Contains(other, ", "+table.SKAttribute+" of") {
		d.Want = want + ", and in its indexes the types that the worker writes"
		d.Remedy = "delete the index that has it as a key, or name another table with --table"
	}
	return d
}

// differentTypes lists the key attributes whose type is not that of what the worker writes. Attributes that the worker doesn't
// write may be of any type.
func differentTypes(definitions []types.AttributeDefinition, declared *schema.Set) string {
	text := ""
	written := table.AttributeTypes(declared)
	for _, a := range definitions {
		name := aws.ToString(a.AttributeName)
		if want, ours := written[name]; ours && !slices.Equal(want, []string{string(a.AttributeType)}) {
			text += fmt.Sprintf(", %s of type %s", name, a.AttributeType)
		}
	}
	return text
}

// Reach returns an error if DynamoDB can't be reached or does not know the table.
func Reach(ctx context.Context, api DescribeTableAPI, name string) error {
	if _, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name}); err != nil {
		return fmt.Errorf("describe table %s: %w", name, err)
	}
	return nil
}

// CheckTable returns an error if the worker can't write items of the declared types to a table. A table whose keys differ would
// refuse every write as invalid, and good commands would end as dead letters.
func CheckTable(ctx context.Context, api DescribeTableAPI, name string, declared *schema.Set) error {
	out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		no := &NoTableError{Table: name, Err: err}
		if client, ok := api.(interface{ Options() dynamodb.Options }); ok {
			no.Region = client.Options().Region
		}
		return no
	}
	if err != nil {
		return fmt.Errorf("describe table %s: %w", name, err)
	}
	if d := CompareKeys(out.Table, declared); d != nil {
		return fmt.Errorf("table %s has the keys %s: the worker needs %s; %s", name, d.Is, d.Want, d.Remedy)
	}
	return nil
}

// DescribeTableAPI is what checking a table asks of DynamoDB.
type DescribeTableAPI interface {
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
}

// NoTableError says that DynamoDB has no such table for this account, region and endpoint, or does not show it.
type NoTableError struct {
	Table  string
	Region string // the region that was called; "" if unknown
	Err    error
}

func (e *NoTableError) Error() string {
	where := ""
	if e.Region != "" {
		where = " in " + e.Region
	}
	return fmt.Sprintf("table %s does not exist%s, or these credentials may not see it", e.Table, where)
}

func (e *NoTableError) Unwrap() error { return e.Err }

func (s *Setup) capacity(ctx context.Context, plan *Plan, description *types.TableDescription) (*Difference, error) {
	if plan.ReadCapacity == 0 {
		return nil, nil
	}
	var read, write int64
	if t := description.ProvisionedThroughput; t != nil {
		read, write = aws.ToInt64(t.ReadCapacityUnits), aws.ToInt64(t.WriteCapacityUnits)
	}
	if read == plan.ReadCapacity && write == plan.WriteCapacity {
		return nil, nil
	}
	d := &Difference{Setting: "billing", Is: billingText(read, write), Want: billingText(plan.ReadCapacity, plan.WriteCapacity)}
	if !plan.Update {
		return d, nil
	}
	input := &dynamodb.UpdateTableInput{
		TableName: &plan.Table, BillingMode: types.BillingModeProvisioned, ProvisionedThroughput: plan.throughput(),
	}
	// Every index of a provisioned table has units of its own; those that have some keep them, but for ours.
	for _, index := range description.GlobalSecondaryIndexes {
		ours := plan.declares(aws.ToString(index.IndexName))
		provisioned := index.ProvisionedThroughput != nil && aws.ToInt64(index.ProvisionedThroughput.WriteCapacityUnits) > 0
		same := provisioned && aws.ToInt64(index.ProvisionedThroughput.ReadCapacityUnits) == plan.ReadCapacity &&
			aws.ToInt64(index.ProvisionedThroughput.WriteCapacityUnits) == plan.WriteCapacity
		if same || provisioned && !ours {
			continue
		}
		input.GlobalSecondaryIndexUpdates = append(input.GlobalSecondaryIndexUpdates, types.GlobalSecondaryIndexUpdate{
			Update: &types.UpdateGlobalSecondaryIndexAction{IndexName: index.IndexName, ProvisionedThroughput: plan.throughput()},
		})
	}
	return d, s.update(ctx, d, input)
}

func (s *Setup) protection(ctx context.Context, plan *Plan, description *types.TableDescription) (*Difference, error) {
	if !plan.DeletionProtection || aws.ToBool(description.DeletionProtectionEnabled) {
		return nil, nil
	}
	d := &Difference{Setting: "deletion protection", Is: "off", Want: "on"}
	if !plan.Update {
		return d, nil
	}
	return d, s.update(ctx, d, &dynamodb.UpdateTableInput{TableName: &plan.Table, DeletionProtectionEnabled: aws.Bool(true)})
}

// update changes the table and waits until it can be changed again.
func (s *Setup) update(ctx context.Context, d *Difference, input *dynamodb.UpdateTableInput) error {
	name := aws.ToString(input.TableName)
	if _, err := s.Tables.UpdateTable(ctx, input); err != nil {
		return fmt.Errorf("update table %s (%s): %w", name, d.Setting, err)
	}
	d.Updated = true
	_, err := s.awaitActive(ctx, name)
	return err
}

func (s *Setup) timeToLive(ctx context.Context, plan *Plan, _ *types.TableDescription) (*Difference, error) {
	out, err := s.Features.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &plan.Table})
	if err != nil {
		return nil, fmt.Errorf("read TTL of table %s: %w", plan.Table, err)
	}
	d := CompareTTL(plan.Table, out.TimeToLiveDescription)
	if d == nil || d.Remedy != "" || !plan.Update {
		return d, nil
	}
	if err := s.enableTTL(ctx, plan.Table); err != nil {
		return d, err
	}
	d.Updated = true
	return d, nil
}

// CompareTTL returns how a table's time to live differs from what the worker's tombstones need, or nil.
func CompareTTL(name string, ttl *types.TimeToLiveDescription) *Difference {
	d := &Difference{Setting: "TTL", Is: "off: tombstones of versioned deletes stay for ever", Want: "on " + table.TTLAttribute}
	if ttl == nil {
		return d
	}
	switch ttl.TimeToLiveStatus {
	case types.TimeToLiveStatusEnabled, types.TimeToLiveStatusEnabling:
		is := aws.ToString(ttl.AttributeName)
		if is == table.TTLAttribute {
			return nil
		}
		d.Is = "on " + is
		d.Remedy = fmt.Sprintf("turn it off (aws dynamodb update-time-to-live --table-name %s --time-to-live-specification "+
			"Enabled=false,AttributeName=%s), wait an hour (DynamoDB's rule), then run worker setup --update", name, is)
	case types.TimeToLiveStatusDisabling:
		d.Is = "being turned off"
		d.Remedy = "wait an hour (DynamoDB's rule), then run worker setup --update"
	}
	return d
}

func (s *Setup) enableTTL(ctx context.Context, name string) error {
	_, err := s.Features.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &name,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(table.TTLAttribute), Enabled: aws.Bool(true)},
	})
	if err != nil {
		return fmt.Errorf("turn on TTL of table %s: %w", name, err)
	}
	return nil
}

func (s *Setup) recovery(ctx context.Context, plan *Plan, _ *types.TableDescription) (*Difference, error) {
	if !plan.PointInTimeRecovery {
		return nil, nil
	}
	out, err := s.Features.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &plan.Table})
	if UnknownOperation(err) {
		d := recoveryUnknown()
		return &d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read point-in-time recovery of table %s: %w", plan.Table, err)
	}
	if RecoveryOn(out) {
		return nil, nil
	}
	d := &Difference{Setting: "point-in-time recovery", Is: "off", Want: "on"}
	if !plan.Update {
		return d, nil
	}
	if err := s.enableRecovery(ctx, plan.Table); err != nil {
		return d, err
	}
	d.Updated = true
	return d, nil
}

// RecoveryOn reads whether a table has point-in-time recovery.
func RecoveryOn(out *dynamodb.DescribeContinuousBackupsOutput) bool {
	backups := out.ContinuousBackupsDescription
	return backups != nil && backups.PointInTimeRecoveryDescription != nil &&
		backups.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus == types.PointInTimeRecoveryStatusEnabled
}

func recoveryUnknown() Difference {
	return Difference{
		Setting: "point-in-time recovery", Is: "off", Want: "on",
		Remedy: unknownHere,
	}
}

// enableRecovery turns point-in-time recovery on. A table that is new refuses it for a while.
func (s *Setup) enableRecovery(ctx context.Context, name string) error {
	deadline := time.Now().Add(backupsPatience)
	for {
		_, err := s.Features.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{
			TableName:                        &name,
			PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
		})
		if err == nil {
			return nil
		}
		_, early := errors.AsType[*types.ContinuousBackupsUnavailableException](err)
		if !early || time.Now().After(deadline) {
			return fmt.Errorf("turn on point-in-time recovery of table %s: %w", name, err)
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// UnknownOperation says that an endpoint, an emulator, does not have the operation at all.
func UnknownOperation(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "UnknownOperationException" || api.ErrorCode() == "UnknownOperation")
}

func (s *Setup) describe(ctx context.Context, name string) (*types.TableDescription, error) {
	out, err := s.Tables.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", name, err)
	}
	return out.Table, nil
}

// awaitActive returns once neither the table nor one of its indexes is being made or changed.
func (s *Setup) awaitActive(ctx context.Context, name string) (*types.TableDescription, error) {
	started := time.Now()
	told := started
	for {
		description, err := s.describe(ctx, name)
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing && time.Since(started) < newQueuePatience {
			// A table that was just made may not be known to all of DynamoDB yet.
			description, err = &types.TableDescription{TableStatus: types.TableStatusCreating}, nil
		}
		if err != nil {
			return nil, err
		}
		switch description.TableStatus {
		case types.TableStatusActive, types.TableStatusCreating, types.TableStatusUpdating:
		default:
			return nil, &TableStateError{Table: name, Status: description.TableStatus}
		}
		waitsFor := unready(description)
		if waitsFor == "" {
			return description, nil
		}
		if now := time.Now(); now.Sub(told) >= reportEvery {
			told = now
			s.progress("still waiting for table %s: %s (%s so far; it goes on without this command)", name, waitsFor, now.Sub(started).Round(time.Second))
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return nil, fmt.Errorf("wait for table %s, whose %s (run setup again to go on waiting): %w", name, waitsFor, err)
		}
	}
}

// unready says what of a table is not active, or "".
func unready(description *types.TableDescription) string {
	if description.TableStatus != types.TableStatusActive {
		return "state is " + string(description.TableStatus)
	}
	for _, index := range description.GlobalSecondaryIndexes {
		if index.IndexStatus != types.IndexStatusActive {
			return fmt.Sprintf("index %s is %s", aws.ToString(index.IndexName), index.IndexStatus)
		}
	}
	return ""
}

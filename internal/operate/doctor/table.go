package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/queues"
	"tributary/internal/operate/setup"
	"tributary/internal/schema"
	"tributary/internal/table"
)

// tableState is the table as DynamoDB describes it.
type tableState struct {
	description           *types.TableDescription
	keysFit               bool
	indexes               []string // those that fit
	serverTime, localTime time.Time
}

// The names of the checks of the table.
const (
	checkTable      = "table"
	checkEncryption = "encryption of table"
	checkKeys       = "keys"
	checkIndex      = "index"
	checkTTL        = "TTL"
	checkRecovery   = "point-in-time recovery"
	checkRead       = "may read"
	checkQuery      = "may query"
	checkByIndex    = "may query the index"
	checkPut        = "may write conditionally"
	checkBatch      = "may write in batches"
)

const (
	noTable = "the table can't be looked at"
	noFit   = "the table does not fit, or can't be looked at"
)

// readTable checks that the table is there and fits, and returns nil where it isn't there.
func (d *Doctor) readTable(ctx context.Context) *tableState {
	out, err := d.Tables.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &d.Table})
	if err != nil {
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			d.add(Check{Name: checkTable, Status: Failed, Found: d.Table + " does not exist in this account and region", Remedy: "worker setup makes it; or name another"})
		} else {
			d.add(failed(checkTable, err, ""))
		}
		d.skip(noTable, checkEncryption, checkKeys)
		for _, r := range d.Types.References {
			d.skip(noTable, d.indexName(r))
		}
		return nil
	}
	state := &tableState{description: out.Table, localTime: time.Now()}
	state.serverTime, _ = middleware.GetServerTime(out.ResultMetadata)
	if at, ok := middleware.GetResponseAt(out.ResultMetadata); ok {
		state.localTime = at
	}
	d.add(tableCheck(d.Table, out.Table))
	d.add(tableEncryptionCheck(out.Table))
	keys := keysCheck(out.Table, d.Types)
	state.keysFit = keys.Status == OK
	d.add(keys)
	for _, r := range d.Types.References {
		index := indexCheck(out.Table, r)
		index.Name = d.indexName(r)
		if index.Status == OK {
			state.indexes = append(state.indexes, r.Index)
		}
		d.add(index)
	}
	return state
}

func tableCheck(name string, description *types.TableDescription) Check {
	c := Check{Name: checkTable, Status: OK}
	billing := "on demand"
	if t := description.ProvisionedThroughput; t != nil && aws.ToInt64(t.WriteCapacityUnits) > 0 {
		billing = fmt.Sprintf("provisioned with %d read and %d write units a second", aws.ToInt64(t.ReadCapacityUnits), aws.ToInt64(t.WriteCapacityUnits))
	}
	c.Found = fmt.Sprintf("%s: %s, %s", name, description.TableStatus, billing)
	switch description.TableStatus {
	case types.TableStatusActive, types.TableStatusUpdating:
	case types.TableStatusCreating:
		c.Status, c.Remedy = Failed, "wait: worker setup returns when it can be used"
	default:
		c.Status, c.Remedy = Failed, "see the table's state in AWS's console"
	}
	return c
}

// tableEncryptionCheck says whose key it is: DynamoDB encrypts every table ("DynamoDB encryption at rest").
func tableEncryptionCheck(description *types.TableDescription) Check {
	c := Check{Name: checkEncryption, Status: OK, Found: "at rest, by a key that AWS owns"}
	if sse := description.SSEDescription; sse != nil && sse.KMSMasterKeyArn != nil {
		c.Found = "SSE-KMS, key " + aws.ToString(sse.KMSMasterKeyArn)
	}
	return c
}

func keysCheck(description *types.TableDescription, declared *schema.Set) Check {
	d := setup.CompareKeys(description, declared)
	if d == nil {
		return Check{Name: checkKeys, Status: OK, Found: setup.KeysText(description.KeySchema)}
	}
	return Check{Name: checkKeys, Status: Failed, Found: d.Is + "; the worker needs " + d.Want, Remedy: d.Remedy}
}

// indexName names the check of a reference's index. Where there are several, it has the index's name, so that all checks differ.
func (d *Doctor) indexName(r *schema.Reference) string {
	if len(d.Types.References) == 1 {
		return checkIndex
	}
	return checkIndex + " " + r.Index
}

func indexCheck(description *types.TableDescription, r *schema.Reference) Check {
	if d := setup.CompareIndex(description, r); d != nil {
		remedy := d.Remedy
		if remedy == "" {
			remedy = "worker setup --update adds it"
		}
		return Check{Status: Warning, Found: fmt.Sprintf("%s: %s (should be %s)", r.Index, d.Is, d.Want), Remedy: remedy}
	}
	if index := setup.FindIndex(description, r.Index); index.IndexStatus != types.IndexStatusActive {
		return Check{Status: Warning, Found: fmt.Sprintf("%s is %s: %s can't be asked for yet", r.Index, index.IndexStatus, setup.Answers(r)), Remedy: "wait: worker setup returns when it can be used"}
	}
	return Check{Status: OK, Found: r.Index + ": " + setup.KeysText(setup.IndexKeys(r))}
}

func (d *Doctor) tableFeatures(ctx context.Context, there bool) {
	if !there {
		d.skip(noTable, checkTTL, checkRecovery)
		return
	}
	if ttl, err := d.Tables.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &d.Table}); err != nil {
		d.add(feature(checkTTL, "dynamodb:DescribeTimeToLive", err))
	} else if difference := setup.CompareTTL(d.Table, ttl.TimeToLiveDescription); difference != nil {
		remedy := difference.Remedy
		if remedy == "" {
			remedy = "worker setup --update turns it on"
		}
		d.add(Check{Name: checkTTL, Status: Warning, Found: difference.Is, Remedy: remedy})
	} else {
		d.add(Check{Name: checkTTL, Status: OK, Found: "on " + table.TTLAttribute})
	}
	if backups, err := d.Tables.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &d.Table}); err != nil {
		d.add(feature(checkRecovery, "dynamodb:DescribeContinuousBackups", err))
	} else if setup.RecoveryOn(backups) {
		d.add(Check{Name: checkRecovery, Status: OK, Found: "on"})
	} else {
		d.add(Check{
			Name: checkRecovery, Status: Warning, Found: "off: what an upstream system overwrites or deletes by mistake is gone",
			Remedy: "worker setup --update --point-in-time-recovery turns it on",
		})
	}
}

// feature makes a check of a description that could not be had: the worker itself does not need it.
func feature(name, action string, err error) Check {
	if setup.UnknownOperation(err) {
		return Check{Name: name, Status: Skipped, Found: "this endpoint does not know it (some emulators don't)"}
	}
	c := failed(name, err, "allow "+action+" to these credentials, for this check alone")
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "AccessDeniedException" {
		c.Status = Skipped
	}
	return c
}

// doctorID is in no table: tenants' ids don't begin with _.
const (
	doctorID  = "_doctor"
	tenantKey = "tenant#" + doctorID
)

func (d *Doctor) key() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		table.PKAttribute: &types.AttributeValueMemberS{Value: tenantKey},
		table.SKAttribute: &types.AttributeValueMemberS{Value: d.Types.Types[0].Prefix + doctorID},
	}
}

// tablePermissions tries every call that the worker makes, on a key that doesn't exist, so that nothing is
// written.
func (d *Doctor) tablePermissions(ctx context.Context, state *tableState) {
	if state == nil || !state.keysFit {
		d.skip(noFit, checkRead, checkQuery)
		if len(d.Types.References) > 0 {
			d.skip(noFit, checkByIndex)
		}
		d.skip(noFit, checkPut, checkBatch)
		return
	}
	_, err := d.Items.GetItem(ctx, &dynamodb.GetItemInput{TableName: &d.Table, Key: d.key(), ConsistentRead: aws.Bool(true)})
	d.add(permission(checkRead, "GetItem of a key that doesn't exist", "dynamodb:GetItem", err))
	d.add(permission(checkQuery, "Query of a tenant that doesn't exist", "dynamodb:Query", d.query(ctx, nil, tenantKey)))
	d.indexPermissions(ctx, state)

	d.add(permission(checkPut, "PutItem whose condition is false was refused, as it should", "dynamodb:PutItem", d.put(ctx, d.key())))

	_, err = d.Items.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{
		d.Table: {{DeleteRequest: &types.DeleteRequest{Key: d.key()}}},
	}})
	d.add(permission(checkBatch, "BatchWriteItem deleting a key that doesn't exist", "dynamodb:BatchWriteItem", err))
}

// indexPermissions tries a query on each index that fits, up to one that is refused: a policy may name indexes one by one.
func (d *Doctor) indexPermissions(ctx context.Context, state *tableState) {
	if len(d.Types.References) == 0 {
		return
	}
	if len(state.indexes) == 0 {
		d.skip("there is no index that fits", checkByIndex)
		return
	}
	var err error
	for _, index := range state.indexes {
		if err = d.query(ctx, &index, tenantKey); err != nil {
			if len(d.Types.References) > 1 {
				err = fmt.Errorf("%s: %w", index, err)
			}
			break
		}
	}
	d.add(permission(checkByIndex, "Query of a tenant that doesn't exist", "dynamodb:Query on table/"+d.Table+"/index/*", err))
}

func (d *Doctor) query(ctx context.Context, index *string, partition string) error {
	_, err := d.Items.Query(ctx, &dynamodb.QueryInput{
		TableName: &d.Table, IndexName: index, Limit: aws.Int32(1),
		KeyConditionExpression:    aws.String("#pk = :pk"),
		ExpressionAttributeNames:  map[string]string{"#pk": table.PKAttribute},
		ExpressionAttributeValues: map[string]types.AttributeValue{":pk": &types.AttributeValueMemberS{Value: partition}},
	})
	return err
}

// clocks compares this machine's clock with those of both services.
func (d *Doctor) clocks(queue *queues.Attributes, t *tableState) {
	const bySQS, byDynamoDB = "clock against SQS", "clock against DynamoDB"
	if queue == nil || queue.ServerTime.IsZero() {
		d.skip("SQS gave no answer with a date", bySQS)
	} else {
		d.add(clockCheck(bySQS, queue.ServerTime, queue.LocalTime))
	}
	if t == nil || t.serverTime.IsZero() {
		d.skip("DynamoDB gave no answer with a date", byDynamoDB)
	} else {
		d.add(clockCheck(byDynamoDB, t.serverTime, t.localTime))
	}
}

package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/table"
	"tributary/internal/tenants/control"
	"tributary/internal/tenants/usage"
)

// ControlAPI is the part of DynamoDB that a doctor tries on the control partition alone.
type ControlAPI interface {
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
}

// The names of the checks of what decisions about tenants and their usage need.
const (
	checkControlRead   = "may read control"
	checkControlQuery  = "may query control"
	checkControlPut    = "may write control"
	checkControlDelete = "may delete control"
	checkDecide        = "may decide"
	checkUsagePut      = "may keep usage"
	checkUsageQuery    = "may report usage"
)

// trial is a call that takes no effect, in a partition that no tenant can have.
type trial struct {
	name, action string
	partition    string // for the remedy
	found        string // if the call is allowed
	without      string // what does not work if it isn't
	operators    bool   // workers don't need it, only those who run `worker tenant`
	call         func(context.Context) error
}

// tenantPermissions tries what workers and operators need for decisions about tenants and for their usage. A worker works without, so
// nothing here is a failure: it obeys no decision then, or keeps no usage.
func (d *Doctor) tenantPermissions(ctx context.Context, state *tableState) {
	trials := d.trials(time.Now())
	if state == nil || !state.keysFit {
		for _, t := range trials {
			d.skip(noFit, t.name)
		}
		return
	}
	for _, t := range trials {
		d.add(t.check(t.call(ctx)))
	}
}

func (d *Doctor) trials(now time.Time) []trial {
	kept := usage.Partition(now)
	const anyHour = usage.PartitionPrefix + "*"
	ungoverned := "a worker without it obeys no decision about tenants: no suspension, no limit, no erasure"
	return []trial{
		{checkControlRead, "dynamodb:GetItem", control.Partition, "GetItem of a control item that doesn't exist", ungoverned, false,
			func(ctx context.Context) error {
				_, err := d.Items.GetItem(ctx, &dynamodb.GetItemInput{TableName: &d.Table, Key: keyIn(control.Partition), ConsistentRead: aws.Bool(true)})
				return err
			}},
		{checkControlQuery, "dynamodb:Query", control.Partition, "Query of the control partition", ungoverned, false,
			func(ctx context.Context) error { return d.query(ctx, nil, control.Partition) }},
		{checkControlPut, "dynamodb:PutItem", control.Partition, "PutItem whose condition is false was refused, as it should",
			"limits are shared without a worker that lacks it, no decision can be confirmed by it, and nobody can decide", false,
			func(ctx context.Context) error { return d.put(ctx, keyIn(control.Partition)) }},
		{checkControlDelete, "dynamodb:DeleteItem", control.Partition, "DeleteItem whose condition is false was refused, as it should",
			"the item of a worker that has stopped stays, and commands that decide wait for it", false,
			func(ctx context.Context) error {
				_, err := d.Control.DeleteItem(ctx, &dynamodb.DeleteItemInput{
					TableName: &d.Table, Key: keyIn(control.Partition), ConditionExpression: aws.String(isThere), ExpressionAttributeNames: partitionKey(),
				})
				return refusedByCondition(err)
			}},
		{checkDecide, "dynamodb:UpdateItem", control.Partition, "UpdateItem whose condition is false was refused, as it should",
			"worker tenant can't suspend, resume, limit or erase", true,
			func(ctx context.Context) error {
				_, err := d.Control.UpdateItem(ctx, &dynamodb.UpdateItemInput{
					TableName: &d.Table, Key: keyIn(control.Partition), UpdateExpression: aws.String("SET tried = :yes"),
					ConditionExpression: aws.String(isThere), ExpressionAttributeNames: partitionKey(),
					ExpressionAttributeValues: map[string]types.AttributeValue{":yes": &types.AttributeValueMemberBOOL{Value: true}},
				})
				return refusedByCondition(err)
			}},
		{checkUsagePut, "dynamodb:PutItem", anyHour, "PutItem whose condition is false was refused, as it should",
			"what tenants use is not kept, and worker tenant usage does not show it", false,
			func(ctx context.Context) error { return d.put(ctx, keyIn(kept)) }},
		{checkUsageQuery, "dynamodb:Query", anyHour, "Query of the usage of this hour", "worker tenant usage reports nothing", true,
			func(ctx context.Context) error { return d.query(ctx, nil, kept) }},
	}
}

// check makes a check of the trial's result.
func (t *trial) check(err error) Check {
	c := permission(t.name, t.found, t.action, err)
	if c.Status != Failed {
		return c
	}
	c.Status = Warning
	if !isDenied(err) {
		c.Remedy = t.without
		return c
	}
	who := "these credentials"
	if t.operators {
		c.Status = Skipped // a worker's credentials are right to lack it
		who = "those who run worker tenant (workers don't need it)"
	}
	c.Remedy = "allow " + t.action + " with the leading key " + t.partition + " to " + who + "; " + t.without
	return c
}

// isThere is a condition that no key of a doctor's fulfils.
const isThere = "attribute_exists(#pk)"

func partitionKey() map[string]string { return map[string]string{"#pk": table.PKAttribute} }

// keyIn is a key that no item has.
func keyIn(partition string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		table.PKAttribute: &types.AttributeValueMemberS{Value: partition},
		table.SKAttribute: &types.AttributeValueMemberS{Value: doctorID},
	}
}

// put tries a write whose condition is false.
func (d *Doctor) put(ctx context.Context, item map[string]types.AttributeValue) error {
	_, err := d.Items.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &d.Table, Item: item, ConditionExpression: aws.String(isThere), ExpressionAttributeNames: partitionKey(),
	})
	return refusedByCondition(err)
}

// refusedByCondition returns nil for the error of a condition that is false, and an error where there is none.
func refusedByCondition(err error) error {
	if _, refused := errors.AsType[*types.ConditionalCheckFailedException](err); refused {
		return nil
	}
	if err == nil {
		return errors.New("a write whose condition was false was accepted: this endpoint does not check conditions")
	}
	return err
}

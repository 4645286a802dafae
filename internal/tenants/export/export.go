// Package export writes all of a tenant's items into files.
package export

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/base/rawjson"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
)

// ItemAPI is the part of DynamoDB that reads items.
type ItemAPI interface {
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
}

// Exporter exports tenants. Its fields are set before its first use and not changed.
type Exporter struct {
	Items ItemAPI
	Store *control.Store
	Table string
	Types *schema.Set
	// Progress is told how many items, in how many bytes, were written. It may be nil.
	Progress func(items int, bytes int64)
}

const (
	// pageItems bounds a read, beside DynamoDB's 1 MB: what a page takes in memory is a multiple of its size.
	pageItems = 1000
	// checkpointEvery is how much a kill -9 can make an export read again.
	checkpointEvery = 2 * time.Second
	// confirmWithin is how long an export of a suspended tenant waits for the workers, to be a consistent one.
	confirmWithin = 30 * time.Second
)

// Run writes the tenant's items into the directory, or goes on with an export of the tenant that was interrupted there. The error is a
// *DirectoryError where the directory can't be used. Nothing of it is lost when it is killed: it goes on from its last checkpoint.
//
// An item is a line in the file of its type, as the query API shows it. Tombstones, and items of no declared type, have files of
// their own, in DynamoDB's JSON. So does, beside its line, an item that the line does not show exactly.
func (e *Exporter) Run(ctx context.Context, tenant, directory string) (*Manifest, error) {
	d, err := e.open(tenant, directory)
	if err != nil {
		return nil, err
	}
	if d.finished != nil {
		return d.finished, nil
	}
	defer d.close()
	if d.fresh {
		if d.point.Suspended, err = e.suspension(ctx, tenant); err != nil {
			return nil, err
		}
		if err := d.checkpoint(); err != nil {
			return nil, err
		}
	}
	if err := e.copy(ctx, d); err != nil {
		return nil, err
	}
	consistent, err := e.consistency(ctx, d)
	if err != nil {
		return nil, err
	}
	return d.finish(consistent)
}

// suspension returns when the tenant was suspended, if it is and all workers obey it: nothing changes its items then.
func (e *Exporter) suspension(ctx context.Context, tenant string) (time.Time, error) {
	revision, err := e.Store.Revision(ctx)
	if err != nil {
		return time.Time{}, err
	}
	d, err := e.Store.Decision(ctx, tenant)
	if err != nil || d.Status != tenants.Suspended {
		return time.Time{}, err
	}
	_, err = e.Store.Await(ctx, revision, confirmWithin)
	if _, late := errors.AsType[*control.UnconfirmedError](err); late {
		return time.Time{}, nil // somebody may write: it is an export as any other
	}
	return d.At, err
}

// Why an export is consistent or not.
const (
	whySuspended = "the tenant was suspended from before the first read until after the last, and all workers that were alive obeyed it"
	whyNot       = "the tenant was not suspended all the time: an item that changed meanwhile is as it was before or after, and items are of different times"
)

// consistency says whether the tenant is still suspended as it was at the beginning.
func (e *Exporter) consistency(ctx context.Context, d *directory) (bool, error) {
	if d.point.Suspended.IsZero() {
		return false, nil
	}
	decision, err := e.Store.Decision(ctx, d.point.Tenant)
	return decision.Status == tenants.Suspended && decision.At.Equal(d.point.Suspended), err
}

// copy reads from the checkpoint on and writes, a page at a time.
func (e *Exporter) copy(ctx context.Context, d *directory) error {
	pk := &types.AttributeValueMemberS{Value: table.PartitionKey(d.point.Tenant)}
	in := &dynamodb.QueryInput{
		TableName: &e.Table, Limit: aws.Int32(pageItems), ConsistentRead: aws.Bool(true),
		KeyConditionExpression: aws.String("PK = :pk"), ExpressionAttributeValues: table.Attributes{":pk": pk},
	}
	sorter := sorter{types: e.Types, stored: table.NewStored(e.Types), directory: d}
	saved := time.Now()
	for {
		if d.point.After != "" {
			in.ExclusiveStartKey = table.Attributes{table.PKAttribute: pk, table.SKAttribute: &types.AttributeValueMemberS{Value: d.point.After}}
		}
		out, err := e.Items.Query(ctx, in)
		if err != nil {
			return fmt.Errorf("read items: %w", err)
		}
		for _, item := range out.Items {
			if err := sorter.write(item); err != nil {
				return err
			}
		}
		if e.Progress != nil {
			e.Progress(d.total())
		}
		after, more := out.LastEvaluatedKey[table.SKAttribute].(*types.AttributeValueMemberS)
		if !more {
			return nil
		}
		if d.point.After = after.Value; time.Since(saved) >= checkpointEvery {
			if err := d.checkpoint(); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
}

// sorter writes items into the files that they belong to.
type sorter struct {
	types     *schema.Set
	stored    table.Stored
	directory *directory
	raw, line []byte // of one item; kept for the next
}

func (s *sorter) write(item table.Attributes) error {
	s.raw = table.AppendRaw(s.raw[:0], item)
	if table.IsTombstone(item) {
		return s.directory.tombstones.writeLine(s.raw)
	}
	scan := rawjson.New(string(s.raw))
	s.stored.Read(&scan)
	key, err := s.stored.Key()
	if err != nil { // it is of no declared type
		return s.directory.other.writeLine(s.raw)
	}
	var unreadable []string
	s.line, unreadable = s.stored.AppendShown(s.line[:0], key)
	if err := s.directory.byType[key.Type.Position].writeLine(s.line); err != nil {
		return err
	}
	if len(unreadable) == 0 && isShown(key, item) {
		return nil
	}
	s.directory.point.Inexact++
	return s.directory.other.writeLine(s.raw)
}

// isShown says whether the item's line has all of its attributes, and shows them exactly: others than the worker write what they like.
func isShown(key table.Key, item table.Attributes) bool {
	for name, v := range item {
		switch name {
		case table.PKAttribute, table.SKAttribute, table.VersionAttribute:
		case key.Type.ID:
			if id, ok := v.(*types.AttributeValueMemberS); !ok || id.Value != key.ID {
				return false
			}
		case table.AttributesAttribute:
			if !isJSON(v) {
				return false
			}
		default:
			if f := key.Type.Field(name); f == nil || !isOf(f.Type, v) || !isJSON(v) {
				return false
			}
		}
	}
	return true
}

// isOf says whether a value is of a field's type. Lines show text and numbers of text fields alike, and NULL not at all.
func isOf(t schema.FieldType, v types.AttributeValue) (is bool) {
	switch t {
	case schema.Number, schema.Integer:
		_, is = v.(*types.AttributeValueMemberN)
	case schema.Boolean:
		_, is = v.(*types.AttributeValueMemberBOOL)
	case schema.Object:
		_, is = v.(*types.AttributeValueMemberM)
	case schema.Array:
		_, is = v.(*types.AttributeValueMemberL)
	default:
		_, is = v.(*types.AttributeValueMemberS)
	}
	return is
}

// isJSON says whether plain JSON has such a value.
func isJSON(v types.AttributeValue) bool {
	switch v := v.(type) {
	case *types.AttributeValueMemberM:
		for _, member := range v.Value {
			if !isJSON(member) {
				return false
			}
		}
	case *types.AttributeValueMemberL:
		for _, element := range v.Value {
			if !isJSON(element) {
				return false
			}
		}
	case *types.AttributeValueMemberB, *types.AttributeValueMemberBS, *types.AttributeValueMemberSS, *types.AttributeValueMemberNS:
		return false
	}
	return true
}

package erase

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"tributary/internal/aws/limits"
	"tributary/internal/table"
)

const (
	// pageItems is how many keys one read returns at most, and how many deletes may be under way.
	pageItems = 1000
	// parallel is how many calls delete at once.
	parallel = 8
	// maxBackoff and deletePatience bound the waiting where the table is throttled: between tries, and in all without any success.
	minBackoff     = 50 * time.Millisecond
	maxBackoff     = 5 * time.Second
	deletePatience = 5 * time.Minute
	// proofInterval lies between the two reads that have to be empty. An index follows its table within that, almost always.
	proofInterval = time.Second
	proofPatience = 5 * time.Minute
)

// page is one read of keys.
type page struct {
	keys []table.Attributes
	next table.Attributes // where to go on, or nil
}

// read reads keys of the tenant's items, all of their attributes that count, or those of an index.
func (e *Eraser) read(ctx context.Context, tenant, index string, from table.Attributes) (page, error) {
	in := &dynamodb.QueryInput{
		TableName: &e.Table, ExclusiveStartKey: from, Limit: aws.Int32(pageItems), ConsistentRead: aws.Bool(index == ""),
		KeyConditionExpression:    aws.String("PK = :pk"),
		ExpressionAttributeValues: table.Attributes{":pk": &types.AttributeValueMemberS{Value: table.PartitionKey(tenant)}},
		ProjectionExpression:      aws.String("PK, SK, deleted"),
	}
	if index != "" {
		in.IndexName, in.ProjectionExpression = &index, aws.String("PK, SK")
	}
	out, err := e.Items.Query(ctx, in)
	if err != nil {
		return page{}, fmt.Errorf("read items: %w", err)
	}
	p := page{keys: out.Items}
	if len(out.LastEvaluatedKey) > 0 {
		p.next = out.LastEvaluatedKey
	}
	return p, nil
}

// countItems counts the tenant's items by type.
func (e *Eraser) countItems(ctx context.Context, tenant string, progress func(int)) (Items, error) {
	sum := Items{ByType: map[string]int{}}
	for _, t := range e.Types.Types {
		sum.ByType[t.Name] = 0
	}
	var from table.Attributes
	for {
		p, err := e.read(ctx, tenant, "", from)
		if err != nil {
			return sum, err
		}
		for _, k := range p.keys {
			sum.add(e, k)
		}
		progress(sum.Total)
		if from = p.next; from == nil {
			return sum, nil
		}
	}
}

func (s *Items) add(e *Eraser, item table.Attributes) {
	s.Total++
	if table.IsTombstone(item) {
		s.Tombstones++
		return
	}
	sk, _ := item[table.SKAttribute].(*types.AttributeValueMemberS)
	if sk != nil {
		if t, _ := e.Types.SplitSK(sk.Value); t != nil {
			s.ByType[t.Name]++
			return
		}
	}
	s.Other++
}

// count counts the items. Nothing can be added any more, so the count is exact, and it is written once.
func (r *run) count(ctx context.Context) error {
	sum, err := r.countItems(ctx, r.tenant, func(n int) { r.progress(Counted, n) })
	if err != nil {
		return err
	}
	return r.save(ctx, func(c *Certificate) {
		if c.step() < Counted && c.Items.Total == 0 {
			c.Items = sum
		}
	})
}

// remove deletes the items.
func (r *run) remove(ctx context.Context) error {
	_, err := r.removeAll(ctx, Removed)
	return err
}

// removeAll deletes all items that a read finds, a page at a time.
func (r *run) removeAll(ctx context.Context, step Step) (removed int, _ error) {
	var from table.Attributes
	for {
		p, err := r.read(ctx, r.tenant, "", from)
		if err != nil {
			return removed, err
		}
		units, err := r.deleteAll(ctx, p.keys)
		if len(p.keys) > 0 {
			err = errors.Join(err, r.addUnits(ctx, units))
		}
		if err != nil {
			return removed, err
		}
		removed += len(p.keys)
		r.progress(step, removed)
		if from = p.next; from == nil {
			return removed, nil
		}
	}
}

// addUnits adds to the write units of the record.
func (r *run) addUnits(ctx context.Context, more Units) error {
	sum := Units{Table: r.cert.WriteUnits.Table + more.Table, Indexes: map[string]float64{}}
	for _, from := range []map[string]float64{r.cert.WriteUnits.Indexes, more.Indexes} {
		for name, n := range from {
			sum.Indexes[name] += n
		}
	}
	return r.save(ctx, func(c *Certificate) {
		if c.WriteUnits.Table <= sum.Table { // not where another, which erases too, has counted more
			c.WriteUnits = sum
		}
	})
}

// deleteAll deletes the items with the keys, and returns the write units that it took. It returns them beside an error too.
func (e *Eraser) deleteAll(ctx context.Context, keys []table.Attributes) (Units, error) {
	sum := Units{Indexes: map[string]float64{}}
	var mu sync.Mutex // guards sum
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for begin := 0; begin < len(keys); begin += limits.DynamoDBBatchWrites {
		batch := keys[begin:min(begin+limits.DynamoDBBatchWrites, len(keys))]
		group.Go(func() error {
			return e.deleteBatch(groupCtx, batch, func(c types.ConsumedCapacity) {
				mu.Lock()
				defer mu.Unlock()
				sum.add(&c)
			})
		})
	}
	err := group.Wait()
	return sum, err
}

func (u *Units) add(c *types.ConsumedCapacity) {
	if c.Table == nil {
		u.Table += aws.ToFloat64(c.CapacityUnits)
	} else {
		u.Table += aws.ToFloat64(c.Table.CapacityUnits)
	}
	for name, i := range c.GlobalSecondaryIndexes {
		u.Indexes[name] += aws.ToFloat64(i.CapacityUnits)
	}
}

// deleteBatch deletes at most 25 items. What the table refuses because of capacity is tried again.
func (e *Eraser) deleteBatch(ctx context.Context, keys []table.Attributes, consumed func(types.ConsumedCapacity)) error {
	requests := make([]types.WriteRequest, len(keys))
	for i, k := range keys {
		requests[i].DeleteRequest = &types.DeleteRequest{Key: table.Attributes{table.PKAttribute: k[table.PKAttribute], table.SKAttribute: k[table.SKAttribute]}}
	}
	backoff, patience := minBackoff, time.Now().Add(deletePatience)
	for {
		out, err := e.Items.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]types.WriteRequest{e.Table: requests}, ReturnConsumedCapacity: types.ReturnConsumedCapacityIndexes,
		})
		if err != nil && !isThrottle(err) {
			return fmt.Errorf("delete items: %w", err)
		}
		if err == nil {
			for _, c := range out.ConsumedCapacity {
				consumed(c)
			}
			left := out.UnprocessedItems[e.Table]
			if len(left) == 0 {
				return nil
			}
			if len(left) < len(requests) {
				backoff, patience = minBackoff, time.Now().Add(deletePatience)
			}
			requests = left
		}
		if !time.Now().Before(patience) {
			return fmt.Errorf("delete items: the table has refused %d deletes for %v, for want of capacity", len(requests), deletePatience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(backoff)):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func isThrottle(err error) bool {
	return retry.ThrottleErrorCode{Codes: retry.DefaultThrottleErrorCodes}.IsErrorThrottle(err) == aws.TrueTernary
}

// prove reads table and indexes until they are empty, twice, and looks through the dead-letter queue once more. What it finds it removes.
func (r *run) prove(ctx context.Context) error {
	indexes, err := r.indexes(ctx)
	if err != nil {
		return err
	}
	patience := time.Now().Add(proofPatience)
	for empty := 0; empty < 2; {
		removed, err := r.removeAll(ctx, Proved)
		if err != nil {
			return err
		}
		if removed > 0 {
			late := r.cert.Items.Late + removed
			if r.cert.step() == Removed { // what the step before has deleted does not come again
				if err := r.save(ctx, func(c *Certificate) { c.Items.Late = max(c.Items.Late, late) }); err != nil {
					return err
				}
			}
		}
		full, err := r.anyIn(ctx, indexes)
		if err != nil {
			return err
		}
		if empty++; removed > 0 || full != "" {
			empty = 0
		}
		if empty == 2 {
			break
		}
		if !time.Now().Before(patience) {
			if full == "" {
				full = "the table"
			}
			return fmt.Errorf("%s still has items of tenant %s: a worker that may not read the control partition writes on, or another program does (worker doctor)", full, r.tenant)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(proofInterval):
		}
	}
	if _, err := r.dropLetters(ctx, Proved); err != nil {
		return err
	}
	return r.save(ctx, func(c *Certificate) { c.Proof = Proof{time.Now().UTC(), true, indexes, true} })
}

// anyIn returns the name of an index that still has an entry of the tenant, or "".
func (r *run) anyIn(ctx context.Context, indexes []string) (string, error) {
	for _, name := range indexes {
		p, err := r.read(ctx, r.tenant, name, nil)
		if err != nil {
			return "", err
		}
		if len(p.keys) > 0 || p.next != nil {
			return "index " + name, nil
		}
	}
	return "", nil
}

// indexes returns the table's indexes that can be read by tenant. The entries of others go with their items, too.
func (e *Eraser) indexes(ctx context.Context) ([]string, error) {
	out, err := e.Tables.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &e.Table})
	if err != nil {
		return nil, fmt.Errorf("describe table: %w", err)
	}
	names := []string{}
	for i := range out.Table.GlobalSecondaryIndexes {
		x := &out.Table.GlobalSecondaryIndexes[i]
		hashes := 0
		for _, k := range x.KeySchema {
			if k.KeyType == types.KeyTypeHash {
				hashes++
			}
		}
		if hashes == 1 && aws.ToString(x.KeySchema[0].AttributeName) == table.PKAttribute {
			names = append(names, aws.ToString(x.IndexName))
		}
	}
	return names, nil
}

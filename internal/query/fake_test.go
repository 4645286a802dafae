package query_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/operate/setup"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

const tableName = "MultiTenantTable"

// scripted is the embedded stack's DynamoDB, in this process, with a script: it notes who is asked for what, and fails
// when told to.
type scripted struct {
	t      testing.TB
	client *dynamodb.Client

	mu    sync.Mutex // guards what follows
	fail  error      // what every call returns instead
	calls int
	// asked are the partition keys of all calls.
	asked map[string]int
	// before runs before each call, without the lock.
	before func()
	// credentials are the access key ids that calls were made with, where they had their own.
	credentials map[string]int
}

// newFake has the table as setup makes it.
func newFake(t testing.TB) *scripted {
	t.Helper()
	cfg := stacktest.Config(stack.New(stack.Options{}))
	s := newScripted(t, cfg)
	does := setup.Setup{Queues: sqs.NewFromConfig(cfg), Tables: s.client, Features: s.client}
	if _, err := does.Run(context.Background(), &setup.Plan{Queue: "q", DeadLetters: "dlq", Table: tableName}); err != nil {
		t.Fatal(err)
	}
	return s
}

// newFakeOf has a table for a declaration.
func newFakeOf(t testing.TB, declared *schema.Set) *scripted {
	t.Helper()
	s := newScripted(t, stacktest.Config(stack.New(stack.Options{})))
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	pk, sk := key(table.PKAttribute, types.KeyTypeHash), key(table.SKAttribute, types.KeyTypeRange)
	in := dynamodb.CreateTableInput{TableName: aws.String(tableName), BillingMode: types.BillingModePayPerRequest, KeySchema: []types.KeySchemaElement{pk, sk}}
	keys := map[string]bool{table.PKAttribute: true, table.SKAttribute: true}
	for _, r := range declared.References {
		keys[r.Field.Name] = true
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
			IndexName: &r.Index, KeySchema: []types.KeySchemaElement{pk, key(r.Field.Name, types.KeyTypeRange), sk},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		})
	}
	for name := range keys {
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS})
	}
	if _, err := s.client.CreateTable(context.Background(), &in); err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.NewTableExistsWaiter(s.client).Wait(context.Background(), &dynamodb.DescribeTableInput{TableName: in.TableName}, time.Minute); err != nil {
		t.Fatal(err)
	}
	return s
}

func newScripted(t testing.TB, cfg aws.Config) *scripted {
	return &scripted{t: t, client: dynamodb.NewFromConfig(cfg), asked: map[string]int{}, credentials: map[string]int{}}
}

func str(a table.Attributes, name string) string {
	s, _ := a[name].(*types.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

func (s *scripted) put(items ...table.Attributes) {
	for some := range slices.Chunk(items, 25) {
		var writes []types.WriteRequest
		for _, a := range some {
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: a}})
		}
		if _, err := s.client.BatchWriteItem(context.Background(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{tableName: writes}}); err != nil {
			s.t.Errorf("put: %v", err)
		}
	}
}

func (s *scripted) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *scripted) begin(ctx context.Context, pk string, opts []func(*dynamodb.Options)) error {
	if s.before != nil {
		s.before()
	}
	var o dynamodb.Options
	for _, opt := range opts {
		opt(&o)
	}
	key := ""
	if o.Credentials != nil {
		c, err := o.Credentials.Retrieve(ctx)
		if err != nil {
			return fmt.Errorf("get credentials: %w", err)
		}
		key = c.AccessKeyID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.asked[pk]++
	s.credentials[key]++
	return s.fail
}

func (s *scripted) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	if err := s.begin(ctx, str(in.Key, table.PKAttribute), opts); err != nil {
		return nil, err
	}
	return s.client.GetItem(ctx, in, opts...)
}

func (s *scripted) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	if err := s.begin(ctx, str(in.ExpressionAttributeValues, ":pk"), opts); err != nil {
		return nil, err
	}
	return s.client.Query(ctx, in, opts...)
}

func (s *scripted) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = 0
	clear(s.asked)
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// partitions returns how often each partition was asked for.
func (s *scripted) partitions() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}

// stuck is a DynamoDB that never answers.
type stuck struct{}

func (stuck) GetItem(ctx context.Context, _ *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (stuck) Query(ctx context.Context, _ *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

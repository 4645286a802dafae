package query_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tributary/internal/aws/limits"
	"tributary/internal/table"
	"tributary/test/support/ddbjson"
)

const tableName = "MultiTenantTable"

// fakeDynamoDB keeps items and enforces DynamoDB's rules on the two calls: Limit counts items before anything is
// left out, a page ends at 1 MB, a start must lie inside the range of sort keys asked for, an index has no consistent
// reads and holds only items that have its key attributes.
type fakeDynamoDB struct {
	t testing.TB

	mu    sync.Mutex                    // guards the fields below
	items map[string][]table.Attributes // by PK, in the order of SK
	fail  error                         // returned by every call instead
	calls int
	// asked are the partition keys of all calls.
	asked map[string]int
	// before runs before each call, without the lock.
	before func()
	// credentials are the access key ids that calls were made with, where they had their own.
	credentials map[string]int
}

func newFake(t testing.TB) *fakeDynamoDB {
	return &fakeDynamoDB{t: t, items: map[string][]table.Attributes{}, asked: map[string]int{}, credentials: map[string]int{}}
}

func str(a table.Attributes, name string) string {
	s, _ := a[name].(*types.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

func bySK(a table.Attributes, sk string) int { return strings.Compare(str(a, table.SKAttribute), sk) }

func (f *fakeDynamoDB) put(items ...table.Attributes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range items {
		pk, sk := str(a, table.PKAttribute), str(a, table.SKAttribute)
		i, found := slices.BinarySearchFunc(f.items[pk], sk, bySK)
		if found {
			f.items[pk][i] = a
		} else {
			f.items[pk] = slices.Insert(f.items[pk], i, a)
		}
	}
}

func (f *fakeDynamoDB) setFail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// send has the caller's own reader, where it brought one, read an answer, as the SDK does with what came over the network.
func send(ctx context.Context, opts []func(*dynamodb.Options), text string, out smithy.Deserializable) error {
	var o dynamodb.Options
	for _, opt := range opts {
		opt(&o)
	}
	response := &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text))}
	return o.Protocol.DeserializeResponse(ctx, nil, nil, &smithyhttp.Response{Response: response}, out)
}

// capacity is what an answer says of read units: half a unit for every 4 KB that was read, twice as much where it is consistent.
func capacity(asked types.ReturnConsumedCapacity, bytes int, consistent *bool) string {
	if asked != types.ReturnConsumedCapacityTotal {
		return ""
	}
	units := math.Ceil(float64(max(bytes, 1))/4096) / 2
	if aws.ToBool(consistent) {
		units *= 2
	}
	return fmt.Sprintf(`"ConsumedCapacity":{"CapacityUnits":%v,"TableName":%q},`, units, tableName)
}

func (f *fakeDynamoDB) begin(ctx context.Context, pk string, opts []func(*dynamodb.Options)) error {
	if f.before != nil {
		f.before()
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
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.asked[pk]++
	f.credentials[key]++
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.fail
}

func invalid(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func (f *fakeDynamoDB) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	pk, sk := str(in.Key, table.PKAttribute), str(in.Key, table.SKAttribute)
	if err := f.begin(ctx, pk, opts); err != nil {
		return nil, err
	}
	if aws.ToString(in.TableName) != tableName {
		return nil, &types.ResourceNotFoundException{}
	}
	if len(in.Key) != 2 || pk == "" || sk == "" || len(pk) > limits.DynamoDBPartitionKeyBytes || len(sk) > limits.DynamoDBSortKeyBytes {
		return nil, invalid("the provided key element does not match the schema")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i, found := slices.BinarySearchFunc(f.items[pk], sk, bySK)
	if !found {
		out := &dynamodb.GetItemOutput{}
		return out, send(ctx, opts, `{`+strings.TrimSuffix(capacity(in.ReturnConsumedCapacity, 0, in.ConsistentRead), ",")+`}`, out)
	}
	out := &dynamodb.GetItemOutput{}
	item := f.items[pk][i]
	return out, send(ctx, opts, `{`+capacity(in.ReturnConsumedCapacity, size(item), in.ConsistentRead)+`"Item":`+ddbjson.Item(item)+`}`, out)
}

func (f *fakeDynamoDB) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	value := func(name string) string { return str(in.ExpressionAttributeValues, name) }
	pk := value(":pk")
	if err := f.begin(ctx, pk, opts); err != nil {
		return nil, err
	}
	if aws.ToString(in.TableName) != tableName {
		return nil, &types.ResourceNotFoundException{}
	}
	index := aws.ToString(in.IndexName)
	if index != "" && index != table.IndexOrdersByUser {
		return nil, invalid("the table does not have the specified index: %s", index)
	}
	if index != "" && aws.ToBool(in.ConsistentRead) {
		return nil, invalid("Consistent reads are not supported on global secondary indexes")
	}
	if in.Limit != nil && *in.Limit < 1 {
		return nil, invalid("Limit must be greater than or equal to 1")
	}
	match := func(string) bool { return true }
	user, used := "", map[string]bool{":pk": true}
	for _, condition := range strings.Split(strings.Replace(*in.KeyConditionExpression, " AND :until", " & :until", 1), " AND ") {
		switch condition {
		case "PK = :pk":
		case "begins_with(SK, :prefix)":
			used[":prefix"] = true
			match = func(sk string) bool { return strings.HasPrefix(sk, value(":prefix")) }
		case "SK BETWEEN :since & :until":
			used[":since"], used[":until"] = true, true
			if value(":since") > value(":until") {
				return nil, invalid("the BETWEEN operator requires upper bound to be greater than or equal to lower bound")
			}
			match = func(sk string) bool { return value(":since") <= sk && sk <= value(":until") }
		case "user_id = :user":
			used[":user"] = true
			user = value(":user")
		default:
			return nil, invalid("invalid KeyConditionExpression: %s", condition)
		}
	}
	if (user != "") != (index != "") {
		return nil, invalid("Query condition missed key schema element, or has one too many: user_id")
	}
	for name := range in.ExpressionAttributeValues {
		if !used[name] || value(name) == "" {
			return nil, invalid("ExpressionAttributeValues: %s is unused or empty", name)
		}
	}
	forward := in.ScanIndexForward == nil || *in.ScanIndexForward
	start := ""
	if in.ExclusiveStartKey != nil {
		start = str(in.ExclusiveStartKey, table.SKAttribute)
		want := 2
		if index != "" {
			want = 3
		}
		if len(in.ExclusiveStartKey) != want || str(in.ExclusiveStartKey, table.PKAttribute) != pk || str(in.ExclusiveStartKey, table.UserIDAttribute) != user {
			return nil, invalid("the provided starting key is invalid")
		}
		last := value(":until")
		if !forward {
			last = value(":since")
		}
		if !match(start) || start == last {
			return nil, invalid("the provided starting key is outside query boundaries based on provided conditions")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	items := slices.Clone(f.items[pk])
	if !forward {
		slices.Reverse(items)
	}
	var found []table.Attributes
	bytes := 0
	for _, a := range items {
		sk := str(a, table.SKAttribute)
		if !match(sk) || start != "" && (forward && sk <= start || !forward && sk >= start) {
			continue
		}
		if index != "" && (str(a, table.UserIDAttribute) == "" || str(a, table.UserIDAttribute) != user) {
			continue
		}
		if in.Limit != nil && len(found) == int(*in.Limit) || bytes > 0 && bytes+size(a) > limits.DynamoDBPageBytes {
			break
		}
		bytes += size(a)
		found = append(found, a)
	}
	lastKey := ""
	// DynamoDB gives a key whenever it stopped at Limit or at 1 MB, even where nothing follows.
	if n := len(found); n > 0 && (in.Limit != nil && n == int(*in.Limit) || bytes > limits.DynamoDBPageBytes-limits.DynamoDBItemBytes && n < len(items)) {
		at := found[n-1]
		key := table.Attributes{table.PKAttribute: at[table.PKAttribute], table.SKAttribute: at[table.SKAttribute]}
		if index != "" {
			key[table.UserIDAttribute] = at[table.UserIDAttribute]
		}
		lastKey = `"LastEvaluatedKey":` + ddbjson.Item(key) + `,`
	}
	texts := make([]string, len(found))
	for i, a := range found {
		texts[i] = ddbjson.Item(a)
	}
	out := &dynamodb.QueryOutput{}
	return out, send(ctx, opts, fmt.Sprintf(`{"Count":%d,%s%s"Items":[%s]}`, len(found), capacity(in.ReturnConsumedCapacity, bytes, in.ConsistentRead), lastKey, strings.Join(texts, ",")), out)
}

// size approximates DynamoDB's item size, for strings.
func size(a table.Attributes) (n int) {
	for name, v := range a {
		n += len(name)
		if s, ok := v.(*types.AttributeValueMemberS); ok {
			n += len(s.Value)
		} else {
			n += 20
		}
	}
	return n
}

func (f *fakeDynamoDB) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = 0
	clear(f.asked)
}

func (f *fakeDynamoDB) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// partitions returns how often each partition was asked for.
func (f *fakeDynamoDB) partitions() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.asked)
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

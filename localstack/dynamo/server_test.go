package dynamo_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/localstack/dynamo"
)

// direct sends the SDK's requests to a handler without a network, so that synctest's clock rules.
type direct struct{ handler http.Handler }

func (d direct) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

const (
	table  = "MultiTenantTable"
	byUser = "orders_by_user"
)

type scene struct {
	*testing.T
	*dynamodb.Client
}

// open makes the table of the design: PK, SK and the index with two range attributes.
func open(t *testing.T, o dynamo.Options) *scene {
	t.Helper()
	s := &scene{t, dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://localhost"), HTTPClient: direct{dynamo.NewServer(o)},
		Credentials: credentials.NewStaticCredentialsProvider("x", "y", ""), RetryMaxAttempts: 1,
	})}
	attribute := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: "S"}
	}
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	_, err := s.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(table), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{attribute("PK"), attribute("SK"), attribute("user_id")},
		KeySchema:            []types.KeySchemaElement{key("PK", "HASH"), key("SK", "RANGE")},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String(byUser), Projection: &types.Projection{ProjectionType: "ALL"},
			KeySchema: []types.KeySchemaElement{key("PK", "HASH"), key("user_id", "RANGE"), key("SK", "RANGE")},
		}},
	})
	if err != nil {
		t.Fatalf("create table: %v", err)
	}
	return s
}

type attributes = map[string]types.AttributeValue

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func num(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
func bytes(s string) types.AttributeValue {
	return &types.AttributeValueMemberB{Value: []byte(s)}
}

func keyed(pk, sk string, more ...any) attributes {
	out := attributes{"PK": str(pk), "SK": str(sk)}
	for i := 0; i < len(more); i += 2 {
		out[more[i].(string)] = more[i+1].(types.AttributeValue)
	}
	return out
}

func (s *scene) put(it attributes) error {
	_, err := s.PutItem(s.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: it})
	return err
}

func (s *scene) mustPut(items ...attributes) {
	s.Helper()
	for _, it := range items {
		if err := s.put(it); err != nil {
			s.Fatalf("put: %v", err)
		}
	}
}

func (s *scene) get(pk, sk string) attributes {
	s.Helper()
	out, err := s.GetItem(s.Context(), &dynamodb.GetItemInput{TableName: aws.String(table), Key: keyed(pk, sk), ConsistentRead: aws.Bool(true)})
	if err != nil {
		s.Fatalf("get: %v", err)
	}
	return out.Item
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func nested(levels int) types.AttributeValue {
	v := str("leaf")
	for range levels {
		v = &types.AttributeValueMemberL{Value: []types.AttributeValue{v}}
	}
	return v
}

func TestRefusedItems(t *testing.T) {
	tests := map[string]struct {
		item attributes
		ok   bool
	}{
		"plain":               {keyed("t", "o"), true},
		"no sort key":         {attributes{"PK": str("t")}, false},
		"empty partition key": {keyed("", "o"), false},
		"empty sort key":      {keyed("t", ""), false},
		"key of another type": {attributes{"PK": num("1"), "SK": str("o")}, false},
		"key of 2048":         {keyed(strings.Repeat("k", 2048), "o"), true},
		"key of 2049":         {keyed(strings.Repeat("k", 2049), "o"), false},
		"sort key of 1024":    {keyed("t", strings.Repeat("k", 1024)), true},
		"sort key of 1025":    {keyed("t", strings.Repeat("k", 1025)), false},
		"index key type":      {keyed("t", "o", "user_id", num("1")), false},
		"empty index key":     {keyed("t", "o", "user_id", str("")), false},
		"400 KB":              {keyed("t", "o", "a", str(strings.Repeat("x", 400<<10-7))), true},
		"400 KB and a byte":   {keyed("t", "o", "a", str(strings.Repeat("x", 400<<10-6))), false},
		"38 digits":           {keyed("t", "o", "n", num(strings.Repeat("9", 38))), true},
		"39 digits":           {keyed("t", "o", "n", num(strings.Repeat("9", 39))), false},
		"38 digits and zeros": {keyed("t", "o", "n", num("0"+strings.Repeat("9", 38)+"000")), true},
		"9.99E125":            {keyed("t", "o", "n", num("9.99E125")), true},
		"1E126":               {keyed("t", "o", "n", num("1E126")), false},
		"1E-130":              {keyed("t", "o", "n", num("-1E-130")), true},
		"1E-131":              {keyed("t", "o", "n", num("1E-131")), false},
		"NaN":                 {keyed("t", "o", "n", num("NaN")), false},
		"32 levels":           {keyed("t", "o", "l", nested(31)), true}, // the item is the first
		"33 levels":           {keyed("t", "o", "l", nested(32)), false},
		"empty name":          {keyed("t", "o", "", str("x")), false},
		"empty name inside":   {keyed("t", "o", "m", &types.AttributeValueMemberM{Value: attributes{"": str("x")}}), false},
		"empty set":           {keyed("t", "o", "s", &types.AttributeValueMemberSS{Value: []string{}}), false},
		"set with duplicates": {keyed("t", "o", "s", &types.AttributeValueMemberNS{Value: []string{"1", "1.0"}}), false},
		"empty string":        {keyed("t", "o", "s", str("")), true},
		"null that is false":  {keyed("t", "o", "s", &types.AttributeValueMemberNULL{Value: false}), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, dynamo.Options{})
			if err := s.put(test.item); test.ok && err != nil || !test.ok && code(err) != "ValidationException" {
				t.Errorf("put: %v, want accepted: %v", err, test.ok)
			}
		})
	}
}

func TestNumbersAreExact(t *testing.T) {
	tests := map[string]string{
		"150.00": "150", "-0.0": "0", "1e3": "1000", "0.00120": "0.0012", "+7": "7", "12.5E-3": "0.0125",
		"1234567890123456789012345678.9012345678": "1234567890123456789012345678.9012345678",
	}
	for sent, want := range tests {
		s := open(t, dynamo.Options{})
		s.mustPut(keyed("t", "o", "n", num(sent)))
		if n, ok := s.get("t", "o")["n"].(*types.AttributeValueMemberN); !ok || n.Value != want {
			t.Errorf("%s reads %v, want %s", sent, n, want)
		}
	}
}

func TestVersions(t *testing.T) {
	s := open(t, dynamo.Options{})
	write := func(version string) error {
		_, err := s.PutItem(t.Context(), &dynamodb.PutItemInput{
			TableName: aws.String(table), Item: keyed("t", "o", "version", num(version)),
			ConditionExpression:                 aws.String("attribute_not_exists(version) OR version < :v"),
			ExpressionAttributeValues:           attributes{":v": num(version)},
			ReturnValuesOnConditionCheckFailure: "ALL_OLD",
		})
		return err
	}
	steps := []struct {
		version string
		written bool
	}{
		{"9", true}, {"10", true}, {"9", false}, {"10", false},
		{"9223372036854775806", true}, {"9223372036854775807", true}, {"9223372036854775806", false}, // beyond float64
	}
	for _, step := range steps {
		err := write(step.version)
		if step.written && err != nil {
			t.Errorf("write version %s: %v", step.version, err)
		}
		if !step.written {
			refused, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
			if !ok || refused.Item["version"] == nil {
				t.Errorf("write version %s: %v, want a refusal with the item", step.version, err)
			}
		}
	}
}

func TestBatchWrite(t *testing.T) {
	puts := func(keys ...string) (out []types.WriteRequest) {
		for _, k := range keys {
			out = append(out, types.WriteRequest{PutRequest: &types.PutRequest{Item: keyed("t", k)}})
		}
		return out
	}
	var many []string
	for i := range 26 {
		many = append(many, strconv.Itoa(i))
	}
	remove := types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: keyed("t", "0")}}
	tests := map[string]struct {
		requests []types.WriteRequest
		ok       bool
	}{
		"25":                {puts(many[:25]...), true},
		"26":                {puts(many...), false},
		"none":              {[]types.WriteRequest{}, false},
		"duplicate puts":    {puts("0", "1", "0"), false},
		"put and delete":    {append(puts("0"), remove), false},
		"an empty key":      {puts("0", ""), false},
		"two and no clash":  {append(puts("1"), remove), true},
		"an item too large": {append(puts("1"), types.WriteRequest{PutRequest: &types.PutRequest{Item: keyed("t", "0", "a", str(strings.Repeat("x", 400<<10)))}}), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, dynamo.Options{})
			_, err := s.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: test.requests}})
			if test.ok && err != nil || !test.ok && code(err) != "ValidationException" {
				t.Errorf("batch: %v, want accepted: %v", err, test.ok)
			}
			if !test.ok && s.get("t", "1") != nil {
				t.Error("a refused batch wrote something")
			}
		})
	}
}

func TestThrottling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dynamo.Options{WriteUnits: 3})
		batch := func(pks ...string) (*dynamodb.BatchWriteItemOutput, error) {
			var requests []types.WriteRequest
			for i, pk := range pks {
				requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: keyed(pk, strconv.Itoa(i))}})
			}
			return s.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: requests}})
		}
		out, err := batch("hot", "hot", "hot", "hot", "hot", "calm")
		if err != nil || len(out.UnprocessedItems[table]) != 2 {
			t.Fatalf("five of one key with three units: %+v, %v", out, err)
		}
		if s.get("calm", "5") == nil || s.get("hot", "2") == nil || s.get("hot", "3") != nil {
			t.Error("what was written is not what was processed")
		}
		_, err = batch("hot", "hot")
		refused, ok := errors.AsType[*types.ProvisionedThroughputExceededException](err)
		if !ok || len(refused.ThrottlingReasons) != 1 || *refused.ThrottlingReasons[0].Reason != "TableWriteKeyRangeThroughputExceeded" ||
			*refused.ThrottlingReasons[0].Resource != "arn:aws:dynamodb:us-east-1:000000000000:table/MultiTenantTable" {
			t.Errorf("nothing could be written: %v", err)
		}
		if err := s.put(keyed("hot", "x")); code(err) != "ProvisionedThroughputExceededException" {
			t.Errorf("put without units: %v", err)
		}
		time.Sleep(time.Second / 3)
		time.Sleep(time.Millisecond)
		if err := s.put(keyed("hot", "x")); err != nil {
			t.Errorf("put after a third of a second: %v", err)
		}
		time.Sleep(time.Second)
		if err := s.put(keyed("hot", "large", "a", str(strings.Repeat("x", 9<<10)))); err != nil {
			t.Errorf("an item of more units than a second has: %v", err)
		}
		time.Sleep(time.Second)
		if err := s.put(keyed("hot", "y")); code(err) != "ProvisionedThroughputExceededException" {
			t.Errorf("a second after ten units were spent of three: %v", err)
		}
	})
}

// TestARefusedWriteCostsTheItemThatStays: a partition that has three units a second tells what was spent.
func TestARefusedWriteCostsTheItemThatStays(t *testing.T) {
	item := func(kilobytes int) attributes {
		return keyed("t", "s", "a", str(strings.Repeat("x", kilobytes<<10-100)))
	}
	for name, test := range map[string]struct {
		there, next int // KB; 0: no item
		left        int // of three units
	}{
		"nothing is there":          {0, 2, 2},
		"the item is larger":        {2, 1, 1},
		"the item is smaller":       {1, 2, 2},
		"it costs all that is left": {3, 1, 0},
	} {
		for operation, refused := range map[string]func(s *scene) error{
			"put": func(s *scene) error {
				_, err := s.PutItem(s.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: item(test.next), ConditionExpression: aws.String("attribute_exists(gone)")})
				return err
			},
			"update": func(s *scene) error {
				_, err := s.UpdateItem(s.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(table), Key: keyed("t", "s"), UpdateExpression: aws.String("SET a = :a"),
					ConditionExpression: aws.String("attribute_exists(gone)"), ExpressionAttributeValues: attributes{":a": item(test.next)["a"]}})
				return err
			},
			"delete": func(s *scene) error {
				_, err := s.DeleteItem(s.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(table), Key: keyed("t", "s"), ConditionExpression: aws.String("attribute_exists(gone)")})
				return err
			},
		} {
			t.Run(name+", "+operation, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := open(t, dynamo.Options{WriteUnits: 3})
					if test.there > 0 {
						s.mustPut(item(test.there))
						time.Sleep(time.Second) // the units are back
					}
					if err := refused(s); code(err) != "ConditionalCheckFailedException" {
						t.Fatalf("not refused: %v", err)
					}
					left := 0
					for s.put(keyed("t", strconv.Itoa(left))) == nil {
						left++
					}
					if left != test.left {
						t.Errorf("%d units are left, want %d", left, test.left)
					}
				})
			})
		}
	}
}

// addIndex adds an index with a hash key to the table.
func (s *scene) addIndex(name, hash string, projection types.Projection) {
	s.Helper()
	if _, err := s.UpdateTable(s.Context(), &dynamodb.UpdateTableInput{
		TableName: aws.String(table), AttributeDefinitions: []types.AttributeDefinition{{AttributeName: &hash, AttributeType: "S"}},
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName: &name, Projection: &projection, KeySchema: []types.KeySchemaElement{{AttributeName: &hash, KeyType: "HASH"}},
		}}},
	}); err != nil {
		s.Fatalf("add index %s: %v", name, err)
	}
}

// query runs a query and gives its sort keys, page by page.
func (s *scene) query(in *dynamodb.QueryInput) (string, error) {
	in.TableName = aws.String(table)
	var out []string
	for {
		page, err := s.Query(s.Context(), in)
		if err != nil {
			return "", err
		}
		for _, it := range page.Items {
			out = append(out, it["SK"].(*types.AttributeValueMemberS).Value)
		}
		if in.ExclusiveStartKey = page.LastEvaluatedKey; in.ExclusiveStartKey == nil {
			return strings.Join(out, " "), nil
		}
		out = append(out, "|")
	}
}

func TestQueries(t *testing.T) {
	s := open(t, dynamo.Options{})
	s.mustPut(
		keyed("a", "order#1", "user_id", str("u2")), keyed("a", "order#2", "user_id", str("u1")), keyed("a", "order#3", "user_id", str("u1")),
		keyed("a", "user#1"), keyed("a", "user#10"), keyed("a.b", "order#9", "user_id", str("u1")), keyed("b", "order#1", "user_id", str("u1")),
	)
	tests := []struct {
		index, condition string
		values           attributes
		limit            int32
		backward         bool
		want             string // or the error's code
	}{
		{"", "PK = :p", nil, 0, false, "order#1 order#2 order#3 user#1 user#10"},
		{"", "PK = :p", nil, 2, false, "order#1 order#2 | order#3 user#1 | user#10"},
		{"", "PK = :p", nil, 2, true, "user#10 user#1 | order#3 order#2 | order#1"},
		{"", "(PK = :p AND begins_with(SK, :s))", attributes{":s": str("user#")}, 0, false, "user#1 user#10"},
		{"", "PK = :p AND SK = :s", attributes{":s": str("user#1")}, 0, false, "user#1"},
		{"", "((PK = :p) AND (SK = :s))", attributes{":s": str("user#1")}, 0, false, "user#1"},
		{"", "(PK = :p AND (SK = :s))", attributes{":s": str("user#1")}, 0, false, "user#1"},
		{"", "((PK = :p AND SK = :s))", attributes{":s": str("user#1")}, 0, false, "ValidationException"},
		{"", "status = :p", nil, 0, false, "ValidationException"},
		{"", "PK = :p AND SK > :s", attributes{":s": str("order#2")}, 0, false, "order#3 user#1 user#10"},
		{"", "SK <= :s AND PK = :p", attributes{":s": str("order#2")}, 0, false, "order#1 order#2"},
		{"", "PK = :p AND SK BETWEEN :s AND :t", attributes{":s": str("order#2"), ":t": str("user#1")}, 0, false, "order#2 order#3 user#1"},
		{"", "PK = :p AND user_id = :s", attributes{":s": str("u1")}, 0, false, "ValidationException"},
		{"", "SK = :p", nil, 0, false, "ValidationException"},
		{"", "PK = :p OR SK = :p", nil, 0, false, "ValidationException"},
		{"", "PK = :p AND SK = :unknown", nil, 0, false, "ValidationException"},
		{"", "PK = :p", attributes{":unused": str("x")}, 0, false, "ValidationException"},
		{byUser, "PK = :p", nil, 2, false, "order#2 order#3 | order#1"},
		{byUser, "PK = :p AND user_id = :u", attributes{":u": str("u1")}, 1, false, "order#2 | order#3 |"},
		{byUser, "PK = :p AND user_id = :u", attributes{":u": str("u1")}, 1, true, "order#3 | order#2 |"},
		{byUser, "PK = :p AND user_id = :u AND SK > :s", attributes{":u": str("u1"), ":s": str("order#2")}, 0, false, "order#3"},
		{byUser, "PK = :p AND SK > :s", attributes{":s": str("order#2")}, 0, false, "ValidationException"},
		{byUser, "PK = :p AND user_id > :u AND SK = :s", attributes{":u": str("u1"), ":s": str("order#2")}, 0, false, "ValidationException"},
	}
	for _, test := range tests {
		in := &dynamodb.QueryInput{
			KeyConditionExpression: &test.condition, ScanIndexForward: aws.Bool(!test.backward),
			ExpressionAttributeValues: attributes{":p": str("a")},
		}
		for name, v := range test.values {
			in.ExpressionAttributeValues[name] = v
		}
		if test.index != "" {
			in.IndexName = &test.index
		}
		if test.limit > 0 {
			in.Limit = &test.limit
		}
		got, err := s.query(in)
		if err != nil {
			got = code(err)
		}
		if got != test.want {
			t.Errorf("%s %q, limit %d, backward %v: %q (%v), want %q", test.index, test.condition, test.limit, test.backward, got, err, test.want)
		}
	}
	_, err := s.query(&dynamodb.QueryInput{IndexName: aws.String(byUser), ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("PK = :p"), ExpressionAttributeValues: attributes{":p": str("a")}})
	if code(err) != "ValidationException" {
		t.Errorf("consistent read of the index: %v", err)
	}
	// What is replaced or deleted leaves the index.
	s.mustPut(keyed("a", "order#2", "user_id", str("u2")), keyed("a", "order#3"))
	got, err := s.query(&dynamodb.QueryInput{IndexName: aws.String(byUser), KeyConditionExpression: aws.String("PK = :p"), ExpressionAttributeValues: attributes{":p": str("a")}})
	if err != nil || got != "order#1 order#2" {
		t.Errorf("index after replacing: %q, %v", got, err)
	}
}

func TestBinarySortKeys(t *testing.T) {
	s := open(t, dynamo.Options{})
	name := aws.String("binary")
	if _, err := s.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("PK"), AttributeType: "S"}, {AttributeName: aws.String("SK"), AttributeType: "B"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("PK"), KeyType: "HASH"}, {AttributeName: aws.String("SK"), KeyType: "RANGE"}},
	}); err != nil {
		t.Fatal(err)
	}
	keys := []string{"\x00", "\xFE", "\xFF", "\xFF\xFF\x00", "\xFF\xFF\xFF", "\xFF\xFF\xFF\x01", strings.Repeat("\xFF", 1024)}
	for _, key := range keys {
		if _, err := s.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: name, Item: attributes{"PK": str("t"), "SK": bytes(key)}}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		condition, key string
		want           []string
	}{
		{"PK = :p", "", keys},
		{"PK = :p AND SK > :s", "\xFE", keys[2:]},
		{"PK = :p AND SK >= :s", "\xFF\xFF\xFF", keys[4:]},
		{"PK = :p AND SK <= :s", "\xFF\xFF\xFF", keys[:5]},
		{"PK = :p AND begins_with(SK, :s)", "\xFF", keys[2:]},
		{"PK = :p AND begins_with(SK, :s)", "\xFF\xFF", keys[3:]},
		{"PK = :p AND begins_with(SK, :s)", "\xFE", keys[1:2]},
	}
	for _, test := range tests {
		for _, forward := range []bool{true, false} {
			in := &dynamodb.QueryInput{
				TableName: name, KeyConditionExpression: &test.condition, ExpressionAttributeValues: attributes{":p": str("t")},
				ScanIndexForward: &forward, Limit: aws.Int32(1),
			}
			if test.key != "" {
				in.ExpressionAttributeValues[":s"] = bytes(test.key)
			}
			var got []string
			pages := dynamodb.NewQueryPaginator(s.Client, in)
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatalf("%s %x: %v", test.condition, test.key, err)
				}
				for _, it := range page.Items {
					got = append(got, string(it["SK"].(*types.AttributeValueMemberB).Value))
				}
			}
			if !forward {
				slices.Reverse(got)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s %x, forward %v: got %.40x, want %.40x", test.condition, test.key, forward, got, test.want)
			}
		}
	}
}

func TestPagesOfOneMegabyte(t *testing.T) {
	s := open(t, dynamo.Options{})
	for i := range 11 {
		s.mustPut(keyed("t", fmt.Sprintf("%02d", i), "a", str(strings.Repeat("x", 200<<10)), "odd", &types.AttributeValueMemberBOOL{Value: i%2 == 1}))
	}
	in := &dynamodb.QueryInput{KeyConditionExpression: aws.String("PK = :p"), ExpressionAttributeValues: attributes{":p": str("t")}}
	if got, err := s.query(in); err != nil || got != "00 01 02 03 04 | 05 06 07 08 09 | 10" {
		t.Errorf("pages %q, %v", got, err)
	}
	in.FilterExpression, in.ProjectionExpression = aws.String("odd = :yes"), aws.String("SK")
	in.ExpressionAttributeValues[":yes"] = &types.AttributeValueMemberBOOL{Value: true}
	if got, err := s.query(in); err != nil || got != "01 03 | 05 07 09 |" {
		t.Errorf("filtered pages %q, %v: a filter and a projection must not change where pages end", got, err)
	}
	var scanned int
	pages := dynamodb.NewScanPaginator(s.Client, &dynamodb.ScanInput{TableName: aws.String(table)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		scanned += len(page.Items)
	}
	if scanned != 11 {
		t.Errorf("scanned %d, want 11", scanned)
	}
}

func TestTable(t *testing.T) {
	s := open(t, dynamo.Options{})
	name := aws.String(table)
	if err := dynamodb.NewTableExistsWaiter(s.Client).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: name}, time.Second); err != nil {
		t.Errorf("wait until the table is there: %v", err)
	}
	ttl := &types.TimeToLiveSpecification{AttributeName: aws.String("expires_at"), Enabled: aws.Bool(true)}
	for i, want := range []string{"<nil>", "ValidationException"} { // a second time is refused, as on AWS
		_, err := s.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{TableName: name, TimeToLiveSpecification: ttl})
		if got := code(err); got != want {
			t.Errorf("TTL, time %d: %v, want %s", i+1, err, want)
		}
	}
	d, err := s.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: name})
	if err != nil || d.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
		t.Errorf("TTL %+v, %v", d, err)
	}
	backups, err := s.UpdateContinuousBackups(t.Context(), &dynamodb.UpdateContinuousBackupsInput{TableName: name, PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)}})
	if err != nil || backups.ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusEnabled {
		t.Errorf("backups %+v, %v", backups, err)
	}
	if _, err := s.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: name, DeletionProtectionEnabled: aws.Bool(true)}); err != nil {
		t.Errorf("protect: %v", err)
	}
	if _, err := s.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: name}); code(err) != "ValidationException" {
		t.Errorf("delete a protected table: %v", err)
	}
	put, err := s.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: name, Item: keyed("t", "o", "a", str(strings.Repeat("x", 2000))), ReturnConsumedCapacity: "TOTAL"})
	if err != nil || *put.ConsumedCapacity.CapacityUnits != 2 {
		t.Errorf("put of two units: %+v, %v", put, err)
	}
	// An index added later has what the table held before.
	s.mustPut(keyed("t", "p", "email", str("e")))
	s.addIndex("by_email", "email", types.Projection{ProjectionType: "KEYS_ONLY"})
	got, err := s.query(&dynamodb.QueryInput{IndexName: aws.String("by_email"), KeyConditionExpression: aws.String("email = :e"), ExpressionAttributeValues: attributes{":e": str("e")}})
	if err != nil || got != "p" {
		t.Errorf("index added later: %q, %v", got, err)
	}
}

func TestRequestTooLarge(t *testing.T) {
	s := open(t, dynamo.Options{})
	err := s.put(keyed("t", "o", "a", str(strings.Repeat("x", 16<<20))))
	if e, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); !ok || e.HTTPStatusCode() != http.StatusRequestEntityTooLarge {
		t.Errorf("a request over 16 MB: %v", err)
	}
}

// BenchmarkBatchWrite writes 25 new items a call into one partition, over HTTP.
func BenchmarkBatchWrite(b *testing.B) {
	h := httptest.NewServer(dynamo.NewServer(dynamo.Options{}))
	defer h.Close()
	c := dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &h.URL, Credentials: credentials.NewStaticCredentialsProvider("x", "y", "")})
	if _, err := c.CreateTable(b.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(table), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("PK"), AttributeType: "S"}, {AttributeName: aws.String("SK"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("PK"), KeyType: "HASH"}, {AttributeName: aws.String("SK"), KeyType: "RANGE"}},
	}); err != nil {
		b.Fatal(err)
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		requests := make([]types.WriteRequest, 25)
		for i := range requests {
			n++
			requests[i].PutRequest = &types.PutRequest{Item: keyed("tenant#a", fmt.Sprintf("order#%d", n*7919%1_000_003), "user_id", str("u1"), "order_amount", num("150.5"))}
		}
		if _, err := c.BatchWriteItem(b.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: requests}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "items/s")
}

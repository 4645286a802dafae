package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/limits"
	"tributary/internal/table"
)

// DynamoDB holds an endpoint to what Tributary relies on of DynamoDB.
func DynamoDB(t *testing.T, client *dynamodb.Client, backend Backend) {
	runCases(t, client, backend, dynamodbCases)
}

var dynamodbCases = []testCase[*dynamodb.Client]{
	{name: "a new table becomes ACTIVE and is described as it was asked for", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		out, err := client.DescribeTable(c, &dynamodb.DescribeTableInput{TableName: &tb.name})
		c.must(err, "describe table")
		got := out.Table
		if got.TableStatus != types.TableStatusActive || *got.TableName != tb.name || aws.ToString(got.TableArn) == "" {
			c.Errorf("table %s is %s with ARN %q", *got.TableName, got.TableStatus, aws.ToString(got.TableArn))
		}
		if !reflect.DeepEqual(keyNames(got.KeySchema), []string{"HASH PK", "RANGE SK"}) {
			c.Errorf("its keys are %v", keyNames(got.KeySchema))
		}
		if len(got.GlobalSecondaryIndexes) != 1 {
			c.Fatalf("it has %d indexes, want 1", len(got.GlobalSecondaryIndexes))
		}
		index := got.GlobalSecondaryIndexes[0]
		if *index.IndexName != "orders_by_user" || index.IndexStatus != types.IndexStatusActive || index.Projection.ProjectionType != types.ProjectionTypeAll {
			c.Errorf("its index is %s, %s, %s", *index.IndexName, index.IndexStatus, index.Projection.ProjectionType)
		}
		if !reflect.DeepEqual(keyNames(index.KeySchema), []string{"HASH PK", "RANGE user_id", "RANGE SK"}) {
			c.Errorf("its index's keys are %v", keyNames(index.KeySchema))
		}
	}},
	{name: "provisioned capacity is described", run: func(c *T, client *dynamodb.Client) {
		name := unique()
		c.must(create(c, client, &dynamodb.CreateTableInput{TableName: &name,
			AttributeDefinitions:  attributeDefinitions("PK", "SK"),
			KeySchema:             []types.KeySchemaElement{hashKey("PK"), rangeKey("SK")},
			ProvisionedThroughput: &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(5), WriteCapacityUnits: aws.Int64(5)}}), "create table")
		(&dynamoTable{client, name}).drop(c)
		out, err := client.DescribeTable(c, &dynamodb.DescribeTableInput{TableName: &name})
		c.must(err, "describe table")
		if p := out.Table.ProvisionedThroughput; p == nil || aws.ToInt64(p.ReadCapacityUnits) != 5 || aws.ToInt64(p.WriteCapacityUnits) != 5 {
			c.Errorf("its throughput is %+v, want 5 and 5", p)
		}
	}},
	{name: "creating a table again is ResourceInUseException", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		typed[*types.ResourceInUseException](c, createTable(c, client, tb.name))
	}},
	{name: "a table that is not there is ResourceNotFoundException", run: func(c *T, client *dynamodb.Client) {
		name := aws.String(unique())
		_, err := client.DescribeTable(c, &dynamodb.DescribeTableInput{TableName: name})
		typed[*types.ResourceNotFoundException](c, err)
		_, err = client.PutItem(c, &dynamodb.PutItemInput{TableName: name, Item: row("t", "s")})
		typed[*types.ResourceNotFoundException](c, err)
		_, err = client.BatchWriteItem(c, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{*name: {put(row("t", "s"))}}})
		typed[*types.ResourceNotFoundException](c, err)
	}},
	{name: "time to live is switched on and described", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		out, err := client.DescribeTimeToLive(c, &dynamodb.DescribeTimeToLiveInput{TableName: &tb.name})
		c.must(err, "describe time to live")
		if got := out.TimeToLiveDescription.TimeToLiveStatus; got != types.TimeToLiveStatusDisabled {
			c.Errorf("it is %s at first, want DISABLED", got)
		}
		_, err = client.UpdateTimeToLive(c, &dynamodb.UpdateTimeToLiveInput{TableName: &tb.name,
			TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(table.TTLAttribute), Enabled: aws.Bool(true)}})
		c.must(err, "update time to live")
		out, err = client.DescribeTimeToLive(c, &dynamodb.DescribeTimeToLiveInput{TableName: &tb.name})
		c.must(err, "describe time to live")
		d := out.TimeToLiveDescription
		if (d.TimeToLiveStatus != types.TimeToLiveStatusEnabled && d.TimeToLiveStatus != types.TimeToLiveStatusEnabling) || aws.ToString(d.AttributeName) != table.TTLAttribute {
			c.Errorf("it is %s on %q, want ENABLED or ENABLING on %s", d.TimeToLiveStatus, aws.ToString(d.AttributeName), table.TTLAttribute)
		}
	}},

	{name: "a put replaces the whole item", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		tb.put(c, row("t", "s", "old", str("x"), "both", str("1")))
		tb.put(c, row("t", "s", "both", str("2")))
		tb.want(c, row("t", "s", "both", str("2")))
	}},
	{name: "deleting what is not there succeeds", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		_, err := client.DeleteItem(c, &dynamodb.DeleteItemInput{TableName: &tb.name, Key: row("t", "s")})
		c.must(err, "delete")
		c.must(tb.batch(c, del("t", "s")), "delete in a batch")
	}},
	{name: "documents come back as they were put", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		tb.put(c, row("t", "s", "empty", str(""), "attributes", &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{
			"null":  &types.AttributeValueMemberNULL{Value: true},
			"bool":  &types.AttributeValueMemberBOOL{Value: false},
			"list":  &types.AttributeValueMemberL{Value: []types.AttributeValue{num("1"), str("zwei\n𝄞"), &types.AttributeValueMemberL{Value: []types.AttributeValue{}}}},
			"map":   &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{}},
			"exact": num("0.1234567890123456789012345678901234567"),
		}}))
		tb.want(c, row("t", "s", "empty", str(""), "attributes", &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{
			"null":  &types.AttributeValueMemberNULL{Value: true},
			"bool":  &types.AttributeValueMemberBOOL{Value: false},
			"list":  &types.AttributeValueMemberL{Value: []types.AttributeValue{num("1"), str("zwei\n𝄞"), &types.AttributeValueMemberL{Value: []types.AttributeValue{}}}},
			"map":   &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{}},
			"exact": num("0.1234567890123456789012345678901234567"),
		}}))
	}},
	// The item itself is one of the levels: lists and maps may be 31 deep in an attribute.
	{name: "32 levels are accepted, 33 are not", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		_, err := tb.tryPut(c, row("t", "s", "deep", nested(limits.DynamoDBNesting)))
		c.must(err, "put 32 levels")
		_, err = tb.tryPut(c, row("t", "s", "deep", nested(limits.DynamoDBNesting+1)))
		invalid(c, err)
	}},

	{name: "an attribute name has at least one character, inside documents too", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		_, err := tb.tryPut(c, row("t", "s", "", str("x")))
		invalid(c, err)
		_, err = tb.tryPut(c, row("t", "s", "m", &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"": str("x")}}))
		invalid(c, err)
	}},

	{name: "numbers come back in one form, whatever form they were sent in", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		for sent, want := range map[string]string{
			"150.00": "150", "0150": "150", "1E3": "1000", "1.5e-3": "0.0015", "-0": "0", "+7": "7", ".5": "0.5", "100": "100",
			"12345678901234567890123456789012345678": "12345678901234567890123456789012345678",
			"0.0100":                                 "0.01",
		} {
			_, err := tb.tryPut(c, row("t", "s", "order_amount", num(sent)))
			c.must(err, "put "+sent)
			if got := tb.get(c, "t", "s")["order_amount"]; !reflect.DeepEqual(got, num(want)) {
				c.Errorf("%s came back as %v, want %s", sent, numberText(got), want)
			}
		}
	}},
	{name: "38 digits are kept, 39 are refused", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		digits := strings.Repeat("1234567890", 4)
		for _, accepted := range []string{digits[:38], "-" + digits[:37] + ".1", digits[:38] + "000", "0." + strings.Repeat("0", 20) + digits[:38], "1E125", "9.9E125", "1E-130"} {
			_, err := tb.tryPut(c, row("t", "s", "order_amount", num(accepted)))
			if err != nil {
				c.Errorf("%s is refused: %v", accepted, err)
			}
		}
		for _, bad := range []string{digits[:39], "1E126", "1E-131", "NaN", "Infinity", "", "1,5", "0x1", "1_000"} {
			_, err := tb.tryPut(c, row("t", "s", "order_amount", num(bad)))
			if err == nil {
				c.Errorf("%q is accepted", bad)
				continue
			}
			invalid(c, err)
		}
	}},

	{name: "a batch of 25 is written, of 26 refused whole", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		var writes []types.WriteRequest
		for i := range limits.DynamoDBBatchWrites + 1 {
			writes = append(writes, put(row("t", fmt.Sprintf("s%02d", i))))
		}
		invalid(c, tb.batch(c, writes...))
		if n := len(tb.query(c, "t")); n != 0 {
			c.Errorf("%d items of the refused batch are there", n)
		}
		c.must(tb.batch(c, writes[:limits.DynamoDBBatchWrites]...), "write 25")
		if n := len(tb.query(c, "t")); n != limits.DynamoDBBatchWrites {
			c.Errorf("%d items are there, want 25", n)
		}
	}},
	{name: "an empty batch is refused", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		invalid(c, tb.batch(c))
	}},
	{name: "a key twice in a batch refuses it whole", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		invalid(c, tb.batch(c, put(row("t", "a")), put(row("t", "b")), put(row("t", "a", "x", str("other")))))
		invalid(c, tb.batch(c, put(row("t", "a")), del("t", "a")))
		if n := len(tb.query(c, "t")); n != 0 {
			c.Errorf("%d items of the refused batches are there", n)
		}
	}},
	{name: "a batch mixes puts and deletes", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		tb.put(c, row("t", "gone"))
		c.must(tb.batch(c, put(row("t", "new")), del("t", "gone"), put(row("u", "new"))), "write")
		if got := tb.query(c, "t"); len(got) != 1 || !reflect.DeepEqual(got[0], row("t", "new")) {
			c.Errorf("tenant t has %d items, want new alone", len(got))
		}
		tb.want(c, row("u", "new"))
	}},
	{name: "an item of 400 KB is accepted, one byte more refuses its batch whole", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		fits := sized("t", "fits", limits.DynamoDBItemBytes)
		c.must(tb.batch(c, put(fits), put(row("t", "small"))), "write 400 KB")
		tb.want(c, fits)
		over := sized("t", "over", limits.DynamoDBItemBytes+1)
		invalid(c, tb.batch(c, put(row("t", "neighbour")), put(over)))
		_, err := tb.tryPut(c, over)
		invalid(c, err)
		if got := tb.get(c, "t", "neighbour"); len(got) != 0 {
			c.Errorf("the neighbour of the item that is too large was written")
		}
	}},
	{name: "a batch of 10 MB is accepted, a request over 16 MB refused", timeout: time.Minute, run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		var large, escaped []types.WriteRequest
		const controls = 60 << 10
		for i := range limits.DynamoDBBatchWrites {
			sk := fmt.Sprintf("s%02d", i)
			large = append(large, put(sized("t", sk, limits.DynamoDBItemBytes)))
			// A control character is one byte of an item and six of the request: these add 7.5 MB to the request alone.
			item := sized("t", sk, limits.DynamoDBItemBytes)
			item["filler"] = str(strings.Repeat("\u0001", controls) + text(item["filler"])[controls:])
			escaped = append(escaped, put(item))
		}
		c.must(tb.batch(c, large...), "write 10 MB")
		if err := tb.batch(c, escaped...); err == nil {
			c.Errorf("a request of 17 MB was accepted")
		} // the error may be a cut connection: a server need not read all of a refused request
	}},
	{name: "keys are strings of 1 to 2048 and 1 to 1024 bytes", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		pk, sk := strings.Repeat("p", limits.DynamoDBPartitionKeyBytes), strings.Repeat("s", limits.DynamoDBSortKeyBytes)
		_, err := tb.tryPut(c, row(pk, sk))
		c.must(err, "put the longest keys")
		for _, bad := range []map[string]types.AttributeValue{
			row(pk+"p", "s"), row("t", sk+"s"), row("", "s"), row("t", ""),
			{"PK": num("1"), "SK": str("s")}, {"PK": str("t")},
		} {
			_, err := tb.tryPut(c, bad)
			invalid(c, err)
			invalid(c, tb.batch(c, put(bad)))
		}
	}},
	{name: "an index key of another type is refused", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		_, err := tb.tryPut(c, row("t", "s", "user_id", num("1")))
		invalid(c, err)
		invalid(c, tb.batch(c, put(row("t", "s", "user_id", num("1")))))
	}},
	{name: "an empty index key is refused", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		_, err := tb.tryPut(c, row("t", "s", "user_id", str("")))
		invalid(c, err)
	}},
	{name: "a write tells its capacity", run: func(c *T, client *dynamodb.Client) {
		tb := newPlainTable(c, client)
		out, err := client.BatchWriteItem(c, &dynamodb.BatchWriteItemInput{ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
			RequestItems: map[string][]types.WriteRequest{tb.name: {put(sized("t", "one", 1024)), put(sized("t", "two", 1025))}}})
		c.must(err, "write")
		if len(out.ConsumedCapacity) != 1 || aws.ToFloat64(out.ConsumedCapacity[0].CapacityUnits) != 3 {
			c.Errorf("consumed %+v, want 3 units: 1 for 1 KB, 2 for a byte more", out.ConsumedCapacity)
		}
	}},
	{name: "a write tells the capacity of its index", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		for _, step := range []struct {
			what         string
			write        types.WriteRequest
			table, index float64
		}{
			{"a new entry", put(row("t", "s", "user_id", str("a"))), 1, 1},
			{"the same again", put(row("t", "s", "user_id", str("a"))), 1, 0},
			{"another attribute", put(row("t", "s", "user_id", str("a"), "more", str("x"))), 1, 1},
			{"another key of the index", put(row("t", "s", "user_id", str("b"), "more", str("x"))), 1, 2},
			{"no key of the index", put(row("t", "s", "more", str("x"))), 1, 1},
			{"no entry before and after", put(row("t", "s", "more", str("y"))), 1, 0},
		} {
			out, err := client.BatchWriteItem(c, &dynamodb.BatchWriteItemInput{ReturnConsumedCapacity: types.ReturnConsumedCapacityIndexes,
				RequestItems: map[string][]types.WriteRequest{tb.name: {step.write}}})
			c.must(err, step.what)
			if len(out.ConsumedCapacity) != 1 {
				c.Fatalf("%s: consumed %+v", step.what, out.ConsumedCapacity)
			}
			got := out.ConsumedCapacity[0]
			table, index := 0.0, aws.ToFloat64(got.GlobalSecondaryIndexes["orders_by_user"].CapacityUnits)
			if got.Table != nil {
				table = aws.ToFloat64(got.Table.CapacityUnits)
			}
			if table != step.table || index != step.index || aws.ToFloat64(got.CapacityUnits) != table+index {
				c.Errorf("%s: %v units of the table, %v of the index, %v in all; want %v and %v", step.what, table, index, aws.ToFloat64(got.CapacityUnits), step.table, step.index)
			}
		}
	}},

	{name: "a conditional put costs the larger item, and a refusal does not tell what it costs", run: func(c *T, client *dynamodb.Client) {
		tb := newPlainTable(c, client)
		heard := &lastAnswer{client: client.Options().HTTPClient}
		client = dynamodb.New(client.Options(), func(o *dynamodb.Options) { o.HTTPClient = heard })
		conditional := func(bytes int, condition string) (*dynamodb.PutItemOutput, error) {
			return client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: sized("t", "s", bytes),
				ConditionExpression: &condition, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal})
		}
		for _, step := range []struct {
			bytes int
			units float64
		}{{3 << 10, 3}, {1 << 10, 3}, {2 << 10, 2}} { // after nothing, a larger and a smaller one
			out, err := conditional(step.bytes, "attribute_not_exists(gone)")
			c.must(err, "put")
			if got := out.ConsumedCapacity; got == nil || aws.ToFloat64(got.CapacityUnits) != step.units {
				c.Errorf("a put of %d bytes consumed %+v, want %v units", step.bytes, got, step.units)
			}
		}
		_, err := conditional(3<<10, "attribute_exists(gone)")
		typed[*types.ConditionalCheckFailedException](c, err)
		if !strings.Contains(heard.body, "ConditionalCheckFailedException") || strings.Contains(heard.body, "Consumed") {
			c.Errorf("the refusal is %q", heard.body)
		}
	}},
	{name: "a newer version overwrites, an equal or older one is refused with the item", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		steps := []struct {
			version string
			written bool
		}{{"5", true}, {"5", false}, {"4", false}, {"6", true}, {"10", true}, {"9", false}, {"9223372036854775807", true}}
		have := ""
		for _, s := range steps {
			item := row("t", "s", "version", num(s.version))
			_, err := tb.putNewer(c, item)
			if s.written {
				c.must(err, "put version "+s.version)
				have = s.version
				continue
			}
			var refusal *types.ConditionalCheckFailedException
			if !errors.As(err, &refusal) {
				c.Fatalf("version %s over %s: got error %v, want ConditionalCheckFailedException", s.version, have, err)
			}
			if !reflect.DeepEqual(refusal.Item, row("t", "s", "version", num(have))) {
				c.Errorf("version %s over %s: the refusal brings %v", s.version, have, refusal.Item)
			}
		}
	}},
	{name: "a versioned put overwrites an item without a version", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		tb.put(c, row("t", "s", "user_name", str("old")))
		_, err := tb.putNewer(c, row("t", "s", "version", num("1")))
		c.must(err, "put")
		tb.want(c, row("t", "s", "version", num("1")))
	}},
	{name: "a refusal brings no item that was not asked for", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		tb.put(c, row("t", "s"))
		_, err := client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: row("t", "s"), ConditionExpression: aws.String("attribute_not_exists(PK)")})
		var refusal *types.ConditionalCheckFailedException
		if !errors.As(err, &refusal) || len(refusal.Item) != 0 {
			c.Errorf("got %v, want ConditionalCheckFailedException without an item", err)
		}
	}},
	// The worker's probe (writer.Table) relies on it: a faulty item is reported even if the condition is false.
	{name: "an item is checked before a condition", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		probe := func(item map[string]types.AttributeValue) error {
			_, err := client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: item, ConditionExpression: aws.String("attribute_exists(PK)")})
			return err
		}
		typed[*types.ConditionalCheckFailedException](c, probe(row("t", "s")))
		typed[*types.ConditionalCheckFailedException](c, probe(row("t", "s", "user_id", str("u"))))
		invalid(c, probe(map[string]types.AttributeValue{"PK": str("t")}))
		invalid(c, probe(map[string]types.AttributeValue{"PK": str("t"), "SK": num("1")}))
		invalid(c, probe(row("t", "s", "user_id", num("1"))))
		if item := tb.get(c, "t", "s"); item != nil {
			c.Errorf("it wrote %s", brief(item))
		}
	}},
	{name: "of concurrent versions the highest stays", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		var wg sync.WaitGroup
		for v := 1; v <= 16; v++ {
			wg.Go(func() {
				_, err := tb.putNewer(c, row("t", "s", "version", num(fmt.Sprint(v))))
				var refusal *types.ConditionalCheckFailedException
				if err != nil && !errors.As(err, &refusal) {
					c.Errorf("put version %d: %v", v, err)
				}
			})
		}
		wg.Wait()
		tb.want(c, row("t", "s", "version", num("16")))
	}},
	{name: "a value that no expression names is refused", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		_, err := client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: row("t", "s"),
			ConditionExpression:       aws.String("attribute_not_exists(version)"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":v": num("1")}})
		invalid(c, err)
	}},
	{name: "a reserved word needs a placeholder", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		_, err := client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: row("t", "s"),
			ConditionExpression: aws.String("attribute_not_exists(status)")})
		invalid(c, err)
		_, err = client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: row("t", "s"),
			ConditionExpression: aws.String("attribute_not_exists(#a)"), ExpressionAttributeNames: map[string]string{"#a": "status"}})
		c.must(err, "put with a placeholder")
	}},

	{name: "a query pages at 1 MB and loses nothing", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		const items, size = 25, 100 << 10
		for i := 0; i < items; i += 5 {
			var writes []types.WriteRequest
			for j := i; j < i+5; j++ {
				writes = append(writes, put(sized("t", fmt.Sprintf("s%02d", j), size)))
			}
			c.must(tb.batch(c, writes...), "write")
		}
		for _, forward := range []bool{true, false} {
			var got []string
			pages := 0
			in := tb.queryInput("t")
			in.ScanIndexForward = &forward
			for {
				out, err := client.Query(c, in)
				c.must(err, "query")
				pages++
				if n := len(out.Items); n > limits.DynamoDBPageBytes/size+1 {
					c.Errorf("a page has %d items of 100 KB", n)
				}
				for _, item := range out.Items {
					got = append(got, text(item["SK"]))
				}
				if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
					break
				}
			}
			if pages < 3 || len(got) != items {
				c.Fatalf("got %d items in %d pages, want 25 in 3 or more", len(got), pages)
			}
			for i, sk := range got {
				want := i
				if !forward {
					want = items - 1 - i
				}
				if sk != fmt.Sprintf("s%02d", want) {
					c.Errorf("item %d is %s (forward %v)", i, sk, forward)
				}
			}
		}
	}},
	{name: "a limit ends a page, and its last key begins the next", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		c.must(tb.batch(c, put(row("t", "a")), put(row("t", "b")), put(row("t", "c"))), "write")
		in := tb.queryInput("t")
		in.Limit = aws.Int32(2)
		first, err := client.Query(c, in)
		c.must(err, "query")
		if len(first.Items) != 2 || !reflect.DeepEqual(first.LastEvaluatedKey, row("t", "b")) {
			c.Fatalf("the first page has %d items and ends at %v", len(first.Items), first.LastEvaluatedKey)
		}
		in.ExclusiveStartKey = first.LastEvaluatedKey
		second, err := client.Query(c, in)
		c.must(err, "query on")
		if len(second.Items) != 1 || text(second.Items[0]["SK"]) != "c" || second.LastEvaluatedKey != nil {
			c.Errorf("the second page has %d items and ends at %v", len(second.Items), second.LastEvaluatedKey)
		}
	}},
	{name: "a start key need not be that of an item", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		c.must(tb.batch(c, put(row("t", "a")), put(row("t", "c"))), "write")
		in := tb.queryInput("t")
		in.ExclusiveStartKey = row("t", "b")
		out, err := client.Query(c, in)
		c.must(err, "query")
		if len(out.Items) != 1 || text(out.Items[0]["SK"]) != "c" {
			c.Errorf("got %d items, want c alone", len(out.Items))
		}
	}},
	{name: "a start key of another partition is refused", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		in := tb.queryInput("t")
		in.ExclusiveStartKey = row("other", "b")
		_, err := client.Query(c, in)
		invalid(c, err)
	}},
	{name: "begins_with finds one kind of one tenant's items, in order of their bytes", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		c.must(tb.batch(c,
			put(row("tenant#a", "order#9")), put(row("tenant#a", "order#10")), put(row("tenant#a", "order#é")), put(row("tenant#a", "order#Z")),
			put(row("tenant#a", "user#1")), put(row("tenant#a", "order")), put(row("tenant#b", "order#1"))), "write")
		in := tb.queryInput("tenant#a")
		in.KeyConditionExpression = aws.String("PK = :pk AND begins_with(SK, :sk)")
		in.ExpressionAttributeValues[":sk"] = str("order#")
		out, err := client.Query(c, in)
		c.must(err, "query")
		if got := sortKeys(out.Items); !reflect.DeepEqual(got, []string{"order#10", "order#9", "order#Z", "order#é"}) {
			c.Errorf("got %v", got)
		}
	}},
	{name: "a filter drops items after the page is read", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		c.must(tb.batch(c, put(row("t", "a", "deleted", &types.AttributeValueMemberBOOL{Value: true})), put(row("t", "b"))), "write")
		in := tb.queryInput("t")
		in.FilterExpression = aws.String("attribute_not_exists(deleted)")
		in.Limit = aws.Int32(1)
		out, err := client.Query(c, in)
		c.must(err, "query")
		if len(out.Items) != 0 || out.LastEvaluatedKey == nil || out.ScannedCount != 1 {
			c.Errorf("got %d items of %d read, ending at %v: want an empty page that goes on", len(out.Items), out.ScannedCount, out.LastEvaluatedKey)
		}
	}},
	{name: "conditions and filters compare within a type", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		const big = "12345678901234567890123456789012345678"
		item := row("t", "a", "n", num("10"), "text", str("é𝄞"), "big", num(big), "l", &types.AttributeValueMemberL{Value: []types.AttributeValue{num("1"), str("x")}})
		tb.put(c, item)
		for _, test := range []struct {
			expression string
			value      types.AttributeValue
			holds      bool
		}{
			{"n < :v", str("2"), false}, {"n > :v", str(""), false}, {"NOT n < :v", str("2"), true}, {"n = :v", str("10"), false}, {"n <> :v", str("10"), true},
			{"n BETWEEN :v AND :v", str("10"), false}, {"n IN (:v, big)", str("10"), false}, {"n IN (big, :v)", num("1e1"), true}, {"gone <> :v", num("1"), true},
			{"big < :v", num("12345678901234567890123456789012345679"), true}, {"big < :v", num(big), false}, {"attribute_type(n, :v)", str("N"), true},
			{"size(l) > :v", num("1"), true}, {"size(#t) = :v", num("3"), true}, {"size(n) > :v", num("0"), false}, {"size(gone) <> :v", num("0"), true},
			{"contains(l, :v)", num("1.0"), true}, {"contains(l, :v)", str("1"), false}, {"begins_with(n, :v)", str("1"), false}, {"l[1] = :v", str("x"), true}, {"l[2] = :v", str("x"), false},
		} {
			var names map[string]string
			if strings.Contains(test.expression, "#t") {
				names = map[string]string{"#t": "text"}
			}
			_, err := client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: item, ConditionExpression: &test.expression,
				ExpressionAttributeNames: names, ExpressionAttributeValues: map[string]types.AttributeValue{":v": test.value}})
			if test.holds {
				c.must(err, "put on the condition "+test.expression)
			} else {
				typed[*types.ConditionalCheckFailedException](c, err)
			}
			in := tb.queryInput("t")
			in.FilterExpression, in.ExpressionAttributeNames = &test.expression, names
			in.ExpressionAttributeValues[":v"] = test.value
			out, err := client.Query(c, in)
			c.must(err, "query by the filter "+test.expression)
			if (out.Count == 1) != test.holds {
				c.Errorf("the filter %q lets through %d items", test.expression, out.Count)
			}
		}
	}},
	{name: "an expression is refused whatever is stored", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		for _, filter := range []string{"status = :v", "m.status = :v", "n = :v AND", "n = :v n = :v", "((n = :v))", "n + n = :v", "nothing(n, :v)", "n < :v", "begins_with(n, :v)"} {
			in := tb.queryInput("nobody")
			in.FilterExpression, in.ExpressionAttributeValues[":v"] = &filter, &types.AttributeValueMemberBOOL{Value: true}
			_, err := client.Query(c, in)
			invalid(c, err)
		}
		for _, projection := range []string{"status", "n,", "n n", "m, m.k", "m.k, m[0]", "size(n)"} {
			in := tb.queryInput("nobody")
			in.ProjectionExpression = &projection
			_, err := client.Query(c, in)
			invalid(c, err)
			_, err = client.GetItem(c, &dynamodb.GetItemInput{TableName: &tb.name, Key: row("nobody", "s"), ProjectionExpression: &projection})
			invalid(c, err)
		}
		in := tb.queryInput("nobody")
		in.Select = "EVERYTHING"
		_, err := client.Query(c, in)
		invalid(c, err)
		in.Select, in.ExpressionAttributeNames = "", map[string]string{}
		_, err = client.Query(c, in)
		invalid(c, err)
	}},
	{name: "a filter on a key is refused in a query", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		for _, filter := range []string{"PK = :pk", "attribute_not_exists(n) OR SK = :pk"} {
			in := tb.queryInput("t")
			in.FilterExpression = &filter
			_, err := client.Query(c, in)
			invalid(c, err)
		}
		_, err := client.Scan(c, &dynamodb.ScanInput{TableName: &tb.name, FilterExpression: aws.String("PK = :pk"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":pk": str("t")}})
		c.must(err, "scan by a filter on a key")
	}},
	{name: "a projection keeps what its paths lead to", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		tb.put(c, row("t", "s", "n", num("1"), "l", &types.AttributeValueMemberL{Value: []types.AttributeValue{num("1"), num("2"),
			&types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"k": str("v"), "j": str("w")}}}}))
		out, err := client.GetItem(c, &dynamodb.GetItemInput{TableName: &tb.name, Key: row("t", "s"), ProjectionExpression: aws.String("l[2].k, gone, n.x, l[0], l[7]")})
		c.must(err, "get")
		want := map[string]types.AttributeValue{"l": &types.AttributeValueMemberL{Value: []types.AttributeValue{num("1"),
			&types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"k": str("v")}}}}}
		if !reflect.DeepEqual(out.Item, want) {
			c.Errorf("got %s, want %s", brief(out.Item), brief(want))
		}
	}},

	{name: "the index of three keys gives one user's orders in order, and no other item", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		c.must(tb.batch(c,
			put(row("tenant#a", "order#1", "user_id", str("u"), "order_amount", num("1"))),
			put(row("tenant#a", "order#3", "user_id", str("u"))), put(row("tenant#a", "order#2", "user_id", str("u"))),
			put(row("tenant#a", "order#4", "user_id", str("uu"))), put(row("tenant#a", "order#5")),
			put(row("tenant#a", "user#u", "user_id", str("u"))), put(row("tenant#b", "order#6", "user_id", str("u")))), "write")
		in := tb.indexQuery("tenant#a", "u")
		for forward, want := range map[bool][]string{true: {"order#1", "order#2", "order#3"}, false: {"order#3", "order#2", "order#1"}} {
			in.ScanIndexForward = aws.Bool(forward)
			out, err := client.Query(c, in)
			c.must(err, "query")
			if got := sortKeys(out.Items); !reflect.DeepEqual(got, want) {
				c.Errorf("forward %v: got %v, want %v", forward, got, want)
			}
			for _, item := range out.Items {
				if text(item["SK"]) == "order#1" && !reflect.DeepEqual(item["order_amount"], num("1")) {
					c.Errorf("the index does not have the whole item: %v", item)
				}
			}
		}
	}},
	{name: "the index of three keys is paged", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		c.must(tb.batch(c, put(row("t", "order#1", "user_id", str("u"))), put(row("t", "order#2", "user_id", str("u"))),
			put(row("t", "order#3", "user_id", str("u")))), "write")
		for forward, want := range map[bool][]string{true: {"order#1", "order#2", "order#3"}, false: {"order#3", "order#2", "order#1"}} {
			in := tb.indexQuery("t", "u")
			in.Limit, in.ScanIndexForward = aws.Int32(1), aws.Bool(forward)
			var got []string
			for range 10 {
				out, err := client.Query(c, in)
				c.must(err, "query")
				got = append(got, sortKeys(out.Items)...)
				if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
					break
				}
			}
			if !reflect.DeepEqual(got, want) {
				c.Errorf("forward %v: got %v, want %v", forward, got, want)
			}
		}
	}},
	{name: "the index follows what is written", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		for _, step := range []struct {
			write types.WriteRequest
			want  int
		}{
			{put(row("t", "order#1", "user_id", str("u"))), 1},
			{put(row("t", "order#1", "user_id", str("v"))), 0},
			{put(row("t", "order#1", "user_id", str("u"))), 1},
			{del("t", "order#1"), 0},
		} {
			c.must(tb.batch(c, step.write), "write")
			for { // an index follows its table a little later
				out, err := client.Query(c, tb.indexQuery("t", "u"))
				c.must(err, "query")
				if len(out.Items) == step.want {
					break
				}
				pause(c)
			}
		}
	}},
	{name: "an index can't be read consistently", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		in := tb.indexQuery("t", "u")
		in.ConsistentRead = aws.Bool(true)
		_, err := client.Query(c, in)
		invalid(c, err)
	}},
	{name: "an index that is not there is refused", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		in := tb.indexQuery("t", "u")
		in.IndexName = aws.String("no_such_index")
		_, err := client.Query(c, in)
		invalid(c, err)
	}},
	{name: "the hash key of a query is compared by equality alone", run: func(c *T, client *dynamodb.Client) {
		tb := newTable(c, client)
		in := tb.queryInput("t")
		in.KeyConditionExpression = aws.String("begins_with(PK, :pk)")
		_, err := client.Query(c, in)
		invalid(c, err)
	}},
}

// lastAnswer keeps what the SDK does not show: the last answer's body.
type lastAnswer struct {
	client dynamodb.HTTPClient
	body   string
}

func (l *lastAnswer) Do(r *http.Request) (*http.Response, error) {
	response, err := l.client.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	l.body, response.Body = string(body), io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// dynamoTable is a table that a case made for itself.
type dynamoTable struct {
	client *dynamodb.Client
	name   string
}

func newTable(c *T, client *dynamodb.Client) *dynamoTable {
	tb := &dynamoTable{client, unique()}
	c.must(createTable(c, client, tb.name), "create table")
	tb.drop(c)
	tb.await(c)
	return tb
}

// newPlainTable makes one without an index: an index's writes cost units too.
func newPlainTable(c *T, client *dynamodb.Client) *dynamoTable {
	tb := &dynamoTable{client, unique()}
	c.must(create(c, client, &dynamodb.CreateTableInput{TableName: &tb.name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: attributeDefinitions("PK", "SK"), KeySchema: []types.KeySchemaElement{hashKey("PK"), rangeKey("SK")}}), "create table")
	tb.drop(c)
	tb.await(c)
	return tb
}

func (tb *dynamoTable) await(c *T) {
	c.must(dynamodb.NewTableExistsWaiter(tb.client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	}).Wait(c, &dynamodb.DescribeTableInput{TableName: &tb.name}, caseTimeout), "wait for table")
}

func (tb *dynamoTable) drop(c *T) {
	c.cleanup(func() {
		ctx, cancel := afterwards()
		defer cancel()
		oneAtATime.Lock()
		defer oneAtATime.Unlock()
		_, _ = tb.client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &tb.name})
	})
}

// createTable makes the product's table: see the design's layout.
func createTable(c *T, client *dynamodb.Client, name string) error {
	return create(c, client, &dynamodb.CreateTableInput{TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: attributeDefinitions(table.PKAttribute, table.SKAttribute, "user_id"),
		KeySchema:            []types.KeySchemaElement{hashKey(table.PKAttribute), rangeKey(table.SKAttribute)},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName:  aws.String("orders_by_user"),
			KeySchema:  []types.KeySchemaElement{hashKey(table.PKAttribute), rangeKey("user_id"), rangeKey(table.SKAttribute)},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}}})
}

// oneAtATime serialises changes of tables: DynamoDB Local answers InternalFailure to one of several such calls at once.
var oneAtATime sync.Mutex

func create(c *T, client *dynamodb.Client, in *dynamodb.CreateTableInput) error {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	_, err := client.CreateTable(c, in)
	return err
}

func attributeDefinitions(names ...string) []types.AttributeDefinition {
	var all []types.AttributeDefinition
	for _, n := range names {
		all = append(all, types.AttributeDefinition{AttributeName: aws.String(n), AttributeType: types.ScalarAttributeTypeS})
	}
	return all
}

func hashKey(name string) types.KeySchemaElement {
	return types.KeySchemaElement{AttributeName: &name, KeyType: types.KeyTypeHash}
}

func rangeKey(name string) types.KeySchemaElement {
	return types.KeySchemaElement{AttributeName: &name, KeyType: types.KeyTypeRange}
}

func keyNames(schema []types.KeySchemaElement) []string {
	var all []string
	for _, k := range schema {
		all = append(all, string(k.KeyType)+" "+*k.AttributeName)
	}
	return all
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func num(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }

// row makes an item of keys and pairs of name (string) and value (types.AttributeValue).
func row(pk, sk string, pairs ...any) map[string]types.AttributeValue {
	item := map[string]types.AttributeValue{"PK": str(pk), "SK": str(sk)}
	for i := 0; i < len(pairs); i += 2 {
		item[pairs[i].(string)] = pairs[i+1].(types.AttributeValue)
	}
	return item
}

// sized makes an item of exactly that many bytes, names included ("DynamoDB item sizes and formats").
func sized(pk, sk string, bytes int) map[string]types.AttributeValue {
	overhead := len("PK") + len(pk) + len("SK") + len(sk) + len("filler")
	return row(pk, sk, "filler", str(strings.Repeat("x", bytes-overhead)))
}

// nested makes an attribute's value with which its item is that many levels deep: lists around a string.
func nested(levels int) types.AttributeValue {
	v := str("x")
	for range levels - 1 {
		v = &types.AttributeValueMemberL{Value: []types.AttributeValue{v}}
	}
	return v
}

func put(item map[string]types.AttributeValue) types.WriteRequest {
	return types.WriteRequest{PutRequest: &types.PutRequest{Item: item}}
}

func del(pk, sk string) types.WriteRequest {
	return types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: row(pk, sk)}}
}

// batch writes, and takes items left unprocessed for an error: no case here writes enough to be throttled.
func (tb *dynamoTable) batch(c *T, writes ...types.WriteRequest) error {
	if writes == nil {
		writes = []types.WriteRequest{}
	}
	out, err := tb.client.BatchWriteItem(c, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{tb.name: writes}})
	if err == nil && len(out.UnprocessedItems) > 0 {
		return fmt.Errorf("%d items are unprocessed", len(out.UnprocessedItems[tb.name]))
	}
	return err
}

func (tb *dynamoTable) tryPut(c *T, item map[string]types.AttributeValue) (*dynamodb.PutItemOutput, error) {
	return tb.client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: item})
}

func (tb *dynamoTable) put(c *T, item map[string]types.AttributeValue) {
	_, err := tb.tryPut(c, item)
	c.must(err, "put")
}

// putNewer puts an item as the product puts versioned ones.
func (tb *dynamoTable) putNewer(c *T, item map[string]types.AttributeValue) (*dynamodb.PutItemOutput, error) {
	return tb.client.PutItem(c, &dynamodb.PutItemInput{TableName: &tb.name, Item: item,
		ConditionExpression:                 aws.String("attribute_not_exists(version) OR version < :v"),
		ExpressionAttributeValues:           map[string]types.AttributeValue{":v": item["version"]},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
}

func (tb *dynamoTable) get(c *T, pk, sk string) map[string]types.AttributeValue {
	out, err := tb.client.GetItem(c, &dynamodb.GetItemInput{TableName: &tb.name, Key: row(pk, sk), ConsistentRead: aws.Bool(true)})
	c.must(err, "get")
	return out.Item
}

// want demands that the item with these keys is this one.
func (tb *dynamoTable) want(c *T, item map[string]types.AttributeValue) {
	got := tb.get(c, text(item["PK"]), text(item["SK"]))
	if !reflect.DeepEqual(got, item) {
		c.Errorf("item %s %s is %s, want %s", text(item["PK"]), text(item["SK"]), brief(got), brief(item))
	}
}

func (tb *dynamoTable) queryInput(pk string) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{TableName: &tb.name, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("PK = :pk"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":pk": str(pk)}}
}

func (tb *dynamoTable) query(c *T, pk string) []map[string]types.AttributeValue {
	out, err := tb.client.Query(c, tb.queryInput(pk))
	c.must(err, "query")
	return out.Items
}

// indexQuery asks for a user's orders as the product does.
func (tb *dynamoTable) indexQuery(pk, user string) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{TableName: &tb.name, IndexName: aws.String("orders_by_user"),
		KeyConditionExpression:    aws.String("PK = :pk AND user_id = :user AND begins_with(SK, :order)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":pk": str(pk), ":user": str(user), ":order": str("order#")}}
}

func sortKeys(items []map[string]types.AttributeValue) []string {
	var all []string
	for _, item := range items {
		all = append(all, text(item["SK"]))
	}
	return all
}

// text returns a string's value, or "" if it is not a string.
func text(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func numberText(v types.AttributeValue) string {
	if n, ok := v.(*types.AttributeValueMemberN); ok {
		return n.Value
	}
	return fmt.Sprintf("%T", v)
}

// brief prints an item without flooding the log.
func brief(item map[string]types.AttributeValue) string {
	var parts []string
	for name, v := range item {
		s := fmt.Sprintf("%s:%+v", name, reflect.Indirect(reflect.ValueOf(v)).Interface())
		parts = append(parts, s[:min(len(s), 120)])
	}
	return strings.Join(parts, " ")
}

// invalid demands a ValidationException. The SDK has no type for it: it is told by its code.
func invalid(c *T, err error) {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "ValidationException" {
		c.Errorf("got error %v, want ValidationException", err)
	}
}

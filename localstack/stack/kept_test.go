package stack_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// kept is a stack that keeps its data in a directory, and clients of it.
type kept struct {
	*stack.Stack
	tables *dynamodb.Client
	queues *sqs.Client
}

func open(t *testing.T, dir string) *kept {
	t.Helper()
	s, err := stack.Open(stack.Options{Data: dir})
	if err != nil {
		t.Fatal(err)
	}
	cfg := stacktest.Config(s)
	return &kept{s, dynamodb.NewFromConfig(cfg), sqs.NewFromConfig(cfg)}
}

func (k *kept) end(t *testing.T) {
	t.Helper()
	k.Close()
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
}

func (k *kept) makeTable(t *testing.T) {
	t.Helper()
	_, err := k.tables.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String("table"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("PK"), AttributeType: "S"}, {AttributeName: aws.String("other"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("PK"), KeyType: "HASH"}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("index"), Projection: &types.Projection{ProjectionType: "KEYS_ONLY"},
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("other"), KeyType: "HASH"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// As soon as a call is answered, the file has what it did: a copy of the file is what a killed process leaves.
func TestAnswersAreInTheFile(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir)
	defer k.end(t)
	k.makeTable(t)
	made, err := k.queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("queue")})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 15 {
		name := fmt.Sprint(i)
		copied := func() *kept {
			b, err := os.ReadFile(filepath.Join(dir, "localstack.db"))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "localstack.db"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			return open(t, dir)
		}
		if _, err := k.tables.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("table"), Item: map[string]types.AttributeValue{"PK": str(name)}}); err != nil {
			t.Fatal(err)
		}
		c := copied()
		out, err := c.tables.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("table"), Key: map[string]types.AttributeValue{"PK": str(name)}})
		if err != nil || out.Item == nil {
			t.Fatalf("item %s was answered and is not kept: %v", name, err)
		}
		c.end(t)
		if _, err := k.queues.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: made.QueueUrl, MessageBody: &name}); err != nil {
			t.Fatal(err)
		}
		c = copied()
		received, err := c.queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: made.QueueUrl})
		if err != nil || len(received.Messages) != 1 || *received.Messages[0].Body != name {
			t.Fatalf("message %s was answered and is not kept: %+v, %v", name, received, err)
		}
		c.end(t)
		if received, err = k.queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: made.QueueUrl}); err != nil || len(received.Messages) != 1 {
			t.Fatalf("receive: %+v, %v", received, err)
		}
		if _, err := k.queues.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: made.QueueUrl, ReceiptHandle: received.Messages[0].ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
		c = copied()
		if s := c.Status().Queues[0]; s.Visible+s.InFlight+s.Delayed != 0 {
			t.Fatalf("message %s was deleted and is kept: %+v", name, s)
		}
		c.end(t)
	}
}

// Everything about queues and tables is as it was, when they are restored.
func TestEverythingIsKept(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir)
	k.makeTable(t)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for i := range 30 {
		_, err := k.tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("table"), Item: map[string]types.AttributeValue{"PK": str(fmt.Sprint(i % 20)), "other": str(fmt.Sprint(i % 3)), "i": str(fmt.Sprint(i))}})
		do(err)
	}
	_, err := k.tables.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String("table"), Key: map[string]types.AttributeValue{"PK": str("7")}})
	do(err)
	_, err = k.tables.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: aws.String("table"), TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("ttl"), Enabled: aws.Bool(true)}})
	do(err)

	create := func(name string, attributes map[string]string) *string {
		out, err := k.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		do(err)
		return out.QueueUrl
	}
	send := func(url *string, body string, change func(*sqs.SendMessageInput)) *sqs.SendMessageOutput {
		in := &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}
		if change != nil {
			change(in)
		}
		out, err := k.queues.SendMessage(ctx, in)
		do(err)
		return out
	}
	create("dead", nil)
	plain := create("plain", map[string]string{"VisibilityTimeout": "0", "RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"1"}`})
	fifo := create("ordered.fifo", map[string]string{"FifoQueue": "true", "VisibilityTimeout": "0"})
	gone := create("gone", nil)
	send(gone, "gone", nil)
	_, err = k.queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: gone})
	do(err)
	send(plain, "letter", nil)
	for range 2 { // the second one moves it
		_, err := k.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: plain})
		do(err)
	}
	send(plain, "late", func(in *sqs.SendMessageInput) { in.DelaySeconds = 900 })
	send(plain, "first", func(in *sqs.SendMessageInput) {
		in.MessageAttributes = map[string]sqstypes.MessageAttributeValue{"a": {DataType: aws.String("String"), StringValue: aws.String("x")}}
	})
	send(plain, "second", nil)
	taken, err := k.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: plain, VisibilityTimeout: 600})
	do(err)
	inGroup := func(in *sqs.SendMessageInput) {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String("g"), in.MessageBody
	}
	sent := send(fifo, "one", inGroup)
	send(fifo, "two", inGroup)
	_, err = k.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: fifo})
	do(err)

	describe := func() []any {
		table, err := k.tables.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("table")})
		do(err)
		ttl, err := k.tables.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: aws.String("table")})
		do(err)
		items, err := k.tables.Scan(ctx, &dynamodb.ScanInput{TableName: aws.String("table")})
		do(err)
		index, err := k.tables.Scan(ctx, &dynamodb.ScanInput{TableName: aws.String("table"), IndexName: aws.String("index")})
		do(err)
		status := k.Status()
		status.Tables[0].Partitions = 0 // an empty one isn't kept
		all := []any{*table.Table, *ttl.TimeToLiveDescription, items.Items, index.Items, status}
		for _, url := range []*string{plain, fifo} {
			attributes, err := k.queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
			do(err)
			all = append(all, attributes.Attributes)
		}
		return all
	}
	before := describe()
	for range 2 {
		k.end(t)
		k = open(t, dir)
		for i, after := range describe() {
			if !reflect.DeepEqual(after, before[i]) {
				t.Fatalf("restored: %+v\nwas: %+v", after, before[i])
			}
		}
	}
	again := send(fifo, "one", inGroup)
	if *again.MessageId != *sent.MessageId || *again.SequenceNumber != *sent.SequenceNumber {
		t.Errorf("a deduplication id is forgotten: %+v, was %+v", again, sent)
	}
	if more := send(fifo, "three", inGroup); *more.SequenceNumber <= *sent.SequenceNumber {
		t.Errorf("sequence number %s after %s", *more.SequenceNumber, *sent.SequenceNumber)
	}
	group, err := k.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: fifo, MaxNumberOfMessages: 10, MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"}})
	do(err)
	if len(group.Messages) != 3 || *group.Messages[0].Body != "one" || *group.Messages[2].Body != "three" || group.Messages[0].Attributes["ApproximateReceiveCount"] != "2" {
		t.Errorf("the group is %+v", group.Messages)
	}
	_, err = k.queues.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: plain, ReceiptHandle: taken.Messages[0].ReceiptHandle, VisibilityTimeout: 0})
	do(err)
	rest, err := k.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: plain, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}})
	do(err)
	if len(rest.Messages) != 1 || *rest.Messages[0].Body != "second" { // what was given back is received too often
		t.Errorf("the standard queue has %+v", rest.Messages)
	}
	k.end(t)
}

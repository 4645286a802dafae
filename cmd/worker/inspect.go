package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/limits"
	"tributary/internal/aws/queues"
	"tributary/internal/table"
)

// queueFacts are what the worker must know of a queue before it receives from it.
type queueFacts struct {
	url         string
	visibility  time.Duration
	maxReceives int // 0: no redrive policy
	mostBytes   int // of a message
}

func inspectQueue(ctx context.Context, client *sqs.Client, nameOrURL string) (queueFacts, error) {
	url, err := queues.URL(ctx, client, nameOrURL)
	if err != nil {
		return queueFacts{}, suggestSetup(err)
	}
	out, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url,
		AttributeNames: []sqstypes.QueueAttributeName{
			sqstypes.QueueAttributeNameVisibilityTimeout, sqstypes.QueueAttributeNameRedrivePolicy, sqstypes.QueueAttributeNameMaximumMessageSize,
		},
	})
	if err != nil {
		return queueFacts{}, suggestSetup(queues.Wrap(nameOrURL, fmt.Errorf("read the attributes of queue %s: %w", nameOrURL, err)))
	}
	f := queueFacts{url: url, visibility: 30 * time.Second, mostBytes: limits.SQSMessageBytes}
	if n, err := strconv.Atoi(out.Attributes["VisibilityTimeout"]); err == nil {
		f.visibility = time.Duration(n) * time.Second
	}
	if n, err := strconv.Atoi(out.Attributes["MaximumMessageSize"]); err == nil {
		f.mostBytes = min(n, f.mostBytes)
	}
	if policy := out.Attributes["RedrivePolicy"]; policy != "" {
		var redrive struct {
			MaxReceiveCount json.Number `json:"maxReceiveCount"`
		}
		if err := json.Unmarshal([]byte(policy), &redrive); err == nil {
			n, _ := redrive.MaxReceiveCount.Int64()
			f.maxReceives = int(n)
		}
	}
	return f, nil
}

// inspectTable refuses a table whose keys are not the design's: every write would be refused as invalid, and good
// commands would end as dead letters.
func inspectTable(ctx context.Context, client *dynamodb.Client, name string) error {
	out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
	if _, missing := errors.AsType[*ddbtypes.ResourceNotFoundException](err); missing {
		return suggestSetup(fmt.Errorf("table %s does not exist, or these credentials may not see it", name))
	}
	if err != nil {
		return fmt.Errorf("describe table %s: %w", name, err)
	}
	var keys []string
	for _, k := range out.Table.KeySchema {
		keys = append(keys, aws.ToString(k.AttributeName)+" "+string(k.KeyType))
	}
	want := []string{table.PKAttribute + " HASH", table.SKAttribute + " RANGE"}
	if !slices.Equal(keys, want) {
		return fmt.Errorf("table %s has the keys %v: the worker writes to tables with the keys %v", name, keys, want)
	}
	return nil
}

func suggestSetup(err error) error { return fmt.Errorf("%w (`worker setup` makes it)", err) }

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// loops is how many goroutines the bare loop has: as many as the worker has writers.
const loops = 64

// order is a command as the bare loop reads it.
type order struct {
	TenantID string `json:"tenant_id"`
	OrderID  string `json:"order_id"`
	UserID   string `json:"user_id"`
	Amount   string `json:"order_amount"`
}

// bare moves messages from the queue to the table with the SDK's clients and nothing else: nothing is checked, ordered,
// retried or measured, and batches are full because every goroutine gathers fifty messages: two full writes and five
// full deletes. It is the least that a worker on the SDK costs.
func bare(ctx context.Context, endpoint string, messages int) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.DisableCompression = 0, 4*loops, true
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("load", "load", ""),
	}
	b := bareLoop{queue: sqs.NewFromConfig(cfg), table: dynamodb.NewFromConfig(cfg), url: endpoint + queuePath}
	told := ctx // to stop: that is no failure
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var moved atomic.Int64
	var all sync.WaitGroup
	for range loops {
		all.Go(func() {
			for ctx.Err() == nil && moved.Load() < int64(messages) {
				n, err := b.round(ctx)
				if err != nil {
					fail(err)
				}
				moved.Add(int64(n))
			}
		})
	}
	all.Wait()
	if told.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

type bareLoop struct {
	queue *sqs.Client
	table *dynamodb.Client
	url   string
}

// round moves up to fifty messages and returns how many.
func (b *bareLoop) round(ctx context.Context) (int, error) {
	var entries []sqstypes.DeleteMessageBatchRequestEntry
	var writes []types.WriteRequest
	for range 5 {
		out, err := b.queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &b.url, MaxNumberOfMessages: 10})
		if err != nil {
			return 0, fmt.Errorf("receive: %w", err)
		}
		if len(out.Messages) == 0 {
			break
		}
		for _, m := range out.Messages {
			id := strconv.Itoa(len(entries) % 10)
			entries = append(entries, sqstypes.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: m.ReceiptHandle})
			orders := make([]order, 1)
			var into any = &orders[0]
			if (*m.Body)[0] == '[' {
				into = &orders
			}
			if err := json.Unmarshal([]byte(*m.Body), into); err != nil {
				return 0, fmt.Errorf("decode: %w", err)
			}
			for i := range orders {
				writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: orders[i].item()}})
			}
		}
	}
	for rest := writes; len(rest) > 0; {
		n := min(25, len(rest))
		if _, err := b.table.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{tableName: rest[:n]}}); err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
		rest = rest[n:]
	}
	for rest := entries; len(rest) > 0; {
		n := min(10, len(rest))
		if _, err := b.queue.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &b.url, Entries: rest[:n]}); err != nil {
			return 0, fmt.Errorf("delete: %w", err)
		}
		rest = rest[n:]
	}
	return len(entries), nil
}

func (o *order) item() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"PK":           &types.AttributeValueMemberS{Value: "tenant#" + o.TenantID},
		"SK":           &types.AttributeValueMemberS{Value: "order#" + o.OrderID},
		"order_id":     &types.AttributeValueMemberS{Value: o.OrderID},
		"user_id":      &types.AttributeValueMemberS{Value: o.UserID},
		"order_amount": &types.AttributeValueMemberN{Value: o.Amount},
	}
}

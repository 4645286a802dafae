package awsjson

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/consumer"
)

// DeadLetters sends to one dead-letter queue, through the SDK: letters are few. It implements
// consumer.DeadLetterQueue.
type DeadLetters struct {
	Client *sqs.Client
	URL    string
	FIFO   bool
}

// entryFaults are the codes with which SQS refuses a whole call because of one entry ("SendMessageBatch").
var entryFaults = []string{
	"InvalidMessageContents", "InvalidParameterValue", "BatchRequestTooLong",
	"AWS.SimpleQueueService.BatchRequestTooLong", "InvalidAttributeValue",
}

// Send implements consumer.DeadLetterQueue by SendMessageBatch.
func (q *DeadLetters) Send(ctx context.Context, letters []consumer.Letter) ([]consumer.Failure, error) {
	entries := make([]types.SendMessageBatchRequestEntry, len(letters))
	for i, l := range letters {
		e := types.SendMessageBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), MessageBody: &l.Body,
			MessageAttributes: make(map[string]types.MessageAttributeValue, len(l.Attributes)),
		}
		for name, value := range l.Attributes {
			e.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
		}
		for _, a := range l.Others {
			value := types.MessageAttributeValue{DataType: aws.String(a.Type)}
			if value.BinaryValue = a.Binary; a.Binary == nil {
				value.StringValue = aws.String(a.Text)
			}
			e.MessageAttributes[a.Name] = value
		}
		if l.TraceHeader != "" {
			e.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{
				string(types.MessageSystemAttributeNameForSendsAWSTraceHeader): {DataType: aws.String("String"), StringValue: aws.String(l.TraceHeader)},
			}
		}
		if q.FIFO {
			e.MessageGroupId, e.MessageDeduplicationId = aws.String(l.GroupID), aws.String(l.DeduplicationID)
		}
		entries[i] = e
	}
	// The SDK checks the MD5 sums of the answer. A wrong sum of one letter would fail the whole call.
	out, err := q.Client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &q.URL, Entries: entries},
		func(o *sqs.Options) { o.DisableMessageChecksumValidation = true })
	if refusal, ok := errors.AsType[smithy.APIError](err); ok && len(letters) == 1 && slices.Contains(entryFaults, refusal.ErrorCode()) {
		return []consumer.Failure{{Index: 0, Code: refusal.ErrorCode(), Final: true}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("send dead letters: %w", err)
	}
	mentioned := make([]bool, len(letters))
	index := func(id *string) (int, error) {
		i, err := strconv.Atoi(aws.ToString(id))
		if err != nil || i < 0 || i >= len(letters) {
			return 0, fmt.Errorf("send dead letters: SQS names an entry %q that was not sent", aws.ToString(id))
		}
		mentioned[i] = true
		return i, nil
	}
	// A letter counts as sent only if SQS lists it as successful, because its source message is deleted then.
	for _, s := range out.Successful {
		if _, err := index(s.Id); err != nil {
			return nil, err
		}
	}
	failures := make([]consumer.Failure, 0, len(out.Failed))
	for _, f := range out.Failed {
		i, err := index(f.Id)
		if err != nil {
			return nil, err
		}
		failures = append(failures, consumer.Failure{Index: i, Code: aws.ToString(f.Code), Final: f.SenderFault})
	}
	for i, known := range mentioned {
		if !known {
			failures = append(failures, consumer.Failure{Index: i, Code: NoAnswer})
		}
	}
	return failures, nil
}

package awsjson

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/consumer"
)

// DeadLetters sends to one dead-letter queue, through the SDK: letters are few. It implements
// consumer.DeadLetterQueue.
type DeadLetters struct {
	Client *sqs.Client
	URL    string
	FIFO   bool
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
		if q.FIFO {
			e.MessageGroupId, e.MessageDeduplicationId = aws.String(l.GroupID), aws.String(l.DeduplicationID)
		}
		entries[i] = e
	}
	out, err := q.Client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &q.URL, Entries: entries}, func(o *sqs.Options) {
		// The SDK would fail the whole call for one entry's checksum, although SQS has taken all of them.
		o.DisableMessageChecksumValidation = true
	})
	if err != nil {
		return nil, fmt.Errorf("send dead letters: %w", err)
	}
	told := make([]bool, len(letters))
	index := func(id *string) (int, error) {
		i, err := strconv.Atoi(aws.ToString(id))
		if err != nil || i < 0 || i >= len(letters) {
			return 0, fmt.Errorf("send dead letters: SQS names an entry %q that was not sent", aws.ToString(id))
		}
		told[i] = true
		return i, nil
	}
	// Only what SQS says that it accepted is accepted: the message that a letter comes from is deleted then.
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
	for i, known := range told {
		if !known {
			failures = append(failures, consumer.Failure{Index: i, Code: NoAnswer})
		}
	}
	return failures, nil
}

package conformance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/limits"
)

// SQS holds an endpoint to what Tributary relies on of SQS.
func SQS(t *testing.T, client *sqs.Client, backend Backend) { runCases(t, client, backend, sqsCases) }

// slack is how early or late a backend's clock may be: they count in whole or part seconds, and the machine is busy.
const slack = 100 * time.Millisecond

var sqsCases = []testCase[*sqs.Client]{
	{name: "a long poll is woken by an arrival", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		start := time.Now()
		sent := make(chan error, 1)
		time.AfterFunc(300*time.Millisecond, func() {
			_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("wake")})
			sent <- err
		})
		got := q.receive(c, receive{wait: 10})
		c.must(<-sent, "send")
		if took := time.Since(start); len(got) != 1 || took > 8*time.Second {
			c.Errorf("got %d messages after %v: want 1 soon after 300ms", len(got), took)
		}
	}},
	{name: "a long poll is woken when a message becomes visible again", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "1"})
		q.send(c, "again")
		start := time.Now() // the timeout begins within the first receive
		q.receiveOne(c, receive{})
		got := q.receive(c, receive{wait: 10})
		if took := time.Since(start); len(got) != 1 || took < time.Second-slack || took > 8*time.Second {
			c.Errorf("got %d messages after %v: want 1 after about 1s", len(got), took)
		}
	}},
	{name: "an empty long poll keeps its wait time", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		start := time.Now()
		got := q.receive(c, receive{wait: 1})
		if took := time.Since(start); len(got) != 0 || took < time.Second-slack || took > 8*time.Second {
			c.Errorf("got %d messages after %v: want none after 1s", len(got), took)
		}
	}},
	{name: "the queue's wait time holds where the call names none", run: func(c *T, client *sqs.Client) {
		// The Go SDK leaves WaitTimeSeconds out when it is 0: it can't ask for a short poll on such a queue.
		q := newQueue(c, client, map[string]string{"ReceiveMessageWaitTimeSeconds": "1"})
		start := time.Now()
		q.receive(c, receive{})
		if took := time.Since(start); took < time.Second-slack || took > 8*time.Second {
			c.Errorf("took %v: want 1s", took)
		}
	}},
	{name: "a message taken by an abandoned long poll comes back", run: func(c *T, client *sqs.Client) {
		// AWS may give a message to a poll whose client has gone. It must not be lost by that.
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "1"})
		ctx, cancel := context.WithTimeout(c, 200*time.Millisecond)
		_, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, WaitTimeSeconds: 10})
		cancel()
		if err == nil {
			c.Errorf("an abandoned long poll returned no error")
		}
		q.send(c, "kept")
		q.receiveOne(c, receive{wait: 5})
	}},
	{name: "a received message is invisible, then comes back with a higher receive count", run: func(c *T, client *sqs.Client) {
		// It is given back: that a timeout's end does the same is what the long poll above shows.
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "30"})
		id := q.send(c, "body")
		first := q.receiveOne(c, receive{})
		if got := q.receive(c, receive{}); len(got) != 0 {
			c.Errorf("received again while invisible")
		}
		q.giveBack(c, first)
		second := q.receiveOne(c, receive{wait: 5})
		if *second.MessageId != id || *second.Body != "body" {
			c.Errorf("got message %s %q, want %s", *second.MessageId, *second.Body, id)
		}
		if a, b := receiveCount(c, first), receiveCount(c, second); a != 1 || b != 2 {
			c.Errorf("receive counts are %d and %d, want 1 and 2", a, b)
		}
		if *first.ReceiptHandle == *second.ReceiptHandle {
			c.Errorf("both receives have one receipt handle")
		}
	}},
	{name: "a receive's own visibility timeout goes before the queue's", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "30"})
		q.send(c, "body")
		q.receiveOne(c, receive{visibility: 1})
		q.receiveOne(c, receive{wait: 5})
	}},
	{name: "visibility 0 gives a message back at once, and counts", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		q.send(c, "body")
		for want := 1; want <= 3; want++ {
			m := q.receiveOne(c, receive{wait: 2})
			if n := receiveCount(c, m); n != want {
				c.Errorf("receive count is %d, want %d", n, want)
			}
			_, err := client.ChangeMessageVisibility(c, &sqs.ChangeMessageVisibilityInput{
				QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0})
			c.must(err, "change visibility")
		}
	}},
	{name: "visibility is extended, in a batch too", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "5"}) // time enough to extend it
		q.send(c, "one")
		q.send(c, "two")
		got := q.receiveAll(c, 2)
		_, err := client.ChangeMessageVisibility(c, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &q.url, ReceiptHandle: got[0].ReceiptHandle, VisibilityTimeout: 30})
		c.must(err, "change visibility")
		out, err := client.ChangeMessageVisibilityBatch(c, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url,
			Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
				{Id: aws.String("a"), ReceiptHandle: got[1].ReceiptHandle, VisibilityTimeout: 30},
				{Id: aws.String("b"), ReceiptHandle: aws.String("nonsense"), VisibilityTimeout: 30},
			}})
		c.must(err, "change visibility of a batch")
		if len(out.Successful) != 1 || *out.Successful[0].Id != "a" || len(out.Failed) != 1 || *out.Failed[0].Id != "b" {
			c.Errorf("got %d successful and %d failed entries, want a and b", len(out.Successful), len(out.Failed))
		}
		if again := q.receive(c, receive{wait: 6}); len(again) != 0 {
			c.Errorf("%d messages came back in spite of their extension", len(again))
		}
	}},
	{name: "visibility over 12 hours is refused", deviates: deviations{
		ElasticMQ: "accepts it",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		q.send(c, "body")
		m := q.receiveOne(c, receive{})
		_, err := client.ChangeMessageVisibility(c, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: int32(limits.SQSMaxVisibility/time.Second) + 1})
		refused(c, err)
	}},
	{name: "a message that is not in flight has no visibility to change", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		q.send(c, "body")
		m := q.receiveOne(c, receive{})
		_, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle})
		c.must(err, "delete")
		_, err = client.ChangeMessageVisibility(c, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 10})
		refused(c, err)
	}},
	{name: "a receive brings its system attributes", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		before := time.Now()
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"),
			MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
				"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1-5759e988-bd862e3fe1be46a994272793")}}})
		c.must(err, "send")
		m := q.receiveOne(c, receive{})
		for _, name := range []string{"SentTimestamp", "ApproximateFirstReceiveTimestamp"} {
			ms, err := strconv.ParseInt(m.Attributes[name], 10, 64)
			if at := time.UnixMilli(ms); err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
				c.Errorf("%s is %q, want about now in epoch milliseconds", name, m.Attributes[name])
			}
		}
		if got := m.Attributes["AWSTraceHeader"]; got != "Root=1-5759e988-bd862e3fe1be46a994272793" {
			c.Errorf("AWSTraceHeader is %q", got)
		}
	}},
	{name: "message attributes come back as sent, with the right MD5", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		sent := map[string]types.MessageAttributeValue{
			"tenant_id": {DataType: aws.String("String"), StringValue: aws.String("tenantÄ")},
			"number":    {DataType: aws.String("Number"), StringValue: aws.String("12.50")},
			"custom":    {DataType: aws.String("String.kind"), StringValue: aws.String("x")},
			"binary":    {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}},
		}
		out, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"), MessageAttributes: sent})
		c.must(err, "send")
		want := attributesMD5(sent)
		if got := aws.ToString(out.MD5OfMessageAttributes); got != want {
			c.Errorf("MD5OfMessageAttributes is %q, want %q", got, want)
		}
		m := q.receiveOne(c, receive{})
		for name, a := range sent {
			got := m.MessageAttributes[name]
			if aws.ToString(got.DataType) != *a.DataType || aws.ToString(got.StringValue) != aws.ToString(a.StringValue) || !bytes.Equal(got.BinaryValue, a.BinaryValue) {
				c.Errorf("attribute %s came back as %q %q %v", name, aws.ToString(got.DataType), aws.ToString(got.StringValue), got.BinaryValue)
			}
		}
		if got := aws.ToString(m.MD5OfMessageAttributes); got != want {
			c.Errorf("received MD5OfMessageAttributes is %q, want %q", got, want)
		}
	}},
	{name: "a receive brings only the attributes it asks for", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"), MessageAttributes: stringAttributes(2)})
		c.must(err, "send")
		out, err := client.ReceiveMessage(c, &sqs.ReceiveMessageInput{QueueUrl: &q.url, MessageAttributeNames: []string{"a1"}})
		c.must(err, "receive")
		if len(out.Messages) != 1 || len(out.Messages[0].Attributes) != 0 || len(out.Messages[0].MessageAttributes) != 1 {
			c.Fatalf("got %+v, want one message with a1 alone", out.Messages)
		}
	}},
	{name: "after maxReceiveCount receives a message is in the dead-letter queue", run: func(c *T, client *sqs.Client) {
		dlq := newQueue(c, client, nil)
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "30", "RedrivePolicy": redrivePolicy(c, dlq, 2)})
		id := q.send(c, "poison")
		sentAt := q.receiveOne(c, receive{visibility: 1}).Attributes["SentTimestamp"]
		q.giveBack(c, q.receiveOne(c, receive{wait: 5}))
		if got := q.receive(c, receive{wait: 1}); len(got) != 0 {
			c.Errorf("received a third time")
		}
		m := dlq.receiveOne(c, receive{wait: 5})
		if *m.MessageId != id || *m.Body != "poison" {
			c.Errorf("the dead-letter queue has %s %q, want %s", *m.MessageId, *m.Body, id)
		}
		if m.Attributes["SentTimestamp"] != sentAt {
			c.Errorf("SentTimestamp became %s, want %s as before the move", m.Attributes["SentTimestamp"], sentAt)
		}
	}},
	{name: "a redriven message names the queue that it comes from", run: func(c *T, client *sqs.Client) {
		dlq := newQueue(c, client, nil)
		q := newQueue(c, client, map[string]string{"RedrivePolicy": redrivePolicy(c, dlq, 1)})
		q.send(c, "poison")
		q.giveBack(c, q.receiveOne(c, receive{}))
		q.receive(c, receive{})
		if m := dlq.receiveOne(c, receive{wait: 2}); m.Attributes["DeadLetterQueueSourceArn"] != q.arn(c) {
			c.Errorf("DeadLetterQueueSourceArn is %q, want %q", m.Attributes["DeadLetterQueueSourceArn"], q.arn(c))
		}
	}},
	{name: "a deleted message does not come back", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "1"})
		q.send(c, "body")
		m := q.receiveOne(c, receive{})
		_, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle})
		c.must(err, "delete")
		if got := q.receive(c, receive{wait: 2}); len(got) != 0 {
			c.Errorf("it came back")
		}
	}},
	{name: "deleting twice succeeds", deviates: deviations{
		ElasticMQ: "answers ReceiptHandleIsInvalid to the second delete",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		q.send(c, "body")
		m := q.receiveOne(c, receive{})
		for range 2 {
			if _, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				c.Errorf("delete: %v", err)
			}
			out, err := client.DeleteMessageBatch(c, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url,
				Entries: []types.DeleteMessageBatchRequestEntry{{Id: aws.String("a"), ReceiptHandle: m.ReceiptHandle}}})
			if err != nil || len(out.Failed) > 0 {
				c.Errorf("delete in a batch: %v, %d failed", err, len(out.Failed))
			}
		}
	}},
	{name: "deleting by the handle of an earlier receive succeeds", deviates: deviations{
		ElasticMQ: "answers ReceiptHandleIsInvalid",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		q.send(c, "body")
		old := q.receiveOne(c, receive{})
		q.giveBack(c, old)
		q.receiveOne(c, receive{wait: 2})
		if _, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: old.ReceiptHandle}); err != nil {
			c.Errorf("delete: %v", err)
		}
	}},
	{name: "a handle that is none is ReceiptHandleIsInvalid", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: aws.String("nonsense")})
		typed[*types.ReceiptHandleIsInvalid](c, err)
		_, err = client.ChangeMessageVisibility(c, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &q.url, ReceiptHandle: aws.String("nonsense"), VisibilityTimeout: 1})
		typed[*types.ReceiptHandleIsInvalid](c, err)
	}},
	{name: "a bad handle fails alone in a batch of deletes", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		q.send(c, "body")
		m := q.receiveOne(c, receive{})
		out, err := client.DeleteMessageBatch(c, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url,
			Entries: []types.DeleteMessageBatchRequestEntry{
				{Id: aws.String("bad"), ReceiptHandle: aws.String("nonsense")},
				{Id: aws.String("good"), ReceiptHandle: m.ReceiptHandle},
			}})
		c.must(err, "delete a batch")
		if len(out.Successful) != 1 || *out.Successful[0].Id != "good" {
			c.Errorf("%d entries succeeded, want good alone", len(out.Successful))
		}
		if len(out.Failed) != 1 || *out.Failed[0].Id != "bad" || !out.Failed[0].SenderFault || aws.ToString(out.Failed[0].Code) != "ReceiptHandleIsInvalid" {
			c.Errorf("failed entries are %v, want bad alone, with code ReceiptHandleIsInvalid, by the sender's fault", failedEntries(out.Failed))
		}
	}},
	{name: "a batch of more than 10 is TooManyEntriesInBatchRequest", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := q.sendBatch(c, slices.Repeat([]string{"body"}, limits.SQSBatchEntries+1)...)
		typed[*types.TooManyEntriesInBatchRequest](c, err)
		out, err := q.sendBatch(c, slices.Repeat([]string{"body"}, limits.SQSBatchEntries)...)
		c.must(err, "send 10")
		if len(out.Successful) != limits.SQSBatchEntries {
			c.Errorf("%d entries of 10 succeeded", len(out.Successful))
		}
		// All ten are there, and one receive brings ten at most.
		q.receiveAll(c, limits.SQSBatchEntries)
	}},
	{name: "an empty batch is EmptyBatchRequest", deviates: deviations{
		ElasticMQ: "accepts it",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessageBatch(c, &sqs.SendMessageBatchInput{QueueUrl: &q.url, Entries: []types.SendMessageBatchRequestEntry{}})
		typed[*types.EmptyBatchRequest](c, err)
		_, err = client.DeleteMessageBatch(c, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: []types.DeleteMessageBatchRequestEntry{}})
		typed[*types.EmptyBatchRequest](c, err)
	}},
	{name: "two entries with one id are BatchEntryIdsNotDistinct", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		entry := types.SendMessageBatchRequestEntry{Id: aws.String("same"), MessageBody: aws.String("body")}
		_, err := client.SendMessageBatch(c, &sqs.SendMessageBatchInput{QueueUrl: &q.url, Entries: []types.SendMessageBatchRequestEntry{entry, entry}})
		typed[*types.BatchEntryIdsNotDistinct](c, err)
	}},
	{name: "an entry id with other characters is InvalidBatchEntryId", deviates: deviations{
		ElasticMQ: "accepts it",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessageBatch(c, &sqs.SendMessageBatchInput{QueueUrl: &q.url,
			Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("a b/c"), MessageBody: aws.String("body")}}})
		typed[*types.InvalidBatchEntryId](c, err)
	}},
	{name: "a message of 1 MiB is accepted, one byte more is not", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String(strings.Repeat("x", limits.SQSMessageBytes+1))})
		refused(c, err)
		body := strings.Repeat("x", limits.SQSMessageBytes)
		q.send(c, body)
		if m := q.receiveOne(c, receive{}); *m.Body != body {
			c.Errorf("got %d bytes back", len(*m.Body))
		}
	}},
	{name: "attributes count towards a message's size", deviates: deviations{
		ElasticMQ: "counts the body alone",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		attributes := map[string]types.MessageAttributeValue{"n": {DataType: aws.String("String"), StringValue: aws.String("v")}}
		overhead := len("n") + len("String") + len("v")
		for over, accepted := range []bool{true, false} {
			_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageAttributes: attributes,
				MessageBody: aws.String(strings.Repeat("x", limits.SQSMessageBytes-overhead+over))})
			if accepted {
				c.must(err, "send 1 MiB of body and attributes")
			} else {
				refused(c, err)
			}
		}
	}},
	{name: "a batch over 1 MiB is BatchRequestTooLong", deviates: deviations{
		ElasticMQ: "answers InvalidAttributeValue",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		half := strings.Repeat("x", limits.SQSBatchBytes/2)
		_, err := q.sendBatch(c, half, half+"x")
		typed[*types.BatchRequestTooLong](c, err)
		if got := q.receive(c, receive{}); len(got) != 0 {
			c.Errorf("%d messages of it are there", len(got))
		}
	}},
	{name: "a queue's MaximumMessageSize holds", deviates: deviations{
		ElasticMQ: "ignores the attribute",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"MaximumMessageSize": "1024"})
		q.send(c, strings.Repeat("x", 1024))
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String(strings.Repeat("x", 1025))})
		refused(c, err)
	}},
	{name: "a body with a control character is InvalidMessageContents", deviates: deviations{
		ElasticMQ: "answers InvalidAttributeValue",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("a\u0001b")})
		typed[*types.InvalidMessageContents](c, err)
		q.send(c, "tab\tline\nreturn\r𝄞")
	}},
	{name: "an entry with a control character fails alone", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		out, err := q.sendBatch(c, "good", "a\u0001b")
		c.must(err, "send a batch")
		if len(out.Successful) != 1 || *out.Successful[0].Id != "e0" || len(out.Failed) != 1 || *out.Failed[0].Id != "e1" || !out.Failed[0].SenderFault {
			c.Errorf("got %d successful entries and failed %v, want e0 and e1", len(out.Successful), failedEntries(out.Failed))
		}
	}},
	{name: "an empty body is refused", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("")})
		refused(c, err)
	}},
	{name: "an attribute with an empty value is refused", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"),
			MessageAttributes: map[string]types.MessageAttributeValue{"detail": {DataType: aws.String("String"), StringValue: aws.String("")}}})
		refused(c, err)
	}},
	{name: "an attribute with a control character is refused", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"),
			MessageAttributes: map[string]types.MessageAttributeValue{"detail": {DataType: aws.String("String"), StringValue: aws.String("a\u0001b")}}})
		refused(c, err)
	}},
	{name: "ten attributes are accepted, eleven are not", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"), MessageAttributes: stringAttributes(limits.SQSMessageAttributes)})
		c.must(err, "send with 10 attributes")
		_, err = client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"), MessageAttributes: stringAttributes(limits.SQSMessageAttributes + 1)})
		refused(c, err)
	}},
	{name: "a receive of more than 10 is refused", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := client.ReceiveMessage(c, &sqs.ReceiveMessageInput{QueueUrl: &q.url, MaxNumberOfMessages: limits.SQSBatchEntries + 1})
		refused(c, err)
		_, err = client.ReceiveMessage(c, &sqs.ReceiveMessageInput{QueueUrl: &q.url, WaitTimeSeconds: int32(limits.SQSMaxLongPoll/time.Second) + 1})
		refused(c, err)
	}},
	{name: "a queue that is not there is QueueDoesNotExist", run: func(c *T, client *sqs.Client) {
		_, err := client.GetQueueUrl(c, &sqs.GetQueueUrlInput{QueueName: aws.String(unique())})
		typed[*types.QueueDoesNotExist](c, err)
		q := newQueue(c, client, nil)
		gone := q.url + "x"
		_, err = client.ReceiveMessage(c, &sqs.ReceiveMessageInput{QueueUrl: &gone})
		typed[*types.QueueDoesNotExist](c, err)
		_, err = client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &gone, MessageBody: aws.String("body")})
		typed[*types.QueueDoesNotExist](c, err)
	}},
	{name: "creating a queue again succeeds with the same attributes alone", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "7"})
		out, err := client.CreateQueue(c, &sqs.CreateQueueInput{QueueName: &q.name, Attributes: map[string]string{"VisibilityTimeout": "7"}})
		c.must(err, "create again")
		if *out.QueueUrl != q.url {
			c.Errorf("the URL is %s, was %s", *out.QueueUrl, q.url)
		}
		_, err = client.CreateQueue(c, &sqs.CreateQueueInput{QueueName: &q.name, Attributes: map[string]string{"VisibilityTimeout": "8"}})
		typed[*types.QueueNameExists](c, err)
	}},
	{name: "queue attributes are set and read", run: func(c *T, client *sqs.Client) {
		dlq := newQueue(c, client, nil)
		policy := redrivePolicy(c, dlq, 100)
		q := newQueue(c, client, map[string]string{"VisibilityTimeout": "60", "MessageRetentionPeriod": "1209600"})
		_, err := client.SetQueueAttributes(c, &sqs.SetQueueAttributesInput{QueueUrl: &q.url,
			Attributes: map[string]string{"RedrivePolicy": policy, "ReceiveMessageWaitTimeSeconds": "20"}})
		c.must(err, "set attributes")
		got := q.attributes(c, types.QueueAttributeNameAll)
		for name, want := range map[string]string{"VisibilityTimeout": "60", "ReceiveMessageWaitTimeSeconds": "20"} {
			if got[name] != want {
				c.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		var have struct {
			Target string          `json:"deadLetterTargetArn"`
			Count  json.RawMessage `json:"maxReceiveCount"` // AWS gives a number, and takes a string too
		}
		if err := json.Unmarshal([]byte(got["RedrivePolicy"]), &have); err != nil || have.Target != dlq.arn(c) || strings.Trim(string(have.Count), `"`) != "100" {
			c.Errorf("RedrivePolicy is %q, want %q", got["RedrivePolicy"], policy)
		}
	}},
	{name: "MessageRetentionPeriod is kept", deviates: deviations{
		ElasticMQ: "does not know the attribute",
	}, run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"MessageRetentionPeriod": "1209600"})
		if got := q.attributes(c, types.QueueAttributeNameAll)["MessageRetentionPeriod"]; got != "1209600" {
			c.Errorf("MessageRetentionPeriod is %q, want 1209600", got)
		}
	}},
	{name: "a dead-letter queue can be kept to its own queue", deviates: deviations{
		ElasticMQ: "does not know RedriveAllowPolicy: InvalidAttributeName",
	}, run: func(c *T, client *sqs.Client) {
		dlq := newQueue(c, client, nil)
		q := newQueue(c, client, map[string]string{"RedrivePolicy": redrivePolicy(c, dlq, 100)})
		policy := fmt.Sprintf(`{"redrivePermission":"byQueue","sourceQueueArns":[%q]}`, q.arn(c))
		_, err := client.SetQueueAttributes(c, &sqs.SetQueueAttributesInput{QueueUrl: &dlq.url, Attributes: map[string]string{"RedriveAllowPolicy": policy}})
		c.must(err, "set RedriveAllowPolicy")
		if got := dlq.attributes(c, types.QueueAttributeNameAll)["RedriveAllowPolicy"]; got == "" {
			c.Errorf("RedriveAllowPolicy is not kept")
		}
	}},
	{name: "counts tell visible, invisible and delayed messages", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := q.sendBatch(c, "1", "2", "3")
		c.must(err, "send")
		_, err = client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("later"), DelaySeconds: 30})
		c.must(err, "send delayed")
		q.receiveOne(c, receive{})
		got := q.attributes(c, types.QueueAttributeNameAll)
		for name, want := range map[string]string{
			"ApproximateNumberOfMessages": "2", "ApproximateNumberOfMessagesNotVisible": "1", "ApproximateNumberOfMessagesDelayed": "1",
		} {
			if got[name] != want {
				c.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
	}},
	{name: "a delayed message comes after its delay", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		start := time.Now()
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("later"), DelaySeconds: 1})
		c.must(err, "send")
		q.receiveOne(c, receive{wait: 10})
		if took := time.Since(start); took < time.Second-slack || took > 8*time.Second {
			c.Errorf("it came after %v, want 1s", took)
		}
	}},
	{name: "a purged queue is empty", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		_, err := q.sendBatch(c, "1", "2", "3")
		c.must(err, "send")
		_, err = client.PurgeQueue(c, &sqs.PurgeQueueInput{QueueUrl: &q.url})
		c.must(err, "purge")
		if got := q.receive(c, receive{wait: 1}); len(got) != 0 {
			c.Errorf("%d messages are left", len(got))
		}
	}},
	{name: "queues are listed by prefix", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		newQueue(c, client, nil)
		out, err := client.ListQueues(c, &sqs.ListQueuesInput{QueueNamePrefix: &q.name})
		c.must(err, "list queues")
		if !slices.Equal(out.QueueUrls, []string{q.url}) {
			c.Errorf("got %v, want %s alone", out.QueueUrls, q.url)
		}
	}},
	{name: "a standard queue takes message groups (fair queues)", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, nil)
		for range 2 {
			_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"), MessageGroupId: aws.String("tenant@1")})
			c.must(err, "send")
		}
		// A group blocks nothing on a standard queue.
		for _, m := range q.receiveAll(c, 2) {
			if got := m.Attributes["MessageGroupId"]; got != "tenant@1" {
				c.Errorf("MessageGroupId is %q", got)
			}
		}
	}},

	{name: "FIFO keeps a group's order", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		for i := range 5 {
			q.sendFIFO(c, "g", fmt.Sprint("d", i), fmt.Sprint(i))
		}
		var got []string
		for len(got) < 5 {
			for _, m := range q.receiveSome(c, receive{wait: 2, max: 2}) {
				got = append(got, *m.Body)
				_, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle})
				c.must(err, "delete")
			}
		}
		if want := []string{"0", "1", "2", "3", "4"}; !slices.Equal(got, want) {
			c.Errorf("got %v, want %v", got, want)
		}
	}},
	{name: "FIFO blocks a group while one of its messages is in flight, and no other", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		q.sendFIFO(c, "a", "1", "a1")
		q.sendFIFO(c, "a", "2", "a2")
		first := q.receiveOne(c, receive{})
		q.sendFIFO(c, "b", "3", "b1")
		if m := q.receiveOne(c, receive{wait: 2}); *m.Body != "b1" {
			c.Errorf("got %s while a1 is in flight, want b1", *m.Body)
		}
		if got := q.receive(c, receive{}); len(got) != 0 {
			c.Errorf("got %s while both groups are in flight", *got[0].Body)
		}
		_, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: first.ReceiptHandle})
		c.must(err, "delete")
		if m := q.receiveOne(c, receive{wait: 2}); *m.Body != "a2" {
			c.Errorf("got %s after a1 was deleted, want a2", *m.Body)
		}
	}},
	{name: "FIFO gives one receive several messages of a group, in order", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		for i := range 4 {
			q.sendFIFO(c, "g", fmt.Sprint(i), fmt.Sprint(i))
		}
		var got []string
		for _, m := range q.receiveSome(c, receive{}) {
			got = append(got, *m.Body)
		}
		if !slices.Equal(got, []string{"0", "1", "2", "3"}) {
			c.Errorf("got %v, want 0 1 2 3", got)
		}
	}},
	{name: "FIFO gives back a message at the head of its group", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		q.sendFIFO(c, "g", "1", "first")
		q.sendFIFO(c, "g", "2", "second")
		m := q.receiveOne(c, receive{})
		q.giveBack(c, m)
		if again := q.receiveOne(c, receive{wait: 2}); *again.Body != "first" {
			c.Errorf("got %s, want first", *again.Body)
		}
	}},
	{name: "FIFO drops a duplicate, even of a deleted message", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		first := q.sendFIFO(c, "g", "same", "body")
		m := q.receiveOne(c, receive{})
		_, err := client.DeleteMessage(c, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle})
		c.must(err, "delete")
		second := q.sendFIFO(c, "g", "same", "body")
		if *first.MessageId != *second.MessageId {
			c.Errorf("the duplicate has a message id of its own")
		}
		if got := q.receive(c, receive{wait: 1}); len(got) != 0 {
			c.Errorf("the duplicate was delivered")
		}
	}},
	{name: "FIFO deduplicates by content where the queue says so", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"})
		for _, body := range []string{"one", "one", "two"} {
			_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageGroupId: aws.String("g"), MessageBody: aws.String(body)})
			c.must(err, "send")
		}
		q.receiveAll(c, 2)
	}},
	{name: "FIFO numbers its messages in rising order", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		a, b := q.sendFIFO(c, "g", "1", "a"), q.sendFIFO(c, "h", "2", "b")
		x, y := aws.ToString(a.SequenceNumber), aws.ToString(b.SequenceNumber)
		if x == "" || cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) >= 0 {
			c.Errorf("sequence numbers are %q and %q", x, y)
		}
		m := q.receiveOne(c, receive{max: 1})
		if m.Attributes["SequenceNumber"] != x || m.Attributes["MessageGroupId"] != "g" || m.Attributes["MessageDeduplicationId"] != "1" {
			c.Errorf("received attributes are %v", m.Attributes)
		}
	}},
	{name: "FIFO demands a group and a deduplication id", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"), MessageDeduplicationId: aws.String("1")})
		refused(c, err)
		_, err = client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"), MessageGroupId: aws.String("g")})
		refused(c, err)
	}},
	{name: "FIFO redrives, and the group goes on", run: func(c *T, client *sqs.Client) {
		dlq := newQueue(c, client, fifo)
		q := newQueue(c, client, map[string]string{"FifoQueue": "true", "RedrivePolicy": redrivePolicy(c, dlq, 1)})
		q.sendFIFO(c, "g", "1", "poison")
		q.sendFIFO(c, "g", "2", "next")
		q.giveBack(c, q.receiveOne(c, receive{max: 1}))
		if m := q.receiveOne(c, receive{wait: 3}); *m.Body != "next" {
			c.Errorf("got %s after the redrive, want next", *m.Body)
		}
		if m := dlq.receiveOne(c, receive{wait: 2}); *m.Body != "poison" || m.Attributes["MessageGroupId"] != "g" {
			c.Errorf("the dead-letter queue has %s of group %q", *m.Body, m.Attributes["MessageGroupId"])
		}
	}},
	{name: "a group id over 128 characters is refused", run: func(c *T, client *sqs.Client) {
		q := newQueue(c, client, fifo)
		q.sendFIFO(c, strings.Repeat("g", limits.SQSGroupIDBytes), "1", "body")
		_, err := client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String("body"),
			MessageDeduplicationId: aws.String("2"), MessageGroupId: aws.String(strings.Repeat("g", limits.SQSGroupIDBytes+1))})
		refused(c, err)
	}},
	{name: "only a queue named .fifo is FIFO", run: func(c *T, client *sqs.Client) {
		for name, attributes := range map[string]map[string]string{unique(): fifo, unique() + ".fifo": nil} {
			_, err := client.CreateQueue(c, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
			refused(c, err)
		}
	}},
}

var fifo = map[string]string{"FifoQueue": "true"}

// queue is one that a case made for itself.
type queue struct {
	client    *sqs.Client
	name, url string
}

func newQueue(c *T, client *sqs.Client, attributes map[string]string) *queue {
	name := unique()
	if attributes["FifoQueue"] == "true" {
		name += ".fifo"
	}
	out, err := client.CreateQueue(c, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	c.must(err, "create queue")
	q := &queue{client: client, name: name, url: *out.QueueUrl}
	c.cleanup(func() {
		ctx, cancel := afterwards()
		defer cancel()
		_, _ = client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &q.url})
	})
	return q
}

func (q *queue) attributes(c *T, names ...types.QueueAttributeName) map[string]string {
	out, err := q.client.GetQueueAttributes(c, &sqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: names})
	c.must(err, "get queue attributes")
	return out.Attributes
}

func (q *queue) arn(c *T) string {
	arn := q.attributes(c, types.QueueAttributeNameQueueArn)["QueueArn"]
	if arn == "" {
		c.Fatalf("queue %s has no QueueArn", q.name)
	}
	return arn
}

func (q *queue) send(c *T, body string) (id string) {
	out, err := q.client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: &body})
	c.must(err, "send")
	return *out.MessageId
}

func (q *queue) sendBatch(c *T, bodies ...string) (*sqs.SendMessageBatchOutput, error) {
	in := &sqs.SendMessageBatchInput{QueueUrl: &q.url}
	for i := range bodies {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint("e", i)), MessageBody: &bodies[i]})
	}
	return q.client.SendMessageBatch(c, in)
}

func (q *queue) sendFIFO(c *T, group, deduplication, body string) *sqs.SendMessageOutput {
	out, err := q.client.SendMessage(c, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: &body,
		MessageGroupId: &group, MessageDeduplicationId: &deduplication})
	c.must(err, "send")
	return out
}

func (q *queue) giveBack(c *T, m types.Message) {
	_, err := q.client.ChangeMessageVisibility(c, &sqs.ChangeMessageVisibilityInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle})
	c.must(err, "give back")
}

// receive says how to receive. 0 leaves a field to the queue; max is then 10, or 1 in receiveOne.
type receive struct{ wait, visibility, max int32 }

func (q *queue) receive(c *T, r receive) []types.Message {
	out, err := q.client.ReceiveMessage(c, &sqs.ReceiveMessageInput{QueueUrl: &q.url,
		WaitTimeSeconds: r.wait, VisibilityTimeout: r.visibility, MaxNumberOfMessages: cmp.Or(r.max, limits.SQSBatchEntries),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		MessageAttributeNames:       []string{"All"}})
	c.must(err, "receive")
	if len(out.Messages) > limits.SQSBatchEntries {
		c.Errorf("one receive brought %d messages", len(out.Messages))
	}
	return out.Messages
}

func (q *queue) receiveSome(c *T, r receive) []types.Message {
	got := q.receive(c, r)
	if len(got) == 0 {
		c.Fatalf("no message came")
	}
	return got
}

func (q *queue) receiveOne(c *T, r receive) types.Message {
	r.max = 1
	return q.receiveSome(c, r)[0]
}

// receiveAll receives until it has n messages: AWS may bring a queue's messages in several receives.
func (q *queue) receiveAll(c *T, n int) []types.Message {
	var all []types.Message
	seen := map[string]bool{}
	for len(all) < n {
		for _, m := range q.receiveSome(c, receive{wait: 3}) {
			if seen[*m.MessageId] {
				c.Errorf("message %s came twice", *m.MessageId)
			}
			seen[*m.MessageId] = true
			all = append(all, m)
		}
	}
	if len(all) > n {
		c.Errorf("%d messages came, want %d", len(all), n)
	}
	return all
}

func receiveCount(c *T, m types.Message) int {
	n, err := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
	if err != nil {
		c.Errorf("ApproximateReceiveCount is %q", m.Attributes["ApproximateReceiveCount"])
	}
	return n
}

func redrivePolicy(c *T, dlq *queue, count int) string {
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, dlq.arn(c), count)
}

func stringAttributes(n int) map[string]types.MessageAttributeValue {
	attributes := make(map[string]types.MessageAttributeValue, n)
	for i := range n {
		attributes[fmt.Sprint("a", i+1)] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("v")}
	}
	return attributes
}

// attributesMD5 is the digest that "Amazon SQS message metadata" describes: by name, each part behind its length.
func attributesMD5(attributes map[string]types.MessageAttributeValue) string {
	h := md5.New()
	part := func(b []byte) {
		_ = binary.Write(h, binary.BigEndian, uint32(len(b)))
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := attributes[name]
		part([]byte(name))
		part([]byte(*a.DataType))
		if a.StringValue != nil {
			h.Write([]byte{1})
			part([]byte(*a.StringValue))
		} else {
			h.Write([]byte{2})
			part(a.BinaryValue)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func failedEntries(failed []types.BatchResultErrorEntry) []string {
	var all []string
	for _, f := range failed {
		all = append(all, fmt.Sprintf("%s (%s, sender's fault %v)", *f.Id, aws.ToString(f.Code), f.SenderFault))
	}
	return all
}

// pause waits a little between two looks at something that a backend does in the background.
func pause(c *T) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-c.Done():
		c.Fatalf("out of time")
	}
}

// typed demands the SDK's own error type, by which the product tells errors apart.
func typed[E error](c *T, err error) {
	var want E
	if !errors.As(err, &want) {
		c.Errorf("got error %v, want %T", err, want)
	}
}

// refused demands that the service refused the request as the client's fault, whatever it calls it.
func refused(c *T, err error) {
	var api smithy.APIError
	var response *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusBadRequest {
		c.Errorf("got error %v, want a refusal with status 400", err)
	}
}

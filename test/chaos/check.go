package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/table"
)

// findings collects problems, and shows the first of them.
type findings struct {
	count int
	shown []error
}

func (f *findings) add(format string, args ...any) {
	if f.count++; len(f.shown) < 20 {
		f.shown = append(f.shown, fmt.Errorf(format, args...))
	}
}

func (f *findings) err() error {
	if f.count == 0 {
		return nil
	}
	return fmt.Errorf("%d things are wrong, of which:\n%w", f.count, errors.Join(f.shown...))
}

// check compares the table and the dead-letter queue with what was sent.
func (r *rig) check(ctx context.Context, p *plan) error {
	var f findings
	letters := r.checkLetters
	if r.erase {
		if err := r.checkErased(ctx, p, &f); err != nil {
			return err
		}
		letters = r.checkLettersAfterErasure
	}
	if err := r.checkTable(ctx, p, &f); err != nil {
		return err
	}
	if err := letters(ctx, p, &f); err != nil {
		return err
	}
	return f.err()
}

func (r *rig) checkTable(ctx context.Context, p *plan, f *findings) error {
	missing := maps.Clone(p.newest)
	tombstones, items := 0, 0
	pages := dynamodb.NewScanPaginator(r.ddb, &dynamodb.ScanInput{TableName: &r.table, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("scan the table: %w", err)
		}
		for _, item := range page.Items {
			pk, _ := item[table.PKAttribute].(*ddbtypes.AttributeValueMemberS)
			sk, _ := item[table.SKAttribute].(*ddbtypes.AttributeValueMemberS)
			if pk == nil || sk == nil {
				return fmt.Errorf("scan the table: an item without keys: %v", item)
			}
			if strings.HasPrefix(pk.Value, "tributary#") {
				continue // decisions, workers and usage
			}
			k, err := table.ParseKey(schema.Builtin(), pk.Value, sk.Value)
			want, sent := missing[k]
			if err != nil || !sent {
				f.add("the table has %s %s, which nobody sent, or twice", pk.Value, sk.Value)
				continue
			}
			delete(missing, k)
			items++
			if table.IsTombstone(item) {
				tombstones++
			}
			if what := differs(item, &want); what != "" {
				f.add("%s %s: %s", pk.Value, sk.Value, what)
			}
		}
	}
	for k, c := range missing {
		f.add("%s %s is not in the table; sent was %+v", k.PK(), k.SK(), c)
	}
	r.say("the table has %d items of %d, %d of them tombstones", items, len(p.newest), tombstones)
	return nil
}

// differs says how an item differs from its command, or returns "".
func differs(item table.Attributes, c *messages.Command) string {
	if c.Delete {
		n, _ := item[table.VersionAttribute].(*ddbtypes.AttributeValueMemberN)
		if !table.IsTombstone(item) || n == nil || n.Value != strconv.FormatInt(c.Version, 10) {
			return fmt.Sprintf("it should be the tombstone of version %d", c.Version)
		}
		return ""
	}
	for name, want := range table.Item(c) {
		if !reflect.DeepEqual(item[name], want) {
			return fmt.Sprintf("%s is not that of %+v", name, *c)
		}
	}
	if len(item) != len(table.Item(c)) {
		return fmt.Sprintf("it has %d attributes, %+v makes %d", len(item), *c, len(table.Item(c)))
	}
	return ""
}

// checkLetters empties the dead-letter queue. A letter may be there twice: a crash between sending it and deleting its
// message, or a lost answer, sends it again.
func (r *rig) checkLetters(ctx context.Context, p *plan, f *findings) error {
	missing := maps.Clone(p.poison)
	count := 0
	for {
		out, err := r.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &r.letters, MaxNumberOfMessages: 10, WaitTimeSeconds: 1, VisibilityTimeout: 120,
			MessageAttributeNames: []string{"All"},
		})
		if err != nil {
			return fmt.Errorf("receive dead letters: %w", err)
		}
		if len(out.Messages) == 0 {
			break
		}
		entries := make([]sqstypes.DeleteMessageBatchRequestEntry, len(out.Messages))
		for i, m := range out.Messages {
			count++
			entries[i] = sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle}
			attribute := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
			name := letter{attribute("source_message_id"), attribute("source_index")}
			text, sent := p.poison[name]
			switch {
			case !sent && p.doubtful[aws.ToString(m.Body)]: // the answer to its message was lost
			case !sent:
				f.add("a dead letter that is no poison: message %q, index %q, reason %s: %.200s", name.id, name.index, attribute("reason"), aws.ToString(m.Body))
			case text != aws.ToString(m.Body):
				f.add("the letter of message %s, index %q is %.200q, sent was %q", name.id, name.index, aws.ToString(m.Body), text)
			case attribute("reason") == "":
				f.add("the letter of message %s, index %q has no reason", name.id, name.index)
			}
			delete(missing, name)
		}
		if _, err := r.sqs.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &r.letters, Entries: entries}); err != nil {
			return fmt.Errorf("delete dead letters: %w", err)
		}
	}
	for name := range missing {
		f.add("message %s, index %q is poison without a dead letter", name.id, name.index)
	}
	r.say("%d dead letters for %d poison commands", count, len(p.poison))
	return nil
}

// Package control keeps what operators decide about tenants, and what workers say about themselves, in the table's control
// partition (ADR 33). An Agent makes a worker obey it; a Store decides, and waits until the workers obey.
package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/table"
	"tributary/internal/tenants"
)

// API is the part of DynamoDB that a Store calls.
type API interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// Store reads and writes the control partition of a table. Its methods may be called concurrently.
type Store struct {
	API   API
	Table string
}

// Revision returns the number of decisions so far, by a consistent read of one item.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	a, err := s.get(ctx, revisionKey)
	return a.int("revision"), err
}

// Bump adds 1 to the revision, so that workers read the decisions, and returns it.
func (s *Store) Bump(ctx context.Context) (int64, error) {
	out, err := s.API.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &s.Table, Key: key(revisionKey), ReturnValues: types.ReturnValueUpdatedNew,
		UpdateExpression:          aws.String("ADD revision :one"),
		ExpressionAttributeValues: table.Attributes{":one": integer(1)},
	})
	if err != nil {
		return 0, fmt.Errorf("add to revision: %w", err)
	}
	return attributes(out.Attributes).int("revision"), nil
}

// Decision returns the decision about a tenant; that of a tenant about which nothing was decided has only its name.
func (s *Store) Decision(ctx context.Context, tenant string) (tenants.Decision, error) {
	d, _, err := s.decision(ctx, tenant)
	return d, err
}

func (s *Store) decision(ctx context.Context, tenant string) (_ tenants.Decision, decided int64, _ error) {
	a, err := s.get(ctx, tenantPrefix+tenant)
	if err != nil || len(a) == 0 {
		return tenants.Decision{Tenant: tenant}, 0, err
	}
	return *readDecision(a), a.int(decidedAttribute), nil
}

// ErrContended is the error of a decision that others changed again and again meanwhile.
var ErrContended = errors.New("others decide about this tenant at the same time: try again")

// maxDecideTries is how often a decision is made anew, because another one came between reading and writing.
const maxDecideTries = 10

// Decide changes the decision about a tenant. It writes the new decision, then adds 1 to the revision, then writes the record
// of it, in which it is called action. change may be called several times: it gets the decision that is
// in force, and its error ends Decide. The revision returned is the one that workers have to obey.
//
// Where it is killed between the writes, workers see the decision within a minute; deciding the same again completes it.
func (s *Store) Decide(ctx context.Context, tenant, action string, change func(old tenants.Decision) (tenants.Decision, error)) (tenants.Decision, int64, error) {
	d, err := s.write(ctx, tenant, change)
	if err != nil {
		return d, 0, err
	}
	revision, err := s.Bump(ctx)
	if err != nil {
		return d, 0, err
	}
	return d, revision, s.record(ctx, &Entry{At: d.At, Tenant: tenant, Action: action, By: d.By, Detail: Words(&d), Reason: d.Reason, Revision: revision})
}

func (s *Store) write(ctx context.Context, tenant string, change func(old tenants.Decision) (tenants.Decision, error)) (tenants.Decision, error) {
	for range maxDecideTries {
		old, decided, err := s.decision(ctx, tenant)
		if err != nil {
			return old, err
		}
		next, err := change(old)
		if err != nil {
			return old, err
		}
		next.Tenant = tenant
		in := &dynamodb.PutItemInput{
			TableName: &s.Table, Item: table.Attributes(decisionItem(&next, decided+1)),
			ConditionExpression: aws.String("attribute_not_exists(" + decidedAttribute + ")"),
		}
		if decided > 0 {
			in.ConditionExpression = aws.String(decidedAttribute + " = :decided")
			in.ExpressionAttributeValues = table.Attributes{":decided": integer(decided)}
		}
		_, err = s.API.PutItem(ctx, in)
		if _, lost := errors.AsType[*types.ConditionalCheckFailedException](err); lost {
			continue
		}
		if err != nil {
			return old, fmt.Errorf("write decision about tenant %s: %w", tenant, err)
		}
		return next, nil
	}
	return tenants.Decision{Tenant: tenant}, fmt.Errorf("write decision about tenant %s: %w", tenant, ErrContended)
}

func (s *Store) record(ctx context.Context, e *Entry) error {
	if _, err := s.API.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.Table, Item: table.Attributes(auditItem(e))}); err != nil {
		return fmt.Errorf("write record of decision about tenant %s: %w", e.Tenant, err)
	}
	return nil
}

// Decisions returns all decisions, by consistent reads, in the order of the tenants' ids.
func (s *Store) Decisions(ctx context.Context) ([]*tenants.Decision, error) {
	var all []*tenants.Decision
	err := s.each(ctx, tenantPrefix, reads{consistent: true}, func(a attributes) bool {
		all = append(all, readDecision(a))
		return true
	})
	return all, err
}

// Workers returns what workers say about themselves. Items that are over, which DynamoDB has not removed yet, are left out.
func (s *Store) Workers(ctx context.Context, consistent bool) ([]Worker, error) {
	now := time.Now()
	var all []Worker
	err := s.each(ctx, workerPrefix, reads{consistent: consistent}, func(a attributes) bool {
		if w := readWorker(a); w.Expires.IsZero() || now.Before(w.Expires) {
			all = append(all, w)
		}
		return true
	})
	return all, err
}

// Audit returns the newest records of decisions since a time, newest first, at most limit; those of one tenant where tenant is
// not empty.
func (s *Store) Audit(ctx context.Context, tenant string, since time.Time, limit int) ([]Entry, error) {
	all := []Entry{}
	err := s.each(ctx, auditPrefix, reads{descending: true}, func(a attributes) bool {
		e := readEntry(a)
		if e.At.Before(since) {
			return false
		}
		if tenant == "" || e.Tenant == tenant {
			all = append(all, e)
		}
		return len(all) < limit
	})
	return all, err
}

func (s *Store) get(ctx context.Context, sortKey string) (attributes, error) {
	out, err := s.API.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.Table, Key: key(sortKey), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, fmt.Errorf("read control item %s: %w", sortKey, err)
	}
	return attributes(out.Item), nil
}

type reads struct{ consistent, descending bool }

// each calls f for the items whose sort keys begin with prefix, a page of at most 1 MB at a time, until f returns false.
func (s *Store) each(ctx context.Context, prefix string, how reads, f func(attributes) bool) error {
	in := &dynamodb.QueryInput{
		TableName:              &s.Table,
		KeyConditionExpression: aws.String("PK = :pk AND begins_with(SK, :prefix)"),
		ExpressionAttributeValues: table.Attributes{
			":pk": &types.AttributeValueMemberS{Value: Partition}, ":prefix": &types.AttributeValueMemberS{Value: prefix},
		},
		ConsistentRead: &how.consistent, ScanIndexForward: aws.Bool(!how.descending),
	}
	for {
		out, err := s.API.Query(ctx, in)
		if err != nil {
			return fmt.Errorf("read control items %s: %w", prefix, err)
		}
		for _, item := range out.Items {
			if !f(item) {
				return nil
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

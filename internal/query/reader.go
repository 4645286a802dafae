package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tributary/internal/query/auth"
	"tributary/internal/table"
)

// DynamoDB are the calls that the API makes.
type DynamoDB interface {
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
}

const (
	// readItems is how many items one Query of an export, or of a page that reads on, asks for.
	readItems = 1000
	// readsPerPage bounds how far a page reads on over tombstones and over what since and until leave out.
	readsPerPage = 10
)

// tables makes readers.
type tables struct {
	client      DynamoDB
	name        string
	credentials *roleCredentials // nil: the client's own
}

// reader reads one tenant's items. It can't name another tenant: the partition key is fixed when it is made, from an
// auth.Tenant, which only authorization hands out, and no method takes one.
type reader struct {
	tables  *tables
	tenant  string
	options []func(*dynamodb.Options)
}

func (t *tables) reader(tenant auth.Tenant) *reader {
	r := &reader{tables: t, tenant: tenant.ID()}
	if t.credentials != nil {
		r.options = append(r.options, t.credentials.option(tenant))
	}
	return r
}

// get returns an item, or nil where there is none or only a tombstone.
func (r *reader) get(ctx context.Context, entity table.Entity, id string, consistent bool) (table.Attributes, error) {
	out, err := r.tables.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      &r.tables.name,
		Key:            table.KeyAttributes(table.Key{TenantID: r.tenant, Entity: entity, ID: id}),
		ConsistentRead: aws.Bool(consistent),
	}, r.options...)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", entity, err)
	}
	if len(out.Item) == 0 || table.IsTombstone(out.Item) {
		return nil, nil
	}
	return out.Item, nil
}

// listQuery says what to list of a tenant.
type listQuery struct {
	entity     table.Entity
	userID     string // with OrderEntity: only this user's orders, through the index
	descending bool
	consistent bool
	ids        idRange
	// after is the id after which to go on, where started is true.
	after   string
	started bool
}

// item is an item of the list asked for, and where it stands.
type item struct {
	id         string
	attributes table.Attributes
}

// batch is what one Query read.
type batch struct {
	items []item // without tombstones and what idRange leaves out
	after string // where to go on, if more
	more  bool
	full  bool // DynamoDB ended it at 1 MB ("Paginating table query results in DynamoDB")
}

// read makes one Query for at most limit items, from q.after on.
func (r *reader) read(ctx context.Context, q *listQuery, limit int) (batch, error) {
	if q.started && q.ids.set() && (!q.descending && q.after >= q.ids.until || q.descending && q.after <= q.ids.since) {
		return batch{}, nil // nothing can follow, and DynamoDB refuses to start at the range's end
	}
	prefix := q.entity.Prefix()
	in := &dynamodb.QueryInput{
		TableName:              &r.tables.name,
		KeyConditionExpression: aws.String("PK = :pk AND begins_with(SK, :prefix)"),
		ScanIndexForward:       aws.Bool(!q.descending),
		ConsistentRead:         aws.Bool(q.consistent),
		Limit:                  aws.Int32(int32(limit)),
	}
	pk := &types.AttributeValueMemberS{Value: table.PartitionKey(r.tenant)}
	values := table.Attributes{":pk": pk}
	if q.ids.set() {
		in.KeyConditionExpression = aws.String("PK = :pk AND SK BETWEEN :since AND :until")
		values[":since"] = &types.AttributeValueMemberS{Value: prefix + q.ids.since}
		values[":until"] = &types.AttributeValueMemberS{Value: prefix + q.ids.until}
	} else {
		values[":prefix"] = &types.AttributeValueMemberS{Value: prefix}
	}
	if q.started {
		in.ExclusiveStartKey = table.Attributes{
			table.PKAttribute: pk,
			table.SKAttribute: &types.AttributeValueMemberS{Value: prefix + q.after},
		}
	}
	if q.userID != "" {
		user := &types.AttributeValueMemberS{Value: q.userID}
		in.IndexName = aws.String(table.IndexOrdersByUser)
		in.KeyConditionExpression = aws.String(*in.KeyConditionExpression + " AND user_id = :user")
		values[":user"] = user
		if q.started {
			in.ExclusiveStartKey[table.UserIDAttribute] = user
		}
	}
	in.ExpressionAttributeValues = values

	out, err := r.tables.client.Query(ctx, in, r.options...)
	if err != nil {
		return batch{}, fmt.Errorf("query %ss: %w", q.entity, err)
	}
	b := batch{items: make([]item, 0, len(out.Items))}
	for _, attributes := range out.Items {
		id, err := position(attributes, prefix)
		if err != nil {
			return batch{}, fmt.Errorf("query %ss: %w", q.entity, err)
		}
		if !table.IsTombstone(attributes) && q.ids.contains(id) {
			b.items = append(b.items, item{id, attributes})
		}
	}
	if len(out.LastEvaluatedKey) > 0 {
		b.more = true
		b.full = len(out.Items) < limit
		if b.after, err = position(out.LastEvaluatedKey, prefix); err != nil {
			return batch{}, fmt.Errorf("query %ss: %w", q.entity, err)
		}
	}
	return b, nil
}

// position is the part of an item's sort key after its prefix.
func position(attributes table.Attributes, prefix string) (string, error) {
	sk, ok := attributes[table.SKAttribute].(*types.AttributeValueMemberS)
	if !ok || len(sk.Value) < len(prefix) || sk.Value[:len(prefix)] != prefix {
		return "", fmt.Errorf("an item's SK does not begin with %s", prefix)
	}
	return sk.Value[len(prefix):], nil
}

// page reads at most limit items. It reads on over what is left out, up to readsPerPage, so that a page is short only
// where items are large or very much is left out. More says whether another page may follow, after `after`.
func (r *reader) page(ctx context.Context, q listQuery, limit int) (items []item, after string, more bool, _ error) {
	// One item more than asked for tells whether anything follows, so that a walk does not end in an empty page.
	for reads := range readsPerPage {
		want := limit + 1 - len(items)
		if reads > 0 {
			want = min(want<<(2*reads), max(want, readItems)) // the more was left out, the further it reads
		}
		b, err := r.read(ctx, &q, want)
		if err != nil {
			return nil, "", false, err
		}
		items = append(items, b.items...)
		if len(items) > limit {
			items = items[:limit]
			return items, items[limit-1].id, true, nil
		}
		if !b.more {
			return items, "", false, nil
		}
		q.after, q.started = b.after, true
		if b.full && len(items) > 0 {
			break // memory for one page is bounded in bytes too
		}
	}
	return items, q.after, true, nil
}

// isThrottle says whether DynamoDB, or STS, asked for fewer requests.
func isThrottle(err error) bool {
	return retry.ThrottleErrorCode{Codes: retry.DefaultThrottleErrorCodes}.IsErrorThrottle(err) == aws.TrueTernary
}

// isUnavailable says whether AWS could not be reached or failed inside.
func isUnavailable(err error) bool {
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return answer.HTTPStatusCode() >= http.StatusInternalServerError
	}
	_, unsent := errors.AsType[*smithyhttp.RequestSendError](err)
	return unsent
}

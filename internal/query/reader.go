package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tributary/internal/base/rawjson"
	"tributary/internal/query/auth"
	"tributary/internal/schema"
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
	// readsPerPage bounds how far a page reads on over tombstones and over items outside since and until.
	readsPerPage = 10
)

// tables makes readers.
type tables struct {
	client      DynamoDB
	name        string
	types       *schema.Set
	credentials *roleCredentials // nil: the client's own
}

// reader reads one tenant's items for one request. It can't name another tenant: the partition key is fixed when it is made, from an
// auth.Tenant, which only authorization hands out, and no method takes one.
type reader struct {
	tables  *tables
	tenant  string
	lease   *lease
	buckets *buckets // that read units are taken from
	options []func(*dynamodb.Options)

	out      []byte       // the answer to the client, as it grows
	item     table.Stored // the item at hand
	consumed float64      // read units so far
}

// reader makes a reader. The caller ends the lease.
func (t *tables) reader(tenant auth.Tenant, l *lease, b *buckets) *reader {
	r := &reader{tables: t, tenant: tenant.ID(), lease: l, buckets: b, item: table.NewStored(t.types)}
	if t.credentials != nil {
		r.options = append(r.options, t.credentials.option(tenant))
	}
	return r
}

// textProtocol takes an answer's text over, where the SDK would build values: those of an item of 400 KB may take 20 MB.
// Errors are the SDK's to read.
type textProtocol struct {
	smithyhttp.ClientProtocol
	lease *lease
	text  *string
}

const (
	// maxAnswerBytes bounds an answer: 1 MB of the values that take the most text, empty strings, is 9 MB of it.
	maxAnswerBytes = 16 << 20
	// answerStep is the size of one read from an answer of unknown length.
	answerStep = 1 << 20
	// memoryFactor is how much memory an answer takes while it is read, as a multiple of its length: its text, and the decoded items.
	memoryFactor = 2
)

// DeserializeResponse implements smithyhttp.ClientProtocol.
func (p textProtocol) DeserializeResponse(ctx context.Context, schema *smithy.OperationSchema, types *smithy.TypeRegistry, response *smithyhttp.Response, out smithy.Deserializable) error {
	if response.StatusCode/100 != 2 {
		return p.ClientProtocol.DeserializeResponse(ctx, schema, types, response, out)
	}
	first := p.lease.held == 0
	room := response.ContentLength
	if room > maxAnswerBytes {
		return fmt.Errorf("the answer has %d bytes, at most %d are read", room, maxAnswerBytes)
	}
	if room < 0 { // emulators send chunks
		room = answerStep
	}
	if err := p.lease.take(ctx, memoryFactor*room); err != nil {
		return err
	}
	var text strings.Builder
	text.Grow(int(room))
	for {
		_, err := io.CopyN(&text, response.Body, room+1-int64(text.Len()))
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && room >= maxAnswerBytes {
			err = fmt.Errorf("the answer has more than %d bytes", maxAnswerBytes)
		}
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		if err := p.lease.take(ctx, memoryFactor*answerStep); errors.Is(err, errNoRoom) && first {
			return retryLater(http.StatusServiceUnavailable, "The answers under way take all the memory that this server allows. Try again shortly.", time.Second, err)
		} else if err != nil {
			return err
		}
		room += answerStep
	}
	if err := response.Body.Close(); err != nil { // it compares the checksum
		return fmt.Errorf("read answer: %w", err)
	}
	*p.text = text.String()
	return nil
}

// textInto are a call's options: the tenant's credentials, and that its answer's text goes to text.
func (r *reader) textInto(text *string) []func(*dynamodb.Options) {
	return append(slices.Clone(r.options), func(o *dynamodb.Options) {
		o.Protocol = textProtocol{o.Protocol, r.lease, text}
	})
}

// get reads an item and says whether it is there: a tombstone is not. The item is then r.item.
func (r *reader) get(ctx context.Context, key table.Key, consistent bool) (found bool, _ error) {
	var text string
	if _, err := r.tables.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:              &r.tables.name,
		Key:                    table.KeyAttributes(key),
		ConsistentRead:         aws.Bool(consistent),
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	}, r.textInto(&text)...); err != nil {
		return false, fmt.Errorf("get %s: %w", key.Type.Name, err)
	}
	s := rawjson.New(text)
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "Item":
			r.item.Read(&s)
			found = !r.item.IsEmpty() && !r.item.IsTombstone()
		case "ConsumedCapacity":
			r.charge(&s)
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return false, fmt.Errorf("get %s: decode answer: %w", key.Type.Name, err)
	}
	return found, nil
}

// charge takes the read units that an answer names from the tenant's.
func (r *reader) charge(s *rawjson.Scanner) {
	for s.Open('{'); s.More('}'); {
		if s.Name() != "CapacityUnits" {
			s.Skip()
			continue
		}
		if units, err := strconv.ParseFloat(s.Number(), 64); err == nil {
			r.buckets.charge(time.Now(), units)
			r.consumed += units
		}
	}
}

// listQuery selects the items of a tenant to list.
type listQuery struct {
	of         *schema.Type
	by         *schema.Reference // nil, or: only those that refer to the id referred, through the index
	referred   string
	descending bool
	consistent bool
	ids        idRange
	// after is the id after which to go on, where started is true.
	after   string
	started bool
}

// batch says where a list stands after one Query.
type batch struct {
	after string // where to go on, if more
	more  bool
	full  bool // DynamoDB ended it at 1 MB ("Paginating table query results in DynamoDB")
}

// read makes one Query for at most limit items, from q.after on. It calls show for each that is no tombstone and that the range of
// ids selects; the item is r.item then.
func (r *reader) read(ctx context.Context, q *listQuery, limit int, show func(id string)) (batch, error) {
	if q.started && q.ids.set() && (!q.descending && q.after >= q.ids.until || q.descending && q.after <= q.ids.since) {
		return batch{}, nil // nothing can follow, and DynamoDB refuses to start at the range's end
	}
	prefix := q.of.Prefix
	in := &dynamodb.QueryInput{
		TableName:              &r.tables.name,
		KeyConditionExpression: aws.String("PK = :pk AND begins_with(SK, :prefix)"),
		ScanIndexForward:       aws.Bool(!q.descending),
		ConsistentRead:         aws.Bool(q.consistent),
		Limit:                  aws.Int32(int32(limit)),
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
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
	if q.by != nil {
		// The index may have items of other types too, which have the field by chance: the condition on SK leaves them out.
		field, referred := q.by.Field.Name, &types.AttributeValueMemberS{Value: q.referred}
		in.IndexName = &q.by.Index
		in.KeyConditionExpression = aws.String(*in.KeyConditionExpression + " AND #field = :referred")
		in.ExpressionAttributeNames = map[string]string{"#field": field} // it may be one of DynamoDB's reserved words
		values[":referred"] = referred
		if q.started {
			in.ExclusiveStartKey[field] = referred
		}
	}
	in.ExpressionAttributeValues = values

	defer func() { r.lease.keep(int64(cap(r.out))) }()
	var text string
	if _, err := r.tables.client.Query(ctx, in, r.textInto(&text)...); err != nil {
		return batch{}, fmt.Errorf("query %s: %w", q.of.Plural, err)
	}
	b, err := r.scan(text, q, limit, show)
	if err != nil {
		return batch{}, fmt.Errorf("query %s: %w", q.of.Plural, err)
	}
	return b, nil
}

// scan reads the answer to a Query.
func (r *reader) scan(text string, q *listQuery, limit int, show func(id string)) (b batch, _ error) {
	prefix := q.of.Prefix
	items, odd := 0, false
	last := table.NewStored(r.tables.types)
	s := rawjson.New(text)
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "Items":
			for s.Open('['); s.More(']'); items++ {
				r.item.Read(&s)
				id, ok := strings.CutPrefix(r.item.SortKey(), prefix)
				odd = odd || !ok
				if ok && s.Err() == nil && !r.item.IsTombstone() && q.ids.contains(id) {
					show(id)
				}
			}
		case "LastEvaluatedKey":
			if s.Peek() == 'n' {
				s.Null()
				continue
			}
			last.Read(&s)
		case "ConsumedCapacity":
			r.charge(&s)
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return batch{}, fmt.Errorf("decode answer: %w", err)
	}
	if !last.IsEmpty() {
		b.more, b.full = true, items < limit
		var ok bool
		b.after, ok = strings.CutPrefix(last.SortKey(), prefix)
		odd = odd || !ok
	}
	if odd {
		return batch{}, fmt.Errorf("an item's SK does not begin with %s", prefix)
	}
	return b, nil
}

// page reads at most limit items and calls show for each; show reports whether the item could be shown. It reads past
// omitted items, in up to readsPerPage reads. So a page is short only if items are large, memory is short, or very many
// items are omitted. More reports whether another page may follow, after `after`.
func (r *reader) page(ctx context.Context, q listQuery, limit int, show func() bool) (after string, more bool, _ error) {
	// One item more than asked for tells whether anything follows, so that a walk does not end in an empty page.
	n, last, over := 0, "", false
	each := func(id string) {
		switch {
		case over || n == limit:
			over = true
		case show():
			n, last = n+1, id
		}
	}
	for reads := range readsPerPage {
		want := limit + 1 - n
		if reads > 0 {
			want = min(want<<(2*reads), max(want, readItems)) // the more was left out, the further it reads
		}
		b, err := r.read(ctx, &q, want, each)
		if reads > 0 && errors.Is(err, errNoRoom) {
			break // the client asks again when there may be room
		}
		if err != nil {
			return "", false, err
		}
		if over {
			return last, true, nil
		}
		if !b.more {
			return "", false, nil
		}
		q.after, q.started = b.after, true
		if b.full && n > 0 {
			break // memory for one page is bounded in bytes too
		}
	}
	return q.after, true, nil
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

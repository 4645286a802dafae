package usage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"tributary/internal/tenants"
)

// Reading is what a report asks of DynamoDB.
type Reading interface {
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
}

// Period is the length of the periods that a report has lines for.
type Period string

// The periods. Total is one for all of the time.
const (
	Hour  Period = "hour"
	Day   Period = "day"
	Total Period = "total"
)

// start returns the beginning of the period that has a time, or the zero time for Total.
func (p Period) start(at time.Time) time.Time {
	switch at = at.UTC(); p {
	case Hour:
		return at.Truncate(time.Hour)
	case Day:
		return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}

// Prices are in dollars a million units. List prices of us-east-1 are in ListPrices.
type Prices struct {
	WriteUnits float64 `json:"write_units"`
	ReadUnits  float64 `json:"read_units"`
}

// ListPrices are those of us-east-1 as of November 2026 ("Pricing for On-Demand Capacity" of DynamoDB).
var ListPrices = Prices{WriteUnits: 0.625, ReadUnits: 0.125}

// Of returns what a count costs, in dollars.
func (p Prices) Of(u *tenants.Usage) float64 {
	return (u.WriteUnits()*p.WriteUnits + u.ReadUnits*p.ReadUnits) / 1e6
}

// Line is what a tenant used in a period.
type Line struct {
	Tenant string    `json:"tenant"`
	Start  time.Time `json:"start,omitzero"` // of the period; the zero time: it is the whole
	tenants.Usage
	Cost float64 `json:"cost_usd"`
}

// MaxHours is the longest time that a report may be about: 400 days, for which records are kept.
const MaxHours = 400 * 24

// Report adds up the records from the hour of from to that of to, which it leaves out where to is a full hour. Tenant is the one to
// report, or "" for all. Lines come by tenant and time.
func Report(ctx context.Context, client Reading, table string, from, to time.Time, tenant string, by Period, prices Prices) ([]Line, error) {
	type key struct {
		tenant string
		start  time.Time
	}
	var mu sync.Mutex
	sums := map[key]*tenants.Usage{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for hour := from.UTC().Truncate(time.Hour); hour.Before(to); hour = hour.Add(time.Hour) {
		g.Go(func() error {
			return readHour(ctx, client, table, hour, func(r *record) {
				mu.Lock()
				defer mu.Unlock()
				for i := range r.counts {
					t := &r.counts[i]
					if tenant != "" && t.Tenant != tenant {
						continue
					}
					k := key{t.Tenant, by.start(r.from)}
					if sums[k] == nil {
						sums[k] = new(tenants.Usage)
					}
					sums[k].Add(&t.Usage)
				}
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	lines := make([]Line, 0, len(sums))
	for k, sum := range sums {
		lines = append(lines, Line{k.tenant, k.start, *sum, prices.Of(sum)})
	}
	slices.SortFunc(lines, func(a, b Line) int {
		return cmp.Or(strings.Compare(a.Tenant, b.Tenant), a.Start.Compare(b.Start))
	})
	return lines, nil
}

// readHour calls each for the records of an hour.
func readHour(ctx context.Context, client Reading, table string, hour time.Time, each func(*record)) error {
	pages := dynamodb.NewQueryPaginator(client, &dynamodb.QueryInput{
		TableName:              &table,
		ConsistentRead:         aws.Bool(true),
		KeyConditionExpression: aws.String("PK = :pk"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":pk": &types.AttributeValueMemberS{Value: Partition(hour)},
		},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("read the usage of %s: %w", hour.Format(hourForm), err)
		}
		for _, item := range page.Items {
			r, err := decode(item)
			if err != nil {
				return fmt.Errorf("read the usage of %s: an item can't be read: %w", hour.Format(hourForm), err)
			}
			each(r)
		}
	}
	return nil
}

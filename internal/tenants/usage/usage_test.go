package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/operate/setup"
	"tributary/internal/tenants"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

const tableName = "Table"

func newTable(t *testing.T) *dynamodb.Client {
	t.Helper()
	s := stack.New(stack.Options{})
	t.Cleanup(s.Close)
	cfg := stacktest.Config(s)
	client := dynamodb.NewFromConfig(cfg)
	does := setup.Setup{Queues: sqs.NewFromConfig(cfg), Tables: client, Features: client}
	if _, err := does.Run(context.Background(), &setup.Plan{Queue: "q", DeadLetters: "dlq", Table: tableName}); err != nil {
		t.Fatal(err)
	}
	return client
}

// moody is a client whose calls fail as a test says: before they arrive, or after.
type moody struct {
	*dynamodb.Client
	fails func() (before, after bool)
}

func (m *moody) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	before, after := m.fails()
	if before {
		return nil, errors.New("not sent")
	}
	out, err := m.Client.PutItem(ctx, in, o...)
	if err == nil && after {
		return nil, errors.New("the answer is lost")
	}
	return out, err
}

// TestKept: whatever fails, the sums of all reports are what was counted: nothing is lost, and nothing counts twice.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newTable(t)
		random := rand.New(rand.NewPCG(1, 2))
		var outage, calm atomic.Bool
		var calls atomic.Uint64
		failing := &moody{client, func() (bool, bool) {
			of := rand.New(rand.NewPCG(calls.Add(1), 3))
			return !calm.Load() && (outage.Load() || of.IntN(3) == 0), !calm.Load() && of.IntN(3) == 0
		}}
		want := map[string]*tenants.Usage{}
		var workers sync.WaitGroup
		start := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		meters := [2]Meter{}
		for i := range meters {
			workers.Go(func() {
				NewKeeper(failing, tableName, &meters[i], prometheus.NewRegistry(), slog.New(slog.DiscardHandler)).Run(ctx)
			})
		}
		for i := range 2000 {
			time.Sleep(time.Duration(random.IntN(9000)) * time.Millisecond) // two hours and a half in all
			outage.Store(i > 500 && i < 1600)                               // longer than records wait before they are joined
			tenant := fmt.Sprint("tenant", random.IntN(30))
			c := &tenants.Usage{Written: 3, Bytes: int64(random.IntN(900)), TableUnits: 3, IndexUnits: 2.5, EstimatedTableUnits: 0.5, Requests: 1, ReadUnits: 0.5,
				Superseded: 1, Stale: 2, Erased: 4, DeadLettered: 5}
			if want[tenant] == nil {
				want[tenant] = new(tenants.Usage)
			}
			want[tenant].Add(c)
			meters[random.IntN(2)].Used(tenant, c)
		}
		calm.Store(true)
		stop()
		workers.Wait()

		for _, by := range []Period{Hour, Day, Total} {
			lines, err := Report(t.Context(), client, tableName, start, time.Now().Add(time.Hour), "", by, ListPrices)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]*tenants.Usage{}
			for i := range lines {
				if l := &lines[i]; got[l.Tenant] == nil {
					got[l.Tenant] = &l.Usage
				} else {
					got[l.Tenant].Add(&l.Usage)
				}
				if by == Total && !lines[i].Start.IsZero() || by != Total && lines[i].Start.IsZero() {
					t.Errorf("by %s a line begins at %v", by, lines[i].Start)
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("by %s the report has %+v, counted was %+v", by, got["tenant0"], want["tenant0"])
			}
		}
		one, err := Report(t.Context(), client, tableName, start, time.Now().Add(time.Hour), "tenant7", Total, Prices{WriteUnits: 1e6, ReadUnits: 2e6})
		if err != nil || len(one) != 1 || one[0].Usage != *want["tenant7"] {
			t.Fatalf("tenant7 has %+v, %v", one, err)
		}
		if c := want["tenant7"]; one[0].Cost != c.TableUnits+c.IndexUnits+c.EstimatedTableUnits+2*c.ReadUnits {
			t.Errorf("%+v costs %v", c, one[0].Cost)
		}
	})
}

// TestKilled: a process that ends without a word loses what it counted in the last minute, and no more.
func TestKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newTable(t)
		var dead atomic.Bool
		dying := &moody{client, func() (bool, bool) { return dead.Load(), false }}
		var meter Meter
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var running sync.WaitGroup
		running.Go(func() {
			NewKeeper(dying, tableName, &meter, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)).Run(ctx)
		})
		start := time.Now()
		for range 10 * 60 {
			time.Sleep(time.Second)
			meter.Used("t", &tenants.Usage{Written: 1})
		}
		time.Sleep(30 * time.Second)
		dead.Store(true)
		lines, err := Report(t.Context(), client, tableName, start, time.Now().Add(time.Hour), "", Total, ListPrices)
		if err != nil || len(lines) != 1 || lines[0].Written < 9*60 {
			t.Errorf("of 600 commands, all older than 30 s, %+v are kept, %v", lines, err)
		}
		stop()
		running.Wait()
	})
}

// TestCost: keeping the usage of a thousand tenants that write little costs at most a hundredth of what they write.
func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newTable(t)
		var meter Meter
		registry := prometheus.NewRegistry()
		k := NewKeeper(client, tableName, &meter, registry, slog.New(slog.DiscardHandler))
		random := rand.New(rand.NewPCG(3, 4))
		written := 0.0
		for range 20 {
			from := time.Now()
			for i := range 1000 {
				n := 1 + random.Int64N(3) // orders a minute
				c := tenants.Usage{Written: n, Bytes: n * (120 + random.Int64N(80)), TableUnits: float64(n), IndexUnits: float64(n)}
				meter.Used(fmt.Sprintf("tenant-%04d", i), &c)
				written += c.WriteUnits()
			}
			time.Sleep(time.Minute)
			k.keep(t.Context(), from)
		}
		kept := testutil.ToFloat64(k.units)
		t.Logf("%v units for %v: %.2f %%", kept, written, 100*kept/written)
		if kept == 0 || kept > written/100 {
			t.Errorf("keeping the usage of %v units took %v", written, kept)
		}
	})
}

// TestSplit: the counts of very many tenants are kept in several items.
func TestSplit(t *testing.T) {
	counts := make([]Tenant, 30_000)
	random := rand.New(rand.NewPCG(5, 6))
	for i := range counts {
		counts[i] = Tenant{fmt.Sprintf("%016x", random.Uint64()), tenants.Usage{Written: random.Int64N(1e9), Bytes: random.Int64()}}
	}
	parts := split(counts)
	at := 0
	for _, part := range parts {
		if n := len(encode(part)); n > maxRecordBytes {
			t.Errorf("a part has %d bytes", n)
		}
		r := record{worker: "w", number: 1, from: time.Now(), to: time.Now(), counts: part}
		again, err := decode(r.item(encode(part)))
		if err != nil || !reflect.DeepEqual(again.counts, counts[at:at+len(part)]) || again.worker != "w" {
			t.Fatal(err, "a part is not what it was")
		}
		at += len(part)
	}
	if at != len(counts) || len(parts) < 2 {
		t.Errorf("%d parts have %d of %d tenants", len(parts), at, len(counts))
	}
}

// TestDecodeRefuses: an item that is no record is an error.
func TestDecodeRefuses(t *testing.T) {
	r := record{worker: "w", number: 1, from: time.Now(), to: time.Now()}
	for name, change := range map[string]func(item map[string]types.AttributeValue){
		"no counts":         func(i map[string]types.AttributeValue) { delete(i, "counts") },
		"no from":           func(i map[string]types.AttributeValue) { delete(i, "from") },
		"a from of no time": func(i map[string]types.AttributeValue) { i["from"] = &types.AttributeValueMemberS{Value: "x"} },
		"counts of nothing": func(i map[string]types.AttributeValue) {
			i["counts"] = &types.AttributeValueMemberB{Value: []byte("x")}
		},
	} {
		item := r.item(encode(nil))
		if _, err := decode(item); err != nil {
			t.Fatal(err)
		}
		change(item)
		if got, err := decode(item); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestKeptWhenDue: a process that is paused between pieces of work, and may be ended in any pause, keeps what it has counted at the end of a
// piece, at most once a minute, in the hour in which it was counted.
func TestKeptWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, start := newTable(t), time.Now()
		var meter Meter
		k := NewKeeper(client, tableName, &meter, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		work := func(n int64) {
			k.KeepDue(t.Context())
			meter.Used("acme", &tenants.Usage{Written: n})
			k.KeepDue(t.Context())
		}
		expect := func(want ...int64) {
			t.Helper()
			lines, err := Report(t.Context(), client, tableName, start, time.Now().Add(time.Hour), "", Hour, ListPrices)
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for i := range lines {
				got = append(got, lines[i].Written)
			}
			if !slices.Equal(got, want) {
				t.Errorf("after %v the hours have %v, want %v", time.Since(start), got, want)
			}
		}
		work(1)
		expect(1)
		time.Sleep(30 * time.Second)
		work(10)
		expect(1)
		time.Sleep(5 * time.Hour)
		work(100)
		expect(11) // what comes now is kept within the minute after
		time.Sleep(time.Minute)
		work(1000)
		expect(11, 100)
		time.Sleep(2 * time.Minute)
		work(10_000)
		expect(11, 1100)
	})
}

package usage

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Writing is what a Keeper asks of DynamoDB.
type Writing interface {
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
}

const (
	// keepEvery is how often counts are written: kill -9 loses no more.
	keepEvery = time.Minute
	// keepTimeout limits one call.
	keepTimeout = 10 * time.Second
)

// Keeper writes what a Meter counts to the table. Make it with NewKeeper, and run it once.
type Keeper struct {
	client Writing
	table  string
	meter  *Meter
	log    *slog.Logger
	now    func() time.Time

	// Only the goroutine of Run, or the caller of KeepDue, uses these.
	since   time.Time // nothing that is not kept was counted before
	kept    time.Time // when KeepDue kept something last
	worker  string
	number  int
	waiting []record // not yet written, oldest first
	warned  bool

	units  prometheus.Counter
	behind prometheus.Gauge
}

// NewKeeper makes a keeper for a worker process. Its id is new each time, so that no process overwrites another's counts.
func NewKeeper(client Writing, table string, meter *Meter, registry prometheus.Registerer, log *slog.Logger) *Keeper {
	k := &Keeper{
		client: client, table: table, meter: meter, log: log, now: time.Now, worker: uuid.NewString(),
		units: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tributary_metering_units_total", Help: "Write units that keeping the tenants' usage has consumed."}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tributary_metering_behind_seconds", Help: "Age of the oldest counts of usage that are not in the table yet."}),
	}
	registry.MustRegister(k.units, k.behind)
	return k
}

// Run keeps what is counted, every minute, until ctx ends, and then once more. ctx should end when nothing is counted any more.
func (k *Keeper) Run(ctx context.Context) {
	from := k.now()
	for {
		// On the minute, so that no record reaches from one hour into the next.
		wait := time.NewTimer(from.Truncate(keepEvery).Add(keepEvery).Sub(k.now()))
		select {
		case <-ctx.Done():
			wait.Stop()
			k.keep(context.WithoutCancel(ctx), from)
			return
		case <-wait.C:
		}
		to := k.now()
		k.keep(ctx, from)
		from = to
	}
}

// KeepDue takes the place of Run in a process that may be paused, or ended, at any time between two calls: it keeps what is counted, at
// most once a minute. It is called before and after each piece of work, by one goroutine at a time.
func (k *Keeper) KeepDue(ctx context.Context) {
	now := k.now().Round(0) // the time of day: the other clock may stand still in a pause
	if now.Sub(k.kept) < keepEvery {
		return
	}
	if k.keep(ctx, k.since) {
		k.kept = now
	}
	k.since = now
}

// keep makes records of what was counted since from, and writes what waits. It returns whether there was any.
func (k *Keeper) keep(ctx context.Context, from time.Time) (any bool) {
	to := k.now()
	if counts := k.meter.take(); len(counts) > 0 {
		for _, part := range split(counts) {
			k.number++
			k.waiting = append(k.waiting, record{k.worker, k.number, from, to, part})
		}
	}
	any = len(k.waiting) > 0
	for len(k.waiting) > 0 {
		if err := k.write(ctx, &k.waiting[0]); err != nil {
			if !k.warned {
				k.log.Warn("usage can't be kept in the table, and is held until it can", "table", k.table, "records", len(k.waiting), "error", err)
			}
			k.warned = true
			k.limit()
			break
		}
		k.waiting[0] = record{}
		k.waiting = k.waiting[1:]
		if k.warned {
			k.log.Info("usage is kept in the table again")
			k.warned = false
		}
	}
	k.behind.Set(0)
	if len(k.waiting) > 0 {
		k.behind.Set(to.Sub(k.waiting[0].from).Seconds())
	}
	return any
}

// maxWaiting is how many records wait at most. Beyond it the two oldest are joined, so that counts are only ever less precise in time.
const maxWaiting = 60

// limit joins records until few enough wait. The record that was tried last is left alone: it may be in the table.
func (k *Keeper) limit() {
	for len(k.waiting) > maxWaiting {
		a, b := &k.waiting[1], &k.waiting[2]
		var joined Meter
		for _, r := range []*record{a, b} {
			for i := range r.counts {
				joined.Used(r.counts[i].Tenant, &r.counts[i].Usage)
			}
		}
		b.from, b.counts = a.from, joined.take()
		k.waiting = append(k.waiting[:1], k.waiting[2:]...)
	}
}

func (k *Keeper) write(ctx context.Context, r *record) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	out, err := k.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &k.table, Item: r.item(encode(r.counts)), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	})
	if err != nil {
		return err
	}
	if c := out.ConsumedCapacity; c != nil && c.CapacityUnits != nil {
		k.units.Add(*c.CapacityUnits)
	}
	return nil
}

package erase

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/queues"
	"tributary/internal/operate/deadletters"
)

// Certificate says what an erasure has done, and what lies outside it. It is complete once Ended is set.
type Certificate struct {
	Tenant  string     `json:"tenant"`
	Erasure string     `json:"erasure"`
	By      string     `json:"by"`
	Table   string     `json:"table"`
	Types   string     `json:"types"` // the fingerprint of the declared types
	Began   time.Time  `json:"began"`
	Ended   *time.Time `json:"ended"`
	Steps   []StepTime `json:"steps"`
	Workers Workers    `json:"workers"`
	Items   Items      `json:"items"`
	Letters LetterSums `json:"letters"`
	// WriteUnits are those that the answers to the deletes reported. Of an erasure that was killed, those of at most the last
	// 1,000 deletes are missing.
	WriteUnits Units `json:"write_units"`
	Proof      Proof `json:"proof"`
	// DroppedUntil is until when workers drop commands for the tenant.
	DroppedUntil time.Time `json:"dropped_until,omitzero"`
	Outside      []Outside `json:"outside"`
}

// StepTime is when a step was reached.
type StepTime struct {
	Step string    `json:"step"`
	At   time.Time `json:"at"`
}

// Workers are those that were alive when the erasure began.
type Workers struct {
	Confirmed    []string `json:"confirmed"`
	PresumedDead []string `json:"presumed_dead"` // silent for so long that they can't write any more
}

// Items counts what was deleted.
type Items struct {
	ByType     map[string]int `json:"by_type"`
	Tombstones int            `json:"tombstones"`
	Other      int            `json:"other"` // whose keys name no declared type
	Total      int            `json:"total"`
	Late       int            `json:"late"` // deleted beside Total, because they appeared after the count
}

// LetterSums counts letters.
type LetterSums struct {
	Removed int `json:"removed"`
	// Shared are messages that SQS moved whole, with commands of other tenants too. They stay; what they have of the tenant is
	// dropped where they are redriven.
	Shared int `json:"shared"`
	// Pending were found and are being removed. The newest of them was sent at PendingAt, by the clock of SQS.
	Pending   int       `json:"pending,omitempty"`
	PendingAt time.Time `json:"pending_at,omitzero"`
}

// Units are write units by kind.
type Units struct {
	Table   float64            `json:"table"`
	Indexes map[string]float64 `json:"indexes"`
}

// Proof is what was found empty, twice.
type Proof struct {
	At      time.Time `json:"at,omitzero"`
	Table   bool      `json:"table"`
	Indexes []string  `json:"indexes"` // those whose hash key is the tenant's
	Letters bool      `json:"letters"`
}

// Outside is a place that an erasure does not reach.
type Outside struct {
	What   string `json:"what"`
	Detail string `json:"detail"`
}

func (c *Certificate) step() Step {
	if len(c.Steps) == 0 {
		return Nothing
	}
	return parseStep(c.Steps[len(c.Steps)-1].Step)
}

// Complete says whether the erasure has ended.
func (c *Certificate) Complete() bool { return c.step() == Erased }

// conclude completes the certificate.
func (r *run) conclude(ctx context.Context) error {
	retention, outside, err := r.outside(ctx)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	until := now.Add(retention + r.Tombstones).Truncate(time.Second)
	r.record.Expires = until.Add(certificateStays)
	return r.save(ctx, func(c *Certificate) {
		if c.step() < Erased {
			c.Ended, c.DroppedUntil, c.Outside = &now, until, outside
		}
	})
}

// outside says what the erasure does not reach. retention is how long a message can stay on the queue and then on the dead-letter
// queue.
func (e *Eraser) outside(ctx context.Context) (retention time.Duration, _ []Outside, _ error) {
	queue, err := queues.ReadURL(ctx, e.Queues, e.Queue, e.QueueURL)
	if err != nil {
		return 0, nil, err
	}
	letters, err := queues.ReadURL(ctx, e.Queues, e.Box.Name, e.Box.URL)
	if err != nil {
		return 0, nil, err
	}
	for _, q := range []*queues.Attributes{queue, letters} {
		kept, ok := q.Seconds(sqstypes.QueueAttributeNameMessageRetentionPeriod)
		if !ok {
			kept = maxRetention
		}
		retention += kept
	}
	depth := queue.Depth()
	return retention, []Outside{
		{"messages", fmt.Sprintf("queue %s holds about %d messages of all tenants; commands of this one are dropped as they are received, "+
			"also those that producers and imports still send", e.Queue, depth.Visible+depth.InFlight+depth.Delayed)},
		{"backups", e.backups(ctx)},
		{"other copies", "exports, on-demand backups, copies in other regions and accounts, and what upstream systems keep are not reached"},
		{"usage", "counts of commands and units by tenant and hour are kept until they expire; they hold no data of the tenant but its id"},
		{"logs", "logs and metrics name tenants, and logs of refused commands quote values: they go with their own retention"},
	}, nil
}

// maxRetention is the longest that SQS keeps a message ("Amazon SQS message quotas").
const maxRetention = 14 * 24 * time.Hour

// backups says until when point-in-time recovery keeps what was deleted.
func (e *Eraser) backups(ctx context.Context) string {
	out, err := e.Tables.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &e.Table})
	if err != nil {
		return "whether point-in-time recovery keeps the items could not be read: " + err.Error()
	}
	var recovery *types.PointInTimeRecoveryDescription
	if out.ContinuousBackupsDescription != nil {
		recovery = out.ContinuousBackupsDescription.PointInTimeRecoveryDescription
	}
	if recovery == nil || recovery.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusEnabled {
		return "point-in-time recovery is off"
	}
	days := 35
	if n := aws.ToInt32(recovery.RecoveryPeriodInDays); n > 0 {
		days = int(n)
	}
	until := time.Now().UTC().AddDate(0, 0, days)
	return fmt.Sprintf("point-in-time recovery keeps the items until %s (%d days); a table that is restored to a time before has them again",
		until.Format(time.RFC3339), days)
}

// Write writes the certificate for people.
func (c *Certificate) Write(out io.Writer) error {
	w := bufio.NewWriter(out)
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("tenant", "%s", c.Tenant)
	line("erasure", "%s, by %s, began %s", c.Erasure, c.By, c.Began.UTC().Format(time.RFC3339))
	if c.Ended != nil {
		line("ended", "%s", c.Ended.UTC().Format(time.RFC3339))
	} else {
		line("not ended", "the last step reached is %q", c.step())
	}
	line("removed", "%s", c.items())
	if c.Items.Late > 0 {
		line("", "%d more appeared after the count: a worker that may not read the control partition writes on", c.Items.Late)
	}
	line("letters", "%d", c.Letters.Removed)
	if c.Letters.Shared > 0 {
		line("", "%d messages with commands of other tenants too stay on the dead-letter queue", c.Letters.Shared)
	}
	units := fmt.Sprintf("table %.0f", c.WriteUnits.Table)
	for _, name := range slices.Sorted(maps.Keys(c.WriteUnits.Indexes)) {
		units += fmt.Sprintf(", %s %.0f", name, c.WriteUnits.Indexes[name])
	}
	line("write units", "%s", units)
	line("workers", "%d confirmed, %d presumed dead", len(c.Workers.Confirmed), len(c.Workers.PresumedDead))
	if !c.Proof.At.IsZero() {
		line("proof", "empty at %s: %s", c.Proof.At.UTC().Format(time.RFC3339), strings.Join(append([]string{"table"}, append(c.Proof.Indexes, "letters")...), ", "))
	}
	if !c.DroppedUntil.IsZero() {
		line("dropped until", "%s", c.DroppedUntil.UTC().Format(time.RFC3339))
	}
	for _, o := range c.Outside {
		line("outside", "%s: %s", o.What, o.Detail)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

// Forecast is what an erasure would do.
type Forecast struct {
	Tenant  string     `json:"tenant"`
	Items   Items      `json:"items"`
	Letters LetterSums `json:"letters"` // Removed are those that would be
	Unseen  int        `json:"letters_unseen"`
	Outside []Outside  `json:"outside"`
}

// Forecast counts what an erasure would remove, and changes nothing.
func (e *Eraser) Forecast(ctx context.Context, tenant string) (*Forecast, error) {
	f := &Forecast{Tenant: tenant}
	var err error
	if f.Items, err = e.countItems(ctx, tenant, func(n int) {
		if e.Progress != nil {
			e.Progress(Counted, n)
		}
	}); err != nil {
		return nil, err
	}
	found, err := e.lookFor(ctx, tenant)
	if err != nil {
		return nil, err
	}
	f.Letters = LetterSums{Removed: len(found.ids), Shared: found.shared}
	f.Unseen = found.walked.Elsewhere + found.walked.Unseen
	_, f.Outside, err = e.outside(ctx)
	return f, err
}

// Write writes the forecast for people.
func (f *Forecast) Write(out io.Writer) error {
	c := Certificate{Items: f.Items}
	_, err := fmt.Fprintf(out, "%s: %s and %s would be erased\n", f.Tenant, c.items(), deadletters.Count(f.Letters.Removed))
	for _, o := range f.Outside {
		_, _ = fmt.Fprintf(out, "outside: %s: %s\n", o.What, o.Detail)
	}
	return err
}

// items says in words how many items there were.
func (c *Certificate) items() string {
	var items []string
	for _, name := range slices.Sorted(maps.Keys(c.Items.ByType)) {
		items = append(items, fmt.Sprintf("%s %d", name, c.Items.ByType[name]))
	}
	items = append(items, fmt.Sprintf("tombstones %d, other %d", c.Items.Tombstones, c.Items.Other))
	return fmt.Sprintf("%d items (%s)", c.Items.Total, strings.Join(items, ", "))
}

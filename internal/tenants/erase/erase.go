// Package erase removes all that the table and the dead-letter queue hold of a tenant, and proves it (ADR 34).
package erase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/uuid"

	"tributary/internal/aws/queues"
	"tributary/internal/operate/deadletters"
	"tributary/internal/schema"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
)

// Step is how far an erasure is. The steps are reached in the order of their numbers; each can be repeated.
type Step int

// The steps.
const (
	Nothing Step = iota
	Erasing      // the decision is written: workers drop the tenant's commands
	Quiet        // no write of an older revision is under way
	Letters      // the dead-letter queue has no letter of the tenant
	Counted      // the items were counted, and can't become more
	Removed      // the items were deleted
	Proved       // table, indexes and dead-letter queue were found empty
	Erased       // the certificate is complete
)

var stepNames = [...]string{"", "erasing", "quiet", "letters", "counted", "removed", "proved", "erased"}

func (s Step) String() string { return stepNames[s] }

func parseStep(name string) Step {
	for s, n := range stepNames {
		if n == name {
			return Step(s)
		}
	}
	return Nothing
}

// ItemAPI is the part of DynamoDB that reads and deletes items.
type ItemAPI interface {
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
}

// TableAPI is the part of DynamoDB that describes a table.
type TableAPI interface {
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	DescribeContinuousBackups(context.Context, *dynamodb.DescribeContinuousBackupsInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeContinuousBackupsOutput, error)
}

// Eraser erases tenants. Its fields are set before its first use and not changed.
type Eraser struct {
	Items  ItemAPI
	Tables TableAPI
	Store  *control.Store
	Table  string
	Types  *schema.Set
	// Queues reads the attributes of the command queue and the dead-letter queue.
	Queues   queues.AttributesAPI
	Queue    string // name
	QueueURL string
	Box      *deadletters.Box
	// Tombstones is for how long a tombstone can hold back an older command: it, and the queues' retentions, are how long
	// an erasure is remembered.
	Tombstones time.Duration
	// Progress is told what is done now, and how much of it. It may be nil.
	Progress func(step Step, done int)
	// Waiting is told that the dead-letter queue has letters that can't be seen now, as the last look found, and until when it looks
	// again. It may be nil.
	Waiting func(seen deadletters.Walked, until time.Time)
}

// Times of an erasure.
const (
	// quietWithin is how long it waits for the workers: longer than a worker that died can still write.
	quietWithin = control.Presumed + time.Minute
	// certificateStays is for how long the record is kept after the erasure itself is forgotten.
	certificateStays = 396 * 24 * time.Hour
)

// Run erases a tenant, or goes on with an erasure that did not end. It returns the certificate so far, beside an error too. Where the tenant
// was erased before and the erasure is still remembered, it returns the certificate of then and changes nothing.
//
// Several may erase a tenant at the same time: each step can be done twice, and the record is written by one at a time.
func (e *Eraser) Run(ctx context.Context, tenant, by string) (*Certificate, error) {
	r := &run{Eraser: e, tenant: tenant}
	err := r.erase(ctx, by)
	return &r.cert, err
}

// run is one call of Run.
type run struct {
	*Eraser
	tenant   string
	record   control.Erasure
	cert     Certificate
	revision int64 // of the decision
}

func (r *run) erase(ctx context.Context, by string) error {
	over, err := r.begin(ctx, by)
	if err != nil || over {
		return err
	}
	for _, step := range []struct {
		to Step
		do func(context.Context) error
	}{
		{Quiet, r.quiet}, {Letters, r.letters}, {Counted, r.count}, {Removed, r.remove}, {Proved, r.prove}, {Erased, r.conclude},
	} {
		if r.cert.step() >= step.to {
			continue
		}
		r.progress(step.to, 0)
		if err := step.do(ctx); err != nil {
			return &StepError{step.to, err}
		}
		if err := r.reach(ctx, step.to); err != nil {
			return err
		}
	}
	return r.forgetLater(ctx)
}

// StepError says in which step an erasure ended. Erasing again goes on from there.
type StepError struct {
	Step Step // that was not reached
	Err  error
}

func (e *StepError) Error() string {
	return fmt.Sprintf("the step %q was not reached, and erasing again goes on from there: %v", e.Step, e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }

func (r *run) progress(step Step, done int) {
	if r.Progress != nil {
		r.Progress(step, done)
	}
}

// begin writes the decision and the record, or finds them. over says that the tenant is erased.
func (r *run) begin(ctx context.Context, by string) (over bool, err error) {
	now := time.Now()
	d, err := r.Store.Decision(ctx, r.tenant)
	if err != nil {
		return false, err
	}
	if r.record, err = r.Store.Erasure(ctx, r.tenant); err != nil {
		return false, err
	}
	mine := d.Verdict(now) == tenants.Drop && r.record.ID == d.Erasure
	if mine {
		if err := r.load(); err != nil {
			return false, err
		}
		if d.Status == tenants.Erased {
			return true, nil
		}
		if r.cert.step() >= Quiet {
			return false, nil
		}
	}
	if err := r.decide(ctx, by); err != nil {
		return false, err
	}
	return false, r.reach(ctx, Erasing)
}

// decide writes the decision to erase, or again the one that is there: a worker may have missed its revision.
func (r *run) decide(ctx context.Context, by string) error {
	id := uuid.NewString()
	d, revision, err := r.Store.Decide(ctx, r.tenant, "erase", func(old tenants.Decision) (tenants.Decision, error) {
		if now := time.Now().UTC(); old.Verdict(now) != tenants.Drop {
			return tenants.Decision{Status: tenants.Erasing, Erasure: id, By: by, At: now}, nil
		}
		return old, nil
	})
	if err != nil {
		return err
	}
	r.revision = revision
	if r.record.ID == d.Erasure { // also where another began it since the decision was looked at
		return r.load()
	}
	r.record.ID, r.record.Expires = d.Erasure, time.Time{}
	r.cert = Certificate{
		Tenant: r.tenant, Erasure: d.Erasure, By: d.By, Table: r.Table, Began: d.At, Types: r.Types.Fingerprint,
		Items: Items{ByType: map[string]int{}}, WriteUnits: Units{Indexes: map[string]float64{}},
	}
	return nil
}

// reach notes that a step was reached.
func (r *run) reach(ctx context.Context, step Step) error {
	return r.save(ctx, func(c *Certificate) {
		if c.step() < step {
			c.Steps = append(c.Steps, StepTime{step.String(), time.Now().UTC()})
		}
	})
}

// save changes the certificate in the record. Where somebody else has changed the record meanwhile, it changes what they have left:
// change must be right for that too.
func (r *run) save(ctx context.Context, change func(*Certificate)) error {
	for {
		change(&r.cert)
		text, err := json.Marshal(&r.cert)
		if err != nil {
			return fmt.Errorf("encode certificate: %w", err)
		}
		r.record.Step, r.record.Certificate = r.cert.step().String(), string(text)
		err = r.Store.SaveErasure(ctx, &r.record)
		if !errors.Is(err, control.ErrContended) {
			return err
		}
		id := r.record.ID
		if r.record, err = r.Store.Erasure(ctx, r.tenant); err != nil {
			return err
		}
		if r.record.ID != id {
			return fmt.Errorf("write record of erasure %s: erasure %s has begun since", id, r.record.ID)
		}
		if err := r.load(); err != nil {
			return err
		}
	}
}

func (r *run) load() error {
	r.cert = Certificate{}
	if err := json.Unmarshal([]byte(r.record.Certificate), &r.cert); err != nil {
		return fmt.Errorf("decode record of erasure %s: %w", r.record.ID, err)
	}
	return nil
}

// quiet waits until nothing is written for the tenant any more.
func (r *run) quiet(ctx context.Context) error {
	waiting, err := r.Store.AwaitQuiet(ctx, r.revision, quietWithin)
	if err != nil {
		return err
	}
	return r.save(ctx, func(c *Certificate) {
		if c.step() >= Quiet {
			return
		}
		c.Workers.Confirmed, c.Workers.PresumedDead = names(waiting.Confirmed), names(waiting.Dead)
	})
}

func names(workers []control.Worker) []string {
	all := []string{}
	for i := range workers {
		all = append(all, workers[i].Name())
	}
	return all
}

// forgetLater makes the decision the memory of the erasure. The certificate is complete already.
func (r *run) forgetLater(ctx context.Context) error {
	_, _, err := r.Store.Decide(ctx, r.tenant, "erased", func(old tenants.Decision) (tenants.Decision, error) {
		if old.Erasure != r.cert.Erasure {
			return old, fmt.Errorf("write decision about tenant %s: the erasure is over, because somebody has decided otherwise since", r.tenant)
		}
		old.Status, old.At, old.Expires = tenants.Erased, time.Now().UTC(), r.cert.DroppedUntil
		return old, nil
	})
	return err
}

// Package setup creates the queue, the dead-letter queue and the table that a worker needs. It compares existing ones with the ones
// that it would create.
package setup

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/schema"
)

// The settings that Setup gives a queue. All are within the limits of SQS ("Amazon SQS message quotas").
const (
	// VisibilityTimeout is longer than the worker's drain timeout: a message of a worker that is shutting down
	// does not come back while it still writes.
	VisibilityTimeout = 60 * time.Second
	// Retention is the longest that SQS allows, for both queues: an outage or a dead letter may have to wait for people.
	Retention = 14 * 24 * time.Hour
	// LongPoll is the longest that SQS allows: an idle poller makes three calls a minute.
	LongPoll = 20 * time.Second
	// MaxReceiveCount leaves room for messages that are handed back because their tenant is throttled. Commands
	// that can never be written are dead-lettered by the worker at once, whatever it is.
	MaxReceiveCount = 100
	// MessageBytes is the largest message that SQS allows.
	MessageBytes = 1 << 20
)

// Plan describes the resources that should exist.
type Plan struct {
	Queue       string // name or URL; a name ending in .fifo makes a FIFO queue
	DeadLetters string // name or URL
	Table       string
	// Types are the declared types: each of their references has an index. Nil means the built-in types.
	Types *schema.Set
	// ReadCapacity and WriteCapacity are the units a second of the table, and again of each index. Both 0 means
	// on-demand billing for a table that is made, and whatever it has for one that is there.
	ReadCapacity, WriteCapacity int64
	// DeletionProtection and PointInTimeRecovery turn these on; false leaves them as they are.
	DeletionProtection, PointInTimeRecovery bool
	// Update changes existing resources that differ. Without it they are only compared.
	Update bool
}

func (p *Plan) types() *schema.Set {
	if p.Types == nil {
		return schema.Builtin()
	}
	return p.Types
}

// declares says whether an index is a declared reference's.
func (p *Plan) declares(index string) bool {
	return slices.ContainsFunc(p.types().References, func(r *schema.Reference) bool { return r.Index == index })
}

// Kind is what a resource is.
type Kind string

// The kinds of resource.
const (
	Queue       Kind = "queue"
	DeadLetters Kind = "dead-letter queue"
	Table       Kind = "table"
)

// Outcome is the result of Setup for one resource.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"   // it was not there
	Unchanged Outcome = "unchanged" // it was there, as Setup would have made it
	Updated   Outcome = "updated"   // it was there, differed, and no longer does
	Differs   Outcome = "differs"   // it was there and still differs
)

// Resource is one queue or table and what became of it.
type Resource struct {
	Kind        Kind         `json:"kind"`
	Name        string       `json:"name"`
	URL         string       `json:"url,omitempty"` // of a queue
	ARN         string       `json:"arn"`
	Outcome     Outcome      `json:"outcome"`
	Settings    string       `json:"settings,omitempty"` // of what was created, for people
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is one setting that was not as Setup would have made it.
type Difference struct {
	Setting string `json:"setting"`
	Is      string `json:"is"`   // what was found
	Want    string `json:"want"` // what Setup makes
	Updated bool   `json:"updated"`
	// Remedy is how to change what Setup doesn't: empty where Plan.Update does it.
	Remedy string `json:"remedy,omitempty"`
	// Fatal means that the worker can't work with it.
	Fatal bool `json:"fatal,omitempty"`

	// Attribute is the attribute of a queue that Plan.Update sets.
	Attribute types.QueueAttributeName `json:"-"`
	value     string
}

// conclude sets the outcome of a resource that was there already.
func (r *Resource) conclude() {
	r.Outcome = Unchanged
	for _, d := range r.Differences {
		if !d.Updated {
			r.Outcome = Differs
			return
		}
		r.Outcome = Updated
	}
}

// Setup talks to AWS. Its fields are set before Run and not changed.
type Setup struct {
	Queues   QueueAPI
	Tables   TableAPI
	Features TableFeatureAPI
	// Progress is told, in one line each, what takes long. It may be nil.
	Progress func(line string)
}

// Run makes what is missing, changes what differs where the plan asks for it, and returns when all of it can be
// used. What it returns beside an error is what it had done by then. It may be repeated at any time.
func (s *Setup) Run(ctx context.Context, plan *Plan) ([]Resource, error) {
	var done []Resource
	made, err := s.queues(ctx, plan)
	done = append(done, made...)
	if err != nil {
		return done, err
	}
	created := time.Now()
	table, err := s.table(ctx, plan)
	if table != nil {
		done = append(done, *table)
	}
	if err != nil {
		return done, err
	}
	for _, r := range made {
		if r.Outcome == Created {
			// "After you create a queue, you must wait at least one second after the queue is created to be able
			// to use the queue" ("CreateQueue").
			return done, sleep(ctx, time.Second-time.Since(created))
		}
	}
	return done, nil
}

func (s *Setup) progress(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(fmt.Sprintf(format, args...))
	}
}

// sleep waits, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Seconds writes a count of seconds, as SQS keeps it, for people: "60 s", "4 days". Other text is
// returned unchanged.
func Seconds(text string) string {
	n, err := strconv.ParseInt(text, 10, 64)
	const day = 24 * 60 * 60
	switch {
	case err != nil:
		return text
	case n == day:
		return "1 day"
	case n > day && n%day == 0:
		return fmt.Sprintf("%d days", n/day)
	case n > 3600 && n%3600 == 0:
		return fmt.Sprintf("%d h", n/3600)
	case n > 60 && n%60 == 0:
		return fmt.Sprintf("%d min", n/60)
	default:
		return text + " s"
	}
}

// Bytes writes a size for people: "1 MiB", "256 KiB".
func Bytes(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}

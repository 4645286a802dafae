// Package doctor checks for problems that show only in production: settings that lose messages, keys that don't fit, clocks that are
// off, and missing permissions. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/aws/awsclient"
	"tributary/internal/schema"
)

// Status is the result of a check.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // the worker works, but not as well or as safely as it could
	Failed  Status = "failed"  // the worker does not work, or may lose messages
	Skipped Status = "skipped" // it could not be looked at
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // how to fix it; empty if nothing is wrong
}

// QueueAPI is the part of SQS that a doctor calls.
type QueueAPI interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
}

// TableAPI is the part of DynamoDB that describes the table.
type TableAPI interface {
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	DescribeTimeToLive(context.Context, *dynamodb.DescribeTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTimeToLiveOutput, error)
	DescribeContinuousBackups(context.Context, *dynamodb.DescribeContinuousBackupsInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeContinuousBackupsOutput, error)
}

// ItemAPI is the part of DynamoDB that a doctor tries on items.
type ItemAPI interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
}

// Doctor examines one worker's surroundings. Its fields are set before Examine and not changed.
type Doctor struct {
	Queues  QueueAPI
	Tables  TableAPI
	Items   ItemAPI
	Control ControlAPI

	Queue, DeadLetters string // names or URLs
	Table              string
	// Types are the declared types; nil means the built-in ones. TypesFile is the file that declares them, or "".
	Types     *schema.Set
	TypesFile string
	// QueueRegion and TableRegion are the regions that the clients use. A queue URL's region is that of its queue's client.
	QueueRegion, TableRegion string
	DrainTimeout             time.Duration // of the worker

	checks []Check
}

// Examine makes all checks, in the order in which they are best fixed. A check is skipped if an earlier one
// that it depends on failed.
func (d *Doctor) Examine(ctx context.Context) []Check {
	d.checks = nil
	if d.Types == nil {
		d.Types = schema.Builtin()
	}
	d.declaration()
	queue := d.readQueue(ctx, "queue", d.Queue)
	letters := d.readQueue(ctx, "dead-letter queue", d.DeadLetters)
	d.queueSettings(queue, letters)
	d.queuePermissions(ctx, queue)
	table := d.readTable(ctx)
	d.regions()
	d.tableFeatures(ctx, table != nil)
	d.tablePermissions(ctx, table)
	d.tenantPermissions(ctx, table)
	d.clocks(queue, table)
	return d.checks
}

func (d *Doctor) add(c Check) { d.checks = append(d.checks, c) }

func (d *Doctor) skip(why string, names ...string) {
	for _, name := range names {
		d.add(Check{Name: name, Status: Skipped, Found: why})
	}
}

// declaration reports the types that a file declares. Workers with another fingerprint than this have another file.
func (d *Doctor) declaration() {
	if d.TypesFile == "" {
		return
	}
	d.add(Check{Name: "types", Status: OK, Found: fmt.Sprintf("%s, fingerprint %s; a worker's is in its /status", d.TypesFile, d.Types.Fingerprint)})
}

// regions warns if the queue and the table are in different regions.
func (d *Doctor) regions() {
	if d.QueueRegion == d.TableRegion {
		return
	}
	d.add(Check{
		Name: "region", Status: Warning,
		Found:  fmt.Sprintf("the queue is in %s by its URL, the table in %s: every write goes from one to the other", d.QueueRegion, d.TableRegion),
		Remedy: "set AWS_REGION=" + d.QueueRegion + " if the table is meant to be there too",
	})
}

// failed makes a check of a call that failed.
func failed(name string, err error, remedy string) Check {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Check{Name: name, Status: Skipped, Found: "not looked at in time", Remedy: "worker doctor again, with a longer --timeout"}
	}
	return Check{Name: name, Status: Failed, Found: awsclient.Explain(err).Error(), Remedy: remedy}
}

// The clock skew that signatures bear: AWS refuses requests that are five minutes off ("Signature Version 4").
const (
	skewWarning = 30 * time.Second
	skewFailed  = 5 * time.Minute
)

// clockCheck compares the two clocks. The server's has whole seconds.
func clockCheck(name string, server, local time.Time) Check {
	c := Check{Name: name, Status: OK}
	skew := local.Sub(server)
	switch size := skew.Abs(); {
	case size <= 2*time.Second:
		c.Found = "this machine and AWS agree, to the second"
		return c
	case size >= skewFailed:
		c.Status = Failed
	case size >= skewWarning:
		c.Status = Warning
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	c.Found = fmt.Sprintf("this machine is %s %s AWS", skew.Abs().Round(time.Second), direction)
	if c.Status != OK {
		c.Remedy = "run a time service (chrony, systemd-timesyncd); AWS refuses signatures that are 5 minutes off"
	}
	return c
}

package main

import (
	"regexp"

	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/schema"
)

// names are the flags that say where commands come from and go to, and of which types they are: every command that calls AWS has them.
type names struct {
	schema.File
	Queue string `default:"tributary-commands" placeholder:"NAME" help:"Queue of commands: name or URL (${default})."`
	DLQ   string `name:"dlq" placeholder:"NAME" help:"Dead-letter queue: name or URL (default: the queue's name with -dlq; x.fifo has x-dlq.fifo)."`
	Table string `default:"MultiTenantTable" placeholder:"NAME" help:"DynamoDB table (${default})."`
}

// tableForm is what DynamoDB takes for a table's name ("Supported data types and naming rules in Amazon DynamoDB").
var tableForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{3,255}$`)

// resolve fills in the dead-letter queue and says what is wrong with the names, as an error of usage.
func (n *names) resolve() error {
	if err := queues.Check(n.Queue); err != nil {
		return cli.Usage("--queue: %w", err)
	}
	if n.DLQ == "" {
		n.DLQ = queues.DeadLetters(n.Queue)
	}
	if err := queues.Check(n.DLQ); err != nil {
		return cli.Usage("--dlq: %w", err)
	}
	if n.DLQ == n.Queue {
		return cli.Usage("--dlq: %s is the queue itself", n.DLQ)
	}
	if queues.IsFIFO(n.Queue) != queues.IsFIFO(n.DLQ) {
		return cli.Usage("--dlq: %s: SQS wants a FIFO queue (.fifo) for a FIFO queue's dead letters, and a standard one for a standard one's", n.DLQ)
	}
	if q, d := queues.Region(n.Queue), queues.Region(n.DLQ); q != "" && d != "" && q != d {
		return cli.Usage("--dlq: %s is in %s, the queue in %s: SQS wants both in one region", n.DLQ, d, q)
	}
	if !tableForm.MatchString(n.Table) {
		return cli.Usage("--table %q: a table's name has 3 to 255 letters, digits, dots, - and _", n.Table)
	}
	return nil
}

// located is the queue that is given by its URL, if one is: SQS wants a queue and its dead-letter queue in one region.
func (n *names) located() string {
	if queues.Region(n.Queue) == "" {
		return n.DLQ
	}
	return n.Queue
}

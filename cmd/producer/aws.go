package main

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	smithylogging "github.com/aws/smithy-go/logging"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/logging"
	"tributary/internal/operate/telemetry"
	"tributary/internal/send/publish"
)

// queueFlag is the flag of every command that sends.
type queueFlag struct {
	Queue string `default:"tributary-commands" placeholder:"NAME" help:"Queue of commands: name or URL (${default})."`
}

// connection is a queue and the clients for it.
type connection struct {
	queue publish.Queue
	admin *sqs.Client // retries as the SDK does
	send  *sqs.Client // leaves that to the publisher

	tracing *telemetry.Tracing // nil: off
	log     *logging.Log
}

// traced returns the function that gives a message its trace context, so that workers continue the trace.
func (c *connection) traced() func(context.Context) (string, string) {
	return c.tracing.Injector(c.queue.Name)
}

// close sends the last spans.
func (c *connection) close(ctx context.Context) {
	if err := c.tracing.Close(context.WithoutCancel(ctx)); err != nil {
		c.log.Warn("traces are lost", "error", err)
	}
	c.log.Close()
}

// connect loads the AWS settings and finds the queue.
func (q *queueFlag) connect(ctx context.Context, s *cli.Streams, connections int) (*connection, error) {
	if err := queues.Check(q.Queue); err != nil {
		return nil, cli.Usage("--queue: %w", err)
	}
	cfg, err := awsclient.Open(ctx, connections, queues.Region(q.Queue))
	if err != nil {
		return nil, cli.UsageOf[*awsclient.ConfigurationError](err)
	}
	log, err := logging.New(s.Err, logging.Config{Format: "text", Level: "info"})
	if err != nil {
		return nil, err
	}
	cfg.Logger = smithylogging.Nop{} // the SDK also returns what it would log
	c := &connection{log: log}
	c.tracing = telemetry.Start(ctx, "tributary-producer", log.Logger, s.Err)
	c.tracing.Instrument(&cfg)
	c.admin, c.send = queues.Client(cfg, q.Queue), publish.Client(cfg, q.Queue)
	if c.queue, err = publish.Find(ctx, c.admin, q.Queue); err != nil {
		return nil, explain(err)
	}
	return c, nil
}

// explain is queues.Explain with what to do about a missing queue.
func explain(err error) error { return queues.Explain(err, "worker setup makes it") }

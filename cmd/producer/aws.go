package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/logging"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/telemetry"
	"tributary/internal/send/publish"
)

// queueFlag is the flag of every command that sends.
type queueFlag struct {
	Queue string `default:"tributary-commands" placeholder:"NAME" help:"Queue of commands: name or URL (${default})."`
}

// output is the flag of commands that a script may want to read.
type output struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Output: text, or json for scripts (${default})."`
}

func (o *output) json() bool { return o.Output == "json" }

// connection is a queue that was found, and what talks to it.
type connection struct {
	queue publish.Queue
	admin *sqs.Client // retries as the SDK does
	send  *sqs.Client // leaves that to the publisher

	tracing *telemetry.Tracing // nil: off
	log     *slog.Logger
}

// traced is what the publisher puts into messages so that workers go on with the trace.
func (c *connection) traced() func(context.Context) (string, string) {
	return c.tracing.Injector(c.queue.Name)
}

// close sends the last spans.
func (c *connection) close(ctx context.Context) {
	if err := c.tracing.Close(context.WithoutCancel(ctx)); err != nil {
		c.log.Warn("traces are lost", "error", err)
	}
}

// connect loads the AWS settings and finds the queue.
func (q *queueFlag) connect(ctx context.Context, connections int) (*connection, error) {
	if err := queues.Check(q.Queue); err != nil {
		return nil, cli.Usage("--queue: %w", err)
	}
	cfg, err := awsclient.Load(ctx, connections)
	if err != nil {
		return nil, cli.Usage("%w", err)
	}
	if cfg.Region == "" {
		cfg.Region = queues.Region(q.Queue)
	}
	if err := awsclient.Check(ctx, cfg); err != nil {
		if wrong, ok := errors.AsType[*awsclient.ConfigurationError](err); ok {
			return nil, cli.Usage("%w", wrong)
		}
		return nil, err
	}
	cfg.Logger = logging.Nop{} // what goes wrong comes back as an error
	c := &connection{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	c.tracing = telemetry.Start(ctx, "tributary-producer", c.log, os.Stderr)
	c.tracing.Instrument(&cfg)
	c.admin, c.send = sqs.NewFromConfig(cfg), publish.Client(cfg)
	if c.queue, err = publish.Find(ctx, c.admin, q.Queue); err != nil {
		return nil, explain(err)
	}
	return c, nil
}

// explain makes of an error what a person can act on.
func explain(err error) error {
	if missing, ok := errors.AsType[*queues.NotFoundError](err); ok {
		return fmt.Errorf("%w: worker setup makes it", missing)
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return awsclient.Explain(err)
}

// writeJSON writes a value as indented JSON, with a newline.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

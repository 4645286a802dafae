package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/setup"
)

type setupCmd struct {
	names
	output
	ReadCapacity        int64         `env:"TRIBUTARY_SETUP_READ_CAPACITY" placeholder:"UNITS" help:"Provisioned read units a second, for the table and again for its index (default: on-demand billing)."`
	WriteCapacity       int64         `env:"TRIBUTARY_SETUP_WRITE_CAPACITY" placeholder:"UNITS" help:"Provisioned write units a second, likewise."`
	DeletionProtection  bool          `env:"TRIBUTARY_SETUP_DELETION_PROTECTION" help:"Protect the table from being deleted."`
	PointInTimeRecovery bool          `env:"TRIBUTARY_SETUP_POINT_IN_TIME_RECOVERY" help:"Turn on the table's point-in-time recovery (AWS bills it by the table's size)."`
	Update              bool          `env:"TRIBUTARY_SETUP_UPDATE" help:"Change what is there and differs: queue settings, missing index, TTL, capacity. Without it nothing that exists is changed."`
	Timeout             time.Duration `env:"TRIBUTARY_SETUP_TIMEOUT" default:"15m" help:"How long to wait for the table and its index (${default})."`
}

// Help is what `worker setup --help` says below the flags' list.
func (*setupCmd) Help() string {
	return "Makes the queue, its dead-letter queue and the table, and waits until they can be used. What is there already " +
		"is compared and left as it is; --update changes it. Setup may be run at any time, also while workers run."
}

func (c *setupCmd) plan() (*setup.Plan, error) {
	if err := c.resolve(); err != nil {
		return nil, err
	}
	if c.ReadCapacity < 0 || c.WriteCapacity < 0 || (c.ReadCapacity == 0) != (c.WriteCapacity == 0) {
		return nil, cli.Usage("--read-capacity %d and --write-capacity %d: give both, from 1 up, or neither for on-demand billing", c.ReadCapacity, c.WriteCapacity)
	}
	if c.Timeout <= 0 {
		return nil, cli.Usage("--timeout %s: it must be more than 0", c.Timeout)
	}
	return &setup.Plan{
		Queue: c.Queue, DeadLetters: c.DLQ, Table: c.Table,
		ReadCapacity: c.ReadCapacity, WriteCapacity: c.WriteCapacity,
		DeletionProtection: c.DeletionProtection, PointInTimeRecovery: c.PointInTimeRecovery,
		Update: c.Update,
	}, nil
}

// Run makes what is missing and says what there is.
func (c *setupCmd) Run(ctx context.Context, s *cli.Streams) error {
	plan, err := c.plan()
	if err != nil {
		return err
	}
	cfg, err := c.loadAWS(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("--timeout %s is over", c.Timeout))
	defer cancel()
	tables := dynamodb.NewFromConfig(cfg)
	does := setup.Setup{
		Queues: queues.Client(cfg, c.located()), Tables: tables, Features: tables,
		Progress: func(line string) { _, _ = fmt.Fprintln(s.Err, line) },
	}
	done, err := does.Run(ctx, plan)
	if c.json() {
		if done == nil {
			done = []setup.Resource{}
		}
		err = errors.Join(err, writeJSON(s.Out, map[string]any{"resources": done}))
	} else {
		err = errors.Join(err, writeSetup(s.Out, done, c.Update))
	}
	if err != nil {
		return awsclient.Explain(err)
	}
	for _, r := range done {
		for _, d := range r.Differences {
			if d.Fatal {
				return fmt.Errorf("%s %s can't be used: its %s: %s", r.Kind, r.Name, d.Setting, d.Remedy)
			}
		}
	}
	return nil
}

// writeSetup writes one line for each resource and one for each difference, and how to change what differs.
func writeSetup(w io.Writer, done []setup.Resource, update bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	changeable := false
	for _, r := range done {
		outcome := string(r.Outcome)
		switch r.Outcome {
		case setup.Unchanged:
			outcome = "there already, as setup makes it"
		case setup.Updated:
			outcome = "there already, updated"
		case setup.Differs:
			outcome = "there already, differs"
		}
		if r.Settings != "" {
			outcome += ": " + r.Settings
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", r.Kind, r.Name, outcome)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for _, r := range done {
		for _, d := range r.Differences {
			verb := "is"
			if d.Updated {
				verb = "was"
			}
			line := fmt.Sprintf("%s %s: %s: %s %s, setup makes %s", r.Kind, r.Name, d.Setting, verb, d.Is, d.Want)
			switch {
			case d.Updated:
				line += " (done)"
			case d.Remedy != "":
				line += "; " + d.Remedy
			default:
				changeable = true
			}
			if _, err := fmt.Fprintln(w, line); err != nil {
				return fmt.Errorf("write report: %w", err)
			}
		}
	}
	if changeable && !update {
		if _, err := fmt.Fprintln(w, "Nothing that was there was changed: worker setup --update changes it."); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/setup"
)

type setupCmd struct {
	names
	cli.Output
	ReadCapacity        int64         `env:"TRIBUTARY_SETUP_READ_CAPACITY" placeholder:"UNITS" help:"Provisioned read units a second, for the table and again for each index (default: on-demand billing)."`
	WriteCapacity       int64         `env:"TRIBUTARY_SETUP_WRITE_CAPACITY" placeholder:"UNITS" help:"Provisioned write units a second, for the table and again for each index. Give both capacities or neither."`
	DeletionProtection  bool          `env:"TRIBUTARY_SETUP_DELETION_PROTECTION" help:"Protect the table from being deleted."`
	PointInTimeRecovery bool          `env:"TRIBUTARY_SETUP_POINT_IN_TIME_RECOVERY" help:"Turn on the table's point-in-time recovery (AWS bills it by the table's size)."`
	Update              bool          `env:"TRIBUTARY_SETUP_UPDATE" help:"Change existing resources that differ: queue settings, missing indexes, TTL, capacity. Without it, existing resources are only compared."`
	Timeout             time.Duration `env:"TRIBUTARY_SETUP_TIMEOUT" default:"15m" help:"How long to wait for the table and its indexes (${default})."`
}

// Help is what `worker setup --help` says below the flags' list.
func (*setupCmd) Help() string {
	return "Creates the queue, its dead-letter queue and the table, and waits until they can be used. Existing resources are " +
		"compared and left unchanged, unless --update is given. Each reference of the declared types gets an index; DynamoDB adds them to an " +
		"existing table one after the other. Indexes that no type declares are left alone. Setup may run at any time, even while workers run."
}

func (c *setupCmd) plan(streams *cli.Streams) (*setup.Plan, error) {
	if err := c.resolve(); err != nil {
		return nil, err
	}
	if c.ReadCapacity < 0 || c.WriteCapacity < 0 || (c.ReadCapacity == 0) != (c.WriteCapacity == 0) {
		return nil, cli.Usage("--read-capacity %d and --write-capacity %d: give both, from 1 up, or neither for on-demand billing", c.ReadCapacity, c.WriteCapacity)
	}
	if c.Timeout <= 0 {
		return nil, cli.Usage("--timeout %s: it must be more than 0", c.Timeout)
	}
	types, err := readTypes(c.File, streams)
	if err != nil {
		return nil, err
	}
	return &setup.Plan{
		Queue: c.Queue, DeadLetters: c.DLQ, Table: c.Table, Types: types,
		ReadCapacity: c.ReadCapacity, WriteCapacity: c.WriteCapacity,
		DeletionProtection: c.DeletionProtection, PointInTimeRecovery: c.PointInTimeRecovery,
		Update: c.Update,
	}, nil
}

// Run creates the missing resources and reports all of them.
func (c *setupCmd) Run(ctx context.Context, streams *cli.Streams) error {
	plan, err := c.plan(streams)
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
	s := setup.Setup{
		Queues: queues.Client(cfg, c.located()), Tables: tables, Features: tables,
		Progress: func(line string) { _, _ = fmt.Fprintln(streams.Err, line) },
	}
	done, err := s.Run(ctx, plan)
	if c.JSON() {
		if done == nil {
			done = []setup.Resource{}
		}
		err = errors.Join(err, cli.WriteJSON(streams.Out, map[string]any{"resources": done}))
	} else {
		err = errors.Join(err, setup.Write(streams.Out, done, c.Update))
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

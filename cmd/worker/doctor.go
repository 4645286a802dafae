package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/doctor"
)

type doctorCmd struct {
	names
	cli.Output
	DrainTimeout time.Duration `default:"${drain_timeout}" help:"The --drain-timeout of the workers. The visibility timeout must be longer (${default})."`
	Lambda       string        `placeholder:"NAME" help:"Also check this Lambda function, which runs the worker, and its event source mapping."`
	Timeout      time.Duration `env:"TRIBUTARY_DOCTOR_TIMEOUT" default:"1m" help:"How long all checks may take (${default})."`
}

// Help is what `worker doctor --help` says below the flags' list.
func (*doctorCmd) Help() string {
	return "Checks for problems that show only in production, and says how to fix them. It changes nothing: on the table it tries " +
		"reads, writes whose condition is false, and a delete of a key that doesn't exist. It does not try to send or to " +
		"receive, because both leave traces. Permissions that only decisions about tenants and their usage need are no failure if they are missing. The exit status is 1 if a check failed, and 0 if there are only warnings."
}

// Run makes all checks.
func (c *doctorCmd) Run(ctx context.Context, s *cli.Streams) error {
	if err := c.resolve(); err != nil {
		return err
	}
	if c.DrainTimeout <= 0 || c.Timeout <= 0 {
		return cli.Usage("--drain-timeout %s and --timeout %s: both must be more than 0", c.DrainTimeout, c.Timeout)
	}
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	cfg, err := c.loadAWS(ctx)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	tables, client := dynamodb.NewFromConfig(cfg), queues.Client(cfg, c.located())
	doc := doctor.Doctor{
		Queues: client, Tables: tables, Items: tables, Control: tables,
		Queue: c.Queue, DeadLetters: c.DLQ, Table: c.Table, Types: types, TypesFile: c.Types,
		QueueRegion: client.Options().Region, TableRegion: cfg.Region, DrainTimeout: c.DrainTimeout,
	}
	checks := doc.Examine(within)
	if c.Lambda != "" {
		function := doctor.Function{API: lambda.NewFromConfig(cfg), Queues: client, Name: c.Lambda, Queue: c.Queue, DeadLetters: c.DLQ, Table: c.Table}
		checks = append(checks, function.Examine(within)...)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	if c.JSON() {
		err = cli.WriteJSON(s.Out, map[string]any{"checks": checks})
	} else {
		err = doctor.Write(s.Out, checks)
	}
	if err != nil {
		return err
	}
	for _, check := range checks {
		if check.Status == doctor.Failed {
			return &cli.StatusError{Status: cli.StatusFailed} // the report says which
		}
	}
	return nil
}

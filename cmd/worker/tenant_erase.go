package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/deadletters"
	"tributary/internal/tenants/control"
	"tributary/internal/tenants/erase"
)

type tenantEraseCmd struct {
	names
	cli.Output
	tenantArg
	whoDecides
	Confirm string `env:"-" placeholder:"TENANT" help:"The tenant's id once more. Without it, nothing is erased."`
	DryRun  bool   `env:"-" help:"Count what would be erased, and change nothing."`
	Out     string `env:"-" placeholder:"FILE" help:"Write the certificate to this file too, as JSON. It must not exist yet."`
}

// Help is what `worker tenant erase --help` says below the flags' list.
func (*tenantEraseCmd) Help() string {
	return "Stops writing for the tenant for good, waits until no worker can write for it any more, removes its dead letters and all of its " +
		"items, reads again until nothing is left, and prints a certificate. Where it is interrupted or killed, the same command goes on. " +
		"Commands for the tenant are dropped from then on, until every message that was sent before is gone (the retention of both " +
		"queues, and 45 days); worker tenant resume --after-erasure ends that. The certificate can be printed again: erase the tenant again."
}

// Run erases the tenant.
func (c *tenantEraseCmd) Run(ctx context.Context, s *cli.Streams) error {
	if err := c.checkFlags(); err != nil {
		return err
	}
	shown := newProgress(s.Err)
	e, err := c.eraser(ctx, s, shown)
	if err != nil {
		return err
	}
	if c.DryRun {
		forecast, err := e.Forecast(ctx, c.Tenant)
		shown.end()
		if err != nil {
			return c.explainErasure(err)
		}
		if c.JSON() {
			return cli.WriteJSON(s.Out, forecast)
		}
		return forecast.Write(s.Out)
	}
	certificate, err := e.Run(ctx, c.Tenant, c.name())
	shown.end()
	if err != nil {
		return c.explainErasure(err)
	}
	return c.write(s, certificate)
}

func (c *tenantEraseCmd) checkFlags() error {
	if err := c.check(); err != nil {
		return err
	}
	if !c.DryRun && c.Confirm != c.Tenant {
		return cli.Usage("erase removes all that there is of tenant %s, for good: repeat its id with --confirm %s (--dry-run counts, worker tenant export keeps a copy)",
			c.Tenant, c.Tenant)
	}
	if c.Out == "" {
		return nil
	}
	if _, err := os.Lstat(c.Out); !errors.Is(err, os.ErrNotExist) {
		return cli.Usage("--out: %s exists already, or can't be looked at: name another file or remove it", c.Out)
	}
	return nil
}

func (c *tenantEraseCmd) eraser(ctx context.Context, s *cli.Streams, shown *progress) (*erase.Eraser, error) {
	box, client, err := c.box(ctx, s)
	if err != nil {
		return nil, err
	}
	box.Progress = nil // the command has its own
	url, err := queues.URL(ctx, client, c.Queue)
	if err != nil {
		return nil, c.explain(err)
	}
	cfg, err := c.loadAWS(ctx)
	if err != nil {
		return nil, err
	}
	tables := dynamodb.NewFromConfig(cfg)
	step := erase.Nothing
	return &erase.Eraser{
		Items: tables, Tables: tables, Store: &control.Store{API: tables, Table: c.Table}, Table: c.Table, Types: box.Types,
		Queues: client, Queue: queues.Name(c.Queue), QueueURL: url, Box: box, Tombstones: tombstoneAge,
		Progress: func(at erase.Step, done int) {
			if at != step {
				step = at
				shown.say("%s", stepWords[at])
				return
			}
			shown.show("%s: %d", stepWords[at], done)
		},
		Waiting: func(seen deadletters.Walked, until time.Time) {
			shown.say("waiting until %s at most for %s: %s", until.Format("15:04:05"), queues.Name(c.DLQ), unseenWords(seen))
		},
	}, nil
}

// unseenWords say why letters can't be seen, and when they can.
func unseenWords(seen deadletters.Walked) string {
	switch {
	case seen.Full:
		return "it has more letters than can be looked at: redrive or drop those of other tenants"
	case seen.Elsewhere > 0:
		return fmt.Sprintf("about %d letters are with another reader; those of a command that was killed come back within 15 minutes", seen.Elsewhere)
	}
	return fmt.Sprintf("about %d letters are behind others", seen.Unseen)
}

// stepWords say what is done to reach a step.
var stepWords = map[erase.Step]string{
	erase.Quiet:   "waiting for the workers",
	erase.Letters: "removing letters",
	erase.Counted: "counting items",
	erase.Removed: "deleting items",
	erase.Proved:  "reading again what must be empty",
	erase.Erased:  "completing the certificate",
}

func (c *tenantEraseCmd) explainErasure(err error) error {
	if errors.Is(err, context.Canceled) {
		if c.DryRun {
			return errors.New("interrupted: nothing was changed")
		}
		return errors.New("interrupted: the same command goes on with the erasure, and the tenant's commands are dropped meanwhile")
	}
	return c.explainTable(err)
}

// write writes the certificate.
func (c *tenantEraseCmd) write(s *cli.Streams, certificate *erase.Certificate) error {
	var err error
	if c.Out != "" {
		err = writeNew(c.Out, certificate)
	}
	if c.JSON() {
		return errors.Join(err, cli.WriteJSON(s.Out, certificate))
	}
	return errors.Join(err, certificate.Write(s.Out))
}

// writeNew writes JSON to a file that must not exist yet. Only its owner may read it.
func writeNew(path string, value any) error {
	var text bytes.Buffer
	if err := cli.WriteJSON(&text, value); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

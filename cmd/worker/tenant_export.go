package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tributary/internal/base/cli"
	"tributary/internal/tenants/export"
)

type tenantExportCmd struct {
	names
	cli.Output
	tenantArg
	To string `required:"" env:"-" placeholder:"DIR" help:"Directory to write to. It is made if it is missing, and must be empty, or hold an export of the tenant to go on with."`
}

// Help is what `worker tenant export --help` says below the flags' list.
func (*tenantExportCmd) Help() string {
	return "Writes every item as a line of JSON, as the query API shows it, into one file for each type; tombstones, and items of no declared type, " +
		"into files of their own, in DynamoDB's JSON. manifest.json comes last, with counts and SHA-256 sums. Where the command is interrupted " +
		"or killed, the same command goes on. An export takes time, and items of different times; suspend the tenant first for one " +
		"that is consistent."
}

// Run exports the tenant.
func (c *tenantExportCmd) Run(ctx context.Context, s *cli.Streams) error {
	if err := c.check(); err != nil {
		return err
	}
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	store, client, err := c.store(ctx)
	if err != nil {
		return err
	}
	shown, began := newProgress(s.Err), time.Now()
	e := export.Exporter{Items: client, Store: store, Table: c.Table, Types: types, Progress: func(items int, bytes int64) {
		shown.show("%s: %d items, %.1f MiB, %s", c.Tenant, items, float64(bytes)/(1<<20), time.Since(began).Truncate(time.Second))
	}}
	manifest, err := e.Run(ctx, c.Tenant, c.To)
	shown.end()
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: the same command goes on with the export")
	}
	if err != nil {
		return cli.UsageOf[*export.DirectoryError](c.explainTable(err))
	}
	if c.JSON() {
		return cli.WriteJSON(s.Out, manifest)
	}
	consistent := "not consistent: the tenant was not suspended all the time"
	if manifest.Consistent {
		consistent = "consistent"
	}
	_, err = fmt.Fprintf(s.Out, "%s: %d items in %s, %s\n", c.Tenant, manifest.Items, c.To, consistent)
	return err
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/aws/awsclient"
	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/operate/setup"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
)

type tenantCmd struct {
	List    tenantListCmd    `cmd:"" default:"withargs" help:"List the tenants about which something is decided."`
	Show    tenantShowCmd    `cmd:"" help:"Show what is decided about a tenant, and which workers obey it."`
	Suspend tenantSuspendCmd `cmd:"" help:"Stop writing a tenant's commands."`
	Resume  tenantResumeCmd  `cmd:"" help:"Write a suspended tenant's commands again."`
	Limit   tenantLimitCmd   `cmd:"" help:"Limit a tenant's write units and requests, over all workers."`
	Usage   tenantUsageCmd   `cmd:"" help:"Report what tenants used, and what that costs."`
	Audit   tenantAuditCmd   `cmd:"" help:"List who decided what."`
	Export  tenantExportCmd  `cmd:"" help:"Write all of a tenant's items into files."`
	Erase   tenantEraseCmd   `cmd:"" help:"Remove all of a tenant's items and letters, and certify it."`
}

// Help is what `worker tenant --help` says below the commands' list.
func (*tenantCmd) Help() string {
	return "Decisions stand in the table itself, under the partition key tributary#control. Workers read them every 5 seconds. A command that " +
		"decides waits until all workers that are alive have confirmed the decision: they obey it, and no write that began before is under " +
		"way. If one has not within --timeout, the command names it and ends with status 1; the decision stands. See docs/tenants.md."
}

// tenantArg is the tenant that a command is about.
type tenantArg struct {
	Tenant string `arg:"" help:"The tenant's id."`
}

// check says what is wrong with the tenant's id, as an error of usage.
func (t *tenantArg) check() error {
	if err := messages.CheckTenantID(t.Tenant); err != nil {
		return cli.Usage("tenant: %s", err.Detail)
	}
	return nil
}

// store opens the control partition.
func (n *names) store(ctx context.Context) (*control.Store, *dynamodb.Client, error) {
	if err := n.resolve(); err != nil {
		return nil, nil, err
	}
	cfg, err := n.loadAWS(ctx)
	if err != nil {
		return nil, nil, err
	}
	client := dynamodb.NewFromConfig(cfg)
	return &control.Store{API: client, Table: n.Table}, client, nil
}

// explainTable rewords an error of a call to the table.
func (n *names) explainTable(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return suggestSetup(&setup.NoTableError{Table: n.Table, Err: err})
	}
	return awsclient.Explain(err)
}

type tenantListCmd struct {
	names
	cli.Output
	Status string `enum:"active,suspended,erasing,erased,all" env:"TRIBUTARY_TENANT_STATUS" default:"all" help:"Only tenants with this status: active (they have limits), suspended, erasing, erased or all (${default})."`
}

// Run lists the decisions.
func (c *tenantListCmd) Run(ctx context.Context, s *cli.Streams) error {
	store, _, err := c.store(ctx)
	if err != nil {
		return err
	}
	all, err := store.Decisions(ctx)
	if err != nil {
		return c.explainTable(err)
	}
	all = slices.DeleteFunc(all, func(d *tenants.Decision) bool {
		return d.Nothing() || c.Status != "all" && d.Status.String() != c.Status
	})
	if !c.JSON() {
		return control.WriteDecisions(s.Out, all)
	}
	shown := make([]control.DecisionJSON, len(all))
	for i, d := range all {
		shown[i] = control.JSON(d)
	}
	return cli.WriteJSON(s.Out, map[string]any{"tenants": shown})
}

type tenantShowCmd struct {
	names
	cli.Output
	tenantArg
}

// shownEntries is how many records of decisions `show` shows.
const shownEntries = 5

// Run shows one tenant. It does not count the tenant's items: that would read all of them.
func (c *tenantShowCmd) Run(ctx context.Context, s *cli.Streams) error {
	if err := c.check(); err != nil {
		return err
	}
	store, _, err := c.store(ctx)
	if err != nil {
		return err
	}
	revision, err := store.Revision(ctx)
	if err != nil {
		return c.explainTable(err)
	}
	d, err1 := store.Decision(ctx, c.Tenant)
	workers, err2 := store.Workers(ctx, true)
	entries, err3 := store.Audit(ctx, c.Tenant, time.Now().Add(-defaultAudit), shownEntries)
	if err := cmp.Or(err1, err2, err3); err != nil {
		return c.explainTable(err)
	}
	if c.JSON() {
		if workers == nil {
			workers = []control.Worker{}
		}
		return cli.WriteJSON(s.Out, map[string]any{
			"tenant": control.JSON(&d), "revision": revision, "workers": workers, "audit": entries,
		})
	}
	_, _ = fmt.Fprintf(s.Out, "%s: %s\n", c.Tenant, control.Words(&d))
	if d.By != "" {
		_, _ = fmt.Fprintf(s.Out, "decided by %s at %s UTC\n", cli.Printable(d.By, 100), d.At.UTC().Format(time.DateTime))
	}
	if d.Reason != "" {
		_, _ = fmt.Fprintf(s.Out, "reason: %s\n", cli.Printable(d.Reason, 500))
	}
	_, _ = fmt.Fprintln(s.Out)
	if err := control.WriteWorkers(s.Out, workers, revision, time.Now()); err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(s.Out)
	return control.WriteAudit(s.Out, entries)
}

type tenantAuditCmd struct {
	names
	cli.Output
	Tenant string     `arg:"" optional:"" help:"Only this tenant."`
	Since  cli.Moment `env:"TRIBUTARY_TENANT_SINCE" placeholder:"TIME" help:"Only decisions since: 90m, 24h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z (default: 90 days)."`
	Limit  int        `env:"TRIBUTARY_TENANT_LIMIT" default:"100" placeholder:"N" help:"How many of the newest to list (${default})."`
}

const (
	defaultAudit = 90 * 24 * time.Hour
	maxAudit     = 10_000
)

// Run lists the records of decisions, newest first.
func (c *tenantAuditCmd) Run(ctx context.Context, s *cli.Streams) error {
	if c.Limit < 1 || c.Limit > maxAudit {
		return cli.Usage("--limit %d: it must be from 1 to %d", c.Limit, maxAudit)
	}
	if c.Tenant != "" {
		if err := (&tenantArg{c.Tenant}).check(); err != nil {
			return err
		}
	}
	store, _, err := c.store(ctx)
	if err != nil {
		return err
	}
	since := time.Time(c.Since)
	if since.IsZero() {
		since = time.Now().Add(-defaultAudit)
	}
	entries, err := store.Audit(ctx, c.Tenant, since, c.Limit)
	if err != nil {
		return c.explainTable(err)
	}
	if c.JSON() {
		return cli.WriteJSON(s.Out, map[string]any{"audit": entries})
	}
	return control.WriteAudit(s.Out, entries)
}

// whoDecides is the flag that says who decides.
type whoDecides struct {
	By string `env:"TRIBUTARY_TENANT_BY" placeholder:"NAME" help:"Who decides, for the records (default: user@host)."`
}

// name is the default where the flag is not given.
func (w *whoDecides) name() string {
	if w.By != "" {
		return w.By
	}
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

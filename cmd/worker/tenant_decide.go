package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"tributary/internal/base/cli"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
)

// decide are the flags of the commands that change a decision.
type decide struct {
	names
	cli.Output
	tenantArg
	whoDecides
	NoWait  bool          `env:"TRIBUTARY_TENANT_NO_WAIT" help:"Do not wait until the workers have confirmed the decision."`
	Timeout time.Duration `env:"TRIBUTARY_TENANT_TIMEOUT" default:"30s" help:"How long to wait for them (${default})."`
}

// run decides, waits, and says so.
func (c *decide) run(ctx context.Context, s *cli.Streams, action string, change func(old tenants.Decision) (tenants.Decision, error)) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Timeout <= 0 {
		return cli.Usage("--timeout %s: it must be more than 0", c.Timeout)
	}
	store, _, err := c.store(ctx)
	if err != nil {
		return err
	}
	d, revision, err := store.Decide(ctx, c.Tenant, action, change)
	if err != nil {
		return c.explainTable(err)
	}
	if c.NoWait {
		return c.write(s, &d, revision, nil)
	}
	waiting, err := store.Await(ctx, revision, c.Timeout)
	if _, late := errors.AsType[*control.UnconfirmedError](err); late {
		return errors.Join(c.write(s, &d, revision, &waiting), err)
	}
	if err != nil {
		return fmt.Errorf("wait for workers: revision %d is decided, and the workers obey it within seconds: %w", revision, c.explainTable(err))
	}
	return c.write(s, &d, revision, &waiting)
}

// waitingJSON says for scripts which workers obey.
type waitingJSON struct {
	Confirmed []control.Worker `json:"confirmed"`
	Missing   []control.Worker `json:"missing"`
	Dead      []control.Worker `json:"dead"`
	Seconds   float64          `json:"seconds"`
}

func (c *decide) write(s *cli.Streams, d *tenants.Decision, revision int64, waiting *control.Waiting) error {
	if c.JSON() {
		out := struct {
			Tenant   control.DecisionJSON `json:"tenant"`
			Revision int64                `json:"revision"`
			Workers  *waitingJSON         `json:"workers,omitempty"`
		}{control.JSON(d), revision, nil}
		if waiting != nil {
			list := func(all []control.Worker) []control.Worker { return append([]control.Worker{}, all...) }
			out.Workers = &waitingJSON{list(waiting.Confirmed), list(waiting.Missing), list(waiting.Dead), waiting.Took.Seconds()}
		}
		return cli.WriteJSON(s.Out, out)
	}
	_, _ = fmt.Fprintf(s.Out, "%s: %s\n", c.Tenant, control.Words(d))
	if waiting == nil {
		_, err := fmt.Fprintf(s.Out, "revision %d: the workers obey it within seconds\n", revision)
		return err
	}
	_, err := fmt.Fprintln(s.Out, waiting)
	return err
}

type tenantSuspendCmd struct {
	decide
	Reason  string `env:"TRIBUTARY_TENANT_REASON" placeholder:"TEXT" help:"Why, for the records and the logs."`
	Reads   bool   `env:"TRIBUTARY_TENANT_READS" help:"Stop the query API for the tenant too: it answers 403."`
	Letters bool   `env:"TRIBUTARY_TENANT_LETTERS" help:"Dead-letter the tenant's commands, with the reason tenant_suspended. Without it they stay on the queue, as long as the queue keeps messages."`
}

// maxReason bounds the text that each worker keeps.
const maxReason = 500

// Run suspends the tenant.
func (c *tenantSuspendCmd) Run(ctx context.Context, s *cli.Streams) error {
	if len(c.Reason) > maxReason {
		return cli.Usage("--reason has %d bytes, at most %d are kept", len(c.Reason), maxReason)
	}
	return c.run(ctx, s, "suspend", func(old tenants.Decision) (tenants.Decision, error) {
		return tenants.Suspend(old, tenants.Suspension{Letters: c.Letters, NoReads: c.Reads, Reason: c.Reason}, c.name(), time.Now())
	})
}

type tenantResumeCmd struct {
	decide
	AfterErasure bool `env:"-" help:"Resume a tenant that was erased. Commands for it are written again, also those that were sent before the erasure and come late."`
}

// Run resumes the tenant.
func (c *tenantResumeCmd) Run(ctx context.Context, s *cli.Streams) error {
	return c.run(ctx, s, "resume", func(old tenants.Decision) (tenants.Decision, error) {
		return tenants.Resume(old, c.AfterErasure, c.name(), time.Now())
	})
}

type tenantLimitCmd struct {
	decide
	WriteUnits *rate    `env:"TRIBUTARY_TENANT_WRITE_UNITS" placeholder:"N/s" help:"DynamoDB write units a second, of the table and of its index."`
	Requests   *rate    `env:"TRIBUTARY_TENANT_REQUESTS" placeholder:"N/s" help:"Requests to the query API a second."`
	Burst      *float64 `env:"TRIBUTARY_TENANT_BURST" placeholder:"SECONDS" help:"For how many seconds an unused limit is saved up, from 1 to 3600 (default: 1)."`
	None       bool     `env:"-" help:"Remove the tenant's limits."`
}

// Help is what `worker tenant limit --help` says below the flags' list.
func (*tenantLimitCmd) Help() string {
	return "A limit holds over all workers together: each takes an even part. A limit that is not given stays as it is. A tenant over its limit " +
		"waits, as one does that DynamoDB throttles; its commands are not lost, and others are not delayed."
}

const maxBurst = 3600

// Run limits the tenant.
func (c *tenantLimitCmd) Run(ctx context.Context, s *cli.Streams) error {
	limits := tenants.Limits{WriteUnits: (*float64)(c.WriteUnits), Requests: (*float64)(c.Requests), Burst: c.Burst}
	given := c.WriteUnits != nil || c.Requests != nil || c.Burst != nil
	switch {
	case given == c.None:
		return cli.Usage("give --write-units, --requests or --burst, or --none alone")
	case c.Burst != nil && !(*c.Burst >= 1 && *c.Burst <= maxBurst):
		return cli.Usage("--burst %v: it must be from 1 to %d seconds", *c.Burst, maxBurst)
	case c.None:
		zero := 0.0
		limits = tenants.Limits{WriteUnits: &zero, Requests: &zero, Burst: &zero}
	}
	return c.run(ctx, s, "limit", func(old tenants.Decision) (tenants.Decision, error) {
		next, err := tenants.WithLimits(old, limits, c.name(), time.Now())
		if err == nil && c.Burst != nil && next.Burst == 0 {
			err = cli.Usage("--burst: tenant %s has no limit: give --write-units or --requests too", c.Tenant)
		}
		return next, err
	})
}

// rate is a flag's number a second. It is written as 500 or 500/s.
type rate float64

// UnmarshalText reads a rate that is more than 0.
func (r *rate) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(strings.TrimSuffix(string(text), "/s"), 64)
	if err != nil || !(f > 0) || math.IsInf(f, 0) || f > maxRate || f < minRate {
		return fmt.Errorf("%q is not a rate: write a number from %v to %v, such as 500/s (--none removes limits)", text, minRate, maxRate)
	}
	*r = rate(f)
	return nil
}

const (
	minRate = 0.001
	maxRate = 1_000_000_000
)

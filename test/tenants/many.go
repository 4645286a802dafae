package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
)

const (
	manyTenants  = 10_000
	manyMessages = 100_000
	maxCost      = 1.03 // of processor time a command, with all of them limited
)

// many: that all of ten thousand tenants have limits costs next to nothing. The limits are so high that they are never reached.
func many(ctx context.Context, r *rig) error {
	for _, r.table = range []string{freeTable, limitedTable} {
		if err := r.setUp(ctx, "commands"); err != nil {
			return err
		}
	}
	if err := r.limitAll(ctx); err != nil {
		return err
	}
	var free, limited []float64
	for pair := range r.pairs {
		for _, with := range []bool{pair%2 == 0, pair%2 != 0} {
			if r.table = freeTable; with {
				r.table = limitedTable
			}
			cpu, speed, err := r.move(ctx)
			if err != nil {
				return err
			}
			if with {
				limited = append(limited, cpu)
			} else {
				free = append(free, cpu)
			}
			r.say("%d tenants, limited: %v: %.1f µs of processor time a command, %.0f commands a second", manyTenants, with, cpu, speed)
		}
	}
	ratios := make([]float64, len(free))
	for i := range ratios {
		ratios[i] = limited[i] / free[i]
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	r.say("%d limited tenants: %.1f %% of the processor time without limits (%.1f to %.1f)", manyTenants, 100*median, 100*ratios[0], 100*ratios[len(ratios)-1])
	if median > maxCost {
		return fmt.Errorf("limits cost %.1f %%", 100*(median-1))
	}
	return nil
}

// Tables with and without limits.
const freeTable, limitedTable = "Free", "Limited"

// limitAll limits all tenants of a table.
func (r *rig) limitAll(ctx context.Context) error {
	store := &control.Store{API: r.ddb, Table: limitedTable}
	units := 1_000_000.0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range manyTenants {
		g.Go(func() error {
			for {
				_, _, err := store.Decide(ctx, fmt.Sprint("m", i), "limit", func(old tenants.Decision) (tenants.Decision, error) {
					return tenants.WithLimits(old, tenants.Limits{WriteUnits: &units}, "proof", time.Now())
				})
				if !errors.Is(err, control.ErrContended) {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// move lets one worker, which runs and has read the decisions, move many messages. It returns the processor time of a command in
// microseconds, and commands a second.
func (r *rig) move(ctx context.Context) (cpu, speed float64, _ error) {
	p, err := r.start(ctx, "--role", "consume")
	if err != nil {
		return 0, 0, err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return 0, 0, err
	}
	all := make([]message, manyMessages)
	for i := range all {
		all[i].body = order(fmt.Sprint("m", i%manyTenants), fmt.Sprint("o", i), i, 0)
	}
	before, err := p.used()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := r.send(ctx, all...); err != nil {
		return 0, 0, err
	}
	if err := r.drained(ctx, 5*time.Minute); err != nil {
		return 0, 0, err
	}
	took := time.Since(began)
	after, err := p.used()
	if err != nil {
		return 0, 0, err
	}
	if err := p.stop(); err != nil {
		return 0, 0, err
	}
	return float64((after - before).Microseconds()) / manyMessages, manyMessages / took.Seconds(), nil
}

// used is the processor time that a process has used.
func (p *process) used() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("read processor time: too few fields")
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

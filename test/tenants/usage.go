package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"tributary/test/faults"
)

// What is promised of usage.
const (
	maxGuess    = 0.05 // what lost answers hid is estimated within this part of all units
	maxMetering = 0.01 // of the units that are written are those of the counts themselves
)

// usageMessages is how many messages one part of the proof sends. The counts are an item for each worker and minute, or more where
// the tenants are many.
const usageMessages = 20_000

// usage: what the tenants have used, added up, is what the endpoint has counted.
func usage(ctx context.Context, r *rig) error {
	if err := r.setUp(ctx, "commands"); err != nil {
		return err
	}
	writes := []string{"BatchWriteItem", "PutItem"}
	told := []faults.Rule{
		{Fault: faults.Unprocessed, Operations: writes, Rate: .1},
		{Fault: faults.ThrottleKeyRange, Operations: writes, Rate: .03},
		{Fault: faults.ThrottleTable, Operations: writes, Rate: .01},
		{Fault: faults.Delay, Operations: writes, Rate: .05, MaxDelay: 300 * time.Millisecond},
	}
	if err := r.front.Set(faults.Config{Rules: told}); err != nil {
		return fmt.Errorf("set faults: %w", err)
	}
	// Workers that are stopped in the midst, one after the other.
	if err := r.send(ctx, mixed(usageMessages)...); err != nil {
		return err
	}
	for range 3 {
		p, err := r.start(ctx, "--role", "consume")
		if err != nil {
			return err
		}
		if err := pause(ctx, 1500*time.Millisecond); err != nil {
			return err
		}
		if err := p.stop(); err != nil {
			return err
		}
	}
	p, err := r.start(ctx, "--role", "consume")
	if err != nil {
		return err
	}
	if err := r.drained(ctx, 4*time.Minute); err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	first, err := r.usage(ctx)
	if err != nil {
		return err
	}
	units, metering := r.endpoint.sums()
	// A condition that was not met consumes too, and its error says no number: that is the estimate here.
	r.say("unprocessed, throttled, stopped: the endpoint counts %v units, usage says %v and %v estimated; %v units for the counts themselves (%.2f %%)",
		units, first.exact(), first.estimated(), metering, 100*metering/units)
	var errs []error
	if first.exact() != units {
		errs = append(errs, fmt.Errorf("the endpoint counts %v units, usage %v", units, first.exact()))
	}
	if metering > units*maxMetering {
		errs = append(errs, fmt.Errorf("the counts take %v of %v units", metering, units))
	}
	return errors.Join(append(errs, r.lostAnswers(ctx, first, units), r.killed(ctx))...)
}

// lostAnswers: what they hid is estimated.
func (r *rig) lostAnswers(ctx context.Context, before used, unitsBefore float64) error {
	writes := []string{"BatchWriteItem", "PutItem"}
	if err := r.front.Set(faults.Config{Rules: []faults.Rule{
		{Fault: faults.ErrorAfter, Operations: writes, Rate: .04}, {Fault: faults.ResetAfter, Operations: writes, Rate: .04},
		{Fault: faults.Cut, Operations: writes, Rate: .04},
	}}); err != nil {
		return fmt.Errorf("set faults: %w", err)
	}
	if err := r.send(ctx, mixed(usageMessages)...); err != nil {
		return err
	}
	p, err := r.start(ctx, "--role", "consume")
	if err != nil {
		return err
	}
	if err := r.drained(ctx, 4*time.Minute); err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	after, err := r.usage(ctx)
	if err != nil {
		return err
	}
	units, _ := r.endpoint.sums()
	units -= unitsBefore
	exact, guessed := after.exact()-before.exact(), after.estimated()-before.estimated()
	off := math.Abs(exact+guessed-units) / units
	r.say("lost answers: the endpoint counts %v units, usage says %v and %v estimated: %.2f %% off; %v were hidden", units, exact, guessed, 100*off, units-exact)
	if guessed == 0 || off > maxGuess {
		return fmt.Errorf("usage is %.1f %% off with lost answers", 100*off)
	}
	return nil
}

// killed: a worker that is killed loses the last minute at most, and what it had written counts once.
func (r *rig) killed(ctx context.Context) error {
	if err := r.front.Set(faults.Config{}); err != nil {
		return fmt.Errorf("set faults: %w", err)
	}
	before, err := r.usage(ctx)
	if err != nil {
		return err
	}
	from, _ := r.endpoint.sums()
	p, err := r.start(ctx, "--role", "consume")
	if err != nil {
		return err
	}
	s := r.stream(ctx, "killed", 100)
	if err := pause(ctx, 70*time.Second); err != nil { // a minute's counts are written
		return err
	}
	minuteAgo, _ := r.endpoint.sums()
	if err := pause(ctx, 60*time.Second); err != nil {
		return err
	}
	p.kill()
	if p, err = r.start(ctx, "--role", "consume"); err != nil {
		return err
	}
	if _, err := s.end(ctx); err != nil {
		return err
	}
	if err := r.drained(ctx, 2*time.Minute); err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	after, err := r.usage(ctx)
	if err != nil {
		return err
	}
	units, _ := r.endpoint.sums()
	counted := after.exact() + after.estimated() - before.exact() - before.estimated()
	r.say("killed: the endpoint counts %v units, usage %v; in the minute before there were %v", units-from, counted, 60*100*unitsOfOrder)
	if lost := units - from - counted; lost < 0 || lost > 65*100*unitsOfOrder || counted < minuteAgo-from-100*unitsOfOrder*65 {
		return fmt.Errorf("usage is %v of %v units after a kill", counted, units-from)
	}
	return nil
}

// mixed are messages of thirty tenants: one command each or several tenants' together, small and large items, with versions and without,
// puts and deletes.
func mixed(n int) []message {
	d := rand.New(rand.NewPCG(rand.Uint64(), 1))
	all := make([]message, n)
	one := func(i, k int) string {
		tenant, id := fmt.Sprint("t", d.IntN(30)), fmt.Sprintf("m%d-%d-%d", i, k, d.Int())
		switch d.IntN(6) {
		case 0:
			return fmt.Sprintf(`{"type":"put_user","tenant_id":%q,"user_id":%q,"user_name":"%0*d","user_email":"e"}`, tenant, id, 1+d.IntN(900), i)
		case 1:
			return fmt.Sprintf(`{"type":"delete_user","tenant_id":%q,"user_id":%q}`, tenant, id)
		case 2:
			return order(tenant, fmt.Sprint("versioned", d.IntN(2000)), i, 1+d.IntN(1_000_000))
		case 3:
			return fmt.Sprintf(`{"type":"put_order","tenant_id":%q,"order_id":%q,"user_id":"u","order_amount":"1","attributes":{"note":"%0*d"}}`, tenant, id, 1+d.IntN(9000), i)
		}
		return order(tenant, id, i, 0)
	}
	for i := range all {
		if all[i].body = one(i, 0); d.IntN(10) == 0 {
			all[i].body = "[" + all[i].body + "," + one(i, 1) + "," + one(i, 2) + "]"
		}
	}
	return all
}

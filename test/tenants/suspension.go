package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// suspendedWithin is how long after the decision a write of the tenant may still be made.
const suspendedWithin = 10 * time.Second

// suspension: within ten seconds nothing of the tenant is written, and when it is resumed all is, in order, with versions and in the
// groups of a FIFO queue.
func suspension(ctx context.Context, r *rig) error {
	for _, queue := range []string{"commands", "commands.fifo"} {
		if err := r.suspend(ctx, queue); err != nil {
			return fmt.Errorf("%s: %w", queue, err)
		}
	}
	return nil
}

const suspendedKeys = 20

// suspend sends a tenant's commands, each key again and again, through a suspension.
func (r *rig) suspend(ctx context.Context, queue string) error {
	fifo := queue != "commands"
	tenant := "paused-" + strconv.FormatBool(fifo)
	if err := r.setUp(ctx, queue); err != nil {
		return err
	}
	var workers []*process
	for range 2 {
		p, err := r.start(ctx, "--role", "consume")
		if err != nil {
			return err
		}
		workers = append(workers, p)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	n := 0 // how many were sent, once done has answered
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				done <- nil
				return
			case <-tick.C:
			}
			n++
			m := message{"", order(tenant, fmt.Sprint("o", n%suspendedKeys), n, n)}
			if fifo {
				m = message{fmt.Sprint("g", n%suspendedKeys%4), order(tenant, fmt.Sprint("o", n%suspendedKeys), n, 0)}
			}
			if err := r.send(ctx, m); err != nil {
				done <- err
				return
			}
		}
	}()
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	decided := time.Now()
	if err := r.tenant(ctx, "suspend", tenant, "--reason", "unpaid"); err != nil {
		return err
	}
	returned := time.Now()
	if err := pause(ctx, 25*time.Second); err != nil {
		return err
	}
	last := r.endpoint.last(tenant)
	waiting, err := r.depth(ctx)
	if err != nil {
		return err
	}
	r.say("%s: the last write was made %v after the decision, the command returned after %v; %d messages wait", queue,
		last.Sub(decided).Round(time.Millisecond), returned.Sub(decided).Round(time.Millisecond), waiting)
	var errs []error
	if last.IsZero() || last.Sub(decided) > suspendedWithin {
		errs = append(errs, fmt.Errorf("a write was made %v after the decision", last.Sub(decided)))
	}
	if waiting < 1000 {
		errs = append(errs, fmt.Errorf("%d messages wait", waiting))
	}
	close(stop)
	if err := <-done; err != nil {
		return err
	}
	if err := r.tenant(ctx, "resume", tenant); err != nil {
		return err
	}
	resumed := time.Now()
	if err := r.drained(ctx, 6*time.Minute); err != nil {
		return err
	}
	r.say("%s: after it was resumed all was written within %v", queue, time.Since(resumed).Round(time.Second))
	for key := range suspendedKeys {
		newest := n - (n-key%suspendedKeys+suspendedKeys)%suspendedKeys
		out, err := r.ddb.GetItem(ctx, &dynamodb.GetItemInput{TableName: &r.table, ConsistentRead: aws.Bool(true), Key: map[string]types.AttributeValue{
			"PK": &types.AttributeValueMemberS{Value: "tenant#" + tenant}, "SK": &types.AttributeValueMemberS{Value: fmt.Sprint("order#o", key)},
		}})
		if err != nil {
			return fmt.Errorf("read order: %w", err)
		}
		amount, _ := out.Item["order_amount"].(*types.AttributeValueMemberN)
		if amount == nil || amount.Value != strconv.Itoa(newest) {
			errs = append(errs, fmt.Errorf("order o%d is %v, want %d", key, amount, newest))
		}
	}
	for _, p := range workers {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

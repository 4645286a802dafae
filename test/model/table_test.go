package model

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/internal/messages"
	"tributary/internal/writer"
)

// key is an item's.
type key struct{ tenant, sort string }

func keyOf(c *messages.Command) key {
	return key{c.TenantID, c.Type.Prefix + c.ID}
}

// item is an item of the table: the command that last wrote it. After a versioned delete it is a tombstone.
type item struct{ by messages.Command }

// table is the table as one process sees it. It implements writer.Table.
type table struct{ *process }

var (
	errServer  = &ddbtypes.InternalServerError{Message: aws.String("Internal server error")}
	errNetwork = errors.New("read tcp: connection reset by peer")
	errInvalid = &smithy.GenericAPIError{Code: "ValidationException", Message: "One or more parameter values were invalid"}
)

func throttle(d *draw, scope string) error {
	if scope == "" {
		if d.below(2) == 0 {
			return &ddbtypes.ProvisionedThroughputExceededException{}
		}
		return &ddbtypes.RequestLimitExceeded{}
	}
	reasons := []ddbtypes.ThrottlingReason{{Reason: aws.String(scope)}}
	if d.below(2) == 0 {
		return &ddbtypes.ThrottlingException{ThrottlingReasons: reasons}
	}
	return &ddbtypes.ProvisionedThroughputExceededException{ThrottlingReasons: reasons}
}

// plan is how a write call goes.
type plan struct {
	before, after time.Duration // around its effect
	spare         []bool        // writes that have no effect; nil: all have one
	err           error
	hang          bool          // no answer comes
	late          time.Duration // how long after the call was given up it takes effect
}

// plan decides how a call goes. The caller holds the world's mutex.
func (t table) plan(commands []messages.Command) plan {
	d, f := t.draw, &t.faults
	p := plan{before: time.Duration(1+d.below(8)) * time.Millisecond, after: time.Duration(d.below(4)) * time.Millisecond}
	if d.hit(f.slow) {
		p.after += d.upTo(time.Second)
	}
	none := func(err error) plan {
		p.err, p.spare = err, make([]bool, len(commands))
		for i := range p.spare {
			p.spare[i] = true
		}
		return p
	}
	now := t.now()
	if now < f.outage {
		if d.below(4) == 0 {
			p.hang = true
		}
		return none(errServer)
	}
	if now < f.foreign {
		return none(errInvalid)
	}
	if len(commands) > 0 && d.hit(f.whole) {
		return none(throttle(d, pick(d, "", "TableWriteKeyRangeThroughputExceeded", "TableWriteProvisionedThroughputExceeded", "TableWriteAccountLimitExceeded")))
	}
	for i := range commands {
		if t.refuse[commands[i]] {
			return none(errInvalid)
		}
	}
	if d.hit(f.failBefore) {
		return none(pick(d, error(errServer), errNetwork))
	}
	// Some writes find their tenant's key range too hot.
	spared := 0
	p.spare = make([]bool, len(commands))
	for i := range commands {
		if now < f.hot[commands[i].TenantID] || d.hit(f.unprocessed) {
			p.spare[i] = true
			spared++
		}
	}
	if spared == len(commands) {
		return none(throttle(d, pick(d, "TableWriteKeyRangeThroughputExceeded", "IndexWriteKeyRangeThroughputExceeded")))
	}
	switch {
	case d.hit(f.failAfter):
		p.err = pick(d, error(errServer), errNetwork)
	case d.hit(f.hang):
		p.hang = true
		if d.below(3) == 0 {
			p.late = time.Millisecond + d.upTo(20*time.Second)
		}
	}
	return p
}

// BatchWrite implements writer.Table.
func (t table) BatchWrite(ctx context.Context, writes []*writer.Write) ([]int, writer.Units, error) {
	commands := make([]messages.Command, len(writes))
	for i, w := range writes {
		commands[i] = w.Command
	}
	left, err := t.write(ctx, commands, false)
	return left, writer.Units{}, err
}

// PutVersion implements writer.Table.
func (t table) PutVersion(ctx context.Context, w *writer.Write) (writer.Units, error) {
	_, err := t.write(ctx, []messages.Command{w.Command}, true)
	return writer.Units{}, err
}

// Probe implements writer.Table. Without a fault the table takes it.
func (t table) Probe(ctx context.Context, c *messages.Command) error {
	t.mu.Lock()
	p, dead := t.plan([]messages.Command{*c}), t.dead
	t.mu.Unlock()
	if dead {
		return nil
	}
	if p.hang {
		select {
		case <-ctx.Done():
		case <-t.killed:
		}
		return ctx.Err()
	}
	time.Sleep(p.before + p.after)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return p.err
}

func (t table) write(ctx context.Context, commands []messages.Command, conditional bool) ([]int, error) {
	w := t.world
	w.mu.Lock()
	if t.dead {
		w.mu.Unlock()
		return nil, nil
	}
	t.check(commands, conditional)
	w.calls++
	call := w.calls
	w.note(event{kind: began, process: t.id, call: call, commands: commands})
	stood := t.stand()
	p := t.plan(commands)
	if stood && t.asked > 0 { // it was to stop by then, and was killed
		t.note(event{kind: ended, process: t.id, call: call})
		w.mu.Unlock()
		return nil, errNetwork
	}
	if stood {
		p.late = 0 // an erasure has not waited for this call: the worker repairs what it has done, if it is done by then
	}
	if p.late > 0 {
		w.control.late++
	}
	w.mu.Unlock()

	time.Sleep(p.before)
	if p.late > 0 {
		w.late.Go(func() {
			select {
			case <-ctx.Done():
			case <-t.killed:
			}
			time.Sleep(p.late)
			w.mu.Lock()
			_, _ = t.apply(call, commands, conditional, p.spare, true)
			w.control.late--
			w.mu.Unlock()
		})
		return nil, t.hangs(ctx, call)
	}
	w.mu.Lock()
	if t.dead && w.draw.below(2) == 0 { // the request never left
		w.mu.Unlock()
		return nil, nil
	}
	left, refusal := t.apply(call, commands, conditional, p.spare, t.dead)
	w.mu.Unlock()
	if p.hang {
		return nil, t.hangs(ctx, call)
	}
	time.Sleep(p.after)
	w.mu.Lock()
	defer w.mu.Unlock()
	gaveUp := ctx.Err() != nil && (!stood || w.draw.below(2) != 0) // when a process goes on, the answer may be faster than the time-out
	if gaveUp {
		p.err = ctx.Err()
	}
	if t.dead {
		return nil, nil
	}
	var server *ddbtypes.InternalServerError
	uncertain := errors.Is(p.err, errNetwork) || errors.As(p.err, &server) || gaveUp
	w.note(event{kind: ended, process: t.id, call: call, certain: !uncertain})
	if p.err == nil && refusal != nil {
		p.err = refusal
	}
	if p.err != nil {
		return nil, p.err
	}
	return left, nil
}

// hangs waits until the client gives the call up.
func (t table) hangs(ctx context.Context, call int) error {
	select {
	case <-ctx.Done():
	case <-t.killed:
		return nil
	}
	t.mu.Lock()
	t.note(event{kind: ended, process: t.id, call: call})
	t.mu.Unlock()
	return ctx.Err()
}

// check enforces the rules of DynamoDB for a request.
func (t table) check(commands []messages.Command, conditional bool) {
	if len(commands) == 0 || len(commands) > 25 {
		t.violate("BatchWriteItem of %d writes", len(commands))
	}
	seen := map[key]bool{}
	for i := range commands {
		c := &commands[i]
		if k := keyOf(c); seen[k] {
			t.violate("BatchWriteItem has %v twice", k)
		} else {
			seen[k] = true
		}
		if conditional != (c.Version > 0) {
			t.violate("version %d of %v: conditional %v", c.Version, keyOf(c), conditional)
		}
	}
}

// apply makes the writes take effect. It returns the leftovers, or the refusal of a conditional write. The caller holds the
// world's mutex.
func (t table) apply(call int, commands []messages.Command, conditional bool, spare []bool, late bool) (left []int, refusal error) {
	for i := range commands {
		if spare != nil && spare[i] {
			left = append(left, i)
			continue
		}
		c := commands[i]
		k := keyOf(&c)
		if old, exists := t.items[k]; conditional && exists && old.by.Version >= c.Version {
			return nil, &ddbtypes.ConditionalCheckFailedException{Item: map[string]ddbtypes.AttributeValue{
				"version": &ddbtypes.AttributeValueMemberN{Value: strconv.FormatInt(old.by.Version, 10)},
			}}
		}
		if c.Delete && !conditional {
			delete(t.items, k)
		} else {
			t.items[k] = item{c}
		}
		t.note(event{kind: applied, process: t.id, call: call, commands: commands[i : i+1], late: late})
	}
	return left, nil
}

func (k key) String() string { return k.tenant + "/" + strings.ReplaceAll(k.sort, "#", " ") }

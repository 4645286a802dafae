package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sync/errgroup"

	"tributary/internal/table"
	"tributary/internal/tenants/erase"
)

// victim is the tenant that is erased in the midst of the storm. Producers go on sending for it.
const victim = "tenant-3"

// ofVictim says whether a command's or letter's text is the victim's.
func ofVictim(text string) bool { return strings.Contains(text, `"tenant_id":"`+victim+`"`) }

// eraseVictim erases the victim in the midst of the storm. It kills the command with -9 once: while it waits for the workers, or later at any of
// its requests. Then it goes on with the erasure until that ends well. Letters are redriven meanwhile.
// The front fails none of the calls of operators: an answer with letters that is lost would hide them.
func (r *rig) eraseVictim(ctx context.Context, d *rand.Rand) error {
	if !pause(ctx, r.length/5+time.Duration(d.Int64N(int64(r.length/5)))) {
		return context.Cause(ctx)
	}
	certificate := filepath.Join(r.dir, "certificate.json")
	args := []string{"tenant", "erase", victim, "--confirm", victim, "--out", certificate}
	killed, err := r.eraseKilled(ctx, d, args)
	if err != nil {
		return err
	}
	if err := os.Remove(certificate); err != nil && !errors.Is(err, os.ErrNotExist) { // the kill came too late
		return fmt.Errorf("remove the certificate: %w", err)
	}
	if d.IntN(2) == 0 {
		if err := r.redrive(ctx); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.Go(func() error {
		if !pause(ctx, time.Duration(d.Int64N(int64(10*time.Second)))) {
			return context.Cause(ctx)
		}
		return r.redrive(ctx)
	})
	err = r.eraseUntilDone(ctx, args)
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	text, err := os.ReadFile(certificate)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	if err := json.Unmarshal(text, &r.certificate); err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	c := &r.certificate
	if !c.Complete() || c.Ended == nil || c.Items.Total == 0 {
		return fmt.Errorf("the certificate is not complete, or names no items, so that it proves nothing: %s", text)
	}
	r.say("%s is erased: %d items, %d letters; %d workers confirmed, %d presumed dead; took %v; killed %s", victim, c.Items.Total,
		c.Letters.Removed, len(c.Workers.Confirmed), len(c.Workers.PresumedDead), c.Ended.Sub(c.Began).Round(time.Second), killed)
	return nil
}

// eraseKilled begins the erasure and kills the command. It says where.
func (r *rig) eraseKilled(ctx context.Context, d *rand.Rand, args []string) (string, error) {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.IntN(6) == 0 {
		after := time.Duration(d.IntN(8000)) * time.Millisecond
		defer time.AfterFunc(after, cancel).Stop()
		_, _ = r.operate(within, args...) // it is killed
		return fmt.Sprintf("after %v", after), nil
	}
	r.witness.killAfter(erase.Quiet+erase.Step(d.IntN(int(erase.Erased-erase.Quiet))), d.IntN(20), cancel)
	out, err := r.operate(within, args...)
	step := r.witness.spare()
	switch {
	case step != "":
		return fmt.Sprintf("after step %q", step), nil
	case err != nil && ctx.Err() == nil:
		return "", fmt.Errorf("erase: %w: %s", err, out)
	}
	return "never: it had ended", context.Cause(ctx)
}

func (r *rig) redrive(ctx context.Context) error {
	if out, err := r.operate(ctx, "dlq", "redrive"); err != nil {
		return fmt.Errorf("redrive: %w: %s", err, out)
	}
	return nil
}

func (r *rig) eraseUntilDone(ctx context.Context, args []string) error {
	var err error
	for range 20 {
		var out []byte
		if out, err = r.operate(ctx, args...); err == nil {
			return nil
		}
		err = fmt.Errorf("erase: %w: %s", err, out)
		if !pause(ctx, time.Second) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
	return err
}

// operate runs an operator's command.
func (r *rig) operate(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.worker(), args...)
	cmd.Env = r.operator
	return cmd.CombinedOutput()
}

// sendAgain sends every message once more.
func (r *rig) sendAgain(ctx context.Context, p *plan) error {
	for at := 0; at < len(p.parcels); at += batchSize {
		batch := p.parcels[at:min(at+batchSize, len(p.parcels))]
		if _, err := r.send(ctx, p, batch, entriesOf(batch)); err != nil {
			return fmt.Errorf("send again: %w", err)
		}
	}
	return nil
}

// checkErased looks for the victim in the table, in the index and among the letters, and takes its commands from the plan.
func (r *rig) checkErased(ctx context.Context, p *plan, f *findings) error {
	for k := range p.newest {
		if k.TenantID == victim {
			delete(p.newest, k)
		}
	}
	if err := r.witness.check(&r.certificate, f, r.say); err != nil {
		return err
	}
	for _, index := range []*string{nil, aws.String("orders_by_user")} {
		out, err := r.ddb.Query(ctx, &dynamodb.QueryInput{
			TableName: &r.table, IndexName: index, KeyConditionExpression: aws.String("PK = :pk"),
			ExpressionAttributeValues: map[string]ddbtypes.AttributeValue{":pk": &ddbtypes.AttributeValueMemberS{Value: table.PartitionKey(victim)}},
		})
		if err != nil {
			return fmt.Errorf("query the erased tenant: %w", err)
		}
		if len(out.Items) > 0 {
			f.add("%d items of %s are there (index %q), such as %v", len(out.Items), victim, aws.ToString(index), out.Items[0])
		}
	}
	return nil
}

// checkLettersAfterErasure empties the dead-letter queue. Letters that were redriven are there under new ids, and everything was sent
// twice: so only texts count. None is the victim's, and each other poison has one.
func (r *rig) checkLettersAfterErasure(ctx context.Context, p *plan, f *findings) error {
	missing := map[string]bool{}
	for _, text := range p.poison {
		if !ofVictim(text) {
			missing[text] = true
		}
	}
	count := 0
	for {
		out, err := r.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &r.letters, MaxNumberOfMessages: 10, WaitTimeSeconds: 1, VisibilityTimeout: 600})
		if err != nil {
			return fmt.Errorf("receive dead letters: %w", err)
		}
		if len(out.Messages) == 0 {
			break
		}
		for _, m := range out.Messages {
			count++
			text := aws.ToString(m.Body)
			if ofVictim(text) {
				f.add("a dead letter of %s: %.200s", victim, text)
			}
			delete(missing, text)
		}
	}
	for text := range missing {
		f.add("%.200s is poison without a dead letter", text)
	}
	r.say("%d dead letters after everything was sent twice", count)
	return nil
}

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

	"tributary/internal/table"
	"tributary/internal/tenants/erase"
)

// victim is the tenant that is erased in the midst of the storm. Producers go on sending for it.
const victim = "tenant-3"

// ofVictim says whether a command's or letter's text is the victim's.
func ofVictim(text string) bool { return strings.Contains(text, `"tenant_id":"`+victim+`"`) }

// eraseVictim erases the victim. It kills the command with -9 at random, twice, and redrives all letters meanwhile. An answer with
// letters that is lost hides them for 15 minutes, and so does a command that is killed while it looks at them: so the front fails none
// of these calls, and the kills come while the command waits for the workers.
func (r *rig) eraseVictim(ctx context.Context, d *rand.Rand) error {
	if !pause(ctx, r.length/4) {
		return context.Cause(ctx)
	}
	certificate := filepath.Join(r.dir, "certificate.json")
	args := []string{"tenant", "erase", victim, "--confirm", victim, "--out", certificate}
	for range 2 {
		within, cancel := context.WithTimeout(ctx, time.Duration(d.IntN(8000))*time.Millisecond)
		_, _ = r.operate(within, args...) // it is killed
		cancel()
		if out, err := r.operate(ctx, "dlq", "redrive"); err != nil {
			return fmt.Errorf("redrive: %w: %s", err, out)
		}
	}
	var err error
	for range 20 {
		var out []byte
		if out, err = r.operate(ctx, args...); err == nil {
			break
		}
		err = fmt.Errorf("erase: %w: %s", err, out)
		if !pause(ctx, time.Second) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(certificate)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	var c erase.Certificate
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	fmt.Printf("chaos: %s is erased: %d items, %d late, %d letters; %d workers confirmed, %d presumed dead; took %v\n",
		victim, c.Items.Total, c.Items.Late, c.Letters.Removed, len(c.Workers.Confirmed), len(c.Workers.PresumedDead), c.Ended.Sub(c.Began).Round(time.Second))
	if c.Items.Total == 0 {
		return errors.New("the certificate names no items: the erasure came too early to prove anything")
	}
	return nil
}

// operate runs an operator's command.
func (r *rig) operate(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.worker(), args...)
	cmd.Env = r.direct
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
	fmt.Printf("chaos: %d dead letters after everything was sent twice\n", count)
	return nil
}

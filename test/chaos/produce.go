package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/table"
)

const (
	tenants = 10
	hotKeys = 20 // a tenant
)

// plan records what was sent, and so the expected result.
type plan struct {
	commands, messages int
	newest             map[table.Key]messages.Command // by key: of versioned ones the highest version
	poison             map[letter]string              // its text
	parcels            []parcel                       // all messages
	again              int                            // batches whose answer was lost, which were sent again
	doubtful           map[string]bool                // texts of poison that may be there once more, under an unknown id
}

// letter names a dead letter.
type letter struct {
	id    string // of the message
	index string // "": the whole body
}

// parcel is a message that is to be sent.
type parcel struct {
	body   string
	poison map[string]string // text by index
}

var orderType = schema.Builtin().Type("order")

// produce sends commands at an even rate, straight to the queue. It is told the ids of all messages that it sent, or else,
// where the stack was killed before its answer, that their poison may be there twice.
func (r *rig) produce(ctx context.Context, d *rand.Rand) (*plan, error) {
	p := &plan{newest: map[table.Key]messages.Command{}, poison: map[letter]string{}, doubtful: map[string]bool{}}
	p.parcels = p.draw(d, r.commands)
	parcels := p.parcels
	began := time.Now()
	for at := 0; at < len(parcels); at += batchSize {
		due := time.Duration(float64(r.length) * 0.9 * float64(at) / float64(len(parcels)))
		if wait := due - time.Since(began); wait > 0 && !pause(ctx, wait) {
			return nil, context.Cause(ctx)
		}
		batch := parcels[at:min(at+batchSize, len(parcels))]
		out, err := r.send(ctx, p, batch, entriesOf(batch))
		if err != nil {
			return nil, fmt.Errorf("send: %w", err)
		}
		if len(out.Failed) > 0 {
			return nil, fmt.Errorf("send: the queue refused %d messages: %s", len(out.Failed), aws.ToString(out.Failed[0].Message))
		}
		for _, sent := range out.Successful {
			i, err := strconv.Atoi(*sent.Id)
			if err != nil || i < 0 || i >= len(batch) {
				return nil, fmt.Errorf("send: the queue names an entry %q", *sent.Id)
			}
			for index, text := range batch[i].poison {
				p.poison[letter{*sent.MessageId, index}] = text
			}
		}
	}
	p.messages = len(parcels)
	return p, nil
}

// batchSize is the most that SQS takes in a call.
const batchSize = 10

func entriesOf(batch []parcel) []sqstypes.SendMessageBatchRequestEntry {
	entries := make([]sqstypes.SendMessageBatchRequestEntry, len(batch))
	for i := range batch {
		entries[i] = sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &batch[i].body}
	}
	return entries
}

// send sends a batch once, or, where the stack is killed, until it is answered.
func (r *rig) send(ctx context.Context, p *plan, batch []parcel, entries []sqstypes.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
	for {
		out, err := r.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &r.queue, Entries: entries},
			func(o *sqs.Options) { o.Retryer = aws.NopRetryer{} })
		if err == nil || r.stack == nil || !pause(ctx, 50*time.Millisecond) {
			return out, err
		}
		p.again++
		for i := range batch {
			for _, text := range batch[i].poison {
				p.doubtful[text] = true
			}
		}
	}
}

// draw makes all commands and packs them.
func (p *plan) draw(d *rand.Rand, n int) []parcel {
	versions := map[table.Key]int64{}
	var commands []messages.Command
	for i := range n {
		tenant := "tenant-" + strconv.Itoa(d.IntN(tenants))
		c := messages.Put(orderType, tenant, "", "u"+strconv.Itoa(d.IntN(50)), strconv.Itoa(i)+".5")
		if d.IntN(2) == 0 {
			c.ID = "own-" + strconv.Itoa(i)
			if d.IntN(20) == 0 {
				commands = append(commands, messages.Delete(orderType, tenant, c.ID))
				continue // an unversioned delete leaves nothing
			}
		} else {
			c.ID = "hot-" + strconv.Itoa(d.IntN(hotKeys))
			k := table.KeyOf(&c)
			versions[k]++
			c.Version = versions[k]
			if d.IntN(4) == 0 {
				c = messages.Command{Type: orderType, TenantID: tenant, ID: c.ID, Version: c.Version, Delete: true}
			}
		}
		commands = append(commands, c)
		if k := table.KeyOf(&c); c.Version >= p.newest[k].Version {
			p.newest[k] = c
		}
	}
	// Upstreams don't send in order: each command changes places with one of the next few hundred.
	for i := range commands {
		j := i + d.IntN(min(300, len(commands)-i))
		commands[i], commands[j] = commands[j], commands[i]
	}
	var parcels []parcel
	for len(commands) > 0 {
		n := 1
		if d.IntN(12) == 0 {
			n = min(len(commands), 2+d.IntN(60))
		}
		parcels = append(parcels, pack(d, commands[:n], n > 1))
		p.commands += n + len(parcels[len(parcels)-1].poison)
		commands = commands[n:]
		if d.IntN(100) == 0 {
			p.commands++
			text := `{"type":"put_order","tenant_id":"tenant-0"`
			parcels = append(parcels, parcel{body: text, poison: map[string]string{"": text}})
		}
	}
	return parcels
}

// pack makes a message, with poison among its commands now and then.
func pack(d *rand.Rand, commands []messages.Command, packed bool) parcel {
	m := parcel{poison: map[string]string{}}
	if !packed && d.IntN(100) != 0 {
		m.body = string(messages.Append(nil, &commands[0]))
		return m
	}
	body := []byte{'['}
	index := 0
	add := func(text []byte) {
		if index > 0 {
			body = append(body, ',')
		}
		body = append(body, text...)
		index++
	}
	for i := range commands {
		if d.IntN(40) == 0 {
			bad := `{"type":"put_order","tenant_id":"` + commands[i].TenantID + `","order_id":"bad#id","user_id":"u","order_amount":"1"}`
			m.poison[strconv.Itoa(index)] = bad
			add([]byte(bad))
		}
		add(messages.Append(nil, &commands[i]))
	}
	m.body = string(append(body, ']'))
	return m
}

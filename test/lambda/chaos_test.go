package lambda_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/test/faults"
	"tributary/test/lambda/simulator"
	"tributary/test/support/commands"
)

var (
	chaosCommands = flag.Int("lambda.commands", 3000, "how many commands the chaos tests send")
	chaosSeed     = flag.Uint64("lambda.seed", rand.Uint64()>>32, "of commands, faults and kills")
)

// plan is what is sent, and so what must be there in the end.
type plan struct {
	bodies []parcel
	want   map[table.Key]messages.Command
	poison map[string]int // letters by body, and how often each was sent
}

type parcel struct{ group, body string }

const chaosTenants = 10

// unordered are commands for a standard queue: half of them with keys of their own, half of them versions of hot keys, which are
// sent in any order. A few are packed, and a few are poison.
func unordered(d *rand.Rand, n int) *plan {
	p := &plan{want: map[table.Key]messages.Command{}, poison: map[string]int{}}
	versions := map[table.Key]int64{}
	all := make([]messages.Command, n)
	for i := range all {
		c := commands.PutOrder(fmt.Sprint("tenant-", d.IntN(chaosTenants)), fmt.Sprint("own-", i), "u", fmt.Sprint(i, ".5"))
		if d.IntN(2) == 0 {
			c.ID = fmt.Sprint("hot-", d.IntN(20))
			k := table.KeyOf(&c)
			versions[k]++
			c.Version = versions[k]
			if d.IntN(4) == 0 {
				c = commands.Version(commands.DeleteOrder(c.TenantID, c.ID), c.Version)
			}
		}
		all[i] = c
		if k := table.KeyOf(&c); c.Version >= p.want[k].Version {
			p.want[k] = c
		}
	}
	for i := range all {
		j := i + d.IntN(min(300, n-i))
		all[i], all[j] = all[j], all[i]
	}
	for len(all) > 0 {
		k := 1
		if d.IntN(12) == 0 {
			k = min(len(all), 2+d.IntN(30))
		}
		p.pack(d, "", all[:k])
		all = all[k:]
	}
	return p
}

// ordered are commands without versions for a FIFO queue: a group has ten keys, and the last command for a key must win.
func ordered(d *rand.Rand, n int) *plan {
	p := &plan{want: map[table.Key]messages.Command{}, poison: map[string]int{}}
	for i := 0; i < n; {
		group := d.IntN(40)
		var some []messages.Command
		for range 1 + d.IntN(4)*d.IntN(2) {
			c := commands.PutOrder(fmt.Sprint("tenant-", group%chaosTenants), fmt.Sprint("g", group, "-", d.IntN(10)), "u", strconv.Itoa(i))
			p.want[table.KeyOf(&c)] = c
			some = append(some, c)
			i++
		}
		p.pack(d, fmt.Sprint("g", group), some)
	}
	return p
}

// pack makes a message of commands, now and then with poison among them.
func (p *plan) pack(d *rand.Rand, group string, some []messages.Command) {
	if d.IntN(50) == 0 {
		text := fmt.Sprintf(`{"type":"put_order","tenant_id":"tenant-0","order_id":"bad#%d","user_id":"u","order_amount":"1"}`, len(p.bodies))
		p.poison[text]++
		p.bodies = append(p.bodies, parcel{group, text})
	}
	if len(some) == 1 {
		p.bodies = append(p.bodies, parcel{group, string(messages.Append(nil, &some[0]))})
		return
	}
	body := []byte{'['}
	for i := range some {
		if i > 0 {
			body = append(body, ',')
		}
		body = messages.Append(body, &some[i])
	}
	p.bodies = append(p.bodies, parcel{group, string(append(body, ']'))})
}

// sendAll sends the messages at an even rate, in their order where they have groups.
func (r *rig) sendAll(p *plan, over time.Duration) {
	began := time.Now()
	for at := 0; at < len(p.bodies); at += 10 {
		time.Sleep(time.Until(began.Add(over * time.Duration(at) / time.Duration(len(p.bodies)))))
		part := p.bodies[at:min(at+10, len(p.bodies))]
		entries := make([]sqstypes.SendMessageBatchRequestEntry, len(part))
		for i := range part {
			entries[i] = sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &part[i].body}
			if r.fifo {
				entries[i].MessageGroupId, entries[i].MessageDeduplicationId = &part[i].group, aws.String(strconv.Itoa(at+i))
			}
		}
		out, err := r.sqs.SendMessageBatch(r.t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &r.queue, Entries: entries})
		if err != nil || len(out.Failed) > 0 {
			r.t.Errorf("send: %v, %v", err, out)
			return
		}
	}
}

// check compares the table and the dead letters with what was sent.
func (r *rig) check(p *plan) {
	r.t.Helper()
	missing := maps.Clone(p.want)
	name := tableName
	pages := dynamodb.NewScanPaginator(r.ddb, &dynamodb.ScanInput{TableName: &name, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, item := range page.Items {
			if strings.HasPrefix(textOf(item[table.PKAttribute]), "tributary#") {
				continue // what the function says of itself, and of usage
			}
			k, err := table.ParseKey(schema.Builtin(), textOf(item[table.PKAttribute]), textOf(item[table.SKAttribute]))
			want, sent := missing[k]
			if err != nil || !sent {
				r.t.Errorf("the table has %v, which nobody sent, or twice", item)
				continue
			}
			delete(missing, k)
			if want.Delete {
				n, _ := item[table.VersionAttribute].(*ddbtypes.AttributeValueMemberN)
				if !table.IsTombstone(item) || n == nil || n.Value != strconv.FormatInt(want.Version, 10) {
					r.t.Errorf("%v should be the tombstone of version %d", item, want.Version)
				}
			} else if should := table.Item(&want); !reflect.DeepEqual(should, item) {
				r.t.Errorf("the table has %v, want %v", item, should)
			}
		}
	}
	for _, c := range missing {
		r.t.Errorf("%+v is not in the table", c)
	}
	r.checkLetters(p)
}

func textOf(v ddbtypes.AttributeValue) string {
	if s, ok := v.(*ddbtypes.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// checkLetters empties the dead-letter queue. A letter may be there again, because a crash or a lost answer sends it again.
func (r *rig) checkLetters(p *plan) {
	r.t.Helper()
	missing := maps.Clone(p.poison)
	for {
		out, err := r.sqs.ReceiveMessage(r.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &r.letters, MaxNumberOfMessages: 10, VisibilityTimeout: 120, MessageAttributeNames: []string{"All"}})
		if err != nil {
			r.t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			break
		}
		for _, m := range out.Messages {
			if p.poison[*m.Body] == 0 || aws.ToString(m.MessageAttributes["reason"].StringValue) == "" {
				r.t.Errorf("a dead letter that is no poison, or has no reason: %s", *m.Body)
			}
			delete(missing, *m.Body)
			if _, err := r.sqs.DeleteMessage(r.t.Context(), &sqs.DeleteMessageInput{QueueUrl: &r.letters, ReceiptHandle: m.ReceiptHandle}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for body := range missing {
		r.t.Errorf("poison without a dead letter: %s", body)
	}
}

// weather is the set of faults of the n-th time. Every other is bad: an outage or writes that hang drive invocations to their ends.
func weather(d *rand.Rand, n int) faults.Config {
	rate := func(most float64) float64 { return most * d.Float64() }
	writes, calls := []string{"BatchWriteItem", "PutItem"}, []string{"ChangeMessageVisibilityBatch", "SendMessageBatch"}
	config := faults.Config{
		WriteUnits: 200 + 600*d.Float64(),
		Rules: []faults.Rule{
			{Fault: faults.Delay, Operations: writes, Rate: rate(0.05), MaxDelay: 600 * time.Millisecond},
			{Fault: faults.Unprocessed, Operations: writes, Rate: rate(0.05)},
			{Fault: faults.ErrorBefore, Operations: writes, Rate: rate(0.03)},
			{Fault: faults.ErrorAfter, Operations: writes, Rate: rate(0.03)},
			{Fault: faults.ResetBefore, Operations: writes, Rate: rate(0.03)},
			{Fault: faults.ResetAfter, Operations: writes, Rate: rate(0.03)},
			{Fault: faults.Cut, Operations: writes, Rate: rate(0.02)},
			{Fault: faults.ThrottleKeyRange, Operations: writes, Rate: rate(0.03)},
			{Fault: faults.ThrottleTable, Operations: writes, Rate: rate(0.01)},
			{Fault: faults.ErrorBefore, Operations: calls, Rate: rate(0.03)},
			{Fault: faults.ErrorAfter, Operations: calls, Rate: rate(0.02)},
			{Fault: faults.ResetAfter, Operations: calls, Rate: rate(0.02)},
			{Fault: faults.FailEntry, Operations: calls, Rate: rate(0.03)},
		},
	}
	switch n % 4 {
	case 0: // an outage
		config.Rules = append(config.Rules, faults.Rule{Fault: faults.ErrorBefore, Operations: writes, Rate: 0.95})
	case 2: // writes that hang
		config.Rules = append(config.Rules, faults.Rule{Fault: faults.Delay, Operations: writes, Rate: 0.6, MaxDelay: 6 * time.Second})
	}
	return config
}

// storm sends a plan's messages and runs a mapping through changing weather until everything is settled.
func (r *rig) storm(m *simulator.Mapping, p *plan, d *rand.Rand, lasts time.Duration) {
	r.t.Helper()
	stop, sent := make(chan struct{}), make(chan struct{})
	var sky sync.WaitGroup
	sky.Go(func() {
		defer close(sent)
		r.sendAll(p, lasts*9/10)
	})
	sky.Go(func() {
		for n, end := 0, time.Now().Add(lasts); ; n++ {
			config := weather(d, n)
			if !time.Now().Before(end) {
				config = faults.Config{}
			}
			if err := r.front.Set(config); err != nil {
				r.t.Error(err)
			}
			select {
			case <-stop:
				return
			case <-time.After(weatherLasts):
			}
		}
	})
	defer sky.Wait()
	defer close(stop)
	r.drain(m, sent, lasts+5*time.Minute)
	r.t.Logf("seed %d, %d messages: %v", *chaosSeed, len(p.bodies), &m.Stats)
	if err := m.Problem(); err != nil {
		r.t.Errorf("answers that no function may give: %v", err)
	}
}

// weatherLasts is longer than the patience of the function.
const weatherLasts = 1500 * time.Millisecond

// chaosTime is how long the weather is bad: longer for more commands.
func chaosTime() time.Duration {
	return min(time.Minute, 4*time.Second+time.Duration(*chaosCommands)*time.Millisecond)
}

// TestChaos: commands go through throttles, lost answers, deadlines in the middle and killed environments, in no order, and
// nothing is lost. The table and the dead letters are exactly what was sent.
func TestChaos(t *testing.T) { chaos(t, false, unordered) }

// TestChaosInOrder is the same in the order of FIFO groups, with commands without versions: the last one for each key wins.
func TestChaosInOrder(t *testing.T) { chaos(t, true, ordered) }

func chaos(t *testing.T, fifo bool, draw func(*rand.Rand, int) *plan) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	t.Parallel()
	r := newRig(t, fifo, 12)
	p := draw(rand.New(rand.NewPCG(*chaosSeed, 1)), *chaosCommands)
	cfg := r.config("TRIBUTARY_DEADLINE_MARGIN=400ms", "TRIBUTARY_PATIENCE=700ms", "TRIBUTARY_LOG_LEVEL=error")
	cfg.Timeout, cfg.Concurrency, cfg.PerEnvironment, cfg.Freeze = 2*time.Second, 6, 2, true
	if !fifo {
		cfg.BatchSize, cfg.Window = 100, time.Second
	}
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(*chaosSeed, 2))
	end, invocations := time.Now().Add(chaosTime()), 0
	cfg.KillAfter = func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		invocations++
		if time.Now().After(end) || invocations%8 != 2 {
			return 0
		}
		return time.Duration(1+dice.IntN(300)) * time.Millisecond
	}
	m := simulator.New(cfg)
	r.storm(m, p, rand.New(rand.NewPCG(*chaosSeed, 3)), chaosTime())
	r.check(p)
	if m.Ends.Load() == 0 || *chaosCommands >= 10_000 && m.Reported.Load() == 0 {
		t.Errorf("no environment was killed, or nothing was reported: %v", &m.Stats)
	}
}

// TestThrottlingBurnsFewReceives: while nothing but throttling happens, no message is received more often than a tenth of
// maxReceiveCount.
func TestThrottlingBurnsFewReceives(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	t.Parallel()
	r := newRig(t, false, 36)
	var bodies []string
	for i := range 400 {
		bodies = append(bodies, order("cold", fmt.Sprint("o", i), i))
	}
	for i := range 1200 {
		bodies = append(bodies, order("hot", fmt.Sprint("o", i), i))
	}
	rand.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
	r.send("", bodies...)
	if err := r.front.Set(faults.Config{WriteUnits: 60, Burst: 60}); err != nil { // a partition of 60 units a second: the hot tenant needs 20 s
		t.Fatal(err)
	}
	cfg := r.config("TRIBUTARY_DEADLINE_MARGIN=1500ms", "TRIBUTARY_PATIENCE=1s")
	cfg.Timeout, cfg.Concurrency, cfg.BatchSize, cfg.Window = 6*time.Second, 4, 100, time.Second
	m := simulator.New(cfg)
	r.drain(m, nil, 4*time.Minute)
	t.Log(&m.Stats)
	if most := m.MostReceives.Load(); most > maxReceive/10 {
		t.Errorf("a message was received %d times, and maxReceiveCount is %d", most, maxReceive)
	}
	if m.Reported.Load() == 0 {
		t.Error("nothing was throttled")
	}
	if visible, _ := r.depth(r.letters); visible > 0 {
		t.Errorf("%d messages ended on the dead-letter queue", visible)
	}
}

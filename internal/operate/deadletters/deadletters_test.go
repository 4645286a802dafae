package deadletters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/schema"
	"tributary/localstack/queue"
	"tributary/test/faults"
	"tributary/test/support/stacktest"
)

// world is a queue and its dead-letter queue in a server of their own.
type world struct {
	t             *testing.T
	client        *sqs.Client
	source, dlq   string
	sourceARN     string
	server        *queue.Server
	fifo          bool
	receivesLimit int
}

type option func(*world, *queue.Options)

func fifo(w *world, _ *queue.Options)     { w.fifo = true }
func inFlight(n int) option               { return func(_ *world, o *queue.Options) { o.InFlightLimit = n } }
func maxReceives(n int) option            { return func(w *world, _ *queue.Options) { w.receivesLimit = n } }
func (w *world) box() *Box                { return &Box{API: w.client, URL: w.dlq, FIFO: w.fifo} }
func (w *world) target() *Target          { return &Target{API: w.client, URL: w.source, FIFO: w.fifo} }
func (w *world) context() context.Context { return w.t.Context() }
func text(v string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
}

// within runs a test in a bubble, where waiting costs no time.
func within(t *testing.T, test func(*testing.T, *world), options ...option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, receivesLimit: 100}
		var o queue.Options
		for _, option := range options {
			option(w, &o)
		}
		server := queue.NewServer(o)
		defer server.Close()
		w.server, w.client = server, sqs.NewFromConfig(stacktest.Config(server))
		suffix, attributes := "", map[string]string{}
		if w.fifo {
			suffix, attributes = ".fifo", map[string]string{"FifoQueue": "true"}
		}
		w.dlq, _ = w.create("commands-dlq"+suffix, maps.Clone(attributes))
		attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:commands-dlq%s","maxReceiveCount":%d}`, suffix, w.receivesLimit)
		w.source, w.sourceARN = w.create("commands"+suffix, attributes)
		test(t, w)
	})
}

// scripted is a client whose calls fail as a script says.
func (w *world) scripted(script faults.Script) *sqs.Client {
	return sqs.NewFromConfig(stacktest.Config(faults.Over(w.server, script)))
}

func (w *world) create(name string, attributes map[string]string) (url, arn string) {
	w.t.Helper()
	out, err := w.client.CreateQueue(w.context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.QueueUrl, "arn:aws:sqs:us-east-1:000000000000:" + name
}

// letter is what a worker's dead letter looks like.
func (w *world) letter(n int, reason, tenant string) {
	w.t.Helper()
	attributes := map[string]types.MessageAttributeValue{
		"reason": text(reason), "detail": text("it is wrong"), "field": text("order_amount"),
		"source_message_id": text("source-" + strconv.Itoa(n)), "source_index": text(strconv.Itoa(n)), "source_queue": text("commands"),
	}
	if tenant != "" {
		attributes["tenant_id"] = text(tenant)
	}
	w.send(w.dlq, fmt.Sprintf(`{"n":%d}`, n), tenant, attributes)
}

func (w *world) send(url, body, group string, attributes map[string]types.MessageAttributeValue) {
	w.t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: attributes}
	if group != "" {
		in.MessageGroupId = &group
	}
	if w.fifo {
		in.MessageDeduplicationId = aws.String(body)
	}
	if _, err := w.client.SendMessage(w.context(), in); err != nil {
		w.t.Fatal(err)
	}
}

// drain receives and deletes all that is visible now.
func (w *world) drain(url string) []types.Message {
	w.t.Helper()
	var all []types.Message
	for {
		out, err := w.client.ReceiveMessage(w.context(), &sqs.ReceiveMessageInput{
			QueueUrl: &url, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return all
		}
		for _, m := range out.Messages {
			all = append(all, m)
			if _, err := w.client.DeleteMessage(w.context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func bodies(messages []types.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, *m.Body)
	}
	slices.Sort(all)
	return all
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestLookingDoesNotConsume(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 95 {
			w.letter(n, []string{"invalid_field", "malformed"}[n%2], []string{"acme", ""}[n%2])
			time.Sleep(time.Second)
		}
		summary, walked, err := w.box().Summarize(w.context(), &Filter{}, 3)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "letters", summary.Letters, 95)
		equal(t, "looked", walked, Walked{Looked: 95})
		if len(summary.Groups) != 2 || summary.Groups[0].Letters != 48 || summary.Groups[0].TenantID != "acme" || summary.Groups[1].Reason != "malformed" {
			t.Errorf("groups: %+v", summary.Groups)
		}
		if len(summary.Newest) != 3 || summary.Newest[0].Body != `{"n":94}` || summary.Newest[2].Body != `{"n":92}` {
			t.Errorf("newest: %+v", summary.Newest)
		}
		// No time has passed since: what was not given back would be invisible.
		equal(t, "visible afterwards", len(w.drain(w.dlq)), 95)
	})
}

func TestFilters(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.letter(0, "invalid_field", "acme")
		w.letter(1, "malformed", "")
		time.Sleep(time.Hour)
		w.letter(2, "invalid_field", "zeta")
		for name, c := range map[string]struct {
			filter Filter
			want   int
		}{
			"all":               {Filter{}, 3},
			"reason":            {Filter{Reasons: []string{"malformed"}}, 1},
			"reasons":           {Filter{Reasons: []string{"malformed", "invalid_field"}}, 3},
			"tenant":            {Filter{Tenants: []string{"acme"}}, 1},
			"reason and tenant": {Filter{Reasons: []string{"malformed"}, Tenants: []string{"acme"}}, 0},
			"since":             {Filter{Since: time.Now().Add(-time.Minute)}, 1},
			"source id":         {Filter{IDs: []string{"source-1"}}, 1},
		} {
			summary, _, err := w.box().Summarize(w.context(), &c.filter, 0)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, name, summary.Letters, c.want)
		}
	})
}

func TestRedriveSendsWhatWasSent(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 25 {
			w.letter(n, "invalid_field", "acme")
		}
		w.letter(99, "malformed", "zeta")
		moved, walked, err := w.box().Redrive(w.context(), &Filter{Reasons: []string{"invalid_field"}}, w.target())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 25)
		equal(t, "looked", walked.Looked, 26)
		got := w.drain(w.source)
		equal(t, "in the queue", len(got), 25)
		for _, m := range got {
			equal(t, "attributes", len(m.MessageAttributes), 1)
			equal(t, "tenant", aws.ToString(m.MessageAttributes["tenant_id"].StringValue), "acme")
			equal(t, "group", m.Attributes["MessageGroupId"], "acme")
		}
		equal(t, "left", strings.Join(bodies(w.drain(w.dlq)), " "), `{"n":99}`)
	})
}

func TestRedriveOfWhatSQSMoved(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		body := `{"type":"delete_user","tenant_id":"acme","user_id":"u1"}`
		w.send(w.source, body, "", map[string]types.MessageAttributeValue{"traceparent": text("00-a-b-01"), "reason": text("an upstream's own")})
		// The second receive is one too many: SQS moves it.
		for range 2 {
			if _, err := w.client.ReceiveMessage(w.context(), &sqs.ReceiveMessageInput{QueueUrl: &w.source, VisibilityTimeout: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		var found *Letter
		if _, err := w.box().Each(w.context(), &Filter{}, func(l *Letter) error { found = l; return nil }); err != nil || found == nil {
			t.Fatalf("letter %v, error %v", found, err)
		}
		equal(t, "reason", found.Reason, ReasonReceivedTooOften)
		equal(t, "tenant, from the body", found.TenantID, "acme")
		equal(t, "source queue", found.SourceQueue, "commands")
		moved, _, err := w.box().Redrive(w.context(), &Filter{Reasons: []string{ReasonReceivedTooOften}, Tenants: []string{"acme"}}, w.target())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 1)
		got := w.drain(w.source)
		equal(t, "in the queue", len(got), 1)
		equal(t, "body", *got[0].Body, body)
		equal(t, "trace", aws.ToString(got[0].MessageAttributes["traceparent"].StringValue), "00-a-b-01")
		equal(t, "the upstream's own attribute", aws.ToString(got[0].MessageAttributes["reason"].StringValue), "an upstream's own")
	}, maxReceives(1))
}

func TestRefusedLettersStay(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 20 {
			w.letter(n, "invalid_field", "acme")
		}
		to := w.target()
		to.API = w.scripted(func(c *faults.Call) (p faults.Plan) {
			var in struct {
				Entries []struct{ MessageBody string }
			}
			_ = json.Unmarshal(c.Body, &in) // the stack reports what is wrong with it
			p.Left = func(i int) string {
				if in.Entries[i].MessageBody == `{"n":7}` {
					return "InternalError"
				}
				return ""
			}
			return p
		})
		moved, _, err := w.box().Redrive(w.context(), &Filter{}, to)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 19)
		equal(t, "refused", moved.Refused, 1)
		equal(t, "refusals in words", len(moved.Refusals), 1)
		equal(t, "left", strings.Join(bodies(w.drain(w.dlq)), " "), `{"n":7}`)
	})
}

// brokenQueue fails its calls as a whole.
type brokenQueue struct {
	QueueAPI
	deletes, gives error
	receives       *atomic.Int64 // how many more succeed
}

func (b brokenQueue) DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput, o ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	if b.deletes != nil {
		return nil, b.deletes
	}
	return b.QueueAPI.DeleteMessageBatch(ctx, in, o...)
}

func (b brokenQueue) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, o ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	if b.gives != nil {
		return nil, b.gives
	}
	return b.QueueAPI.ChangeMessageVisibilityBatch(ctx, in, o...)
}

func (b brokenQueue) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, o ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	if b.receives != nil && b.receives.Add(-1) < 0 {
		return nil, errBroken
	}
	return b.QueueAPI.ReceiveMessage(ctx, in, o...)
}

var errBroken = errors.New("broken")

func TestNothingIsRemovedThatWasNotAccepted(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 40 {
			w.letter(n, "invalid_field", "acme")
		}
		to := w.target()
		to.API = failingSender{}
		moved, _, err := w.box().Redrive(w.context(), &Filter{}, to)
		if !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
		equal(t, "sent", moved.Sent, 0)
		equal(t, "visible again", len(w.drain(w.dlq)), 40)
	})
}

type failingSender struct{}

func (failingSender) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	return nil, errBroken
}

func TestWhatCannotBeRemovedIsCounted(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 5 {
			w.letter(n, "invalid_field", "acme")
		}
		box := w.box()
		box.API = brokenQueue{QueueAPI: w.client, deletes: errBroken}
		moved, _, err := box.Redrive(w.context(), &Filter{}, w.target())
		if !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
		equal(t, "sent and removed", moved.Sent, 0)
		equal(t, "sent and not removed", moved.Doubled, 5)
		equal(t, "in both queues", len(w.drain(w.dlq)), len(w.drain(w.source)))
	})
}

func TestAnErrorGivesAllBack(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 60 {
			w.letter(n, "invalid_field", "acme")
		}
		box := w.box()
		left := &atomic.Int64{}
		left.Store(4)
		box.API = brokenQueue{QueueAPI: w.client, receives: left}
		if _, _, err := box.Summarize(w.context(), &Filter{}, 0); !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
		equal(t, "visible again", len(w.drain(w.dlq)), 60)
	})
}

func TestInterruptionGivesAllBackAndLosesNothing(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 60 {
			w.letter(n, "invalid_field", "acme")
		}
		ctx, cancel := context.WithCancel(w.context())
		defer time.AfterFunc(9200*time.Millisecond, cancel).Stop() // ten are sent, ten are held
		to := w.target()
		to.Rate = 2
		moved, _, err := w.box().Redrive(ctx, &Filter{}, to)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended by %v", err)
		}
		sent, left := w.drain(w.source), w.drain(w.dlq)
		equal(t, "sent", len(sent), 10)
		equal(t, "counted", moved.Sent, 10)
		equal(t, "in either queue", len(sent)+len(left), 60)
	})
}

func TestStuckLettersAreCounted(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 12 {
			w.letter(n, "invalid_field", "acme")
		}
		box := w.box()
		box.API = brokenQueue{QueueAPI: w.client, gives: errBroken}
		_, walked, err := box.Summarize(w.context(), &Filter{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "stuck", walked.Stuck, 12)
		equal(t, "visible at once", len(w.drain(w.dlq)), 0)
		time.Sleep(visibility + time.Second)
		equal(t, "visible by themselves", len(w.drain(w.dlq)), 12)
	})
}

func TestRateIsKept(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 41 {
			w.letter(n, "invalid_field", "acme")
		}
		to := w.target()
		to.Rate = 4
		began := time.Now()
		moved, _, err := w.box().Redrive(w.context(), &Filter{}, to)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 41)
		// The first goes at once, 40 follow, and one long poll sees that nothing is left.
		equal(t, "took", time.Since(began), 10*time.Second+emptyWait)
	})
}

func TestASlowRedriveVisitsEachLetterOnce(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 200 {
			w.letter(n, []string{"invalid_field", "malformed"}[n%2], "acme")
		}
		to := w.target()
		to.Rate = RateMin // 100 letters take 1,000 s: longer than what is held stays invisible
		moved, walked, err := w.box().Redrive(w.context(), &Filter{Reasons: []string{"malformed"}}, to)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 100)
		equal(t, "looked", walked.Looked, 200)
		equal(t, "in the queue", len(w.drain(w.source)), 100)
		equal(t, "left", len(w.drain(w.dlq)), 100)
	})
}

// looper is a queue whose workers fail with everything that is redriven, before the redrive has its answer.
type looper struct {
	SendAPI
	fail func(sent []types.SendMessageBatchResultEntry)
}

func (l looper) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, o ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	out, err := l.SendAPI.SendMessageBatch(ctx, in, o...)
	if err == nil {
		l.fail(out.Successful)
		time.Sleep(100 * time.Millisecond) // the answer takes its time
	}
	return out, err
}

func TestLettersThatComeBackAreNotRedrivenAgain(t *testing.T) {
	const letters = 9
	for name, fail := range map[string]func(*world, []types.SendMessageBatchResultEntry){
		"as commands": func(w *world, sent []types.SendMessageBatchResultEntry) {
			for _, m := range sent {
				w.send(w.dlq, "again "+*m.MessageId, "acme", map[string]types.MessageAttributeValue{
					"reason": text("invalid_field"), "source_message_id": text(*m.MessageId), "source_index": text("0"),
				})
			}
		},
		"as bodies that can't be decoded": func(w *world, sent []types.SendMessageBatchResultEntry) {
			for _, m := range sent {
				w.send(w.dlq, "again "+*m.MessageId, "acme", map[string]types.MessageAttributeValue{
					"reason": text("malformed"), "source_message_id": text(*m.MessageId),
				})
			}
		},
		"moved by SQS": func(w *world, _ []types.SendMessageBatchResultEntry) {
			for range 2 { // the second receive is one too many
				if _, err := w.client.ReceiveMessage(w.context(), &sqs.ReceiveMessageInput{QueueUrl: &w.source, MaxNumberOfMessages: 10, VisibilityTimeout: 1}); err != nil {
					w.t.Error(err)
				}
				time.Sleep(2 * time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				for n := range letters {
					w.letter(n, "invalid_field", "acme")
				}
				var sent atomic.Int64
				to := w.target()
				to.API = looper{w.client, func(entries []types.SendMessageBatchResultEntry) {
					if sent.Add(int64(len(entries))) <= 10*letters { // a loop would have no end
						fail(w, entries)
					}
				}}
				moved, walked, err := w.box().Redrive(w.context(), &Filter{}, to)
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "sent", moved.Sent, letters)
				equal(t, "looked", walked.Looked, letters)
				equal(t, "came back", len(w.drain(w.dlq)), letters)
			}, maxReceives(1))
		})
	}
}

func TestABoundedWalkSaysThatThereIsMore(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 300 {
			w.letter(n, "invalid_field", "acme")
		}
		box := w.box()
		box.Hold = 50
		summary, walked, err := box.Summarize(w.context(), &Filter{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !walked.Full || summary.Letters < 50 || summary.Letters >= 50+10*parallel {
			t.Errorf("walked %+v, %d letters", walked, summary.Letters)
		}
		// What is removed makes room: a drop is not bounded.
		dropped, walked, err := box.Drop(w.context(), &Filter{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "dropped", dropped, Dropped{Dropped: 300})
		equal(t, "full", walked.Full, false)
	})
}

func TestSQSsOwnBoundOnLookingIsNoError(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 90 {
			w.letter(n, "invalid_field", "acme")
		}
		_, walked, err := w.box().Summarize(w.context(), &Filter{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "unseen", walked.Unseen, 50)
		equal(t, "visible again", len(w.drain(w.dlq)), 90)
	}, inFlight(40))
}

func TestLettersInOthersHandsAreTold(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 8 {
			w.letter(n, "invalid_field", "acme")
		}
		if _, err := w.client.ReceiveMessage(w.context(), &sqs.ReceiveMessageInput{QueueUrl: &w.dlq, MaxNumberOfMessages: 3}); err != nil {
			t.Fatal(err)
		}
		_, walked, err := w.box().Summarize(w.context(), &Filter{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "walked", walked, Walked{Looked: 5, Elsewhere: 3})
	})
}

func TestDrop(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 30 {
			w.letter(n, "invalid_field", []string{"acme", "zeta", "nova"}[n%3])
		}
		chosen := &Filter{Tenants: []string{"acme", "nova"}}
		shown := map[string]bool{}
		if _, err := w.box().Each(w.context(), chosen, func(l *Letter) error {
			if l.TenantID == "acme" {
				shown[l.ID] = true
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		dropped, walked, err := w.box().Drop(w.context(), chosen, shown)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "of those shown", dropped, Dropped{Dropped: 10, Unshown: 10})
		equal(t, "looked", walked.Looked, 30)
		if dropped, _, err = w.box().Drop(w.context(), chosen, nil); err != nil {
			t.Fatal(err)
		}
		equal(t, "of all", dropped, Dropped{Dropped: 10})
		equal(t, "left", len(w.drain(w.dlq)), 10)
	})
}

func TestFIFO(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 35 {
			w.letter(n, "invalid_field", "acme")
		}
		w.letter(99, "malformed", "zeta")
		// One group shows ten letters until they are gone.
		summary, walked, err := w.box().Summarize(w.context(), &Filter{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "seen", summary.Letters, 11)
		equal(t, "unseen", walked.Unseen, 25)
		// Removing makes room for the next.
		moved, walked, err := w.box().Redrive(w.context(), &Filter{}, w.target())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 36)
		equal(t, "unseen", walked.Unseen, 0)
		got := w.drain(w.source)
		equal(t, "in the queue", len(got), 36)
		var order []string
		for _, m := range got {
			if m.Attributes["MessageGroupId"] == "acme" {
				order = append(order, *m.Body)
			}
		}
		for i, body := range order {
			equal(t, "order of the group", body, fmt.Sprintf(`{"n":%d}`, i))
		}
	}, fifo)
}

func TestARepeatedFIFORedriveIsNotDoubled(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 5 {
			w.letter(n, "invalid_field", "acme")
		}
		box := w.box()
		box.API = brokenQueue{QueueAPI: w.client, deletes: errBroken}
		if _, _, err := box.Redrive(w.context(), &Filter{}, w.target()); !errors.Is(err, errBroken) {
			t.Fatalf("error %v", err)
		}
		if _, _, err := w.box().Redrive(w.context(), &Filter{}, w.target()); err != nil {
			t.Fatal(err)
		}
		equal(t, "in the queue", len(w.drain(w.source)), 5)
		equal(t, "left", len(w.drain(w.dlq)), 0)
	}, fifo)
}

func TestLargeLettersAreSentInSeveralCalls(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 6 {
			w.send(w.dlq, strconv.Itoa(n)+strings.Repeat("x", 400<<10), "acme", map[string]types.MessageAttributeValue{"reason": text("too_large")})
		}
		moved, _, err := w.box().Redrive(w.context(), &Filter{}, w.target())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 6)
	})
}

func TestAMissingQueueIsAnError(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		box := w.box()
		box.URL += "-not"
		_, _, err := box.Summarize(w.context(), &Filter{}, 0)
		if _, ok := errors.AsType[*types.QueueDoesNotExist](err); !ok {
			t.Errorf("error %v", err)
		}
	})
}

func TestASummaryOfVeryManyTenantsIsBounded(t *testing.T) {
	s := NewSummary(0)
	for n := range maxGroups + 500 {
		s.Add(&Letter{Reason: "malformed", TenantID: strconv.Itoa(n)})
	}
	s.Finish()
	equal(t, "groups", len(s.Groups), maxGroups+1)
	equal(t, "most", s.Groups[0].Letters, 500)
	equal(t, "of", s.Groups[0].TenantID, OtherTenants)
}

// interrupter presses ctrl-C while a batch is being sent.
type interrupter struct {
	SendAPI
	press context.CancelFunc
}

func (i interrupter) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, o ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	i.press()
	return i.SendAPI.SendMessageBatch(ctx, in, o...)
}

func TestABatchThatWasBegunIsFinished(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for n := range 10 {
			w.letter(n, "invalid_field", "acme")
		}
		ctx, cancel := context.WithCancel(w.context())
		defer cancel()
		to := w.target()
		to.API = interrupter{w.client, cancel}
		moved, _, err := w.box().Redrive(ctx, &Filter{}, to)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended by %v", err)
		}
		equal(t, "sent", moved.Sent, 10)
		equal(t, "in the queue", len(w.drain(w.source)), 10)
		equal(t, "left", len(w.drain(w.dlq)), 0)
	})
}

// Letters of older versions have the command's tenant under tenant_id: one that was refused for its tenant would be accepted.
func TestRedriveWithholdsOldMismatches(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.letter(1, "tenant_mismatch", "victim")
		w.letter(2, "unknown_field", "acme")
		moved, _, err := w.box().Redrive(w.context(), &Filter{}, w.target())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "sent", moved.Sent, 1)
		equal(t, "refused", moved.Refused, 1)
		equal(t, "in the queue", strings.Join(bodies(w.drain(w.source)), " "), `{"n":2}`)
		equal(t, "left", strings.Join(bodies(w.drain(w.dlq)), " "), `{"n":1}`)
	})
}

// The tenant of a letter is the one that sent it.
func TestALettersTenantIsItsSender(t *testing.T) {
	tenants := func(sender, command string) (*Letter, Filter) {
		m := &types.Message{MessageAttributes: map[string]types.MessageAttributeValue{"reason": text("tenant_mismatch"), "command_tenant_id": text(command)}}
		if sender != "" {
			m.MessageAttributes["tenant_id"] = text(sender)
		}
		return newLetter(schema.Builtin(), m), Filter{Tenants: []string{"victim"}}
	}
	if l, f := tenants("attacker", "victim"); l.TenantID != "attacker" || l.CommandTenantID != "victim" || f.Match(l) || l.Withheld() != "" {
		t.Errorf("letter %+v", l)
	}
	if l, f := tenants("", "victim"); l.TenantID != "victim" || !f.Match(l) {
		t.Errorf("letter %+v", l)
	}
}

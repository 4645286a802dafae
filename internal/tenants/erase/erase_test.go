package erase

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/operate/deadletters"
	"tributary/internal/operate/setup"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
	"tributary/localstack/stack"
	"tributary/test/support/commands"
	"tributary/test/support/ddbjson"
	"tributary/test/support/stacktest"
)

const tableName = "MultiTenantTable"

// world is a table with items of the tenants acme and other, and a dead-letter queue with letters of both.
type world struct {
	t       *testing.T
	stack   *stack.Stack
	items   *dynamodb.Client
	letters *sqs.Client
	dlq     string
	others  string // what is not acme's, as it was
}

const (
	users, orders, tombstones, odd = 30, 20, 3, 2
	lettersOfAcme, lettersOfOther  = 13, 4
)

func within(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		embedded := stack.New(stack.Options{})
		defer embedded.Close()
		cfg := stacktest.Config(embedded)
		w := &world{t: t, stack: embedded, items: dynamodb.NewFromConfig(cfg), letters: sqs.NewFromConfig(cfg)}
		s := setup.Setup{Queues: w.letters, Tables: w.items, Features: w.items}
		if _, err := s.Run(t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: tableName, Types: schema.Builtin()}); err != nil {
			t.Fatal(err)
		}
		w.fill()
		w.others = w.rest()
		test(t, w)
	})
}

func (w *world) put(item table.Attributes) {
	w.t.Helper()
	if _, err := w.items.PutItem(w.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: item}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) fill() {
	w.t.Helper()
	for _, tenant := range []string{"acme", "acme2", "other"} {
		for i := range users {
			c := commands.Version(commands.PutUser(tenant, fmt.Sprint("u", i), "n", "e"), 7)
			w.put(table.Item(&c))
		}
		for i := range orders {
			c := commands.PutOrder(tenant, fmt.Sprint("o", i), "u1", "1.50")
			c.Attributes = `{"a":[1,"x"]}`
			w.put(table.Item(&c))
		}
		for i := range tombstones {
			c := commands.Version(commands.DeleteUser(tenant, fmt.Sprint("gone", i)), 9)
			w.put(table.Tombstone(&c, time.Now().Add(time.Hour)))
		}
		for i := range odd {
			w.put(table.Attributes{"PK": text("tenant#" + tenant), "SK": text(fmt.Sprint("invoice#", i)), "total": text("9")})
		}
	}
	url, err := w.letters.GetQueueUrl(w.t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("commands-dlq")})
	if err != nil {
		w.t.Fatal(err)
	}
	w.dlq = *url.QueueUrl
	for i := range lettersOfAcme {
		w.letter("acme", fmt.Sprint("letter ", i))
	}
	for i := range lettersOfOther {
		w.letter("other", fmt.Sprint("letter ", i))
	}
	// A message that SQS moved, of two tenants.
	w.letter("", `[{"type":"delete_user","tenant_id":"acme","user_id":"u"},{"type":"delete_user","tenant_id":"other","user_id":"u"}]`)
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func (w *world) letter(tenant, body string) {
	w.t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: &w.dlq, MessageBody: &body}
	if tenant != "" {
		attribute := func(v string) sqstypes.MessageAttributeValue {
			return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
		}
		in.MessageAttributes = map[string]sqstypes.MessageAttributeValue{"reason": attribute("invalid_field"), "tenant_id": attribute(tenant)}
	}
	if _, err := w.letters.SendMessage(w.t.Context(), in); err != nil {
		w.t.Fatal(err)
	}
}

// all returns the items of the table, or of an index, whose partition keys begin so.
func (w *world) all(index string, wanted func(pk string) bool) []string {
	w.t.Helper()
	in := &dynamodb.ScanInput{TableName: aws.String(tableName)}
	if index != "" {
		in.IndexName = &index
	}
	out, err := w.items.Scan(w.t.Context(), in)
	if err != nil || len(out.LastEvaluatedKey) > 0 {
		w.t.Fatal(err)
	}
	var all []string
	for _, item := range out.Items {
		if wanted(item["PK"].(*types.AttributeValueMemberS).Value) {
			all = append(all, ddbjson.Item(item))
		}
	}
	slices.Sort(all)
	return all
}

// rest is all that is not acme's and not the control partition's.
func (w *world) rest() string {
	others := func(pk string) bool { return strings.HasPrefix(pk, "tenant#") && pk != "tenant#acme" }
	return strings.Join(slices.Concat(w.all("", others), w.all("orders_by_user", others)), "\n")
}

// bodies returns the letters, by the tenants that they name.
func (w *world) bodies() map[string][]string {
	w.t.Helper()
	found := map[string][]string{}
	if _, err := w.box(w.letters).Each(w.t.Context(), &deadletters.Filter{}, func(l *deadletters.Letter) error {
		found[l.TenantID] = append(found[l.TenantID], l.Body)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	for _, bodies := range found {
		slices.Sort(bodies)
	}
	return found
}

func (w *world) box(client *sqs.Client) *deadletters.Box {
	return &deadletters.Box{API: client, Name: "commands-dlq", URL: w.dlq}
}

// eraser makes one whose calls handler answers.
func (w *world) eraser(handler http.Handler) *Eraser {
	cfg := stacktest.Config(handler)
	items, letters := dynamodb.NewFromConfig(cfg), sqs.NewFromConfig(cfg)
	return &Eraser{
		Items: items, Tables: items, Store: &control.Store{API: items, Table: tableName}, Table: tableName, Types: schema.Builtin(),
		Queues: letters, Queue: "commands", QueueURL: strings.TrimSuffix(w.dlq, "-dlq"), Box: w.box(letters), Tombstones: 45 * 24 * time.Hour,
	}
}

// erased fails the test unless all of acme's is gone, counted right, and nothing else was touched.
func (w *world) erased(c *Certificate, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	mine := func(pk string) bool { return pk == "tenant#acme" }
	if left := slices.Concat(w.all("", mine), w.all("orders_by_user", mine)); len(left) > 0 {
		w.t.Errorf("%d items are left: %s", len(left), left)
	}
	if w.rest() != w.others {
		w.t.Error("items of others were changed")
	}
	left := w.bodies()
	if len(left["acme"]) > 0 || len(left["other"]) != lettersOfOther || len(left[""]) != 1 {
		w.t.Errorf("letters %q", left)
	}
	items := Items{ByType: map[string]int{"user": users, "order": orders}, Tombstones: tombstones, Other: odd, Total: users + orders + tombstones + odd}
	if !maps.Equal(c.Items.ByType, items.ByType) || c.Items.Tombstones != items.Tombstones || c.Items.Other != items.Other || c.Items.Total != items.Total || c.Items.Late != 0 {
		w.t.Errorf("items %+v", c.Items)
	}
	if c.Letters != (LetterSums{Removed: lettersOfAcme, Shared: 1}) {
		w.t.Errorf("letters %+v", c.Letters)
	}
	if !c.Complete() || c.Ended == nil || len(c.Steps) != int(Erased) || c.Proof.At.IsZero() || !slices.Equal(c.Proof.Indexes, []string{"orders_by_user"}) || len(c.Outside) == 0 {
		w.t.Errorf("certificate %+v", c)
	}
	d, err := (&control.Store{API: w.items, Table: tableName}).Decision(w.t.Context(), "acme")
	if err != nil || d.Status != tenants.Erased || d.Erasure != c.Erasure || !d.Expires.Equal(c.DroppedUntil) || d.Verdict(time.Now()) != tenants.Drop {
		w.t.Errorf("decision %+v, %v", d, err)
	}
	if want := c.Ended.Add((14 + 14 + 45) * 24 * time.Hour).Truncate(time.Second); !d.Expires.Equal(want) {
		w.t.Errorf("it is forgotten at %v, want %v", d.Expires, want)
	}
}

func TestErase(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		e := w.eraser(w.stack)
		forecast, err := e.Forecast(t.Context(), "acme")
		if err != nil || forecast.Items.Total != users+orders+tombstones+odd || forecast.Letters.Removed != lettersOfAcme || forecast.Letters.Shared != 1 {
			t.Fatalf("%+v, %v", forecast, err)
		}
		if got := w.all("", func(pk string) bool { return pk == "tenant#acme" || pk == control.Partition }); len(got) != forecast.Items.Total {
			t.Error("a forecast changes something")
		}
		c, err := e.Run(t.Context(), "acme", "ann@desk")
		w.erased(c, err)
		if c.WriteUnits.Table != float64(c.Items.Total) || c.By != "ann@desk" {
			t.Errorf("certificate %+v", c)
		}
		revision, _ := e.Store.Revision(t.Context())
		again, err := e.Run(t.Context(), "acme", "bob")
		w.erased(again, err)
		if now, err := e.Store.Revision(t.Context()); now != revision || err != nil {
			t.Errorf("erased again, the revision is %d, it was %d, %v", now, revision, err)
		}
		first, _ := json.Marshal(c)
		second, _ := json.Marshal(again)
		if !bytes.Equal(first, second) {
			t.Errorf("erased again it is\n%s\nand not\n%s", second, first)
		}
		var shown bytes.Buffer
		if err := c.Write(&shown); err != nil || !strings.Contains(shown.String(), "55 items (order 20, user 30, tombstones 3, other 2)") {
			t.Errorf("%s, %v", &shown, err)
		}
	})
}

// mortal is a process's way to AWS. It dies at its call number n: no call gets through any more.
type mortal struct {
	next   http.Handler
	n      int64
	late   bool // the last call has its effect; only the answer is lost
	called atomic.Int64
}

func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch n := m.called.Add(1); {
	case n < m.n:
		m.next.ServeHTTP(w, r)
		return
	case n == m.n && m.late:
		m.next.ServeHTTP(nowhere{http.Header{}}, r)
	}
	panic(http.ErrAbortHandler)
}

// nowhere is an answer that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// TestKilledAnywhere kills the command at each of its calls, before and after the call takes effect, and erases again.
func TestKilledAnywhere(t *testing.T) {
	for _, late := range []bool{false, true} {
		over := false
		for n := int64(1); !over; n++ {
			within(t, func(t *testing.T, w *world) {
				m := &mortal{next: w.stack, n: n, late: late}
				c, err := w.eraser(m).Run(t.Context(), "acme", "ann@desk")
				if over = m.called.Load() < n; over {
					t.Logf("late %v: %d calls", late, n-1)
					w.erased(c, err)
					return
				}
				store := &control.Store{API: w.items, Table: tableName}
				begun, err := store.Decision(t.Context(), "acme")
				if err != nil {
					t.Fatal(err)
				}
				c, err = w.eraser(w.stack).Run(t.Context(), "acme", "bob")
				w.erased(c, err)
				if begun.Status != tenants.Active && (c.Erasure != begun.Erasure || c.By != "ann@desk") {
					t.Errorf("erasure %s by %s goes on as %s by %s", begun.Erasure, begun.By, c.Erasure, c.By)
				}
				if t.Failed() {
					t.Fatalf("killed at call %d, late %v", n, late)
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestTwoErase: the second finds the first's record, and both are right.
func TestTwoErase(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		type result struct {
			c   *Certificate
			err error
		}
		results := make(chan result, 2)
		for range 2 {
			go func() {
				c, err := w.eraser(w.stack).Run(t.Context(), "acme", "ann@desk")
				results <- result{c, err}
			}()
		}
		a, b := <-results, <-results
		if a.err != nil || b.err != nil || a.c.Erasure != b.c.Erasure {
			t.Fatalf("%v, %v; %+v, %+v", a.err, b.err, a.c, b.c)
		}
		final, err := w.eraser(w.stack).Run(t.Context(), "acme", "ann@desk")
		if final.Items.Late != 0 || final.Items.Total != users+orders+tombstones+odd {
			t.Errorf("items %+v", final.Items)
		}
		final.Letters.Removed = lettersOfAcme // two who count at once may count one letter twice
		w.erased(final, err)
	})
}

// TestTheCountIsWrittenOnce: one is about to count when another erases all. What the other has counted stays.
func TestTheCountIsWrittenOnce(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		slow := w.eraser(w.stack)
		slow.Progress = func(step Step, done int) {
			if step == Counted && done == 0 {
				slow.Progress = nil
				c, err := w.eraser(w.stack).Run(t.Context(), "acme", "bob")
				w.erased(c, err)
			}
		}
		c, err := slow.Run(t.Context(), "acme", "ann@desk")
		w.erased(c, err)
	})
}

// TestWorkersAreWaitedFor: one that confirms is named, and so is one that died.
func TestWorkersAreWaitedFor(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		log := slog.New(slog.DiscardHandler)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		var confirmed atomic.Int64
		agent := control.NewAgent(control.AgentConfig{API: w.items, Table: tableName, Role: "all", Log: log, Confirmed: confirmed.Load})
		agent.Begin(ctx)
		go func() {
			agent.Run(ctx)
			close(ended)
		}()
		w.put(table.Attributes{"PK": text(control.Partition), "SK": text("worker#dead"), "host": text("gone"), "role": text("all"),
			"updated": text(time.Now().UTC().Format(time.RFC3339))})

		began := time.Now()
		_, err := w.eraser(w.stack).Run(t.Context(), "acme", "ann@desk")
		late, unconfirmed := errors.AsType[*control.UnconfirmedError](err)
		step, stopped := errors.AsType[*StepError](err)
		if !unconfirmed || !stopped || step.Step != Quiet || len(late.Waiting.Missing) != 1 || late.Waiting.Missing[0].ID != agent.ID() || time.Since(began) != quietWithin {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if n := len(w.all("", func(pk string) bool { return pk == "tenant#acme" })); n != users+orders+tombstones+odd {
			t.Errorf("%d items are left although a worker may write", n)
		}
		confirmed.Store(1 << 40)
		c, err := w.eraser(w.stack).Run(t.Context(), "acme", "ann@desk")
		w.erased(c, err)
		if len(c.Workers.Confirmed) != 1 || !strings.Contains(c.Workers.Confirmed[0], agent.ID()) || len(c.Workers.PresumedDead) != 1 || !strings.HasPrefix(c.Workers.PresumedDead[0], "gone/") {
			t.Errorf("workers %+v", c.Workers)
		}
		stop()
		<-ended
	})
}

// TestWhatAppearsLaterIsRemovedToo: a letter that is redriven in the middle, and an item of a worker that is not governed.
func TestWhatAppearsLaterIsRemovedToo(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		e := w.eraser(w.stack)
		e.Progress = func(step Step, done int) {
			if step == Proved && done == 0 {
				e.Progress = nil
				c := commands.PutUser("acme", "late", "n", "e")
				w.put(table.Item(&c))
				w.letter("acme", "late")
			}
		}
		c, err := e.Run(t.Context(), "acme", "ann@desk")
		if c.Items.Late != 1 || c.Letters.Removed != lettersOfAcme+1 {
			t.Errorf("%+v %+v", c.Items, c.Letters)
		}
		c.Items.Late, c.Letters.Removed = 0, lettersOfAcme
		w.erased(c, err)
	})
}

// TestEraseAfterAnErasure: one that is over, or was ended, is followed by another with an id of its own.
func TestEraseAfterAnErasure(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		store := &control.Store{API: w.items, Table: tableName}
		first, err := w.eraser(w.stack).Run(t.Context(), "acme", "ann@desk")
		w.erased(first, err)
		if _, _, err := store.Decide(t.Context(), "acme", "resume", func(d tenants.Decision) (tenants.Decision, error) {
			return tenants.Resume(d, true, "ann@desk", time.Now())
		}); err != nil {
			t.Fatal(err)
		}
		c := commands.PutUser("acme", "new", "n", "e")
		w.put(table.Item(&c))
		second, err := w.eraser(w.stack).Run(t.Context(), "acme", "ann@desk")
		if err != nil || second.Erasure == first.Erasure || second.Items.Total != 1 || second.Letters.Removed != 0 {
			t.Errorf("%+v, %v", second, err)
		}
	})
}

// TestBackupsAreNamed: the certificate says until when point-in-time recovery keeps the items.
func TestBackupsAreNamed(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		e := w.eraser(w.stack)
		if got := e.backups(t.Context()); got != "point-in-time recovery is off" {
			t.Error(got)
		}
		if _, err := w.items.UpdateContinuousBackups(t.Context(), &dynamodb.UpdateContinuousBackupsInput{
			TableName: aws.String(tableName), PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
		}); err != nil {
			t.Fatal(err)
		}
		if got, want := e.backups(t.Context()), time.Now().UTC().AddDate(0, 0, 35).Format(time.RFC3339); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	})
}

// TestHiddenLettersAreWaitedFor: letters that somebody else has received, as a command that was killed has, are waited for, and the
// caller is told.
func TestHiddenLettersAreWaitedFor(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		const hidden = 4
		got := 0
		for got < hidden {
			out, err := w.letters.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &w.dlq, MaxNumberOfMessages: hidden, VisibilityTimeout: 900})
			if err != nil {
				t.Fatal(err)
			}
			got += len(out.Messages)
		}
		began, told := time.Now(), 0
		e := w.eraser(w.stack)
		e.Waiting = func(seen deadletters.Walked, until time.Time) {
			told++
			if seen.Elsewhere != got || !until.After(time.Now()) {
				t.Errorf("told of %+v until %v", seen, until)
			}
		}
		w.erased(e.Run(t.Context(), "acme", "op"))
		if took := time.Since(began); told == 0 || took < 15*time.Minute || took > 25*time.Minute {
			t.Errorf("told %d times, ended after %v", told, took)
		}
	})
}

package control

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/internal/table"
	"tributary/internal/tenants"
)

func putItem(a attributes) *dynamodb.PutItemInput {
	return &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: table.Attributes(a)}
}

func TestDecisionsAreKept(t *testing.T) {
	at := time.Date(2026, 1, 31, 15, 4, 5, 123456789, time.UTC)
	for name, d := range map[string]tenants.Decision{
		"suspended": {Status: tenants.Suspended, Reason: "unpaid", By: "ann@desk", At: at},
		"strictly":  {Status: tenants.Suspended, Letters: true, NoReads: true, At: at},
		"limited":   {WriteUnits: 0.1, Requests: 12345678.25, Burst: 2.5, By: "b", At: at},
		"erasing":   {Status: tenants.Erasing, Erasure: "id", At: at},
		"erased":    {Status: tenants.Erased, Erasure: "id", At: at, Expires: at.Truncate(time.Second).Add(time.Hour)},
		"nothing":   {By: "ann@desk", At: at},
	} {
		d.Tenant = "acme:1"
		if got := readDecision(decisionItem(&d, 7)); !reflect.DeepEqual(got, &d) {
			t.Errorf("%s: %+v is read as %+v", name, d, got)
		}
	}
	unknown := decisionItem(&tenants.Decision{Tenant: "acme"}, 1)
	unknown.setText("status", "frozen")
	unknown.setText("write_units_per_second", "many")
	if d := readDecision(unknown); d.Status != tenants.Suspended || d.WriteUnits != 0 {
		t.Errorf("an unknown status is read as %+v", d)
	}
}

func TestWorkersAndRecordsAreKept(t *testing.T) {
	at := time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC)
	worker := Worker{ID: "w", Host: "h", Process: 12, Role: "all", Version: "2", Types: "f", Started: at, Updated: at, Beat: 9, Revision: 3, Confirmed: 2, Held: 5, Expires: at}
	if got := readWorker(workerItem(&worker)); got != worker {
		t.Errorf("%+v is read as %+v", worker, got)
	}
	entry := Entry{At: at, Tenant: "acme", Action: "limit", By: "b", Detail: "d", Reason: "r", Revision: 4}
	if got := readEntry(auditItem(&entry)); got != entry {
		t.Errorf("%+v is read as %+v", entry, got)
	}
}

// TestDecideAtTheSameTime: of decisions made at the same time none is lost.
func TestDecideAtTheSameTime(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		const n = 8
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				if _, _, err := w.store.Decide(t.Context(), "acme", "limit", func(d tenants.Decision) (tenants.Decision, error) {
					d.WriteUnits++
					d.At = time.Now()
					time.Sleep(time.Millisecond)
					return d, nil
				}); err != nil && !errors.Is(err, ErrContended) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		d, err := w.store.Decision(t.Context(), "acme")
		revision, err2 := w.store.Revision(t.Context())
		if err != nil || err2 != nil || d.WriteUnits != n || revision != n {
			t.Errorf("%+v, revision %d, %v, %v", d, revision, err, err2)
		}
		refused := errors.New("no")
		if _, _, err := w.store.Decide(t.Context(), "acme", "limit", func(d tenants.Decision) (tenants.Decision, error) { return d, refused }); !errors.Is(err, refused) {
			t.Error(err)
		}
		if again, _ := w.store.Revision(t.Context()); again != revision {
			t.Error("a decision that was refused counts")
		}
	})
}

// TestThousandsOfDecisions are read in pages, and all of them obeyed.
func TestThousandsOfDecisions(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		const n = 10_000
		for i := range n {
			d := tenants.Decision{Tenant: fmt.Sprintf("tenant-%05d", i), WriteUnits: 5, By: "ann@desk", At: time.Now()}
			if _, err := w.store.API.PutItem(t.Context(), putItem(decisionItem(&d, 1))); err != nil {
				t.Fatal(err)
			}
		}
		p := w.start(w.process("all"))
		if got := p.Rules().Len(); got != n {
			t.Errorf("%d decisions are obeyed", got)
		}
		if n := p.calls.Load(); n < 4 { // the revision, pages of decisions, the workers
			t.Errorf("%d calls", n)
		}
	})
}

func TestAudit(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		began := time.Now()
		for i, tenant := range []string{"a", "b", "a", "b", "a"} {
			wait(time.Second)
			if got := w.suspend(tenant); got != int64(i+1) {
				t.Fatalf("revision %d", got)
			}
		}
		revisions := func(tenant string, since time.Time, limit int) (all []int64) {
			entries, err := w.store.Audit(t.Context(), tenant, since, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				all = append(all, e.Revision)
			}
			return all
		}
		for _, test := range []struct {
			got, want []int64
		}{
			{revisions("", began, 10), []int64{5, 4, 3, 2, 1}},
			{revisions("a", began, 10), []int64{5, 3, 1}},
			{revisions("a", began, 2), []int64{5, 3}},
			{revisions("", began.Add(4*time.Second), 10), []int64{5, 4}},
		} {
			if !reflect.DeepEqual(test.got, test.want) {
				t.Errorf("got %v, want %v", test.got, test.want)
			}
		}
	})
}

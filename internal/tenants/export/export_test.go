package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/operate/setup"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/internal/tenants"
	"tributary/internal/tenants/control"
	"tributary/localstack/stack"
	"tributary/test/support/commands"
	"tributary/test/support/stacktest"
)

const tableName = "MultiTenantTable"

type world struct {
	t     *testing.T
	stack *stack.Stack
	items *dynamodb.Client
}

func within(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		embedded := stack.New(stack.Options{})
		defer embedded.Close()
		cfg := stacktest.Config(embedded)
		w := &world{t, embedded, dynamodb.NewFromConfig(cfg)}
		s := setup.Setup{Queues: sqs.NewFromConfig(cfg), Tables: w.items, Features: w.items}
		if _, err := s.Run(t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: tableName, Types: schema.Builtin()}); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func (w *world) put(item table.Attributes) {
	w.t.Helper()
	if _, err := w.items.PutItem(w.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tableName), Item: item}); err != nil {
		w.t.Fatal(err)
	}
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func (w *world) exporter(handler http.Handler) *Exporter {
	client := dynamodb.NewFromConfig(stacktest.Config(handler))
	return &Exporter{Items: client, Store: &control.Store{API: client, Table: tableName}, Table: tableName, Types: schema.Builtin()}
}

// contents returns the files of a directory by name, without the manifest's times.
func contents(t *testing.T, directory string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(directory, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == manifestName {
			var m Manifest
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatal(err)
			}
			m.Began, m.Ended = time.Time{}, time.Time{}
			text = fmt.Appendf(nil, "%+v", m)
		}
		all[e.Name()] = string(text)
	}
	return all
}

func TestExport(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		user := commands.Version(commands.PutUser("acme", "u1", "Ann \"<&>", "a@x"), 9007199254740993)
		order := commands.PutOrder("acme", "o1", "u1", "12345678901234567890123456789012345678")
		order.Attributes = `{"b":1.50,"a":[true,null,"x"]}`
		gone := commands.Version(commands.DeleteUser("acme", "u0"), 3)
		other := commands.PutUser("other", "u1", "n", "e")
		w.put(table.Item(&user))
		w.put(table.Item(&order))
		w.put(table.Item(&other))
		w.put(table.Tombstone(&gone, time.Unix(4102444800, 0)))
		w.put(table.Attributes{"PK": text("tenant#acme"), "SK": text("invoice#1"), "total": &types.AttributeValueMemberN{Value: "7"}})
		// A seed's order: what an answer of the query API shows of it is not all.
		w.put(table.Attributes{"PK": text("tenant#acme"), "SK": text("order#o2"), "user_id": text("u1"), "order_amount": &types.AttributeValueMemberN{Value: "1"},
			"note": &types.AttributeValueMemberSS{Value: []string{"a"}}})

		directory := filepath.Join(t.TempDir(), "new")
		m, err := w.exporter(w.stack).Run(t.Context(), "acme", directory)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"users.ndjson": `{"tenant_id":"acme","user_id":"u1","user_name":"Ann \"<&>","user_email":"a@x","version":9007199254740993}` + "\n",
			"orders.ndjson": `{"tenant_id":"acme","order_id":"o1","user_id":"u1","order_amount":"12345678901234567890123456789012345678","attributes":{"a":[true,null,"x"],"b":1.5}}` + "\n" +
				`{"tenant_id":"acme","order_id":"o2","user_id":"u1","order_amount":"1"}` + "\n",
			"tombstones.ndjson": `{"PK":{"S":"tenant#acme"},"SK":{"S":"user#u0"},"deleted":{"BOOL":true},"expires_at":{"N":"4102444800"},"version":{"N":"3"}}` + "\n",
			"other.ndjson": `{"PK":{"S":"tenant#acme"},"SK":{"S":"invoice#1"},"total":{"N":"7"}}` + "\n" +
				`{"PK":{"S":"tenant#acme"},"SK":{"S":"order#o2"},"note":{"SS":["a"]},"order_amount":{"N":"1"},"user_id":{"S":"u1"}}` + "\n",
		} {
			got, err := os.ReadFile(filepath.Join(directory, name))
			if err != nil || string(got) != want {
				t.Errorf("%s is %q, %v", name, got, err)
			}
			sum := sha256.Sum256(got)
			found := false
			for _, f := range m.Files {
				found = found || f.Name == name && f.SHA256 == hex.EncodeToString(sum[:]) && f.Bytes == int64(len(got)) && f.Lines == strings.Count(want, "\n")
			}
			if !found {
				t.Errorf("%s is not as the manifest says: %+v", name, m.Files)
			}
		}
		if m.Items != 5 || m.Inexact != 1 || m.Consistent || m.Tenant != "acme" || len(m.Files) != 4 {
			t.Errorf("manifest %+v", m)
		}
		if entries, _ := os.ReadDir(directory); len(entries) != 5 {
			t.Errorf("there are %v", entries)
		}
		if _, err := w.exporter(w.stack).Run(t.Context(), "acme", directory); !isDirectoryError(err) {
			t.Errorf("exported again: %v", err)
		}
	})
}

func isDirectoryError(err error) bool {
	_, is := errors.AsType[*DirectoryError](err)
	return is
}

// slow is DynamoDB whose every call takes a second, and which answers only so many; then nobody is there.
type slow struct {
	next http.Handler
	left atomic.Int64
}

func (s *slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.left.Add(-1) < 0 {
		panic(http.ErrAbortHandler)
	}
	time.Sleep(time.Second)
	s.next.ServeHTTP(w, r)
}

// TestKilledAnywhere ends an export at each of its calls, with more in its files than its checkpoint knows, and goes on.
func TestKilledAnywhere(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		const n = 3500
		for i := range n {
			c := commands.PutUser("acme", fmt.Sprintf("u%05d", i), "n", "e")
			if i%2 == 0 {
				c = commands.PutOrder("acme", fmt.Sprintf("o%05d", i), "u1", "1.50")
			}
			item := table.Item(&c)
			if i%7 == 0 {
				item["more"] = text("x")
			}
			w.put(item)
		}
		whole := t.TempDir()
		if _, err := w.exporter(w.stack).Run(t.Context(), "acme", whole); err != nil {
			t.Fatal(err)
		}
		want := contents(t, whole)
		resumed := 0
		for calls := int64(0); ; calls++ {
			directory := t.TempDir()
			s := &slow{next: w.stack}
			s.left.Store(calls)
			_, err := w.exporter(s).Run(t.Context(), "acme", directory)
			if err == nil {
				break
			}
			for name := range want { // what was written and not noted
				if f, err := os.OpenFile(filepath.Join(directory, name), os.O_APPEND|os.O_WRONLY, 0); err == nil {
					_, _ = f.WriteString(`{"half`)
					_ = f.Close()
				}
			}
			if err := os.WriteFile(filepath.Join(directory, checkpointName+".123"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.left.Store(100)
			before := s.left.Load()
			if _, err := w.exporter(s).Run(t.Context(), "acme", directory); err != nil {
				t.Fatalf("after %d calls: %v", calls, err)
			}
			if before-s.left.Load() < 4 { // of a read of the revision, one of the decision, and four pages
				resumed++
			}
			if got := contents(t, directory); !reflect.DeepEqual(got, want) {
				t.Fatalf("after %d calls it ends otherwise: %s", calls, got[manifestName])
			}
		}
		if resumed == 0 {
			t.Error("it always begins anew")
		}
	})
}

func TestDirectoriesThatCantBeUsed(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		c := commands.PutUser("acme", "u", "n", "e")
		w.put(table.Item(&c))
		begun := func(change func(directory string)) string {
			directory := t.TempDir()
			s := &slow{next: w.stack}
			s.left.Store(2)
			if _, err := w.exporter(s).Run(t.Context(), "acme", directory); err == nil {
				t.Fatal("it ended")
			}
			change(directory)
			return directory
		}
		write := func(name, content string) func(string) {
			return func(directory string) {
				if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		foreign := t.TempDir()
		write("users.ndjson", "mine\n")(foreign)
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		e := w.exporter(w.stack)
		for name, test := range map[string]struct{ tenant, directory string }{
			"something else in it":       {"acme", begun(write("notes.txt", "x"))},
			"a file of that name":        {"acme", foreign},
			"no directory":               {"acme", file},
			"another tenant's":           {"other", begun(func(string) {})},
			"a checkpoint that is wrong": {"acme", begun(write(checkpointName, "{"))},
			"a file that is shorter": {"acme", begun(write(checkpointName,
				fmt.Sprintf(`{"tenant":"acme","table":%q,"types":%q,"files":[{"name":"users.ndjson","bytes":9}]}`, tableName, e.Types.Fingerprint)))},
			"other types": {"acme", begun(write(checkpointName, fmt.Sprintf(`{"tenant":"acme","table":%q,"types":"x"}`, tableName)))},
		} {
			var before map[string]string
			if name != "no directory" {
				before = contents(t, test.directory)
			}
			if _, err := e.Run(t.Context(), test.tenant, test.directory); !isDirectoryError(err) {
				t.Errorf("%s: %v", name, err)
			}
			if name != "no directory" && !reflect.DeepEqual(contents(t, test.directory), before) {
				t.Errorf("%s: it was changed", name)
			}
		}
	})
}

// TestConsistent: only an export of a tenant that is suspended all the time is of one time.
func TestConsistent(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		c := commands.PutUser("acme", "u", "n", "e")
		w.put(table.Item(&c))
		store := &control.Store{API: w.items, Table: tableName}
		suspend := func() {
			if _, _, err := store.Decide(t.Context(), "acme", "suspend", func(d tenants.Decision) (tenants.Decision, error) {
				return tenants.Suspend(d, tenants.Suspension{}, "ann", time.Now())
			}); err != nil {
				t.Fatal(err)
			}
		}
		run := func(between func()) bool {
			e := w.exporter(w.stack)
			e.Progress = func(int, int64) { between() }
			m, err := e.Run(t.Context(), "acme", t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return m.Consistent
		}
		nothing := func() {}
		if run(nothing) {
			t.Error("a tenant that is active is exported consistently")
		}
		suspend()
		if !run(nothing) {
			t.Error("a suspended tenant is not exported consistently")
		}
		time.Sleep(time.Second)
		if run(suspend) { // as it would be after a resume
			t.Error("a tenant that was resumed and suspended is exported consistently")
		}
		w.put(table.Attributes{"PK": text(control.Partition), "SK": text("worker#w"), "beat": &types.AttributeValueMemberN{Value: "1"},
			"updated": text(time.Now().UTC().Add(10 * time.Second).Format(time.RFC3339))})
		var worker sync.WaitGroup
		worker.Go(func() { // a worker that lives and obeys nothing
			for i := range 60 {
				time.Sleep(time.Second)
				_, _ = w.items.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(tableName),
					Key:              table.Attributes{"PK": text(control.Partition), "SK": text("worker#w")},
					UpdateExpression: aws.String("SET beat = :b"), ExpressionAttributeValues: table.Attributes{":b": &types.AttributeValueMemberN{Value: fmt.Sprint(i + 2)}}})
			}
		})
		if run(nothing) {
			t.Error("although a worker does not obey, the export is called consistent")
		}
		worker.Wait()
	})
}

// TestFileNames: declared types may be called as the files of the rest are.
func TestFileNames(t *testing.T) {
	declared, err := schema.Read("types.yaml", []byte("types:\n  other:\n    plural: other\n    fields:\n      a: {type: string}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range layout("", declared).all() {
		names = append(names, f.name)
	}
	if !reflect.DeepEqual(names, []string{"other.ndjson", "tombstones.ndjson", "other-items.ndjson"}) {
		t.Errorf("files %q", names)
	}
}

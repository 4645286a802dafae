package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"reflect"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/table"
	"tributary/internal/tenants/control"
	"tributary/internal/tenants/erase"
	"tributary/test/faults"
	"tributary/test/support/standin"
)

// witness stands between the operators' commands and the stack. Before it lets a request pass, it looks at the record of the erasure.
// When the record shows a step for the first time, it reads the victim's items while the request waits. So each reading shows the
// items exactly as they were between two steps.
type witness struct {
	ddb   *dynamodb.Client
	table string
	store *control.Store

	mu       sync.Mutex // guards what follows
	seen     map[erase.Step]map[string]table.Attributes
	killFrom erase.Step // once it is reached, killIn requests pass before kill is called
	killIn   int
	reached  bool   // killFrom
	kill     func() // nil: nobody is to be killed
	killedAt string // the step at which it was
	err      error
}

func newWitness(ddb *dynamodb.Client, name string) *witness {
	return &witness{
		ddb: ddb, table: name, store: &control.Store{API: ddb, Table: name},
		seen: map[erase.Step]map[string]table.Attributes{},
	}
}

// steps are those between which the items are read.
var steps = []erase.Step{erase.Quiet, erase.Letters, erase.Counted}

// look is called before each request.
func (w *witness) look(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	record, err := w.store.Erasure(ctx, victim)
	if err != nil {
		w.fail(ctx, err)
		return
	}
	for _, s := range steps {
		if record.Step != s.String() || w.seen[s] != nil {
			continue
		}
		items, err := w.items(ctx)
		if err != nil {
			w.fail(ctx, err)
			return
		}
		w.seen[s] = items
	}
	if w.reached = w.reached || record.Step == w.killFrom.String(); !w.reached || w.kill == nil {
		return
	}
	if w.killIn--; w.killIn < 0 {
		w.kill()
		w.kill, w.killedAt = nil, record.Step
	}
}

// fail keeps an error. Whoever asked may have been killed meanwhile, which is none.
func (w *witness) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		w.err = errors.Join(w.err, err)
	}
}

// killAfter lets kill be called once: after so many requests since the step was reached.
func (w *witness) killAfter(step erase.Step, requests int, kill func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killFrom, w.killIn, w.kill = step, requests, kill
}

// spare takes back killAfter, and says at which step the kill came ("": it did not).
func (w *witness) spare() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kill = nil
	return w.killedAt
}

// items reads the victim's items, by sort key.
func (w *witness) items(ctx context.Context) (map[string]table.Attributes, error) {
	all := map[string]table.Attributes{}
	pages := dynamodb.NewQueryPaginator(w.ddb, &dynamodb.QueryInput{
		TableName: &w.table, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("PK = :pk"),
		ExpressionAttributeValues: table.Attributes{":pk": &ddbtypes.AttributeValueMemberS{Value: table.PartitionKey(victim)}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("query the victim's items: %w", err)
		}
		for _, item := range page.Items {
			if sk, ok := item[table.SKAttribute].(*ddbtypes.AttributeValueMemberS); ok {
				all[sk.Value] = item
			}
		}
	}
	return all, nil
}

// check compares the readings with each other and with the certificate. Once the workers are quiet, nothing is added or changed. Only a worker
// that drops a redelivered command deletes its key. So each reading is part of the one before, and the count lies between the readings
// before and after it. Mostly these are equal.
func (w *witness) check(c *erase.Certificate, f *findings, say func(string, ...any)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	for i, s := range steps {
		if w.seen[s] == nil {
			return fmt.Errorf("nobody saw the step %q of the erasure", s)
		}
		if i > 0 {
			added(w.seen[steps[i-1]], w.seen[s], steps[i-1], s, f)
		}
	}
	before, after := tally(w.seen[erase.Letters]), tally(w.seen[erase.Counted])
	counted := counts{c.Items.ByType["order"], c.Items.Tombstones}
	if !counted.within(after, before) || c.Items.Total != counted.orders+counted.tombstones {
		f.add("the certificate counts %+v, but the table had %+v right before the count and %+v right after it", c.Items, before, after)
	}
	if c.Items.Late != 0 {
		f.add("the certificate has %d late items", c.Items.Late)
	}
	exact := "exactly"
	if before != after {
		exact = fmt.Sprintf("within %+v and %+v", after, before)
	}
	say("%s had %d items once the workers were quiet; the count of %d is right, %s", victim, len(w.seen[erase.Quiet]), c.Items.Total, exact)
	return nil
}

// added looks for items that are not in the reading before as they are now.
func added(before, now map[string]table.Attributes, from, to erase.Step, f *findings) {
	for sk, item := range now {
		if !reflect.DeepEqual(before[sk], item) {
			f.add("%s of %s was written between the steps %q and %q (new: %v)", sk, victim, from, to, before[sk] == nil)
		}
	}
}

// counts are numbers of items by kind.
type counts struct{ orders, tombstones int }

func tally(items map[string]table.Attributes) (n counts) {
	for _, item := range items {
		if table.IsTombstone(item) {
			n.tombstones++
		} else {
			n.orders++
		}
	}
	return n
}

func (n counts) within(low, high counts) bool {
	return low.orders <= n.orders && n.orders <= high.orders && low.tombstones <= n.tombstones && n.tombstones <= high.tombstones
}

// A command that is killed while it looks at dead letters hides them for 15 minutes. A run has no time for that: the witness makes it 30 s.
var (
	hidesLong  = []byte(`"VisibilityTimeout":900`)
	hidesShort = []byte(`"VisibilityTimeout":30`)
)

// before returns a handler that looks at the erasure before it passes a request on.
func (w *witness) before(target string) (http.Handler, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("parse address: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(u) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // its command was killed
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // its command was killed
		}
		body = bytes.Replace(body, hidesLong, hidesShort, 1)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Del("Content-Length")
		w.look(r.Context())
		proxy.ServeHTTP(rw, r)
	}), nil
}

// witnessed puts the witness in front of the stack for operators.
func (r *rig) witnessed(ctx context.Context, backends faults.Backends) (stop func(), _ error) {
	r.witness = newWitness(r.ddb, r.table)
	var urls [2]string
	var stops [2]func()
	for i, target := range []string{backends.SQS, backends.DynamoDB} {
		handler, err := r.witness.before(target)
		if err == nil {
			urls[i], stops[i], err = serve(ctx, handler)
		}
		if err != nil {
			return nil, err // the program ends
		}
	}
	r.operator = standin.Environ(urls[0], urls[1], "TRIBUTARY_QUEUE="+r.table, "TRIBUTARY_TABLE="+r.table)
	return func() { stops[0](); stops[1]() }, nil
}

package query_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"

	"tributary/internal/query"
	"tributary/internal/table"
)

// seedOrder is an order as the seed's own script writes it: without order_id.
func seedOrder(tenant, id, userID string) table.Attributes {
	a := order(tenant, id, userID)
	for _, name := range []string{"order_id", table.VersionAttribute, table.AttributesAttribute} {
		delete(a, name)
	}
	return a
}

// uuid7 makes an id as of a time.
func uuid7(at time.Time, r *rand.Rand) string {
	var u uuid.UUID
	for i := range u {
		u[i] = byte(r.Uint32())
	}
	ms := at.UnixMilli()
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6], u[8] = 0x70|u[6]&0x0f, 0x80|u[8]&0x3f
	return u.String()
}

// TestPagingFindsEveryOrderOnce walks 10,000 orders by 100, both ways, by key and by index, while others are written
// and deleted around the place where the walk is.
func TestPagingFindsEveryOrderOnce(t *testing.T) {
	const orders = 10_000
	for _, walk := range []string{"/orders?limit=100", "/orders?limit=100&descending=true", "/users/u1/orders?limit=100", "/users/u1/orders?limit=100&descending=true"} {
		t.Run(walk, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 2))
			fake := newFake(t)
			start := time.UnixMilli(1_700_000_000_000)
			there := map[string]bool{}
			var items []table.Attributes
			for i := range orders {
				id := uuid7(start.Add(time.Duration(i)*time.Second), r)
				there[id] = true
				switch i % 10 {
				case 0:
					items = append(items, seedOrder("tenantA", id, "u1"))
				default:
					items = append(items, order("tenantA", id, "u1"))
				}
				// Four in ten are followed by a tombstone; at one place there are a thousand in a row.
				stones := 0
				if r.IntN(10) < 4 {
					stones = 1
				}
				if i == orders/2 {
					stones = 1500
				}
				for range stones {
					items = append(items, tombstone("tenantA", uuid7(start.Add(time.Duration(i)*time.Second), r)))
				}
				if i%100 == 0 {
					items = append(items, order("tenantB", id, "u1"), user("tenantA", id), order("tenantA", uuid7(start.Add(time.Duration(i)*time.Second), r), "u2"))
				}
			}
			fake.put(items...)
			var others []string
			fake.before = func() {
				for range 5 {
					id := uuid7(start.Add(time.Duration(r.IntN(orders))*time.Second), r)
					fake.put(order("tenantA", id, "u1"))
					others = append(others, id)
				}
				if len(others) > 20 {
					fake.put(tombstone("tenantA", others[r.IntN(len(others))]))
				}
				id := strings.TrimPrefix(str(items[r.IntN(len(items))], table.SKAttribute), "order#")
				if there[id] {
					fake.put(order("tenantA", id, "u1")) // written again, as redelivery does
				}
			}
			base := serve(t, defaults(), query.Deps{DynamoDB: fake})
			seen := map[string]int{}
			var last string
			pages, short := 0, 0
			for next := "/v1/tenants/tenantA" + walk; next != ""; pages++ {
				a := get(t, base+next)
				p := decode[ordersPage](t, a)
				if p.NextCursor != "" && len(p.Items) != 100 {
					short++
				}
				for _, o := range p.Items {
					if last != "" && (o.OrderID > last) == strings.Contains(walk, "descending") {
						t.Fatalf("%s comes after %s", o.OrderID, last)
					}
					last = o.OrderID
					seen[o.OrderID]++
					if o.TenantID != "tenantA" || strings.Contains(walk, "/users/") && o.UserID != "u1" {
						t.Fatalf("%+v does not belong here", o)
					}
				}
				link, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), `>; rel="next"`)
				if (link == "") != (p.NextCursor == "") || p.NextCursor != "" && !strings.Contains(link, "cursor="+p.NextCursor) {
					t.Fatalf("Link is %q, next_cursor %q", a.header.Get("Link"), p.NextCursor)
				}
				next = link
			}
			for id := range there {
				if seen[id] != 1 {
					t.Errorf("order %s came %d times", id, seen[id])
				}
			}
			for id, n := range seen {
				if n != 1 {
					t.Errorf("order %s came %d times", id, n)
				}
			}
			if short != 0 {
				t.Errorf("%d of %d pages were short", short, pages)
			}
			t.Logf("%d pages, %d orders, %d calls", pages, len(seen), fake.count())
		})
	}
}

func TestExportIsWholeAndResumable(t *testing.T) {
	fake := newFake(t)
	var want []string
	for i := range 3500 {
		id := fmt.Sprintf("o%05d", i)
		want = append(want, id)
		fake.put(order("tenantA", id, "u1"))
	}
	draining := false
	base := serve(t, defaults(), query.Deps{DynamoDB: fake, Draining: func() bool { return draining }})
	export := func(path string) (ids []string, end map[string]any, contentType string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "application/x-ndjson, application/json;q=0.5")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			var line map[string]any
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			if end != nil {
				t.Fatalf("a line after the end: %s", lines.Text())
			}
			if line["next_cursor"] != nil {
				end = line
			} else {
				ids = append(ids, line["order_id"].(string))
			}
		}
		if lines.Err() != nil {
			t.Fatal(lines.Err())
		}
		return ids, end, response.Header.Get("Content-Type")
	}
	ids, end, contentType := export("/v1/tenants/tenantA/orders?limit=3")
	if !slices.Equal(ids, want) || end != nil || contentType != "application/x-ndjson" {
		t.Errorf("%d orders, end %v, %s", len(ids), end, contentType)
	}
	// The connection broke: go on after the last line.
	if ids, _, _ = export("/v1/tenants/tenantA/orders?after=o01233"); !slices.Equal(ids, want[1234:]) {
		t.Errorf("after o01233: %d orders", len(ids))
	}
	if ids, _, _ = export("/v1/tenants/tenantA/users/u1/orders?descending=true&after=o01233"); len(ids) != 1233 || ids[0] != "o01232" {
		t.Errorf("before o01233: %d orders", len(ids))
	}
	// The server stops, or DynamoDB does: the last line leads on.
	for name, stop := range map[string]func(){
		"draining":  func() { draining = true },
		"throttled": func() { fake.setFail(&types.ProvisionedThroughputExceededException{}) },
	} {
		calls := 0
		fake.before = func() {
			if calls++; calls == 2 {
				stop()
			}
		}
		first, end, _ := export("/v1/tenants/tenantA/orders")
		if end == nil || len(first)%1000 != 0 || len(first) == 0 {
			t.Fatalf("%s: %d orders, end %v", name, len(first), end)
		}
		if problem := end["problem"].(map[string]any); problem["status"] != float64(503) {
			t.Errorf("%s: %v", name, problem)
		}
		fake.before, draining = nil, false
		fake.setFail(nil)
		rest, end, _ := export("/v1/tenants/tenantA/orders?cursor=" + end["next_cursor"].(string))
		if !slices.Equal(slices.Concat(first, rest), want) || end != nil {
			t.Errorf("%s: %d and %d orders", name, len(first), len(rest))
		}
	}
	// Throttled before the first line: an ordinary problem.
	fake.setFail(&types.ProvisionedThroughputExceededException{})
	if a := get(t, base+"/v1/tenants/tenantA/orders", "Accept", "application/x-ndjson"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("throttled: %s", a)
	}
}

func TestSinceAndUntilSelectByTime(t *testing.T) {
	fake := newFake(t)
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ids []string
	for i := range 300 {
		id := uuid7(start.Add(time.Duration(i)*time.Minute), r)
		ids = append(ids, id)
		// Ids of other kinds stand between them.
		fake.put(order("tenantA", id, "u1"), order("tenantA", id[:14]+"4"+id[15:], "u1"), order("tenantA", id+"x", "u1"), order("tenantA", strings.ToUpper(id), "u1"))
	}
	fake.put(order("tenantA", "o1", "u1"), order("tenantA", "", "u1"), order("tenantA", "zzz", "u1"))
	base := serve(t, defaults(), query.Deps{DynamoDB: fake})
	at := func(minutes int) string {
		return url.QueryEscape(start.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339))
	}
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"since=" + at(0), ids},
		{"until=" + at(300), ids},
		{"since=" + at(10) + "&until=" + at(20), ids[10:20]},
		{"since=" + at(10) + "&until=" + at(11), ids[10:11]},
		{"since=" + at(299), ids[299:]},
		{"since=" + at(300), nil},
		{"since=0000-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", ids},
		{"since=0001-01-01T00:00:00Z", ids},
		{"until=0001-01-02T00:00:00Z", nil},
		{"until=0001-01-01T00:00:00Z", nil},
		{"since=" + at(10) + "&until=" + at(20) + "&after=" + ids[14], ids[15:20]},
		{"since=" + at(10) + "&until=" + at(20) + "&after=a", nil},
		{"since=" + at(10) + "&until=" + at(20) + "&after=0", ids[10:20]},
		{"since=2026-01-01T01:10:00%2B01:00&until=" + at(20), ids[10:20]},
	} {
		for _, path := range []string{"/orders", "/users/u1/orders"} {
			for _, descending := range []bool{false, true} {
				if descending && strings.Contains(c.query, "after=") {
					continue
				}
				want := slices.Clone(c.want)
				if descending {
					slices.Reverse(want)
				}
				var got []string
				cursor := ""
				for {
					p := decode[ordersPage](t, get(t, fmt.Sprintf("%s/v1/tenants/tenantA%s?limit=7&descending=%t&%s%s", base, path, descending, c.query, cursor)))
					for _, o := range p.Items {
						got = append(got, o.OrderID)
					}
					if p.NextCursor == "" {
						break
					}
					cursor = "&cursor=" + p.NextCursor
					if strings.Contains(c.query, "after=") {
						c.query, _, _ = strings.Cut(c.query, "&after=")
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s descending=%t %s: %d ids, want %d", path, descending, c.query, len(got), len(want))
				}
			}
		}
	}
	for _, q := range []string{"descending=true&since=" + at(10) + "&until=" + at(20) + "&after=a", "descending=true&since=" + at(10) + "&until=" + at(20) + "&after=0"} {
		p := decode[ordersPage](t, get(t, base+"/v1/tenants/tenantA/orders?"+q))
		if want := map[bool]int{true: 10, false: 0}[strings.HasSuffix(q, "=a")]; len(p.Items) != want {
			t.Errorf("%s: %d ids, want %d", q, len(p.Items), want)
		}
	}
	for _, q := range []string{"since=" + at(20) + "&until=" + at(10), "since=" + at(1) + "&until=" + at(1), "since=yesterday"} {
		if a := get(t, base+"/v1/tenants/tenantA/orders?"+q); a.status != 400 {
			t.Errorf("%s: %s", q, a)
		}
	}
}

// TestUntilIsExclusive has the first id that a millisecond can have.
func TestUntilIsExclusive(t *testing.T) {
	fake := newFake(t)
	fake.put(order("tenantA", "019b76da-a800-7000-8000-000000000000", "u1")) // 2026-01-01T00:00:00Z
	base := serve(t, defaults(), query.Deps{DynamoDB: fake})
	for q, want := range map[string]int{"since": 1, "until": 0} {
		if p := decode[ordersPage](t, get(t, base+"/v1/tenants/tenantA/orders?"+q+"=2026-01-01T00:00:00Z")); len(p.Items) != want {
			t.Errorf("%s: %d orders, want %d", q, len(p.Items), want)
		}
	}
}

// TestLargeItemsMakeShortPages has items so large that DynamoDB gives only a few at a time.
func TestLargeItemsMakeShortPages(t *testing.T) {
	fake := newFake(t)
	for i := range 20 {
		a := user("tenantA", fmt.Sprintf("u%02d", i))
		a["user_name"] = &types.AttributeValueMemberS{Value: strings.Repeat("x", 300<<10)}
		fake.put(a)
	}
	base := serve(t, defaults(), query.Deps{DynamoDB: fake})
	n, cursor := 0, ""
	for {
		p := decode[ordersPageAny](t, get(t, base+"/v1/tenants/tenantA/users?limit=1000"+cursor))
		if len(p.Items) > 4 {
			t.Errorf("a page of %d items of 300 KB", len(p.Items))
		}
		if n += len(p.Items); p.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + p.NextCursor
	}
	if n != 20 {
		t.Errorf("%d users", n)
	}
}

// TestOddItems has items in the table from another program: an attribute of another type hides nothing but itself, on both
// ways to the item, and the log names the item.
func TestOddItems(t *testing.T) {
	fake, log := newFake(t), &lockedBuffer{}
	odd := order("tenantA", "o2", "u1")
	odd["order_amount"] = &types.AttributeValueMemberBOOL{Value: true}
	odd[table.VersionAttribute] = &types.AttributeValueMemberN{Value: "1.5"}
	nameless := order("tenantA", "", "u1")
	fake.put(order("tenantA", "o1", "u1"), odd, order("tenantA", "o3", "u1"), nameless)
	base := serve(t, defaults(), query.Deps{DynamoDB: fake, Log: slog.New(slog.NewJSONHandler(log, nil))})
	const want = `{"tenant_id":"tenantA","order_id":"o2","user_id":"u1","order_amount":"","attributes":{"a":[true],"b":1.5}}`
	list := get(t, base+"/v1/tenants/tenantA/orders")
	if p := decode[ordersPageAny](t, list); len(p.Items) != 3 || string(p.Items[1]) != want {
		t.Errorf("the list is %s", list)
	}
	if a := get(t, base+"/v1/tenants/tenantA/orders/o2"); a.status != 200 || strings.TrimSpace(a.body) != want {
		t.Errorf("the item is %s", a)
	}
	if a := get(t, base+"/v1/tenants/tenantA/orders", "Accept", "application/x-ndjson"); strings.Count(a.body, "\n") != 3 || !strings.Contains(a.body, want+"\n") {
		t.Errorf("the export is %s", a)
	}
	for text, n := range map[string]int{`"sk":"order#o2","attributes":["order_amount","version"]`: 3, `"sk":"order#",`: 2} {
		if strings.Count(log.String(), text) != n {
			t.Errorf("the log has not %d times %s: %s", n, text, log)
		}
	}
}

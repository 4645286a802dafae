package query_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/query"
	"tributary/internal/query/auth"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/test/support/commands"
)

func defaults() query.Config {
	return query.Config{
		Listen:       "127.0.0.1:0",
		QueryTimeout: 10 * time.Second, QueryConcurrency: 64, QueryExports: 4,
		QueryRate: 1e6, QueryBurst: 1e6, QueryReadUnits: 1e6, QueryMemory: 128 << 20, QueryTenants: 100,
		Auth: auth.Config{TenantClaim: "tenant_id", Algorithms: []string{"RS256", "ES256", "EdDSA"}, ClockSkew: 30 * time.Second, JWKSRefresh: 15 * time.Minute},
	}
}

// serve starts a server over the fake and returns its base URL.
func serve(t testing.TB, cfg query.Config, deps query.Deps) string {
	t.Helper()
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Table == "" {
		deps.Table = tableName
	}
	if deps.Metrics == nil {
		deps.Metrics = prometheus.NewRegistry()
	}
	if deps.Types == nil {
		deps.Types = schema.Builtin()
	}
	s, err := query.New(context.Background(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func ask(t testing.TB, method, url string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func get(t testing.TB, url string, headers ...string) answer {
	t.Helper()
	return ask(t, http.MethodGet, url, headers...)
}

func user(tenant, id string) table.Attributes {
	c := commands.PutUser(tenant, id, "name of "+id, id+"@example.com")
	return table.Item(&c)
}

func order(tenant, id, userID string) table.Attributes {
	c := commands.Version(commands.PutOrder(tenant, id, userID, "150.00"), 7)
	c.Attributes = `{"b":1.50,"a":[true]}`
	return table.Item(&c)
}

func tombstone(tenant, id string) table.Attributes {
	c := commands.Version(commands.DeleteOrder(tenant, id), 8)
	return table.Tombstone(&c, time.Unix(2e9, 0))
}

type shownOrder struct {
	TenantID    string          `json:"tenant_id"`
	OrderID     string          `json:"order_id"`
	UserID      string          `json:"user_id"`
	OrderAmount string          `json:"order_amount"`
	Version     int64           `json:"version"`
	Attributes  json.RawMessage `json:"attributes"`
}

type ordersPage struct {
	Items      []shownOrder `json:"items"`
	NextCursor string       `json:"next_cursor"`
}

func decode[T any](t testing.TB, a answer) (v T) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("the answer is %s", a)
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %s: %v", a.body, err)
	}
	return v
}

func TestFiveRoutes(t *testing.T) {
	fake := newFake(t)
	fake.put(user("tenantA", "u1"), user("tenantA", "a/b c"), user("tenantA", "a%2Fb"), order("tenantA", "o1", "u1"), order("tenantA", "o2", "u2"), tombstone("tenantA", "o3"), user("tenantB", "u1"))
	base := serve(t, defaults(), query.Deps{DynamoDB: fake})
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/v1/tenants/tenantA/users/u1", 200, `{"tenant_id":"tenantA","user_id":"u1","user_name":"name of u1","user_email":"u1@example.com"}`},
		{"/v1/tenants/tenantA/users/a%2Fb%20c", 200, `{"tenant_id":"tenantA","user_id":"a/b c","user_name":"name of a/b c","user_email":"a/b c@example.com"}`},
		{"/v1/tenants/tenantA/users/a%252Fb", 200, `{"tenant_id":"tenantA","user_id":"a%2Fb","user_name":"name of a%2Fb","user_email":"a%2Fb@example.com"}`},
		{"/v1/tenants/tenantA/orders/o1?consistent=true", 200, `{"tenant_id":"tenantA","order_id":"o1","user_id":"u1","order_amount":"150","version":7,"attributes":{"a":[true],"b":1.5}}`},
		{"/v1/tenants/tenantA/orders/o3", 404, `{"title":"Not Found","status":404,"detail":"There is no such order."}`},
		{"/v1/tenants/tenantA/users", 200, `{"items":[{"tenant_id":"tenantA","user_id":"a%2Fb","user_name":"name of a%2Fb","user_email":"a%2Fb@example.com"},{"tenant_id":"tenantA","user_id":"a/b c","user_name":"name of a/b c","user_email":"a/b c@example.com"},{"tenant_id":"tenantA","user_id":"u1","user_name":"name of u1","user_email":"u1@example.com"}]}`},
		{"/v1/tenants/tenantA/users/u2/orders", 200, `{"items":[{"tenant_id":"tenantA","order_id":"o2","user_id":"u2","order_amount":"150","version":7,"attributes":{"a":[true],"b":1.5}}]}`},
		{"/v1/tenants/tenantC/orders", 200, `{"items":[]}`},
	} {
		if a := get(t, base+c.path); a.status != c.status || strings.TrimSpace(a.body) != c.body {
			t.Errorf("%s: got %s\nwant %d %s", c.path, a, c.status, c.body)
		}
	}
	p := decode[ordersPage](t, get(t, base+"/v1/tenants/tenantA/orders?limit=1&descending=true"))
	if len(p.Items) != 1 || p.Items[0].OrderID != "o2" || p.NextCursor == "" {
		t.Errorf("the last order: %+v", p)
	}
	p = decode[ordersPage](t, get(t, base+"/v1/tenants/tenantA/orders?limit=1&descending=true&cursor="+p.NextCursor))
	if len(p.Items) != 1 || p.Items[0].OrderID != "o1" || p.NextCursor != "" {
		t.Errorf("the first order: %+v", p)
	}
}

const requestIDHeader = "X-Request-Id"

// rawGet asks for a path exactly as it is written, which net/http's client would not do.
func rawGet(t testing.TB, base, path string, headers ...string) answer {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	text := "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
	for i := 0; i < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// record asks a handler without a network, as a test on a clock of its own must.
func record(t testing.TB, h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Host = "127.0.0.1"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

package query_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/table"
)

// largeUser takes 37.5 read units.
func largeUser(tenant, id string) table.Attributes {
	a := user(tenant, id)
	a["user_name"] = &types.AttributeValueMemberS{Value: strings.Repeat("x", 75*4096-200)}
	return a
}

func TestReadUnitsAreLimited(t *testing.T) {
	fake := newFake(t)
	fake.put(largeUser("tenantA", "u1"), user("tenantB", "u1"))
	cfg := defaults()
	cfg.QueryReadUnits = 0.1 // so that one may come at once
	base := serve(t, cfg, query.Deps{DynamoDB: fake})
	ask := func(tenant string) answer { return get(t, base+"/v1/tenants/"+tenant+"/users/u1") }
	if a := ask("tenantA"); a.status != 200 {
		t.Fatalf("got %d", a.status)
	}
	a := ask("tenantA")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || err != nil || wait < 360 || wait > 365 {
		t.Errorf("a tenant that has read 37.5 units got %s, Retry-After %q", a, a.header.Get("Retry-After"))
	}
	if a := ask("tenantB"); a.status != 200 {
		t.Errorf("another tenant: %s", a)
	}
}

// handler is a server's handler, for a test on a clock of its own.
func handler(t *testing.T, cfg query.Config, fake *scripted) *query.Server {
	t.Helper()
	s, err := query.New(t.Context(), cfg, query.Deps{Types: schema.Builtin(), DynamoDB: fake, Table: tableName, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestExportsKeepToReadUnits: an export that reads faster than the tenant may waits, and is whole in the end.
func TestExportsKeepToReadUnits(t *testing.T) {
	fake := newFake(t)
	for i := range 30 {
		fake.put(largeUser("tenantA", fmt.Sprintf("u%02d", i)))
	}
	synctest.Test(t, func(t *testing.T) {
		cfg := defaults()
		cfg.QueryReadUnits = 10
		s, start := handler(t, cfg, fake), time.Now()
		w := record(t, s.Handler(), "/v1/tenants/tenantA/users", "Accept", "application/x-ndjson")
		// 30 x 37.5 units, of which 100 may come at once and no request waits for the last read's units.
		if took := time.Since(start); strings.Count(w.Body.String(), "\n") != 30 || took < 85*time.Second || took > 103*time.Second {
			t.Errorf("%d lines in %s", strings.Count(w.Body.String(), "\n"), took)
		}
	})
}

// TestExportsTakeTurns: one that has gone on for a minute ends, with a cursor, when another was turned away for want of a place.
func TestExportsTakeTurns(t *testing.T) {
	fake := newFake(t)
	for i := range 30 {
		fake.put(largeUser("tenantA", fmt.Sprintf("u%02d", i)))
	}
	fake.before = func() { time.Sleep(10 * time.Second) }
	for name, others := range map[string]bool{"alone": false, "with others waiting": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := defaults()
				cfg.QueryExports, cfg.QueryTimeout = 1, time.Minute
				s, start := handler(t, cfg, fake), time.Now()
				export := func(tenant string) *httptest.ResponseRecorder {
					return record(t, s.Handler(), "/v1/tenants/"+tenant+"/users", "Accept", "application/x-ndjson")
				}
				ended := make(chan *httptest.ResponseRecorder)
				go func() { ended <- export("tenantA") }()
				time.Sleep(25 * time.Second)
				if others {
					if w := export("tenantB"); w.Code != 503 || w.Header().Get("Retry-After") != "10" {
						t.Errorf("another export got %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
					}
				}
				lines := strings.Split(strings.TrimSpace((<-ended).Body.String()), "\n")
				last := lines[len(lines)-1]
				if cut := strings.Contains(last, `"next_cursor"`); cut != others {
					t.Errorf("after %s and %d lines the last one is %.100s", time.Since(start), len(lines), last)
				}
				if took := time.Since(start); others && took != time.Minute {
					t.Errorf("it ended after %s", took)
				}
			})
		})
	}
}

// TestABodyEndsTheConnection: what comes after a request with a body, of whatever length, is not another request.
func TestABodyEndsTheConnection(t *testing.T) {
	base := serve(t, defaults(), query.Deps{DynamoDB: newFake(t)})
	for name, request := range map[string]string{
		"two lengths": "GET /v1/tenants/tenantA/users HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a length":    "GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx",
		"POST":        "POST /v1/tenants/tenantA/users HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx",
		"no route":    "PUT /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, request+"GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(c) // a reset connection may still have answered
		_ = c.Close()
		if n := strings.Count(string(text), "HTTP/1.1 "); n != 1 || !strings.Contains(string(text), "\r\nConnection: close\r\n") {
			t.Errorf("%s: %d answers: %.300s", name, n, text)
		}
	}
}

package query_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/internal/tenants"
)

// TestDecisionsAboutTenants: the API refuses the suspended whose reads are stopped, and limits requests to this worker's part of what
// operators allow, from the next request on.
func TestDecisionsAboutTenants(t *testing.T) {
	fake := newFake(t)
	fake.put(user("tenantA", "u1"), user("tenantB", "u1"))
	synctest.Test(t, func(t *testing.T) {
		var rules *tenants.Rules
		decide := func(readers int, d *tenants.Decision) {
			d.Tenant = "tenantA"
			rules = tenants.NewRules(1, time.Now(), 1, readers, []*tenants.Decision{d})
		}
		cfg := defaults()
		cfg.QueryRate, cfg.QueryBurst = 100, 20
		s, err := query.New(t.Context(), cfg, query.Deps{
			DynamoDB: fake, Table: tableName, Types: schema.Builtin(), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
			Rules: func() *tenants.Rules { return rules },
		})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(tenant string) (status int, body string) {
			w := record(t, s.Handler(), "/v1/tenants/"+tenant+"/users/u1")
			return w.Code, w.Body.String()
		}
		// passed counts how many requests are answered until one is told to come back.
		passed := func(tenant string) (n int) {
			for {
				status, _ := ask(tenant)
				if status == http.StatusTooManyRequests {
					return n
				}
				n++
			}
		}
		if n := passed("tenantA"); n != 20 {
			t.Errorf("without rules %d passed at once", n)
		}
		time.Sleep(time.Minute)
		decide(2, &tenants.Decision{Requests: 10, Burst: 2})
		if n := passed("tenantA"); n != 10 { // 10/s, of which this worker has half, for two seconds
			t.Errorf("with a limit %d passed at once", n)
		}
		time.Sleep(time.Second)
		if n := passed("tenantA"); n != 5 {
			t.Errorf("with a limit %d passed in a second", n)
		}
		if n := passed("tenantB"); n != 20 {
			t.Errorf("of another tenant %d passed", n)
		}
		time.Sleep(time.Minute)
		decide(1, &tenants.Decision{Requests: 1e6, Burst: 1e6})
		if n := passed("tenantA"); n != 10 {
			t.Errorf("a bucket that was small had %d", n)
		}
		time.Sleep(time.Minute)
		if n := passed("tenantA"); n != 20 {
			t.Errorf("with a limit above the server's own %d passed at once", n)
		}
		time.Sleep(100 * time.Millisecond)
		if n := passed("tenantA"); n != 10 {
			t.Errorf("with a limit above the server's own %d passed in a tenth of a second", n)
		}
		time.Sleep(time.Minute)
		decide(1, &tenants.Decision{Status: tenants.Suspended})
		if status, _ := ask("tenantA"); status != http.StatusOK {
			t.Errorf("suspended, reads go on: %d", status)
		}
		decide(1, &tenants.Decision{Status: tenants.Suspended, NoReads: true})
		if status, body := ask("tenantA"); status != http.StatusForbidden || !strings.Contains(body, "This tenant is suspended") {
			t.Errorf("suspended, reads are stopped: %d %s", status, body)
		}
		if status, _ := ask("tenantB"); status != http.StatusOK {
			t.Errorf("another tenant: %d", status)
		}
		rules = nil
		if status, _ := ask("tenantA"); status != http.StatusOK {
			t.Errorf("not governed: %d", status)
		}
	})
}

package query_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/query"
	"tributary/internal/query/auth"
)

// FuzzRequest asks for anything by path, query and cursor, with a token for tenantA only: of the built-in types and of
// declared ones. Whatever comes back is well-formed, none of it is another tenant's, and the table is asked for no other partition.
func FuzzRequest(f *testing.F) {
	const a = "/v1/tenants/tenantA"
	for _, seed := range [][3]string{
		{a + "/users/u1", "consistent=true", ""},
		{a + "/users", "limit=1", "AAAA"},
		{a + "/orders", "descending=true&since=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z", ""},
		{a + "/users/u1/orders", "limit=2&after=o1", ""},
		{"/v1/tenants/tenantB/orders", "", ""},
		{"/v1/tenants/tenantA%2F..%2FtenantB/orders/o1", "limit=%31", ""},
		{"/v1/tenants/tenantA%23/users/%00", "cursor=%ff;x", ""},
		{"//v1/../%2e%2e/tenants", "&&==&", "====="},
		{"/openapi.json", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], false)
		f.Add(worlds()[1].paths.Replace(seed[0]), seed[1], seed[2], true)
	}
	type served struct {
		*isolation
		handler http.Handler
		token   string
	}
	var both []served
	for _, w := range worlds() {
		s := newIsolation(f, w, false)
		cfg := defaults()
		cfg.Auth.JWKS, cfg.Auth.Issuer, cfg.Auth.Audience = []auth.Keys{auth.Keys(s.jwks)}, []string{"https://issuer.example"}, []string{"tributary"}
		server, err := query.New(f.Context(), cfg, query.Deps{Types: w.types, DynamoDB: s.fake, Table: tableName, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if err != nil {
			f.Fatal(err)
		}
		both = append(both, served{s, server.Handler(), s.token(f, "tenantA")})
	}
	f.Fuzz(func(t *testing.T, path, rawQuery, cursor string, export bool) {
		if cursor != "" {
			rawQuery += "&cursor=" + url.QueryEscape(cursor)
		}
		target := path + "?" + rawQuery
		if strings.ContainsAny(target, "\r\n ") || !strings.HasPrefix(path, "/") {
			return // no request line
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return // net/http answers that
		}
		for _, s := range both {
			r := &http.Request{Method: http.MethodGet, URL: u, RequestURI: target, Host: "127.0.0.1", RemoteAddr: "127.0.0.1:1", Header: http.Header{"Authorization": {"Bearer " + s.token}}}
			if export {
				r.Header.Set("Accept", "application/x-ndjson")
			}
			s.fake.reset()
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r.WithContext(t.Context()))
			body := w.Body.String()
			switch w.Code {
			case 200, 302, 400, 401, 403, 404, 414, 431:
			default:
				t.Errorf("%q: %d %s", target, w.Code, body)
			}
			if strings.Contains(body, secretOfB) && !strings.Contains(target, secretOfB) || strings.Contains(body, `"tenant_id":"tenantB"`) {
				t.Errorf("%q: %s", target, body)
			}
			for pk := range s.fake.partitions() {
				if pk != "tenant#tenantA" {
					t.Errorf("%q: the table was asked for %q", target, pk)
				}
			}
			if t := w.Header().Get("Content-Type"); strings.HasSuffix(t, "json") && !json.Valid(w.Body.Bytes()) && t != "application/x-ndjson" || w.Code >= 400 && t != "application/problem+json" {
				panic(target + ": " + t + " " + body)
			}
		}
	})
}

package query_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tributary/internal/operate/logging"
	"tributary/internal/query"
	"tributary/internal/query/auth"
	"tributary/internal/schema"
)

// TestEveryRefusalIsAProblemDocument tries the refusals that hold on every path.
func TestEveryRefusalIsAProblemDocument(t *testing.T) {
	fake := newFake(t)
	fake.put(user("tenantA", "u1"))
	base := serve(t, defaults(), query.Deps{DynamoDB: fake})
	const path = "/v1/tenants/tenantA/users/u1"
	for _, c := range []struct {
		name, method, path string
		headers            []string
		body               string
		status             int
	}{
		{"no such path", "GET", "/v2", nil, "", 404},
		{"a trailing slash", "GET", path + "/", nil, "", 404},
		{"no such user", "GET", path + "x", nil, "", 404},
		{"POST", "POST", path, nil, "", 405},
		{"DELETE", "DELETE", "/v1/tenants/tenantA/users", nil, "", 405},
		{"TRACE", "TRACE", path, nil, "", 405},
		{"OPTIONS", "OPTIONS", path, nil, "", 405},
		{"POST to the description", "POST", "/openapi.json", nil, "", 405},
		{"a body", "GET", path, []string{"Content-Type", "text/plain"}, "x", 415},
		{"a long path", "GET", "/v1/tenants/tenantA/users/" + strings.Repeat("x", 9000), nil, "", 414},
		{"a long query", "GET", path + "?" + strings.Repeat("x", 9000), nil, "", 414},
		{"long headers", "GET", path, []string{"X", strings.Repeat("x", 33<<10)}, "", 431},
		{"another host", "GET", path, []string{"Host", "evil.example"}, "", 421},
		{"another host and port", "GET", path, []string{"Host", "127.0.0.1.evil.example:80"}, "", 421},
		{"limit 0", "GET", "/v1/tenants/tenantA/users?limit=0", nil, "", 400},
		{"limit 1001", "GET", "/v1/tenants/tenantA/users?limit=1001", nil, "", 400},
		{"limit that is no number", "GET", "/v1/tenants/tenantA/users?limit=1e2", nil, "", 400},
		{"limit twice", "GET", "/v1/tenants/tenantA/users?limit=1&limit=2", nil, "", 400},
		{"limit without value", "GET", "/v1/tenants/tenantA/users?limit=", nil, "", 400},
		{"an unknown parameter", "GET", "/v1/tenants/tenantA/users?limits=1", nil, "", 400},
		{"a broken encoding", "GET", "/v1/tenants/tenantA/users?limit=%zz", nil, "", 400},
		{"a semicolon", "GET", "/v1/tenants/tenantA/users?limit=1;cursor=2", nil, "", 400},
		{"no UTF-8", "GET", "/v1/tenants/tenantA/users?after=%ff", nil, "", 400},
		{"cursor and after", "GET", "/v1/tenants/tenantA/users?cursor=AAAA&after=u", nil, "", 400},
		{"descending that is no boolean", "GET", "/v1/tenants/tenantA/users?descending=down", nil, "", 400},
		{"a tenant that can't be", "GET", "/v1/tenants/_t/users", nil, "", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(c.headers); i += 2 {
				if r.Header.Set(c.headers[i], c.headers[i+1]); c.headers[i] == "Host" {
					r.Host = c.headers[i+1]
				}
			}
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			var p struct {
				Title, Detail string
				Status        int
			}
			if err := json.NewDecoder(response.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != c.status || p.Status != c.status || p.Title == "" || p.Detail == "" || response.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %d %+v, want %d", response.StatusCode, p, c.status)
			}
			if c.status == 405 && response.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", response.Header.Get("Allow"))
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"} {
				if got := response.Header.Get(name); got != want {
					t.Errorf("%s is %q", name, got)
				}
			}
			if len(response.Header.Get("X-Request-Id")) != 36 {
				t.Errorf("X-Request-Id is %q", response.Header.Get("X-Request-Id"))
			}
		})
	}
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	fake := newFake(t)
	fake.put(user("tenantA", "u1"))
	base := serve(t, defaults(), query.Deps{DynamoDB: fake})
	for _, path := range []string{"/v1/tenants/tenantA/users/u1", "/v1/tenants/tenantA/users", "/v1/tenants/tenantA/users/u2", "/docs", "/openapi.json"} {
		a, b := get(t, base+path), ask(t, http.MethodHead, base+path)
		if a.status != b.status || b.body != "" || a.header.Get("Content-Type") != b.header.Get("Content-Type") || a.header.Get("Content-Length") != b.header.Get("Content-Length") {
			t.Errorf("%s: %s and %s: %v, %v", path, a, b, a.header, b.header)
		}
	}
	if a := ask(t, http.MethodHead, base+"/v1/tenants/tenantA/users", "Accept", "application/x-ndjson"); a.status != 200 || a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("an export: %s", a)
	}
}

func TestRequestIDAndAccessLog(t *testing.T) {
	fake, log := newFake(t), &lockedBuffer{}
	base := serve(t, defaults(), query.Deps{DynamoDB: fake, Log: slog.New(slog.NewJSONHandler(log, nil))})
	if a := get(t, base+"/v1/tenants/tenantA/users?cursor=secretcursor", "X-Request-Id", "my-id.1", "Authorization", "Bearer secrettoken", "Cookie", "secretcookie"); a.header.Get("X-Request-Id") != "my-id.1" {
		t.Errorf("X-Request-Id is %q", a.header.Get("X-Request-Id"))
	}
	for _, id := range []string{"a b", "x\"y", strings.Repeat("x", 129), "a,b"} {
		if a := get(t, base+"/v1/tenants/tenantA/users", "X-Request-Id", id); a.header.Get("X-Request-Id") == id {
			t.Errorf("X-Request-Id %q was taken over", id)
		}
	}
	line, _, _ := strings.Cut(log.String(), "\n")
	for _, want := range []string{`"msg":"request"`, `"request_id":"my-id.1"`, `"method":"GET"`, `"route":"/v1/tenants/{tenant_id}/users"`, `"status":400`, `"tenant":"tenantA"`, `"remote":"127.0.0.1:`} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is not in %s", want, line)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log has a secret: %s", log.String())
	}
}

// TestEveryDenialIsInTheLog: however many there are, and however much alike.
func TestEveryDenialIsInTheLog(t *testing.T) {
	out := &lockedBuffer{}
	log, err := logging.New(out, logging.Config{Format: "json", Level: "info"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := defaults()
	cfg.Auth.Tokens = filepath.Join(t.TempDir(), "tokens.json")
	staticToken(t, cfg.Auth.Tokens, "reader", time.Now().Add(time.Hour), "tenantA")
	base := serve(t, cfg, query.Deps{DynamoDB: newFake(t), Log: log.Logger})
	for i := range 20 {
		get(t, fmt.Sprintf("%s/v1/tenants/tenant%d/users", base, i), "X-Request-Id", "same")
	}
	log.Close()
	for i := range 20 {
		if n := strings.Count(out.String(), fmt.Sprintf(`"msg":"request denied","request_id":"same","reason":"no_token","tenant":"tenant%d"`, i)); n != 1 {
			t.Errorf("%d lines of tenant%d's", n, i)
		}
	}
}

func TestErrorsOfDynamoDB(t *testing.T) {
	fake := newFake(t)
	base := serve(t, defaults(), query.Deps{DynamoDB: fake})
	outage := func(status int) error {
		return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: errors.New("secret detail")}}
	}
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"throughput":    {&types.ProvisionedThroughputExceededException{}, 503},
		"request limit": {&types.RequestLimitExceeded{}, 503},
		"throttling":    {fmt.Errorf("wrapped: %w", &smithy.GenericAPIError{Code: "ThrottlingException"}), 503},
		"outage":        {outage(500), 503},
		"unsent":        {&smithyhttp.RequestSendError{Err: errors.New("secret detail")}, 503},
		"too slow":      {context.DeadlineExceeded, 503},
		"no table":      {&types.ResourceNotFoundException{}, 500},
		"access denied": {outage(400), 500},
		"anything":      {errors.New("secret detail"), 500},
	} {
		fake.setFail(c.err)
		for _, route := range routes {
			a := get(t, base+"/v1/tenants/tenantA"+route)
			if a.status != c.status || strings.Contains(a.body, "secret") || (a.status == 503) != (a.header.Get("Retry-After") != "") {
				t.Errorf("%s: %s: %s, Retry-After %q", name, route, a, a.header.Get("Retry-After"))
			}
		}
	}
}

func TestRateLimitIsATenantsOwn(t *testing.T) {
	cfg := defaults()
	cfg.QueryRate, cfg.QueryBurst, cfg.QueryTenants = 0.1, 3, 2
	base := serve(t, cfg, query.Deps{DynamoDB: newFake(t)})
	status := func(tenant string) answer { return get(t, base+"/v1/tenants/"+tenant+"/users") }
	for range 3 {
		if a := status("tenantA"); a.status != 200 {
			t.Fatalf("got %s", a)
		}
	}
	a := status("tenantA")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || err != nil || wait < 9 || wait > 10 {
		t.Errorf("got %s, Retry-After %q", a, a.header.Get("Retry-After"))
	}
	if a := status("tenantB"); a.status != 200 {
		t.Errorf("another tenant: %s", a)
	}
}

func TestBusyServerSaysSo(t *testing.T) {
	fake := newFake(t)
	cfg := defaults()
	cfg.QueryConcurrency, cfg.QueryExports = 1, 1
	entered, leave := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	first.Store(true)
	fake.before = func() {
		if first.Swap(false) {
			close(entered)
			<-leave
		}
	}
	base := serve(t, cfg, query.Deps{DynamoDB: fake})
	done := make(chan answer, 1)
	go func() { done <- get(t, base+"/v1/tenants/tenantA/users") }()
	<-entered
	if a := get(t, base+"/v1/tenants/tenantB/users"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("got %s", a)
	}
	close(leave)
	if a := <-done; a.status != 200 {
		t.Errorf("got %s", a)
	}
	if a := get(t, base+"/v1/tenants/tenantB/users"); a.status != 200 {
		t.Errorf("got %s", a)
	}
}

// TestATenantHasAShare: one tenant's requests in flight leave room for the others.
func TestATenantHasAShare(t *testing.T) {
	for _, accept := range []string{"application/json", "application/x-ndjson"} {
		fake := newFake(t)
		cfg := defaults()
		cfg.QueryConcurrency, cfg.QueryExports = 8, 8
		entered, leave := make(chan struct{}, 2), make(chan struct{})
		var reads atomic.Int32
		fake.before = func() {
			if reads.Add(1) <= 2 {
				entered <- struct{}{}
				<-leave
			}
		}
		base := serve(t, cfg, query.Deps{DynamoDB: fake})
		ask := func(tenant string) answer {
			return get(t, base+"/v1/tenants/"+tenant+"/users", "Accept", accept)
		}
		done := make(chan answer, 2)
		for range 2 { // a quarter of 8
			go func() { done <- ask("tenantA") }()
		}
		<-entered
		<-entered
		if a := ask("tenantA"); a.status != 429 || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: one too many got %s", accept, a)
		}
		if a := ask("tenantB"); a.status != 200 {
			t.Errorf("%s: another tenant got %s", accept, a)
		}
		close(leave)
		for range 2 {
			if a := <-done; a.status != 200 {
				t.Errorf("%s: got %s", accept, a)
			}
		}
		if a := ask("tenantA"); a.status != 200 {
			t.Errorf("%s: after that, got %s", accept, a)
		}
	}
}

func TestDrainingAnswers503(t *testing.T) {
	draining := atomic.Bool{}
	base := serve(t, defaults(), query.Deps{DynamoDB: newFake(t), Draining: draining.Load})
	if a := get(t, base+"/v1/tenants/tenantA/users"); a.status != 200 {
		t.Errorf("got %s", a)
	}
	draining.Store(true)
	if a := get(t, base+"/v1/tenants/tenantA/users"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("got %s", a)
	}
}

// TestShutdownFinishesWhatIsRunning stops a server while a request is under way.
func TestShutdownFinishesWhatIsRunning(t *testing.T) {
	fake := newFake(t)
	fake.put(user("tenantA", "u1"))
	entered, leave := make(chan struct{}), make(chan struct{})
	fake.before = func() { close(entered); <-leave }
	s, err := query.New(t.Context(), defaults(), query.Deps{Types: schema.Builtin(), DynamoDB: fake, Table: tableName, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	done := make(chan answer, 1)
	go func() { done <- get(t, "http://"+l.Addr().String()+"/v1/tenants/tenantA/users/u1") }()
	<-entered
	stop()
	// The listener closes before the request is answered.
	for {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
	}
	select {
	case err := <-served:
		t.Fatalf("stopped before the answer: %v", err)
	default:
	}
	close(leave)
	if a := <-done; a.status != 200 {
		t.Errorf("got %s", a)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestShutdownBeforeServe(t *testing.T) {
	s, err := query.New(t.Context(), defaults(), query.Deps{Types: schema.Builtin(), DynamoDB: newFake(t), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), l); err != nil {
		t.Errorf("serve after shutdown: %v", err)
	}
}

// TestSlowDynamoDBIsGivenUp measures, on a clock of its own, how long a request may take.
func TestSlowDynamoDBIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := query.New(t.Context(), defaults(), query.Deps{Types: schema.Builtin(), DynamoDB: stuck{}, Table: tableName, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		for _, route := range routes {
			start := time.Now()
			w := record(t, s.Handler(), "/v1/tenants/tenantA"+route)
			if w.Code != 503 || time.Since(start) != 10*time.Second {
				t.Errorf("%s: %d after %s", route, w.Code, time.Since(start))
			}
		}
	})
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := defaults()
	cfg.TLSCert, cfg.TLSKey = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	writeFile(t, cfg.TLSCert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	deps := query.Deps{Types: schema.Builtin(), DynamoDB: newFake(t), Table: tableName, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}
	_, err = query.New(t.Context(), cfg, deps)
	if wrong, ok := errors.AsType[*query.ConfigurationError](err); !ok || !strings.Contains(wrong.Error(), cfg.TLSKey) {
		t.Errorf("a missing key: %v", err)
	}
	writeFile(t, cfg.TLSKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	deps.Metrics = prometheus.NewRegistry()
	s, err := query.New(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	roots := x509.NewCertPool()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(certificate)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	response, err := client.Get("https://" + l.Addr().String() + "/v1/tenants/tenantA/users")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("got %d %v", response.StatusCode, response.Header)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	base := serve(t, defaults(), query.Deps{DynamoDB: newFake(t), Metrics: registry})
	for range 2 {
		get(t, base+"/v1/tenants/tenantA/users")
	}
	get(t, base+"/v1/tenants/tenantA/users/u1")
	get(t, base+"/nowhere/at/all")
	get(t, base+"/v1/tenants/_a/users")
	want := `
# HELP tributary_query_denied_total Requests to the query API that were denied, by reason.
# TYPE tributary_query_denied_total counter
tributary_query_denied_total{reason="invalid_tenant"} 1
# HELP tributary_query_requests_total Requests to the query API, by route and HTTP status.
# TYPE tributary_query_requests_total counter
tributary_query_requests_total{code="200",route="/v1/tenants/{tenant_id}/users"} 2
tributary_query_requests_total{code="400",route="/v1/tenants/{tenant_id}/users"} 1
tributary_query_requests_total{code="404",route="/v1/tenants/{tenant_id}/users/{user_id}"} 1
tributary_query_requests_total{code="404",route="_other"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "tributary_query_requests_total", "tributary_query_denied_total"); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesAllThatIsWrong(t *testing.T) {
	good := defaults()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{"127.0.0.1:8080", "localhost:8080", "[::1]:8080", "127.9.9.9:0"} {
		cfg := defaults()
		cfg.Listen = listen
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s without authentication: %v", listen, err)
		}
	}
	for _, listen := range []string{":8080", "0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "example.com:80", "localhost.evil.example:80"} {
		cfg := defaults()
		cfg.Listen = listen
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "--auth-") {
			t.Errorf("%s without authentication: %v", listen, err)
		}
		cfg.Auth.Tokens = "tokens.json"
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s with tokens: %v", listen, err)
		}
	}
	bad := query.Config{Listen: "nowhere", TLSCert: "c", ReaderRole: "role"}
	bad.Auth.JWKS, bad.Auth.Algorithms = []auth.Keys{"http://example.com/jwks"}, []string{"HS256"}
	err := bad.Validate()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, flag := range []string{"--listen", "--tls-cert", "--reader-role", "--query-timeout", "--query-concurrency", "--query-exports", "--query-rate", "--query-burst", "--query-tenants",
		"--auth-jwks http://", "--auth-issuer", "--auth-audience", "--auth-tenant-claim", "--auth-jwks-refresh", "--auth-algorithms: HS256"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named in:\n%v", flag, err)
		}
	}
}

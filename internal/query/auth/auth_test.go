package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keyRing is an issuer's keys.
type keyRing struct {
	t       *testing.T
	issuer  string // "issuer" where it is ""
	private map[string]*ecdsa.PrivateKey
}

func (r *keyRing) add(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.private == nil {
		r.private = map[string]*ecdsa.PrivateKey{}
	}
	r.private[kid] = key
}

// unname has tokens with no kid signed with a key.
func (r *keyRing) unname(kid string) { r.private[""] = r.private[kid] }

// set is the JWK set of the keys named.
func (r *keyRing) set(kids ...string) []byte {
	var set jose.JSONWebKeySet
	for _, kid := range kids {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &r.private[kid].PublicKey, KeyID: kid})
	}
	text, err := json.Marshal(set)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *keyRing) token(kid, tenant string, expires time.Time) string {
	options := &jose.SignerOptions{}
	if kid != "" {
		options.WithHeader("kid", kid)
	}
	return r.sign(jose.SigningKey{Algorithm: jose.ES256, Key: r.private[kid]}, options, tenant, expires)
}

func (r *keyRing) sign(key jose.SigningKey, options *jose.SignerOptions, tenant string, expires time.Time) string {
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		r.t.Fatal(err)
	}
	claims, err := json.Marshal(map[string]any{"iss": cmp.Or(r.issuer, "issuer"), "aud": []string{"tributary"}, "sub": "s", "exp": expires.Unix(), "tenant_id": tenant})
	if err != nil {
		r.t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func jwtConfig(jwks string) Config {
	return Config{JWKS: []Keys{Keys(jwks)}, Issuer: []string{"issuer"}, Audience: []string{"tributary"}, TenantClaim: "tenant_id", Algorithms: []string{"ES256"}, ClockSkew: 30 * time.Second, JWKSRefresh: 15 * time.Minute}
}

// testClock is a clock that a test sets.
type testClock struct{ at atomic.Int64 }

func newClock(at time.Time) *testClock {
	c := &testClock{}
	c.at.Store(at.UnixNano())
	return c
}

func (c *testClock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *testClock) advance(d time.Duration) { c.at.Add(int64(d)) }

func reasonOf(err error) Reason {
	if denied, ok := errors.AsType[*Denied](err); ok {
		return denied.Reason
	}
	return ""
}

func open(t *testing.T, cfg Config, clock *testClock) (*Authorizer, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	a, err := New(t.Context(), cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	clock.at.Store(time.Now().UnixNano()) // New reads the real one
	a.now = clock.now
	if a.jwt != nil {
		for _, source := range a.jwt.issuers {
			source.now = clock.now
		}
	}
	return a, log
}

func ask(t *testing.T, a *Authorizer, token, tenant string) (Tenant, error) {
	t.Helper()
	got, _, err := a.Authorize(t.Context(), []string{"Bearer " + token}, tenant)
	if err == nil && got.ID() != tenant {
		t.Fatalf("asked for %s, may read %s", tenant, got.ID())
	}
	return got, err
}

func TestTokensFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	clock := newClock(time.Now())
	add := func(name string, valid time.Duration, tenants ...string) string {
		t.Helper()
		token, entry, err := NewToken(name, tenants, clock.now().Add(valid))
		if err != nil {
			t.Fatal(err)
		}
		if err := AddToFile(path, entry, clock.now()); err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := add("first", time.Hour, "a", "b")
	a, log := open(t, Config{Tokens: path}, clock)
	for _, tenant := range []string{"a", "b"} {
		if _, err := ask(t, a, first, tenant); err != nil {
			t.Errorf("%s: %v", tenant, err)
		}
	}
	if _, err := ask(t, a, first, "c"); reasonOf(err) != ReasonOtherTenant {
		t.Errorf("another tenant: %v", err)
	}
	operator := add("operator", 3*time.Hour, AllTenants)
	clock.advance(time.Second)
	if _, err := ask(t, a, operator, "anything"); err != nil {
		t.Errorf("a token added later: %v", err)
	}
	if _, err := ask(t, a, operator, AllTenants); reasonOf(err) != ReasonInvalidTenant {
		t.Errorf("the tenant *: %v", err)
	}
	clock.advance(time.Hour)
	if _, err := ask(t, a, first, "a"); reasonOf(err) != ReasonExpired {
		t.Errorf("expired: %v", err)
	}
	// Expired ones leave the file with the next one added.
	add("third", time.Hour, "a")
	if text, _ := os.ReadFile(path); bytes.Contains(text, []byte("first")) || !bytes.Contains(text, []byte("operator")) || bytes.Contains(text, []byte(operator)) {
		t.Errorf("the file is %s", text)
	}
	// A broken file takes nobody's token.
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Second)
	if _, err := ask(t, a, operator, "x"); err != nil {
		t.Errorf("with a broken file: %v", err)
	}
	if !strings.Contains(log.String(), "last good state") || !strings.Contains(log.String(), path) {
		t.Errorf("the log is %s", log)
	}
	// An entry taken out is gone.
	if err := os.WriteFile(path, []byte(`{"tokens":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Second)
	if _, err := ask(t, a, operator, "x"); reasonOf(err) != ReasonUnknownToken {
		t.Errorf("taken back: %v", err)
	}
	if strings.Contains(log.String(), first) || strings.Contains(log.String(), operator) {
		t.Error("the log has a token")
	}
}

func TestTokensFileThatIsWrong(t *testing.T) {
	digest := strings.Repeat("0", 64)
	for name, text := range map[string]string{
		"no JSON":       `tokens`,
		"another field": `{"tokens":[{"token":"x"}]}`,
		"short digest":  `{"tokens":[{"name":"n","sha256":"00","tenants":["a"],"expires_at":"2030-01-01T00:00:00Z"}]}`,
		"no name":       `{"tokens":[{"sha256":"` + digest + `","tenants":["a"],"expires_at":"2030-01-01T00:00:00Z"}]}`,
		"no tenants":    `{"tokens":[{"name":"n","sha256":"` + digest + `","expires_at":"2030-01-01T00:00:00Z"}]}`,
		"bad tenant":    `{"tokens":[{"name":"n","sha256":"` + digest + `","tenants":["a/b"],"expires_at":"2030-01-01T00:00:00Z"}]}`,
		"no expiry":     `{"tokens":[{"name":"n","sha256":"` + digest + `","tenants":["a"]}]}`,
		"two objects":   `{"tokens":[]}{}`,
	} {
		path := filepath.Join(t.TempDir(), "tokens.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), Config{Tokens: path}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(t.Context(), Config{Tokens: "not-there.json"}, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// issuerServer serves a JWK set that a test changes.
type issuerServer struct {
	*httptest.Server
	mu     sync.Mutex // guards what follows
	body   []byte
	status int
	asked  int
}

func newIssuerServer(t *testing.T, body []byte) *issuerServer {
	s := &issuerServer{body: body, status: http.StatusOK}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		w.WriteHeader(s.status)
		_, _ = w.Write(s.body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *issuerServer) serve(status int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body = status, body
}

func (s *issuerServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func TestKeysFromURLAreKeptAndFetchedWithinBounds(t *testing.T) {
	ring := &keyRing{t: t}
	for _, kid := range []string{"k1", "k2", "k3", "stranger"} {
		ring.add(kid)
	}
	server := newIssuerServer(t, ring.set("k1"))
	clock := newClock(time.Now())
	a, _ := open(t, jwtConfig(server.URL), clock)
	later := clock.now().Add(100 * time.Hour)
	for range 10 {
		if _, err := ask(t, a, ring.token("k1", "a", later), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if server.count() != 1 {
		t.Errorf("the keys were fetched %d times", server.count())
	}
	// The issuer has a new key. A token with it makes the keys be fetched, once the last fetch is old enough.
	server.serve(http.StatusOK, ring.set("k1", "k2"))
	if _, err := ask(t, a, ring.token("k2", "a", later), "a"); reasonOf(err) != ReasonUnknownKey {
		t.Errorf("at once: %v", err)
	}
	clock.advance(keysAgain)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := a.Authorize(context.Background(), []string{"Bearer " + ring.token("k2", "a", later)}, "a"); err != nil {
				t.Errorf("a new key: %v", err)
			}
		})
	}
	all.Wait()
	if server.count() != 2 {
		t.Errorf("20 tokens with a new key had the keys fetched %d times", server.count()-1)
	}
	// Kids that are made up can't make it fetch more often than that.
	for i := range 100 {
		clock.advance(time.Second)
		kid := fmt.Sprintf("made-up-%d", i)
		ring.private[kid] = ring.private["stranger"]
		if _, err := ask(t, a, ring.token(kid, "a", later), "a"); reasonOf(err) != ReasonUnknownKey {
			t.Errorf("a stranger's key: %v", err)
		}
	}
	if n := server.count() - 2; n > 4 {
		t.Errorf("100 made-up kids in 100 s had the keys fetched %d times", n)
	}
	// A key that is withdrawn is gone with the next fetch.
	server.serve(http.StatusOK, ring.set("k2"))
	if err := a.jwt.issuers["issuer"].fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, a, ring.token("k1", "a", later), "a"); reasonOf(err) != ReasonUnknownKey {
		t.Errorf("a withdrawn key: %v", err)
	}
	// Keys outlive an issuer that is down, for a day.
	for status, body := range map[int][]byte{500: ring.set("k2"), 200: []byte("<html>"), 302: nil} {
		server.serve(status, body)
		if err := a.jwt.issuers["issuer"].fetch(t.Context()); err == nil {
			t.Errorf("%d %s was taken for keys", status, body)
		}
	}
	clock.advance(keysMaxAge - time.Minute)
	if _, err := ask(t, a, ring.token("k2", "a", later), "a"); err != nil {
		t.Errorf("the issuer is down: %v", err)
	}
	clock.advance(2 * time.Minute)
	if _, err := ask(t, a, ring.token("k2", "a", later), "a"); reasonOf(err) != ReasonKeysMissing {
		t.Errorf("the issuer is down for a day: %v", err)
	}
}

func TestKeysThatAreMissingAtStart(t *testing.T) {
	ring := &keyRing{t: t}
	ring.add("k1")
	server := newIssuerServer(t, nil)
	server.serve(http.StatusServiceUnavailable, nil)
	clock := newClock(time.Now())
	a, log := open(t, jwtConfig(server.URL), clock)
	if !strings.Contains(log.String(), "keys of JWTs not loaded") {
		t.Errorf("the log is %s", log)
	}
	token := ring.token("k1", "a", clock.now().Add(time.Hour))
	_, err := ask(t, a, token, "a")
	if reasonOf(err) != ReasonKeysMissing {
		t.Errorf("got %v", err)
	}
	if denied, _ := errors.AsType[*Denied](err); denied.Status() != http.StatusServiceUnavailable {
		t.Errorf("status %d", denied.Status())
	}
	server.serve(http.StatusOK, ring.set("k1"))
	clock.advance(keysAgain)
	if _, err := ask(t, a, token, "a"); err != nil {
		t.Errorf("once they are there: %v", err)
	}
}

func TestKeysFromFileAreReadAgain(t *testing.T) {
	ring := &keyRing{t: t}
	ring.add("k1")
	ring.add("k2")
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, ring.set("k1"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := newClock(time.Now())
	a, _ := open(t, jwtConfig(path), clock)
	later := clock.now().Add(time.Hour)
	if _, err := ask(t, a, ring.token("k1", "a", later), "a"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, ring.set("k1", "k2"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock.advance(keysFileCheck)
	if _, err := ask(t, a, ring.token("k2", "a", later), "a"); err != nil {
		t.Errorf("a new key: %v", err)
	}
	// A token that names no key may be of any of them.
	ring.unname("k1")
	if _, err := ask(t, a, ring.token("", "a", later), "a"); err != nil {
		t.Errorf("without kid, with two keys: %v", err)
	}
	for name, text := range map[string]string{"no keys": `{"keys":[]}`, "only a secret": `{"keys":[{"kty":"oct","k":"AAAA"}]}`, "no JSON": `x`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), jwtConfig(path), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s was taken for keys", name)
		}
		clock.advance(keysFileCheck)
		if _, err := ask(t, a, ring.token("k2", "a", later), "a"); err != nil {
			t.Errorf("%s: the last good keys are gone: %v", name, err)
		}
	}
}

func TestNewTokenRefuses(t *testing.T) {
	for name, tenants := range map[string][]string{"": {"a"}, "no tenants": nil, "a bad one": {"a", "b#c"}} {
		if _, _, err := NewToken(name, tenants, time.Now()); err == nil {
			t.Errorf("%q with %q was made", name, tenants)
		}
	}
}

func TestOpenLetsEverybodyIn(t *testing.T) {
	a, _ := open(t, Config{}, newClock(time.Now()))
	if _, _, err := a.Authorize(t.Context(), nil, "a"); err != nil || !a.Open() {
		t.Errorf("got %v", err)
	}
	if _, _, err := a.Authorize(t.Context(), nil, "a/b"); reasonOf(err) != ReasonInvalidTenant {
		t.Errorf("got %v", err)
	}
}

// roundTripper answers without a network, which a test on a clock of its own can't have.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestKeysAreRefreshed watches an hour of Run: keys are fetched every 15 minutes, and soon where there are none yet.
func TestKeysAreRefreshed(t *testing.T) {
	ring := &keyRing{t: t}
	ring.add("k1")
	set := ring.set("k1")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		var up atomic.Bool
		source := &keySource{log: slog.New(slog.DiscardHandler), url: "https://issuer.example/keys", now: time.Now, fetching: make(chan struct{}, 1),
			client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				at = append(at, time.Since(start))
				if !up.Load() {
					return nil, errors.New("no route to host")
				}
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(set))}, nil
			})}}
		a := &Authorizer{jwt: &jwtVerifier{issuers: map[string]*keySource{"issuer": source}, refresh: 15 * time.Minute}, now: time.Now}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.Run(ctx); close(ended) }()
		time.Sleep(keysAgain + time.Second)
		up.Store(true)
		time.Sleep(time.Hour)
		stop()
		<-ended
		want := []time.Duration{keysAgain, 2 * keysAgain, 16 * time.Minute, 31 * time.Minute, 46 * time.Minute}
		if !slices.Equal(at, want) {
			t.Errorf("fetched at %v, want %v", at, want)
		}
	})
}

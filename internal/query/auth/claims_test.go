package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestTenantClaim(t *testing.T) {
	for _, c := range []struct {
		claim, claims string
		want          []string // nil: refused
	}{
		{"tenant_id", `{"tenant_id":"acme"}`, []string{"acme"}},
		{"custom:tenant_id", `{"custom:tenant_id":"acme"}`, []string{"acme"}},
		{"https://example.com/tenant", `{"https://example.com/tenant":"acme"}`, []string{"acme"}},
		{"app.tenant", `{"app.tenant":"acme","app":{"tenant":"globex"}}`, []string{"acme"}},
		{"/firebase/tenant", `{"firebase":{"tenant":"acme"}}`, []string{"acme"}},
		{"/a~1b/c~0d", `{"a/b":{"c~d":"acme"}}`, []string{"acme"}},
		{"tenant_id", `{"tenant_id":42}`, []string{"42"}},
		{"tenant_id", `{"tenant_id":["a",42,"b"]}`, []string{"a", "42", "b"}},
		{"tenant_id", `{"tenant_id":9007199254740993}`, []string{"9007199254740993"}},
		{"organization", `{"organization":{"acme":{"id":"x"},"globex":{}}}`, []string{"acme", "globex"}},
		{"tenant_id", `{"tenant_id":["acme","*"]}`, []string{"acme"}},
		{"tenant_id", `{"tenant_id":"*"}`, []string{}},
		{"organization", `{"organization":{"*":{}}}`, []string{}},
		{"tenant_id", `{"tenant_id":"\u002a"}`, []string{}},
		{"tenant_id", `{}`, nil},
		{"tenant_id", `{"tenant_id":null}`, nil},
		{"tenant_id", `{"tenant_id":true}`, nil},
		{"tenant_id", `{"tenant_id":-1}`, nil},
		{"tenant_id", `{"tenant_id":1.0}`, nil},
		{"tenant_id", `{"tenant_id":1e2}`, nil},
		{"tenant_id", `{"tenant_id":["a",["b"]]}`, nil},
		{"organization", `{"organization":{"acme":true}}`, nil},
		{"organization", `{"organization":{"acme":{},"acme":{}}}`, nil},
		{"/firebase/tenant", `{"firebase":"tenant"}`, nil},
		{"/firebase/tenant", `{"firebase":{"tenant":"a","tenant":"b"}}`, nil},
		{"/firebase/tenant", `{"firebase/tenant":"acme"}`, nil},
	} {
		claims, err := readObject(c.claims)
		if err != nil {
			t.Fatal(err)
		}
		path, err := parseClaim(c.claim)
		if err != nil {
			t.Fatal(err)
		}
		value, err := path.in(claims)
		var got []string
		if err == nil {
			got, err = path.tenants(value)
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("%s of %s: got %q, %v, want %q", c.claim, c.claims, got, err, c.want)
		}
	}
	for _, wrong := range []string{"", "/", "/a//b", "/a/"} {
		if c, err := parseClaim(wrong); err == nil {
			t.Errorf("%q is the claim %v", wrong, c)
		}
	}
}

func TestOperatorClaim(t *testing.T) {
	for _, c := range []struct {
		rule, claims string
		want         bool
	}{
		{"", `{"tenant_id":"*"}`, false},
		{"tenant_id=*", `{"tenant_id":"*"}`, true},
		{"tenant_id=*", `{"tenant_id":["a","*"]}`, true},
		{"tenant_id=*", `{"tenant_id":"a"}`, false},
		{"/realm_access/roles=operator", `{"realm_access":{"roles":["x","operator"]}}`, true},
		{"/realm_access/roles=operator", `{"realm_access":{"roles":["operators"]}}`, false},
		{"/realm_access/roles=operator", `{"realm_access":["operator"]}`, false},
		{"operator=true", `{"operator":true}`, true},
		{"operator=true", `{"operator":"true"}`, true},
		{"operator=true", `{"operator":{"true":{}}}`, false},
		{"a=b=c", `{"a":"b=c"}`, true},
	} {
		var rule *operator
		if c.rule != "" {
			var err error
			if rule, err = parseOperator(c.rule); err != nil {
				t.Fatal(err)
			}
		}
		claims, err := readObject(c.claims)
		if err != nil {
			t.Fatal(err)
		}
		if rule.is(claims) != c.want {
			t.Errorf("%s of %s: want %v", c.rule, c.claims, c.want)
		}
	}
	for _, wrong := range []string{"operator", "operator=", "=x", "/=x"} {
		if _, err := parseOperator(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// TestStarIsNoOperatorByItself has a token whose tenant claim is a star, as users may name a tenant.
func TestStarIsNoOperatorByItself(t *testing.T) {
	ring := &keyRing{t: t}
	ring.add("k1")
	path := keysFile(t, ring.set("k1"))
	clock := newClock(time.Now())
	for rule, reason := range map[string]Reason{"": ReasonOtherTenant, "tenant_id=*": "", "role=operator": ReasonOtherTenant} {
		cfg := jwtConfig(path)
		cfg.Operator = rule
		a, _ := open(t, cfg, clock)
		_, err := ask(t, a, ring.token("k1", "*", clock.now().Add(time.Hour)), "acme")
		if reasonOf(err) != reason {
			t.Errorf("with --auth-operator=%q: %v", rule, err)
		}
	}
}

func keysFile(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestIssuersHaveTheirOwnKeys: a key of one issuer's is good for no token that another issuer is said to have made.
func TestIssuersHaveTheirOwnKeys(t *testing.T) {
	old, other := &keyRing{t: t}, &keyRing{t: t, issuer: "other"}
	old.add("k")
	other.add("k")
	forger := &keyRing{t: t, issuer: "other", private: old.private}
	stranger := &keyRing{t: t, issuer: "stranger", private: old.private}
	cfg := jwtConfig(keysFile(t, old.set("k")))
	cfg.JWKS = append(cfg.JWKS, Keys(keysFile(t, other.set("k"))))
	cfg.Issuer = append(cfg.Issuer, "other")
	clock := newClock(time.Now())
	a, _ := open(t, cfg, clock)
	later := clock.now().Add(time.Hour)
	for name, c := range map[string]struct {
		ring *keyRing
		want Reason
	}{"the first": {old, ""}, "the second": {other, ""}, "the first's key in the second's name": {forger, ReasonSignature}, "a stranger": {stranger, ReasonIssuer}} {
		if _, err := ask(t, a, c.ring.token("k", "acme", later), "acme"); reasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIssuersThatAreNotPaired(t *testing.T) {
	for name, c := range map[string]struct {
		jwks   []Keys
		issuer []string
	}{
		"two issuers, one place": {[]Keys{"a.json"}, []string{"a", "b"}},
		"one issuer, two places": {[]Keys{"a.json", "b.json"}, []string{"a"}},
		"one issuer twice":       {[]Keys{"a.json", "b.json"}, []string{"a", "a"}},
		"an empty issuer":        {[]Keys{"a.json"}, []string{""}},
	} {
		cfg := jwtConfig("")
		cfg.JWKS, cfg.Issuer = c.jwks, c.issuer
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "--auth-issuer") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// without returns a key set whose keys lack a member, or have another value for it.
func without(t *testing.T, set []byte, member string, value any) []byte {
	t.Helper()
	var s struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(set, &s); err != nil {
		t.Fatal(err)
	}
	for _, key := range s.Keys {
		if key[member] = value; value == nil && member == "kid" {
			delete(key, member)
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestKeysWithoutKid(t *testing.T) {
	ring := &keyRing{t: t}
	for _, kid := range []string{"k1", "k2", "stranger"} {
		ring.add(kid)
	}
	both := ring.set("k1", "k2")
	twice := []byte(strings.Replace(string(ring.set("k1")), `"keys":[`, `"keys":[`+strings.TrimSuffix(strings.TrimPrefix(string(ring.set("k1")), `{"keys":[`), "]}")+",", 1))
	clock := newClock(time.Now())
	later := clock.now().Add(time.Hour)
	for name, set := range map[string][]byte{"keys without kid": without(t, both, "kid", nil), "use null": without(t, both, "use", nil), "a key twice": twice} {
		a, _ := open(t, jwtConfig(keysFile(t, set)), clock)
		if _, err := ask(t, a, ring.token("k1", "a", later), "a"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ring.unname("k1")
		if _, err := ask(t, a, ring.token("", "a", later), "a"); err != nil {
			t.Errorf("%s, a token without kid: %v", name, err)
		}
		ring.unname("stranger")
		if _, err := ask(t, a, ring.token("", "a", later), "a"); reasonOf(err) != ReasonSignature {
			t.Errorf("%s, a stranger's token without kid: %v", name, err)
		}
		if name == "a key twice" {
			for _, source := range a.jwt.issuers {
				if n := len(source.current().keys); n != 1 {
					t.Errorf("it counts as %d keys", n)
				}
			}
		}
	}
	encryption := without(t, both, "use", "enc")
	if _, err := parseKeys(encryption); err == nil {
		t.Error("keys for encryption were taken")
	}
}

// TestRotationWithoutKid: the issuer's new key is found although neither key nor token says which it is.
func TestRotationWithoutKid(t *testing.T) {
	ring := &keyRing{t: t}
	ring.add("k1")
	ring.add("k2")
	server := newIssuerServer(t, without(t, ring.set("k1"), "kid", nil))
	clock := newClock(time.Now())
	a, _ := open(t, jwtConfig(server.URL), clock)
	later := clock.now().Add(time.Hour)
	server.serve(http.StatusOK, without(t, ring.set("k2"), "kid", nil))
	ring.unname("k2")
	if _, err := ask(t, a, ring.token("", "a", later), "a"); reasonOf(err) != ReasonSignature {
		t.Errorf("at once: %v", err)
	}
	clock.advance(keysAgain)
	if _, err := ask(t, a, ring.token("", "a", later), "a"); err != nil {
		t.Errorf("later: %v", err)
	}
	if n := server.count(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

// TestABrokenTokensFileIsReportedWhileItLasts: a token that was taken back by a file that can't be understood is still good, so the
// log and the metric go on saying so.
func TestABrokenTokensFileIsReportedWhileItLasts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	clock := newClock(time.Now())
	token, entry, err := NewToken("n", []string{"a"}, clock.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := AddToFile(path, entry, clock.now()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a, log := open(t, Config{Tokens: path}, clock)
	if a.StaleTokens() {
		t.Error("a good file is stale")
	}
	if err := os.WriteFile(path, []byte(`{"tokens":[}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		clock.advance(tokensCheck)
		if _, err := ask(t, a, token, "a"); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "tokens file not read"); n != 3 || !a.StaleTokens() {
		t.Errorf("%d lines, stale %v: %s", n, a.StaleTokens(), log)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	clock.advance(tokensCheck)
	if a.StaleTokens() {
		t.Error("a mended file is stale")
	}
}

// TestTheKeysURLKeepsItsSecret: its query is in no log line, and not in what /status shows.
func TestTheKeysURLKeepsItsSecret(t *testing.T) {
	server := newIssuerServer(t, nil)
	server.serve(http.StatusServiceUnavailable, nil)
	cfg := jwtConfig(server.URL + "/jwks?apikey=SECRETKEY")
	a, log := open(t, cfg, newClock(time.Now()))
	server.Close()
	for _, source := range a.jwt.issuers {
		if err := source.fetch(context.Background()); err == nil || strings.Contains(err.Error(), "SECRETKEY") || !strings.Contains(err.Error(), "/jwks?[redacted]") {
			t.Errorf("got %v", err)
		}
	}
	if !a.StaleKeys() {
		t.Error("keys that can't be fetched are not stale")
	}
	text, err := json.Marshal(cfg)
	if err != nil || !strings.Contains(string(text), "jwks?[redacted]") || strings.Contains(string(text)+log.String(), "SECRETKEY") {
		t.Errorf("shown is %s, %v, logged %s", text, err, log)
	}
	cfg = jwtConfig("http://example.com/jwks?apikey=SECRETKEY")
	if err := cfg.Validate(); err == nil || strings.Contains(err.Error(), "SECRETKEY") {
		t.Errorf("got %v", err)
	}
	if _, err := New(t.Context(), jwtConfig("https://%zz?SECRETKEY"), slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "SECRETKEY") {
		t.Errorf("got %v", err)
	}
}

// TestEveryAlgorithm has another library sign with each algorithm, and this one check.
func TestEveryAlgorithm(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := map[string]crypto.Signer{"RS": rsaKey, "PS": rsaKey, "Ed": edKey}
	for algorithm, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private[algorithm] = key
	}
	ring := &keyRing{t: t}
	clock := newClock(time.Now())
	var algorithms []string
	for algorithm := range hashes {
		if algorithm != "Ed25519" { // jose knows it as EdDSA alone
			algorithms = append(algorithms, algorithm)
		}
	}
	for _, algorithm := range algorithms {
		key := private[algorithm]
		if key == nil {
			key = private[algorithm[:2]]
		}
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
		if err != nil {
			t.Fatal(err)
		}
		cfg := jwtConfig(keysFile(t, set))
		cfg.Algorithms = slices.Collect(maps.Keys(hashes))
		a, _ := open(t, cfg, clock)
		token := ring.sign(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, nil, "acme", clock.now().Add(time.Hour))
		if _, err := ask(t, a, token, "acme"); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		head, rest, _ := strings.Cut(token, ".")
		payload, signature, _ := strings.Cut(rest, ".")
		broken := head + "." + payload + "." + string(signature[0]^1) + signature[1:]
		if _, err := ask(t, a, broken, "acme"); reasonOf(err) != ReasonSignature {
			t.Errorf("%s, a bit of the signature changed: %v", algorithm, err)
		}
		for _, other := range algorithms { // the same key and signature by another name
			if other == algorithm {
				continue
			}
			named := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+other+`"}`)) + "." + rest
			if _, err := ask(t, a, named, "acme"); err == nil {
				t.Errorf("a token signed with %s is good as %s", algorithm, other)
			}
		}
	}
	// RFC 9864 names EdDSA with its curve.
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"Ed25519"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"issuer","aud":"tributary","tenant_id":"acme","exp":`+strconv.FormatInt(clock.now().Add(time.Hour).Unix(), 10)+`}`))
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: edKey.Public()}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := jwtConfig(keysFile(t, set))
	cfg.Algorithms = []string{"Ed25519"}
	a, _ := open(t, cfg, clock)
	if _, err := ask(t, a, signed+"."+base64.RawURLEncoding.EncodeToString(ed25519.Sign(edKey, []byte(signed))), "acme"); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
}

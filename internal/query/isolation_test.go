package query_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/internal/messages"
	"tributary/internal/query"
	"tributary/internal/query/auth"
	"tributary/internal/schema"
	"tributary/internal/table"
)

// issuer makes JWTs by hand, so that it can make wrong ones.
type issuer struct {
	rsa   *rsa.PrivateKey
	other *rsa.PrivateKey
	ec    *ecdsa.PrivateKey
	jwks  string // file
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.other, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	point, err := i.ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	keys := []map[string]any{
		rsaKey(&i.rsa.PublicKey, "k1"),
		{"kty": "EC", "kid": "k2", "use": "sig", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kty": "oct", "kid": "secret", "k": b64([]byte("a secret that everybody knows, of 32 bytes"))},
		{"kty": "nonsense", "kid": "k9"},
	}
	i.jwks = filepath.Join(t.TempDir(), "jwks.json")
	writeFile(t, i.jwks, mustJSON(t, map[string]any{"keys": keys}))
	return i
}

func rsaKey(k *rsa.PublicKey, kid string) map[string]any {
	return map[string]any{"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": b64(k.N.Bytes()), "e": "AQAB"}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func claims(tenant any, changes ...any) map[string]any {
	now := time.Now()
	c := map[string]any{"iss": "https://issuer.example", "aud": []string{"tributary"}, "sub": "reader of A", "tenant_id": tenant,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		} else {
			c[changes[i].(string)] = changes[i+1]
		}
	}
	return c
}

type signer func(t testing.TB, signed string) []byte

func rs256(k *rsa.PrivateKey) signer {
	return func(t testing.TB, signed string) []byte {
		digest := sha256.Sum256([]byte(signed))
		s, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func es256(k *ecdsa.PrivateKey) signer {
	return func(t testing.TB, signed string) []byte {
		digest := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func hs256(secret []byte) signer {
	return func(_ testing.TB, signed string) []byte {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(signed))
		return m.Sum(nil)
	}
}

func nobody(testing.TB, string) []byte { return nil }

func jwt(t testing.TB, header, claims map[string]any, sign signer) string {
	t.Helper()
	signed := b64(mustJSON(t, header)) + "." + b64(mustJSON(t, claims))
	return signed + "." + b64(sign(t, signed))
}

// raw makes a JWT of texts, which may be no JSON.
func raw(t testing.TB, header, claims string, sign signer) string {
	t.Helper()
	signed := b64([]byte(header)) + "." + b64([]byte(claims))
	return signed + "." + b64(sign(t, signed))
}

func header(alg, kid string, more ...any) map[string]any {
	h := map[string]any{"alg": alg, "typ": "JWT"}
	if kid != "" {
		h["kid"] = kid
	}
	for i := 0; i < len(more); i += 2 {
		h[more[i].(string)] = more[i+1]
	}
	return h
}

func (i *issuer) token(t testing.TB, tenant any, changes ...any) string {
	t.Helper()
	return jwt(t, header("RS256", "k1"), claims(tenant, changes...), rs256(i.rsa))
}

// staticToken makes a token and adds it to the file.
func staticToken(t testing.TB, file, name string, expires time.Time, tenants ...string) string {
	t.Helper()
	token, entry, err := auth.NewToken(name, tenants, expires)
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.AddToFile(file, entry, time.Time{}); err != nil {
		t.Fatal(err)
	}
	return token
}

// secretOfB is in every item of tenantB, and nowhere else.
const secretOfB = "for-tenantB-only"

// world is a declaration, and the paths of two of its types in terms of users and their orders.
type world struct {
	name   string
	types  *schema.Set
	routes []string          // one of each, below the tenant
	paths  *strings.Replacer // turns a path of the built-in types into one of this declaration
	// item returns an item of a type, with what it refers to.
	item func(t *schema.Type, tenant, id, to string) table.Attributes
}

// worlds are the built-in types, and five types that refer to each other.
var worlds = sync.OnceValue(func() []*world {
	five, err := schema.Read("types.yaml", []byte(`types:
  person:
    plural: people
    fields: {mail: {type: string, format: email}, clinic_id: {type: string, references: clinic}}
  visit:
    fields: {person_id: {type: string, required: true, references: person}, clinic_id: {type: string, references: clinic}, minutes: {type: integer, default: 15}}
  clinic: {}
  bill:
    fields: {visit_id: {type: string, references: visit}, person_id: {type: string, references: person}, total: {type: number, required: true}}
  note:
    fields: {bill_id: {type: string, references: bill}, user_id: {type: string, references: person}, text: {type: string}}
`))
	if err != nil {
		panic(err)
	}
	builtIn := &world{name: "built-in", types: schema.Builtin(), routes: routes, paths: strings.NewReplacer(), item: func(t *schema.Type, tenant, id, to string) table.Attributes {
		if t.Name == "user" {
			return user(tenant, id)
		}
		return order(tenant, id, to)
	}}
	declared := &world{name: "declared", types: five, paths: strings.NewReplacer("/users", "/people", "/orders", "/visits", "user%23", "person%23"), item: func(t *schema.Type, tenant, id, to string) table.Attributes {
		values := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			if values[i] = f.Example(); f.References != nil {
				values[i] = to
			}
		}
		c := messages.Put(t, tenant, id, values...)
		return table.Item(&c)
	}}
	for _, route := range five.Routes() {
		id := "u1"
		if route.Type.Name == "visit" && route.Kind == schema.GetOne {
			id = "o1"
		}
		declared.routes = append(declared.routes, strings.TrimPrefix(pathOf(&route, "", id), "/v1/tenants/"))
	}
	return []*world{builtIn, declared}
})

// isolation is a server with two tenants, and everything that a stranger could bring along.
type isolation struct {
	*issuer
	*world
	base   string
	fake   *scripted
	static map[string]string // static tokens by what they are
	tokens string            // their file
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newIsolation(t testing.TB, w *world, log bool) *isolation {
	s := &isolation{issuer: newIssuer(t), world: w, fake: newFakeOf(t, w.types), tokens: filepath.Join(t.TempDir(), "tokens.json"), log: &lockedBuffer{}}
	soon := time.Now().Add(time.Hour)
	s.static = map[string]string{
		"expired":     staticToken(t, s.tokens, "late", time.Now().Add(-time.Second), "tenantB"),
		"of A":        staticToken(t, s.tokens, "reader of A", soon, "tenantA"),
		"of B":        staticToken(t, s.tokens, "reader of B", soon, "tenantZ", "tenantB"),
		"of everyone": staticToken(t, s.tokens, "operator", soon, "*"),
	}
	put := func(t *schema.Type, tenant, id, to string) { s.fake.put(w.item(t, tenant, id, to)) }
	for _, typ := range w.types.Types {
		for _, id := range []string{"1", "2", "3"} {
			put(typ, "tenantA", "u"+id, "u1")
			put(typ, "tenantA", "o"+id, "u1")
			put(typ, "tenantB", secretOfB+id, secretOfB)
			put(typ, "tenantB", "u"+id+secretOfB, secretOfB)
			put(typ, "tenantB", "o"+id+secretOfB, "u1")
			put(typ, "tenantB", "o"+id, secretOfB)
		}
		// Neighbours whose names are close.
		for _, neighbour := range []string{"TENANTA", "tenant", "tenantA.", "tenantAB"} {
			put(typ, neighbour, secretOfB, "u1")
		}
	}
	cfg := defaults()
	cfg.Auth.JWKS, cfg.Auth.Issuer, cfg.Auth.Audience, cfg.Auth.Tokens = []auth.Keys{auth.Keys(s.jwks)}, []string{"https://issuer.example"}, []string{"tributary"}, s.tokens
	cfg.Auth.Operator = "tenant_id=*"
	deps := query.Deps{DynamoDB: s.fake, Types: w.types}
	if log {
		deps.Log = slog.New(slog.NewJSONHandler(s.log, nil))
	}
	s.base = serve(t, cfg, deps)
	return s
}

var routes = []string{"/users", "/users/u1", "/orders", "/orders/o1", "/users/u1/orders"}

// TestNoWrongCredentialReadsAnything tries every route with every wrong credential.
func TestNoWrongCredentialReadsAnything(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) { noWrongCredential(t, w) })
	}
}

func noWrongCredential(t *testing.T, w *world) {
	s := newIsolation(t, w, true)
	public, err := x509.MarshalPKIXPublicKey(&s.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	fetched := 0
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched++
		_, _ = w.Write(mustJSON(t, map[string]any{"keys": []any{rsaKey(&s.other.PublicKey, "evil")}}))
	}))
	defer evil.Close()
	good := s.token(t, "tenantB")
	part := strings.Split(good, ".")
	now := time.Now()
	expired, staticA := s.static["expired"], s.static["of A"]

	const tenant = "tenantB"
	cases := []struct {
		name   string
		header []string // Authorization
		status int
		reason auth.Reason
	}{
		{"no token", nil, 401, auth.ReasonNoToken},
		{"empty header", []string{""}, 401, auth.ReasonMalformed},
		{"Basic", []string{"Basic dGVuYW50Qjp0ZW5hbnRC"}, 401, auth.ReasonMalformed},
		{"Bearer without token", []string{"Bearer "}, 401, auth.ReasonMalformed},
		{"two tokens", []string{"Bearer " + good + " " + good}, 401, auth.ReasonMalformed},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, 401, auth.ReasonMalformed},
		{"a huge token", []string{"Bearer " + strings.Repeat("a", 17<<10)}, 401, auth.ReasonMalformed},
		{"a word", []string{"Bearer tenantB"}, 401, auth.ReasonUnknownToken},
		{"dots", []string{"Bearer .."}, 401, auth.ReasonMalformed},
		{"no JSON", []string{"Bearer " + b64([]byte("x")) + ".e30.AA"}, 401, auth.ReasonMalformed},
		{"another tenant's JWT", []string{"Bearer " + s.token(t, "tenantA")}, 403, auth.ReasonOtherTenant},
		{"another tenant's static token", []string{"Bearer " + staticA}, 403, auth.ReasonOtherTenant},
		{"an expired static token", []string{"Bearer " + expired}, 401, auth.ReasonExpired},
		{"a static token cut short", []string{"Bearer " + staticA[:len(staticA)-1]}, 401, auth.ReasonUnknownToken},
		{"the SHA-256 in the file", []string{"Bearer " + digestInFile(t, s.tokens)}, 401, auth.ReasonUnknownToken},
		{"no tenants", []string{"Bearer " + s.token(t, []string{})}, 403, auth.ReasonOtherTenant},
		{"an empty tenant", []string{"Bearer " + s.token(t, "")}, 403, auth.ReasonOtherTenant},
		{"tenant in upper case", []string{"Bearer " + s.token(t, "TENANTB")}, 403, auth.ReasonOtherTenant},
		{"a part of the tenant", []string{"Bearer " + s.token(t, "tenant")}, 403, auth.ReasonOtherTenant},
		{"a pattern", []string{"Bearer " + s.token(t, "tenant*")}, 403, auth.ReasonOtherTenant},
		{"a list in a string", []string{"Bearer " + s.token(t, "tenantA,tenantB")}, 403, auth.ReasonOtherTenant},
		{"a look-alike", []string{"Bearer " + s.token(t, "tenant\u0412")}, 403, auth.ReasonOtherTenant}, // Cyrillic
		{"a tenant that is a number", []string{"Bearer " + s.token(t, 7)}, 403, auth.ReasonOtherTenant},
		{"a tenant that is a fraction", []string{"Bearer " + s.token(t, 7.5)}, 401, auth.ReasonClaims},
		{"a tenant that is a boolean", []string{"Bearer " + s.token(t, true)}, 401, auth.ReasonClaims},
		{"an object of others", []string{"Bearer " + s.token(t, map[string]any{"tenantA": map[string]any{}})}, 403, auth.ReasonOtherTenant},
		{"a tenant that is an object", []string{"Bearer " + s.token(t, map[string]any{"tenantB": true})}, 401, auth.ReasonClaims},
		{"a list that holds a boolean", []string{"Bearer " + s.token(t, []any{"tenantB", true})}, 401, auth.ReasonClaims},
		{"a list that holds a star", []string{"Bearer " + s.token(t, []any{"tenantA", "**"})}, 403, auth.ReasonOtherTenant},
		{"no tenant claim", []string{"Bearer " + s.token(t, "tenantB", "tenant_id", nil)}, 401, auth.ReasonClaims},
		{"expired", []string{"Bearer " + s.token(t, tenant, "exp", now.Add(-31*time.Second).Unix())}, 401, auth.ReasonExpired},
		{"no exp", []string{"Bearer " + s.token(t, tenant, "exp", nil)}, 401, auth.ReasonClaims},
		{"not yet", []string{"Bearer " + s.token(t, tenant, "nbf", now.Add(time.Minute).Unix())}, 401, auth.ReasonNotYet},
		{"made in the future", []string{"Bearer " + s.token(t, tenant, "iat", now.Add(time.Hour).Unix())}, 401, auth.ReasonNotYet},
		{"wrong issuer", []string{"Bearer " + s.token(t, tenant, "iss", "https://issuer.example.evil")}, 401, auth.ReasonIssuer},
		{"no issuer", []string{"Bearer " + s.token(t, tenant, "iss", nil)}, 401, auth.ReasonIssuer},
		{"wrong audience", []string{"Bearer " + s.token(t, tenant, "aud", "another")}, 401, auth.ReasonAudience},
		{"no audience", []string{"Bearer " + s.token(t, tenant, "aud", nil)}, 401, auth.ReasonAudience},
		{"alg none", []string{"Bearer " + jwt(t, header("none", "k1"), claims(tenant), nobody)}, 401, auth.ReasonAlgorithm},
		{"alg None", []string{"Bearer " + jwt(t, header("None", "k1"), claims(tenant), nobody)}, 401, auth.ReasonAlgorithm},
		{"no alg", []string{"Bearer " + jwt(t, header("", "k1"), claims(tenant), nobody)}, 401, auth.ReasonAlgorithm},
		{"HS256 with the public key, PEM", []string{"Bearer " + jwt(t, header("HS256", "k1"), claims(tenant), hs256(publicPEM))}, 401, auth.ReasonAlgorithm},
		{"HS256 with the public key, DER", []string{"Bearer " + jwt(t, header("HS256", "k1"), claims(tenant), hs256(public))}, 401, auth.ReasonAlgorithm},
		{"HS256 with the set's secret", []string{"Bearer " + jwt(t, header("HS256", "secret"), claims(tenant), hs256([]byte("a secret that everybody knows, of 32 bytes")))}, 401, auth.ReasonAlgorithm},
		{"an algorithm that is not allowed", []string{"Bearer " + jwt(t, header("RS512", "k1"), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonAlgorithm},
		{"the EC key for RS256", []string{"Bearer " + jwt(t, header("RS256", "k2"), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonUnknownKey},
		{"the RSA key for ES256", []string{"Bearer " + jwt(t, header("ES256", "k1"), claims(tenant), es256(s.ec))}, 401, auth.ReasonUnknownKey},
		{"the set's secret for RS256", []string{"Bearer " + jwt(t, header("RS256", "secret"), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonUnknownKey},
		{"an unknown kid", []string{"Bearer " + jwt(t, header("RS256", "evil"), claims(tenant), rs256(s.other))}, 401, auth.ReasonUnknownKey},
		{"a kid that is a path", []string{"Bearer " + jwt(t, header("RS256", "../../jwks.json"), claims(tenant), rs256(s.other))}, 401, auth.ReasonUnknownKey},
		{"a kid that is no string", []string{"Bearer " + jwt(t, header("RS256", "", "kid", 1), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"a kid that leads elsewhere by jku", []string{"Bearer " + jwt(t, header("RS256", "evil", "jku", evil.URL), claims(tenant), rs256(s.other))}, 401, auth.ReasonUnknownKey},
		{"a known kid and a jku", []string{"Bearer " + jwt(t, header("RS256", "k1", "jku", evil.URL), claims(tenant), rs256(s.other))}, 401, auth.ReasonSignature},
		{"an x5u", []string{"Bearer " + jwt(t, header("RS256", "k1", "x5u", evil.URL), claims(tenant), rs256(s.other))}, 401, auth.ReasonSignature},
		{"a key of its own", []string{"Bearer " + jwt(t, header("RS256", "k1", "jwk", rsaKey(&s.other.PublicKey, "k1")), claims(tenant), rs256(s.other))}, 401, auth.ReasonSignature},
		{"crit", []string{"Bearer " + jwt(t, header("RS256", "k1", "crit", []string{"exp"}), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"crit that is empty", []string{"Bearer " + jwt(t, header("RS256", "k1", "crit", []string{}), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"CRIT", []string{"Bearer " + jwt(t, header("RS256", "k1", "crit", []string{"exp"}, "CRIT", []string{}), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"ALG", []string{"Bearer " + jwt(t, header("RS256", "k1", "ALG", "none"), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"KID", []string{"Bearer " + jwt(t, header("RS256", "k1", "KID", "k2"), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"Kid, with the Kelvin sign", []string{"Bearer " + jwt(t, header("RS256", "k1", "Kid", "k2"), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"b64", []string{"Bearer " + jwt(t, header("RS256", "k1", "b64", false), claims(tenant), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"alg twice", []string{"Bearer " + raw(t, `{"alg":"RS256","kid":"k1","alg":"RS256"}`, string(mustJSON(t, claims(tenant))), rs256(s.rsa))}, 401, auth.ReasonMalformed},
		{"tenant twice", []string{"Bearer " + raw(t, `{"alg":"RS256","kid":"k1"}`, strings.Replace(string(mustJSON(t, claims("tenantA"))), "{", `{"tenant_id":"tenantB",`, 1), rs256(s.rsa))}, 401, auth.ReasonClaims},
		{"exp that is null", []string{"Bearer " + raw(t, `{"alg":"RS256","kid":"k1"}`, `{"iss":"https://issuer.example","aud":"tributary","tenant_id":"tenantB","exp":null}`, rs256(s.rsa))}, 401, auth.ReasonClaims},
		{"exp beyond all times", []string{"Bearer " + raw(t, `{"alg":"RS256","kid":"k1"}`, `{"iss":"https://issuer.example","aud":"tributary","tenant_id":"tenantB","exp":1e300}`, rs256(s.rsa))}, 401, auth.ReasonClaims},
		{"exp that is a boolean", []string{"Bearer " + s.token(t, tenant, "exp", true)}, 401, auth.ReasonClaims},
		{"aud that is a number", []string{"Bearer " + s.token(t, tenant, "aud", 1)}, 401, auth.ReasonAudience},
		{"client_id of a token that is for no access", []string{"Bearer " + s.token(t, tenant, "aud", nil, "client_id", "tributary", "token_use", "id")}, 401, auth.ReasonAudience},
		{"another client_id", []string{"Bearer " + s.token(t, tenant, "aud", nil, "client_id", "another", "token_use", "access")}, 401, auth.ReasonAudience},
		{"client_id beside an aud", []string{"Bearer " + s.token(t, tenant, "aud", "another", "client_id", "tributary", "token_use", "access")}, 401, auth.ReasonAudience},
		{"a stranger's key", []string{"Bearer " + jwt(t, header("RS256", "k1"), claims(tenant), rs256(s.other))}, 401, auth.ReasonSignature},
		{"a tampered payload", []string{"Bearer " + strings.Split(s.token(t, "tenantA"), ".")[0] + "." + part[1] + "." + strings.Split(s.token(t, "tenantA"), ".")[2]}, 401, auth.ReasonSignature},
		{"a tampered header", []string{"Bearer " + b64(mustJSON(t, header("RS256", "k1", "x", 1))) + "." + part[1] + "." + part[2]}, 401, auth.ReasonSignature},
		{"no signature", []string{"Bearer " + part[0] + "." + part[1] + "."}, 401, auth.ReasonSignature},
		{"the signature twice", []string{"Bearer " + good + part[2]}, 401, auth.ReasonSignature},
		{"a JWS in JSON", []string{"Bearer " + strings.ReplaceAll(fmt.Sprintf(`{"payload":"%s","signatures":[{"protected":"%s","signature":"%s"}]}..`, part[1], part[0], part[2]), " ", "")}, 401, auth.ReasonMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, route := range w.routes {
				path := s.base + "/v1/tenants/" + tenant + route
				headers := []string{requestIDHeader, "fixed"}
				for _, h := range c.header {
					headers = append(headers, "Authorization", h)
				}
				s.fake.reset()
				there := get(t, path, headers...)
				if there.status != c.status {
					t.Errorf("%s: got %s, want %d", route, there, c.status)
				}
				if strings.Contains(there.body, secretOfB) || there.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: got %s", route, there)
				}
				if n := s.fake.count(); n != 0 {
					t.Errorf("%s: the table was asked %d times", route, n)
				}
				if c.status == 401 && !strings.HasPrefix(there.header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s: no challenge", route)
				}
				// The answer is the same, to the byte, for a missing item and for a tenant that does not exist.
				for _, other := range []string{s.base + "/v1/tenants/" + tenant + route + "-not-there", s.base + "/v1/tenants/tenantNowhere" + route} {
					if strings.HasSuffix(other, "-not-there") && !strings.HasSuffix(route, "1") {
						continue // no route at all
					}
					if a := get(t, other, headers...); a.body != there.body || a.status != there.status {
						t.Errorf("%s: answers tell what is there:\n%s\n%s", route, there, a)
					}
				}
				for _, accept := range []string{"application/x-ndjson", "*/*"} {
					if a := get(t, path, append(headers, "Accept", accept)...); a.status != c.status {
						t.Errorf("%s as %s: %s", route, accept, a)
					}
				}
				if a := ask(t, http.MethodHead, path, headers...); a.status != c.status || a.body != "" {
					t.Errorf("HEAD %s: %s", route, a)
				}
			}
			if !strings.Contains(s.log.String(), fmt.Sprintf(`"reason":%q`, c.reason)) {
				t.Errorf("no audit line has the reason %s", c.reason)
			}
		})
	}
	if fetched != 0 {
		t.Errorf("%d tokens made the server fetch what they named", fetched)
	}
	log := s.log.String()
	for _, secret := range []string{good, part[2], staticA, expired} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has the token %s", secret)
		}
	}
	// And the same server lets in whom it should.
	for name, token := range map[string]string{
		"RS256": good, "ES256": jwt(t, header("ES256", "k2"), claims(tenant), es256(s.ec)),
		"without kid": jwt(t, header("RS256", ""), claims(tenant), rs256(s.rsa)), "list": s.token(t, []string{"tenantX", "tenantB"}),
		"operator": s.token(t, "*"), "Cognito": s.token(t, tenant, "aud", nil, "client_id", "tributary", "token_use", "access"),
		"an object of tenants": s.token(t, map[string]any{"tenantB": map[string]any{"id": "x"}, "tenantC": map[string]any{}}), "a fraction in exp": s.token(t, tenant, "exp", float64(now.Unix())+3600.25), "static": s.static["of B"], "static operator": s.static["of everyone"],
		"within the skew": s.token(t, tenant, "exp", time.Now().Add(-20*time.Second).Unix()),
	} {
		if a := get(t, s.base+w.paths.Replace("/v1/tenants/tenantB/users"), "Authorization", "Bearer "+token); a.status != 200 || !strings.Contains(a.body, secretOfB) {
			t.Errorf("%s: %s", name, a)
		}
	}
}

func digestInFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Tokens []auth.Entry }
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f.Tokens[len(f.Tokens)-1].SHA256
}

// TestNoPathReachesAnotherTenant has a good token of tenantA and tries to get out by path, query and cursor.
func TestNoPathReachesAnotherTenant(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) { noPathReachesAnother(t, w) })
	}
}

func noPathReachesAnother(t *testing.T, w *world) {
	s := newIsolation(t, w, false)
	bearer := []string{"Authorization", "Bearer " + s.token(t, "tenantA")}
	operator := []string{"Authorization", "Bearer " + s.token(t, "*")}
	cursorOf := func(path string, headers []string) string {
		p := decode[ordersPageAny](t, get(t, s.base+w.paths.Replace(path), headers...))
		if p.NextCursor == "" {
			t.Fatalf("%s has no next page", path)
		}
		return p.NextCursor
	}
	ordersOfB := cursorOf("/v1/tenants/tenantB/orders?limit=1", operator)
	ordersOfA := cursorOf("/v1/tenants/tenantA/orders?limit=1", bearer)
	backwards := cursorOf("/v1/tenants/tenantA/orders?limit=1&descending=true", bearer)
	ofUser := cursorOf("/v1/tenants/tenantA/users/u1/orders?limit=1", bearer)
	usersOfA := cursorOf("/v1/tenants/tenantA/users?limit=1", bearer)
	forge := func(position string) string {
		b, err := base64.RawURLEncoding.DecodeString(ordersOfA)
		if err != nil {
			t.Fatal(err)
		}
		return b64(append(b[:13:13], position...))
	}
	const a = "/v1/tenants/tenantA"
	for _, c := range []struct {
		name, path string
		status     int
	}{
		{"# and another key", "/v1/tenants/tenantA%23tenantB/orders", 403},
		{"# after the tenant", "/v1/tenants/tenantA%23/orders", 403},
		{"a slash and another tenant", "/v1/tenants/tenantA%2F..%2FtenantB/orders", 403},
		{"a slash into the route", "/v1/tenants/tenantA%2Forders", 404},
		{"dots encoded", "/v1/tenants/%2E%2E/orders", 403},
		{"dots", "/v1/tenants/../orders", 403},
		{"out and in by dots", "/v1/tenants/tenantA/../tenantB/orders", 404},
		{"out and in by encoded dots", "/v1/tenants/tenantA/%2e%2e/tenantB/orders", 404},
		{"out of the id by dots", a + "/orders/..%2F..%2FtenantB%2Forders%2Fo1", 404},
		{"two slashes", "/v1/tenants//tenantB/orders", 404},
		{"an empty tenant", "/v1/tenants//orders", 404},
		{"encoded twice", "/v1/tenants/tenantA%252F/orders", 403},
		{"its own name encoded twice", "/v1/tenants/tenant%2541/orders", 403},
		{"its own name encoded", "/v1/tenants/tenant%41/orders", 200},
		{"an encoded NUL", "/v1/tenants/tenantA%00/orders", 403},
		{"NUL and another tenant", "/v1/tenants/tenantB%00tenantA/orders", 403},
		{"upper case", "/v1/tenants/TENANTA/users", 403},
		{"a Cyrillic look-alike", "/v1/tenants/tenant%D0%90/orders", 403},
		{"a full-width look-alike", "/v1/tenants/tenant%EF%BC%A1/orders", 403},
		{"a combining mark", "/v1/tenants/tenantA%CC%80/orders", 403},
		{"a zero-width space", "/v1/tenants/tenantA%E2%80%8B/orders", 403},
		{"no UTF-8", "/v1/tenants/tenantA%FF/orders", 400},
		{"an overlong slash", "/v1/tenants/tenantA%C0%AF/orders", 400},
		{"a space", "/v1/tenants/tenantA%20/orders", 403},
		{"a longer name", "/v1/tenants/tenantAB/orders", 403},
		{"a trailing dot", "/v1/tenants/tenantA./orders", 403},
		{"a star", "/v1/tenants/*/orders", 403},
		{"a matrix parameter", "/v1/tenants/tenantA;tenant=tenantB/orders", 403},
		{"id with #", a + "/orders/o1%23tenantB", 400},
		{"id with NUL", a + "/orders/o1%00", 400},
		{"id that is a key", a + "/users/user%23u1", 400},
		{"id that is another's", a + "/orders/o1" + secretOfB, 404},
		{"id too long", a + "/orders/" + strings.Repeat("x", 257), 400},
		{"tenant in the query", a + "/orders?tenant_id=tenantB", 400},
		{"cursor of another tenant", a + "/orders?cursor=" + ordersOfB, 400},
		{"cursor of another direction", a + "/orders?cursor=" + backwards, 400},
		{"cursor of another route", a + "/orders?cursor=" + usersOfA, 400},
		{"cursor of the index", a + "/orders?cursor=" + ofUser, 400},
		{"cursor for the index", a + "/users/u1/orders?cursor=" + ordersOfA, 400},
		{"cursor of another user", a + "/users/u2/orders?cursor=" + ofUser, 400},
		{"cursor of another time", a + "/orders?since=2026-01-01T00:00:00Z&cursor=" + ordersOfA, 400},
		{"cursor cut short", a + "/orders?cursor=" + ordersOfA[:8], 400},
		{"cursor with padding", a + "/orders?cursor=" + ordersOfA + "%3D", 400},
		{"cursor with a sloppy end", a + "/orders?cursor=" + strings.TrimSuffix(forge("o"), "8") + "9", 400},
		{"cursor of nothing", a + "/orders?cursor=AAAA", 400},
		{"cursor too long", a + "/orders?cursor=" + strings.Repeat("A", 1500), 400},
		{"forged: another tenant's key", a + "/orders?cursor=" + forge("tenant#tenantB"), 200},
		{"forged: key parts", a + "/orders?cursor=" + forge("o1\x00order#\xf0\x9f\x92\xa5"), 200},
		{"forged: no UTF-8", a + "/orders?cursor=" + forge("\xff"), 400},
		{"forged: too long", a + "/orders?cursor=" + forge(strings.Repeat("o", 1019)), 400},
		{"after another's id", a + "/orders?after=o1" + secretOfB, 200},
		{"after a key", a + "/orders?after=tenant%23tenantB", 400},
		{"the index consistently", a + "/users/u1/orders?consistent=true", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, accept := range []string{"application/json", "application/x-ndjson"} {
				s.fake.reset()
				got := rawGet(t, s.base, w.paths.Replace(c.path), append(bearer, "Accept", accept)...)
				if got.status != c.status {
					t.Errorf("got %s, want %d", got, c.status)
				}
				if strings.Contains(got.body, `"tenant_id":"tenantB"`) || strings.Contains(got.body, secretOfB) {
					t.Errorf("got a byte of tenantB: %s", got)
				}
				for pk := range s.fake.partitions() {
					if pk != "tenant#tenantA" {
						t.Errorf("the table was asked for %s", pk)
					}
				}
			}
		})
	}
}

type ordersPageAny struct {
	Items      []json.RawMessage `json:"items"`
	NextCursor string            `json:"next_cursor"`
}

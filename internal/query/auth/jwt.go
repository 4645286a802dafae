package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// maxTenantsInClaim bounds the list of tenants of one JWT.
const maxTenantsInClaim = 1000

// jwtVerifier checks JWTs. What a token's own header says is used for two things only: to find a key among the
// operator's by kid, and to be compared with the operator's algorithms. Its jku, jwk, x5u and x5c are ignored: a token
// can't bring the key that proves it.
type jwtVerifier struct {
	keys       *keySource
	algorithms map[string]jwa.SignatureAlgorithm
	issuer     string
	audience   []string
	claim      string
	skew       time.Duration
	refresh    time.Duration
}

func newJWTVerifier(ctx context.Context, cfg Config, log *slog.Logger) (*jwtVerifier, error) {
	allowed, err := algorithms(cfg.Algorithms)
	if err != nil {
		return nil, err
	}
	keys, err := newKeySource(ctx, cfg.JWKS, log)
	if err != nil {
		return nil, err
	}
	return &jwtVerifier{
		keys: keys, algorithms: allowed, issuer: cfg.Issuer, audience: cfg.Audience,
		claim: cfg.TenantClaim, skew: cfg.ClockSkew, refresh: cfg.JWKSRefresh,
	}, nil
}

// joseHeader is what is read of a JWS header.
type joseHeader struct {
	Algorithm string   `json:"alg"`
	KeyID     string   `json:"kid"`
	Critical  []string `json:"crit"`
}

// verify says whose JWT it is. The error is a *Denied.
func (v *jwtVerifier) verify(ctx context.Context, token string, now time.Time) (Identity, error) {
	deny := func(reason Reason, err error) (Identity, error) { return Identity{}, &Denied{Reason: reason, Err: err} }

	header, err := readHeader(token)
	if err != nil {
		return deny(ReasonMalformed, err)
	}
	algorithm, ok := v.algorithms[header.Algorithm]
	if !ok {
		return deny(ReasonAlgorithm, fmt.Errorf("alg %.20q is not allowed", header.Algorithm))
	}
	if len(header.Critical) > 0 {
		return deny(ReasonMalformed, fmt.Errorf("crit %.60q is not understood", header.Critical))
	}
	candidates, loaded := v.keys.find(ctx, header.KeyID)
	if !loaded {
		return deny(ReasonKeysMissing, errors.New("no keys of the issuer are loaded"))
	}
	key, err := pick(candidates, header, algorithm)
	if err != nil {
		return deny(ReasonUnknownKey, err)
	}
	payload, err := jws.Verify([]byte(token), jws.WithKey(algorithm, key), jws.WithCompact())
	if err != nil {
		return deny(ReasonSignature, err)
	}
	claims := jwt.New()
	if err := json.Unmarshal(payload, claims); err != nil {
		return deny(ReasonClaims, fmt.Errorf("decode claims: %w", err))
	}
	subject, _ := claims.Subject()
	if denied := v.check(claims, now); denied != nil {
		denied.Subject = subject
		return Identity{}, denied
	}
	tenants, err := v.tenants(claims)
	if err != nil {
		return Identity{}, &Denied{Reason: ReasonClaims, Subject: subject, Err: err}
	}
	return Identity{Subject: subject, Tenants: tenants}, nil
}

func readHeader(token string) (joseHeader, error) {
	first, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return joseHeader{}, fmt.Errorf("decode JWT header: %w", err)
	}
	var header joseHeader
	if err := json.Unmarshal(text, &header); err != nil {
		return joseHeader{}, fmt.Errorf("decode JWT header: %w", err)
	}
	return header, nil
}

// pick chooses the key that the token must be signed with: one that the kid names, or, without a kid, the only one
// that fits the algorithm. A token can't be tried against one key after another.
func pick(candidates []jwk.Key, header joseHeader, algorithm jwa.SignatureAlgorithm) (jwk.Key, error) {
	fitting := slices.DeleteFunc(slices.Clone(candidates), func(k jwk.Key) bool { return !fits(k, algorithm) })
	switch {
	case len(fitting) == 1:
		return fitting[0], nil
	case len(fitting) > 1:
		return nil, fmt.Errorf("%d keys fit kid %.60q and alg %s", len(fitting), header.KeyID, header.Algorithm)
	case len(candidates) > 0:
		return nil, fmt.Errorf("the key with kid %.60q is not for alg %s", header.KeyID, header.Algorithm)
	default:
		return nil, fmt.Errorf("no key has kid %.60q", header.KeyID)
	}
}

// fits says whether a key may check the algorithm: by its own alg where it has one, and by its type and curve.
func fits(key jwk.Key, algorithm jwa.SignatureAlgorithm) bool {
	if own, ok := key.Algorithm(); ok && own.String() != algorithm.String() {
		return false
	}
	if operations, ok := key.KeyOps(); ok && len(operations) > 0 && !slices.Contains(operations, jwk.KeyOpVerify) {
		return false
	}
	switch key := key.(type) {
	case jwk.RSAPublicKey:
		return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, algorithm.String())
	case jwk.ECDSAPublicKey:
		curve, _ := key.Crv()
		return algorithm.String() == map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[curve.String()]
	case jwk.OKPPublicKey:
		curve, _ := key.Crv()
		return curve == jwa.Ed25519() && (algorithm == jwa.EdDSA() || algorithm == jwa.EdDSAEd25519())
	}
	return false
}

// check looks at the claims that every JWT must have.
func (v *jwtVerifier) check(claims jwt.Token, now time.Time) *Denied {
	err := jwt.Validate(claims,
		jwt.WithClock(jwt.ClockFunc(func() time.Time { return now })),
		jwt.WithAcceptableSkew(v.skew),
		jwt.WithRequiredClaim(jwt.ExpirationKey))
	switch {
	case err == nil:
	case errors.Is(err, jwt.TokenExpiredError()):
		return &Denied{Reason: ReasonExpired, Err: err}
	case errors.Is(err, jwt.TokenNotYetValidError()), errors.Is(err, jwt.InvalidIssuedAtError()):
		return &Denied{Reason: ReasonNotYet, Err: err}
	default:
		return &Denied{Reason: ReasonClaims, Err: err}
	}
	if issuer, _ := claims.Issuer(); issuer != v.issuer {
		return &Denied{Reason: ReasonIssuer, Err: fmt.Errorf("iss is %.100q", issuer)}
	}
	audience, _ := claims.Audience()
	if !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(v.audience, a) }) {
		return &Denied{Reason: ReasonAudience, Err: fmt.Errorf("aud is %.200q", audience)}
	}
	return nil
}

// tenants reads the tenant claim: a string or a list of strings.
func (v *jwtVerifier) tenants(claims jwt.Token) ([]string, error) {
	var value any
	if err := claims.Get(v.claim, &value); err != nil {
		return nil, fmt.Errorf("claim %s is missing", v.claim)
	}
	var tenants []string
	switch value := value.(type) {
	case string:
		tenants = []string{value}
	case []string: // a registered claim, such as aud
		tenants = value
	case []any:
		for _, one := range value {
			s, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("claim %s holds something else than strings", v.claim)
			}
			tenants = append(tenants, s)
		}
	default:
		return nil, fmt.Errorf("claim %s is neither a string nor a list of strings", v.claim)
	}
	if len(tenants) > maxTenantsInClaim {
		return nil, fmt.Errorf("claim %s lists %d tenants, at most %d are read", v.claim, len(tenants), maxTenantsInClaim)
	}
	return tenants, nil
}

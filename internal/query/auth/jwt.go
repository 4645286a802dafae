package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// jwtVerifier checks JWTs. What a token's own header says is used for two things only: to find a key among the
// operator's by kid, and to be compared with the operator's algorithms. Its jku, jwk, x5u and x5c are ignored: a token
// can't bring the key that proves it. Before its signature is checked, its iss chooses the issuer whose keys must have made it.
type jwtVerifier struct {
	issuers    map[string]*keySource // by iss
	algorithms []string
	audience   []string
	tenant     claim
	operator   *operator // nil: no JWT is an operator's
	skew       time.Duration
	refresh    time.Duration
}

func newJWTVerifier(ctx context.Context, cfg Config, log *slog.Logger) (*jwtVerifier, error) {
	v := &jwtVerifier{issuers: map[string]*keySource{}, audience: cfg.Audience, skew: cfg.ClockSkew, refresh: cfg.JWKSRefresh}
	for _, name := range cfg.Algorithms {
		v.algorithms = append(v.algorithms, strings.TrimSpace(name))
	}
	var err error
	if v.tenant, err = parseClaim(cfg.TenantClaim); err != nil {
		return nil, err
	}
	if cfg.Operator != "" {
		if v.operator, err = parseOperator(cfg.Operator); err != nil {
			return nil, err
		}
	}
	for i, issuer := range cfg.Issuer {
		if v.issuers[issuer], err = newKeySource(ctx, cfg.JWKS[i], log.With("issuer", issuer)); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// verify says whose JWT it is. The error is a *Denied.
func (v *jwtVerifier) verify(ctx context.Context, token string, now time.Time) (Identity, error) {
	deny := func(reason Reason, err error) (Identity, error) { return Identity{}, &Denied{Reason: reason, Err: err} }

	header, err := readHeader(token)
	if err != nil {
		return deny(ReasonMalformed, err)
	}
	if !slices.Contains(v.algorithms, header.algorithm) {
		return deny(ReasonAlgorithm, fmt.Errorf("alg %.20q is not allowed", header.algorithm))
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	text, err := decodeBase64(payload)
	if err != nil {
		return deny(ReasonClaims, fmt.Errorf("decode claims: %w", err))
	}
	claims, err := readObject(text)
	if err != nil {
		return deny(ReasonClaims, fmt.Errorf("decode claims: %w", err))
	}
	issuer, ok := claims.text("iss")
	source := v.issuers[issuer]
	if !ok || source == nil {
		return deny(ReasonIssuer, fmt.Errorf("iss is %.100q", issuer))
	}
	signed := token[:len(token)-len(signature)-1]
	if denied := v.checkSignature(ctx, source, header, signed, signature); denied != nil {
		return Identity{}, denied
	}
	subject, _ := claims.text("sub")
	if denied := v.check(claims, now); denied != nil {
		denied.Subject = subject
		return Identity{}, denied
	}
	if v.operator.is(claims) {
		return Identity{Subject: subject, Tenants: []string{AllTenants}}, nil
	}
	value, err := v.tenant.in(claims)
	var tenants []string
	if err == nil {
		tenants, err = v.tenant.tenants(value)
	}
	if err != nil {
		return Identity{}, &Denied{Reason: ReasonClaims, Subject: subject, Err: err}
	}
	return Identity{Subject: subject, Tenants: tenants}, nil
}

// joseHeader is what is read of a JWS header.
type joseHeader struct{ algorithm, keyID string }

// readHeader reads a token's header. Names count as they are spelt, and spellings that a sloppier reader would take for one of
// those that matter are refused: two readers must not read two headers. So are extensions of which the token says that they must be understood.
func readHeader(token string) (joseHeader, error) {
	fail := func(err error) (joseHeader, error) {
		return joseHeader{}, fmt.Errorf("decode JWT header: %w", err)
	}
	first, _, _ := strings.Cut(token, ".")
	text, err := decodeBase64(first)
	if err != nil {
		return fail(err)
	}
	members, err := readObject(text)
	if err != nil {
		return fail(err)
	}
	for name := range members {
		for _, own := range [...]string{"alg", "kid", "crit", "b64"} {
			if name != own && strings.EqualFold(name, own) {
				return fail(fmt.Errorf("the member %q is not spelt %q", name, own))
			}
		}
	}
	if value, there := members["crit"]; there {
		return fail(fmt.Errorf("crit %.60q is not understood", value))
	}
	if value, there := members["b64"]; there {
		return fail(fmt.Errorf("b64 %.60q is not understood", value))
	}
	algorithm, ok := members.text("alg")
	kid, ok2 := members.text("kid")
	if !ok || !ok2 {
		return fail(errors.New("alg or kid is no string"))
	}
	return joseHeader{algorithm, kid}, nil
}

func decodeBase64(text string) (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return string(b), err
}

// maxTries is how many keys a token is tried with.
const maxTries = 16

// checkSignature tries the keys that fit. Where none is right, and the token does not name one of the issuer's keys, the issuer may have a new key.
func (v *jwtVerifier) checkSignature(ctx context.Context, source *keySource, header joseHeader, signed, signature string) *Denied {
	sum, err := decodeBase64(signature)
	if err != nil {
		return &Denied{Reason: ReasonSignature, Err: err}
	}
	keys := source.current()
	for again := true; ; again = false {
		denied := try(keys, header, signed, sum)
		if denied == nil || !again || keys.named(header.keyID) {
			return denied
		}
		next := source.newer(ctx, keys)
		if next.version == keys.version {
			return denied
		}
		keys = next
	}
}

// try tries a token with the keys that fit it.
func try(keys keySet, header joseHeader, signed, sum string) *Denied {
	if !keys.loaded {
		return &Denied{Reason: ReasonKeysMissing, Err: errors.New("no keys of the issuer are loaded")}
	}
	tries, others := 0, 0
	for _, key := range keys.keys {
		if header.keyID != "" && key.id != "" && key.id != header.keyID {
			continue
		}
		if !key.fits(header.algorithm) {
			others++
			continue
		}
		if tries++; tries > maxTries {
			break
		}
		if key.verify(header.algorithm, signed, sum) {
			return nil
		}
	}
	switch {
	case tries > 0:
		return &Denied{Reason: ReasonSignature, Err: fmt.Errorf("none of %d keys that fit kid %.60q and alg %s made the signature", min(tries, maxTries), header.keyID, header.algorithm)}
	case others > 0:
		return &Denied{Reason: ReasonUnknownKey, Err: fmt.Errorf("no key that fits kid %.60q is for alg %s", header.keyID, header.algorithm)}
	}
	return &Denied{Reason: ReasonUnknownKey, Err: fmt.Errorf("no key has kid %.60q", header.keyID)}
}

// check looks at the claims that every JWT must have, but for iss, which chose the keys.
func (v *jwtVerifier) check(claims object, now time.Time) *Denied {
	expires, there, err := claims.time("exp")
	switch {
	case err != nil:
		return &Denied{Reason: ReasonClaims, Err: err}
	case !there:
		return &Denied{Reason: ReasonClaims, Err: errors.New("claim exp is missing")}
	case !now.Add(-v.skew).Before(expires):
		return &Denied{Reason: ReasonExpired, Err: fmt.Errorf("the token expired at %s", expires.UTC().Format(time.RFC3339))}
	}
	for _, name := range []string{"nbf", "iat"} {
		from, there, err := claims.time(name)
		if err != nil {
			return &Denied{Reason: ReasonClaims, Err: err}
		}
		if there && now.Add(v.skew).Before(from) {
			return &Denied{Reason: ReasonNotYet, Err: fmt.Errorf("%s is %s", name, from.UTC().Format(time.RFC3339))}
		}
	}
	audience, ok := claims.texts("aud")
	if use, _ := claims.text("token_use"); ok && len(audience) == 0 && use == "access" {
		// Cognito's access tokens have no aud ("Understanding the access token"); client_id says whom they were made for.
		client, _ := claims.text("client_id")
		audience = []string{client}
	}
	if !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(v.audience, a) }) {
		return &Denied{Reason: ReasonAudience, Err: fmt.Errorf("aud is %.200q", audience)}
	}
	return nil
}

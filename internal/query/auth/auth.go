// Package auth decides which tenant's data a request may read: it checks bearer tokens, static ones and JWTs, and
// hands out a Tenant, which is the only key to a reader of the table.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tributary/internal/messages"
)

// AllTenants in an identity's list of tenants stands for every tenant: an operator's. A static token may list it; a JWT never names it,
// as its claims may come from users: --auth-operator says which JWTs are an operator's.
const AllTenants = "*"

// maxTokenBytes bounds the work that a stranger can ask for with one header.
const maxTokenBytes = 16 << 10

// Tenant is a tenant whose data the request at hand may read. Only Authorize makes one, so whoever holds a Tenant has
// been through it. The zero Tenant is useless.
type Tenant struct{ id string }

// ID is the tenant's id, a valid one.
func (t Tenant) ID() string { return t.id }

// Identity is the holder of a token.
type Identity struct {
	// Subject names the holder in logs: a static token's name or a JWT's sub. It is never the token.
	Subject string
	// Tenants are the tenants that the holder may read; AllTenants stands for every one.
	Tenants []string
}

func (i Identity) mayRead(tenant string) bool {
	return slices.Contains(i.Tenants, tenant) || slices.Contains(i.Tenants, AllTenants)
}

// Reason is a stable code that says, to operators, why a request was denied.
type Reason string

// The reasons.
const (
	ReasonNoToken       Reason = "no_token"       // no Authorization header
	ReasonMalformed     Reason = "malformed"      // the header, or what is in it, can't be read
	ReasonUnknownToken  Reason = "unknown_token"  // neither a static token nor a JWT that could be checked
	ReasonAlgorithm     Reason = "algorithm"      // the JWT's alg is not one of --auth-algorithms
	ReasonUnknownKey    Reason = "unknown_key"    // no key of the JWKS fits the JWT
	ReasonSignature     Reason = "signature"      // the JWT's signature is wrong
	ReasonExpired       Reason = "expired"        // the token's time is over
	ReasonNotYet        Reason = "not_yet"        // the JWT's nbf or iat is in the future
	ReasonIssuer        Reason = "issuer"         // the JWT's iss is no --auth-issuer
	ReasonAudience      Reason = "audience"       // the JWT's aud has none of --auth-audience
	ReasonClaims        Reason = "claims"         // a claim is missing or of the wrong form
	ReasonOtherTenant   Reason = "other_tenant"   // a good token, but not for this tenant
	ReasonKeysMissing   Reason = "keys_missing"   // the JWKS could not be loaded yet: our fault
	ReasonInvalidTenant Reason = "invalid_tenant" // the tenant id can't be one, and the token would have allowed it
)

// Denied says why a request may not read a tenant's data.
type Denied struct {
	Reason  Reason
	Subject string // the holder of the token; "" if unknown
	Err     error  // for the log: what exactly was wrong; never holds the token
}

func (d *Denied) Error() string {
	if d.Err == nil {
		return string(d.Reason)
	}
	return string(d.Reason) + ": " + d.Err.Error()
}

func (d *Denied) Unwrap() error { return d.Err }

// Status is the HTTP status of the answer. It does not depend on what is in the table.
func (d *Denied) Status() int {
	switch d.Reason {
	case ReasonOtherTenant:
		return http.StatusForbidden
	case ReasonKeysMissing:
		return http.StatusServiceUnavailable
	case ReasonInvalidTenant:
		return http.StatusBadRequest
	default:
		return http.StatusUnauthorized
	}
}

// Authorizer checks tokens. It is safe for use by several goroutines.
type Authorizer struct {
	open   bool // no authentication is configured: everybody may read everything
	tokens *tokenFile
	jwt    *jwtVerifier
	now    func() time.Time
}

// New reads what cfg names: the tokens file, and the JWKS where it is a file. A JWKS that has a URL is asked for
// before New returns, but an issuer that is down does not keep the program from starting: until its keys are there
// its tokens are refused with ReasonKeysMissing. The error joins all that is wrong.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Authorizer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Authorizer{open: !cfg.Enabled(), now: time.Now}
	var errs []error
	if cfg.Tokens != "" {
		tokens, err := openTokens(cfg.Tokens, a.now(), log)
		if err != nil {
			errs = append(errs, fmt.Errorf("--auth-tokens: %w", err))
		}
		a.tokens = tokens
	}
	if len(cfg.JWKS) > 0 {
		verifier, err := newJWTVerifier(ctx, cfg, log)
		if err != nil {
			errs = append(errs, fmt.Errorf("--auth-jwks: %w", err))
		}
		a.jwt = verifier
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

// Run keeps the keys of JWTs fresh until ctx ends. Without it they are fetched only when a token names a new one.
func (a *Authorizer) Run(ctx context.Context) {
	if a.jwt == nil {
		return
	}
	var sources sync.WaitGroup
	for _, source := range a.jwt.issuers {
		sources.Go(func() { source.run(ctx, a.jwt.refresh) })
	}
	sources.Wait()
}

// StaleTokens says whether the tokens file can't be read as it is now, so that an older state of it is in force.
func (a *Authorizer) StaleTokens() bool {
	if a.tokens == nil {
		return false
	}
	_, stale := a.tokens.current(a.now())
	return stale
}

// StaleKeys says whether an issuer's keys could not be read or fetched lately, so that older ones are in force, or none.
func (a *Authorizer) StaleKeys() bool {
	if a.jwt == nil {
		return false
	}
	for _, source := range a.jwt.issuers {
		if source.isStale() {
			return true
		}
	}
	return false
}

// Open says that no authentication is configured: whoever reaches the address may read every tenant.
func (a *Authorizer) Open() bool { return a.open }

// Authorize is the one place that decides which tenant's data a request may read. Header is the values of the
// request's Authorization header, tenant the tenant that its path names, decoded once. The error is a *Denied.
func (a *Authorizer) Authorize(ctx context.Context, header []string, tenant string) (Tenant, Identity, error) {
	identity := Identity{Subject: "anonymous", Tenants: []string{AllTenants}}
	if !a.open {
		var err error
		if identity, err = a.identify(ctx, header); err != nil {
			return Tenant{}, Identity{}, err
		}
	}
	if !identity.mayRead(tenant) {
		return Tenant{}, Identity{}, &Denied{Reason: ReasonOtherTenant, Subject: identity.Subject}
	}
	if invalid := messages.CheckTenantID(tenant); invalid != nil {
		return Tenant{}, Identity{}, &Denied{Reason: ReasonInvalidTenant, Subject: identity.Subject, Err: invalid}
	}
	return Tenant{id: tenant}, identity, nil
}

// identify finds whose token the header carries.
func (a *Authorizer) identify(ctx context.Context, header []string) (Identity, error) {
	token, err := bearer(header)
	if err != nil {
		return Identity{}, err
	}
	now := a.now()
	if a.tokens != nil {
		if identity, known, err := a.tokens.find(token, now); known || err != nil {
			return identity, err
		}
	}
	if a.jwt != nil && strings.Count(token, ".") == 2 {
		return a.jwt.verify(ctx, token, now)
	}
	return Identity{}, &Denied{Reason: ReasonUnknownToken}
}

// bearer takes the token out of an Authorization header ("RFC 6750").
func bearer(header []string) (string, error) {
	switch len(header) {
	case 0:
		return "", &Denied{Reason: ReasonNoToken}
	case 1:
	default:
		return "", &Denied{Reason: ReasonMalformed, Err: fmt.Errorf("%d Authorization headers", len(header))}
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return "", &Denied{Reason: ReasonMalformed, Err: errors.New("the Authorization header's scheme is not Bearer")}
	case token == "" || strings.ContainsAny(token, " \t"):
		return "", &Denied{Reason: ReasonMalformed, Err: errors.New("the Authorization header has not exactly one token")}
	case len(token) > maxTokenBytes:
		return "", &Denied{Reason: ReasonMalformed, Err: fmt.Errorf("the token has %d bytes, at most %d are read", len(token), maxTokenBytes)}
	}
	return token, nil
}

package auth

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"tributary/internal/base/loopback"
)

// Config are the settings of authentication, as flags. The n-th JWKS is the n-th Issuer's.
type Config struct {
	JWKS        []Keys        `name:"jwks" sep:" " placeholder:"URL|FILE" help:"Keys that sign the JWTs of an issuer: an https URL (cached and refreshed) or a file (read again when it changes). For several issuers, repeat --auth-jwks and --auth-issuer in the same order."`
	JWKSRefresh time.Duration `name:"jwks-refresh" default:"15m" help:"How often keys from a URL are fetched again (${default})."`
	Issuer      []string      `sep:" " placeholder:"NAME" help:"The iss claim of the JWTs that --auth-jwks has keys for. Required with --auth-jwks."`
	Audience    []string      `placeholder:"NAME" help:"Accepted aud claims: every JWT must have one of them. Required with --auth-jwks."`
	TenantClaim string        `default:"tenant_id" placeholder:"NAME" help:"The claim that names a JWT's tenants, or the JSON pointer to it, such as /app/tenant: a string, an integer, a list of them, or an object whose members' names are tenants (${default})."`
	Operator    string        `placeholder:"CLAIM=VALUE" help:"A claim that lets a JWT read every tenant, such as /realm_access/roles=operator. CLAIM is a name or a JSON pointer; the claim must be VALUE or a list with it (default: none)."`
	Algorithms  []string      `default:"RS256,PS256,ES256,EdDSA" placeholder:"ALG" help:"Accepted signature algorithms of JWTs (${default}). Only public-key algorithms are allowed."`
	ClockSkew   time.Duration `default:"30s" help:"How far the clock of a JWT issuer may be off (${default})."`
	Tokens      string        `placeholder:"FILE" help:"File of static tokens, created by 'worker token'. It is read again when it changes."`
}

// Keys is where an issuer's keys are: a URL or a file's name. A URL's query may hold a secret, so it is shown without it.
type Keys string

// String returns the place as it may be shown.
func (k Keys) String() string {
	if !k.isURL() {
		return string(k)
	}
	place, _, hasQuery := strings.Cut(string(k), "?")
	if hasQuery {
		place += "?[redacted]"
	}
	return place
}

// MarshalText is how /status shows it.
func (k Keys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k Keys) isURL() bool {
	return strings.HasPrefix(string(k), "https://") || strings.HasPrefix(string(k), "http://")
}

// maxClockSkew keeps a mistyped duration from accepting tokens long after they expired.
const maxClockSkew = 10 * time.Minute

// Enabled says whether any authentication is configured.
func (c *Config) Enabled() bool { return len(c.JWKS) > 0 || c.Tokens != "" }

// Validate returns all that is wrong with the settings, joined, or nil. It opens no file and no connection.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.JWKS) == 0 {
		if len(c.Issuer) > 0 {
			fail("--auth-issuer is of no use without --auth-jwks: name the issuer's keys")
		}
		if len(c.Audience) > 0 {
			fail("--auth-audience is of no use without --auth-jwks: name the issuer's keys")
		}
		if c.Operator != "" {
			fail("--auth-operator is of no use without --auth-jwks: it is about JWTs")
		}
		return errors.Join(errs...)
	}
	for _, keys := range c.JWKS {
		if !keys.isURL() {
			continue
		}
		u, err := url.Parse(string(keys))
		switch {
		case err != nil || u.Host == "":
			fail("--auth-jwks %q is not a URL", keys)
		case u.User != nil:
			fail("--auth-jwks: a URL with a password in it would end up in logs, leave it out")
		case u.Scheme == "http" && !loopback.Is(u.Hostname()):
			fail("--auth-jwks %s: keys that come over plain http can be swapped on the way, use https", keys)
		}
	}
	switch {
	case len(c.Issuer) == 0:
		fail("--auth-jwks wants --auth-issuer: without it any issuer that shares the keys could name tenants")
	case len(c.Issuer) != len(c.JWKS):
		fail("--auth-issuer names %d issuers and --auth-jwks %d places of keys: give both once for each issuer, in the same order", len(c.Issuer), len(c.JWKS))
	}
	for i, issuer := range c.Issuer {
		if slices.Contains(c.Issuer[:i], issuer) {
			fail("--auth-issuer %s is given twice: each issuer has one place of keys", issuer)
		}
		if issuer == "" {
			fail("--auth-issuer is empty")
		}
	}
	if len(c.Audience) == 0 {
		fail("--auth-jwks wants --auth-audience: without it a token made for another service would be good here")
	}
	if _, err := parseClaim(c.TenantClaim); err != nil {
		fail("--auth-tenant-claim %w", err)
	}
	if c.Operator != "" {
		if _, err := parseOperator(c.Operator); err != nil {
			fail("--auth-operator %w", err)
		}
	}
	if c.JWKSRefresh < time.Minute {
		fail("--auth-jwks-refresh is %s: it must be 1m or more", c.JWKSRefresh)
	}
	if c.ClockSkew < 0 || c.ClockSkew > maxClockSkew {
		fail("--auth-clock-skew is %s: it must be 0s to %s", c.ClockSkew, maxClockSkew)
	}
	if len(c.Algorithms) == 0 {
		fail("--auth-algorithms is empty: name one, such as RS256")
	}
	for _, name := range c.Algorithms {
		if _, ok := hashes[strings.TrimSpace(name)]; !ok {
			fail("--auth-algorithms: %s is not allowed, only these are, which check with a public key: %s", name, strings.Join(slices.Sorted(maps.Keys(hashes)), ", "))
		}
	}
	return errors.Join(errs...)
}

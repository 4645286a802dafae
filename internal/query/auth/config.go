package auth

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
)

// Config are the settings of authentication, as flags.
type Config struct {
	JWKS        string        `name:"jwks" placeholder:"URL|FILE" help:"Keys that sign JWTs: an https URL (kept and refreshed) or a file (read again when it changes)."`
	JWKSRefresh time.Duration `name:"jwks-refresh" default:"15m" help:"How often keys from a URL are fetched again (${default})."`
	Issuer      string        `placeholder:"NAME" help:"The iss that every JWT must have. Wanted with --auth-jwks."`
	Audience    []string      `placeholder:"NAME" help:"The aud of which every JWT must have one. Wanted with --auth-jwks."`
	TenantClaim string        `default:"tenant_id" placeholder:"NAME" help:"The claim that names a JWT's tenant: a string or a list of strings, * for every tenant (${default})."`
	Algorithms  []string      `default:"RS256,PS256,ES256,EdDSA" placeholder:"ALG" help:"Signature algorithms that JWTs may have (${default}). Only public-key ones."`
	ClockSkew   time.Duration `default:"30s" help:"By how much a JWT issuer's clock may be off (${default})."`
	Tokens      string        `placeholder:"FILE" help:"File of static tokens, made by 'worker token'. Read again when it changes."`
}

// maxClockSkew keeps a mistyped duration from making expired tokens good for long.
const maxClockSkew = 10 * time.Minute

// Enabled says whether any authentication is configured.
func (c *Config) Enabled() bool { return c.JWKS != "" || c.Tokens != "" }

// Validate returns all that is wrong with the settings, joined, or nil. It opens no file and no connection.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.JWKS == "" {
		if c.Issuer != "" {
			fail("--auth-issuer is of no use without --auth-jwks: name the issuer's keys")
		}
		if len(c.Audience) > 0 {
			fail("--auth-audience is of no use without --auth-jwks: name the issuer's keys")
		}
		return errors.Join(errs...)
	}
	if isURL(c.JWKS) {
		u, err := url.Parse(c.JWKS)
		switch {
		case err != nil || u.Host == "":
			fail("--auth-jwks %q is no URL", c.JWKS)
		case u.Scheme == "http" && !isLoopbackHost(u.Hostname()):
			fail("--auth-jwks %s: keys that come over plain http can be swapped on the way, use https", c.JWKS)
		case u.User != nil:
			fail("--auth-jwks: a URL with a password in it would end up in logs, leave it out")
		}
	}
	if c.Issuer == "" {
		fail("--auth-jwks wants --auth-issuer: without it any issuer that shares the keys could name tenants")
	}
	if len(c.Audience) == 0 {
		fail("--auth-jwks wants --auth-audience: without it a token made for another service would be good here")
	}
	if c.TenantClaim == "" {
		fail("--auth-tenant-claim is empty")
	}
	if c.JWKSRefresh < time.Minute {
		fail("--auth-jwks-refresh is %s: it must be 1m or more", c.JWKSRefresh)
	}
	if c.ClockSkew < 0 || c.ClockSkew > maxClockSkew {
		fail("--auth-clock-skew is %s: it must be 0s to %s", c.ClockSkew, maxClockSkew)
	}
	if _, err := algorithms(c.Algorithms); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// publicKeyAlgorithms are all that may be configured.
var publicKeyAlgorithms = []jwa.SignatureAlgorithm{
	jwa.RS256(), jwa.RS384(), jwa.RS512(), jwa.PS256(), jwa.PS384(), jwa.PS512(), jwa.ES256(), jwa.ES384(), jwa.ES512(), jwa.EdDSA(), jwa.EdDSAEd25519(),
}

// algorithms turns names into the algorithms that JWTs may have. The list is the operator's, never the token's, and
// holds only algorithms that check with a public key: a token signed with HS256 and the public key as its secret, or
// with none, is refused by name.
func algorithms(names []string) (map[string]jwa.SignatureAlgorithm, error) {
	allowed := make(map[string]jwa.SignatureAlgorithm, len(names))
	for _, name := range names {
		name = strings.TrimSpace(name)
		a, ok := jwa.LookupSignatureAlgorithm(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("--auth-algorithms: %q is no signature algorithm", name)
		case !slices.Contains(publicKeyAlgorithms, a):
			return nil, fmt.Errorf("--auth-algorithms: %s is not allowed, only these are, which check with a public key: %v", name, publicKeyAlgorithms)
		}
		allowed[name] = a
	}
	if len(allowed) == 0 {
		return nil, errors.New("--auth-algorithms is empty: name one, such as RS256")
	}
	return allowed, nil
}

func isURL(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }

func isLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

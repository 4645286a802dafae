package query

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"tributary/internal/base/cli"
	"tributary/internal/base/loopback"
	"tributary/internal/query/auth"
)

// Config are the settings of the query API, as flags.
type Config struct {
	Listen  string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of the query API (${default}). Without authentication only a loopback address is accepted."`
	TLSCert string `name:"tls-cert" placeholder:"FILE" help:"Certificate chain of the query API, PEM. With --tls-key: https. Read again when it changes."`
	TLSKey  string `name:"tls-key" placeholder:"FILE" help:"Private key of the certificate, PEM."`

	Auth auth.Config `embed:"" prefix:"auth-"`

	ReaderRole string `placeholder:"ARN" help:"IAM role that reads are done with, assumed for every tenant with the session tag tenant_id, so that IAM too keeps tenants apart (default: the worker's own credentials)."`

	QueryTimeout     time.Duration `default:"10s" help:"How long one request, or one page of an export, may take (${default})."`
	QueryConcurrency int           `default:"256" help:"Requests served at once, of one tenant a quarter at most; further ones are told to come back (${default})."`
	QueryExports     int           `default:"16" help:"Exports served at once, of those, of one tenant a quarter at most (${default})."`
	QueryRate        float64       `default:"1000" help:"Requests a second of one tenant, in the long run (${default})."`
	QueryBurst       int           `default:"2000" help:"Requests of one tenant that may come at once (${default})."`
	QueryReadUnits   float64       `default:"3000" help:"DynamoDB read units a second of one tenant, in the long run; ten seconds of them may come at once (${default}, what one partition gives)."`
	QueryMemory      cli.Size      `default:"128MiB" placeholder:"SIZE" help:"Memory for the answers under way, of one tenant a quarter at most; further requests wait, and are then told to come back (${default})."`
	QueryTenants     int           `default:"10000" help:"Tenants whose rate and credentials are remembered at once (${default})."`
}

// minMemory leaves a tenant's share, a quarter, room for a full page of ordinary items.
const minMemory = cli.Size(16 << 20)

// roleARN is the form of a role's ARN ("IAM identifiers").
var roleARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)

// Validate returns all that is wrong with the settings, joined, or nil. It opens no file and no connection.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		fail("--listen %q is no HOST:PORT", c.Listen)
	case !c.Auth.Enabled() && !loopback.Is(host):
		fail("--listen %s would show every tenant's data to whoever reaches it: give --auth-jwks or --auth-tokens, or listen on 127.0.0.1", c.Listen)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		fail("--tls-cert and --tls-key go together")
	}
	if c.ReaderRole != "" && !roleARN.MatchString(c.ReaderRole) {
		fail("--reader-role %q is no role's ARN: it should look like arn:aws:iam::123456789012:role/NAME", c.ReaderRole)
	}
	if c.QueryTimeout < 100*time.Millisecond || c.QueryTimeout > 10*time.Minute {
		fail("--query-timeout is %s: it must be 100ms to 10m", c.QueryTimeout)
	}
	if c.QueryConcurrency < 1 {
		fail("--query-concurrency is %d: it must be 1 or more", c.QueryConcurrency)
	}
	if c.QueryExports < 1 || c.QueryExports > c.QueryConcurrency {
		fail("--query-exports is %d: it must be 1 to --query-concurrency, %d", c.QueryExports, c.QueryConcurrency)
	}
	if !(c.QueryRate > 0) {
		fail("--query-rate is %v: it must be more than 0", c.QueryRate)
	}
	if c.QueryBurst < 1 {
		fail("--query-burst is %d: it must be 1 or more", c.QueryBurst)
	}
	if !(c.QueryReadUnits > 0) {
		fail("--query-read-units is %v: it must be more than 0", c.QueryReadUnits)
	}
	if c.QueryMemory < minMemory {
		fail("--query-memory is %v: it must be %v or more, room for one full page of each of four tenants", c.QueryMemory, minMemory)
	}
	if c.QueryTenants < 1 {
		fail("--query-tenants is %d: it must be 1 or more", c.QueryTenants)
	}
	return errors.Join(append(errs, c.Auth.Validate())...)
}

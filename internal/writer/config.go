package writer

import (
	"errors"
	"fmt"
	"time"

	"tributary/internal/schema"
	"tributary/internal/tenants"
)

// Config is the writer's settings.
type Config struct {
	// Writers limits the calls under way.
	Writers int
	// Linger is how long a batch that is not full may wait while other calls are under way.
	Linger time.Duration
	// MaxInFlight and MaxInFlightBytes are the room. The consumer keeps to it; the writer only computes shares of it.
	MaxInFlight      int
	MaxInFlightBytes int
	// TenantShare and TenantShareBytes limit what one stalled tenant may hold.
	TenantShare      int
	TenantShareBytes int
	// CallTimeout is when a call is given up, with its outcome unknown.
	CallTimeout time.Duration
	// Types are the types of the commands. They say in how many indexes an item can be.
	Types *schema.Set
	// Meter is told what tenants use; nil: nobody is.
	Meter tenants.Meter
}

// Defaults that the consumer and the command line share.
const (
	DefaultMaxInFlight      = 10_000
	DefaultMaxInFlightBytes = 64 << 20
)

// Defaults returns the settings with defaults for those that are zero.
func (c Config) Defaults() Config {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Writers, 64)
	set(&c.MaxInFlight, DefaultMaxInFlight)
	set(&c.MaxInFlightBytes, DefaultMaxInFlightBytes)
	set(&c.TenantShare, max(1, c.MaxInFlight/10))
	set(&c.TenantShareBytes, max(1, c.MaxInFlightBytes/10))
	if c.CallTimeout == 0 {
		c.CallTimeout = 10 * time.Second
	}
	if c.Types == nil {
		c.Types = schema.Builtin()
	}
	return c
}

// Validate reports every setting that is out of range.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Writers >= 1 && c.Writers <= 4096, "--writers is %d: it must be 1 to 4096", c.Writers)
	check(c.Linger >= 0 && c.Linger <= time.Second, "--linger is %v: it must be 0s to 1s", c.Linger)
	check(c.MaxInFlight >= 1, "--max-in-flight is %d: it must be at least 1", c.MaxInFlight)
	check(c.MaxInFlightBytes >= 1<<20, "--max-in-flight-bytes is %d: it must be at least 1 MiB, the size of one message", c.MaxInFlightBytes)
	if len(errs) > 0 {
		return errors.Join(errs...) // the shares follow from these, and would be wrong as well
	}
	check(c.TenantShare >= 1 && c.TenantShare <= c.MaxInFlight, "TenantShare is %d commands: it must be 1 to MaxInFlight, %d", c.TenantShare, c.MaxInFlight)
	check(c.TenantShareBytes >= 1 && c.TenantShareBytes <= c.MaxInFlightBytes, "TenantShareBytes is %d: it must be 1 to MaxInFlightBytes, %d", c.TenantShareBytes, c.MaxInFlightBytes)
	check(c.CallTimeout > 0, "CallTimeout is %v: it must be over 0s", c.CallTimeout)
	return errors.Join(errs...)
}

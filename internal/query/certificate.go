package query

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tributary/internal/base/files"
)

// certificate serves a certificate from files. It reads them again when they change, as they do when the certificate is renewed.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards what follows
	watch   *files.Watch
	current *tls.Certificate
}

// certificateCheck is how often, at most, a handshake looks whether the files have changed.
const certificateCheck = 10 * time.Second

func openCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, watch: files.NewWatch(certificateCheck, certFile, keyFile)}
	if err := c.refresh(time.Now()); err != nil {
		return nil, err
	}
	return c, nil
}

// refresh reads the files if they have changed; the caller holds mu, or is alone.
func (c *certificate) refresh(now time.Time) error {
	_, _, err := c.watch.Update(now, func() error {
		loaded, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
		if err != nil {
			return err
		}
		c.current = &loaded
		return nil
	})
	if err != nil {
		return fmt.Errorf("--tls-cert %s and --tls-key %s: read certificate: %w", c.certFile, c.keyFile, err)
	}
	return nil
}

// get returns the certificate for a handshake. If the files are broken or half-written, the last good one stays in force.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(time.Now()); err != nil {
		c.log.Error("certificate not read, its last good state stays in force", "error", err)
	}
	return c.current, nil
}

package awsjson

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Times and sizes of direct connections.
const (
	dialTimeout  = 10 * time.Second
	idleDuration = 15 * time.Second // AWS closes idle connections later than that
	wireBuffer   = 8 << 10          // a batch of 25 commands goes in one write
	staleWithin  = time.Second      // after sending, within which a closed connection shows
	maxHead      = 256 << 10        // of an answer before its body, interim answers included
	maxInterim   = 5                // interim answers (1xx) before the answer, as net/http has it
	maxUnwatched = 64 << 10         // the longest body that is sent without watching for an answer meanwhile
)

// host holds the connections to one host. There are as many as there are calls under way, and callers bound those.
type host struct {
	address string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	tls     *tls.Config // nil: plain

	mu    sync.Mutex
	idle  []*connection // the most recently used is the last; guarded by mu
	sweep *time.Timer   // closes connections that were idle for long; nil: not set; guarded by mu
}

// connection belongs to the call that uses it. While it is idle it belongs to its host.
type connection struct {
	net.Conn
	socket *socket // below TLS
	r      *bufio.Reader
	w      *bufio.Writer
	used   time.Time // when it last became idle
}

func newHost(to *url.URL, t *http.Transport) *host {
	h := &host{address: to.Host, dial: t.DialContext}
	if h.dial == nil {
		h.dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	port := "80"
	if to.Scheme == "https" {
		port = "443"
		h.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		if t.TLSClientConfig != nil {
			h.tls = t.TLSClientConfig.Clone()
		}
		h.tls.NextProtos = nil // HTTP/1.1
		if h.tls.ServerName == "" {
			h.tls.ServerName = to.Hostname()
		}
		if h.tls.ClientSessionCache == nil {
			h.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		}
	}
	if to.Port() == "" {
		h.address = net.JoinHostPort(to.Hostname(), port)
	}
	return h
}

// send writes a request and reads its answer. The service may have closed an idle connection, which may show only when the
// connection is used. A connection that proves closed within staleWithin is replaced, and the request is sent once more. At worst
// the service sees the request twice, which is safe for these calls. A long poll that breaks later is not retried.
func (h *host) send(ctx context.Context, r *http.Request, body []byte) (answer, error) {
	c := h.get()
	if c != nil {
		sent := time.Now()
		a, err := h.exchange(ctx, c, r, body)
		if !errors.Is(err, errClosed) || time.Since(sent) > staleWithin {
			return a, err
		}
	}
	c, err := h.open(ctx)
	if err != nil {
		return answer{}, fmt.Errorf("connect to %s: %w", h.address, ended(ctx, err))
	}
	return h.exchange(ctx, c, r, body)
}

// exchange sends a request over c and reads the answer. It then returns c to the host, or closes it.
func (h *host) exchange(ctx context.Context, c *connection, r *http.Request, body []byte) (answer, error) {
	// The end of ctx interrupts reads and writes.
	unwatch := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	a, reusable, err := c.exchange(r, body)
	if unwatch() && reusable {
		h.put(c)
	} else {
		_ = c.Close()
	}
	if err != nil {
		return answer{}, ended(ctx, err)
	}
	return a, nil
}

// ended returns the error of ctx if ctx has ended, and err otherwise.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// exchange sends a request and reads its answer. It reports whether c can be used again. A service may refuse a large request
// before it has read all of it, and stop reading. So the body of a large request is written by another goroutine.
func (c *connection) exchange(r *http.Request, body []byte) (a answer, reusable bool, err error) {
	if len(body) <= maxUnwatched {
		if err := c.write(r, body); err != nil {
			return answer{}, false, fmt.Errorf("send request: %w", closed(err))
		}
		return c.answer(r)
	}
	var unsent error // set before sent is closed
	sent := make(chan struct{})
	go func() { unsent = c.write(r, body); close(sent) }()
	a, reusable, err = c.answer(r)
	if err != nil || a.status != http.StatusOK {
		_ = c.SetWriteDeadline(time.Unix(1, 0)) // ends the write
		<-sent
		return a, false, err
	}
	// A request that was not sent completely cannot have succeeded.
	<-sent
	if unsent != nil {
		return answer{}, false, fmt.Errorf("send request: %w", closed(unsent))
	}
	return a, reusable, nil
}

// answer reads the answer to r. It reports whether c can be used again.
func (c *connection) answer(r *http.Request) (a answer, reusable bool, err error) {
	c.socket.budget = maxHead
	if _, err := c.r.Peek(1); err != nil {
		return answer{}, false, fmt.Errorf("wait for answer: %w", closed(err))
	}
	response, err := c.head(r)
	c.socket.budget = math.MaxInt64 // read bounds the body
	if err != nil {
		return answer{}, false, fmt.Errorf("read answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	a, err = read(response)
	return a, err == nil && !response.Close && c.r.Buffered() == 0, err
}

// head reads an answer up to its body. It skips the interim answers before it, which have no body.
func (c *connection) head(r *http.Request) (*http.Response, error) {
	for range maxInterim + 1 {
		response, err := http.ReadResponse(c.r, r)
		if err != nil {
			return nil, err
		}
		if err := notSwitched(response); err != nil {
			return nil, err
		}
		if response.StatusCode >= http.StatusOK {
			return response, nil
		}
		_ = response.Body.Close()
	}
	return nil, fmt.Errorf("more than %d interim answers came before it", maxInterim)
}

// quiet reports, without waiting, that an idle connection is open and that nothing has arrived on it. An unexpected answer
// would otherwise be taken for the answer to the next request.
func (c *connection) quiet() bool {
	c.socket.looking = true
	_, err := c.r.Peek(1)
	c.socket.looking = false
	return errors.Is(err, os.ErrDeadlineExceeded)
}

var errClosed = errors.New("the connection was closed before an answer came")

// closed returns errClosed for the errors of a connection that the other side has closed, and other errors unchanged.
func closed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errClosed
	}
	return err
}

// write writes a request. Its headers are signed, so none may be added that AWS expects to be signed.
func (c *connection) write(r *http.Request, body []byte) error {
	w := c.w
	for _, s := range [...]string{r.Method, " ", r.URL.RequestURI(), " HTTP/1.1\r\nHost: ", r.Host, "\r\n"} {
		_, _ = w.WriteString(s) // the writer keeps its first error for Flush
	}
	for name, values := range r.Header {
		for _, s := range [...]string{name, ": ", values[0], "\r\n"} {
			_, _ = w.WriteString(s)
		}
	}
	_, _ = w.WriteString("Content-Length: ")
	_, _ = w.Write(strconv.AppendInt(w.AvailableBuffer(), int64(len(body)), 10))
	_, _ = w.WriteString("\r\n\r\n")
	_, _ = w.Write(body)
	return w.Flush()
}

// get returns an idle connection that is quiet, or nil.
func (h *host) get() *connection {
	for {
		c := h.last()
		if c == nil || c.quiet() {
			return c
		}
		_ = c.Close()
	}
}

// last removes and returns the connection that became idle last. It returns nil if there is none.
func (h *host) last() *connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.idle)
	if n == 0 {
		return nil
	}
	c := h.idle[n-1]
	h.idle[n-1] = nil
	h.idle = h.idle[:n-1]
	return c
}

func (h *host) open(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := h.dial(ctx, "tcp", h.address)
	if err != nil {
		return nil, err
	}
	below := newSocket(conn)
	conn = below
	if h.tls != nil {
		secure := tls.Client(conn, h.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secure
	}
	return &connection{Conn: conn, socket: below, r: bufio.NewReaderSize(conn, wireBuffer), w: bufio.NewWriterSize(conn, wireBuffer)}, nil
}

// put makes a connection idle.
func (h *host) put(c *connection) {
	c.used = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = append(h.idle, c)
	if h.sweep == nil {
		h.sweep = time.AfterFunc(idleDuration, h.closeIdle)
	}
}

// closeIdle closes connections that have been idle for long. It does not hold the lock, because closing TLS may wait for the network.
func (h *host) closeIdle() {
	for _, c := range h.longIdle() {
		_ = c.Close()
	}
}

// longIdle removes and returns the connections that have been idle for long, and schedules the next check.
func (h *host) longIdle() []*connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := 0
	for old < len(h.idle) && time.Since(h.idle[old].used) >= idleDuration {
		old++
	}
	taken := slices.Clone(h.idle[:old])
	h.idle = slices.Delete(h.idle, 0, old)
	h.sweep = nil
	if len(h.idle) > 0 {
		h.sweep = time.AfterFunc(idleDuration-time.Since(h.idle[0].used), h.closeIdle)
	}
	return taken
}

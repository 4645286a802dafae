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
	idleDuration = 15 * time.Second // below what AWS closes idle connections after
	wireBuffer   = 8 << 10          // a batch of 25 commands goes in one write
	staleWithin  = time.Second      // after sending, within which a closed connection shows
	maxHead      = 256 << 10        // of an answer before its body, interim answers included
	maxInterim   = 5                // interim answers (1xx) before the answer, as net/http has it
	maxUnwatched = 64 << 10         // the longest body that is sent without watching for an answer meanwhile
)

// host is the connections to one host. Their number is that of calls under way at once, which callers bound.
type host struct {
	address string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	tls     *tls.Config // nil: plain

	mu    sync.Mutex
	idle  []*connection // the one that was used last is the last; guarded by mu
	sweep *time.Timer   // closes what was idle for long; nil: not set; guarded by mu
}

// connection belongs to the call that uses it, or to its host while it is idle.
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

// send sends a request. A connection that the service closed while it was idle is found out by using it, at once, and the
// request is sent once more by a new one. The service has seen nothing of the first, or, should it have, sees it twice, which
// every call here allows; a long poll that was under way when its connection broke is not begun again.
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

// exchange sends a request by c and reads the answer. c is the host's again then, or closed.
func (h *host) exchange(ctx context.Context, c *connection, r *http.Request, body []byte) (answer, error) {
	// Whoever waits for the network is woken when ctx ends.
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

// ended is ctx's own error where that is why err came.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// exchange sends a request and reads its answer, and says whether c is good for another. A service may refuse a large
// request before it has read all of it. It may not read on then, so the body of such a request is written beside.
func (c *connection) exchange(r *http.Request, body []byte) (a answer, reusable bool, err error) {
	if len(body) <= maxUnwatched {
		if err := c.write(r, body); err != nil {
			return answer{}, false, fmt.Errorf("send request: %w", closed(err))
		}
		return c.answer(r)
	}
	sent := make(chan error, 1)
	go func() { sent <- c.write(r, body) }()
	a, reusable, err = c.answer(r)
	if err != nil || a.status != http.StatusOK {
		_ = c.SetWriteDeadline(time.Unix(1, 0)) // ends the write
		<-sent
		return a, false, err
	}
	// Only a request that was sent whole can have succeeded.
	if err := <-sent; err != nil {
		return answer{}, false, fmt.Errorf("send request: %w", closed(err))
	}
	return a, reusable, nil
}

// answer reads the answer to r, and says whether c is good for another request.
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

// head reads an answer up to its body, and the interim answers before it, which have no body.
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

// quiet says that nothing has come on an idle connection and that the service has not closed it. It does not wait. An answer
// that nobody asked for would otherwise be taken for the answer to the next request.
func (c *connection) quiet() bool {
	c.socket.looking = true
	_, err := c.r.Peek(1)
	c.socket.looking = false
	return errors.Is(err, os.ErrDeadlineExceeded)
}

var errClosed = errors.New("the connection was closed before an answer came")

// closed names the error of a connection that the other side has closed.
func closed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errClosed
	}
	return err
}

// write writes a request. Its headers are signed: none may be added that AWS would sign.
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

// last takes the connection that became idle last, or returns nil.
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

// closeIdle closes connections that have been idle for long. It does so without the lock: closing TLS may wait for the network.
func (h *host) closeIdle() {
	for _, c := range h.longIdle() {
		_ = c.Close()
	}
}

// longIdle takes the connections that have been idle for long, and sets the time for the next look.
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

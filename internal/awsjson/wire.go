package awsjson

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// wire carries signed requests to a service. One that leads through a proxy or another's RoundTripper uses net/http;
// else fasthttp does, which writes a request and reads its answer in the goroutine that asks, where net/http hands
// both over to two others.
type wire interface {
	// send sends r with its body. The answer's body is the caller's.
	send(ctx context.Context, r *http.Request, body []byte) (answer, error)
}

// answer is what of a response matters here.
type answer struct {
	status int
	header func(name string) string // valid until the call has returned
	body   string
}

// mostAnswer bounds an answer: ten messages of 1 MiB, every character of them escaped, would be less.
const mostAnswer = 80 << 20

func newWire(transport http.RoundTripper) wire {
	if t, ok := transport.(*http.Transport); ok {
		return &directWire{transport: t, proxied: standardWire{t}}
	}
	return standardWire{transport}
}

// standardWire is net/http.
type standardWire struct{ transport http.RoundTripper }

func (w standardWire) send(ctx context.Context, r *http.Request, body []byte) (answer, error) {
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	response, err := w.transport.RoundTrip(r)
	if err != nil {
		return answer{}, fmt.Errorf("send request: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer+1))
	if err == nil && len(b) > mostAnswer {
		err = fmt.Errorf("it has more than %d bytes", mostAnswer)
	}
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return answer{response.StatusCode, response.Header.Get, string(b)}, nil
}

var errClosed = errors.New("the connection was closed before an answer came")

// Times and sizes of direct connections.
const (
	dialTimeout  = 10 * time.Second
	idleDuration = 15 * time.Second // below what AWS closes idle connections after
	wireBuffer   = 8 << 10          // a batch of 25 commands goes in one write
	mostWires    = 4096             // connections; callers bound their calls far below
)

// directWire is fasthttp, with the TLS settings of an http.Transport.
type directWire struct {
	transport *http.Transport
	proxied   standardWire

	mu    sync.RWMutex
	hosts map[string]*fasthttp.HostClient // by scheme and host, nil where a proxy leads there; guarded by mu
}

func (w *directWire) send(ctx context.Context, r *http.Request, body []byte) (answer, error) {
	host, err := w.host(r)
	if err != nil {
		return answer{}, err
	}
	if host == nil {
		return w.proxied.send(ctx, r, body)
	}
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(r.Method)
	request.SetRequestURI(r.URL.String())
	request.UseHostHeader = true
	request.Header.SetHost(r.Host)
	for name, values := range r.Header {
		request.Header.Set(name, values[0])
	}
	request.SetBodyRaw(body)
	if deadline, ok := ctx.Deadline(); ok {
		err = host.DoDeadline(request, response, deadline)
	} else {
		err = host.Do(request, response)
	}
	if err != nil {
		switch { // in words and types that others know
		case errors.Is(err, fasthttp.ErrTimeout):
			err = context.DeadlineExceeded
		case errors.Is(err, fasthttp.ErrConnectionClosed):
			err = errClosed
		}
		return answer{}, fmt.Errorf("send request: %w", err)
	}
	header := func(name string) string { return string(response.Header.Peek(name)) }
	a := answer{response.StatusCode(), nil, string(response.Body())}
	if a.status != http.StatusOK {
		kept := map[string]string{}
		for _, name := range []string{"X-Amzn-Errortype", "X-Amzn-Requestid", "Date"} {
			kept[name] = header(name)
		}
		header = func(name string) string { return kept[name] }
	} else {
		crc := header("X-Amz-Crc32")
		header = func(string) string { return crc }
	}
	a.header = header
	return a, nil
}

// host returns the connections to where a request goes, or nil where a proxy leads there.
func (w *directWire) host(r *http.Request) (*fasthttp.HostClient, error) {
	key := r.URL.Scheme + "://" + r.URL.Host
	w.mu.RLock()
	c, known := w.hosts[key]
	w.mu.RUnlock()
	if known {
		return c, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, known = w.hosts[key]; known {
		return c, nil
	}
	var proxy *url.URL
	if w.transport.Proxy != nil {
		var err error
		if proxy, err = w.transport.Proxy(r); err != nil {
			return nil, fmt.Errorf("find proxy: %w", err)
		}
	}
	if proxy == nil {
		c = w.connect(r.URL)
	}
	if w.hosts == nil {
		w.hosts = map[string]*fasthttp.HostClient{}
	}
	w.hosts[key] = c
	return c, nil
}

func (w *directWire) connect(to *url.URL) *fasthttp.HostClient {
	secure := to.Scheme == "https"
	address := to.Host
	if to.Port() == "" {
		port := "80"
		if secure {
			port = "443"
		}
		address = net.JoinHostPort(to.Hostname(), port)
	}
	var settings *tls.Config
	if w.transport.TLSClientConfig != nil {
		settings = w.transport.TLSClientConfig.Clone()
		settings.NextProtos = nil // HTTP/1.1
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &fasthttp.HostClient{
		Addr: address, IsTLS: secure, TLSConfig: settings,
		Dial:     func(addr string) (net.Conn, error) { return dialer.Dial("tcp", addr) },
		MaxConns: mostWires, MaxIdleConnDuration: idleDuration,
		ReadBufferSize: wireBuffer, WriteBufferSize: wireBuffer, MaxResponseBodySize: mostAnswer,
		NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
		MaxIdemponentCallAttempts: 2,
		// A connection that was closed while it was idle is found out by writing to it: the service has seen nothing.
		RetryIfErr: func(_ *fasthttp.Request, attempts int, err error) (resetTimeout, retry bool) {
			return false, attempts == 1 && errors.Is(err, io.EOF)
		},
	}
}

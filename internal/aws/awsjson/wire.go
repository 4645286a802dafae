package awsjson

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// wire carries signed requests to a service. net/http carries those that go through a proxy or through a RoundTripper of the
// caller's. All others use direct connections: the calling goroutine writes its request and reads its answer itself, where
// net/http would hand both to two other goroutines.
type wire interface {
	// send sends r with its body, and ends when ctx does. The caller owns the answer's body.
	send(ctx context.Context, r *http.Request, body []byte) (answer, error)
}

// answer is the part of a response that callers use.
type answer struct {
	status int
	header http.Header
	body   string
}

// maxAnswer bounds an answer. Ten messages of 1 MiB, with every character escaped, need less.
const maxAnswer = 80 << 20

func newWire(transport http.RoundTripper) wire {
	if t, ok := transport.(*http.Transport); ok {
		return &directWire{transport: t, proxied: standardWire{t}, hosts: map[string]*host{}}
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
	if err := notSwitched(response); err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return read(response)
}

// notSwitched refuses an answer that switches the connection to another protocol, which no request asks for.
func notSwitched(response *http.Response) error {
	if response.StatusCode == http.StatusSwitchingProtocols {
		return errors.New("it switches to another protocol, which was not asked for")
	}
	return nil
}

// read reads the rest of a response.
func read(response *http.Response) (answer, error) {
	var b bytes.Buffer
	if n := response.ContentLength; n > 0 && n <= maxAnswer {
		b.Grow(int(n) + bytes.MinRead) // otherwise the buffer would grow once more to find the end
	}
	n, err := b.ReadFrom(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && n > maxAnswer {
		err = fmt.Errorf("it has more than %d bytes", maxAnswer)
	}
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return answer{response.StatusCode, response.Header, b.String()}, nil
}

// directWire sends over its own connections, with the dialer and the TLS settings of an http.Transport.
type directWire struct {
	transport *http.Transport
	proxied   standardWire

	mu    sync.RWMutex
	hosts map[string]*host // by scheme and host; nil where requests go through a proxy; guarded by mu
}

func (w *directWire) send(ctx context.Context, r *http.Request, body []byte) (answer, error) {
	h, err := w.host(r)
	if err != nil {
		return answer{}, err
	}
	if h == nil {
		return w.proxied.send(ctx, r, body)
	}
	return h.send(ctx, r, body)
}

// host returns the host of a request, or nil where the request goes through a proxy.
func (w *directWire) host(r *http.Request) (*host, error) {
	key := r.URL.Scheme + "://" + r.URL.Host
	w.mu.RLock()
	h, known := w.hosts[key]
	w.mu.RUnlock()
	if known {
		return h, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if h, known = w.hosts[key]; known {
		return h, nil
	}
	var proxy *url.URL
	if w.transport.Proxy != nil {
		var err error
		if proxy, err = w.transport.Proxy(r); err != nil {
			return nil, fmt.Errorf("find proxy: %w", err)
		}
	}
	if proxy == nil {
		h = newHost(r.URL, w.transport)
	}
	w.hosts[key] = h
	return h, nil
}

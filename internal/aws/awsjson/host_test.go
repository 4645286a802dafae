package awsjson

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// post is a request as the client makes them.
func post(t *testing.T, to string) *http.Request {
	t.Helper()
	u, err := url.Parse(to + "/")
	if err != nil {
		t.Fatal(err)
	}
	return &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{}, ContentLength: 2}
}

// counted counts the connections that a server accepts.
func counted(server *httptest.Server) *atomic.Int32 {
	var n atomic.Int32
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
	return &n
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	const calls, each = 8, 20
	var under sync.WaitGroup // the first calls meet, so that each has a connection
	under.Add(calls)
	var first atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		if first.Add(1) <= calls {
			under.Done()
			under.Wait()
		}
	}))
	connections := counted(server)
	server.StartTLS()
	defer server.Close()
	w := newWire(server.Client().Transport)
	var all sync.WaitGroup
	for call := range calls {
		all.Go(func() {
			for i := range each {
				body := fmt.Sprint(call, " ", i)
				a, err := w.send(t.Context(), post(t, server.URL), []byte(body))
				if err != nil || a.status != 200 || a.body != body {
					t.Errorf("%q: answer %+v, %v", body, a, err)
				}
			}
		})
	}
	all.Wait()
	if n := connections.Load(); n != calls {
		t.Errorf("%d connections for %d calls at once", n, calls)
	}
}

// A long poll that goes on for ever, at least for a test.
func TestACallEndsWithItsContext(t *testing.T) {
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done() // its client has hung up
	}))
	defer server.Close()
	for name, wire := range map[string]wire{
		"direct":   newWire(server.Client().Transport),
		"net/http": newWire(hidden{server.Client().Transport}),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		if _, err := wire.send(ctx, post(t, server.URL), []byte("{}")); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
}

func TestAConnectionThatTheServiceClosedIsReplaced(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer server.Close()
	w := newWire(server.Client().Transport)
	for range 3 {
		if a, err := w.send(t.Context(), post(t, server.URL), []byte("{}")); err != nil || a.body != "{}" {
			t.Errorf("answer %+v, %v", a, err)
		}
		server.CloseClientConnections()
	}
}

// script is a service that gives each of its connections a list of answers, one a request; to the next request it closes
// the connection.
type script struct {
	answers [][]string // by connection
	opened  int
	closed  atomic.Int32 // by us
}

const (
	hangUp = ""       // in a script: closes the connection without waiting for a request
	breaks = "breaks" // breaks the connection while the next request is a long poll
)

// dial is an http.Transport's.
func (s *script) dial(context.Context, string, string) (net.Conn, error) {
	if s.opened == len(s.answers) {
		return nil, errors.New("no more connections")
	}
	answers := s.answers[s.opened]
	s.opened++
	ours, theirs := net.Pipe()
	go func() {
		defer func() { _ = theirs.Close() }()
		in := bufio.NewReader(theirs)
		for _, answer := range answers {
			if answer == hangUp {
				return
			}
			r, err := http.ReadRequest(in)
			if err != nil {
				break
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if answer == breaks {
				time.Sleep(12 * time.Second)
				return
			}
			if _, err := io.WriteString(theirs, answer); err != nil {
				return
			}
		}
		_, _ = http.ReadRequest(in)
	}()
	return &watched{ours, &s.closed}, nil
}

type watched struct {
	net.Conn
	closed *atomic.Int32
}

func (w *watched) Close() error {
	w.closed.Add(1)
	return w.Conn.Close()
}

func TestWhatBecomesOfConnections(t *testing.T) {
	const (
		ok      = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
		last    = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
		short   = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"
		chatty  = ok + "HTTP/1.1 200 OK\r\n"
		interim = "HTTP/1.1 102 Processing\r\n\r\n" + ok
		endless = "HTTP/1.1 200 OK\r\n\r\n{}"
	)
	for name, test := range map[string]struct {
		answers [][]string
		want    string // of two calls
		closed  int
	}{
		"kept":                            {[][]string{{ok, ok}}, "{} {}", 0},
		"an interim answer":               {[][]string{{interim, ok}}, "{} {}", 0},
		"closed by the service":           {[][]string{{ok}, {ok}}, "{} {}", 1},
		"closed again":                    {[][]string{{ok}, {}}, "{} wait for answer: the connection was closed before an answer came", 2},
		"a long poll that breaks off":     {[][]string{{ok, breaks}}, "{} wait for answer: the connection was closed before an answer came", 1},
		"closed at once":                  {[][]string{{}, {ok}}, "wait for answer: the connection was closed before an answer came {}", 1},
		"the service says that it closes": {[][]string{{last, ok}, {ok}}, "{} {}", 1},
		"an answer without a length":      {[][]string{{endless, hangUp}, {ok}}, "{} {}", 1},
		"an answer cut short":             {[][]string{{short, hangUp}, {ok}}, "read answer: unexpected EOF {}", 1},
		"more than was asked for":         {[][]string{{chatty, ok}, {ok}}, "{} {}", 1},
		"no connection":                   {[][]string{{last}}, "{} connect to service:80: no more connections", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: test.answers}
				w := newWire(&http.Transport{DialContext: s.dial})
				var got []string
				for range 2 {
					a, err := w.send(t.Context(), post(t, "http://service"), []byte("{}"))
					if err != nil {
						a.body = err.Error()
					}
					got = append(got, a.body)
					synctest.Wait()
				}
				if got := strings.Join(got, " "); got != test.want || s.opened != len(test.answers) || int(s.closed.Load()) != test.closed {
					t.Errorf("%q, %d connections, %d closed, want %q, %d, %d", got, s.opened, s.closed.Load(), test.want, len(test.answers), test.closed)
				}
				time.Sleep(idleDuration)
				synctest.Wait()
				if int(s.closed.Load()) != s.opened {
					t.Errorf("%d of %d connections are closed after %v", s.closed.Load(), s.opened, idleDuration)
				}
			})
		})
	}
}

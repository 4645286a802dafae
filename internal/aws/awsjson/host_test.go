//go:build unix

package awsjson

import (
	"bufio"
	"context"
	"crypto/tls"
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
	"syscall"
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
		"interim answers without end":     {[][]string{{strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 6) + ok}, {ok}}, "read answer: more than 5 interim answers came before it {}", 1},
		"another protocol":                {[][]string{{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"}, {ok}}, "read answer: it switches to another protocol, which was not asked for {}", 1},
		"headers without end":             {[][]string{{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 997)+"\r\n", 300)}, {ok}}, "read answer: its headers are longer than 256 KiB {}", 1},
		"headers that just fit":           {[][]string{{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 995)+"\r\n", 250) + ok[17:], ok}}, "{} {}", 0},
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

// unasked is a service that answers each request with its own body, and says more than it was asked for on the first
// connection: late is written when the answer to the first request has been read.
type unasked struct {
	net.Listener
	early, late string
	read        chan struct{} // the first answer was read
	said        chan struct{} // late was written
	once        sync.Once
}

func (u *unasked) serve() {
	for first := true; ; first = false {
		conn, err := u.Accept()
		if err != nil {
			return
		}
		go u.answer(conn, first)
	}
}

func (u *unasked) answer(conn net.Conn, first bool) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if first && n == 0 {
			answer += u.early
		}
		_, _ = io.WriteString(conn, answer)
		if first && n == 0 {
			<-u.read
			_, _ = io.WriteString(conn, u.late)
			if u.late == "" {
				_ = conn.Close()
			}
			u.once.Do(func() { close(u.said) })
		}
	}
}

// What a service says without being asked is never the answer to the next request: a write that it refused would count as
// written.
func TestWhatWasNotAskedForIsNoAnswer(t *testing.T) {
	const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	for name, test := range map[string]struct{ early, late string }{
		"an answer":                 {late: stray},
		"an answer at once":         {early: stray, late: "\r\n"},
		"a time-out":                {late: "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"},
		"an end of line":            {late: "\r\n"},
		"the end of the connection": {},
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(name+" by "+scheme, func(t *testing.T) {
				listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				if scheme == "https" {
					listener = tls.NewListener(listener, certificate.TLS)
				}
				u := &unasked{Listener: listener, early: test.early, late: test.late, read: make(chan struct{}), said: make(chan struct{})}
				defer func() { _ = listener.Close() }()
				go u.serve()
				w := newWire(certificate.Client().Transport)
				for i := range 3 {
					body := fmt.Sprintf(`{"request":%d}`, i)
					r := post(t, scheme+"://"+listener.Addr().String())
					a, err := w.send(t.Context(), r, []byte(body))
					if err != nil || a.status != http.StatusOK || a.body != body {
						t.Errorf("request %d: answer %d %q, %v", i, a.status, a.body, err)
					}
					if i == 0 {
						close(u.read)
						<-u.said
						arrived(t, w, scheme, r)
					}
				}
			})
		}
	}
}

// arrived waits until what the service said has come to the idle connection, if there is one, without reading it.
func arrived(t *testing.T, w wire, scheme string, r *http.Request) {
	t.Helper()
	h, err := w.(*directWire).host(r)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.idle {
		raw, err := c.socket.Conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Read(func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return !errors.Is(err, syscall.EAGAIN)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A service that refuses a large request doesn't read all of it.
func TestAnEarlyRefusalIsSeen(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	done := make(chan struct{})
	defer close(done)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.ReadFull(conn, make([]byte, 1000))
		_, _ = io.WriteString(conn, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 2\r\n\r\n{}")
		<-done
	}()
	w := newWire(&http.Transport{})
	r := post(t, "http://"+listener.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := w.send(ctx, r, make([]byte, 16<<20))
	if err != nil || a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("answer %d, %v: want 413", a.status, err)
	}
}

// A large request that was not sent whole can't have succeeded, whatever the answer says.
func TestAnEarlySuccessIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() {
			defer func() { _ = theirs.Close() }()
			_, _ = io.ReadFull(theirs, make([]byte, 1000))
			_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}()
		w := newWire(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }})
		if a, err := w.send(t.Context(), post(t, "http://service"), make([]byte, 1<<20)); err == nil {
			t.Errorf("answer %+v to a request that was not sent whole", a)
		}
	})
}

func TestALargeRequestIsAnsweredAndItsConnectionKept(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}))
	connections := counted(server)
	server.StartTLS()
	defer server.Close()
	w := newWire(server.Client().Transport)
	for range 3 {
		r := post(t, server.URL)
		if a, err := w.send(t.Context(), r, make([]byte, 4<<20)); err != nil || a.body != fmt.Sprint(4<<20) {
			t.Errorf("answer %+v, %v", a, err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

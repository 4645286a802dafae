package awsjson

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"time"
)

// socket is the connection below TLS. It can be read without waiting, and it bounds how much is read. The call that uses the
// connection owns its fields.
type socket struct {
	net.Conn
	budget  int64 // bytes that may be read
	looking bool  // Read returns what is there, or os.ErrDeadlineExceeded at once

	raw  syscall.RawConn    // nil if the connection is not a socket of the operating system
	read func(uintptr) bool // reads into into, and sets n and err
	into []byte
	n    int
	err  error
}

var errLongHead = errors.New("its headers are longer than 256 KiB")

// lookFor is how long a look takes at a connection that is not a socket of the operating system.
const lookFor = time.Millisecond

func newSocket(conn net.Conn) *socket {
	s := &socket{Conn: conn, budget: math.MaxInt64}
	if c, ok := conn.(syscall.Conn); ok && canLook {
		s.raw, _ = c.SyscallConn() // nil with an error
		s.read = func(fd uintptr) bool {
			s.n, s.err = readNow(fd, s.into)
			return true
		}
	}
	return s
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	if s.looking {
		return s.look(b)
	}
	if s.budget <= 0 {
		return 0, errLongHead
	}
	if int64(len(b)) > s.budget {
		b = b[:s.budget]
	}
	n, err := s.Conn.Read(b)
	s.budget -= int64(n)
	return n, err
}

// look reads what has arrived. A deadline in the past would not work: the runtime then fails without reading the socket.
func (s *socket) look(b []byte) (int, error) {
	if s.raw == nil {
		_ = s.SetReadDeadline(time.Now().Add(lookFor))
		n, err := s.Conn.Read(b)
		_ = s.SetReadDeadline(time.Time{})
		return n, err
	}
	s.into = b
	err := s.raw.Read(s.read)
	s.into = nil
	switch {
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// errNothing is the result of a look at a quiet connection. TLS treats it as temporary, which it is.
var errNothing = os.ErrDeadlineExceeded

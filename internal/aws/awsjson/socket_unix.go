//go:build unix

package awsjson

import (
	"errors"
	"syscall"
)

const canLook = true

// readNow reads from a socket, which never blocks.
func readNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, errNothing
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}

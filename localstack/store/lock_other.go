//go:build !unix

package store

import "os"

// lockFile opens a file. Here nothing keeps a second process from it.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}

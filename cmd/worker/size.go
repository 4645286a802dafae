package main

import (
	"strconv"

	"github.com/alecthomas/units"
)

// size is a flag's number of bytes: plain, as templates and scripts compute it, or with a unit, as people write it.
type size int64

// UnmarshalText reads 67108864, 64MiB or 64MB, of which the last two are the same.
func (s *size) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		*s = size(n)
		return nil
	}
	n, err := units.ParseBase2Bytes(string(text))
	*s = size(n)
	return err
}

// MarshalText is how /status shows it.
func (s size) MarshalText() ([]byte, error) { return units.Base2Bytes(s).MarshalText() }

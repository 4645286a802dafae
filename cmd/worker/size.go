package main

import (
	"fmt"
	"strconv"

	"github.com/alecthomas/units"
)

// size is a flag's number of bytes: plain, as templates and scripts compute it, or with a unit, as people write it.
type size int64

// UnmarshalText reads 67108864, 64MiB or 64MB, of which the last two are the same.
func (s *size) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		var with units.Base2Bytes
		with, err = units.ParseBase2Bytes(string(text))
		n = int64(with)
	}
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size: write a number of bytes, or one with a unit, such as 64MiB", text)
	}
	*s = size(n)
	return nil
}

// MarshalText is how /status shows it.
func (s size) MarshalText() ([]byte, error) { return units.Base2Bytes(s).MarshalText() }

package cli

import (
	"fmt"
	"strconv"

	"github.com/alecthomas/units"
)

// Size is a flag's number of bytes: plain, as templates and scripts compute it, or with a unit, as people write it.
type Size int64

// UnmarshalText reads 67108864, 64MiB or 64MB, of which the last two are the same.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		var with units.Base2Bytes
		with, err = units.ParseBase2Bytes(string(text))
		n = int64(with)
	}
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a size: write a number of bytes, or one with a unit, such as 64MiB", text)
	}
	*s = Size(n)
	return nil
}

// MarshalText is how /status shows it.
func (s Size) MarshalText() ([]byte, error) { return units.Base2Bytes(s).MarshalText() }

package cli

import (
	"fmt"
	"strings"
	"time"
)

// Moment is a flag's point in time. It is given as a time, or as how long ago it was.
type Moment time.Time

// UnmarshalText reads 90m, 24h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z.
func (m *Moment) UnmarshalText(text []byte) error {
	given := string(text)
	if days, ok := strings.CutSuffix(given, "d"); ok {
		if d, err := time.ParseDuration(days + "h"); err == nil && d > 0 {
			*m = Moment(time.Now().Add(-24 * d))
			return nil
		}
	}
	if d, err := time.ParseDuration(given); err == nil && d > 0 {
		*m = Moment(time.Now().Add(-d))
		return nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02"} {
		if t, err := time.Parse(form, given); err == nil {
			*m = Moment(t)
			return nil
		}
	}
	return fmt.Errorf("%q is not a time: write how long ago (90m, 24h, 7d) or when (2026-01-31, 2026-01-31T15:04:05Z)", given)
}

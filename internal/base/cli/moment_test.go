package cli

import (
	"testing"
	"time"
)

func TestMoments(t *testing.T) {
	for given, ago := range map[string]time.Duration{"90m": 90 * time.Minute, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1.5d": 36 * time.Hour} {
		var m Moment
		if err := m.UnmarshalText([]byte(given)); err != nil {
			t.Errorf("%s: %v", given, err)
		}
		if off := time.Since(time.Time(m)) - ago; off < 0 || off > time.Minute {
			t.Errorf("%s is %s", given, time.Time(m))
		}
	}
	for given, want := range map[string]string{"2026-01-31": "2026-01-31T00:00:00Z", "2026-01-31T15:04:05+02:00": "2026-01-31T13:04:05Z"} {
		var m Moment
		if err := m.UnmarshalText([]byte(given)); err != nil || time.Time(m).UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %s, %v", given, time.Time(m), err)
		}
	}
}

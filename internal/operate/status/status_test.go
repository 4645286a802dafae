package status

import (
	"encoding/json"
	"testing"
	"time"
)

type inner struct{ DrainTimeout time.Duration }

type level int

func (l level) MarshalText() ([]byte, error) { return []byte("high"), nil }

func TestOneStyle(t *testing.T) {
	type names struct{ DLQ, TLSCert string }
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	zero := 0
	for name, c := range map[string]struct {
		value any
		want  string
	}{
		"names": {struct{ MaxInFlight, QueryTenants2Of int }{1, 2}, `{"max_in_flight":1,"query_tenants2_of":2}`},
		"embedded and nested": {struct {
			names
			Auth inner
			own  int
		}{names{"d", "c"}, inner{1500 * time.Millisecond}, 1}, `{"auth":{"drain_timeout_seconds":1.5},"dlq":"d","tls_cert":"c"}`},
		"tags": {struct {
			A int           `json:"given"`
			B int           `json:"b,omitempty"`
			C int           `json:"-"`
			D time.Duration `json:"wait"`
		}{1, 0, 3, time.Minute}, `{"given":1,"wait_seconds":60}`},
		"own encodings":     {[]any{at, level(3)}, `["2026-01-02T03:04:05Z","high"]`},
		"maps and pointers": {map[string]any{"linger": time.Second, "p": &zero, "n": nil, "s": []inner{{}}}, `{"linger_seconds":1,"n":null,"p":0,"s":[{"drain_timeout_seconds":0}]}`},
		"nothing":           {[]inner(nil), `null`},
	} {
		got, err := json.Marshal(Of(c.value))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
}

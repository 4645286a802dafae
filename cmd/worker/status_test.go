package main

import (
	"encoding/json"
	"strings"
	"testing"

	"tributary/internal/operate/status"
	"tributary/internal/query/auth"
)

// TestStatusNamesNoFilesAndRoles: /status is shown to anybody who reaches the admin port.
func TestStatusNamesNoFilesAndRoles(t *testing.T) {
	c := runCmd{AdminListen: "127.0.0.1:9090"}
	c.Queue, c.Table = "orders", "Shared"
	c.TLSCert, c.TLSKey, c.Auth.Tokens = "/run/SECRET.pem", "/run/SECRET.key", "SECRET.tokens"
	c.Auth.JWKS = []auth.Keys{"SECRET.jwks", "https://user@keys.example/a?key=SECRET"}
	c.Types = "SECRET.yaml"
	c.ReaderRole = "arn:aws:iam::123456789012:role/SECRET"
	text, err := json.Marshal(status.Of(c.shown()))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "SECRET") || strings.Count(string(text), `"[set]"`) != 6 {
		t.Errorf("/status shows %s", text)
	}
	for _, kept := range []string{"orders", "Shared", "127.0.0.1:9090"} {
		if !strings.Contains(string(text), kept) {
			t.Errorf("/status lacks %s: %s", kept, text)
		}
	}
	if c.Auth.Tokens != "SECRET.tokens" {
		t.Error("the configuration itself was changed")
	}
}

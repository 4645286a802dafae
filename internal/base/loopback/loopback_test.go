package loopback

import "testing"

func TestAsked(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "127.0.0.1": true, "127.9.9.9:1": true, "[::1]:8080": true, "[::1]": true, "::1": true,
		"": false, ":8080": false, "evil.example": false, "evil.example:80": false, "10.0.0.1:80": false, "0.0.0.0": false,
		"localhost.evil.example": false, "[::]:80": false, "127.0.0.1.evil.example": false,
	} {
		if got := Asked(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

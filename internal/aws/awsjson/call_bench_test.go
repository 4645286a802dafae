package awsjson

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkExchange is a call of 4 KiB without what it says: what a connection costs.
func BenchmarkExchange(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"UnprocessedItems":{}}`)
	}))
	defer server.Close()
	w := newWire(server.Client().Transport)
	u, err := url.Parse(server.URL + "/")
	if err != nil {
		b.Fatal(err)
	}
	r := &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{}}
	body := []byte(strings.Repeat("x", 4<<10))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.send(b.Context(), r, body); err != nil {
			b.Fatal(err)
		}
	}
}

package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
)

func lines(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for text := range strings.Lines(out.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		all = append(all, line)
	}
	return all
}

func newLog(t *testing.T, out *bytes.Buffer) *Log {
	t.Helper()
	log, err := New(out, Config{Format: "json", Level: "info"})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestThousandEqualWarningsAreOneLineWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLog(t, &out)
		for i := range 3000 { // three seconds of a thousand each
			log.Error("DynamoDB call failed", "error", fmt.Errorf("request %d: %w", i, &smithy.GenericAPIError{Code: "InternalServerError"}))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * foldWindow)
		synctest.Wait()
		got := lines(t, &out)
		var total float64
		for i, line := range got {
			if i == 0 {
				if line["repeated"] != nil {
					t.Errorf("first line has a count: %v", line)
				}
				total++
				continue
			}
			n, _ := line["repeated"].(float64)
			total += n
		}
		if len(got) != 4 || total != 3000 {
			t.Fatalf("%d lines that stand for %v, want 4 for 3000:\n%s", len(got), total, out.String())
		}
		if last := got[3]["error"]; !strings.HasPrefix(last.(string), "request 2999:") {
			t.Errorf("last line shows %v, want the latest", last)
		}
		log.Error("DynamoDB call failed", "error", &smithy.GenericAPIError{Code: "InternalServerError"})
		if n := len(lines(t, &out)); n != 5 {
			t.Errorf("after a quiet while the next was not written at once: %d lines", n)
		}
		log.Close()
	})
}

func TestDifferentKindsAreNotFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLog(t, &out)
		defer log.Close()
		log.Warn("call failed", "error", &smithy.GenericAPIError{Code: "A"})
		log.Warn("call failed", "error", &smithy.GenericAPIError{Code: "B"})
		log.Warn("call failed", "error", errors.New("x"))
		log.With("queue", "q").Warn("call failed", "error", errors.New("x"))
		log.Error("call failed", "error", errors.New("x"))
		for range 3 {
			log.Info("told", "setting", "x") // not a warning: never folded
		}
		if n := len(lines(t, &out)); n != 8 {
			t.Errorf("%d lines, want 8:\n%s", n, out.String())
		}
	})
}

func TestCloseWritesCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLog(t, &out)
		for range 5 {
			log.Warn("again")
		}
		log.Close()
		got := lines(t, &out)
		if len(got) != 2 || got[1]["repeated"] != 4.0 {
			t.Fatalf("want a line and a count of 4:\n%s", out.String())
		}
		log.Warn("again")
		log.Warn("again")
		if n := len(lines(t, &out)); n != 4 {
			t.Errorf("a closed log folds: %d lines", n)
		}
	})
}

func TestKindsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLog(t, &out)
		const many = 10 * maxFoldKinds
		for i := range many {
			log.Warn(fmt.Sprintf("kind %d", i))
		}
		if n := len(log.fold.open); n > maxFoldKinds+1 {
			t.Errorf("%d windows are open, want at most %d", n, maxFoldKinds+1)
		}
		log.Close()
		var total float64
		for _, line := range lines(t, &out) {
			if n, ok := line["repeated"].(float64); ok {
				total += n
			} else {
				total++
			}
		}
		if total != many {
			t.Errorf("lines stand for %v, want %d", total, many)
		}
	})
}

func TestNoSecretsAndNoBodies(t *testing.T) {
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ0ZW5hbnRBIn0.c2lnbmF0dXJlLXNlY3JldA"
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			var out bytes.Buffer
			log, err := New(&out, Config{Format: format, Level: "debug"})
			if err != nil {
				t.Fatal(err)
			}
			log.Info("refused "+token, "tenant", "tenantA")
			log.Debug("request", "authorization", "Bearer secret-one", "header", "Authorization: Bearer secret-two", "client_token", "secret-three")
			log.Warn("bad", "error", fmt.Errorf("parse token %s: bad", token))
			log.Warn("bad body", "body", `{"user_email":"secret-four@example.com"}`, "raw", []byte("secret-five"))
			log.With("aws_secret_access_key", "secret-six").WithGroup("g").Warn("url", "url", "https://q/?X-Amz-Signature=secret7&X-Amz-Security-Token=secret8&a=b")
			log.Warn("signed by ASIAQWERTYUIOPASDFGH")
			log.Warn("long", "detail", strings.Repeat("é", 5000))
			log.Close()
			text := out.String() + fmt.Sprint(log.Recent())
			for _, secret := range []string{token, "c2lnbmF0dXJl", "secret-", "secret7", "secret8", "ASIAQWERTYUIOPASDFGH"} {
				if strings.Contains(text, secret) {
					t.Errorf("%q is in the log:\n%s", secret, text)
				}
			}
			for _, kept := range []string{"tenantA", "a=b", "[11 bytes]", "bytes more)"} {
				if !strings.Contains(text, kept) {
					t.Errorf("%q is missing from the log:\n%s", kept, text)
				}
			}
			for line := range strings.Lines(text) {
				if len(line) > 3*valueBytes {
					t.Errorf("line of %d bytes", len(line))
				}
			}
		})
	}
}

func TestWithoutSecrets(t *testing.T) {
	for _, c := range []struct{ text, log, public string }{
		{"plain text?with=nothing", "plain text?with=nothing", ""},
		{`Get "https://keys.example/jwks.json?apikey=SECRETKEY&v=2": EOF`, `Get "https://keys.example/jwks.json?apikey=[redacted]&v=2": EOF`, ""},
		{"https://keys.example/a?SECRETKEY", "https://keys.example/a?[redacted]", ""},
		{"https://keys.example/a?k=SECRET=KEY#x", "https://keys.example/a?k=[redacted]", ""},
		{"http://user:PASS@host:80/path", "http://host:80/path", ""},
		{"http://user:PA@SS@host/path and ftp://u@h", "http://host/path and ftp://h", ""},
		{"https://sqs.eu-west-1.amazonaws.com/000000000000/orders", "https://sqs.eu-west-1.amazonaws.com/000000000000/orders", ""},
		{"https://example.com/@tenant?x=1", "https://example.com/@tenant?x=1", ""},
		{
			"User: arn:aws:sts::123456789012:assumed-role/worker/i-1 is not authorized on resource: arn:aws-cn:dynamodb:cn-north-1:1:table/T, sorry",
			"User: arn:aws:sts::123456789012:assumed-role/worker/i-1 is not authorized on resource: arn:aws-cn:dynamodb:cn-north-1:1:table/T, sorry",
			"User: [arn] is not authorized on resource: [arn], sorry",
		},
	} {
		if c.public == "" {
			c.public = c.log
		}
		if got := clean(c.text); got != c.log {
			t.Errorf("the log has %q of %q, want %q", got, c.text, c.log)
		}
		if got := Public(c.text); got != c.public {
			t.Errorf("pages have %q of %q, want %q", got, c.text, c.public)
		}
	}
	if long := Public(strings.Repeat("é", 5000)); len(long) > publicBytes+40 || !strings.HasSuffix(long, "bytes more)") {
		t.Errorf("a long text becomes %q", long)
	}
}

func TestGroupsHideSecretsToo(t *testing.T) {
	var out bytes.Buffer
	log := newLog(t, &out)
	log.Warn("refused", slog.Group("request", "token", "SECRET1", slog.Group("of", "url", "https://u:SECRET2@h/")))
	log.With(slog.Group("request", "password", "SECRET3")).Warn("again")
	log.Close()
	if text := out.String() + fmt.Sprint(log.Recent()); strings.Contains(text, "SECRET") || !strings.Contains(text, "https://h/") {
		t.Errorf("there is a secret in %s", text)
	}
}

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLog(t, &out)
		defer log.Close()
		for i := range maxRecent + 5 {
			log.Warn(fmt.Sprintf("kind %d", i), "tenant", "a")
		}
		log.Warn("kind 10", "tenant", "b")
		log.Info("no fault")
		got := log.Recent()
		if len(got) != maxRecent {
			t.Fatalf("%d entries, want %d", len(got), maxRecent)
		}
		if e := got[0]; e.Message != "kind 10" || e.Count != 2 || e.Details["tenant"] != "b" || e.Level != slog.LevelWarn.String() {
			t.Errorf("newest is %+v", e)
		}
		if got[1].Message != fmt.Sprintf("kind %d", maxRecent+4) {
			t.Errorf("second is %+v", got[1])
		}
	})
}

func TestWrongSettings(t *testing.T) {
	for _, cfg := range []Config{{Format: "xml", Level: "info"}, {Format: "json", Level: "loud"}} {
		if _, err := New(&bytes.Buffer{}, cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func BenchmarkFoldedWarning(b *testing.B) {
	log, err := New(&bytes.Buffer{}, Config{Format: "json", Level: "info"})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	fault := errors.New("x")
	b.ReportAllocs()
	for b.Loop() {
		log.Warn("call failed", "error", fault)
	}
}

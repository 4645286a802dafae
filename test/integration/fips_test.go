package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tributary/localstack/stack"
)

// Where FIPS 140 is enforced, Go's MD5 panics. SQS uses MD5 checksums.
func TestFIPSIsEnforced(t *testing.T) {
	t.Parallel()
	s := stack.New(stack.Options{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close)
	w := newWorld(t, backend{server.URL, server.URL})
	w.env = append(w.env, "GODEBUG=fips140=only", "AWS_SECRET_ACCESS_KEY="+strings.Repeat("s", 40))

	w.must("worker", "setup")
	w.must("worker", "doctor")
	w.must("producer", "put-user", "--tenant", "acme", "--id", "u1", "--user-name", "Alice", "--user-email", "a@example.com")
	file := filepath.Join(t.TempDir(), "users.csv")
	if err := os.WriteFile(file, []byte("user_id,user_name,user_email\nu2,Bob,b@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must("producer", "import", file, "--type", "put_user", "--tenant", "acme", "--quiet")
	w.send(`{"type":"put_user"}`, nil)
	w.send(`{"type":"put_user","tenant_id":"acme","user_id":"u3","user_name":"C","user_email":"c","version":4}`, nil)

	p := w.start()
	w.drained()
	for _, id := range []string{"u1", "u2", "u3"} {
		if status, body := p.read("/v1/tenants/acme/users/" + id); status != http.StatusOK {
			t.Errorf("%s: %d %s", id, status, body)
		}
	}
	if sum := p.stop(); sum.letters != 1 || sum.deleted != 4 {
		t.Errorf("summary %+v", sum)
	}
	if out := w.must("worker", "dlq", "list"); !strings.Contains(out, "missing_field") {
		t.Errorf("letters: %s", out)
	}
	w.must("worker", "dlq", "redrive")

	w.env = append(w.env, "AWS_SECRET_ACCESS_KEY=short")
	for _, line := range []string{"worker doctor", "worker run", "producer put-user --tenant acme --user-name A --user-email e"} {
		args := strings.Fields(line)
		if _, talk, status := w.run(args[0], args[1:]...); status != 2 || !strings.Contains(talk, "fips140=only wants at least 10") {
			t.Errorf("%s with a short secret: status %d, %s", line, status, talk)
		}
	}
}

// A worker that is told a queue by its URL needs no region beside it, and asks for two queues in one region alone.
func TestAQueueURLIsARegion(t *testing.T) {
	t.Parallel()
	s := stack.New(stack.Options{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close)
	w := newWorld(t, backend{server.URL, server.URL})
	w.env = append(w.env, "AWS_REGION=", "TRIBUTARY_QUEUE=https://sqs.eu-west-1.amazonaws.com/000000000000/"+w.queue)
	w.must("worker", "setup")
	w.must("producer", "put-user", "--tenant", "acme", "--id", "u1", "--user-name", "Alice", "--user-email", "a@example.com")
	p := w.start()
	w.drained()
	p.statusHasOneStyle()
	if sum := p.stop(); sum.deleted != 1 || !strings.Contains(p.log, `"region":"eu-west-1"`) {
		t.Errorf("%+v\n%s", sum, p.log)
	}
	for _, command := range []string{"run", "setup", "doctor", "dlq"} {
		_, talk, status := w.run("worker", command, "--dlq", "https://sqs.us-east-1.amazonaws.com/000000000000/"+w.dlq())
		if status != 2 || !strings.Contains(talk, "SQS wants both in one region") {
			t.Errorf("%s: status %d, %s", command, status, talk)
		}
	}
}

var snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// statusHasOneStyle looks at /status: names in snake_case, durations in seconds.
func (p *process) statusHasOneStyle() {
	t := p.w.t
	_, body := get(t, "http://"+p.admin+"/status")
	var status map[string]any
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				if !snakeCase.MatchString(name) {
					t.Errorf("%s has the name %q", at, name)
				}
				walk(at+"/"+name, member)
			}
		case []any:
			for _, element := range v {
				walk(at, element)
			}
		case float64:
			if v > 1e9 {
				t.Errorf("%s is %v: nanoseconds?", at, v)
			}
		}
	}
	walk("", status)
	configuration, _ := status["configuration"].(map[string]any)
	if configuration["drain_timeout_seconds"] != 45.0 || configuration["max_in_flight"] != 10000.0 || configuration["queue"] == nil {
		t.Errorf("configuration %v", configuration)
	}
	consumer, _ := status["consumer"].(map[string]any)
	if _, ok := consumer["pollers"]; !ok {
		t.Errorf("consumer %v", consumer)
	}
}

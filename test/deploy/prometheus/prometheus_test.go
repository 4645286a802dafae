package prometheus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// quiet are the expressions that have no data while all is well, by a part of their text.
var quiet = map[string]string{
	`outcome=~"failed|refused|error"`: "no call to AWS fails",
	`code=~"5.."`:                     "no query fails",
	`tributary_query_denied_total`:    "no query is denied",
}

var rules struct {
	Groups []struct {
		Rules []struct{ Record, Alert, Expr string }
	}
}

// TestEveryAlertHasARunbookSection compares the rules with docs/runbook.md, in both directions.
func TestEveryAlertHasARunbookSection(t *testing.T) {
	readRules(t)
	page, err := os.ReadFile("../../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, s := range regexp.MustCompile(`(?m)^## (Tributary\w+)$`).FindAllStringSubmatch(string(page), -1) {
		sections[s[1]] = true
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" && !sections[r.Alert] {
				t.Errorf("docs/runbook.md has no section %s", r.Alert)
			}
			delete(sections, r.Alert)
		}
	}
	for s := range sections {
		t.Errorf("docs/runbook.md has the section %s, which is no alert", s)
	}
}

// TestRoutesAreReal: the rules' tests name routes that the query API has, and what rules and dashboard leave out as exports
// is all exports and nothing else.
func TestRoutesAreReal(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var api struct{ Paths map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(read("../../../docs/openapi.json")), &api); err != nil || len(api.Paths) == 0 {
		t.Fatalf("the API has %d paths: %v", len(api.Paths), err)
	}
	for _, route := range regexp.MustCompile(`route="([^"]*)"`).FindAllStringSubmatch(read("../../../deploy/prometheus/tributary.rules.test.yaml"), -1) {
		if api.Paths[strings.TrimSuffix(route[1], " export")] == nil {
			t.Errorf("the rules' tests have the route %q, which the API has not", route[1])
		}
	}
	readRules(t)
	expressions := dashboard(t)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			expressions = append(expressions, r.Expr)
		}
	}
	found := regexp.MustCompile(`route!~"([^"]*)"`).FindAllStringSubmatch(strings.Join(expressions, "\n"), -1)
	if len(found) < 2 {
		t.Errorf("rules and dashboard leave out the routes %q: want exports to be left out of both", found)
	}
	for _, pattern := range found {
		leftOut := regexp.MustCompile("^(?:" + pattern[1] + ")$") // anchored, as PromQL's are
		for path := range api.Paths {
			if leftOut.MatchString(path) || !leftOut.MatchString(path+" export") {
				t.Errorf("route!~%q of %s", pattern[1], path)
			}
		}
	}
}

func readRules(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/prometheus/tributary.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
}

// dashboard returns the expressions of the dashboard's panels as Grafana would send them.
func dashboard(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/grafana/tributary.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$__range", "5m", "$job", ".+", "$write_price", "0.625", "$request_price", "0.40")
	var all []string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, fill.Replace(target.Expr))
		}
	}
	return all
}

// TestExpressionsHaveData has a real Prometheus scrape a running worker, and asks it every expression of the rules
// and of the dashboard. Of an alert, which is quiet while all is well, it asks each metric that the alert looks at.
func TestExpressionsHaveData(t *testing.T) {
	prometheus, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("prometheus was not found: apt-get install prometheus")
		}
		t.Skip("NOT RUN: prometheus was not found: install it (Debian: apt-get install prometheus)")
	}
	readRules(t)
	admin := runWorker(t)
	ask := runPrometheus(t, prometheus, admin)

	expressions := dashboard(t)
	selector := regexp.MustCompile(`tributary[a-z0-9_:]+(\{[^}]*\})?`)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			switch {
			case r.Record != "":
				expressions = append(expressions, r.Expr)
			case !strings.HasPrefix(r.Expr, "absent"):
				expressions = append(expressions, selector.FindAllString(r.Expr, -1)...)
			}
		}
	}
	// What is left out by its name must have that name.
	expressions = append(expressions, `tributary_query_request_duration_seconds_count{route=~".+ export"}`)
	// The worker says what alerts compare with, and obeys what was decided.
	expressions = append(expressions, `tributary_queue_retention_seconds == 1209600`, `tributary_tenants_suspended == 1`, `rate(tributary_tenant_limited_total{tenant="limited"}[5s]) > 0`)
	if len(expressions) < 50 {
		t.Fatalf("only %d expressions were found", len(expressions))
	}
	isQuiet := func(e string) bool {
		for part := range quiet {
			if strings.Contains(e, part) || strings.Contains(e, "failed_ratio") {
				return true
			}
		}
		return false
	}
	// Two scrapes make a rate, and a recorded rule that rests on another takes an evaluation more.
	missing := expressions
	for end := time.Now().Add(40 * time.Second); len(missing) > 0 && time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		missing = slices.DeleteFunc(slices.Clone(missing), func(e string) bool { return ask(t, e) > 0 || isQuiet(e) })
	}
	for _, e := range missing {
		t.Errorf("no data: %s", e)
	}
	t.Logf("%d expressions were asked", len(expressions))
}

// runPrometheus starts Prometheus and returns a function that says how many series an expression has now.
func runPrometheus(t *testing.T, program, admin string) func(*testing.T, string) int {
	t.Helper()
	folder := t.TempDir()
	rulesFile, err := filepath.Abs("../../../deploy/prometheus/tributary.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	// The same rules, evaluated as often as this test needs.
	fast := strings.ReplaceAll(string(text), "interval: 30s", "interval: 1s")
	configuration := fmt.Sprintf("global: {scrape_interval: 500ms, evaluation_interval: 1s}\nrule_files: [rules.yaml]\n"+
		"scrape_configs: [{job_name: tributary, static_configs: [{targets: [%q]}]}]\n", admin)
	for name, content := range map[string]string{"prometheus.yaml": configuration, "rules.yaml": fast} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	launch(t, exec.Command(program, "--config.file="+filepath.Join(folder, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address))
	return func(t *testing.T, expression string) int {
		t.Helper()
		answer, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(expression))
		if err != nil {
			return 0 // it still starts
		}
		defer func() { _ = answer.Body.Close() }()
		var found struct {
			Error string
			Data  struct{ Result []json.RawMessage }
		}
		if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
			return 0
		}
		if found.Error != "" && answer.StatusCode == http.StatusBadRequest {
			t.Fatalf("%s: %s", expression, found.Error)
		}
		return len(found.Data.Result)
	}
}

// runWorker starts the stack and a worker, gives it something of everything to do, and returns its admin address.
func runWorker(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+string(filepath.Separator), "tributary/cmd/worker", "tributary/cmd/producer", "tributary/localstack")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build programs: %v\n%s", err, out)
	}
	stack, query, admin := freeAddress(t), freeAddress(t), freeAddress(t)
	program := func(name string, arguments ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), arguments...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
			return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "TRIBUTARY_") || strings.HasPrefix(v, "OTEL_")
		})
		cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL=http://"+stack, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
		return cmd
	}
	launch(t, program("localstack", "--listen", stack))
	reach(t, "http://"+stack)
	run := func(name string, arguments ...string) {
		t.Helper()
		if out, err := program(name, arguments...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out)
		}
	}
	run("worker", "setup")
	launch(t, program("worker", "run", "--listen", query, "--admin-listen", admin))
	reach(t, "http://"+admin+"/readyz")
	run("worker", "tenant", "limit", "limited", "--write-units", "1/s", "--no-wait")
	run("worker", "tenant", "suspend", "suspended", "--no-wait")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	// Something happens until the test ends, for rates are of what happens between scrapes.
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil && i < 200; i++ {
			for _, tenant := range []string{"a", "limited", "suspended"} {
				_ = program("producer", "put-user", "--tenant", tenant, "--id", "u", "--user-name", "n", "--user-email", "e").Run()
			}
			get("http://" + query + "/v1/tenants/a/users/u")
			export("http://" + query + "/v1/tenants/a/users")
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return admin
}

// launch starts a program that is stopped when the test ends.
func launch(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), said)
		}
	})
}

// tail keeps the first part of what a program says.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() < 20_000 {
		l.text.Write(p)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func reach(t *testing.T, url string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); get(url) == 0 || strings.HasSuffix(url, "/readyz") && get(url) != http.StatusOK; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s doesn't answer", url)
		}
	}
}

func get(url string) int { return fetch(url, "*/*") }

// export gets a whole list, as lines.
func export(url string) int { return fetch(url, "application/x-ndjson") }

// fetch returns the status of an answer, or 0 where there is none.
func fetch(url, accept string) int {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	request.Header.Set("Accept", accept)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

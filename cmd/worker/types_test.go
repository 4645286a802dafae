package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/base/cli"
	"tributary/internal/query"
	"tributary/internal/schema"
	"tributary/localstack/stack"
	"tributary/test/faults"
)

const clinic = `types:
  patient:
    fields:
      name: {type: string, required: true, maxLength: 50}
  visit:
    fields:
      patient_id: {type: string, required: true, references: patient}
  bill:
    fields:
      patient_id: {type: string, required: true, references: patient}
`

// file writes a file of types and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTypesDocuments(t *testing.T) {
	settings(t, "http://127.0.0.1:1")
	declared, err := schema.Read("types.yaml", []byte(clinic))
	if err != nil {
		t.Fatal(err)
	}
	path := file(t, clinic)
	for _, c := range []struct {
		types *schema.Set
		flags []string
	}{{schema.Builtin(), nil}, {declared, []string{"--types", path}}} {
		asJSON, asYAML, err := query.OpenAPI(c.types)
		if err != nil {
			t.Fatal(err)
		}
		for line, want := range map[string][]byte{
			"types show": c.types.YAML(), "types schema": c.types.JSONSchema(), "types asyncapi": c.types.AsyncAPI(),
			"types openapi": asYAML, "types openapi --json": asJSON,
		} {
			status, out, talk := command(t, append(strings.Fields(line), c.flags...)...)
			if status != 0 || out != string(want) || strings.Contains(talk, c.types.Fingerprint) != (line == "types show") {
				t.Errorf("worker %s %q: status %d, talk %q, out\n%s", line, c.flags, status, talk, out)
			}
		}
	}
	t.Setenv("TRIBUTARY_TYPES", path)
	if _, out, _ := command(t, "types", "show"); out != string(declared.YAML()) {
		t.Errorf("with TRIBUTARY_TYPES:\n%s", out)
	}
	// What show prints is a file of the same types.
	if _, out, _ := command(t, "types", "check", path, file(t, string(declared.YAML()))); !strings.HasPrefix(out, "no changes") {
		t.Errorf("what show prints differs: %s", out)
	}
}

func TestTypesCheck(t *testing.T) {
	settings(t, "http://127.0.0.1:1")
	old := file(t, clinic)
	wider := file(t, strings.Replace(clinic, "maxLength: 50", "maxLength: 80", 1))
	renamed := file(t, strings.Replace(strings.Replace(clinic, "maxLength: 50", "maxLength: 80", 1), "  bill:", "  invoice:", 1))
	for name, c := range map[string]struct {
		now        string
		status     int
		text       string
		compatible bool
		changes    int
	}{
		"itself": {old, 0, "no changes: both files mean the same\n", true, 0},
		"wider":  {wider, 0, "compatible: patient.name: maxLength is 80, it was 50: every value that was allowed still is\n", true, 1},
		"both": {renamed, cli.StatusFailed, "compatible: patient.name: maxLength is 80, it was 50: every value that was allowed still is\n" +
			"NOT COMPATIBLE: bill: the type is gone: its commands would be dead-lettered, and its items could not be read\n" +
			"compatible: invoice: the type is new: nothing that exists is of this type; run worker setup --update first, which makes the index\n", false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if status, out, talk := command(t, "types", "check", old, c.now); status != c.status || out != c.text || talk != "" {
				t.Errorf("status %d, talk %q, out\n%s", status, talk, out)
			}
			status, out, talk := command(t, "types", "check", "-o", "json", old, c.now)
			var report struct {
				Compatible bool
				Changes    []change
			}
			decode(t, out, &report)
			if status != c.status || report.Compatible != c.compatible || report.Changes == nil || len(report.Changes) != c.changes || talk != "" {
				t.Errorf("status %d, talk %q, %s", status, talk, out)
			}
		})
	}
}

// TestWrongTypes gives each command files that are no types: it ends with status 2 before it does anything, and says what is wrong with
// the file and nothing else.
func TestWrongTypes(t *testing.T) {
	settings(t, "http://127.0.0.1:1") // a command that went on would find no answer there and end with status 1
	folder := t.TempDir()
	in := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := in("good.yaml", clinic)
	files := map[string]struct{ path, want string }{
		"missing":       {filepath.Join(folder, "none.yaml"), `^worker: read types: open .*none\.yaml: no such file or directory\n$`},
		"a directory":   {folder, `^worker: read types: .*: is a directory\n$`},
		"too large":     {in("large.yaml", "types: # "+strings.Repeat("x", 1<<20)), `^.*large\.yaml:1: the file is larger than 262144 bytes\n$`},
		"empty":         {in("empty.yaml", ""), `^.*empty\.yaml:1: the file is empty, it must begin with types:\n$`},
		"not YAML":      {in("broken.yaml", "types:\n  a: [\n"), `^.*broken\.yaml:\d+: the file is not YAML: .*\n$`},
		"two documents": {in("two.yaml", clinic+"---\n"+clinic), `^.*two\.yaml:\d+: the file has a second YAML document, it may have one\n$`},
		"two mistakes": {in("wrong.yaml", "types:\n  order:\n    fields:\n      sk: {type: string}\n      to: {type: string, references: usr}\n"),
			`^.*wrong\.yaml:4: order\.sk: .*\n.*wrong\.yaml:5: order\.to: references "usr", which is not a type of this file\n$`},
		"binary": {in("binary.yaml", "\x00\x01\x02"), `^.*binary\.yaml:1: .*\n$`},
	}
	lines := []string{
		"run", "setup", "doctor", "dlq list", "dlq show x", "dlq redrive", "dlq export", "dlq drop --yes",
		"types show", "types schema", "types asyncapi", "types openapi",
	}
	check := func(t *testing.T, want string, args ...string) {
		t.Helper()
		status, out, talk := command(t, args...)
		if status != cli.StatusUsage || out != "" || !regexp.MustCompile(want).MatchString(talk) {
			t.Errorf("worker %q: status %d, out %q, talk %q", args, status, out, talk)
		}
	}
	for name, f := range files {
		t.Run(name, func(t *testing.T) {
			for _, line := range lines {
				check(t, f.want, append(strings.Fields(line), "--types", f.path)...)
			}
			check(t, f.want, "types", "check", f.path, good)
			check(t, f.want, "types", "check", good, f.path)
			t.Setenv("TRIBUTARY_TYPES", f.path)
			for _, line := range lines {
				check(t, f.want, strings.Fields(line)...)
			}
		})
	}
	t.Run("both files of check", func(t *testing.T) {
		check(t, `^.*wrong\.yaml:4: .*\n.*wrong\.yaml:5: .*\nworker: read types: .*none\.yaml: .*\n$`, "types", "check", files["two mistakes"].path, files["missing"].path)
	})
	for _, line := range []string{
		"types", "types show " + good, "types schema " + good + " " + good, "types check " + good, "types check " + good + " " + good + " " + good,
		"types check -o yaml " + good + " " + good, "types nonsense",
	} {
		if status, out, talk := command(t, strings.Fields(line)...); status != cli.StatusUsage || out != "" || strings.Count(talk, "\n") != 1 {
			t.Errorf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
	}
}

// TestAnOperatorsTypes sets a table up for declared types, changes them, and looks.
func TestAnOperatorsTypes(t *testing.T) {
	onStack(t)
	run := func(want int, args ...string) string {
		t.Helper()
		status, out, talk := command(t, args...)
		if status != want {
			t.Fatalf("worker %q: status %d, out %q, talk %q", args, status, out, talk)
		}
		return out
	}
	run(0, "setup") // for the built-in types
	path := file(t, clinic)
	out := run(0, "doctor", "--types", path)
	for _, want := range []string{"index visits_by_patient", "index bills_by_patient", "a patient's bills can't be asked for", path + ", fingerprint "} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}
	if out := run(0, "setup", "--types", path); !strings.Contains(out, "worker setup --update changes them") {
		t.Errorf("setup: %s", out)
	}
	if out := run(0, "setup", "--update", "--types", path); strings.Count(out, "(done)") != 2 {
		t.Errorf("setup --update: %s", out)
	}
	if out := run(0, "setup", "--update", "--types", path); strings.Count(out, "as setup makes it") != 3 {
		t.Errorf("setup --update again: %s", out)
	}
	for _, flags := range [][]string{nil, {"--types", path}} { // the built-in types' index is still there
		if out := run(0, append([]string{"doctor"}, flags...)...); strings.Contains(out, "warning  index") || !strings.Contains(out, ", 0 failed, 0 skipped") {
			t.Errorf("doctor %q: %s", flags, out)
		}
	}
	if out := run(0, "dlq", "list", "--types", path); out != "tributary-commands-dlq: no letters\n" {
		t.Errorf("letters: %q", out)
	}
	t.Setenv("TRIBUTARY_TYPES", path)
	if out := run(0, "setup", "--table", "Fresh"); !strings.Contains(out, "index visits_by_patient, index bills_by_patient, TTL") {
		t.Errorf("a fresh table: %s", out)
	}
}

// talk collects what a program says while it runs.
type talk struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (s *talk) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *talk) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// started runs a worker until the test ends, and returns its first log line. At the end the stack is closed, which ends the
// long polls that the worker would wait for.
func started(t *testing.T, embedded *stack.Stack, args ...string) map[string]any {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var said talk
	done := make(chan int, 1)
	go func() { // t.Cleanup waits for it
		done <- program(ctx, append([]string{"run", "--log-format", "json", "--admin-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, args...),
			&cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: &said})
	}()
	t.Cleanup(func() {
		stop()
		embedded.Close()
		if status := <-done; status != 0 {
			t.Errorf("the worker ended with status %d: %s", status, said.String())
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(said.String()) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == "worker starts" {
				return fields
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the worker does not start: %s", said.String())
		}
	}
}

// TestAWorkersTypesAreSeen: the fingerprint is in the start line, in /status and in the metrics.
func TestAWorkersTypesAreSeen(t *testing.T) {
	declared, err := schema.Read("types.yaml", []byte(clinic))
	if err != nil {
		t.Fatal(err)
	}
	path := file(t, clinic)
	for name, c := range map[string]struct {
		types *schema.Set
		flags []string
		file  any
	}{
		"built-in": {schema.Builtin(), nil, nil},
		"declared": {declared, []string{"--types", path}, path},
	} {
		t.Run(name, func(t *testing.T) {
			_, embedded := onOwnStack(t)
			if status, _, talk := command(t, append([]string{"setup"}, c.flags...)...); status != 0 {
				t.Fatalf("setup: %s", talk)
			}
			line := started(t, embedded, c.flags...)
			if line["types"] != c.types.Fingerprint || line["types_file"] != c.file {
				t.Errorf("start line %v", line)
			}
			admin, _ := line["admin"].(string)
			status := get(t, admin+"/status")
			if !strings.Contains(status, `"types":"`+c.types.Fingerprint+`"`) && !strings.Contains(status, `"types": "`+c.types.Fingerprint+`"`) || strings.Contains(status, path) {
				t.Errorf("/status: %s", status)
			}
			metrics := get(t, admin+"/metrics")
			for _, want := range []string{`types="` + c.types.Fingerprint + `"`, `type="` + c.types.Types[len(c.types.Types)-1].Put + `"`} {
				if !strings.Contains(metrics, want) {
					t.Errorf("the metrics lack %s", want)
				}
			}
		})
	}
}

// TestAWorkerWritesDeclaredTypes: commands of the file's types are written, also where DynamoDB left some over, and those of the
// built-in ones are dead letters.
func TestAWorkerWritesDeclaredTypes(t *testing.T) {
	client, embedded := onOwnStack(t)
	front := httptest.NewServer(faults.Over(embedded, func(c *faults.Call) faults.Plan {
		if c.Operation != "BatchWriteItem" || c.N > 0 {
			return faults.Plan{}
		}
		return faults.Plan{Left: func(i int) string {
			if i == 0 {
				return "left over"
			}
			return ""
		}}
	}))
	t.Cleanup(front.Close)
	settings(t, front.URL)
	t.Setenv("TRIBUTARY_TYPES", file(t, clinic))
	if status, _, talk := command(t, "setup"); status != 0 {
		t.Fatalf("setup: %s", talk)
	}
	queue, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("tributary-commands")})
	if err != nil {
		t.Fatal(err)
	}
	body := `[{"type":"put_patient","tenant_id":"a","patient_id":"p","name":"n"},{"type":"put_visit","tenant_id":"a","visit_id":"v","patient_id":"p"},` +
		`{"type":"put_user","tenant_id":"a","user_id":"u","user_name":"n","user_email":"e"}]`
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: &body}); err != nil {
		t.Fatal(err)
	}
	admin, _ := started(t, embedded, "--role", "consume")["admin"].(string)
	for end := time.Now().Add(30 * time.Second); !strings.Contains(get(t, admin+"/metrics"), `tributary_messages_settled_total{outcome="deleted"} 1`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the message is not settled: %s", get(t, admin+"/status"))
		}
	}
	metrics := get(t, admin+"/metrics")
	for _, want := range []string{
		`tributary_commands_total{outcome="written",type="put_patient"} 1`, `tributary_commands_total{outcome="written",type="put_visit"} 1`,
		`tributary_dead_letters_total{reason="unknown_type"} 1`, `tributary_unprocessed_items_total 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

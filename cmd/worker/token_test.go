package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tributary/internal/base/cli"
)

// worker runs the command line and returns its status and what it said.
func runWorker(t *testing.T, args ...string) (status int, out, talk string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = program(context.Background(), args, &cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}

func TestTokenIsShownOnceAndKeptAsItsDigest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.json")
	status, out, talk := runWorker(t, "token", "--name", "shop", "--file", file, "tenantA", "tenantB")
	token := strings.TrimSpace(out)
	if status != 0 || !strings.HasPrefix(token, "tributary_") || strings.Contains(talk, token) || !strings.Contains(talk, "shop") {
		t.Errorf("status %d, out %q, talk %q", status, out, talk)
	}
	status, out, _ = runWorker(t, "token", "-o", "json", "--name", "operator", "--valid", "1h", "--file", file, "*")
	var made struct{ Token, Name, SHA256 string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || status != 0 || made.Name != "operator" || made.Token == token || len(made.SHA256) != 64 {
		t.Errorf("status %d, %s: %v", status, out, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"shop"`, `"operator"`, made.SHA256, `"tenantB"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if bytes.Contains(text, []byte(token)) || bytes.Contains(text, []byte(made.Token)) {
		t.Errorf("a token is in %s", text)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
}

func TestTokenRefusesWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.json")
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no tenant":    {[]string{"--name", "n", "--file", file}, "tenant"},
		"a bad tenant": {[]string{"--name", "n", "--file", file, "a#b"}, "a#b"},
		"no name":      {[]string{"--file", file, "a"}, "--name"},
		"no file":      {[]string{"--name", "n", "a"}, "--file"},
		"no time":      {[]string{"--name", "n", "--file", file, "--valid", "0s", "a"}, "--valid"},
		"too long":     {[]string{"--name", "n", "--file", file, "--valid", "1000000h", "a"}, "--valid"},
		"no folder":    {[]string{"--name", "n", "--file", filepath.Join(file, "x"), "a"}, "--file"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, talk := runWorker(t, append([]string{"token"}, c.args...)...)
			if status != cli.StatusUsage || out != "" || !strings.Contains(talk, c.want) || strings.Count(talk, "\n") != 1 {
				t.Errorf("status %d, out %q, talk %q", status, out, talk)
			}
		})
	}
	if status, out, talk := runWorker(t, "token", "--name", "n", "--file", broken, "a"); status == 0 || out != "" || !strings.Contains(talk, broken) {
		t.Errorf("a broken file: status %d, out %q, talk %q", status, out, talk)
	}
}

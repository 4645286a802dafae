package check_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

// worker builds the program that the chart's pods run, from this tree.
func worker(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.CommandContext(t.Context(), "go", "-C", "../../..", "build", "-o", bin, "./cmd/worker").CombinedOutput(); err != nil {
		t.Fatalf("build worker: %v\n%s", err, out)
	}
	return bin
}

// try runs the worker as a pod does, with nothing at AWS's address: settings that it takes make it end with status 1
// there, settings that it refuses with status 2 before. It returns the status and what the worker said.
func try(t *testing.T, bin string, container core.Container) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, container.Args...)
	for _, e := range container.Env {
		switch {
		case e.ValueFrom != nil: // the cluster's own
		case e.Name == "OTEL_EXPORTER_OTLP_ENDPOINT":
			cmd.Env = append(cmd.Env, e.Name+"=http://127.0.0.1:1")
		default:
			cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
		}
	}
	cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b",
		"AWS_MAX_ATTEMPTS=1", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	said, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(said)
}

// TestWorkersTakeTheirEnvironment gives what the chart makes of values to the program that has to live with it.
func TestWorkersTakeTheirEnvironment(t *testing.T) {
	bin := worker(t)
	help, err := exec.CommandContext(t.Context(), bin, "run", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	// The worker ignores a variable that it doesn't know, so a misspelt one would go unnoticed.
	known := map[string]bool{}
	for _, found := range regexp.MustCompile(`\$(TRIBUTARY_[A-Z_]+)`).FindAllStringSubmatch(string(help), -1) {
		known[found[1]] = true
	}

	query := []string{"--set", "query.enabled=true,query.auth.tokensSecret=tokens"}
	cases := map[string][]string{
		"defaults":               query,
		"sizes as plain numbers": append(slices.Clone(query), "--set", "consume.maxInFlightBytes=134217728"),
		"sizes with a unit":      append(slices.Clone(query), "--set", "consume.maxInFlightBytes=1GiB"),
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of values: %v", err)
	}
	for _, file := range files {
		cases[file] = []string{"--values", file}
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			tried := 0
			for key, object := range render(t, cases[name]...) {
				deployment, ok := object.(*apps.Deployment)
				if !ok {
					continue
				}
				for _, container := range deployment.Spec.Template.Spec.Containers {
					tried++
					for _, e := range container.Env {
						if strings.HasPrefix(e.Name, "TRIBUTARY_") && !known[e.Name] {
							t.Errorf("%s sets %s, which no flag reads", key, e.Name)
						}
					}
					if status, said := try(t, bin, container); status != 1 {
						t.Errorf("%s: with its environment the worker ends with status %d:\n%s", key, status, said)
					}
				}
			}
			if tried != 2 {
				t.Errorf("%d containers were tried, want one of each role", tried)
			}
		})
	}

	wrong := core.Container{Args: []string{"run"}, Env: []core.EnvVar{{Name: "TRIBUTARY_ROLE", Value: "consume"}, {Name: "TRIBUTARY_WRITERS", Value: "many"}}}
	if status, said := try(t, bin, wrong); status != 2 || !strings.Contains(said, "writers") {
		t.Errorf("this test can't fail: %q writers end the worker with status %d:\n%s", "many", status, said)
	}
}

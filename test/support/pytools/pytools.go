// Package pytools gives tests the Python programs that they run against, installed once into a folder that git ignores.
package pytools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Requirements, pinned, as pip takes them.
const (
	Boto3        = "boto3==1.44.5"
	Moto         = "moto[server]==5.2.5"
	Schemathesis = "schemathesis==4.32.5"
)

// Tool is an installed Python package.
type Tool struct {
	Python string // the interpreter
	Folder string // the package and its dependencies
}

// Need installs a requirement unless it is there, or skips the test, loudly: with CI=true it fails instead.
func Need(t testing.TB, requirement string) Tool {
	t.Helper()
	tool, err := install(t, requirement)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("NOT RUN: %v", err)
	}
	return tool
}

func install(t testing.TB, requirement string) (Tool, error) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		return Tool{}, fmt.Errorf("%s is wanted, and python3 was not found: install Python 3.10 or newer", requirement)
	}
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..", "..", "localstack", ".emulators", "python")
	tool := Tool{Python: python, Folder: filepath.Join(root, strings.NewReplacer("[", "-", "]", "", "==", "-").Replace(requirement))}
	if _, err := os.Stat(tool.Folder); err == nil {
		return tool, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Tool{}, fmt.Errorf("make folder for %s: %w", requirement, err)
	}
	// Into a folder of its own first: what is half-installed, or installed by two at once, is never used.
	half, err := os.MkdirTemp(root, ".installing-*")
	if err != nil {
		return Tool{}, fmt.Errorf("make folder for %s: %w", requirement, err)
	}
	defer func() { _ = os.RemoveAll(half) }()
	t.Logf("installing %s by pip, once", requirement)
	pip := exec.CommandContext(t.Context(), python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", half, requirement)
	if out, err := pip.CombinedOutput(); err != nil {
		return Tool{}, fmt.Errorf("install %s by pip: %w\n%s", requirement, err, out)
	}
	if err := os.Rename(half, tool.Folder); err != nil {
		if _, there := os.Stat(tool.Folder); there != nil {
			return Tool{}, fmt.Errorf("install %s: %w", requirement, err)
		}
	}
	return tool, nil
}

// Env is the environment for the tool: this process's own, without the developer's AWS settings.
func (tool Tool) Env() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	return append(env, "PYTHONPATH="+tool.Folder, "PYTHONDONTWRITEBYTECODE=1", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
}

// Package plant puts a bug into the compiler's view of one file (go build -overlay): no file of the tree is touched.
package plant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Bug is an edit of one file. The old text must be there exactly once.
type Bug struct{ Name, File, Old, New string }

// Root is the module's folder.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Fit returns an error for each bug that has no place, or more than one, in the source.
func Fit(root string, bugs []Bug) error {
	var errs []error
	for i := range bugs {
		if _, err := bugs[i].source(root); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", bugs[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// source returns the source that the bug is planted into.
func (b *Bug) source(root string) (string, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(b.File)))
	if err != nil {
		return "", fmt.Errorf("read source: %w", err)
	}
	if n := strings.Count(string(source), b.Old); n != 1 {
		return "", fmt.Errorf("%s has %d places that read %q, want 1: change the mutant as the source has changed", b.File, n, b.Old)
	}
	return string(source), nil
}

// plant returns the source with the bug in it. The bug may call os.Exit although the source does not import os.
func (b *Bug) plant(source string) string {
	source = strings.Replace(source, b.Old, b.New, 1)
	if strings.Contains(b.New, "os.Exit") && !strings.Contains(source, "\t\"os\"\n") {
		source = strings.Replace(source, "import (", "import (\n\t\"os\"", 1)
	}
	return source
}

// Overlay writes the changed file into dir, and the file for -overlay that tells the compiler of it. It returns the latter's path.
func (b *Bug) Overlay(root, dir string) (path string, err error) {
	original := filepath.Join(root, filepath.FromSlash(b.File))
	source, err := b.source(root)
	if err != nil {
		return "", err
	}
	mutated, path := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{original: mutated}})
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	err = errors.Join(
		os.WriteFile(mutated, []byte(b.plant(source)), 0o600),
		os.WriteFile(path, replace, 0o600))
	if err != nil {
		return "", fmt.Errorf("write mutant: %w", err)
	}
	return path, nil
}

// Test builds the test of a package with the bug in it, as a program in dir, and returns its path.
func (b *Bug) Test(ctx context.Context, root, dir, pkg string) (program string, err error) {
	overlay, err := b.Overlay(root, dir)
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "mutant.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", program, pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mutant: %w\n%s", err, out)
	}
	return program, nil
}

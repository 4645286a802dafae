package main

import (
	"archive/zip"
	"debug/elf"
	"os"
	"runtime"
	"testing"
)

// TestFileIsReproducible builds twice. It builds for this machine's architecture, whose packages are compiled already.
func TestFileIsReproducible(t *testing.T) {
	path, first, _, err := build(t.TempDir(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	_, second, _, err := build(t.TempDir(), runtime.GOARCH)
	if err != nil || first != second {
		t.Errorf("the sums are %x and %x; %v", first, second, err)
	}
	file, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if len(file.File) != 1 || file.File[0].Name != "bootstrap" || file.File[0].Mode() != 0o755 {
		t.Fatalf("the file has %v", file.File)
	}
	in, err := file.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	program := t.TempDir() + "/bootstrap"
	out, err := os.Create(program)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	parsed, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	if libraries, err := parsed.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program wants %v, %v: provided.al2023 may not have them", libraries, err)
	}
}

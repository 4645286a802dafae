// Command lambda builds the worker as a Lambda function of the runtime provided.al2023: bin/lambda-arm64.zip and
// bin/lambda-amd64.zip, each with the program bootstrap. Two runs over the same tree make equal files.
//
//	go run ./deploy/lambda [-out bin] [-arch arm64,amd64]
package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// maxZip is far below Lambda's limit of 50 MB for a direct upload ("Lambda quotas"). A small file starts fast.
const maxZip = 15 << 20

func main() {
	out := flag.String("out", "bin", "the folder for the files")
	arches := flag.String("arch", "arm64,amd64", "architectures, as Go names them")
	flag.Parse()
	for arch := range strings.SplitSeq(*arches, ",") {
		path, sum, size, err := build(*out, arch)
		if err != nil {
			fmt.Fprintln(os.Stderr, "lambda:", err)
			os.Exit(1)
		}
		fmt.Printf("%x  %s  %.1f MB\n", sum, path, float64(size)/1e6)
	}
}

// build makes the file for an architecture.
func build(out, arch string) (path string, sum [sha256.Size]byte, size int, err error) {
	folder, err := os.MkdirTemp("", "lambda")
	if err != nil {
		return "", sum, 0, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	program := filepath.Join(folder, "bootstrap")
	compile := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", program, "tributary/cmd/worker")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if said, err := compile.CombinedOutput(); err != nil {
		return "", sum, 0, fmt.Errorf("build for %s: %w\n%s", arch, err, said)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return "", sum, 0, fmt.Errorf("read program: %w", err)
	}
	file, err := pack(code)
	if err != nil {
		return "", sum, 0, err
	}
	if len(file) > maxZip {
		return "", sum, 0, fmt.Errorf("the file for %s has %d bytes: it should have at most %d", arch, len(file), maxZip)
	}
	path = filepath.Join(out, "lambda-"+arch+".zip")
	if err := errors.Join(os.MkdirAll(out, 0o755), os.WriteFile(path, file, 0o644)); err != nil { //nolint:gosec // it is meant to be read
		return "", sum, 0, fmt.Errorf("write file: %w", err)
	}
	return path, sha256.Sum256(file), len(file), nil
}

// pack makes a zip of the program alone. The time in it is fixed, because it would be the only difference between two runs.
func pack(code []byte) ([]byte, error) {
	var file bytes.Buffer
	z := zip.NewWriter(&file)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(0o755)
	entry, err := z.CreateHeader(header)
	if err == nil {
		_, err = entry.Write(code)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("make zip: %w", err)
	}
	return file.Bytes(), nil
}

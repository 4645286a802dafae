package pytools

import (
	"bufio"
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// motoTime bounds how long one test may keep moto.
const motoTime = 2 * time.Minute

var motoRuns = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// StartMoto starts moto, an AWS in Python, on a free port until the test ends, and returns its address. Where moto
// can't be had the test is skipped, or fails, as Need says.
func StartMoto(t testing.TB) (endpoint string) {
	t.Helper()
	tool := Need(t, Moto)
	ctx, cancel := context.WithTimeout(context.Background(), motoTime) // not the test's, which ends before cleanups run
	cmd := exec.CommandContext(ctx, tool.Python, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])")
	cmd.Env = tool.Env()
	output, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	var said strings.Builder
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(address)
		for lines, found := bufio.NewScanner(output), false; lines.Scan(); {
			if match := motoRuns.FindStringSubmatch(lines.Text()); match != nil && !found {
				address <- match[1]
				found = true
			} else if !found {
				said.WriteString(lines.Text() + "\n")
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-read; _ = cmd.Wait() })
	endpoint, ok := <-address
	if !ok {
		t.Fatalf("moto did not start:\n%s", said.String())
	}
	return endpoint
}

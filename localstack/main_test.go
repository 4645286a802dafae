package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"tributary/internal/base/cli"
)

// firstLine gives the first thing written to it.
type firstLine chan string

func (f firstLine) Write(b []byte) (int, error) {
	select {
	case f <- string(b):
	default:
	}
	return len(b), nil
}

func TestServesUntilStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready := make(firstLine, 1)
	status := make(chan int, 1)
	go func() {
		args := []string{"--listen", "127.0.0.1:0", "--region", "eu-west-1"}
		status <- cli.Main(ctx, "localstack", "", &command{}, args, &cli.Streams{Out: io.Discard, Err: ready})
	}()
	_, rest, _ := strings.Cut(<-ready, "AWS_ENDPOINT_URL=")
	url, _, _ := strings.Cut(rest, " ")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "AmazonSQS.ListQueues")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("list queues: status %d", response.StatusCode)
	}
	stop()
	if got := <-status; got != 0 {
		t.Errorf("exit status %d after a stop, want 0", got)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"--write-units", "-1"}, {"--write-units=x"}, {"--listen", "nowhere"}, {"--no-such-flag"}} {
		var said strings.Builder
		status := cli.Main(t.Context(), "localstack", "", &command{}, args, &cli.Streams{Out: io.Discard, Err: &said})
		if status != cli.StatusUsage || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%v: exit status %d, said %q; want status 2 and one line", args, status, said.String())
		}
	}
}

// Command localstack is SQS and DynamoDB on the developer's own machine, in memory and in one process:
//
//	go run ./localstack
//	export AWS_ENDPOINT_URL=http://127.0.0.1:4566
//
// It checks no credentials and keeps nothing: it is a tool for development and tests only.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tributary/internal/base/cli"
	"tributary/localstack/stack"
)

// command is the command line.
type command struct {
	Version    cli.Version `help:"Print the version and exit." env:"-"`
	Listen     string      `help:"Address to listen on." default:"127.0.0.1:4566" env:"LOCALSTACK_LISTEN"`
	WriteUnits int         `help:"Write units a second that each tenant (partition key) has; 0 throttles nobody." default:"0" env:"LOCALSTACK_WRITE_UNITS"`
	Region     string      `help:"Region of the ARNs that it gives." default:"us-east-1" env:"LOCALSTACK_REGION"`
	Account    string      `help:"Account of the ARNs and queue URLs that it gives, 12 digits." default:"000000000000" env:"LOCALSTACK_ACCOUNT"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status := cli.Main(ctx, "localstack", "SQS and DynamoDB in memory, for development and tests.", &command{}, os.Args[1:], cli.OS())
	stop()
	os.Exit(status)
}

// Run serves until ctx ends.
func (c *command) Run(ctx context.Context, streams *cli.Streams) error {
	if c.WriteUnits < 0 {
		return cli.Usage("--write-units is %d: it must be 0 (no throttling) or more", c.WriteUnits)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return cli.Usage("listen on --listen %s: %w", c.Listen, err)
	}
	handler := stack.New(stack.Options{Region: c.Region, Account: c.Account, WriteUnits: c.WriteUnits})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	_, _ = fmt.Fprintf(streams.Err, "localstack: ready: AWS_ENDPOINT_URL=http://%s (SQS and DynamoDB in memory; ctrl-C stops it)\n", listener.Addr())

	failed := make(chan error, 1) // Serve's one result
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	handler.Close()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop serving %s: %w", listener.Addr(), err)
	}
	return nil
}

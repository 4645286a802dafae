// Worker moves commands from an SQS queue into a DynamoDB table and answers questions about what is in it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"tributary/internal/base/cli"
)

type grammar struct {
	Run    runCmd    `cmd:"" default:"withargs" help:"Move commands and answer queries (the default)."`
	Setup  setupCmd  `cmd:"" help:"Make the queue, the dead-letter queue and the table."`
	DLQ    dlqCmd    `cmd:"" name:"dlq" help:"Look at dead letters, send them back, or delete them."`
	Doctor doctorCmd `cmd:"" help:"Check queues, table, permissions and clocks, and say how to mend what is wrong."`
	Health healthCmd `cmd:"" help:"Ask a running worker's /healthz."`
	Token  tokenCmd  `cmd:"" help:"Make a static token for the query API."`

	Version cli.Version `env:"-" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := cli.Main(ctx, "worker", "Moves tenants' commands from SQS into DynamoDB.", &grammar{}, os.Args[1:], cli.OS())
	stop()
	os.Exit(status)
}

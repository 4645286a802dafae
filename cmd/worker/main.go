// Worker moves commands from an SQS queue into a DynamoDB table and answers questions about what is in it.
package main

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/alecthomas/units"

	"tributary/internal/base/cli"
	"tributary/internal/consumer"
	"tributary/internal/writer"
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

// program runs a command line and returns its exit status. Defaults that packages set are theirs alone.
func program(ctx context.Context, args []string, s *cli.Streams) int {
	return cli.Main(ctx, "worker", "Moves tenants' commands from SQS into DynamoDB.", &grammar{}, args, s, kong.Vars{
		"max_in_flight":       strconv.Itoa(writer.DefaultMaxInFlight),
		"max_in_flight_bytes": units.Base2Bytes(writer.DefaultMaxInFlightBytes).String(),
		"drain_timeout":       consumer.DefaultDrainTimeout.String(),
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := program(ctx, os.Args[1:], cli.OS())
	stop()
	os.Exit(status)
}

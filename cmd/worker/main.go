// Worker moves commands from an SQS queue into a DynamoDB table and answers queries about its items.
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
	Setup  setupCmd  `cmd:"" help:"Create the queue, the dead-letter queue and the table."`
	DLQ    dlqCmd    `cmd:"" name:"dlq" help:"List dead letters, send them back, or delete them."`
	Doctor doctorCmd `cmd:"" help:"Check queues, table, permissions and clocks, and say how to fix problems."`
	Lambda lambdaCmd `cmd:"" help:"Move commands as an AWS Lambda function."`
	Health healthCmd `cmd:"" help:"Check /healthz of a running worker."`
	Token  tokenCmd  `cmd:"" help:"Create a static token for the query API."`

	Version cli.Version `env:"-" help:"Print the version."`
}

// program runs a command line and returns its exit status. The packages that use a default also define it.
func program(ctx context.Context, args []string, s *cli.Streams) int {
	return cli.Main(ctx, "worker", "Moves tenants' commands from SQS into DynamoDB.", &grammar{}, args, s, kong.Vars{
		"max_in_flight":       strconv.Itoa(writer.DefaultMaxInFlight),
		"max_in_flight_bytes": units.Base2Bytes(writer.DefaultMaxInFlightBytes).String(),
		"drain_timeout":       consumer.DefaultDrainTimeout.String(),
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := program(ctx, arguments(), cli.OS())
	stop()
	os.Exit(status)
}

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
	"tributary/internal/tenants/usage"
	"tributary/internal/writer"
)

type grammar struct {
	Run    runCmd    `cmd:"" default:"withargs" help:"Move commands and answer queries (the default)."`
	Setup  setupCmd  `cmd:"" help:"Create the queue, the dead-letter queue and the table."`
	DLQ    dlqCmd    `cmd:"" name:"dlq" help:"List dead letters, send them back, or delete them."`
	Doctor doctorCmd `cmd:"" help:"Check queues, table, permissions and clocks, and say how to fix problems."`
	Types  typesCmd  `cmd:"" help:"Show the entity types, compare two files of them, and print their documents."`
	Lambda lambdaCmd `cmd:"" help:"Move commands as an AWS Lambda function."`
	Health healthCmd `cmd:"" help:"Check /healthz of a running worker."`
	Token  tokenCmd  `cmd:"" help:"Create a static token for the query API."`
	Tenant tenantCmd `cmd:"" help:"Suspend, limit, export or erase a tenant, and report what it uses."`

	Version cli.Version `env:"-" help:"Print the version."`
}

// program runs a command line and returns its exit status. The packages that use a default also define it.
func program(ctx context.Context, args []string, s *cli.Streams) int {
	return cli.Main(ctx, "worker", "Moves tenants' commands from SQS into DynamoDB.", &grammar{}, args, s, kong.Vars{
		"max_in_flight":       strconv.Itoa(writer.DefaultMaxInFlight),
		"max_in_flight_bytes": units.Base2Bytes(writer.DefaultMaxInFlightBytes).String(),
		"list_write_price":    strconv.FormatFloat(usage.ListPrices.WriteUnits, 'f', -1, 64),
		"list_read_price":     strconv.FormatFloat(usage.ListPrices.ReadUnits, 'f', -1, 64),
		"drain_timeout":       consumer.DefaultDrainTimeout.String(),
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := program(ctx, arguments(), cli.OS())
	stop()
	os.Exit(status)
}

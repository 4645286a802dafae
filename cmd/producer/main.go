// Producer sends commands to the queue: single ones, whole files, and synthetic load.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"tributary/internal/base/cli"
)

type grammar struct {
	Put         putCmd         `cmd:"" help:"Send a command that writes an item of any type, and print its id."`
	Delete      deleteCmd      `cmd:"" help:"Send a command that deletes an item of any type, and print its id."`
	PutUser     putUserCmd     `cmd:"" help:"Send a command that writes a user, and print its id."`
	PutOrder    putOrderCmd    `cmd:"" help:"Send a command that writes an order, and print its id."`
	DeleteUser  deleteUserCmd  `cmd:"" help:"Send a command that deletes a user, and print its id."`
	DeleteOrder deleteOrderCmd `cmd:"" help:"Send a command that deletes an order, and print its id."`
	Import      importCmd      `cmd:"" help:"Send the rows of CSV or JSON Lines files as commands."`
	Generate    generateCmd    `cmd:"" help:"Make synthetic load, to the queue or to a file."`

	Version cli.Version `env:"-" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], cli.OS())
	stop()
	os.Exit(status)
}

// run runs a command line and returns the exit status.
func run(ctx context.Context, args []string, s *cli.Streams) int {
	return cli.Main(ctx, "producer", "Sends tenants' commands to SQS.", &grammar{}, itemVersion(args), s)
}

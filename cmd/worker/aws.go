package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/setup"
)

// operatorConnections is enough for a command that a person runs.
const operatorConnections = 16

// loadAWS reads the AWS settings for a command that a person runs. It refuses settings that can't work.
func (n *names) loadAWS(ctx context.Context) (aws.Config, error) {
	return n.loadAWSFor(ctx, operatorConnections)
}

// loadAWSFor is loadAWS for a number of concurrent calls to one host.
func (n *names) loadAWSFor(ctx context.Context, connections int) (aws.Config, error) {
	cfg, err := awsclient.Open(ctx, connections, queues.Region(n.located()))
	return cfg, cli.UsageOf[*awsclient.ConfigurationError](err)
}

// suggestSetup adds a remedy to the error of a missing queue or table.
func suggestSetup(err error) error {
	_, noQueue := errors.AsType[*queues.NotFoundError](err)
	_, noTable := errors.AsType[*setup.NoTableError](err)
	if noQueue || noTable {
		return fmt.Errorf("%w (`worker setup` makes it)", err)
	}
	return err
}

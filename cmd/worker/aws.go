package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/logging"

	"tributary/internal/aws/awsclient"
	"tributary/internal/base/cli"
)

// operatorConnections is enough for a command that a person runs.
const operatorConnections = 16

// loadAWS reads the AWS settings for a command that a person runs, and refuses those that can't work at once.
func loadAWS(ctx context.Context) (aws.Config, error) {
	return loadAWSFor(ctx, operatorConnections)
}

// loadAWSFor is loadAWS for so many calls at once to one host.
func loadAWSFor(ctx context.Context, connections int) (aws.Config, error) {
	cfg, err := awsclient.Load(ctx, connections)
	if err != nil {
		return cfg, cli.Usage("%w", err)
	}
	if err := awsclient.Check(ctx, cfg); err != nil {
		if wrong, ok := errors.AsType[*awsclient.ConfigurationError](err); ok {
			return cfg, cli.Usage("%w", wrong)
		}
		return cfg, err
	}
	// What goes wrong comes back as an error; the SDK's own warnings would stand between the lines.
	cfg.Logger = logging.Nop{}
	return cfg, nil
}

// output is the flag of commands that a script may want to read.
type output struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Output: text, or json for scripts (${default})."`
}

func (o *output) json() bool { return o.Output == "json" }

// writeJSON writes a value as indented JSON, with a newline.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

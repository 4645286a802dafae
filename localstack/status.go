package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"tributary/internal/base/cli"
	"tributary/localstack/stack"
)

// statusCmd asks a stack that runs.
type statusCmd struct {
	Endpoint string `help:"Where it listens (http://127.0.0.1:4566)." default:"http://127.0.0.1:4566" env:"LOCALSTACK_ENDPOINT" placeholder:"URL"`
	Output   string `short:"o" help:"Output: text, or json for scripts (text)." enum:"text,json" default:"text" env:"LOCALSTACK_OUTPUT"`
}

// Run prints what the stack holds.
func (c *statusCmd) Run(ctx context.Context, streams *cli.Streams) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.Endpoint, "/")+"/status", nil)
	if err != nil {
		return cli.Usage("--endpoint %q: %w", c.Endpoint, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the stack (is it running? go run ./localstack): %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	var status stack.Status
	if response.StatusCode != http.StatusOK || json.Unmarshal(body, &status) != nil {
		return fmt.Errorf("ask the stack at %s: status %d, which is not an answer of localstack", c.Endpoint, response.StatusCode)
	}
	if c.Output == "json" {
		_, err = streams.Out.Write(body)
		return err
	}
	w := tabwriter.NewWriter(streams.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "TABLE\tINDEX\tITEMS\tBYTES\tPARTITIONS")
	for _, t := range status.Tables {
		_, _ = fmt.Fprintf(w, "%s\t-\t%d\t%d\t%d\n", t.Name, t.Items, t.Bytes, t.Partitions)
		for _, x := range t.Indexes {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", t.Name, x.Name, x.Items, x.Bytes, x.Partitions)
		}
	}
	_, _ = fmt.Fprintln(w, "\nQUEUE\tVISIBLE\tIN FLIGHT\tDELAYED")
	for _, q := range status.Queues {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", q.Name, q.Visible, q.InFlight, q.Delayed)
	}
	return w.Flush()
}

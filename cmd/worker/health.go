package main

import (
	"context"

	"tributary/internal/operate/admin"
)

// healthCmd is for orchestrators that ask by running a command in the worker's image.
type healthCmd struct {
	AdminListen string `default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"Address of the worker's /healthz (${default})."`
}

// Run returns an error when the worker that runs here is not well.
func (c *healthCmd) Run(ctx context.Context) error { return admin.Probe(ctx, c.AdminListen) }

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"tributary/internal/base/cli"
	"tributary/internal/query/auth"
)

type tokenCmd struct {
	cli.Output
	Tenants []string      `arg:"" name:"tenant" help:"Tenants that the token may read; '*' for every tenant."`
	Name    string        `env:"TRIBUTARY_TOKEN_NAME" required:"" placeholder:"NAME" help:"Name of the holder. Logs show the name, never the token."`
	Valid   time.Duration `env:"TRIBUTARY_TOKEN_VALID" default:"2160h" help:"How long the token is valid (${default}, 90 days)."`
	File    string        `env:"TRIBUTARY_AUTH_TOKENS" required:"" placeholder:"FILE" help:"The --auth-tokens file to add the token to. It is created if it is missing. Running workers read it again."`
}

// Help is what `worker token --help` says below the flags' list.
func (*tokenCmd) Help() string {
	return "Creates a token for the query API, adds its SHA-256 to the tokens file, and prints the token once. Expired tokens " +
		"are removed from the file. To revoke a token, delete its entry from the file."
}

// maxTokenAge bounds a mistyped duration: a token that never expires may be forgotten and never revoked.
const maxTokenAge = 10 * 365 * 24 * time.Hour

// Run makes the token. It asks AWS nothing.
func (c *tokenCmd) Run(_ context.Context, s *cli.Streams) error {
	if c.Valid < time.Second || c.Valid > maxTokenAge {
		return cli.Usage("--valid %s: it must be 1s to %s", c.Valid, maxTokenAge)
	}
	now := time.Now()
	token, entry, err := auth.NewToken(c.Name, c.Tenants, now.Add(c.Valid))
	if err != nil {
		return cli.Usage("%w", err)
	}
	if err := auth.AddToFile(c.File, entry, now); err != nil {
		if _, wrongPath := errors.AsType[*os.PathError](err); wrongPath {
			return cli.Usage("--file: %w", err)
		}
		return err
	}
	if c.JSON() {
		return cli.WriteJSON(s.Out, struct {
			Token string `json:"token"`
			auth.Entry
		}{token, entry})
	}
	_, err = fmt.Fprintln(s.Out, token)
	_, _ = fmt.Fprintf(s.Err, "worker: a token named %s for %q, good until %s, is in %s; the token itself is shown only here\n",
		entry.Name, entry.Tenants, entry.ExpiresAt.Format(time.RFC3339), c.File)
	return err
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/generator"
	"tributary/internal/send/ids"
	"tributary/internal/send/importer"
	"tributary/internal/send/publish"
)

type generateCmd struct {
	queueFlag
	schema.File
	cli.Output
	Out string `name:"file" env:"-" placeholder:"FILE" help:"Write JSON Lines to a file instead of sending; - is standard output."`

	Tenants int            `env:"-" default:"10" placeholder:"N" help:"Tenants (${default})."`
	Count   map[string]int `env:"-" placeholder:"TYPE=N" mapsep:"," help:"Commands of a type, updates included, over all tenants (100 of a type that others refer to, but at least one a tenant; 1000 of another)."`
	aliasCounts
	Skew        float64  `env:"-" default:"0" placeholder:"S" help:"Zipf's exponent over tenants: 0 deals alike, 1 gives the k-th tenant 1/k of the first's (${default})."`
	UpdateShare float64  `env:"-" default:"0" placeholder:"SHARE" help:"Share of the commands that write an item again, of types that no other refers to, 0 to 1 (${default})."`
	Versions    bool     `env:"-" help:"Commands carry versions."`
	Seed        uint64   `env:"-" default:"1" placeholder:"N" help:"Seed: the same one makes the same commands (${default})."`
	IDs         ids.Kind `name:"ids" enum:"uuid7,uuid4" default:"uuid7" help:"Kind of ids: uuid7 or uuid4 (${default})."`

	Rate        float64 `env:"-" placeholder:"N" help:"Commands a second at most (no limit)."`
	Pack        int     `env:"-" placeholder:"N" help:"Commands in a message at most (as many as fit 60 KiB)."`
	Concurrency int     `env:"-" default:"8" placeholder:"N" help:"Calls to SQS under way at most (${default})."`
	Quiet       bool    `env:"-" short:"q" help:"Print errors only."`
}

// Validate is called by kong before Run.
func (g *generateCmd) Validate() error {
	return inRange([]bounded{
		{"--tenants", float64(g.Tenants), 1, 1e6}, {"--skew", g.Skew, 0, 10}, {"--update-share", g.UpdateShare, 0, 1}, {"--rate", g.Rate, 0, 1e9},
		{"--pack", float64(g.Pack), 0, 1e6}, {"--concurrency", float64(g.Concurrency), 1, 256},
	})
}

// bounded is the value of a flag and its bounds.
type bounded struct {
	flag          string
	is, low, high float64
}

func inRange(values []bounded) error {
	for _, v := range values {
		if !(v.is >= v.low && v.is <= v.high) { // not a number is neither
			return fmt.Errorf("%s: %v is not from %v to %v", v.flag, v.is, v.low, v.high)
		}
	}
	return nil
}

// generateLinger is how long a command waits for others at a rate that fills no packs.
const generateLinger = 100 * time.Millisecond

// maxCount is how many commands of a type can be asked for.
const maxCount = 1e9

// counts says how many commands of a type are asked for.
func (g *generateCmd) counts(types *schema.Set) (map[string]int, error) {
	counts := map[string]int{}
	for name, n := range g.Count {
		if _, err := typeNamed(types, name); err != nil {
			return nil, cli.Usage("--count: %w", err)
		}
		if err := inRange([]bounded{{"--count " + name, float64(n), 0, maxCount}}); err != nil {
			return nil, cli.Usage("%w", err)
		}
		counts[name] = n
	}
	for _, alias := range g.all() {
		if alias.n == nil {
			continue
		}
		if err := inRange([]bounded{{alias.flag, float64(*alias.n), 0, maxCount}}); err != nil {
			return nil, cli.Usage("%w", err)
		}
		if types.Type(alias.name) == nil {
			return nil, cli.Usage("%s: %s declares no type %s, use --count TYPE=N", alias.flag, g.Types, alias.name)
		}
		if n, twice := counts[alias.name]; twice && n != *alias.n {
			return nil, cli.Usage("%s and --count %s=%d exclude one another", alias.flag, alias.name, n)
		}
		counts[alias.name] = *alias.n
	}
	return counts, nil
}

// Run makes the commands.
func (g *generateCmd) Run(ctx context.Context, s *cli.Streams) (err error) {
	types, err := readTypes(s, g.File)
	if err != nil {
		return err
	}
	counts, err := g.counts(types)
	if err != nil {
		return err
	}
	source := generator.New(generator.Config{
		Types: types, Tenants: g.Tenants, Counts: counts, Skew: g.Skew, UpdateShare: g.UpdateShare, Versions: g.Versions,
		Seed: g.Seed, IDs: g.IDs,
	})
	progress := s.Err
	if g.Quiet {
		progress = io.Discard
	}
	started := time.Now()
	var sent publish.Stats
	if g.Out != "" {
		sent.Commands, err = g.toFile(ctx, s, source)
	} else {
		sent, err = g.toQueue(ctx, s, source)
	}
	seconds := time.Since(started).Seconds()
	n := importer.Thousands
	if g.Out == "" && (err == nil || sent.Commands > 0) {
		_, _ = fmt.Fprintf(progress, "%s commands in %s messages by %s calls; %.1f s, %s commands/s\n",
			n(sent.Commands), n(sent.Messages), n(sent.Calls), seconds, n(int64(float64(sent.Commands)/seconds)))
	} else if err == nil {
		_, _ = fmt.Fprintf(progress, "%s commands; %.1f s\n", n(sent.Commands), seconds)
	}
	if err != nil {
		return explain(err)
	}
	if g.JSON() && g.Out != "-" {
		return cli.WriteJSON(s.Out, struct {
			Commands int64   `json:"commands"`
			Messages int64   `json:"messages"`
			Calls    int64   `json:"calls"`
			Seconds  float64 `json:"seconds"`
		}{sent.Commands, sent.Messages, sent.Calls, seconds})
	}
	return nil
}

// each hands over every command, at the rate asked for.
func (g *generateCmd) each(ctx context.Context, source *generator.Generator, do func(c *messages.Command, number int64) error) error {
	var limiter *rate.Limiter
	if g.Rate > 0 {
		limiter = rate.NewLimiter(rate.Limit(g.Rate), max(1, int(g.Rate/20)))
	}
	var c messages.Command
	for number := int64(0); source.Next(&c); number++ {
		if limiter != nil {
			if err := limiter.Wait(ctx); err != nil {
				return context.Cause(ctx)
			}
		} else if number%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := do(&c, number); err != nil {
			return err
		}
	}
	return nil
}

func (g *generateCmd) toQueue(ctx context.Context, s *cli.Streams, source *generator.Generator) (publish.Stats, error) {
	to, err := g.connect(ctx, s, g.Concurrency)
	if err != nil {
		return publish.Stats{}, err
	}
	defer to.close(ctx)
	// Its own scope: a second run is more load, and nothing that a FIFO queue should leave out.
	cfg := publish.Config{PackCommands: g.Pack, Concurrency: g.Concurrency, Scope: uuid.NewString(), Trace: to.traced()}
	if g.Rate > 0 {
		cfg.Linger = generateLinger
	}
	p := publish.New(ctx, to.send, to.queue, cfg)
	err = g.each(ctx, source, func(c *messages.Command, number int64) error { return p.Add(c, number, 0) })
	if closed := p.Close(); err == nil || errors.Is(err, closed) {
		err = closed
	}
	return p.Stats(), err
}

func (g *generateCmd) toFile(ctx context.Context, s *cli.Streams, source *generator.Generator) (made int64, err error) {
	w := s.Out
	if g.Out != "-" {
		f, err := os.Create(g.Out)
		if err != nil {
			return 0, cli.Usage("--file: %w", err)
		}
		defer func() {
			if closed := f.Close(); err == nil && closed != nil {
				err = fmt.Errorf("write %s: %w", g.Out, closed)
			}
		}()
		w = f
	}
	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	err = g.each(ctx, source, func(c *messages.Command, _ int64) error {
		line = append(messages.Append(line[:0], c), '\n')
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("write %s: %w", g.Out, err)
		}
		made++
		return nil
	})
	if flushed := out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write %s: %w", g.Out, flushed)
	}
	return made, err
}

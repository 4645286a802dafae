// Command tenants proves what is promised about tenants, with real workers on the embedded stack: limits over all workers, suspension,
// usage to the unit, the cost of many limits, and exports.
//
//	go run ./test/tenants                  # all, some ten minutes
//	go run ./test/tenants -only limits     # one: limits, suspension, usage, many, export
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	only  string
	items int           // of an export
	pairs int           // of the comparison with many limits
	lasts time.Duration // how long a limit is measured
}

// proofs are all there are, in the order in which they run.
var proofs = []struct {
	name string
	run  func(context.Context, *rig) error
}{
	{"limits", limits}, {"suspension", suspension}, {"usage", usage}, {"many", many}, {"export", export},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	var names []string
	for _, p := range proofs {
		names = append(names, p.name)
	}
	flag.StringVar(&s.only, "only", "", "run only this proof: "+strings.Join(names, ", "))
	flag.IntVar(&s.items, "items", 1_000_000, "how many items are exported")
	flag.IntVar(&s.pairs, "pairs", 5, "how often a worker with many limits is compared with one without")
	flag.DurationVar(&s.lasts, "for", time.Minute, "how long a limit is measured")
	flag.Parse()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "tenants: FAIL:", err)
		stop()
		os.Exit(1)
	}
	fmt.Println("tenants: PASS")
}

func run(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "tenants")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "worker")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "tributary/cmd/worker").CombinedOutput(); err != nil {
		return fmt.Errorf("build worker: %w\n%s", err, out)
	}
	known := false
	var failed []error
	for _, p := range proofs {
		if s.only != "" && s.only != p.name {
			continue
		}
		known = true
		r := &rig{settings: s, name: p.name, dir: filepath.Join(dir, p.name), binary: binary, table: "MultiTenantTable"}
		if err := r.within(ctx, p.run); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			fmt.Printf("%s: FAILED: %v\n", p.name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if !known {
		return fmt.Errorf("there is no proof %q", s.only)
	}
	return errors.Join(failed...)
}

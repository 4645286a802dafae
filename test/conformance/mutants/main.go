// Command mutants is a test of the conformance suite: it makes the embedded stack deviate from AWS, in one place at a
// time, and expects the suite to find each. It needs neither Java nor a network.
//
//	go run ./test/conformance/mutants [-only NAME]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"tributary/test/support/plant"
)

var mutants = []plant.Bug{
	{Name: "a batch may have 26 writes", File: "localstack/dynamo/limits.go",
		Old: "maxBatchWrites       = 25", New: "maxBatchWrites       = 26"},
	{Name: "a limit counts what the filter leaves", File: "localstack/dynamo/query.go",
		Old: "r.out.ScannedCount == int(*r.in.Limit)", New: "r.out.Count == int(*r.in.Limit)"},
	{Name: "a message dies one receive late", File: "localstack/queue/queue.go",
		Old: "int(m.receives) >= r.MaxReceiveCount", New: "int(m.receives) > r.MaxReceiveCount"},
	{Name: "an update removes by indexes that have moved", File: "localstack/dynamo/updateitem.go",
		Old: "		*there = value{}\n", New: "		v.list = slices.Delete(v.list, s.index, s.index+1)\n"},
	{Name: "an update keeps an empty set", File: "localstack/dynamo/updateitem.go",
		Old: "	if len(out.set) == 0 {\n		return nil, nil", New: "	if len(out.set) == 0 && a.clause == \"ADD\" {\n		return nil, nil"},
	{Name: "an update reads what it has just written", File: "localstack/dynamo/updateitem.go",
		Old: "		var err error\n		if root, err = root.change(", New: "		var err error\n		if a.give != nil {\n			gifts[i], _ = a.give(encode(root.m))\n		}\n		if root, err = root.change("},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	only := flag.String("only", "", "plant only the deviations whose names have this in them")
	flag.Parse()
	missed, err := run(ctx, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || missed > 0 {
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) (missed int, err error) {
	root, err := plant.Root(ctx)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return 0, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	planted := 0
	for _, m := range mutants {
		if !strings.Contains(m.Name, only) {
			continue
		}
		planted++
		found, err := try(ctx, root, dir, &m)
		if err != nil {
			return missed, fmt.Errorf("%s: %w", m.Name, err)
		}
		if !found {
			missed++
		}
	}
	fmt.Printf("%d deviations planted, %d missed\n", planted, missed)
	return missed, nil
}

// symptom is the line that says how a deviation shows itself.
var symptom = regexp.MustCompile(`(?m)^ +\w+\.go:\d+: .*(?:\n +(?:got|want) .*)*`)

// try plants one deviation and says whether the suite fails.
func try(ctx context.Context, root, dir string, m *plant.Bug) (found bool, err error) {
	program, err := m.Test(ctx, root, dir, "./test/conformance")
	if err != nil {
		return false, err
	}
	began := time.Now()
	test := exec.CommandContext(ctx, program, "-test.run=^(TestSQS|TestDynamoDB|TestUpdates)$/^embedded$", "-test.timeout=5m")
	test.Dir = dir
	out, err := test.CombinedOutput()
	took := time.Since(began).Round(10 * time.Millisecond)
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() > 0 {
		fmt.Printf("found  in %7v  %s: %.200s\n", took, m.Name, strings.Join(strings.Fields(string(symptom.Find(out))), " "))
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("run the suite: %w", err)
	}
	fmt.Printf("MISSED in %7v  %s\n", took, m.Name)
	return false, nil
}

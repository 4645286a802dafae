// Command mutants tests the tests of the Lambda function. It plants bugs in it, one at a time, and expects the tests to find each. It
// uses the -overlay of the go command, for the test and for the function that it builds, so no file of the tree changes.
//
//	go run ./test/lambda/mutants [-only NAME]
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
	"syscall"
	"time"

	"tributary/test/support/plant"
)

var mutants = []plant.Bug{
	{Name: "a failure is named twice", File: "internal/lambda/answer.go",
		Old: "if !failed[i] || named[r.message.ID] {",
		New: "if !failed[i] {"},
	{Name: "a list that is not there", File: "internal/lambda/answer.go",
		Old: "return append(b, \"]}\"...)",
		New: "if len(named) == 0 {\n\t\treturn []byte(\"{}\")\n\t}\n\treturn append(b, \"]}\"...)"},
	{Name: "ids that were not sent", File: "internal/lambda/answer.go",
		Old: "b = rawjson.AppendString(b, r.message.ID)",
		New: "b = rawjson.AppendString(b, r.message.ReceiptHandle)"},
	{Name: "the rest of a group is not reported", File: "internal/lambda/answer.go",
		Old: "fifo && groups[r.message.GroupID]",
		New: "false"},
	{Name: "what the engine still has counts as durable", File: "internal/lambda/answer.go",
		Old: "r.state != durable ||",
		New: "r.state != durable && r.state != given ||"},
	{Name: "what is nacked counts as durable", File: "internal/lambda/source.go",
		Old: "if deleted {",
		New: "if deleted || !deleted {"},
	{Name: "an answer during a call", File: "internal/lambda/function.go",
		Old: "\ttick := time.NewTicker(giveUpEvery)\n",
		New: "\treturn\n\ttick := time.NewTicker(giveUpEvery)\n"},
	{Name: "no end before the deadline", File: "internal/lambda/function.go",
		Old: "return times{stop: deadline.Add(-margin),",
		New: "return times{stop: deadline.Add(margin),"},
	{Name: "no patience", File: "internal/lambda/function.go",
		Old: "at := p.Source.latest(b).Add(f.cfg.Patience)",
		New: "at := stop"},
	{Name: "nothing is given up", File: "internal/consumer/giveup.go",
		Old: "c.writer.Abandon(&d.Group)",
		New: "_ = d"},
	{Name: "a damaged body is believed", File: "internal/lambda/event.go",
		Old: "if got := checksum(e.Body); got != sum {",
		New: "if got := checksum(e.Body); got == \"\" {"},
	{Name: "a foreign queue's records are taken", File: "internal/lambda/function.go",
		Old: "if q := entries[i].queue; q != f.cfg.Queue {",
		New: "if q := entries[i].queue; q == \"\" {"},
	{Name: "an event that is none is a success", File: "internal/lambda/event.go",
		Old: "\tif !listed {\n",
		New: "\tif false {\n"},
	{Name: "visibility is not changed", File: "internal/lambda/source.go",
		Old: "failures, err := s.sqs.ChangeVisibility(within, asked)",
		New: "_ = within\n\tvar failures []consumer.Failure\n\tvar err error"},
	{Name: "what the engine never had stays hidden", File: "internal/lambda/source.go",
		Old: "never = append(never, r)",
		New: "_ = r"},
	{Name: "the rest of a group stays hidden", File: "internal/lambda/function.go",
		Old: "followers = append(followers, r)",
		New: "_ = r"},
	{Name: "a failed start is final", File: "internal/lambda/function.go",
		Old: "\tif err != nil {\n\t\treturn nil, err\n\t}\n\tf.parts = parts\n",
		New: "\tf.parts = parts\n\tif err != nil {\n\t\tos.Exit(1)\n\t}\n"},
	{Name: "a frozen environment goes on by old rules", File: "cmd/worker/lambda.go",
		Old: "agent.Wake(within)",
		New: "_ = within"},
	{Name: "usage is not kept", File: "cmd/worker/lambda.go",
		Old: "parts.Ends = keep",
		New: "parts.Ends = nil"},
	{Name: "two lines of metrics", File: "internal/lambda/emf.go",
		Old: "_, _ = e.out.Write(append(line, '\\n'))",
		New: "_, _ = e.out.Write([]byte(\"{}\\n\"))\n\t_, _ = e.out.Write(append(line, '\\n'))"},
	{Name: "a log line without the request", File: "internal/lambda/log.go",
		Old: "if len(a.requests) == 1 {",
		New: "if len(a.requests) == 0 {"},
	{Name: "invocations wait for each other's messages", File: "internal/lambda/source.go",
		Old: "\tr.batch.closeIfSettled()\n}",
		New: "\tif len(s.records) == 0 {\n\t\tr.batch.closeIfSettled()\n\t}\n}"},
}

// maxTime is how long the tests of one mutant may take.
const maxTime = 3 * time.Minute

func main() {
	only := flag.String("only", "", "plant only the bugs whose names match this regular expression")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	root, err := plant.Root(ctx)
	if err != nil {
		return err
	}
	var alive []string
	for i := range mutants {
		if !chosen.MatchString(mutants[i].Name) {
			continue
		}
		by, err := find(ctx, root, &mutants[i])
		if err != nil {
			return fmt.Errorf("%s: %w", mutants[i].Name, err)
		}
		if by == "" {
			alive = append(alive, mutants[i].Name)
			by = "NOT FOUND"
		}
		fmt.Printf("%-50s %s\n", mutants[i].Name, by)
	}
	if len(alive) > 0 {
		return errors.New("the tests did not find: " + strings.Join(alive, "; "))
	}
	return nil
}

// find runs the tests with a bug, and returns the names of those that failed.
func find(ctx context.Context, root string, bug *plant.Bug) (failed string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := bug.Overlay(root, dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-short", "./test/lambda")
	test.Dir = root
	test.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay) // the test builds the function with it too
	out, err := test.CombinedOutput()
	if err == nil {
		return "", nil
	}
	for _, found := range regexp.MustCompile(`(?m)^--- FAIL: (\w+)`).FindAllSubmatch(out, -1) {
		failed += string(found[1]) + " "
	}
	if failed == "" {
		return "", fmt.Errorf("the tests ended without a result: %w\n%s", err, out)
	}
	return failed, nil
}

// Command mutants tests the model test. It plants bugs in the consumer and the writer, one at a time, and expects the model test to
// find each. It uses go test -overlay, so no file of the tree changes.
//
//	go run ./test/model/mutants [-for 1m] [-only NAME]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mutant is a planted bug: an edit of one file. The old text must occur exactly once.
type mutant struct{ name, file, old, new string }

var mutants = []mutant{
	{"acknowledge early", "internal/writer/apply.go",
		"if g.pending--; g.pending == 0 {",
		"if g.pending--; g.pending == len(g.Writes)-1 {"},
	{"drop an unprocessed item", "internal/writer/writer.go",
		"a.verdict, a.refusal = judge(err, 0)\n",
		"a.verdict, a.refusal = judge(err, 0)\n\t\ta.left = nil\n"},
	{"swap two writes of a key", "internal/writer/keyqueue.go",
		"case tail.beats(w):",
		"case w.beats(tail):"},
	{"swap two writes of a key in one message", "internal/writer/keyqueue.go",
		"return w.submitted > other.submitted !=",
		"return w.submitted < other.submitted !="},
	{"overwrite a later receive", "internal/writer/scheduler.go",
		"w.rank < kq.writtenRank {",
		"w.rank < -kq.writtenRank {"},
	{"two writes of a key in flight", "internal/writer/scheduler.go",
		"first != nil && kq.inFlight == nil && !kq.paused {",
		"first != nil && !kq.paused {"},
	{"hand back a part-written message", "internal/writer/handback.go",
		"if g.Hold || g.touched || g.inFlight > 0 {",
		"if g.Hold || g.inFlight > 0 {"},
	{"forget that a lost answer may have been a write", "internal/writer/apply.go",
		"w.group.touched = true // it may have been written",
		"_ = w // it may have been written"},
	{"hand back out of a FIFO group", "internal/writer/handback.go",
		"if g.Hold || g.touched || g.inFlight > 0 {",
		"if g.touched || g.inFlight > 0 {"},
	{"a bad command takes its batch along", "internal/writer/apply.go",
		"case half == 0:\n\t\ts.doubt.suspects = append(s.doubt.suspects, suspect{c.writes[0], refusal})\n",
		"case true:\n\t\tfor _, w := range c.writes {\n\t\t\ts.doubt.suspects = append(s.doubt.suspects, suspect{w, refusal})\n\t\t}\n"},
	{"believe a table that refuses everything", "internal/writer/doubt.go",
		"\tcase invalid:\n\t\ts.limiter.succeeded()\n",
		"\tcase invalid:\n\t\tfor _, x := range c.suspects {\n\t\t\ts.settleInFlight(now, x.write, Refused, x.refusal)\n\t\t}\n\t\tc.suspects = nil\n\t\ts.limiter.succeeded()\n"},
	{"lose what a refused command had overtaken", "internal/writer/apply.go",
		"case o == Refused:\n\t\tkq.promoteOvertaken(w)\n",
		"case o == Refused:\n"},
	{"a versioned write without its condition", "internal/writer/scheduler.go",
		"if first.Versioned() {\n\t\t\tring = conditionalRing",
		"if first.Command.Version > 1<<40 {\n\t\t\tring = conditionalRing"},
	{"delete after the first dead letter of several", "internal/consumer/deadletter.go",
		"case !again:\n\t\tc.sendRound(d)\n",
		"case sent > 0:\n\t\tc.deletes.add(d)\n\tcase !again:\n\t\tc.sendRound(d)\n"},
	{"final letters are retried", "internal/consumer/deadletter.go",
		"if call != nil || !f.Final {",
		"if call != nil || f.Index >= 0 {"},
	{"unbounded messages wait for letters", "internal/consumer/letterroom.go",
		"if r.commands > 0 && (",
		"if r.commands < 0 && ("},
	{"mismatch lost at redrive", "internal/consumer/letters.go",
		"l.Attributes[tenant.Name] = tenant.Text\n",
		"set(tenant.Name, b.tenant)\n"},
	{"a dead letter with its neighbour's index", "internal/consumer/delivery.go",
		"b.position, b.text = d.positions[i], d.texts[i]",
		"b.position, b.text = i, d.texts[i]"},
	{"let visibility lapse", "internal/consumer/held.go",
		"d.deadline.Sub(now) < timeout/2;",
		"d.deadline.Sub(now) < 0;"},
	{"abandon a long poll", "internal/consumer/poll.go",
		"context.WithTimeout(c.calls, receiveTimeout)",
		"context.WithTimeout(ctx, receiveTimeout)"},
	{"receive without room", "internal/consumer/room.go",
		"if r.commands == 0 ||",
		"if r.commands >= 0 ||"},
	{"leave messages invisible at shutdown", "internal/consumer/poll.go",
		"case c.draining.Load():\n\t\tc.nackUnwritten(d)\n",
		"case c.draining.Load():\n\t\tc.finish(d, nacked)\n"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bound := flag.Duration("for", time.Minute, "time limit of the model test for each bug")
	only := flag.String("only", "", "plant only bugs whose names contain this")
	flag.Parse()
	missed, err := run(ctx, *bound, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || missed > 0 {
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, bound time.Duration, only string) (missed int, err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return 0, fmt.Errorf("find the module: %w", err)
	}
	root := strings.TrimSpace(string(out))
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return 0, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	planted := 0
	for _, m := range mutants {
		if !strings.Contains(m.name, only) {
			continue
		}
		planted++
		found, err := try(ctx, root, dir, m, bound)
		if err != nil {
			return missed, fmt.Errorf("%s: %w", m.name, err)
		}
		if !found {
			missed++
		}
	}
	fmt.Printf("%d bugs planted, %d missed\n", planted, missed)
	return missed, nil
}

// symptom matches the line of the output that describes the failure.
var symptom = regexp.MustCompile(`(?m)^.*(?:_test\.go:\d+: +[0-9.]+\S*s .*|panic: .*|deadlock: .*)$`)

// try plants one bug and reports whether the model test fails.
func try(ctx context.Context, root, dir string, m mutant, bound time.Duration) (found bool, err error) {
	original := filepath.Join(root, filepath.FromSlash(m.file))
	source, err := os.ReadFile(original)
	if err != nil {
		return false, fmt.Errorf("read source: %w", err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return false, fmt.Errorf("%s contains %q %d times, want 1: the source has changed, so adapt the mutant", m.file, m.old, n)
	}
	mutated, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{original: mutated}})
	if err != nil {
		return false, fmt.Errorf("write overlay: %w", err)
	}
	err = errors.Join(
		os.WriteFile(mutated, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600),
		os.WriteFile(overlay, replace, 0o600))
	if err != nil {
		return false, fmt.Errorf("write mutant: %w", err)
	}
	binary := filepath.Join(dir, "model.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", binary, "./test/model")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return false, fmt.Errorf("build mutant: %w\n%s", err, out)
	}
	began := time.Now()
	test := exec.CommandContext(ctx, binary, "-test.run=^TestModel$", "-test.timeout="+(2*bound).String(), "-model.for="+bound.String())
	test.Dir = dir
	out, err := test.CombinedOutput()
	took := time.Since(began).Round(10 * time.Millisecond)
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() > 0 {
		how := strings.TrimSpace(string(symptom.Find(out)))
		fmt.Printf("found  in %7v  %s: %.140s\n", took, m.name, how)
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("run model test: %w", err)
	}
	fmt.Printf("MISSED in %7v  %s\n", took, m.name)
	return false, nil
}

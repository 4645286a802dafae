// Command mutants tests the model test. It plants bugs in the consumer and the writer, one at a time, and expects the model test to
// find each. It uses go test -overlay, so no file of the tree changes.
//
//	go run ./test/model/mutants [-for 1m] [-only NAME]
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
	{Name: "acknowledge early", File: "internal/writer/apply.go",
		Old: "if g.pending--; g.pending == 0 {",
		New: "if g.pending--; g.pending == len(g.Writes)-1 {"},
	{Name: "drop an unprocessed item", File: "internal/writer/writer.go",
		Old: "a.verdict, a.refusal = judge(err, 0)\n",
		New: "a.verdict, a.refusal = judge(err, 0)\n\t\ta.left = nil\n"},
	{Name: "swap two writes of a key", File: "internal/writer/keyqueue.go",
		Old: "case tail.beats(w):",
		New: "case w.beats(tail):"},
	{Name: "swap two writes of a key in one message", File: "internal/writer/keyqueue.go",
		Old: "return w.submitted > other.submitted !=",
		New: "return w.submitted < other.submitted !="},
	{Name: "overwrite a later receive", File: "internal/writer/scheduler.go",
		Old: "w.rank < kq.writtenRank {",
		New: "w.rank < -kq.writtenRank {"},
	{Name: "two writes of a key in flight", File: "internal/writer/scheduler.go",
		Old: "first != nil && kq.inFlight == nil && !kq.paused {",
		New: "first != nil && !kq.paused {"},
	{Name: "hand back a part-written message", File: "internal/writer/handback.go",
		Old: "if g.Hold || g.touched || g.inFlight > 0 {",
		New: "if g.Hold || g.inFlight > 0 {"},
	{Name: "forget that a lost answer may have been a write", File: "internal/writer/apply.go",
		Old: "w.group.touched = true // it may have been written",
		New: "_ = w // it may have been written"},
	{Name: "hand back out of a FIFO group", File: "internal/writer/handback.go",
		Old: "if g.Hold || g.touched || g.inFlight > 0 {",
		New: "if g.touched || g.inFlight > 0 {"},
	{Name: "a bad command takes its batch along", File: "internal/writer/apply.go",
		Old: "case half == 0:\n\t\ts.doubt.suspects = append(s.doubt.suspects, suspect{c.writes[0], refusal})\n",
		New: "case true:\n\t\tfor _, w := range c.writes {\n\t\t\ts.doubt.suspects = append(s.doubt.suspects, suspect{w, refusal})\n\t\t}\n"},
	{Name: "believe a table that refuses everything", File: "internal/writer/doubt.go",
		Old: "\tcase invalid:\n\t\ts.limiter.succeeded()\n",
		New: "\tcase invalid:\n\t\tfor _, x := range c.suspects {\n\t\t\ts.settleInFlight(now, x.write, Refused, x.refusal)\n\t\t}\n\t\tc.suspects = nil\n\t\ts.limiter.succeeded()\n"},
	{Name: "lose what a refused command had overtaken", File: "internal/writer/apply.go",
		Old: "case o == Refused:\n\t\tkq.promoteOvertaken(w)\n",
		New: "case o == Refused:\n"},
	{Name: "a versioned write without its condition", File: "internal/writer/scheduler.go",
		Old: "if first.Versioned() {\n\t\t\tring = conditionalRing",
		New: "if first.Command.Version > 1<<40 {\n\t\t\tring = conditionalRing"},
	{Name: "delete after the first dead letter of several", File: "internal/consumer/deadletter.go",
		Old: "case !again:\n\t\tc.sendRound(d)\n",
		New: "case sent > 0:\n\t\tc.deletes.add(d)\n\tcase !again:\n\t\tc.sendRound(d)\n"},
	{Name: "final letters are retried", File: "internal/consumer/deadletter.go",
		Old: "if call != nil || !f.Final {",
		New: "if call != nil || f.Index >= 0 {"},
	{Name: "unbounded messages wait for letters", File: "internal/consumer/letterroom.go",
		Old: "if r.commands > 0 && (",
		New: "if r.commands < 0 && ("},
	{Name: "mismatch lost at redrive", File: "internal/consumer/letters.go",
		Old: "l.Attributes[tenant.Name] = tenant.Text\n",
		New: "set(tenant.Name, b.tenant)\n"},
	{Name: "a dead letter with its neighbour's index", File: "internal/consumer/delivery.go",
		Old: "b.position, b.text = d.positions[i], d.texts[i]",
		New: "b.position, b.text = i, d.texts[i]"},
	{Name: "let visibility lapse", File: "internal/consumer/held.go",
		Old: "d.deadline.Sub(now) < timeout/2;",
		New: "d.deadline.Sub(now) < 0;"},
	{Name: "abandon a long poll", File: "internal/consumer/poll.go",
		Old: "context.WithTimeout(c.calls, receiveTimeout)",
		New: "context.WithTimeout(ctx, receiveTimeout)"},
	{Name: "receive without room", File: "internal/consumer/room.go",
		Old: "if r.commands == 0 ||",
		New: "if r.commands >= 0 ||"},
	{Name: "leave messages invisible at shutdown", File: "internal/consumer/poll.go",
		Old: "case c.draining.Load() || d.givenUp.Load():\n\t\tc.nackUnwritten(d, writer.Closed)\n",
		New: "case c.draining.Load() || d.givenUp.Load():\n\t\tc.finish(d, nacked)\n"},
	{Name: "write again after an erasure", File: "internal/writer/apply.go",
		Old: "erase := kq.tenant.verdict == tenants.Drop && w.was == nil",
		New: "erase := kq.tenant.verdict == tenants.Drop && w.was != nil"},
	{Name: "believe an answer that came after the lease", File: "internal/writer/writer.go",
		Old: "for w.s.era.rules.TooOld(now) {",
		New: "for w.s.era.rules.TooOld(now) && a == nil {"},
	{Name: "write beyond the lease", File: "internal/tenants/tenants.go",
		Old: "return r != nil && !r.Until.IsZero() && (!now.Before(r.Until) || !now.Round(0).Before(r.Until.Round(0)))",
		New: "return r != nil && !r.Until.IsZero() && now.IsZero()"},
	{Name: "write for a suspended tenant", File: "internal/writer/tenant.go",
		Old: "return t.suspended() || t.pausing(now)",
		New: "return t.pausing(now)"},
	{Name: "one message of a FIFO group goes back alone", File: "internal/consumer/poll.go",
		Old: "if c.cfg.FIFO {\n\t\tchain(deliveries)",
		New: "if len(deliveries) > 10 {\n\t\tchain(deliveries)"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bound := flag.Duration("for", time.Minute, "how long the model may look for one bug")
	only := flag.String("only", "", "plant only the bugs whose names have this in them")
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
		found, err := try(ctx, root, dir, &m, bound)
		if err != nil {
			return missed, fmt.Errorf("%s: %w", m.Name, err)
		}
		if !found {
			missed++
		}
	}
	fmt.Printf("%d bugs planted, %d missed\n", planted, missed)
	return missed, nil
}

// symptom is the line that says how a bug shows itself.
var symptom = regexp.MustCompile(`(?m)^.*(?:_test\.go:\d+: +[0-9.]+\S*s .*|panic: .*|deadlock: .*)$`)

// try plants one bug and says whether the model test fails.
func try(ctx context.Context, root, dir string, m *plant.Bug, bound time.Duration) (found bool, err error) {
	binary, err := m.Test(ctx, root, dir, "./test/model")
	if err != nil {
		return false, err
	}
	began := time.Now()
	test := exec.CommandContext(ctx, binary, "-test.run=^TestModel$", "-test.timeout="+(2*bound).String(), "-model.for="+bound.String())
	test.Dir = dir
	out, err := test.CombinedOutput()
	took := time.Since(began).Round(10 * time.Millisecond)
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() > 0 {
		how := strings.TrimSpace(string(symptom.Find(out)))
		fmt.Printf("found  in %7v  %s: %.140s\n", took, m.Name, how)
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("run model test: %w", err)
	}
	fmt.Printf("MISSED in %7v  %s\n", took, m.Name)
	return false, nil
}

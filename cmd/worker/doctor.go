package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/doctor"
)

type doctorCmd struct {
	names
	output
	DrainTimeout time.Duration `default:"${drain_timeout}" help:"The workers' --drain-timeout, which the visibility timeout must exceed (${default})."`
	Timeout      time.Duration `env:"TRIBUTARY_DOCTOR_TIMEOUT" default:"1m" help:"How long all checks may take (${default})."`
}

// Help is what `worker doctor --help` says below the flags' list.
func (*doctorCmd) Help() string {
	return "Looks for what goes wrong in production and says how to mend it. It changes nothing: what it tries on the table " +
		"is a read, a write whose condition is false and a delete of a key that doesn't exist. The exit status is 1 where a " +
		"check failed; warnings leave it 0. Sending and receiving are not tried, because both leave traces."
}

// Run makes all checks.
func (c *doctorCmd) Run(ctx context.Context, s *cli.Streams) error {
	if err := c.resolve(); err != nil {
		return err
	}
	if c.DrainTimeout <= 0 || c.Timeout <= 0 {
		return cli.Usage("--drain-timeout %s and --timeout %s: both must be more than 0", c.DrainTimeout, c.Timeout)
	}
	cfg, err := c.loadAWS(ctx)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	tables, client := dynamodb.NewFromConfig(cfg), queues.Client(cfg, c.located())
	does := doctor.Doctor{
		Queues: client, Tables: tables, Items: tables,
		Queue: c.Queue, DeadLetters: c.DLQ, Table: c.Table,
		QueueRegion: client.Options().Region, TableRegion: cfg.Region, DrainTimeout: c.DrainTimeout,
	}
	checks := does.Examine(within)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	if c.json() {
		err = writeJSON(s.Out, map[string]any{"checks": checks})
	} else {
		err = writeChecks(s.Out, checks)
	}
	if err != nil {
		return err
	}
	for _, check := range checks {
		if check.Status == doctor.Failed {
			return &cli.StatusError{Status: cli.StatusFailed} // what failed was said
		}
	}
	return nil
}

// writeChecks writes a line for each check, one below it for how to mend it, and the counts. Checks that were
// skipped one after the other for the same reason share a line.
func writeChecks(out io.Writer, checks []doctor.Check) error {
	buffered := bufio.NewWriter(out)
	width := 0
	for _, check := range checks {
		width = max(width, utf8.RuneCountInString(check.Name))
	}
	counts := map[doctor.Status]int{}
	line := func(status, name, text string) {
		_, _ = fmt.Fprintf(buffered, "%-7s  %-*s  %s\n", status, width, name, printable(text, 500))
	}
	for i := 0; i < len(checks); i++ {
		check := checks[i]
		counts[check.Status]++
		status := string(check.Status)
		if check.Status == doctor.Failed {
			status = strings.ToUpper(status) // what must be found at a glance
		}
		names := []string{check.Name}
		for check.Status == doctor.Skipped && i+1 < len(checks) && checks[i+1].Status == doctor.Skipped && checks[i+1].Found == check.Found {
			i++
			counts[doctor.Skipped]++
			names = append(names, checks[i].Name)
		}
		if len(names) == 1 {
			line(status, check.Name, check.Found)
		} else {
			line(status, fmt.Sprintf("%d checks", len(names)), check.Found+": "+strings.Join(names, ", "))
		}
		if check.Remedy != "" {
			line("", "", "-> "+check.Remedy)
		}
	}
	warnings := "warnings"
	if counts[doctor.Warning] == 1 {
		warnings = "warning"
	}
	_, _ = fmt.Fprintf(buffered, "\n%d checks: %d ok, %d %s, %d failed, %d skipped\n",
		len(checks), counts[doctor.OK], counts[doctor.Warning], warnings, counts[doctor.Failed], counts[doctor.Skipped])
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write checks: %w", err)
	}
	return nil
}

package setup

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Write writes a line for each resource and a line for each difference, with what changes it.
func Write(w io.Writer, done []Resource, update bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	changeable := false
	for _, r := range done {
		outcome := string(r.Outcome)
		switch r.Outcome {
		case Unchanged:
			outcome = "there already, as setup makes it"
		case Updated:
			outcome = "there already, updated"
		case Differs:
			outcome = "there already, differs"
		}
		if r.Settings != "" {
			outcome += ": " + r.Settings
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", r.Kind, r.Name, outcome)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for _, r := range done {
		for _, d := range r.Differences {
			verb := "is"
			if d.Updated {
				verb = "was"
			}
			line := fmt.Sprintf("%s %s: %s: %s %s, setup makes %s", r.Kind, r.Name, d.Setting, verb, d.Is, d.Want)
			switch {
			case d.Updated:
				line += " (done)"
			case d.Remedy != "":
				line += "; " + d.Remedy
			default:
				changeable = true
			}
			if _, err := fmt.Fprintln(w, line); err != nil {
				return fmt.Errorf("write report: %w", err)
			}
		}
	}
	if changeable && !update {
		if _, err := fmt.Fprintln(w, "Existing resources were not changed: worker setup --update changes them."); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

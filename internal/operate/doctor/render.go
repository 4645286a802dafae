package doctor

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"tributary/internal/base/cli"
)

// Write writes a line for each check, a second one for its remedy, and the counts at the end. Adjacent checks that were skipped for
// the same reason share a line.
func Write(out io.Writer, checks []Check) error {
	buffered := bufio.NewWriter(out)
	width := 0
	for _, check := range checks {
		width = max(width, utf8.RuneCountInString(check.Name))
	}
	counts := map[Status]int{}
	line := func(status, name, text string) {
		_, _ = fmt.Fprintf(buffered, "%-7s  %-*s  %s\n", status, width, name, cli.Printable(text, 500))
	}
	for i := 0; i < len(checks); i++ {
		check := checks[i]
		counts[check.Status]++
		status := string(check.Status)
		if check.Status == Failed {
			status = strings.ToUpper(status) // easy to find
		}
		names := []string{check.Name}
		for check.Status == Skipped && i+1 < len(checks) && checks[i+1].Status == Skipped && checks[i+1].Found == check.Found {
			i++
			counts[Skipped]++
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
	if counts[Warning] == 1 {
		warnings = "warning"
	}
	_, _ = fmt.Fprintf(buffered, "\n%d checks: %d ok, %d %s, %d failed, %d skipped\n",
		len(checks), counts[OK], counts[Warning], warnings, counts[Failed], counts[Skipped])
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write checks: %w", err)
	}
	return nil
}

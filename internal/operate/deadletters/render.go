package deadletters

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
)

// Count writes a number of letters in words.
func Count(n int) string {
	if n == 1 {
		return "1 letter"
	}
	return fmt.Sprintf("%d letters", n)
}

// WriteNotes writes a line for each reason why the walk did not see, or did not give back, every letter.
func (d *Walked) WriteNotes(w io.Writer, fifo bool) {
	if d.Full {
		_, _ = fmt.Fprintf(w, "there may be more: SQS allows 120,000 messages in flight, and this command held as many as it may\n")
	}
	if d.Elsewhere > 0 {
		_, _ = fmt.Fprintf(w, "in flight elsewhere and not seen: about %s (another reader of the queue has received them)\n", Count(d.Elsewhere))
	}
	switch {
	case d.Unseen == 0 || d.Full:
	case fifo:
		_, _ = fmt.Fprintf(w, "not seen: about %s behind the first ten of their message groups (a FIFO queue shows them once those are gone)\n", Count(d.Unseen))
	default:
		_, _ = fmt.Fprintf(w, "not seen: about %s that SQS counts (they were deleted meanwhile, or 120,000 messages are in flight, the limit of SQS)\n", Count(d.Unseen))
	}
	if d.Stuck > 0 {
		_, _ = fmt.Fprintf(w, "not given back: %s (SQS shows them again within 15 minutes)\n", Count(d.Stuck))
	}
}

// WriteNotes writes what a redrive to queue did not do, and why.
func (m *Moved) WriteNotes(w io.Writer, queue, dlq string) {
	if m.Doubled > 0 {
		_, _ = fmt.Fprintf(w, "sent, but not removed: %s, accepted by %s and still in %s: another redrive sends them again\n", Count(m.Doubled), queue, dlq)
	}
	for _, refusal := range m.Refusals {
		_, _ = fmt.Fprintf(w, "refused: %s\n", cli.Printable(refusal, 300))
	}
}

// Incomplete is the error of a redrive that left letters.
func (m *Moved) Incomplete(queue, dlq string) error {
	return fmt.Errorf("%s refused by %s, %s not removed: all of them stay in %s", Count(m.Refused), queue, Count(m.Doubled), dlq)
}

// maxGroupsShown is how many lines of counts a list shows.
const maxGroupsShown = 25

// Write writes the counts as a table and the newest letters below it. all says that no filter chose the letters. suffix goes behind
// the number of letters.
func (s *Summary) Write(out io.Writer, dlq string, all bool, suffix string) error {
	buffered := bufio.NewWriter(out)
	which := "letters"
	if !all {
		which = "letters that match"
	}
	switch s.Letters {
	case 0:
		_, _ = fmt.Fprintf(buffered, "%s: no %s\n", queues.Name(dlq), which)
	case 1:
		_, _ = fmt.Fprintf(buffered, "%s: 1 %s%s\n", queues.Name(dlq), strings.Replace(strings.Replace(which, "letters", "letter", 1), "match", "matches", 1), suffix)
	default:
		_, _ = fmt.Fprintf(buffered, "%s: %d %s%s\n", queues.Name(dlq), s.Letters, which, suffix)
	}
	if s.Letters > 0 {
		table := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprint(table, "\nLETTERS\tREASON\tTENANT\tOLDEST (UTC)\tNEWEST (UTC)\n")
		more := 0
		for i := range s.Groups {
			g := &s.Groups[i]
			if i >= maxGroupsShown {
				more += g.Letters
				continue
			}
			_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", g.Letters, orDash(g.Reason, 30), orDash(g.TenantID, 40), timeText(g.Oldest), timeText(g.Newest))
		}
		_ = table.Flush() // to a bufio.Writer, whose error comes with its own Flush
		if more > 0 {
			_, _ = fmt.Fprintf(buffered, "and %d more letters in %d lines (all of them: -o json)\n", more, len(s.Groups)-maxGroupsShown)
		}
	}
	if len(s.Newest) > 0 {
		_, _ = fmt.Fprintf(buffered, "\nThe newest:\n")
		for _, l := range s.Newest {
			_, _ = fmt.Fprintf(buffered, "%s  %s  %s  %s\n", timeText(l.SentAt), orDash(l.ID, 100), orDash(l.TenantID, 40), orDash(l.Reason, 30))
			if l.Detail != "" {
				_, _ = fmt.Fprintf(buffered, "    %s\n", detailText(l))
			}
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write list: %w", err)
	}
	return nil
}

func timeText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// detailText is the field and what is wrong with it, on one line.
func detailText(l *Letter) string {
	if l.Field == "" || strings.HasPrefix(l.Detail, l.Field+":") {
		return cli.Printable(l.Detail, 160)
	}
	return cli.Printable(l.Field+": "+l.Detail, 160)
}

func orDash(text string, most int) string {
	if text == "" {
		return "-"
	}
	return cli.Printable(text, most)
}

// Write writes a letter for people, with its body as it is.
func (l *Letter) Write(out io.Writer) error {
	buffered := bufio.NewWriter(out)
	line := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(buffered, "%-16s %s\n", name, cli.Printable(value, 2000))
		}
	}
	line("letter", l.ID)
	line("sent (UTC)", timeText(l.SentAt))
	line("reason", l.Reason)
	line("field", l.Field)
	line("detail", l.Detail)
	line("tenant", l.TenantID)
	if l.CommandTenantID != l.TenantID {
		line("command's tenant", l.CommandTenantID)
	}
	line("source message", l.SourceMessageID)
	if l.SourceIndex != nil {
		line("source index", fmt.Sprint(*l.SourceIndex))
	}
	line("source queue", l.SourceQueue)
	line("message group", l.GroupID)
	line("receives", fmt.Sprint(l.Receives))
	for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
		a := l.Attributes[name]
		value := a.Text
		if a.Binary != nil {
			value = fmt.Sprintf("%d bytes, binary", len(a.Binary))
		}
		line("attribute", name+" = "+value)
	}
	body := l.Body
	if command, ok := l.Enclosed(); ok {
		line("body", "an envelope, because SQS does not accept the command's characters; the command:")
		body = command
	}
	_, _ = fmt.Fprintf(buffered, "\n%s\n", strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return cli.Harmless(r)
	}, body))
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write letter: %w", err)
	}
	return nil
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/term"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/deadletters"
)

type dlqCmd struct {
	List    dlqListCmd    `cmd:"" default:"withargs" help:"Count the letters by reason and tenant and show the newest."`
	Show    dlqShowCmd    `cmd:"" help:"Show a letter whole."`
	Redrive dlqRedriveCmd `cmd:"" help:"Send letters back to the queue."`
	Export  dlqExportCmd  `cmd:"" help:"Write letters as JSON Lines, leaving them where they are."`
	Drop    dlqDropCmd    `cmd:"" help:"Delete letters for good."`
}

// Help is what `worker dlq --help` says below the commands' list.
func (*dlqCmd) Help() string {
	return "Looking doesn't consume: what was looked at is visible again when the command ends, also on ctrl-C. SQS lets " +
		"120,000 messages be in flight, so a command looks at 100,000 letters at once and says when there are more. Of a FIFO " +
		"queue it sees the first ten letters of each message group."
}

// box opens the dead-letter queue.
func (n *names) box(ctx context.Context, s *cli.Streams) (*deadletters.Box, *sqs.Client, error) {
	if err := n.resolve(); err != nil {
		return nil, nil, err
	}
	cfg, err := n.loadAWS(ctx)
	if err != nil {
		return nil, nil, err
	}
	client := queues.Client(cfg, n.located())
	url, err := queues.URL(ctx, client, n.DLQ)
	if err != nil {
		return nil, nil, n.explain(err)
	}
	return &deadletters.Box{
		API: client, URL: url, FIFO: queues.IsFIFO(n.DLQ),
		Progress: func(looked int) { _, _ = fmt.Fprintf(s.Err, "looked at %s so far\n", letters(looked)) },
	}, client, nil
}

// explain makes one line of what went wrong with a walk.
func (n *names) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: the letters that were not moved yet are visible again")
	}
	err = queues.Wrap(n.DLQ, err)
	if missing, ok := errors.AsType[*queues.NotFoundError](err); ok {
		return fmt.Errorf("%w (--queue and --dlq name others, worker setup makes them)", missing)
	}
	return awsclient.Explain(err)
}

// filters choose letters; all that are given must fit.
type filters struct {
	ID     []string `name:"id" env:"TRIBUTARY_DLQ_ID" placeholder:"ID" help:"Only these: ids of letters or of the messages that they come from."`
	Reason []string `env:"TRIBUTARY_DLQ_REASON" placeholder:"REASON" help:"Only letters with one of these reasons."`
	Tenant []string `env:"TRIBUTARY_DLQ_TENANT" placeholder:"TENANT" help:"Only letters of these tenants: the one that sent the message, or the command's where the message does not say."`
	Since  moment   `env:"TRIBUTARY_DLQ_SINCE" placeholder:"TIME" help:"Only letters sent since: 90m, 24h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z."`
}

func (f *filters) filter() *deadletters.Filter {
	return &deadletters.Filter{IDs: f.ID, Reasons: f.Reason, Tenants: f.Tenant, Since: time.Time(f.Since)}
}

// moment is a point in time, written as such or as how long ago it was.
type moment time.Time

// UnmarshalText reads a moment.
func (m *moment) UnmarshalText(text []byte) error {
	given := string(text)
	if days, ok := strings.CutSuffix(given, "d"); ok {
		if d, err := time.ParseDuration(days + "h"); err == nil && d > 0 {
			*m = moment(time.Now().Add(-24 * d))
			return nil
		}
	}
	if d, err := time.ParseDuration(given); err == nil && d > 0 {
		*m = moment(time.Now().Add(-d))
		return nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02"} {
		if t, err := time.Parse(form, given); err == nil {
			*m = moment(t)
			return nil
		}
	}
	return fmt.Errorf("%q is no time: write how long ago (90m, 24h, 7d) or when (2026-01-31, 2026-01-31T15:04:05Z)", given)
}

// letters counts them in words.
func letters(n int) string {
	if n == 1 {
		return "1 letter"
	}
	return fmt.Sprintf("%d letters", n)
}

// notes says what a walk did not see.
func notes(w io.Writer, walked *deadletters.Walked, fifo bool) {
	if walked.Full {
		_, _ = fmt.Fprintf(w, "there may be more: SQS lets 120,000 messages be in flight, and this command held as many as it may\n")
	}
	if walked.Elsewhere > 0 {
		_, _ = fmt.Fprintf(w, "in flight elsewhere and not seen: about %s (somebody else reads the queue, or did within their visibility timeout)\n", letters(walked.Elsewhere))
	}
	switch {
	case walked.Unseen == 0 || walked.Full:
	case fifo:
		_, _ = fmt.Fprintf(w, "not seen: about %s behind the first ten of their message groups (a FIFO queue shows them once those are gone)\n", letters(walked.Unseen))
	default:
		_, _ = fmt.Fprintf(w, "not seen: about %s that SQS counts (deleted meanwhile, or 120,000 messages are in flight, SQS's most)\n", letters(walked.Unseen))
	}
	if walked.Stuck > 0 {
		_, _ = fmt.Fprintf(w, "not given back: %s (SQS shows them again within 15 minutes)\n", letters(walked.Stuck))
	}
}

type dlqListCmd struct {
	names
	output
	filters
	Examples int `env:"TRIBUTARY_DLQ_EXAMPLES" default:"10" placeholder:"N" help:"How many of the newest letters to show (${default})."`
}

// Run counts the letters.
func (c *dlqListCmd) Run(ctx context.Context, s *cli.Streams) error {
	if c.Examples < 0 || c.Examples > 1000 {
		return cli.Usage("--examples %d: it must be from 0 to 1000", c.Examples)
	}
	box, _, err := c.box(ctx, s)
	if err != nil {
		return err
	}
	summary, walked, err := box.Summarize(ctx, c.filter(), c.Examples)
	if err != nil {
		return c.explain(err)
	}
	notes(s.Err, &walked, box.FIFO)
	return c.write(s.Out, summary, &walked, "")
}

// summaryJSON is the JSON of a summary.
type summaryJSON struct {
	DeadLetterQueue string `json:"dead_letter_queue"`
	*deadletters.Summary
	Walk *deadletters.Walked `json:"walk"`
}

func (c *dlqListCmd) write(w io.Writer, summary *deadletters.Summary, walked *deadletters.Walked, verb string) error {
	if c.json() {
		return writeJSON(w, summaryJSON{c.DLQ, summary, walked})
	}
	return writeSummary(w, c.DLQ, summary, c.filter().All(), verb)
}

// groupsShown is how many lines of counts a person gets.
const groupsShown = 25

func writeSummary(out io.Writer, dlq string, summary *deadletters.Summary, all bool, verb string) error {
	buffered := bufio.NewWriter(out)
	which := "letters"
	if !all {
		which = "letters that match"
	}
	switch summary.Letters {
	case 0:
		_, _ = fmt.Fprintf(buffered, "%s: no %s\n", queues.Name(dlq), which)
	case 1:
		_, _ = fmt.Fprintf(buffered, "%s: 1 %s%s\n", queues.Name(dlq), strings.Replace(strings.Replace(which, "letters", "letter", 1), "match", "matches", 1), verb)
	default:
		_, _ = fmt.Fprintf(buffered, "%s: %d %s%s\n", queues.Name(dlq), summary.Letters, which, verb)
	}
	if summary.Letters > 0 {
		table := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprint(table, "\nLETTERS\tREASON\tTENANT\tOLDEST (UTC)\tNEWEST (UTC)\n")
		more := 0
		for i := range summary.Groups {
			g := &summary.Groups[i]
			if i >= groupsShown {
				more += g.Letters
				continue
			}
			_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", g.Letters, orDash(g.Reason, 30), orDash(g.TenantID, 40), timeText(g.Oldest), timeText(g.Newest))
		}
		_ = table.Flush() // to a bufio.Writer, whose error comes with its own Flush
		if more > 0 {
			_, _ = fmt.Fprintf(buffered, "and %d more letters in %d lines (all of them: -o json)\n", more, len(summary.Groups)-groupsShown)
		}
	}
	if len(summary.Newest) > 0 {
		_, _ = fmt.Fprintf(buffered, "\nThe newest:\n")
		for _, l := range summary.Newest {
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
func detailText(l *deadletters.Letter) string {
	if l.Field == "" || strings.HasPrefix(l.Detail, l.Field+":") {
		return printable(l.Detail, 160)
	}
	return printable(l.Field+": "+l.Detail, 160)
}

func orDash(text string, most int) string {
	if text == "" {
		return "-"
	}
	return printable(text, most)
}

// printable makes one line of what strangers sent, without what would steer a terminal, cut to so many characters.
func printable(text string, most int) string {
	runes := []rune(strings.Map(harmless, strings.NewReplacer("\n", " ", "\t", " ").Replace(text)))
	if len(runes) > most {
		runes = append(runes[:most-1], '…')
	}
	return string(runes)
}

func harmless(r rune) rune {
	if !unicode.IsPrint(r) {
		return unicode.ReplacementChar
	}
	return r
}

type dlqShowCmd struct {
	names
	output
	ID string `arg:"" help:"The letter's id, or that of the message it comes from."`
}

// Run shows the letters of that id: a message of many commands may have left several.
func (c *dlqShowCmd) Run(ctx context.Context, s *cli.Streams) error {
	box, _, err := c.box(ctx, s)
	if err != nil {
		return err
	}
	// A message holds at most some thousands of commands; so many letters are more than a person reads.
	const most = 1000
	var found []*deadletters.Letter
	walked, err := box.Each(ctx, &deadletters.Filter{IDs: []string{c.ID}}, func(l *deadletters.Letter) error {
		if len(found) < most {
			found = append(found, l)
		}
		return nil
	})
	if err != nil {
		return c.explain(err)
	}
	notes(s.Err, &walked, box.FIFO)
	if len(found) == 0 {
		return fmt.Errorf("no letter %q in %s: worker dlq list shows what there is", c.ID, queues.Name(c.DLQ))
	}
	slices.SortFunc(found, func(a, b *deadletters.Letter) int {
		if a.SourceIndex != nil && b.SourceIndex != nil {
			return *a.SourceIndex - *b.SourceIndex
		}
		return strings.Compare(a.ID, b.ID)
	})
	if c.json() {
		return writeJSON(s.Out, found)
	}
	for i, l := range found {
		if i > 0 {
			_, _ = fmt.Fprintln(s.Out)
		}
		if err := writeLetter(s.Out, l); err != nil {
			return err
		}
	}
	return nil
}

func writeLetter(out io.Writer, l *deadletters.Letter) error {
	buffered := bufio.NewWriter(out)
	line := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(buffered, "%-16s %s\n", name, printable(value, 2000))
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
		line("body", "an envelope, for SQS does not take the command as it is; the command:")
		body = command
	}
	_, _ = fmt.Fprintf(buffered, "\n%s\n", strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return harmless(r)
	}, body))
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write letter: %w", err)
	}
	return nil
}

type dlqRedriveCmd struct {
	names
	output
	filters
	Rate   float64 `env:"TRIBUTARY_DLQ_RATE" placeholder:"N" help:"Letters a second, at most (default: as fast as SQS takes them)."`
	DryRun bool    `env:"TRIBUTARY_DLQ_DRY_RUN" help:"Only say what would be sent."`
}

// Help is what `worker dlq redrive --help` says below the flags' list.
func (*dlqRedriveCmd) Help() string {
	return "A letter is removed from the dead-letter queue only after the queue accepted it. What is sent is the body as it " +
		"is, with the attributes and message group that its message had: a command that was refused for its tenant is refused " +
		"again. Letters that arrive meanwhile, such as those that fail again, are left. The " +
		"exit status is 3 where the queue refused some, which stay."
}

// Run sends letters back.
func (c *dlqRedriveCmd) Run(ctx context.Context, s *cli.Streams) error {
	if c.Rate != 0 && !(c.Rate >= deadletters.RateMin) {
		return cli.Usage("--rate %v: it must be %v letters a second or more", c.Rate, deadletters.RateMin)
	}
	box, client, err := c.box(ctx, s)
	if err != nil {
		return err
	}
	if c.DryRun {
		filter := c.filter()
		filter.Redrivable = true
		summary, walked, err := box.Summarize(ctx, filter, 0)
		if err != nil {
			return c.explain(err)
		}
		notes(s.Err, &walked, box.FIFO)
		list := dlqListCmd{names: c.names, output: c.output, filters: c.filters}
		return list.write(s.Out, summary, &walked, " would be sent to "+queues.Name(c.Queue))
	}
	url, err := queues.URL(ctx, client, c.Queue)
	if err != nil {
		return c.explain(err)
	}
	moved, walked, err := box.Redrive(ctx, c.filter(), &deadletters.Target{API: client, URL: url, FIFO: queues.IsFIFO(c.Queue), Rate: c.Rate})
	notes(s.Err, &walked, box.FIFO)
	if c.json() {
		err = errors.Join(err, writeJSON(s.Out, struct {
			DeadLetterQueue string             `json:"dead_letter_queue"`
			Queue           string             `json:"queue"`
			Moved           deadletters.Moved  `json:"letters"`
			Walk            deadletters.Walked `json:"walk"`
		}{c.DLQ, c.Queue, moved, walked}))
	} else {
		_, _ = fmt.Fprintf(s.Out, "%d of %d letters sent to %s\n", moved.Sent, walked.Looked, queues.Name(c.Queue))
	}
	if moved.Doubled > 0 {
		_, _ = fmt.Fprintf(s.Err, "sent, but not removed: %s, accepted by %s and still in %s: another redrive sends them again\n", letters(moved.Doubled), queues.Name(c.Queue), queues.Name(c.DLQ))
	}
	for _, refusal := range moved.Refusals {
		_, _ = fmt.Fprintf(s.Err, "refused: %s\n", printable(refusal, 300))
	}
	if err != nil {
		return c.explain(err)
	}
	if moved.Refused+moved.Doubled > 0 {
		return &cli.StatusError{Status: cli.StatusPartial, Err: fmt.Errorf("%s refused by %s, %s not removed: all of them stay in %s", letters(moved.Refused), queues.Name(c.Queue), letters(moved.Doubled), queues.Name(c.DLQ))}
	}
	return nil
}

type dlqExportCmd struct {
	names
	filters
	To string `env:"TRIBUTARY_DLQ_TO" default:"-" placeholder:"FILE" help:"File to write, which must not exist yet; - is standard output (${default})."`
}

// Run writes letters as JSON Lines.
func (c *dlqExportCmd) Run(ctx context.Context, s *cli.Streams) (err error) {
	box, _, err := c.box(ctx, s)
	if err != nil {
		return err
	}
	out := s.Out
	if c.To != "-" {
		file, err := os.OpenFile(c.To, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // letters hold tenants' data
		if errors.Is(err, os.ErrExist) {
			return cli.Usage("--to: %s exists already: name another file or remove it", c.To)
		}
		if err != nil {
			return cli.Usage("--to: %w", err)
		}
		defer func() {
			if closing := file.Close(); err == nil && closing != nil {
				err = fmt.Errorf("write export: %w", closing)
			}
		}()
		out = file
	}
	buffered := bufio.NewWriterSize(out, 64<<10)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	written := 0
	walked, err := box.Each(ctx, c.filter(), func(l *deadletters.Letter) error {
		if err := encoder.Encode(l); err != nil {
			return fmt.Errorf("write export: %w", err)
		}
		written++
		return nil
	})
	if flushing := buffered.Flush(); err == nil && flushing != nil {
		err = fmt.Errorf("write export: %w", flushing)
	}
	notes(s.Err, &walked, box.FIFO)
	if c.To != "-" {
		_, _ = fmt.Fprintf(s.Err, "%s written to %s\n", letters(written), c.To)
	}
	if err != nil {
		return c.explain(err)
	}
	return nil
}

type dlqDropCmd struct {
	names
	output
	filters
	Yes bool `env:"TRIBUTARY_DLQ_YES" help:"Don't ask."`
}

// Help is what `worker dlq drop --help` says below the flags' list.
func (*dlqDropCmd) Help() string {
	return "Shows what it would delete and asks. Only letters that it showed are deleted: those that came since are left, and " +
		"it says how many. With --yes it asks nothing and deletes whatever matches."
}

// Run deletes letters, after asking.
func (c *dlqDropCmd) Run(ctx context.Context, s *cli.Streams) error {
	if !c.Yes && !isTerminal(s.In) {
		return cli.Usage("drop deletes for good, and there is no terminal to ask at: add --yes (worker dlq export keeps a copy)")
	}
	box, _, err := c.box(ctx, s)
	if err != nil {
		return err
	}
	return c.drop(ctx, s, box)
}

func (c *dlqDropCmd) drop(ctx context.Context, s *cli.Streams, box *deadletters.Box) error {
	var shown map[string]bool // the ids of the letters that the answer is about; nil where nobody is asked
	if !c.Yes {
		shown = map[string]bool{}
		summary := deadletters.NewSummary(0)
		walked, err := box.Each(ctx, c.filter(), func(l *deadletters.Letter) error {
			shown[l.ID] = true
			summary.Add(l)
			return nil
		})
		if err != nil {
			return c.explain(err)
		}
		summary.Finish()
		notes(s.Err, &walked, box.FIFO)
		if err := writeSummary(s.Err, c.DLQ, summary, c.filter().All(), ""); err != nil {
			return err
		}
		if summary.Letters == 0 {
			return nil
		}
		_, _ = fmt.Fprint(s.Err, "\nDelete them for good? Type yes: ")
		if !confirmed(ctx, s.In) {
			return errors.New("nothing was deleted")
		}
	}
	dropped, walked, err := box.Drop(ctx, c.filter(), shown)
	notes(s.Err, &walked, box.FIFO)
	if c.json() {
		err = errors.Join(err, writeJSON(s.Out, struct {
			DeadLetterQueue string `json:"dead_letter_queue"`
			deadletters.Dropped
			Walk deadletters.Walked `json:"walk"`
		}{c.DLQ, dropped, walked}))
	} else {
		_, _ = fmt.Fprintf(s.Out, "%d of %d letters deleted from %s\n", dropped.Dropped, walked.Looked, queues.Name(c.DLQ))
	}
	if dropped.Unshown > 0 {
		_, _ = fmt.Fprintf(s.Err, "not shown, so left: %s\n", letters(dropped.Unshown))
	}
	if err != nil {
		return c.explain(err)
	}
	if dropped.Kept > 0 {
		return &cli.StatusError{Status: cli.StatusPartial, Err: fmt.Errorf("%s could not be deleted from %s", letters(dropped.Kept), queues.Name(c.DLQ))}
	}
	return nil
}

func isTerminal(r io.Reader) bool {
	file, ok := r.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// confirmed reads one line, and is false where ctx ends first: a read from a terminal can't be interrupted
// otherwise.
func confirmed(ctx context.Context, r io.Reader) bool {
	line := make(chan string, 1) // the reader may outlive the question, and the program ends then
	go func() {
		text, _ := bufio.NewReader(r).ReadString('\n') // no answer is no
		line <- strings.TrimSpace(text)
	}()
	select {
	case <-ctx.Done():
		return false
	case text := <-line:
		return strings.EqualFold(text, "yes")
	}
}

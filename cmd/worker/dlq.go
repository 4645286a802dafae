package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/aws/queues"
	"tributary/internal/base/cli"
	"tributary/internal/operate/deadletters"
)

type dlqCmd struct {
	List    dlqListCmd    `cmd:"" default:"withargs" help:"Count the letters by reason and tenant and show the newest."`
	Show    dlqShowCmd    `cmd:"" help:"Show a whole letter."`
	Redrive dlqRedriveCmd `cmd:"" help:"Send letters back to the queue."`
	Export  dlqExportCmd  `cmd:"" help:"Write letters as JSON Lines, leaving them where they are."`
	Drop    dlqDropCmd    `cmd:"" help:"Delete letters for good."`
}

// Help is what `worker dlq --help` says below the commands' list.
func (*dlqCmd) Help() string {
	return "Looking at letters does not consume them: they are visible again when the command ends, also after ctrl-C. SQS allows " +
		"120,000 messages in flight, so a command looks at 100,000 letters at most and says if there are more. In a FIFO " +
		"queue it sees the first ten letters of each message group."
}

// box opens the dead-letter queue. It returns the client too, which also reaches the command queue.
func (n *names) box(ctx context.Context, s *cli.Streams) (*deadletters.Box, *sqs.Client, error) {
	if err := n.resolve(); err != nil {
		return nil, nil, err
	}
	types, err := readTypes(n.File, s)
	if err != nil {
		return nil, nil, err
	}
	cfg, err := n.loadAWS(ctx)
	if err != nil {
		return nil, nil, err
	}
	client := queues.Client(cfg, n.located())
	box, err := deadletters.Open(ctx, client, n.DLQ)
	if err != nil {
		return nil, nil, n.explain(err)
	}
	box.Types = types
	box.Progress = func(looked int) { _, _ = fmt.Fprintf(s.Err, "looked at %s so far\n", deadletters.Count(looked)) }
	return box, client, nil
}

// explain is queues.Explain for the dead-letter queue. It says what an interruption leaves behind.
func (n *names) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: the letters that were not moved yet are visible again")
	}
	return queues.Explain(queues.Wrap(n.DLQ, err), "--queue and --dlq name others, worker setup makes them")
}

// filters choose letters. A letter must match all of them.
type filters struct {
	ID     []string   `name:"id" env:"TRIBUTARY_DLQ_ID" placeholder:"ID" help:"Only letters with these ids. An id is that of the letter or of its source message."`
	Reason []string   `env:"TRIBUTARY_DLQ_REASON" placeholder:"REASON" help:"Only letters with one of these reasons."`
	Tenant []string   `env:"TRIBUTARY_DLQ_TENANT" placeholder:"TENANT" help:"Only letters of these tenants. The tenant is the sender's, or the command's if the message names no sender."`
	Since  cli.Moment `env:"TRIBUTARY_DLQ_SINCE" placeholder:"TIME" help:"Only letters sent since: 90m, 24h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z."`
}

func (f *filters) filter() *deadletters.Filter {
	return &deadletters.Filter{IDs: f.ID, Reasons: f.Reason, Tenants: f.Tenant, Since: time.Time(f.Since)}
}

type dlqListCmd struct {
	names
	cli.Output
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
	walked.WriteNotes(s.Err, box.FIFO)
	return c.write(s.Out, summary, &walked, "")
}

// summaryJSON is the JSON of a summary.
type summaryJSON struct {
	DeadLetterQueue string `json:"dead_letter_queue"`
	*deadletters.Summary
	Walk *deadletters.Walked `json:"walk"`
}

func (c *dlqListCmd) write(w io.Writer, summary *deadletters.Summary, walked *deadletters.Walked, suffix string) error {
	if c.JSON() {
		return cli.WriteJSON(w, summaryJSON{c.DLQ, summary, walked})
	}
	return summary.Write(w, c.DLQ, c.filter().All(), suffix)
}

type dlqShowCmd struct {
	names
	cli.Output
	ID string `arg:"" help:"The letter's id, or that of the message it comes from."`
}

// Run shows the letters of that id: a message of many commands may have left several.
func (c *dlqShowCmd) Run(ctx context.Context, s *cli.Streams) error {
	box, _, err := c.box(ctx, s)
	if err != nil {
		return err
	}
	// maxShown bounds memory. One message can leave thousands of letters.
	const maxShown = 1000
	var found []*deadletters.Letter
	walked, err := box.Each(ctx, &deadletters.Filter{IDs: []string{c.ID}}, func(l *deadletters.Letter) error {
		if len(found) < maxShown {
			found = append(found, l)
		}
		return nil
	})
	if err != nil {
		return c.explain(err)
	}
	walked.WriteNotes(s.Err, box.FIFO)
	if len(found) == 0 {
		return fmt.Errorf("no letter %q in %s: worker dlq list shows what there is", c.ID, box.Name)
	}
	slices.SortFunc(found, func(a, b *deadletters.Letter) int {
		if a.SourceIndex != nil && b.SourceIndex != nil {
			return *a.SourceIndex - *b.SourceIndex
		}
		return strings.Compare(a.ID, b.ID)
	})
	if c.JSON() {
		return cli.WriteJSON(s.Out, found)
	}
	for i, l := range found {
		if i > 0 {
			_, _ = fmt.Fprintln(s.Out)
		}
		if err := l.Write(s.Out); err != nil {
			return err
		}
	}
	return nil
}

type dlqRedriveCmd struct {
	names
	cli.Output
	filters
	Rate   float64 `env:"TRIBUTARY_DLQ_RATE" placeholder:"N" help:"Maximum of letters a second (default: no limit)."`
	DryRun bool    `env:"TRIBUTARY_DLQ_DRY_RUN" help:"Report the letters that would be sent, and send none."`
}

// Help is what `worker dlq redrive --help` says below the flags' list.
func (*dlqRedriveCmd) Help() string {
	return "A letter is removed from the dead-letter queue only after the queue has accepted it. The body is sent unchanged, with " +
		"the attributes and the message group of the original message. So a command that was refused for its tenant is refused " +
		"again. Letters that arrive during the redrive, such as commands that fail again, are left. The exit status is 3 if " +
		"the queue refused some letters; they stay."
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
		walked.WriteNotes(s.Err, box.FIFO)
		list := dlqListCmd{names: c.names, Output: c.Output, filters: c.filters}
		return list.write(s.Out, summary, &walked, " would be sent to "+queues.Name(c.Queue))
	}
	url, err := queues.URL(ctx, client, c.Queue)
	if err != nil {
		return c.explain(err)
	}
	moved, walked, err := box.Redrive(ctx, c.filter(), &deadletters.Target{API: client, URL: url, FIFO: queues.IsFIFO(c.Queue), Rate: c.Rate})
	walked.WriteNotes(s.Err, box.FIFO)
	if c.JSON() {
		err = errors.Join(err, cli.WriteJSON(s.Out, struct {
			DeadLetterQueue string             `json:"dead_letter_queue"`
			Queue           string             `json:"queue"`
			Moved           deadletters.Moved  `json:"letters"`
			Walk            deadletters.Walked `json:"walk"`
		}{c.DLQ, c.Queue, moved, walked}))
	} else {
		_, _ = fmt.Fprintf(s.Out, "%d of %d letters sent to %s\n", moved.Sent, walked.Looked, queues.Name(c.Queue))
	}
	moved.WriteNotes(s.Err, queues.Name(c.Queue), box.Name)
	if err != nil {
		return c.explain(err)
	}
	if moved.Refused+moved.Doubled > 0 {
		return &cli.StatusError{Status: cli.StatusPartial, Err: moved.Incomplete(queues.Name(c.Queue), box.Name)}
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
	walked.WriteNotes(s.Err, box.FIFO)
	if c.To != "-" {
		_, _ = fmt.Fprintf(s.Err, "%s written to %s\n", deadletters.Count(written), c.To)
	}
	if err != nil {
		return c.explain(err)
	}
	return nil
}

type dlqDropCmd struct {
	names
	cli.Output
	filters
	Yes bool `env:"TRIBUTARY_DLQ_YES" help:"Do not ask."`
}

// Help is what `worker dlq drop --help` says below the flags' list.
func (*dlqDropCmd) Help() string {
	return "Shows the letters that it would delete, and asks. It deletes only letters that it has shown, and counts those that " +
		"arrived since. With --yes it does not ask, and deletes every letter that matches."
}

// Run deletes letters, after asking.
func (c *dlqDropCmd) Run(ctx context.Context, s *cli.Streams) error {
	if !c.Yes && !cli.IsTerminal(s.In) {
		return cli.Usage("drop deletes letters for good, and there is no terminal to ask on: add --yes (worker dlq export keeps a copy)")
	}
	box, _, err := c.box(ctx, s)
	if err != nil {
		return err
	}
	return c.drop(ctx, s, box)
}

func (c *dlqDropCmd) drop(ctx context.Context, s *cli.Streams, box *deadletters.Box) error {
	var shown map[string]bool // the ids of the letters that were shown; nil with --yes
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
		walked.WriteNotes(s.Err, box.FIFO)
		if err := summary.Write(s.Err, c.DLQ, c.filter().All(), ""); err != nil {
			return err
		}
		if summary.Letters == 0 {
			return nil
		}
		_, _ = fmt.Fprint(s.Err, "\nDelete them for good? Type yes: ")
		if !cli.Confirmed(ctx, s.In) {
			return errors.New("nothing was deleted")
		}
	}
	dropped, walked, err := box.Drop(ctx, c.filter(), shown)
	walked.WriteNotes(s.Err, box.FIFO)
	if c.JSON() {
		err = errors.Join(err, cli.WriteJSON(s.Out, struct {
			DeadLetterQueue string `json:"dead_letter_queue"`
			deadletters.Dropped
			Walk deadletters.Walked `json:"walk"`
		}{c.DLQ, dropped, walked}))
	} else {
		_, _ = fmt.Fprintf(s.Out, "%d of %d letters deleted from %s\n", dropped.Dropped, walked.Looked, box.Name)
	}
	if dropped.Unshown > 0 {
		_, _ = fmt.Fprintf(s.Err, "not shown, so left: %s\n", deadletters.Count(dropped.Unshown))
	}
	if err != nil {
		return c.explain(err)
	}
	if dropped.Kept > 0 {
		return &cli.StatusError{Status: cli.StatusPartial, Err: fmt.Errorf("%s could not be deleted from %s", deadletters.Count(dropped.Kept), box.Name)}
	}
	return nil
}

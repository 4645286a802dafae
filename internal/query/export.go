package query

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tributary/internal/table"
)

const (
	// exportBuffer is how much of an export is gathered before it is sent.
	exportBuffer = 64 << 10
	// exportWriteTime is how long the client may take to accept what one read gave, at most 1 MB of items.
	exportWriteTime = time.Minute
)

// exportEnd is the last line of an export that ends before the list does.
type exportEnd struct {
	NextCursor string           `json:"next_cursor" doc:"Ask again with this cursor for the rest."`
	Problem    *huma.ErrorModel `json:"problem" doc:"Why the export ends here."`
}

// export streams a whole list, a line an item. It holds one read of DynamoDB, at most 1 MB, at a time. Three ways it
// can end, and a client can tell them apart: cleanly after the last item; with an exportEnd line, whose cursor leads to
// the rest; or, when the connection breaks, without the end of the chunked body, then `after` with the last id leads on.
func export[T any](ctx context.Context, s *Server, q listQuery, f fingerprint, decode func(table.Attributes) (T, error)) (*listOutput, error) {
	current := requestOf(ctx)
	current.export = true
	tenant := current.reader.tenant
	if !s.exportShares.take(tenant) {
		p := newProblem(http.StatusTooManyRequests, "This tenant has as many exports under way as it may have. Wait for one to end.")
		p.retryAfter = 10 * time.Second
		return nil, current.fail(ctx, p)
	}
	select {
	case s.exports <- struct{}{}:
	default:
		s.exportShares.give(tenant)
		p := newProblem(http.StatusServiceUnavailable, "As many exports as this server allows are under way. Try again later.")
		p.retryAfter = 10 * time.Second
		return nil, current.fail(ctx, p)
	}
	release := func() {
		<-s.exports
		s.exportShares.give(tenant)
	}
	read := func() (batch, error) {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return current.reader.read(ctx, &q, readItems)
	}
	// The first read comes before the first byte, so that what goes wrong at once has a status of its own.
	first, err := read()
	if err != nil {
		release()
		return nil, current.fail(ctx, err)
	}
	body := func(h huma.Context) {
		defer release()
		_, w := humago.Unwrap(h)
		w.Header().Del("Link")
		w.Header().Set("Content-Type", ndjsonType)
		if current.http.Method == http.MethodHead {
			return
		}
		control := http.NewResponseController(w)
		out := bufio.NewWriterSize(w, exportBuffer)
		var line bytes.Buffer
		encode := json.NewEncoder(&line)
		encode.SetEscapeHTML(false)
		send := func(v any) error {
			line.Reset()
			if err := encode.Encode(v); err != nil {
				return err
			}
			_, err := out.Write(line.Bytes())
			return err
		}
		// giveUp breaks the connection off, so that the client can't take what it has for the whole.
		giveUp := func(err error) {
			current.log.Info("export broken off", "request_id", current.id, "err", err)
			panic(http.ErrAbortHandler)
		}
		for b := first; ; {
			// A writer that has no deadlines, as in tests, does without.
			if err := control.SetWriteDeadline(time.Now().Add(s.timeout + exportWriteTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				giveUp(err)
			}
			for _, i := range b.items {
				if value, ok := decodeItem(s, current, i, decode); ok {
					if err := send(value); err != nil {
						giveUp(err)
					}
				}
			}
			if !b.more {
				break
			}
			q.after, q.started = b.after, true
			var stop *problem
			if s.isDraining() {
				stop = newProblem(http.StatusServiceUnavailable, drainingDetail)
			} else if b, err = read(); err != nil {
				stop = current.fail(ctx, err)
			}
			if stop != nil {
				if err := send(exportEnd{encodeCursor(f, q.after), &stop.ErrorModel}); err != nil {
					giveUp(err)
				}
				break
			}
			if err := out.Flush(); err != nil {
				giveUp(err)
			}
		}
		if err := out.Flush(); err != nil {
			giveUp(err)
		}
	}
	return &listOutput{Body: body}, nil
}

package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

const (
	// exportWriteTime is how long the client may take to accept what one read gave, at most 1 MB of items.
	exportWriteTime = time.Minute
	// exportTurn is how long an export may go on while others are turned away. Each that is turned away makes one end.
	exportTurn = time.Minute
	// exportAgain is when to ask again for an export that was turned away.
	exportAgain = 10 * time.Second
	// exportLook is how often an export that waits for read units looks whether it has to end.
	exportLook = time.Second
)

// exportEnd is the last line of an export that ends before the list does.
type exportEnd struct {
	NextCursor string       `json:"next_cursor"`
	Problem    *problemBody `json:"problem"`
}

// export streams a whole list, a line an item. It holds one read of DynamoDB, at most 1 MB, at a time. Three ways it
// can end, and a client can tell them apart: cleanly after the last item; with an exportEnd line, whose cursor leads to
// the rest; or, when the connection breaks, without the end of the chunked body, then `after` with the last id leads on.
func (s *Server) export(w http.ResponseWriter, r *http.Request, q listQuery, f fingerprint) error {
	ctx := r.Context()
	current := requestOf(ctx)
	current.export = true
	reader := current.reader
	if !s.exportShares.take(reader.tenant) {
		return retryLater(http.StatusTooManyRequests, "This tenant has as many exports under way as it may have. Wait for one to end.", exportAgain, nil)
	}
	select {
	case s.exports <- struct{}{}:
	default:
		s.exportShares.give(reader.tenant)
		select {
		case <-s.exportWanted: // replaces an older refusal, whose client may have given up
		default:
		}
		select {
		case s.exportWanted <- time.Now():
		default: // another refusal has just taken its place
		}
		return retryLater(http.StatusServiceUnavailable, "As many exports as this server allows are under way. Try again later.", exportAgain, nil)
	}
	defer func() {
		<-s.exports
		s.exportShares.give(reader.tenant)
	}()
	start := time.Now()
	read := func() (batch, error) {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return reader.read(ctx, &q, readItems, func(string) {
			if s.show(current) {
				reader.out = append(reader.out, '\n')
			}
		})
	}
	// The first read comes before the first byte, so that an immediate failure still gets its own status.
	b, err := read()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", ndjsonType)
	if r.Method == http.MethodHead {
		return nil
	}
	control := http.NewResponseController(w)
	// send sends the items read and releases their memory. If it fails, it breaks the connection, so that the client can't
	// take a part for the whole. A writer without deadlines, as in tests, is accepted.
	send := func() {
		err := control.SetWriteDeadline(time.Now().Add(s.timeout + exportWriteTime))
		if errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
		if err == nil && len(reader.out) > 0 {
			_, err = w.Write(reader.out)
		}
		if err != nil {
			current.log.Info("export broken off", "request_id", current.id, "error", err)
			panic(http.ErrAbortHandler)
		}
		reader.out = nil
		reader.lease.keep(0)
	}
	for {
		send()
		if !b.more {
			return nil
		}
		q.after, q.started = b.after, true
		stop := s.pause(ctx, reader.buckets, start)
		if stop == nil {
			if b, err = read(); err != nil {
				stop = current.fail(ctx, err)
				reader.out = nil
			}
		}
		if stop != nil {
			reader.out = appendLine(reader.out, exportEnd{encodeCursor(f, q.after), &stop.problemBody})
			send()
			return nil
		}
	}
}

// pause waits until the tenant has read units again. The problem says why the export has to end instead: the server stops, or the
// export has had its turn and another one wants its place.
func (s *Server) pause(ctx context.Context, b *buckets, start time.Time) *problem {
	for {
		now := time.Now()
		if s.isDraining() {
			return newProblem(http.StatusServiceUnavailable, drainingDetail)
		}
		if now.Sub(start) >= exportTurn {
			select {
			case at := <-s.exportWanted:
				if now.Sub(at) < exportTurn { // it was told to come back soon, and so still wants the place
					return newProblem(http.StatusServiceUnavailable, "Other exports wait for this one's place. Ask again with the cursor.")
				}
			default:
			}
		}
		wait := min(b.debt(now), exportLook)
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil // the next read says so
		}
	}
}

// appendLine appends a value as a line of JSON.
func appendLine(dst []byte, v any) []byte {
	line := bytes.NewBuffer(dst)
	e := json.NewEncoder(line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // there is nothing in it that could fail
		panic(err)
	}
	return line.Bytes()
}

package auth

import (
	"fmt"
	"io"
	"os"
	"time"
)

// watchedFile reads a file again when its size, time of change or identity differs. It has no lock of its own.
type watchedFile struct {
	path  string
	limit int64         // the most bytes that it may have
	every time.Duration // how often, at most, it is looked at

	next time.Time   // when to look again
	last os.FileInfo // as it was when it was last read and used; nil before
}

// refresh hands the file's text to use if it differs from what was used last. A text that use refuses is offered again at the next
// look, so that the fault is reported for as long as it lasts. Looked is false where it is not yet time to look.
func (w *watchedFile) refresh(now time.Time, use func(text []byte) error) (looked, changed bool, err error) {
	if now.Before(w.next) {
		return false, false, nil
	}
	w.next = now.Add(w.every)
	info, err := os.Stat(w.path)
	if err != nil {
		return true, false, err
	}
	if w.last != nil && os.SameFile(info, w.last) && info.ModTime().Equal(w.last.ModTime()) && info.Size() == w.last.Size() {
		return true, false, nil
	}
	text, err := readBounded(w.path, w.limit)
	if err != nil {
		return true, false, err
	}
	if err := use(text); err != nil {
		return true, false, fmt.Errorf("%s: %w", w.path, err)
	}
	w.last = info
	return true, true, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return text, nil
}

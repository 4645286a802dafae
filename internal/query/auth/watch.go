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
	last os.FileInfo // as it was when it was read last; nil before
}

// changed returns the file's text if it differs from what was returned last.
func (w *watchedFile) changed(now time.Time) (text []byte, changed bool, err error) {
	if now.Before(w.next) {
		return nil, false, nil
	}
	w.next = now.Add(w.every)
	info, err := os.Stat(w.path)
	if err != nil {
		return nil, false, err
	}
	if w.last != nil && os.SameFile(info, w.last) && info.ModTime().Equal(w.last.ModTime()) && info.Size() == w.last.Size() {
		return nil, false, nil
	}
	text, err = readBounded(w.path, w.limit)
	if err != nil {
		return nil, false, err
	}
	w.last = info
	return text, true, nil
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

// Package files reads files that others replace while the program runs, and replaces files that others read.
package files

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Watch says when files have changed. Callers serialise its use: it has no lock.
type Watch struct {
	every time.Duration
	paths []string

	next time.Time     // when to look again
	last []os.FileInfo // as they were when Seen was called last; nil before
	seen []os.FileInfo // as they were at the last look
}

// NewWatch makes a watch that looks at files once in every so often at most. Nothing has been seen of them yet, so that they
// have changed.
func NewWatch(every time.Duration, paths ...string) *Watch {
	return &Watch{every: every, paths: slices.Clone(paths)}
}

// Changed says whether a file differs in its size, its time of change or its identity from what it was at the last call of
// Seen. It is false without a look where the last look is not long ago.
func (w *Watch) Changed(now time.Time) (bool, error) {
	if now.Before(w.next) {
		return false, nil
	}
	w.next = now.Add(w.every)
	seen := make([]os.FileInfo, len(w.paths))
	for i, path := range w.paths {
		info, err := os.Stat(path)
		if err != nil {
			return false, fmt.Errorf("look at file: %w", err)
		}
		seen[i] = info
	}
	w.seen = seen
	return w.last == nil || !slices.EqualFunc(w.last, seen, same), nil
}

// Seen notes that the files are in use as they were when Changed looked at them last. What changes between that look and their
// being read is found at the next look.
func (w *Watch) Seen() { w.last = w.seen }

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Read reads a file of at most max bytes.
func Read(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	if int64(len(text)) > max {
		return nil, fmt.Errorf("read file: %s has more than %d bytes", path, max)
	}
	return text, nil
}

// Replace writes a file at once and wholly: a reader, or a machine that stopped, sees the old text or the new. Only the file's
// owner may read it.
func Replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("replace file: %w", err)
	}
	return nil
}

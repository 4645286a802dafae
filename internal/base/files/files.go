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

// Watch notices when files have changed. It has no lock: callers serialise its use.
type Watch struct {
	every time.Duration
	paths []string

	next time.Time     // when to look again
	used []os.FileInfo // as they were when they were last used; nil before
}

// NewWatch makes a watch that looks at the files at most once in each interval. The first look finds them changed.
func NewWatch(every time.Duration, paths ...string) *Watch {
	return &Watch{every: every, paths: slices.Clone(paths)}
}

// Update calls use if a file has changed in size, in time of change or in identity since use last succeeded. An error from use is
// returned, and the next look calls use again. So a fault is reported for as long as it lasts. looked is false if it is not yet time
// to look; changed says that use succeeded.
func (w *Watch) Update(now time.Time, use func() error) (looked, changed bool, err error) {
	if now.Before(w.next) {
		return false, false, nil
	}
	w.next = now.Add(w.every)
	seen := make([]os.FileInfo, len(w.paths))
	for i, path := range w.paths {
		if seen[i], err = os.Stat(path); err != nil {
			return true, false, fmt.Errorf("look at file: %w", err)
		}
	}
	if w.used != nil && slices.EqualFunc(w.used, seen, same) {
		return true, false, nil
	}
	if err := use(); err != nil {
		return true, false, err
	}
	w.used = seen // a change between the look and the reading shows at the next look
	return true, true, nil
}

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

// Replace replaces a file in one step: a reader, or a machine that stopped, sees the old text or the new one. The file keeps its
// mode. Only its owner may read a new file.
func Replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	_, err = f.Write(text)
	if old, missing := os.Stat(path); err == nil && missing == nil {
		err = f.Chmod(old.Mode().Perm())
	}
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

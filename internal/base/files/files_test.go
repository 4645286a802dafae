package files

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	old := time.Now().Add(-time.Hour)
	write := func(path, text string) {
		t.Helper()
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	write(a, "1")
	write(b, "1")
	w := NewWatch(time.Minute, a, b)
	now := time.Now()
	broken := errors.New("broken")
	for _, step := range []struct {
		name            string
		do              func()
		at              time.Duration // since the step before
		use             error
		looked, changed bool
	}{
		{"never used", func() {}, 0, broken, true, false},
		{"use failed", func() {}, time.Minute, nil, true, true},
		{"nothing has changed", func() {}, time.Minute, broken, true, false},
		{"another file of the same size and time", func() { write(b, "2") }, time.Minute, broken, true, false},
		{"too early for another look", func() {}, time.Second, nil, false, false},
		{"still changed", func() {}, time.Minute, nil, true, true},
		{"another size", func() { write(a, "11") }, time.Minute, nil, true, true},
		{"another time", func() { _ = os.Chtimes(a, now, now) }, time.Minute, nil, true, true},
		{"used", func() {}, time.Minute, broken, true, false},
	} {
		step.do()
		now = now.Add(step.at)
		called := false
		looked, changed, err := w.Update(now, func() error { called = true; return step.use })
		if looked != step.looked || changed != step.changed || called && !errors.Is(err, step.use) || !called && err != nil {
			t.Errorf("%s: looked %v, changed %v, %v", step.name, looked, changed, err)
		}
		if changed != (called && step.use == nil) {
			t.Errorf("%s: used: %v", step.name, called)
		}
	}
	_ = os.Remove(a)
	if looked, changed, err := w.Update(now.Add(time.Hour), func() error { return nil }); err == nil || changed || !looked {
		t.Errorf("a file that is gone: %v, %v, %v", looked, changed, err)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Replace(path, []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if text, err := Read(path, 5); err != nil || string(text) != "12345" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := Read(path, 4); err == nil {
		t.Error("a file that is too long is read")
	}
	if _, err := Read(path+"x", 4); err == nil {
		t.Error("a file that isn't there is read")
	}
}

func TestReplaceKeepsTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, mode := range []os.FileMode{0o600, 0o640} {
		if err := Replace(path, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode %v, %v, want %v", info.Mode(), err, mode)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplaceLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} {
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := Replace(filepath.Join(dir, "none", "f"), nil); err == nil {
		t.Error("a file was written to a folder that isn't there")
	}
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(full, []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

package files

import (
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
	for _, step := range []struct {
		name string
		do   func()
		at   time.Duration // since the step before
		want bool
	}{
		{"nothing was seen yet", func() {}, 0, true},
		{"it was not used", func() {}, time.Minute, true},
		{"nothing has changed", func() { w.Seen() }, time.Minute, false},
		{"another file of the same size and time", func() { write(b, "2") }, time.Minute, true},
		{"it is too early for another look", func() {}, time.Second, false},
		{"it still has changed", func() {}, time.Minute, true},
		{"another size", func() { w.Seen(); write(a, "11") }, time.Minute, true},
		{"another time", func() { w.Seen(); _ = os.Chtimes(a, now, now) }, time.Minute, true},
		{"used", func() { w.Seen() }, time.Minute, false},
	} {
		step.do()
		now = now.Add(step.at)
		if got, err := w.Changed(now); err != nil || got != step.want {
			t.Errorf("%s: changed is %v, %v", step.name, got, err)
		}
	}
	_ = os.Remove(a)
	if changed, err := w.Changed(now.Add(time.Hour)); err == nil || changed {
		t.Errorf("a file that is gone: %v, %v", changed, err)
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

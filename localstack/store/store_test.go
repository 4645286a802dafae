package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

type values map[string]string

func (v values) apply(kind, key, value string) error {
	switch {
	case key == "":
		for k := range v {
			if strings.HasPrefix(k, kind+"/") {
				delete(v, k)
			}
		}
	case value == "":
		delete(v, kind+"/"+key)
	default:
		v[kind+"/"+key] = value
	}
	return nil
}

func (v values) dump(set func(kind, key, value string)) {
	for k, value := range v {
		kind, key, _ := strings.Cut(k, "/")
		set(kind, key, value)
	}
}

func load(t *testing.T, dir string) (*Store, values) {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := values{}
	if err := s.Load(v.apply); err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(v.dump); err != nil {
		t.Fatal(err)
	}
	return s, v
}

func TestChangesAreThereAgain(t *testing.T) {
	dir := t.TempDir()
	s, v := load(t, dir)
	want := values{}
	var mu sync.Mutex // orders the changes of one key, as a server's locks do
	var work sync.WaitGroup
	for g := range 8 {
		work.Go(func() {
			for i := range 300 {
				kind, key, value := fmt.Sprint("kind", g%3), fmt.Sprint(i%50), strings.Repeat(fmt.Sprint(g, i), i%20)
				if i == 200 && g == 0 {
					key, value = "", ""
				}
				mu.Lock()
				s.Set(kind, key, value)
				_ = want.apply(kind, key, value)
				mu.Unlock()
				if err := s.Wait(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	if len(v) > 0 {
		t.Errorf("a new store has %v", v)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before, _ := os.Stat(filepath.Join(dir, fileName))
		s, v = load(t, dir)
		if !reflect.DeepEqual(v, want) {
			t.Fatalf("%d values, want %d", len(v), len(want))
		}
		after, _ := os.Stat(filepath.Join(dir, fileName))
		if after.Size() > before.Size() {
			t.Errorf("%d bytes after it was written anew, %d before", after.Size(), before.Size())
		}
		s.Set("kind9", "more", "x")
		_ = want.apply("kind9", "more", "x")
		if err := errors.Join(s.Wait(), s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANilStoreKeepsNothing(t *testing.T) {
	var s *Store
	s.Set("a", "b", "c")
	s.Drop("a")
	if err := errors.Join(s.Wait(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s, _ := load(t, dir)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "another localstack") {
		t.Errorf("a second one: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever byte of a file that is in use changes, and wherever it ends, the damage is found out. Nothing is read that
// was never written.
func TestDamageIsFoundOut(t *testing.T) {
	dir := t.TempDir()
	s, _ := load(t, dir)
	want := values{}
	for i := range 200 {
		key, value := fmt.Sprint(i), strings.Repeat(fmt.Sprint("value", i), 40)
		s.Set("kind", key, value)
		_ = want.apply("kind", key, value)
		if err := s.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	found := 0
	for round := range 150 {
		damaged := append([]byte(nil), whole...)
		var what string
		if round%3 == 0 {
			n := 1 + r.IntN(len(whole)/4)
			damaged, what = damaged[:n], fmt.Sprintf("cut to %d bytes", n)
		} else {
			at := r.IntN(len(whole) / 4) // what is behind was never used
			if round%3 == 1 {
				at = r.IntN(2)*os.Getpagesize() + r.IntN(80)
			}
			damaged[at] ^= byte(1 + r.IntN(255))
			what = fmt.Sprintf("byte %d of %d is another", at, len(whole))
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got := values{}
		s, err := Open(dir)
		if err == nil {
			err = s.Load(got.apply)
		}
		if err == nil {
			_ = s.lock.Close()
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: not found out", what)
		}
		if err != nil {
			found++
			if !strings.Contains(err.Error(), fileName) {
				t.Errorf("%s: %v doesn't name the file", what, err)
			}
		}
		if err != nil && round%3 == 0 {
			if _, ok := errors.AsType[*DamagedError](err); !ok {
				t.Errorf("%s: %v, want a DamagedError", what, err)
			}
		}
	}
	if found < 75 {
		t.Errorf("only %d of 150 damages met what is in use", found)
	}
}

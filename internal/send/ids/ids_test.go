package ids

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestNew(t *testing.T) {
	for kind, version := range map[Kind]uuid.Version{UUIDv7: 7, UUIDv4: 4} {
		text, err := New(kind)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := uuid.Parse(text); err != nil || id.Version() != version {
			t.Errorf("%s: %s, version %v, %v", kind, text, id.Version(), err)
		}
	}
}

func TestSequence(t *testing.T) {
	for kind, version := range map[Kind]uuid.Version{UUIDv7: 7, UUIDv4: 4} {
		s := NewSequence(kind)
		same, other := s, s
		other.Seed++
		seen := map[string]bool{}
		before := ""
		for n := range uint64(10_000) {
			text := s.At(n)
			id, err := uuid.Parse(text)
			if err != nil || id.Version() != version || id.Variant() != uuid.RFC4122 {
				t.Fatalf("%s: %s: version %v, variant %v, %v", kind, text, id.Version(), id.Variant(), err)
			}
			if seen[text] || same.At(n) != text || other.At(n) == text {
				t.Fatalf("%s: id %d, %s, comes twice, or differs from itself", kind, n, text)
			}
			seen[text] = true
			if kind == UUIDv7 {
				if text <= before {
					t.Fatalf("%s does not sort behind %s", text, before)
				}
				before = text
				if at := time.Unix(id.Time().UnixTime()); at.Sub(s.Start) < 0 || at.Sub(s.Start) > 3*time.Millisecond {
					t.Fatalf("%s is of %v, the sequence starts at %v", text, at, s.Start)
				}
			}
		}
	}
}

func BenchmarkSequence(b *testing.B) {
	s := NewSequence(UUIDv7)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		_ = s.At(n)
		n++
	}
}

// Package ids makes the ids of items.
package ids

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Kind is a kind of id. UUIDv7 sorts by the time at which it was made; UUIDv4 is random.
type Kind string

// The kinds.
const (
	UUIDv7 Kind = "uuid7"
	UUIDv4 Kind = "uuid4"
)

// New returns a new id.
func New(kind Kind) (string, error) {
	make := uuid.NewV7
	if kind == UUIDv4 {
		make = uuid.NewRandom
	}
	id, err := make()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return id.String(), nil
}

// Sequence makes ids that can be made again: the n-th is always the same. Those of kind UUIDv7 sort by n.
type Sequence struct {
	Kind  Kind      `json:"kind"`
	Start time.Time `json:"start"`
	Seed  uint64    `json:"seed"`
}

// NewSequence returns a sequence that starts now and is like no other.
func NewSequence(kind Kind) Sequence {
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	return Sequence{Kind: kind, Start: time.Now().UTC().Truncate(time.Millisecond), Seed: binary.BigEndian.Uint64(seed[:])}
}

// perMillisecond is how many ids of one millisecond a UUIDv7's 12 bits behind the time can count (RFC 9562, 6.2,
// method 1): the sequence goes on in the next one.
const perMillisecond = 1 << 12

// At returns the n-th id.
func (s *Sequence) At(n uint64) string {
	var id uuid.UUID
	high, low := mix(s.Seed+2*n), mix(s.Seed^mix(2*n+1))
	if s.Kind == UUIDv4 {
		binary.BigEndian.PutUint64(id[:8], high)
		id[6] = id[6]&0x0f | 0x40
	} else {
		ms := uint64(s.Start.UnixMilli()) + n/perMillisecond
		binary.BigEndian.PutUint64(id[:8], ms<<16|0x7000|n%perMillisecond)
	}
	binary.BigEndian.PutUint64(id[8:], low)
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators"): every
// bit of x bears on every bit of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

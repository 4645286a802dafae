package importer

import (
	"github.com/cespare/xxhash/v2"

	"tributary/internal/messages"
)

const (
	keySlots = 1 << 21
	// maxKeys is how many keys of an import are known again; beyond them new ones are not kept.
	maxKeys = keySlots / 4 * 3
)

// keySet knows again the keys of items, in 8 MiB: a table of open addressing with 32 bits of each key's hash. Of a
// million keys one is taken for another about once in a thousand imports. Keys of rows with one command are looked up
// many at a time, so that their cache misses overlap. Its zero value is empty.
type keySet struct {
	slots   []uint32 // 0 is a free one
	used    int
	waiting [64]uint64 // hashes of rows that are not looked up yet
	waits   int
	scratch []byte
}

// addRow adds the keys of a row's commands. It returns how many rows with an earlier key were found by that, this one or
// others before it; flush finds the rest.
func (s *keySet) addRow(commands []messages.Decoded) (repeated int64) {
	if len(commands) == 1 {
		s.waiting[s.waits] = s.hash(&commands[0].Command)
		if s.waits++; s.waits == len(s.waiting) {
			return s.flush()
		}
		return 0
	}
	repeated = s.flush()
	found := false
	for i := range commands {
		if s.add(s.hash(&commands[i].Command)) {
			found = true
		}
	}
	if found {
		repeated++
	}
	return repeated
}

// flush looks up the rows that wait and returns how many of them have an earlier key.
func (s *keySet) flush() (repeated int64) {
	for _, hash := range s.waiting[:s.waits] {
		if s.add(hash) {
			repeated++
		}
	}
	s.waits = 0
	return repeated
}

func (s *keySet) hash(c *messages.Command) uint64 {
	s.scratch = append(append(append(append(s.scratch[:0], c.TenantID...), 0), c.Type.Prefix...), c.ID...)
	return xxhash.Sum64(s.scratch)
}

// add adds a hash and says whether it was there.
func (s *keySet) add(hash uint64) bool {
	if s.slots == nil {
		s.slots = make([]uint32, keySlots)
	}
	mark := max(uint32(hash>>32), 1)
	at := hash % keySlots
	for s.slots[at] != 0 {
		if s.slots[at] == mark {
			return true
		}
		at = (at + 1) % keySlots
	}
	if s.used < maxKeys {
		s.slots[at] = mark
		s.used++
	}
	return false
}

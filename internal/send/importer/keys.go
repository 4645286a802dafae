package importer

import (
	"github.com/cespare/xxhash/v2"

	"tributary/internal/messages"
)

// maxKeys is how many keys of an import are known again; beyond them new ones are not kept. They take 16 MiB.
const maxKeys = 3 << 19

// keySet knows again the keys of items, by 64 bits of hash, so that one key is hardly ever taken for another. It is a
// table of open addressing because a Go map takes three times the room.
type keySet struct {
	slots   []uint64 // a power of two of them; 0 is a free one
	used    int
	scratch []byte
}

// addAll adds the keys of a row's commands and says whether one was there before.
func (s *keySet) addAll(commands []messages.Decoded) (repeated bool) {
	for i := range commands {
		c := &commands[i].Command
		kind, id := byte('o'), c.OrderID
		if c.Kind == messages.PutUser || c.Kind == messages.DeleteUser {
			kind, id = 'u', c.UserID
		}
		s.scratch = append(append(append(s.scratch[:0], c.TenantID...), 0, kind), id...)
		if s.add(xxhash.Sum64(s.scratch)) {
			repeated = true
		}
	}
	return repeated
}

// add adds a hash and says whether it was there.
func (s *keySet) add(hash uint64) bool {
	hash = max(hash, 1)
	if s.used*4 >= len(s.slots)*3 && s.used < maxKeys {
		s.grow()
	}
	at := s.find(hash)
	if s.slots[at] == hash {
		return true
	}
	if s.used < maxKeys {
		s.slots[at] = hash
		s.used++
	}
	return false
}

// find returns the slot of a hash, or the free one where it belongs.
func (s *keySet) find(hash uint64) int {
	mask := uint64(len(s.slots) - 1)
	at := hash & mask
	for s.slots[at] != 0 && s.slots[at] != hash {
		at = (at + 1) & mask
	}
	return int(at)
}

func (s *keySet) grow() {
	old := s.slots
	s.slots = make([]uint64, max(1<<10, 2*len(old)))
	for _, hash := range old {
		if hash != 0 {
			s.slots[s.find(hash)] = hash
		}
	}
}

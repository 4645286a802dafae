package writer

import "time"

// sleepers are the tenants that wait for a time: a heap, the earliest on top. With ten thousand tenants at their limits, waking
// one must not look at the others. The scheduler owns it, under Writer.mu.
type sleepers []sleeper

type sleeper struct {
	at     time.Time // when it wakes
	tenant *tenant   // whose place is the index of the sleeper
}

// put lets a tenant wake at a time. It returns false, and does nothing, if the tenant wakes earlier already.
func (h *sleepers) put(t *tenant, at time.Time) bool {
	if t.asleep {
		if !at.Before((*h)[t.place].at) {
			return false
		}
		(*h)[t.place].at = at
		h.up(t.place)
		return true
	}
	t.asleep, t.place = true, len(*h)
	*h = append(*h, sleeper{at, t})
	h.up(t.place)
	return true
}

// next returns when the first wakes; the zero time: there is none.
func (h sleepers) next() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].at
}

// pop takes out a tenant that wakes by now. It returns nil if there is none.
func (h *sleepers) pop(now time.Time) *tenant {
	s := *h
	if len(s) == 0 || now.Before(s[0].at) {
		return nil
	}
	t, last := s[0].tenant, len(s)-1
	s.swap(0, last)
	s[last] = sleeper{}
	*h = s[:last]
	h.down(0)
	t.asleep = false
	return t
}

func (h sleepers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].tenant.place, h[j].tenant.place = i, j
}

func (h sleepers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].at.Before(h[parent].at) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h sleepers) down(i int) {
	for {
		first := 2*i + 1
		if first >= len(h) {
			return
		}
		if second := first + 1; second < len(h) && h[second].at.Before(h[first].at) {
			first = second
		}
		if !h[first].at.Before(h[i].at) {
			return
		}
		h.swap(i, first)
		i = first
	}
}

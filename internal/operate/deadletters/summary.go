package deadletters

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// maxGroups bounds how many pairs of reason and tenant a summary tells apart.
const maxGroups = 10_000

// OtherTenants stands for the tenants of a summary that has too many.
const OtherTenants = "_other"

// Group counts the letters of one reason and tenant.
type Group struct {
	Reason   string    `json:"reason"`
	TenantID string    `json:"tenant_id"`
	Letters  int       `json:"letters"`
	Oldest   time.Time `json:"oldest"`
	Newest   time.Time `json:"newest"`
}

// Summary counts letters. It is safe for concurrent use until it is read.
type Summary struct {
	Letters int       `json:"letters"`
	Groups  []Group   `json:"groups"`   // most letters first, once Finish was called
	Newest  []*Letter `json:"examples"` // newest first, likewise

	mu       sync.Mutex
	groups   map[[2]string]*Group
	examples int
}

// NewSummary makes a summary that keeps the newest letters as examples.
func NewSummary(examples int) *Summary {
	return &Summary{groups: map[[2]string]*Group{}, examples: examples, Groups: []Group{}, Newest: []*Letter{}}
}

// Add counts a letter.
func (s *Summary) Add(l *Letter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Letters++
	key := [2]string{l.Reason, l.TenantID}
	g := s.groups[key]
	if g == nil && len(s.groups) >= maxGroups {
		key[1] = OtherTenants
		g = s.groups[key]
	}
	if g == nil {
		g = &Group{Reason: key[0], TenantID: key[1], Oldest: l.SentAt, Newest: l.SentAt}
		s.groups[key] = g
	}
	g.Letters++
	if l.SentAt.Before(g.Oldest) {
		g.Oldest = l.SentAt
	}
	if l.SentAt.After(g.Newest) {
		g.Newest = l.SentAt
	}
	at, _ := slices.BinarySearchFunc(s.Newest, l, newestFirst)
	if at < s.examples {
		s.Newest = slices.Insert(s.Newest, at, l)
		s.Newest = s.Newest[:min(len(s.Newest), s.examples)]
	}
}

func newestFirst(a, b *Letter) int {
	return cmp.Or(b.SentAt.Compare(a.SentAt), cmp.Compare(a.ID, b.ID))
}

// Finish sorts the groups.
func (s *Summary) Finish() {
	s.Groups = s.Groups[:0]
	for _, g := range s.groups {
		s.Groups = append(s.Groups, *g)
	}
	slices.SortFunc(s.Groups, func(a, b Group) int {
		return cmp.Or(b.Letters-a.Letters, cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.TenantID, b.TenantID))
	})
}

// Summarize counts the letters that the filter chooses.
func (b *Box) Summarize(ctx context.Context, f *Filter, examples int) (*Summary, Walked, error) {
	s := NewSummary(examples)
	walked, err := b.Each(ctx, f, func(l *Letter) error {
		s.Add(l)
		return nil
	})
	s.Finish()
	return s, walked, err
}

// Each calls do for every letter that the filter chooses, one at a time, in no particular order. The letters stay
// in the dead-letter queue and are visible again when Each returns. It ends early where do returns an error.
func (b *Box) Each(ctx context.Context, f *Filter, do func(*Letter) error) (Walked, error) {
	var mu sync.Mutex // do is called one at a time
	return b.walk(ctx, parallel, func(_ context.Context, _ *walk, letters []*Letter) error {
		mu.Lock()
		defer mu.Unlock()
		for _, l := range letters {
			if !f.Match(l) {
				continue
			}
			if err := do(l); err != nil {
				return err
			}
		}
		return nil
	})
}

package rawjson

// NameSet notices names that come twice. Few names, as they usually are, cost no allocation.
type NameSet struct {
	few  [16]string
	n    int
	many map[string]struct{}
}

// Add reports whether name is new.
func (s *NameSet) Add(name string) bool {
	if s.many == nil {
		for _, known := range s.few[:s.n] {
			if known == name {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = name
			s.n++
			return true
		}
		s.many = make(map[string]struct{}, 2*s.n)
		for _, known := range s.few {
			s.many[known] = struct{}{}
		}
	}
	before := len(s.many)
	s.many[name] = struct{}{}
	return len(s.many) > before
}

package dynamo

import "hash/fnv"

// Scan.
//
// As AWS: filters, projections, Select, pages of 1 MB or of a limit, parallel segments, indexes.
// Differs: partitions come in the order of their keys, where AWS's order is that of a hash.
// Missing: ScanFilter and AttributesToGet (a ValidationException).

type scanInput struct {
	readInput
	Segment       *int32
	TotalSegments *int32
	legacyRead
}

func (s *Server) scan(in *scanInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	r, err := s.prepare(&in.readInput)
	if err != nil {
		return nil, err
	}
	defer r.unlock()
	t, x := r.t, r.x
	if err := r.p.unused(); err != nil {
		return nil, err
	}
	if (in.Segment == nil) != (in.TotalSegments == nil) {
		return nil, errValidation("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	}
	segments := uint32(1)
	segment := uint32(0)
	if in.Segment != nil {
		if *in.TotalSegments < 1 || *in.TotalSegments > maxSegments || *in.Segment < 0 || *in.Segment >= *in.TotalSegments {
			return nil, errValidation("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d, TotalSegments: %d", *in.Segment, *in.TotalSegments)
		}
		segments, segment = uint32(*in.TotalSegments), uint32(*in.Segment) //nolint:gosec // checked
	}
	var startHash, startSort string
	if in.ExclusiveStartKey != "" {
		if startHash, startSort, err = t.startKey(x, in.ExclusiveStartKey); err != nil {
			return nil, err
		}
	}
	for from, more := startHash, true; more; { // not all at once: writes wait meanwhile
		const some = 100
		keys, partitions := x.from(from, some)
		for i, p := range partitions {
			sum := fnv.New32a()
			_, _ = sum.Write([]byte(keys[i])) // never fails
			if sum.Sum32()%segments != segment {
				continue
			}
			var start *string
			if in.ExclusiveStartKey != "" && keys[i] == startHash {
				start = &startSort
			}
			full := false
			p.each(&keyRange{}, start, true, func(it item) bool {
				full = !r.read(it)
				return !full
			})
			if full {
				return r.page()
			}
		}
		if more = len(keys) == some; more {
			from = keys[some-1] + "\x00"
		}
	}
	return r.page()
}

package dynamo

import "slices"

// ListTables.
//
// As AWS: names in order, pages of up to 100.

func (s *Server) listTables(in *struct {
	ExclusiveStartTableName string
	Limit                   *int
}) (any, error) {
	names := s.names()
	at, found := slices.BinarySearch(names, in.ExclusiveStartTableName)
	if found {
		at++
	}
	names = names[at:]
	most := maxTableNames
	if in.Limit != nil {
		most = *in.Limit
	}
	if most < 1 || most > maxTableNames {
		return nil, errValidation("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value between 1 and %d", most, maxTableNames)
	}
	out := map[string]any{"TableNames": append([]string{}, names[:min(most, len(names))]...)}
	if len(names) > most {
		out["LastEvaluatedTableName"] = names[most-1]
	}
	return out, nil
}

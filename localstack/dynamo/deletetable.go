package dynamo

// DeleteTable.
//
// As AWS: deletion protection refuses it, and the answer describes the table as DELETING.
// Differs: the table is gone at once.

func (s *Server) deleteTable(in *tableInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[nameOf(in.TableName)]
	if t == nil {
		return nil, errNoTableNamed(in.TableName)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p := t.input.DeletionProtectionEnabled; p != nil && *p {
		return nil, errValidation("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	delete(s.tables, t.name)
	s.forget(t)
	description := t.describe()
	description["TableStatus"] = "DELETING"
	return map[string]any{"TableDescription": description}, nil
}

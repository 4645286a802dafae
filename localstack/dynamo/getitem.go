package dynamo

// GetItem.
//
// As AWS: projections, consumed capacity.
// Differs: every read is consistent. It never throttles.
// Missing: AttributesToGet (a ValidationException).

type getInput struct {
	TableName                string
	Key                      item
	ConsistentRead           bool
	ExpressionAttributeNames map[string]string
	ProjectionExpression     *string
	ReturnConsumedCapacity   string
	legacyRead
}

func (s *Server) getItem(in *getInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	kept, err := onlyProjection(in.ProjectionExpression, in.ExpressionAttributeNames)
	if err != nil {
		return nil, err
	}
	if err := t.checkKey(in.Key); err != nil {
		return nil, err
	}
	found := t.get(in.Key)
	return struct {
		Item             item      `json:",omitempty"`
		ConsumedCapacity *capacity `json:",omitempty"`
	}{kept.of(found), t.consumed(in.ReturnConsumedCapacity, t.primary, readUnits(found.size(), in.ConsistentRead))}, nil
}

// onlyProjection reads the projection of a call that has no other expression.
func onlyProjection(expression *string, names map[string]string) (projection, error) {
	p := newParameters(names, nil)
	out, err := p.projection(expression)
	if err != nil {
		return nil, err
	}
	return out, p.unused()
}

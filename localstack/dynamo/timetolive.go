package dynamo

// DescribeTimeToLive and UpdateTimeToLive.
//
// As AWS: one attribute at a time; to enable what is enabled, or to disable what is disabled, is refused.
// Differs: the change is there at once, and nothing ever expires. On AWS what is over goes within days.

func (s *Server) describeTimeToLive(in *tableInput) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	description := map[string]any{"TimeToLiveStatus": "DISABLED"}
	if t.ttl != "" {
		description = map[string]any{"TimeToLiveStatus": "ENABLED", "AttributeName": t.ttl}
	}
	return map[string]any{"TimeToLiveDescription": description}, nil
}

func (s *Server) updateTimeToLive(in *struct {
	TableName               string
	TimeToLiveSpecification struct {
		AttributeName string
		Enabled       bool
	}
}) (any, error) {
	t, err := s.named(in.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	wanted := in.TimeToLiveSpecification
	switch {
	case wanted.AttributeName == "":
		return nil, errValidation("TimeToLiveSpecification.AttributeName must not be empty")
	case wanted.Enabled && t.ttl == wanted.AttributeName:
		return nil, errValidation("TimeToLive is already enabled")
	case wanted.Enabled && t.ttl != "":
		return nil, errValidation("TimeToLive is active on a different AttributeName: current AttributeName is %s", t.ttl)
	case !wanted.Enabled && t.ttl == "":
		return nil, errValidation("TimeToLive is already disabled")
	case wanted.Enabled:
		t.ttl = wanted.AttributeName
	default:
		t.ttl = ""
	}
	s.save(t)
	return map[string]any{"TimeToLiveSpecification": wanted}, nil
}

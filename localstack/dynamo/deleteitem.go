package dynamo

// DeleteItem.
//
// As AWS: what is not there is deleted with success; conditions, ReturnValues NONE and ALL_OLD, the old item with a
// refusal, consumed capacity.
// Differs and missing: as in PutItem.

func (s *Server) deleteItem(in *writeInput) (any, error) {
	return s.replace(in, in.Key, "", (*table).checkKey)
}

package lambda

import "tributary/internal/base/rawjson"

// report decides which records of an event are reported as failed. settled says of each record whether all of its commands are
// durable or dead-lettered. On a FIFO queue everything of a group that follows a failure is reported as well, durable or not:
// otherwise the failed message would come back alone, after later ones of its group ("Implementing partial batch responses").
func report(records []*record, fifo bool) []bool {
	failed := make([]bool, len(records))
	groups := map[string]bool{} // those with a failure
	for i, r := range records {
		failed[i] = r.state != durable || fifo && groups[r.message.GroupID]
		if failed[i] && fifo {
			groups[r.message.GroupID] = true
		}
	}
	return failed
}

// answer is the response of an invocation: the ids of the failed records, in their order and none twice. With no failures the list
// is empty, which Lambda takes for a complete success.
func answer(records []*record, failed []bool) []byte {
	b := []byte(`{"batchItemFailures":[`)
	named := map[string]bool{}
	for i, r := range records {
		if !failed[i] || named[r.message.ID] {
			continue
		}
		if len(named) > 0 {
			b = append(b, ',')
		}
		named[r.message.ID] = true
		b = append(b, `{"itemIdentifier":`...)
		b = rawjson.AppendString(b, r.message.ID)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

package queue

import (
	"fmt"
	"strings"
	"time"
)

// The answers have types of their own, since the SDK's would write null for what AWS leaves out.

type sendResult struct {
	ID                           string `json:"Id,omitempty"`
	MessageId                    string //nolint:staticcheck // the wire name
	MD5OfMessageBody             string
	MD5OfMessageAttributes       string `json:",omitempty"`
	MD5OfMessageSystemAttributes string `json:",omitempty"`
	SequenceNumber               string `json:",omitempty"`
}

type entryError struct {
	ID          string `json:"Id"`
	SenderFault bool
	Code        string
	Message     string
}

type batchResult[T any] struct {
	Successful []T          `json:",omitempty"`
	Failed     []entryError `json:",omitempty"`
}

type entryID struct {
	ID string `json:"Id"`
}

// batch checks the entries of a batch call against the rules that all of them share, then does each by itself.
func batch[E, R any](q *queue, operation string, entries []E, id func(*E) *string,
	do func(*queue, *E, time.Time) (R, *apiError),
) (any, error) {
	var out batchResult[R]
	check := func() error {
		if len(entries) == 0 {
			return fail("EmptyBatchRequest", legacy+"EmptyBatchRequest", "There should be at least one %sRequestEntry in the request.", operation)
		}
		if len(entries) > maxBatchEntries {
			return fail("TooManyEntriesInBatchRequest", legacy+"TooManyEntriesInBatchRequest", "Maximum number of entries per request are %d. You have sent %d.", maxBatchEntries, len(entries))
		}
		seen := make(map[string]bool, len(entries))
		for i := range entries {
			name := text(id(&entries[i]))
			if name == "" {
				return errMissing(fmt.Sprintf("%sRequestEntry.%d.Id", operation, i+1))
			}
			if !batchID(name) {
				return fail("InvalidBatchEntryId", legacy+"InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
			}
			if seen[name] {
				return fail("BatchEntryIdsNotDistinct", legacy+"BatchEntryIdsNotDistinct", "Id %s repeated.", name)
			}
			seen[name] = true
		}
		return nil
	}
	if err := check(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for i := range entries {
		result, err := do(q, &entries[i], now)
		if err != nil {
			out.Failed = append(out.Failed, entryError{ID: *id(&entries[i]), SenderFault: true, Code: err.code, Message: err.message})
			continue
		}
		out.Successful = append(out.Successful, result)
	}
	return out, nil
}

// batchID holds for an id of a batch entry, and for a queue's name.
func batchID(s string) bool {
	return s != "" && len(s) <= maxNameBytes && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

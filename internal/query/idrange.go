package query

import (
	"fmt"
	"time"
)

// idRange selects UUIDv7 ids by the time in them: at or after since, before until, both to the millisecond. The zero
// idRange selects every id.
type idRange struct {
	since, until string // the smallest id at that time; both set, or both empty
}

const (
	uuidLen = 36
	// firstUUID and lastUUID are the smallest and the largest UUIDv7.
	firstUUID   = "00000000-0000-7000-8000-000000000000"
	lastUUID    = "ffffffff-ffff-7fff-bfff-ffffffffffff"
	maxUUIDTime = 1<<48 - 1
)

// newIDRange makes a range of times; a zero time leaves its end open. The error says that it is empty.
func newIDRange(since, until time.Time) (idRange, error) {
	if since.IsZero() && until.IsZero() {
		return idRange{}, nil
	}
	r := idRange{since: firstUUID, until: lastUUID}
	if !since.IsZero() {
		r.since = smallestUUID(since)
	}
	if !until.IsZero() {
		r.until = smallestUUID(until)
	}
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return idRange{}, fmt.Errorf("since, %s, is not before until, %s", since.Format(time.RFC3339Nano), until.Format(time.RFC3339Nano))
	}
	return r, nil
}

// smallestUUID is the smallest UUIDv7 made at t.
func smallestUUID(t time.Time) string {
	ms := min(max(t.UnixMilli(), 0), maxUUIDTime)
	return fmt.Sprintf("%08x-%04x%s", ms>>16, ms&0xffff, firstUUID[13:])
}

func (r idRange) set() bool { return r.since != "" }

// within says whether id lies between the bounds, as DynamoDB compares them.
func (r idRange) within(id string) bool { return r.since <= id && id <= r.until }

// contains says whether the range selects id. Between the bounds as strings there may be ids of other kinds.
func (r idRange) contains(id string) bool {
	if !r.set() {
		return true
	}
	return isUUIDv7(id) && r.since <= id && (id < r.until || r.until == lastUUID)
}

// isUUIDv7 says whether id is a UUIDv7 in its canonical form, in lower case, which sorts by time ("RFC 9562").
func isUUIDv7(id string) bool {
	if len(id) != uuidLen || id[14] != '7' || id[19] < '8' || id[19] > 'b' || id[19] > '9' && id[19] < 'a' {
		return false
	}
	for i := range uuidLen {
		c := id[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

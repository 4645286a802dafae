package query

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"

	"tributary/internal/aws/limits"
	"tributary/internal/schema"
)

// A cursor is base64url of
//
//	1 byte   version, 1
//	12 bytes fingerprint of the tenant and the query that it belongs to
//	the rest the id of the item after which to go on: the sort key without its prefix
//
// The partition key, the type's prefix and, for an index, the id that is referred to come from the request's own path, after
// authorization. So a cursor, forged or not, moves only within the items that the request may read anyway. The fingerprint
// detects a client's mistake; it protects nothing, and needs no secret.
const (
	cursorVersion  = 1
	fingerprintLen = 12
	cursorHead     = 1 + fingerprintLen
	maxPosition    = limits.DynamoDBSortKeyBytes
)

var errCursor = errors.New("this cursor does not belong to this tenant and query, or is broken: start again without one")

// fingerprint tells a tenant and query from others. What it holds can't change between the pages of one walk: limit,
// consistent and the form of the answer may.
type fingerprint [fingerprintLen]byte

func (q *listQuery) fingerprint(tenant string) fingerprint {
	h := sha256.New()
	// Lengths keep one value's end from passing as the next one's begin.
	for _, part := range []string{
		tenant, q.of.Name, q.index(), q.referred, strconv.FormatBool(q.descending),
		q.ids.since, q.ids.until,
	} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return fingerprint(h.Sum(nil)[:fingerprintLen])
}

// index tells a query's index from others. The built-in ones keep the word that cursors had before types could be declared, so
// that an upgrade breaks no walk, nor does a file that only adds to the built-in types.
func (q *listQuery) index() string {
	switch {
	case q.by == nil:
		return "false"
	case slices.ContainsFunc(schema.Builtin().References, func(r *schema.Reference) bool { return r.Index == q.by.Index }):
		return "true"
	}
	return q.by.Index
}

func encodeCursor(f fingerprint, position string) string {
	b := make([]byte, 0, cursorHead+len(position))
	b = append(b, cursorVersion)
	b = append(b, f[:]...)
	b = append(b, position...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor returns the position in a cursor that encodeCursor made with the same fingerprint, or errCursor.
func decodeCursor(f fingerprint, of *schema.Type, text string) (position string, _ error) {
	if len(text) > base64.RawURLEncoding.EncodedLen(cursorHead+maxPosition) {
		return "", errCursor
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < cursorHead || b[0] != cursorVersion || fingerprint(b[1:cursorHead]) != f {
		return "", errCursor
	}
	position = string(b[cursorHead:])
	if len(of.Prefix)+len(position) > maxPosition || !utf8.ValidString(position) {
		return "", errCursor
	}
	return position, nil
}

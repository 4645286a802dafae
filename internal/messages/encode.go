package messages

import (
	"strconv"

	"tributary/internal/aws/limits"
	"tributary/internal/base/rawjson"
)

// Append appends a valid command as the wire format has it: one JSON object, without white space. Decode reads it back.
func Append(dst []byte, c *Command) []byte {
	text := func(name, value string) {
		dst = append(dst, name...)
		dst = rawjson.AppendString(dst, value)
	}
	text(`{"type":`, c.Name())
	text(`,"tenant_id":`, c.TenantID)
	dst = c.Type.AppendIDMember(dst, c.ID)
	for position, f := range c.Type.Fields {
		if value, ok := c.Values.Get(position); ok {
			dst = f.AppendMember(dst, value)
		}
	}
	if c.Version > 0 {
		dst = append(dst, `,"version":`...)
		dst = strconv.AppendInt(dst, c.Version, 10)
	}
	if c.Attributes != "" {
		dst = append(dst, `,"attributes":`...)
		dst = append(dst, c.Attributes...)
	}
	return append(dst, '}')
}

// AppendPacked adds a valid command to a packed body. An empty body becomes an array of this one; a body that AppendPacked
// returned grows by it, and is complete after each call. The size of a message is the caller's affair: one command
// takes len(Append(nil, c)) bytes, and one more for a comma or bracket.
func AppendPacked(body []byte, c *Command) []byte {
	if len(body) == 0 {
		body = append(body, '[')
	} else {
		body[len(body)-1] = ','
	}
	return append(Append(body, c), ']')
}

// groupBuckets is how many groups a tenant's keys are spread over on a FIFO queue. Changing it reorders what is under way.
const groupBuckets = 64

// GroupID returns the MessageGroupId of a command: its tenant, which a standard queue deals fairly by; on a FIFO queue
// tenant, '#' and a bucket of the key, so that commands for one key stay in order and a tenant is not one line. It is
// at most 128 bytes long: of a tenant id too long for that, the end is replaced by its hash.
//
// The bucket is the FNV-1a hash (32 bit) of the sort key ("order#o1") modulo 64, as two hexadecimal digits.
func GroupID(c *Command, fifo bool) string {
	if !fifo {
		return c.TenantID
	}
	const hexDigits = "0123456789abcdef"
	bucket := hash(hash(fnvOffset, c.Type.Prefix), c.ID) % groupBuckets
	tenant := c.TenantID
	if room := limits.SQSGroupIDBytes - len("#00"); len(tenant) > room {
		h := hash(fnvOffset, tenant)
		var digest [9]byte
		digest[0] = '#'
		for i := range 8 {
			digest[8-i] = hexDigits[h>>(4*i)&0xF]
		}
		tenant = tenant[:room-len(digest)] + string(digest[:])
	}
	return tenant + "#" + string([]byte{hexDigits[bucket>>4], hexDigits[bucket&0xF]})
}

const fnvOffset, fnvPrime = 2166136261, 16777619

// hash is FNV-1a, 32 bit, which hash/fnv gives only for bytes behind an interface.
func hash(h uint32, text string) uint32 {
	for i := range len(text) {
		h = (h ^ uint32(text[i])) * fnvPrime
	}
	return h
}

package usage

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/table"
)

const (
	// PartitionPrefix starts the partition keys of usage. No tenant's begins so.
	PartitionPrefix = "tributary#usage#"
	hourForm        = "2006-01-02T15"
	// maxRecordBytes is the largest size of compressed counts in one item, well below DynamoDB's 400 KB.
	maxRecordBytes = 256 << 10
	// keptFor is how long records are kept: a year and a month, so that the same months can be compared.
	keptFor = 400 * 24 * time.Hour
)

// Partition returns the partition key of the hour that has a time.
func Partition(at time.Time) string { return PartitionPrefix + at.UTC().Format(hourForm) }

// record is one item: what one worker counted in one stretch of time of at most a minute.
type record struct {
	worker   string
	number   int
	from, to time.Time
	counts   []Tenant
}

// item returns the item of a record.
func (r *record) item(counts []byte) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		table.PKAttribute:  &types.AttributeValueMemberS{Value: Partition(r.from)},
		table.SKAttribute:  &types.AttributeValueMemberS{Value: fmt.Sprintf("worker#%s#%06d", r.worker, r.number)},
		"from":             &types.AttributeValueMemberS{Value: r.from.UTC().Format(time.RFC3339)},
		"to":               &types.AttributeValueMemberS{Value: r.to.UTC().Format(time.RFC3339)},
		"tenants":          &types.AttributeValueMemberN{Value: fmt.Sprint(len(r.counts))},
		"counts":           &types.AttributeValueMemberB{Value: counts},
		table.TTLAttribute: &types.AttributeValueMemberN{Value: fmt.Sprint(r.to.Add(keptFor).Unix())},
	}
}

// encode compresses counts.
func encode(counts []Tenant) []byte {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.DefaultCompression) // the level is one
	_ = json.NewEncoder(w).Encode(counts)                   // to memory, of a type that can be encoded
	_ = w.Close()
	return out.Bytes()
}

// split divides counts into parts that fit into an item each.
func split(counts []Tenant) [][]Tenant {
	if len(counts) > 1 && len(encode(counts)) > maxRecordBytes {
		half := len(counts) / 2
		return append(split(counts[:half]), split(counts[half:])...)
	}
	return [][]Tenant{counts}
}

// maxDecodedBytes is how much a record may hold once it is decompressed. Whoever can write to the table could make it endless.
const maxDecodedBytes = 64 << 20

// decode reads a record's item.
func decode(item map[string]types.AttributeValue) (*record, error) {
	r := &record{}
	sk, _ := item[table.SKAttribute].(*types.AttributeValueMemberS)
	from, _ := item["from"].(*types.AttributeValueMemberS)
	counts, _ := item["counts"].(*types.AttributeValueMemberB)
	if sk == nil || from == nil || counts == nil {
		return nil, fmt.Errorf("it has no sort key, from or counts")
	}
	r.worker, _, _ = strings.Cut(strings.TrimPrefix(sk.Value, "worker#"), "#")
	var err error
	if r.from, err = time.Parse(time.RFC3339, from.Value); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	text := io.LimitReader(flate.NewReader(bytes.NewReader(counts.Value)), maxDecodedBytes)
	if err := json.NewDecoder(text).Decode(&r.counts); err != nil {
		return nil, fmt.Errorf("counts: %w", err)
	}
	return r, nil
}

package awsjson

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	smithyendpoints "github.com/aws/smithy-go/endpoints"

	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/table"
	"tributary/internal/writer"
)

// Table makes a writer's calls to one DynamoDB table. It implements writer.Table.
type Table struct {
	client       client
	types        *schema.Set
	name         []byte // as JSON
	tombstoneAge time.Duration
	units        func(float64)
}

// NewTable makes a Table with the settings of an SDK client: its region, credentials and endpoint. A tombstone expires after
// tombstoneAge. units is called with the write units that DynamoDB says a call has consumed.
func NewTable(d *dynamodb.Client, transport http.RoundTripper, types *schema.Set, name string, tombstoneAge time.Duration, observe Observer, units func(float64)) *Table {
	o := d.Options()
	return &Table{
		types: types, name: rawjson.AppendString(nil, name), tombstoneAge: tombstoneAge, units: units,
		client: client{
			service: "dynamodb", target: "DynamoDB_20120810.", signingName: "dynamodb", region: o.Region,
			credentials: o.Credentials, signer: v4.NewSigner(), wire: newWire(transport), observe: observe,
			endpoint: func(ctx context.Context, c aws.Credentials) (smithyendpoints.Endpoint, error) {
				p := dynamodb.EndpointParameters{
					Region: aws.String(o.Region), Endpoint: o.BaseEndpoint,
					UseDualStack:          aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
					UseFIPS:               aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
					AccountIdEndpointMode: aws.String(string(o.AccountIDEndpointMode)),
				}
				if c.AccountID != "" && o.AccountIDEndpointMode != aws.AccountIDEndpointModeDisabled {
					p.AccountId = aws.String(c.AccountID)
				}
				return o.EndpointResolverV2.ResolveEndpoint(ctx, p)
			},
		},
	}
}

// BatchWrite implements writer.Table by BatchWriteItem.
func (t *Table) BatchWrite(ctx context.Context, writes []*writer.Write) ([]int, writer.Units, error) {
	size := 128
	for _, w := range writes {
		size += 128 + w.Command.ItemBytes() + 16*len(w.Command.Type.Fields) + len(w.Command.Attributes)
	}
	var left []int
	var units writer.Units
	err := t.client.call(ctx, "BatchWriteItem", t.appendBatch(make([]byte, 0, size), writes), func(answer string) (err error) {
		left, units, err = t.scanUnprocessed(answer, writes)
		return err
	})
	if err != nil {
		return nil, writer.Units{}, err
	}
	t.units(units.Table + units.Index)
	return left, units, nil
}

func (t *Table) appendBatch(b []byte, writes []*writer.Write) []byte {
	b = append(b, `{"ReturnConsumedCapacity":"INDEXES","RequestItems":{`...)
	b = append(b, t.name...)
	b = append(b, `:[`...)
	for i, w := range writes {
		if i > 0 {
			b = append(b, ',')
		}
		if w.Command.Delete {
			b = append(b, `{"DeleteRequest":{"Key":`...)
			b = table.AppendKey(b, table.KeyOf(&w.Command))
		} else {
			b = append(b, `{"PutRequest":{"Item":`...)
			b = table.AppendItem(b, &w.Command)
		}
		b = append(b, "}}"...)
	}
	return append(b, "]}}"...)
}

// scanUnprocessed reads an answer to BatchWriteItem: the indexes of the leftovers, and the write units consumed. DynamoDB always
// sends UnprocessedItems, even if it is empty. An answer without it comes from another program, and perhaps nothing was written.
func (t *Table) scanUnprocessed(answer string, writes []*writer.Write) (left []int, units writer.Units, err error) {
	listed := false
	s := rawjson.New(answer)
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "UnprocessedItems":
			if s.Peek() != '{' {
				s.Skip()
				continue
			}
			listed = true
			left, err = t.scanLeft(&s, writes)
			if err != nil {
				return nil, writer.Units{}, err
			}
		case "ConsumedCapacity":
			units = scanUnits(&s)
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return nil, writer.Units{}, err
	}
	if !listed {
		return nil, writer.Units{}, errors.New("it has no UnprocessedItems: DynamoDB would not answer so")
	}
	return left, units, nil
}

func (t *Table) scanLeft(s *rawjson.Scanner, writes []*writer.Write) ([]int, error) {
	var left []int
	var index map[table.Key]int
	for s.Open('{'); s.More('}'); {
		s.Name()
		for s.Open('['); s.More(']'); {
			if index == nil {
				index = make(map[table.Key]int, len(writes))
				for i, w := range writes {
					index[table.KeyOf(&w.Command)] = i
				}
			}
			key, err := scanRequestKey(t.types, s)
			if err != nil {
				return nil, err
			}
			i, ok := index[key]
			if !ok {
				return nil, fmt.Errorf("an unprocessed item, %s %s, was not in the request", key.PK(), key.SK())
			}
			delete(index, key) // an item that comes twice belongs to the answer to another request
			left = append(left, i)
		}
	}
	return left, nil
}

// scanRequestKey reads the key of {"PutRequest":{"Item":{…}}} or {"DeleteRequest":{"Key":{…}}}.
func scanRequestKey(types *schema.Set, s *rawjson.Scanner) (table.Key, error) {
	pk, sk := "", ""
	for s.Open('{'); s.More('}'); {
		s.Name()
		for s.Open('{'); s.More('}'); {
			s.Name()
			for s.Open('{'); s.More('}'); {
				switch s.Name() {
				case table.PKAttribute:
					pk = scanValue(s)
				case table.SKAttribute:
					sk = scanValue(s)
				default:
					s.Skip()
				}
			}
		}
	}
	if s.Err() != nil {
		return table.Key{}, s.Err()
	}
	return table.ParseKey(types, pk, sk)
}

// scanValue reads the text of an attribute value that is a string or a number.
func scanValue(s *rawjson.Scanner) (value string) {
	for s.Open('{'); s.More('}'); {
		s.Name()
		value = text(s)
	}
	return value
}

// scanUnits reads a ConsumedCapacity, or an array of them. Units that it does not ascribe to an index are the table's.
func scanUnits(s *rawjson.Scanner) (units writer.Units) {
	switch s.Peek() {
	case '[':
		for s.Open('['); s.More(']'); {
			more := scanUnits(s)
			units.Table += more.Table
			units.Index += more.Index
		}
	case '{':
		total := 0.0
		for s.Open('{'); s.More('}'); {
			switch name := s.Name(); {
			case name == "CapacityUnits" && s.Peek() != 'n':
				total, _ = strconv.ParseFloat(s.Number(), 64)
			case (name == "GlobalSecondaryIndexes" || name == "LocalSecondaryIndexes") && s.Peek() == '{':
				for s.Open('{'); s.More('}'); {
					s.Name()
					units.Index += scanUnits(s).Table
				}
			default:
				s.Skip()
			}
		}
		units.Table = total - units.Index
	default:
		s.Skip()
	}
	return units
}

// PutVersion implements writer.Table by PutItem with a condition. A delete puts a tombstone.
func (t *Table) PutVersion(ctx context.Context, w *writer.Write) (writer.Units, error) {
	var units writer.Units
	err := t.client.call(ctx, "PutItem", t.appendPut(nil, w, t.client.now()), func(answer string) (err error) {
		units, err = scanConsumed(answer)
		return err
	})
	if err != nil {
		return writer.Units{}, err
	}
	t.units(units.Table + units.Index)
	return units, nil
}

// scanConsumed reads an answer to PutItem: the write units consumed. The request asks for them, so DynamoDB sends them, and
// endpoints that don't count answer {}. An answer with other members only may come from a proxy, and perhaps nothing was written.
// The write is then tried again, and its condition shows whether it was.
func scanConsumed(answer string) (units writer.Units, err error) {
	listed, other := false, ""
	s := rawjson.New(answer)
	for s.Open('{'); s.More('}'); {
		name := s.Name()
		if name == "ConsumedCapacity" && s.Peek() == '{' {
			listed, units = true, scanUnits(&s)
			continue
		}
		other = name
		s.Skip()
	}
	if err := s.End(); err != nil {
		return writer.Units{}, err
	}
	if !listed && other != "" {
		return writer.Units{}, fmt.Errorf("it has %q and no ConsumedCapacity: DynamoDB would not answer so", other)
	}
	return units, nil
}

// Probe implements writer.Table by PutItem on the condition that an item with the command's key exists. No such item exists.
// DynamoDB checks the item before it evaluates the condition.
func (t *Table) Probe(ctx context.Context, c *messages.Command) error {
	err := t.client.call(ctx, "PutItem", t.appendProbe(nil, c, time.Now()), func(answer string) error {
		s := rawjson.New(answer)
		s.Skip()
		if err := s.End(); err != nil {
			return err
		}
		return nil
	})
	if _, refused := errors.AsType[*types.ConditionalCheckFailedException](err); refused {
		return nil
	}
	return err
}

func (t *Table) appendProbe(b []byte, c *messages.Command, now time.Time) []byte {
	b = t.appendItem(b, c, now)
	return append(b, `,"ConditionExpression":"attribute_exists(`+table.PKAttribute+`)"}`...)
}

func (t *Table) appendPut(b []byte, w *writer.Write, now time.Time) []byte {
	b = t.appendItem(b, &w.Command, now)
	b = append(b, `,"ConditionExpression":"attribute_not_exists(`+table.VersionAttribute+`) OR `+table.VersionAttribute+` < :v"`...)
	b = append(b, `,"ExpressionAttributeValues":{":v":{"N":"`...)
	b = strconv.AppendInt(b, w.Command.Version, 10)
	b = append(b, `"}},"ReturnValuesOnConditionCheckFailure":"ALL_OLD","ReturnConsumedCapacity":"INDEXES"}`...)
	return b
}

// appendItem appends the start of PutItem's request: the table, and the item or tombstone that a command puts.
func (t *Table) appendItem(b []byte, c *messages.Command, now time.Time) []byte {
	b = append(b, `{"TableName":`...)
	b = append(b, t.name...)
	b = append(b, `,"Item":`...)
	if c.Delete {
		return table.AppendTombstone(b, c, now.Add(t.tombstoneAge))
	}
	return table.AppendItem(b, c)
}

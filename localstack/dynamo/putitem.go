package dynamo

import "slices"

// PutItem.
//
// As AWS: the whole item is replaced; conditions, ReturnValues NONE and ALL_OLD, the old item with a refusal, consumed
// capacity, every limit of keys, items and numbers. A refusal costs the units of the item that stays, at least one
// ("Working with items", conditional writes), and its answer doesn't tell them.
// Differs: indexes are up to date at once, and their writes cost no units. Units are refused by partition key alone
// (Options.WriteUnits), whatever the table's capacity. An attribute that is given twice is a SerializationException.
// Missing: Expected and ConditionalOperator (a ValidationException), item collection metrics (ignored).

// writeInput is what the calls that write one item have in common.
type writeInput struct {
	TableName                           string
	Item                                item    // PutItem
	Key                                 item    // DeleteItem and UpdateItem
	UpdateExpression                    *string // UpdateItem
	ConditionExpression                 *string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           map[string]value
	ReturnValues                        string
	ReturnConsumedCapacity              string
	ReturnValuesOnConditionCheckFailure string

	AttributeUpdates    map[string]any // what expressions replaced: refused
	Expected            map[string]any
	ConditionalOperator string
}

// check refuses the parameters that expressions replaced, and a choice of values to return that the call has not.
func (in *writeInput) check(returns ...string) error {
	if in.Expected != nil || in.ConditionalOperator != "" || in.AttributeUpdates != nil {
		return errValidation("The parameters before expressions (AttributeUpdates, Expected, ConditionalOperator) are not supported here: use expressions")
	}
	if in.ReturnValues != "" && in.ReturnValues != "NONE" && !slices.Contains(returns, in.ReturnValues) {
		return errValidation("Return values set to invalid value")
	}
	return nil
}

type writeOutput struct {
	Attributes       item      `json:",omitempty"`
	ConsumedCapacity *capacity `json:",omitempty"`
}

func (s *Server) putItem(in *writeInput) (any, error) {
	return s.replace(in, in.Item, in.Item, (*table).checkItem)
}

// replace puts next in the place of the item with key's key attributes, or deletes that where there is no next.
func (s *Server) replace(in *writeInput, key, next item, check func(*table, item) error) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if err := in.check("ALL_OLD"); err != nil {
		return nil, err
	}
	p := newParameters(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	passes, _, err := t.condition(p, "ConditionExpression", in.ConditionExpression)
	if err != nil {
		return nil, err
	}
	if err := p.unused(); err != nil {
		return nil, err
	}
	if err := check(t, key); err != nil {
		return nil, err
	}
	hash, sort, _ := t.primary.place(key)
	costs := newBill(in.ReturnConsumedCapacity)
	done, err := s.write(t, hash, sort, costs, func(old item) (item, error) {
		if !passes(old) {
			return old, errCondition(old, in.ReturnValuesOnConditionCheckFailure == "ALL_OLD")
		}
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	out := writeOutput{ConsumedCapacity: t.written(in.ReturnConsumedCapacity, costs)}
	if in.ReturnValues == "ALL_OLD" {
		out.Attributes = done.old
	}
	return out, nil
}

package conformance

import (
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Updates have exactly these results. TestUpdatesAgree makes up many more, where DynamoDB Local is there to be asked.
func TestUpdates(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		testUpdates(t, dynamodb.NewFromConfig(Config(t, embedded(t))))
	})
	t.Run("emulators", func(t *testing.T) {
		testUpdates(t, dynamodb.NewFromConfig(Config(t, emulator(t, "TRIBUTARY_TEST_DYNAMODB"))))
	})
}

func testUpdates(t *testing.T, client *dynamodb.Client) {
	c, end := newT(t.Context(), 0)
	defer end()
	name := newTable(c, client).name
	item := row("t", "s")
	maps.Copy(item, map[string]types.AttributeValue{
		"n": num("10"), "st": str("abc"), "ss": &types.AttributeValueMemberSS{Value: []string{"a", "b"}},
		"l": lst(num("1"), str("two"), num("3")), "m": doc("k", str("v"), "n", num("4")),
	})
	const (
		unchanged = "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:10 ss:SS[a b] st:abc}"
		invalid   = "ValidationException"
	)
	values := map[string]types.AttributeValue{
		":one": num("1"), ":s": str("x"), ":l": lst(num("7")), ":max": num("99999999999999999999999999999999999999"), ":tiny": num("0.1"),
		":ab": &types.AttributeValueMemberSS{Value: []string{"a", "b"}}, ":bc": &types.AttributeValueMemberSS{Value: []string{"b", "c"}},
	}
	for _, test := range []struct {
		name, update, condition string
		returns                 types.ReturnValue // UPDATED_NEW where empty
		item                    map[string]types.AttributeValue
		answer, then            string // the item as it is afterwards
	}{
		{"a sum", "SET n = n + :one", "", "", item, "{n:11}", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:11 ss:SS[a b] st:abc}"},
		{"a difference", "SET n = :one - n", "", "", item, "{n:-9}", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:-9 ss:SS[a b] st:abc}"},
		{"a sum of more than 38 digits", "SET n = :max + :tiny", "", "", item, invalid, unchanged},
		{"a sum of one digit and 38 zeros", "SET n = :max + :one", "", "UPDATED_NEW", item, "{n:100000000000000000000000000000000000000}",
			"{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:100000000000000000000000000000000000000 ss:SS[a b] st:abc}"},
		{"a sum with what is not there", "SET n = nope + :one", "", "", item, invalid, unchanged},
		{"a sum with text", "SET n = st + :one", "", "", item, invalid, unchanged},
		{"into a map", "SET m.k = :s", "", "", item, "{m:{k:x n:4}}", "{PK:t SK:s l:[1 two 3] m:{k:x n:4} n:10 ss:SS[a b] st:abc}"},
		{"into what is no map", "SET n.k = :s", "", "", item, invalid, unchanged},
		{"behind a list's end", "SET l[9] = :s", "", "", item, "-", "{PK:t SK:s l:[1 two 3 x] m:{k:v n:4} n:10 ss:SS[a b] st:abc}"},
		{"what is there stays", "SET n = if_not_exists(n, :one)", "", "", item, "{n:10}", unchanged},
		{"what is not there is made", "SET st = if_not_exists(fresh, :s)", "", "", item, "{st:x}", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:10 ss:SS[a b] st:x}"},
		{"in front of a list", "SET l = list_append(:l, l)", "", "", item, "{l:[7 1 two 3]}", "{PK:t SK:s l:[7 1 two 3] m:{k:v n:4} n:10 ss:SS[a b] st:abc}"},
		{"a swap reads what was there", "SET n = m.n, m.n = n", "", "", item, "{m:{k:v n:10} n:4}", "{PK:t SK:s l:[1 two 3] m:{k:v n:10} n:4 ss:SS[a b] st:abc}"},
		{"removals by the indexes that were", "REMOVE l[0], l[1], m.k", "", "ALL_NEW", item, "{PK:t SK:s l:[3] m:{n:4} n:10 ss:SS[a b] st:abc}", "{PK:t SK:s l:[3] m:{n:4} n:10 ss:SS[a b] st:abc}"},
		{"ADD", "ADD n :one, ss :bc", "", "", item, "{n:11 ss:SS[a b c]}", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:11 ss:SS[a b c] st:abc}"},
		{"ADD to another type", "ADD st :one", "", "", item, invalid, unchanged},
		{"DELETE", "DELETE ss :bc", "", "", item, "{ss:SS[a]}", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:10 ss:SS[a] st:abc}"},
		{"an empty set is gone", "DELETE ss :ab", "", "", item, "-", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:10 st:abc}"},
		{"the old values", "ADD n :one", "", "UPDATED_OLD", item, "{n:10}", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:11 ss:SS[a b] st:abc}"},
		{"nothing", "ADD n :one", "", "NONE", item, "-", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:11 ss:SS[a b] st:abc}"},
		{"an item is made", "SET n = :one", "", "", nil, "{n:1}", "{PK:t SK:s n:1}"},
		{"a key attribute", "SET SK = :s", "", "", item, invalid, unchanged},
		{"two paths that meet", "SET m = :s, m.k = :s", "", "", item, invalid, unchanged},
		{"a clause twice", "SET n = :one SET st = :s", "", "", item, invalid, unchanged},
		{"a condition that holds", "SET st = :s", "n > :one", "", item, "{st:x}", "{PK:t SK:s l:[1 two 3] m:{k:v n:4} n:10 ss:SS[a b] st:x}"},
		{"a condition that doesn't", "SET st = :s", "n = :one", "", item, "ConditionalCheckFailedException " + unchanged, unchanged},
	} {
		in := dynamodb.UpdateItemInput{Key: row("t", "s"), UpdateExpression: &test.update, ReturnValues: test.returns}
		if in.ReturnValues == "" {
			in.ReturnValues = types.ReturnValueUpdatedNew
		}
		if test.condition != "" {
			in.ConditionExpression = aws.String(test.condition)
			in.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
		}
		in.ExpressionAttributeValues = mentioned(values, test.update+" "+test.condition)
		if got, why := told(t, client, name, test.item, in); got != test.answer+"\n then "+test.then {
			t.Errorf("%s: %s\n got %s (%s)\nwant %s\n then %s", test.name, test.update, got, why, test.answer, test.then)
		}
	}
}

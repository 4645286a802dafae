package conformance

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// updates makes up UpdateItem calls.
type updates struct{ *rand.Rand }

func pick[T any](r updates, from ...T) T { return from[r.IntN(len(from))] }

func lst(v ...types.AttributeValue) types.AttributeValue {
	return &types.AttributeValueMemberL{Value: append([]types.AttributeValue{}, v...)}
}

func doc(pairs ...any) types.AttributeValue {
	m := map[string]types.AttributeValue{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1].(types.AttributeValue)
	}
	return &types.AttributeValueMemberM{Value: m}
}

// values are what the expressions name, one of each type and a few that make trouble.
func (r updates) values() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		":n": num(pick(r, "1", "-2.5", "0", "1000000000000000000000000000000000000", "0.0000000001", "1E125", "-9E125", "3")),
		":s": str("x"), ":b": &types.AttributeValueMemberB{Value: []byte("b")}, ":t": &types.AttributeValueMemberBOOL{Value: true},
		":z":  &types.AttributeValueMemberNULL{Value: true},
		":l":  pick(r, lst(), lst(num("7")), lst(str("p"), doc("k", str("q")))),
		":m":  pick(r, doc(), doc("k", num("5")), doc("k", lst(num("1")))),
		":ss": &types.AttributeValueMemberSS{Value: pick(r, []string{"a"}, []string{"a", "b"}, []string{"z", "a"})},
		":ns": &types.AttributeValueMemberNS{Value: pick(r, []string{"1"}, []string{"1", "2.50"}, []string{"9"})},
		":bs": &types.AttributeValueMemberBS{Value: [][]byte{[]byte("a")}},
	}
}

func (r updates) item() map[string]types.AttributeValue {
	if r.IntN(8) == 0 {
		return nil
	}
	item := row("t", "s")
	all := map[string]types.AttributeValue{
		"n": num(pick(r, "1", "10.5", "-3", "99999999999999999999999999999999999999")), "st": str("abc"), "ss": &types.AttributeValueMemberSS{Value: []string{"a", "b"}},
		"ns": &types.AttributeValueMemberNS{Value: []string{"1", "2.5"}}, "bs": &types.AttributeValueMemberBS{Value: [][]byte{[]byte("a"), []byte("b")}},
		"l": lst(num("1"), str("two"), doc("k", num("3")), lst(str("in"))), "m": doc("k", str("v"), "n", num("4"), "l", lst(num("1"), num("2")), "m", doc("k", num("6")), "ss", &types.AttributeValueMemberSS{Value: []string{"a"}}),
		"user_id": str("u"),
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if r.IntN(6) > 0 {
			item[name] = all[name]
		}
	}
	return item
}

func (r updates) path() string {
	p := pick(r, "n", "st", "ss", "ns", "bs", "l", "m", "m", "l", "fresh", "other", "user_id")
	if r.IntN(100) == 0 {
		p = pick(r, "PK", "SK", "status", "PK.k")
	}
	for p == "m" && r.IntN(4) > 0 || p == "l" && r.IntN(4) > 0 || r.IntN(30) == 0 {
		if p == "l" && r.IntN(12) > 0 || p == "m.l" || r.IntN(12) == 0 {
			p += fmt.Sprintf("[%d]", r.IntN(6))
		} else {
			p += "." + pick(r, "k", "n", "l", "m", "ss", "fresh")
		}
	}
	return p
}

func (r updates) value(likely string) string {
	if r.IntN(6) > 0 && likely != "" {
		return likely
	}
	return pick(r, ":n", ":s", ":b", ":t", ":z", ":l", ":m", ":ss", ":ns", ":bs")
}

func (r updates) operand(depth int) string {
	switch r.IntN(7) {
	case 0, 1:
		return pick(r, "st", "n", "m.k", "l[1]", "m", "ss", r.path())
	case 2:
		if depth < 2 {
			return "if_not_exists(" + r.path() + ", " + r.operand(depth+1) + ")"
		}
	case 3:
		if depth < 2 {
			a, b := r.value(":l"), pick(r, "l", "m.l", ":l", "if_not_exists(l, :l)", "if_not_exists(other, :l)", "list_append(:l, :l)")
			if r.IntN(2) == 0 {
				a, b = b, a
			}
			return "list_append(" + a + ", " + b + ")"
		}
	}
	return r.value("")
}

func (r updates) assignment() string {
	p := r.path()
	switch r.IntN(4) {
	case 0:
		return p + " = " + pick(r, "n", "m.n", "if_not_exists("+p+", :n)", "if_not_exists(n, :n)", "if_not_exists(fresh, :n)", "l[0]", ":n", ":n", r.operand(0)) + pick(r, " + ", " - ") + pick(r, ":n", ":n", ":n", ":n", ":n", ":n", "n", "m.n", r.operand(1))
	default:
		return p + " = " + r.operand(0)
	}
}

func (r updates) expression() string {
	var clauses []string
	some := func(clause string, one func() string) {
		var parts []string
		for range 1 + r.IntN(2) {
			parts = append(parts, one())
		}
		clauses = append(clauses, clause+" "+strings.Join(parts, ", "))
	}
	if r.IntN(3) > 0 {
		some(pick(r, "SET", "set"), r.assignment)
	}
	if r.IntN(3) == 0 {
		some("REMOVE", r.path)
	}
	if r.IntN(3) == 0 {
		some("ADD", func() string {
			return pick(r, "n :n", "m.n :n", "ss :ss", "ns :ns", "fresh :n", "other :ss", "n :n", "m.ss :ss", "bs :bs", r.path()+" "+r.value(""))
		})
	}
	if r.IntN(4) == 0 {
		some("DELETE", func() string {
			return pick(r, "ss :ss", "ns :ns", "m.ss :ss", "fresh :ss", "bs :bs", "ss :ss", r.path()+" "+r.value(""))
		})
	}
	if r.IntN(15) == 0 {
		clauses = append(clauses, pick(r, "SET", "n = :n", "SET n", "REMOVE", "ADD n", "SET n = n + :n + :n", "SET n = size(l)", "SET n = (:n)", "SET n = (n + :n)", "SET n = (n) + (:n)", "SET n = (n + :n) + :n", "SET n = ((:n))", "SET n = (if_not_exists(n, :n))", "SET n = if_not_exists(n, (:n))", "SET n = :n + (n - :n)", "SET l = (list_append(l, :l))", "SET l = list_append((l), :l)", "SET n = ((n) + :n)", "SET st = (st)", "SET (n) = :n", "SET m = (:l + :n)", "REMOVE n n", "SET n = :n,", "SET n == :n", "DELETE n", "SET fresh = list_append(:l)", "ADD fresh n"))
	}
	r.Shuffle(len(clauses), func(i, j int) { clauses[i], clauses[j] = clauses[j], clauses[i] })
	return strings.Join(clauses, " ")
}

func (r updates) call() (item map[string]types.AttributeValue, in *dynamodb.UpdateItemInput) {
	item = r.item()
	in = &dynamodb.UpdateItemInput{Key: row("t", "s"), ReturnValues: pick(r, types.ReturnValueNone, types.ReturnValueAllOld, types.ReturnValueAllNew, types.ReturnValueUpdatedOld, types.ReturnValueUpdatedNew, types.ReturnValueUpdatedNew)}
	text := ""
	if e := r.expression(); e != "" || r.IntN(3) == 0 {
		in.UpdateExpression = &e
		text = e
	}
	if r.IntN(4) == 0 {
		c := pick(r, "attribute_exists(PK)", "attribute_not_exists(n)", "n > :n", "contains(ss, :s) OR attribute_exists(m.k)", "size(l) = :n")
		in.ConditionExpression = &c
		text += " " + c
		in.ReturnValuesOnConditionCheckFailure = pick(r, types.ReturnValuesOnConditionCheckFailureNone, types.ReturnValuesOnConditionCheckFailureAllOld)
	}
	in.ExpressionAttributeValues = mentioned(r.values(), text)
	return item, in
}

// mentioned are those of the values that an expression names, nil where it names none.
func mentioned(values map[string]types.AttributeValue, text string) (out map[string]types.AttributeValue) {
	words := strings.FieldsFunc(text, func(c rune) bool { return c != ':' && (c < 'a' || c > 'z') })
	for name, v := range values {
		if slices.Contains(words, name) {
			if out == nil {
				out = map[string]types.AttributeValue{}
			}
			out[name] = v
		}
	}
	return out
}

// told is all that a call told: its error's code and item, or its attributes, and then the item that is there.
func told(t *testing.T, client *dynamodb.Client, table string, item map[string]types.AttributeValue, in dynamodb.UpdateItemInput) (tells, why string) {
	t.Helper()
	in.TableName = &table
	var err error
	if item == nil {
		_, err = client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: in.Key})
	} else {
		_, err = client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item})
	}
	if err != nil {
		t.Fatal(err)
	}
	answer := ""
	out, err := client.UpdateItem(t.Context(), &in)
	if api := smithy.APIError(nil); errors.As(err, &api) {
		answer, why = api.ErrorCode(), api.ErrorMessage()
		if failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
			answer += " " + sorted(failed.Item)
		}
	} else if err != nil {
		t.Fatal(err)
	} else {
		answer = sorted(out.Attributes)
	}
	got, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: in.Key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return answer + "\n then " + sorted(got.Item), why
}

// sorted prints an item the same whatever the order of its attributes and of its sets.
func sorted(item map[string]types.AttributeValue) string {
	if item == nil {
		return "-"
	}
	return shown(&types.AttributeValueMemberM{Value: item})
}

func shown(v types.AttributeValue) string {
	var parts []string
	switch v := v.(type) {
	case *types.AttributeValueMemberM:
		for _, name := range slices.Sorted(maps.Keys(v.Value)) {
			parts = append(parts, name+":"+shown(v.Value[name]))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case *types.AttributeValueMemberL:
		for _, e := range v.Value {
			parts = append(parts, shown(e))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case *types.AttributeValueMemberSS:
		return fmt.Sprint("SS", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberNS:
		for _, n := range v.Value {
			parts = append(parts, exact(n))
		}
		slices.Sort(parts)
		return fmt.Sprint("NS", parts)
	case *types.AttributeValueMemberN:
		return exact(v.Value)
	case *types.AttributeValueMemberBS:
		for _, b := range v.Value {
			parts = append(parts, string(b))
		}
		slices.Sort(parts)
		return fmt.Sprint("BS", parts)
	}
	return fmt.Sprintf("%v", reflect.ValueOf(v).Elem().Field(0).Interface())
}

// exact is a number in one form: DynamoDB Local answers an update with the forms that were sent or calculated.
func exact(n string) string {
	r, ok := new(big.Rat).SetString(n)
	if !ok {
		return "not a number: " + n
	}
	return r.RatString()
}

// The embedded stack does with made-up updates what DynamoDB Local does.
func TestUpdatesAgree(t *testing.T) {
	referee := dynamodb.NewFromConfig(Config(t, emulator(t, "TRIBUTARY_TEST_DYNAMODB")))
	own := dynamodb.NewFromConfig(Config(t, embedded(t)))
	c, end := newT(t.Context(), 0)
	defer end()
	name := newTable(c, referee).name
	if err := createTable(c, own, name); err != nil {
		t.Fatal(err)
	}
	const calls = 3000
	r := updates{rand.New(rand.NewPCG(1, 2))} //nolint:gosec // the same calls each time
	differ, refused := 0, 0
	for range calls {
		item, in := r.call()
		want, theirs := told(t, referee, name, item, *in)
		got, ours := told(t, own, name, item, *in)
		if strings.HasPrefix(want, "ValidationException") {
			refused++
		}
		if got != want {
			differ++
			if differ < 20 {
				t.Errorf("item %s\nupdate %q if %q, return %s, values %s\n got %s (%s)\nwant %s (%s)", sorted(item), aws.ToString(in.UpdateExpression), aws.ToString(in.ConditionExpression),
					in.ReturnValues, sorted(in.ExpressionAttributeValues), got, ours, want, theirs)
			}
		}
	}
	t.Logf("%d of %d calls were refused, %d differ", refused, calls, differ)
	if refused > calls*3/4 || refused < calls/20 {
		t.Errorf("%d of %d calls were refused: the calls are not worth making", refused, calls)
	}
}

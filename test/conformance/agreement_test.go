package conformance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
	"tributary/internal/table"
	"tributary/test/support/commands"
)

// TestValidationAgrees holds the product's own limits to DynamoDB's: what messages lets through is written, and what
// it refuses for its size, depth or number DynamoDB would have refused too. A limit that is too wide poisons batches;
// one that is too narrow dead-letters what could have been written.
func TestValidationAgrees(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { validationAgrees(t, embedded(t)) })
	t.Run("emulators", func(t *testing.T) { validationAgrees(t, emulator(t, "TRIBUTARY_TEST_DYNAMODB")) })
}

func validationAgrees(t *testing.T, endpoint string) {
	client := dynamodb.NewFromConfig(Config(t, endpoint))
	c, end := newT(t.Context(), 0)
	defer end()
	tb := &dynamoTable{client, unique()}
	if err := createTable(c, client, tb.name); err != nil {
		t.Fatal(err)
	}
	tb.drop(c)

	cases := map[string]*messages.Command{}
	order := func(amount string) *messages.Command {
		c := commands.PutOrder("t", "o", "u", amount)
		return &c
	}
	digits := strings.Repeat("1234567890", 4)
	for _, amount := range []string{
		"0", "-0", "0.00", "150.00", "1e3", "1E+3", "1e-3", digits[:38], digits[:39], digits[:38] + "0", digits[:38] + strings.Repeat("0", 87), digits[:38] + strings.Repeat("0", 88),
		"0." + strings.Repeat("0", 92) + digits[:38], "0." + strings.Repeat("0", 93) + digits[:38], "1E125", "9.99E125", "10E125", "1E126", "1E-130", "1E-131", "10E-131",
		"0.1E-129", "-9.9E125", "-1E126", "0E999", "1." + strings.Repeat("0", 60), "NaN", "+1", "1.", ".1", "01", "--1", "1e", "",
	} {
		cases["order_amount "+amount] = order(amount)
	}
	for depth := 29; depth <= 34; depth++ {
		command := order("1")
		command.Attributes = `{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`
		cases[fmt.Sprintf("attributes with %d lists", depth)] = command
		command = order("1")
		command.Attributes = strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
		cases[fmt.Sprintf("attributes with %d objects around a number", depth)] = command
	}
	for _, n := range []string{digits[:38], digits[:39], "1e125", "1e126", "1e-130", "1e-131", "0.10"} {
		command := order("1")
		command.Attributes = `{"n":` + n + `}`
		cases["attributes with "+n] = command
	}
	fill := func(attributes string) *messages.Command {
		command := commands.Version(commands.PutUser("t", "u", "", "é@x"), 12345)
		command.Attributes = attributes
		command.Values.Set(0, strings.Repeat("n", limits.DynamoDBItemBytes-command.ItemBytes()))
		return &command
	}
	for _, attributes := range []string{"", `{}`, `{"a":{"b":[1,2.5,-3,null,true,"é"]},"":"","n":12345678901234567890,"z":1200,"small":0.00012}`} {
		exact := fill(attributes)
		cases["400 KB "+attributes] = exact
		over := *exact
		over.Values.Set(0, over.Get("user_name")+"n")
		cases["400 KB and a byte "+attributes] = &over
	}

	for name, command := range cases {
		t.Run(name[:min(len(name), 80)], func(t *testing.T) {
			own := command.Validate()
			if own != nil && own.Reason == messages.ReasonInvalidField && narrower[command.Get("order_amount")] {
				return
			}
			var item table.Attributes
			if own == nil {
				item = table.Item(command)
			} else {
				// What a refused command would have become, with its amount as it stands: only valid ones are normalised.
				item = table.Item(command)
				if command.Type == commands.Order {
					item["order_amount"] = num(command.Get("order_amount"))
				}
			}
			_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &tb.name, Item: item})
			var api smithy.APIError
			if err != nil && (!errors.As(err, &api) || api.ErrorCode() != "ValidationException") {
				t.Fatal(err)
			}
			switch {
			case own == nil && err != nil:
				t.Errorf("the command is valid, but DynamoDB refuses its item: %v", err)
			case own != nil && err == nil:
				t.Errorf("the command is refused (%v), but DynamoDB takes its item", own)
			}
		})
	}
}

// narrower are amounts that the contract refuses although DynamoDB takes them: they are not JSON numbers.
var narrower = map[string]bool{"+1": true, "1.": true, ".1": true, "01": true}

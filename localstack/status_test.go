package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/base/cli"
	"tributary/internal/operate/setup"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

func TestStatus(t *testing.T) {
	s := stack.New(stack.Options{})
	defer s.Close()
	server := httptest.NewServer(s)
	defer server.Close()
	cfg := stacktest.Config(s)
	queues, tables := sqs.NewFromConfig(cfg), dynamodb.NewFromConfig(cfg)
	does := setup.Setup{Queues: queues, Tables: tables, Features: tables}
	if _, err := does.Run(t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: "Table"}); err != nil {
		t.Fatal(err)
	}
	for i, body := range []string{"one", "two", "three"} {
		in := &sqs.SendMessageInput{QueueUrl: aws.String("commands"), MessageBody: &body}
		if i == 2 {
			in.DelaySeconds = 900
		}
		if _, err := queues.SendMessage(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("commands")}); err != nil {
		t.Fatal(err)
	}
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	for _, item := range []map[string]types.AttributeValue{{"PK": text("a"), "SK": text("1"), "user_id": text("u")}, {"PK": text("b"), "SK": text("1")}} {
		if _, err := tables.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("Table"), Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (int, string, string) {
		var out, said strings.Builder
		status := cli.Main(context.Background(), "localstack", "", &command{}, append([]string{"status", "--endpoint", server.URL + "/"}, args...), &cli.Streams{Out: &out, Err: &said})
		return status, out.String(), said.String()
	}
	const want = "TABLE  INDEX           ITEMS  BYTES  PARTITIONS\n" +
		"Table  -               2      20     2\n" +
		"Table  orders_by_user  1      14     1\n" +
		"\n" +
		"QUEUE         VISIBLE  IN FLIGHT  DELAYED\n" +
		"commands      1        1          1\n" +
		"commands-dlq  0        0          0\n"
	if status, out, said := run(); status != 0 || out != want || said != "" {
		t.Errorf("exit status %d\n%s\nwant\n%s\nsaid %q", status, out, want, said)
	}
	status, out, said := run("--output", "json")
	var got stack.Status
	if err := json.Unmarshal([]byte(out), &got); status != 0 || err != nil || len(got.Tables) != 1 || got.Tables[0].Items != 2 || len(got.Queues) != 2 || got.Queues[0].InFlight != 1 {
		t.Errorf("exit status %d, %s, said %q, %v", status, out, said, err)
	}
}

// What is no stack is named.
func TestStatusOfSomethingElse(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for url, want := range map[string]string{other.URL: "status 404", gone.URL: "is it running?"} {
		var said strings.Builder
		status := cli.Main(t.Context(), "localstack", "", &command{}, []string{"status", "--endpoint", url}, &cli.Streams{Out: &strings.Builder{}, Err: &said})
		if status != cli.StatusFailed || !strings.Contains(said.String(), want) {
			t.Errorf("%s: exit status %d, said %q", url, status, said.String())
		}
	}
}

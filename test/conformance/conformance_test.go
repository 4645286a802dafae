package conformance

import (
	"flag"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/localstack/stack"
	"tributary/test/faults"
)

// TestMain runs many cases at once, whatever the number of cores, unless it is told how many: they wait more than
// they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// embedded serves the stack that the repository brings along, over real HTTP.
func embedded(t *testing.T) (endpoint string) {
	s := stack.New(stack.Options{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close) // first: a server waits for its long polls
	return server.URL
}

// behindFront is the embedded stack behind a fault-injecting front that injects nothing: the front must not be seen.
func behindFront(t *testing.T) (endpoint string) {
	stack := embedded(t)
	front, err := faults.New(faults.Backends{DynamoDB: stack, SQS: stack}, 1, faults.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front)
	t.Cleanup(front.Close)
	t.Cleanup(server.Close)
	return server.URL
}

// emulator returns the endpoint that `go run ./localstack/emulators exec` put into the environment. Without one it
// skips the test, but not in CI, where half of the suite must not go missing unseen.
func emulator(t *testing.T, variable string) (endpoint string) {
	t.Helper()
	endpoint = os.Getenv(variable)
	if endpoint == "" {
		const how = "run it by: go run ./localstack/emulators exec -- go test ./test/conformance"
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not set: %s", variable, how)
		}
		t.Skipf("NOT RUN: %s is not set: %s", variable, how)
	}
	return endpoint
}

func TestSQS(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		SQS(t, sqs.NewFromConfig(Config(t, embedded(t))), Embedded)
	})
	t.Run("front", func(t *testing.T) {
		SQS(t, sqs.NewFromConfig(Config(t, behindFront(t))), Embedded)
	})
	t.Run("emulators", func(t *testing.T) {
		SQS(t, sqs.NewFromConfig(Config(t, emulator(t, "TRIBUTARY_TEST_SQS"))), ElasticMQ)
	})
}

func TestDynamoDB(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		DynamoDB(t, dynamodb.NewFromConfig(Config(t, embedded(t))), Embedded)
	})
	t.Run("front", func(t *testing.T) {
		DynamoDB(t, dynamodb.NewFromConfig(Config(t, behindFront(t))), Embedded)
	})
	t.Run("emulators", func(t *testing.T) {
		DynamoDB(t, dynamodb.NewFromConfig(Config(t, emulator(t, "TRIBUTARY_TEST_DYNAMODB"))), DynamoDBLocal)
	})
}

package stack_test

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/localstack/stack"
)

func TestOneAddressForBothServices(t *testing.T) {
	s := stack.New(stack.Options{Region: "eu-central-1", Account: "123456789012"})
	defer s.Close()
	h := httptest.NewServer(s)
	defer h.Close()
	login := credentials.NewStaticCredentialsProvider("x", "y", "")
	made, err := sqs.New(sqs.Options{Region: "x", BaseEndpoint: &h.URL, Credentials: login}).
		CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
	if err != nil || *made.QueueUrl != h.URL+"/123456789012/q" {
		t.Errorf("create queue: %+v, %v", made, err)
	}
	if _, err := dynamodb.New(dynamodb.Options{Region: "x", BaseEndpoint: &h.URL, Credentials: login}).
		ListTables(t.Context(), &dynamodb.ListTablesInput{}); err != nil {
		t.Errorf("list tables: %v", err)
	}
	response, err := h.Client().Post(h.URL, "text/plain", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("a request for no service: status %d, want 400", response.StatusCode)
	}
}

// The stack is a development tool: nothing of it may end up in what is deployed.
func TestNotLinkedIntoThePrograms(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "tributary/cmd/...").Output()
	if err != nil {
		t.Fatalf("list dependencies: %v", err)
	}
	for dep := range strings.Lines(string(out)) {
		if strings.HasPrefix(dep, "tributary/localstack") {
			t.Errorf("a program depends on %s", strings.TrimSpace(dep))
		}
	}
}

// The rules of both services are written out here. What the product takes them for must not decide what the stack does.
func TestKnowsNothingOfTheProduct(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "tributary/localstack/stack").Output()
	if err != nil {
		t.Fatalf("list dependencies: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		// JSON's syntax is no rule of a service.
		if dep := strings.TrimSpace(line); strings.HasPrefix(dep, "tributary/internal/") && dep != "tributary/internal/base/rawjson" {
			t.Errorf("the stack depends on %s", dep)
		}
	}
}

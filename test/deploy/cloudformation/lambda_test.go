package cloudformation_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/test/lambda/simulator"
	"tributary/test/support/pytools"
	"tributary/test/support/standin"
)

const lambdaTemplate = "../../../deploy/cloudformation/lambda.yaml"

// TestLambdaTemplateIsCleanByCfnLint has AWS's own schemas look at the template.
func TestLambdaTemplateIsCleanByCfnLint(t *testing.T) {
	tool := pytools.Need(t, cfnLint)
	lint := func(path string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), tool.Python, "-c", mainOfCfnLint, "--regions", "us-east-1", "--", path)
		cmd.Env = tool.Env()
		return cmd.CombinedOutput()
	}
	if out, err := lint(lambdaTemplate); err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
	text, err := os.ReadFile(lambdaTemplate)
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, bytes.Replace(text, []byte("[ReportBatchItemFailures]"), []byte("[ReportFailures]"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := lint(wrong); err == nil || !strings.Contains(string(out), "ReportFailures") {
		t.Errorf("cfn-lint accepts a response type that there is not: %v\n%s", err, out)
	}
}

// deployLambda makes a stack of the function, with its code in a bucket.
func deployLambda(t *testing.T, moto *url.URL, name string, parameters map[string]string) map[string]string {
	t.Helper()
	put := func(path string, body []byte) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, moto.String()+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("PUT %s: %s", path, answer.Status)
		}
	}
	var code bytes.Buffer
	z := zip.NewWriter(&code)
	if _, err := z.Create("bootstrap"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	put("/code", nil)
	put("/code/lambda-arm64.zip", code.Bytes())
	parameters["CodeBucket"], parameters["CodeKey"] = "code", "lambda-arm64.zip"
	return deployTemplate(t, moto, lambdaTemplate, name, parameters)
}

// TestDeployedFunction deploys queue, table and function on moto, has the doctor look at them, moves commands through the function
// behind a simulated mapping, with the environment that the template gives it, and compares every call that function and
// mapping made with what the role may do.
func TestDeployedFunction(t *testing.T) {
	moto := startMoto(t)
	deploy(t, moto, "tributary", map[string]string{"QueueName": "orders", "TableName": "Shared"})
	outputs := deployLambda(t, moto, "function", map[string]string{"QueueName": "orders", "TableName": "Shared"})
	checks := run(t, moto.String(), "worker", "doctor", "--queue", "orders", "--table", "Shared", "--lambda", outputs["FunctionName"], "--output", "json")
	var found struct {
		Checks []struct{ Name, Status, Found string }
	}
	if err := json.Unmarshal([]byte(checks), &found); err != nil {
		t.Fatalf("doctor's report: %v\n%s", err, checks)
	}
	seen := 0
	for _, c := range found.Checks {
		if c.Name == "TTL" || c.Name == "point-in-time recovery" { // moto's CloudFormation leaves them out
			continue
		}
		if c.Status == "failed" || c.Status == "warning" {
			t.Errorf("doctor: %s: %s: %s", c.Name, c.Status, c.Found)
		}
		if slices.Contains([]string{"function", "function's settings", "function's time-out", "event source mapping", "partial answers", "visibility for the function", "batches", "concurrency"}, c.Name) {
			seen++
		}
	}
	if seen != 8 {
		t.Errorf("doctor made %d checks of the function:\n%s", seen, checks)
	}

	front := newFront(t, moto)
	refuse := func(operation string, body []byte) bool {
		return operation == "BatchWriteItem" && bytes.Contains(body, []byte("tenant#hot"))
	}
	front.set(func() { front.refuse = refuse })
	queue := front.URL + "/123456789012/orders"
	post(t, moto, "orders", `{"type":"put_order","tenant_id":"tenantA","order_id":"o1","user_id":"u","order_amount":"1","version":3}`)
	post(t, moto, "orders", `{"type":"put_user","tenant_id":"tenantA","user_id":"u0","user_name":"n","user_email":"e"}`)
	post(t, moto, "orders", `{"type":"put_user","tenant_id":"tenantA"}`)
	post(t, moto, "orders", `{"type":"delete_user","tenant_id":"hot","user_id":"u"}`)
	folder, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	config := standin.Config(front.URL)
	config.Credentials = aws.CredentialsProviderFunc(ownCredentials)
	m := simulator.New(simulator.Config{
		SQS: sqs.NewFromConfig(config), QueueURL: queue, QueueARN: "arn:aws:sqs:us-east-1:123456789012:orders", BatchSize: 4, Window: 5 * time.Second, Timeout: 9 * time.Second,
		Command: func() *exec.Cmd {
			cmd := program(t, front.URL, "worker")
			cmd.Path, cmd.Args = filepath.Join(folder, "worker"), []string{"bootstrap"}
			for name, value := range functionVariables(t, moto, outputs["FunctionName"]) {
				if name == "TRIBUTARY_QUEUE" {
					value = queue // moto has another host
				}
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			return cmd
		},
	})
	defer m.Close()
	records := m.Gather(t.Context())
	failed, err := m.Invoke(records)
	if err != nil || len(records) != 4 || len(failed) != 1 {
		t.Fatalf("%d records, reported %v, %v", len(records), failed, err)
	}
	m.Remove(records[:1])
	m.Close() // a function that is told of its end takes its item out of the control partition

	// Lambda itself writes logs.
	statements := slices.DeleteFunc(policy(t, moto, outputs["PolicyArn"]), func(s statement) bool {
		return slices.ContainsFunc(s.permissions(), func(permission string) bool { return strings.HasPrefix(permission, "logs:") })
	})
	comparePolicy(t, "the function or its mapping", "PolicyArn", statements, needed(front, front.asked))
}

// functionVariables are the environment variables of a deployed function, each of which a flag must read.
func functionVariables(t *testing.T, moto *url.URL, name string) map[string]string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, moto.String()+"/2015-03-31/functions/"+name+"/configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var function struct {
		Environment struct{ Variables map[string]string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&function); err != nil {
		t.Fatal(err)
	}
	help := run(t, moto.String(), "worker", "lambda", "--help")
	for name := range function.Environment.Variables {
		if strings.HasPrefix(name, "TRIBUTARY_") && !regexp.MustCompile(`\$`+name+`\b`).MatchString(help) {
			t.Errorf("the function has %s, which no flag reads", name)
		}
	}
	return function.Environment.Variables
}

// TestEveryFunctionDeploys has moto make the stack with what is optional.
func TestEveryFunctionDeploys(t *testing.T) {
	moto := startMoto(t)
	for i, parameters := range []map[string]string{
		{"MinimumPollers": "2", "OtlpEndpoint": "http://collector.example:4318", "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms"},
		{"Fifo": "true"},
	} {
		parameters["QueueName"], parameters["TableName"] = fmt.Sprint("orders", i), fmt.Sprint("Shared", i)
		queues := map[string]string{"QueueName": parameters["QueueName"], "TableName": parameters["TableName"]}
		if fifo := parameters["Fifo"]; fifo != "" {
			queues["Fifo"] = fifo
		}
		deploy(t, moto, fmt.Sprint("queues", i), queues)
		if outputs := deployLambda(t, moto, fmt.Sprint("function", i), parameters); outputs["FunctionName"] == "" || outputs["MappingId"] == "" {
			t.Errorf("outputs are %v", outputs)
		}
	}
}

// ownCredentials are those by which a front knows a program's own calls.
func ownCredentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: own, SecretAccessKey: "secret"}, nil
}

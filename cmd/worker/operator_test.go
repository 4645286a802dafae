package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/base/cli"
	"tributary/internal/operate/deadletters"
	"tributary/localstack/stack"
	"tributary/test/support/stacktest"
)

// command runs the program and returns its exit status and what it printed.
func command(t *testing.T, args ...string) (status int, out, talk string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = program(context.Background(), args, &cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}

// onStack leads the program to a stack of its own, and returns a client of its queues.
func onStack(t *testing.T) *sqs.Client {
	t.Helper()
	client, _ := onOwnStack(t)
	return client
}

// onOwnStack is onStack, and returns the stack too.
func onOwnStack(t *testing.T) (*sqs.Client, *stack.Stack) {
	t.Helper()
	embedded := stack.New(stack.Options{})
	server := httptest.NewServer(embedded)
	t.Cleanup(func() {
		embedded.Close()
		server.Close()
	})
	settings(t, server.URL)
	return sqs.NewFromConfig(stacktest.Config(embedded)), embedded
}

// settings are the AWS settings that the program finds, whatever the machine's own are.
func settings(t *testing.T, endpoint string) {
	t.Helper()
	nowhere := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_PROFILE": "",
		"AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL_SQS": "", "AWS_ENDPOINT_URL_DYNAMODB": "", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	for _, name := range []string{"TRIBUTARY_QUEUE", "TRIBUTARY_DLQ", "TRIBUTARY_TABLE", "TRIBUTARY_OUTPUT", "TRIBUTARY_TYPES"} {
		t.Setenv(name, "") // to have it restored
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrongUsageIsOneLineAndStatus2(t *testing.T) {
	settings(t, "http://127.0.0.1:1")
	for _, line := range []string{
		"setup extra",
		"setup --queue a.b",
		"setup --queue x.fifo --dlq y",
		"setup --queue x --dlq x",
		"setup --queue arn:aws:sqs:us-east-1:1:x",
		"setup --table x",
		"setup --read-capacity 5",
		"setup --read-capacity -1 --write-capacity 5",
		"setup --write-capacity many",
		"setup --timeout 0s",
		"setup -o yaml",
		"dlq list --since yesterday",
		"dlq list --since -5m",
		"dlq list --examples -1",
		"dlq show",
		"dlq redrive --rate 0.01",
		"dlq redrive --rate -1",
		"dlq redrive --rate NaN",
		"dlq drop",
		"dlq nonsense",
		"doctor --drain-timeout 0s",
		"doctor --timeout -1s",
	} {
		status, out, talk := command(t, strings.Fields(line)...)
		if status != cli.StatusUsage || out != "" || strings.Count(talk, "\n") != 1 || !strings.HasPrefix(talk, "worker: ") {
			t.Errorf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
	}
	t.Setenv("AWS_REGION", "")
	if status, _, talk := command(t, "setup"); status != cli.StatusUsage || !strings.Contains(talk, "AWS_REGION") {
		t.Errorf("no region: status %d, %q", status, talk)
	}
	t.Setenv("AWS_REGION", "us-east-1")
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB"} {
		good := os.Getenv(name)
		t.Setenv(name, "http://local host")
		if status, _, talk := command(t, "dlq", "list"); status != cli.StatusUsage || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, name+" ") {
			t.Errorf("malformed %s: status %d, %q", name, status, talk)
		}
		t.Setenv(name, good)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	if status, _, talk := command(t, "doctor"); status != cli.StatusUsage || !strings.Contains(talk, "credentials") {
		t.Errorf("no credentials: status %d, %q", status, talk)
	}
}

// All that is wrong is said in the order of the flags, every time.
func TestWrongFlagsAreSaidInOrder(t *testing.T) {
	settings(t, "http://127.0.0.1:1")
	for range 20 {
		_, _, talk := command(t, "run", "--writers", "0", "--max-in-flight", "0", "--max-in-flight-bytes", "0", "--drain-timeout", "0")
		at := -1
		for _, flag := range []string{"--writers is 0", "--max-in-flight is 0", "--max-in-flight-bytes is 0", "--drain-timeout is 0"} {
			next := strings.Index(talk, flag)
			if next < at || next < 0 {
				t.Fatalf("%q is not in its place: %s", flag, talk)
			}
			at = next
		}
	}
}

func TestNoAnswerIsOneLineAndStatus1(t *testing.T) {
	settings(t, "http://127.0.0.1:1")
	for _, line := range []string{"setup", "dlq list", "dlq show x", "dlq redrive", "dlq export", "dlq drop --yes"} {
		status, out, talk := command(t, strings.Fields(line)...)
		if status != cli.StatusFailed || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, "no answer from http://127.0.0.1:1") {
			t.Errorf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
	}
}

// TestAnOperatorsDay sets up, looks, repairs and looks again.
func TestAnOperatorsDay(t *testing.T) {
	client := onStack(t)
	run := func(want int, line string) string {
		t.Helper()
		status, out, talk := command(t, strings.Fields(line)...)
		if status != want {
			t.Fatalf("worker %s: status %d, out %q, talk %q", line, status, out, talk)
		}
		return out
	}
	run(cli.StatusFailed, "doctor")
	if out := run(0, "setup"); strings.Count(out, "created") != 3 {
		t.Errorf("setup: %q", out)
	}
	var made struct{ Resources []struct{ Outcome string } }
	decode(t, run(0, "setup -o json"), &made)
	if len(made.Resources) != 3 || made.Resources[0].Outcome != "unchanged" {
		t.Errorf("setup again: %+v", made)
	}
	if out := run(0, "doctor"); !strings.Contains(out, ", 0 failed, 0 skipped") {
		t.Errorf("doctor: %q", out)
	}
	if out := run(0, "dlq"); out != "tributary-commands-dlq: no letters\n" {
		t.Errorf("no letters: %q", out)
	}

	dlq, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("tributary-commands-dlq")})
	if err != nil {
		t.Fatal(err)
	}
	text := func(v string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
	}
	for _, reason := range []string{"invalid_field", "malformed"} {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: dlq.QueueUrl, MessageBody: aws.String("<b>" + reason), MessageAttributes: map[string]types.MessageAttributeValue{
			"reason": text(reason), "tenant_id": text("acme"), "source_message_id": text("m-" + reason), "detail": text("no good"),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	var list struct {
		Letters  int
		Groups   []deadletters.Group
		Examples []deadletters.Letter
	}
	decode(t, run(0, "dlq list -o json --reason malformed"), &list)
	if list.Letters != 1 || len(list.Groups) != 1 || list.Groups[0].TenantID != "acme" || len(list.Examples) != 1 || list.Examples[0].Body != "<b>malformed" {
		t.Errorf("list: %+v", list)
	}
	if out := run(0, "dlq show m-malformed"); !strings.Contains(out, "<b>malformed") || !strings.Contains(out, "no good") {
		t.Errorf("show: %q", out)
	}
	run(cli.StatusFailed, "dlq show nothing")
	file := filepath.Join(t.TempDir(), "letters.jsonl")
	run(0, "dlq export --to "+file)
	run(cli.StatusUsage, "dlq export --to "+file)
	exported, err := os.ReadFile(file)
	if err != nil || bytes.Count(exported, []byte("\n")) != 2 {
		t.Errorf("export: %q, %v", exported, err)
	}
	if out := run(0, "dlq redrive --dry-run"); !strings.Contains(out, "2 letters would be sent to tributary-commands") {
		t.Errorf("dry run: %q", out)
	}
	if out := run(0, "dlq redrive --reason invalid_field"); out != "1 of 2 letters sent to tributary-commands\n" {
		t.Errorf("redrive: %q", out)
	}
	if out := run(0, "dlq drop --yes --tenant nobody"); out != "0 of 1 letters deleted from tributary-commands-dlq\n" {
		t.Errorf("drop of nothing: %q", out)
	}
	if out := run(0, "dlq drop --yes"); out != "1 of 1 letters deleted from tributary-commands-dlq\n" {
		t.Errorf("drop: %q", out)
	}
}

// hesitant is who answers yes, after something happened.
type hesitant struct {
	meanwhile func()
	*strings.Reader
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.meanwhile != nil {
		h.meanwhile()
		h.meanwhile = nil
	}
	return h.Reader.Read(p)
}

// TestDropDeletesOnlyWhatWasShown confirms a list that has become longer since.
func TestDropDeletesOnlyWhatWasShown(t *testing.T) {
	client := onStack(t)
	if status, _, talk := command(t, "setup"); status != 0 {
		t.Fatalf("setup: %s", talk)
	}
	var out, talk bytes.Buffer
	streams := &cli.Streams{Out: &out, Err: &talk}
	c := &dlqDropCmd{names: names{Queue: "tributary-commands", Table: "MultiTenantTable"}}
	box, _, err := c.box(t.Context(), streams)
	if err != nil {
		t.Fatal(err)
	}
	sendTwo := func(body string) {
		for range 2 {
			if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &box.URL, MessageBody: &body}); err != nil {
				t.Error(err)
			}
		}
	}
	sendTwo("shown")
	streams.In = &hesitant{func() { sendTwo("new") }, strings.NewReader("yes\n")}
	if err := c.drop(t.Context(), streams, box); err != nil {
		t.Fatal(err)
	}
	if out.String() != "2 of 4 letters deleted from tributary-commands-dlq\n" || !strings.Contains(talk.String(), "not shown, so left: 2 letters") {
		t.Errorf("out %q, talk %q", out.String(), talk.String())
	}
	var left []string
	if _, err := box.Each(t.Context(), &deadletters.Filter{}, func(l *deadletters.Letter) error {
		left = append(left, l.Body)
		return nil
	}); err != nil || !slices.Equal(left, []string{"new", "new"}) {
		t.Errorf("left: %q, %v", left, err)
	}
}

func decode(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

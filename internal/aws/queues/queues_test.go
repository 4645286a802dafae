package queues

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/localstack/queue"
	"tributary/test/support/stacktest"
)

func TestNames(t *testing.T) {
	for _, c := range []struct{ given, name, letters, region string }{
		{"commands", "commands", "commands-dlq", ""},
		{"x.fifo", "x.fifo", "x-dlq.fifo", ""},
		{"https://sqs.eu-west-1.amazonaws.com/123456789012/q", "q", "https://sqs.eu-west-1.amazonaws.com/123456789012/q-dlq", "eu-west-1"},
		{"https://eu-west-1.queue.amazonaws.com/123456789012/q.fifo", "q.fifo", "https://eu-west-1.queue.amazonaws.com/123456789012/q-dlq.fifo", "eu-west-1"},
		{"https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", "q", "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q-dlq", "cn-north-1"},
		{"http://127.0.0.1:4566/000000000000/q", "q", "http://127.0.0.1:4566/000000000000/q-dlq", ""},
	} {
		if got := Name(c.given); got != c.name {
			t.Errorf("Name(%q) = %q, want %q", c.given, got, c.name)
		}
		if got := DeadLetters(c.given); got != c.letters {
			t.Errorf("DeadLetters(%q) = %q, want %q", c.given, got, c.letters)
		}
		if got := Region(c.given); got != c.region {
			t.Errorf("Region(%q) = %q, want %q", c.given, got, c.region)
		}
		if got, want := IsFIFO(c.given), strings.HasSuffix(c.name, ".fifo"); got != want {
			t.Errorf("IsFIFO(%q) = %v", c.given, got)
		}
		if err := Check(c.given); err != nil {
			t.Errorf("Check(%q): %v", c.given, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, given := range []string{
		"", "a b", "a.b", "fifo.fifo.fifo", ".fifo", "ü", strings.Repeat("x", 81), "http://", "https://sqs.eu-west-1.amazonaws.com/123456789012/",
		"https://sqs.eu-west-1.amazonaws.com/1/q?x=1", "arn:aws:sqs:eu-west-1:123456789012:q",
	} {
		if Check(given) == nil {
			t.Errorf("Check(%q) accepts it", given)
		}
	}
	if err := Check(strings.Repeat("x", 80)); err != nil {
		t.Errorf("80 characters: %v", err)
	}
}

func TestURL(t *testing.T) {
	server := queue.NewServer(queue.Options{})
	defer server.Close()
	client := sqs.NewFromConfig(stacktest.Config(server))
	_, err := URL(t.Context(), client, "commands")
	if missing, ok := errors.AsType[*NotFoundError](err); !ok || missing.Queue != "commands" || !strings.Contains(missing.Error(), " in us-east-1,") {
		t.Errorf("a queue that isn't there: %v", err)
	}
	made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("commands")})
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range []string{"commands", *made.QueueUrl} {
		if got, err := URL(t.Context(), client, given); err != nil || got != *made.QueueUrl {
			t.Errorf("URL(%q) = %q, %v", given, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = URL(ctx, client, "commands")
	if _, missing := errors.AsType[*NotFoundError](err); missing || !errors.Is(err, context.Canceled) {
		t.Errorf("another error: %v", err)
	}
}

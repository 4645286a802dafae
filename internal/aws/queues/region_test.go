package queues_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tributary/internal/aws/awsclient"
	"tributary/internal/aws/awsjson"
	"tributary/internal/aws/queues"
	"tributary/internal/send/publish"
)

// asked notes where requests went, and for which region they were signed.
type asked struct{ seen []string }

var scope = regexp.MustCompile(`/\d{8}/([a-z0-9-]+)/sqs/`)

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.seen = append(a.seen, r.URL.Host+" "+scope.FindStringSubmatch(r.Header.Get("Authorization"))[1])
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

func (a *asked) Do(r *http.Request) (*http.Response, error) { return a.RoundTrip(r) }

// The region in a queue's URL decides which SQS is asked, by every client that asks it.
func TestAQueuesURLSaysWhichRegionIsAsked(t *testing.T) {
	const fips, dual, endpoint = "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL"
	for name, test := range map[string]struct {
		queue    string
		settings string // name=value, by spaces
		want     string // host and signing region
	}{
		"a name":                    {"commands", "AWS_REGION=us-east-1", "sqs.us-east-1.amazonaws.com us-east-1"},
		"its own region":            {"https://sqs.us-east-1.amazonaws.com/1/q", "AWS_REGION=us-east-1", "sqs.us-east-1.amazonaws.com us-east-1"},
		"another region":            {"https://sqs.eu-west-1.amazonaws.com/1/q", "AWS_REGION=us-east-1", "sqs.eu-west-1.amazonaws.com eu-west-1"},
		"no region but the URL's":   {"https://sqs.eu-west-1.amazonaws.com/1/q", "", "sqs.eu-west-1.amazonaws.com eu-west-1"},
		"a region in capitals":      {"https://SQS.EU-WEST-1.amazonaws.com/1/q", "AWS_REGION=us-east-1", "sqs.eu-west-1.amazonaws.com eu-west-1"},
		"FIPS in the settings":      {"https://sqs.us-west-2.amazonaws.com/1/q", "AWS_REGION=us-east-1 " + fips + "=true", "sqs-fips.us-west-2.amazonaws.com us-west-2"},
		"FIPS in the URL":           {"https://sqs-fips.us-west-2.amazonaws.com/1/q", "AWS_REGION=us-east-1 " + fips + "=true", "sqs-fips.us-west-2.amazonaws.com us-west-2"},
		"dualstack":                 {"https://sqs.eu-central-2.api.aws/1/q", "AWS_REGION=us-east-1 " + dual + "=true", "sqs.eu-central-2.api.aws eu-central-2"},
		"FIPS and dualstack":        {"https://sqs-fips.us-gov-west-1.api.aws/1/q", "AWS_REGION=us-gov-east-1 " + dual + "=true " + fips + "=true", "sqs-fips.us-gov-west-1.api.aws us-gov-west-1"},
		"China":                     {"https://sqs.cn-north-1.amazonaws.com.cn/1/q", "AWS_REGION=us-east-1", "sqs.cn-north-1.amazonaws.com.cn cn-north-1"},
		"the old form":              {"https://eu-west-1.queue.amazonaws.com/1/q", "AWS_REGION=us-east-1", "sqs.eu-west-1.amazonaws.com eu-west-1"},
		"the old form of China":     {"https://cn-north-1.queue.amazonaws.com.cn/1/q", "AWS_REGION=us-east-1", "sqs.cn-north-1.amazonaws.com.cn cn-north-1"},
		"the oldest form":           {"https://queue.amazonaws.com/1/q", "AWS_REGION=eu-west-1", "sqs.us-east-1.amazonaws.com us-east-1"},
		"an endpoint of one's own":  {"https://sqs.eu-west-1.amazonaws.com/1/q", "AWS_REGION=us-east-1 " + endpoint + "=http://127.0.0.1:4566", "127.0.0.1:4566 eu-west-1"},
		"an endpoint and its URL":   {"http://127.0.0.1:4566/0/q", "AWS_REGION=us-east-1 " + endpoint + "=http://127.0.0.1:4566", "127.0.0.1:4566 us-east-1"},
		"an interface of a VPC":     {"https://vpce-0a-1b.sqs.eu-west-1.vpce.amazonaws.com/1/q", "AWS_REGION=us-east-1", "sqs.eu-west-1.amazonaws.com eu-west-1"},
		"LocalStack's host":         {"http://sqs.eu-west-1.localhost.localstack.cloud:4566/0/q", "AWS_REGION=us-east-1 " + endpoint + "=http://127.0.0.1:4566", "127.0.0.1:4566 eu-west-1"},
		"a host that is called sqs": {"http://sqs.internal:9324/0/q", "AWS_REGION=us-east-1 " + endpoint + "=http://sqs.internal:9324", "sqs.internal:9324 us-east-1"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range os.Environ() {
				if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
					t.Setenv(name, "")
				}
			}
			t.Setenv("AWS_CONFIG_FILE", os.DevNull)
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
			t.Setenv("AWS_ACCESS_KEY_ID", "local")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "local")
			for setting := range strings.FieldsSeq(test.settings) {
				name, value, _ := strings.Cut(setting, "=")
				t.Setenv(name, value)
			}
			cfg, err := awsclient.Open(t.Context(), 1, queues.Region(test.queue))
			if err != nil {
				t.Fatal(err)
			}
			to := &asked{}
			cfg.HTTPClient = to
			client := queues.Client(cfg, test.queue)
			hot := awsjson.NewQueue(client, to, test.queue, func(string, string, string, time.Duration) {}, nil)
			for _, call := range []func(context.Context) error{
				func(ctx context.Context) error {
					_, err := queues.ReadURL(ctx, client, test.queue, test.queue)
					return err
				},
				func(ctx context.Context) error { _, err := hot.Receive(ctx, 1, 0); return err },
				func(ctx context.Context) error {
					_, err := publish.Client(cfg, test.queue).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &test.queue, MessageBody: aws.String("x")},
						func(o *sqs.Options) { o.DisableMessageChecksumValidation = true })
					return err
				},
			} {
				if err := call(t.Context()); err != nil {
					t.Error(err)
				}
			}
			for _, seen := range to.seen {
				if seen != test.want {
					t.Errorf("asked %s, want %s", seen, test.want)
				}
			}
			if len(to.seen) != 3 {
				t.Errorf("%d calls", len(to.seen))
			}
		})
	}
}

// Package conformance holds what Tributary relies on of SQS and DynamoDB, as test cases that run against any
// endpoint. What a case demands is AWS's behaviour; where a backend is known to differ, the case itself names the
// backend and says how, and then must see it differ: an allowance that is no longer needed fails.
package conformance

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/logging"

	"tributary/internal/aws/awsclient"
)

// Backend names the service that stands in for AWS.
type Backend string

// The backends that cases know deviations of.
const (
	Embedded      Backend = "embedded"       // localstack/stack, both services
	DynamoDBLocal Backend = "dynamodb-local" // Amazon's emulator
	ElasticMQ     Backend = "elasticmq"
)

// caseTimeout ends a call that a backend never answers.
const caseTimeout = 20 * time.Second

// programTimeout ends a case that runs whole programs. It is for what never ends: DynamoDB Local has taken more than
// thirty seconds to fill an empty index on two cores that run every other test as well.
const programTimeout = 4 * time.Minute

// deviations are the backends that are known not to do what a case demands, each with what it does instead.
type deviations map[Backend]string

// testCase demands one behaviour of a service through its client.
type testCase[Client any] struct {
	name     string
	deviates deviations
	timeout  time.Duration // of the whole case, where it is not caseTimeout
	run      func(c *T, client Client)
}

// T collects a case's reports. It lives as long as the case.
type T struct {
	context.Context // done when the case is out of time
	mu              sync.Mutex
	failures        []string
	cleanups        []func()
}

// Errorf notes that the backend does not do what the case demands.
func (c *T) Errorf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, fmt.Sprintf(format, args...))
}

// Fatalf is Errorf, and ends the case. Only the case's own goroutine may call it.
func (c *T) Fatalf(format string, args ...any) {
	c.Errorf(format, args...)
	runtime.Goexit()
}

// must ends the case when a call failed that only prepares what the case is about.
func (c *T) must(err error, doing string) {
	if err != nil {
		c.Fatalf("%s: %v", doing, err)
	}
}

func (c *T) cleanup(f func()) { c.cleanups = append(c.cleanups, f) }

// unique makes names of queues and tables that no other case has, nor an earlier run against the same endpoint.
func unique() string { return "conformance-" + rand.Text() }

// runCases runs every case in parallel with the others, each with queues and tables of its own.
func runCases[Client any](t *testing.T, client Client, backend Backend, cases []testCase[Client]) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, end := newT(t.Context(), tc.timeout)
			defer end()
			done := make(chan struct{})
			go func() { // of its own, so that Fatalf can end it without ending the test
				defer close(done)
				tc.run(c, client)
			}()
			<-done
			reason, mayDeviate := tc.deviates[backend]
			switch {
			case !mayDeviate:
				for _, f := range c.failures {
					t.Error(f)
				}
			case len(c.failures) == 0:
				t.Errorf("%s no longer deviates: remove the allowance %q", backend, reason)
			default:
				t.Logf("allowed: %s %s\nseen: %s", backend, reason, c.failures[0])
			}
		})
	}
}

func newT(ctx context.Context, timeout time.Duration) (*T, func()) {
	if timeout == 0 {
		timeout = caseTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	c := &T{Context: ctx}
	return c, func() {
		cancel()
		for i := len(c.cleanups) - 1; i >= 0; i-- {
			c.cleanups[i]()
		}
	}
}

// afterwards is a context for cleaning up, when that of the case is done.
func afterwards() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Second)
}

// Config is the product's own AWS configuration for a local endpoint: nothing of the developer's settings, and no
// retries, so that a case sees what the backend answered. It sets environment variables for the test, which
// therefore must not be parallel itself; its subtests may be.
func Config(t *testing.T, endpoint string) aws.Config {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE":             os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_PROFILE":                 "",
		"AWS_ENDPOINT_URL":            "",
		"AWS_ENDPOINT_URL_SQS":        "",
		"AWS_ENDPOINT_URL_DYNAMODB":   "",
		"AWS_REGION":                  "us-east-1",
		"AWS_EC2_METADATA_DISABLED":   "true",
	} {
		t.Setenv(name, value)
	}
	cfg, err := awsclient.Load(t.Context(), 64)
	if err != nil {
		t.Fatal(err)
	}
	cfg.BaseEndpoint = aws.String(endpoint)
	// DynamoDB Local refuses access keys with anything but letters and digits in them.
	cfg.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
	// The SDK logs a warning for each answer without a checksum, as DynamoDB Local's errors are.
	cfg.Logger = logging.Nop{}
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	return cfg
}

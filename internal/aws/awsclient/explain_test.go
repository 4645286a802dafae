package awsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type answer func(*http.Request) (*http.Response, error)

func (a answer) Do(r *http.Request) (*http.Response, error) { return a(r) }

func refuse(status int, body string) answer {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// describe makes a call that fails, and wraps its error as this project does.
func describe(t *testing.T, ctx context.Context, client aws.HTTPClient, endpoint string) error {
	t.Helper()
	api := dynamodb.NewFromConfig(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), HTTPClient: client,
		BaseEndpoint: &endpoint, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
	_, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("Table")})
	if err == nil {
		t.Fatal("the call did not fail")
	}
	return fmt.Errorf("describe table Table: %w", err)
}

func TestExplain(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String() // nobody answers there any more
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"refused connection": {describe(t, t.Context(), http.DefaultClient, closed), "describe table Table: DynamoDB DescribeTable: no answer from " + closed + ": connect: connection refused"},
		"permission":         {describe(t, t.Context(), refuse(400, `{"__type":"x#AccessDeniedException","message":"User: u is not authorized"}`), closed), "describe table Table: DynamoDB DescribeTable is not allowed for these credentials: User: u is not authorized"},
		"credentials":        {describe(t, t.Context(), refuse(400, `{"__type":"x#UnrecognizedClientException","message":"The security token is invalid"}`), closed), "describe table Table: DynamoDB DescribeTable: AWS refuses the credentials (UnrecognizedClientException): The security token is invalid"},
		"any other":          {describe(t, t.Context(), refuse(400, `{"__type":"x#ResourceNotFoundException","message":"no such table"}`), closed), "describe table Table: DynamoDB DescribeTable: ResourceNotFoundException: no such table"},
		"interrupted":        {describe(t, cancelled, http.DefaultClient, closed), "describe table Table: DynamoDB DescribeTable: interrupted"},
	} {
		explained := Explain(c.err)
		if got := explained.Error(); !strings.HasPrefix(got, c.want) || strings.Contains(got, "RequestID") || strings.Contains(got, "\n") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if !errors.Is(explained, c.err) {
			t.Errorf("%s: the error itself is lost", name)
		}
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](Explain(describe(t, t.Context(), refuse(400, `{"__type":"x#ResourceNotFoundException"}`), closed))); !ok {
		t.Error("the type of an explained error is lost")
	}
}

func TestExplainLeavesOthersAlone(t *testing.T) {
	own := &ConfigurationError{Problem: "in words of its own", Err: describe(t, t.Context(), refuse(400, `{}`), "http://127.0.0.1")}
	for _, err := range []error{nil, io.EOF, own} {
		if got := Explain(err); !errors.Is(got, err) || got != nil && got.Error() != err.Error() {
			t.Errorf("Explain(%v) = %v", err, got)
		}
	}
}

func TestCheck(t *testing.T) {
	good := aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	if err := Check(t.Context(), good); err != nil {
		t.Errorf("good settings: %v", err)
	}
	noRegion, noCredentials, emptyCredentials := good, good, good
	noRegion.Region = ""
	noCredentials.Credentials = nil
	emptyCredentials.Credentials = credentials.NewStaticCredentialsProvider("", "", "")
	for name, cfg := range map[string]aws.Config{"no region": noRegion, "no credentials": noCredentials, "empty credentials": emptyCredentials} {
		if _, ok := errors.AsType[*ConfigurationError](Check(t.Context(), cfg)); !ok {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestCheckEndpoints(t *testing.T) {
	cfg := aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	for _, name := range endpointVariables {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "")
	for _, name := range endpointVariables {
		for _, value := range []string{"localhost:4566", "localhost", "http//host", "http://", "http://:4566", "http://local host", "ftp://host", "://"} {
			t.Setenv(name, value)
			err := Check(t.Context(), cfg)
			if _, ok := errors.AsType[*ConfigurationError](err); !ok || !strings.HasPrefix(err.Error(), name+" ") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
		t.Setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
		if err := Check(t.Context(), cfg); err != nil {
			t.Errorf("%s is ignored: %v", name, err)
		}
		t.Setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "")
		for _, value := range []string{"http://127.0.0.1:4566", "https://host", "HTTP://[::1]:4566/", "https://vpce-1.sqs.eu-north-1.vpce.amazonaws.com", ""} {
			t.Setenv(name, value)
			if err := Check(t.Context(), cfg); err != nil {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}

// Go panics where FIPS 140 is enforced and a signature's key is too short.
func TestCheckSecret(t *testing.T) {
	for _, c := range []struct {
		characters int
		fips, good bool
	}{{5, false, true}, {5, true, false}, {9, true, false}, {10, true, true}, {40, true, true}} {
		err := checkSecret(aws.Credentials{SecretAccessKey: strings.Repeat("s", c.characters)}, c.fips)
		if (err == nil) != c.good {
			t.Errorf("%d characters, FIPS enforced %v: %v", c.characters, c.fips, err)
		}
	}
}

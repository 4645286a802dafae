// Package standin helps the demo and tests to run the programs against a stand-in for AWS.
package standin

import (
	"encoding/json"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"tributary/internal/aws/awsclient"
)

// Environ is the environment of a program whose queues and table are at these endpoints, whatever the developer's own
// settings for AWS, Tributary and OpenTelemetry are: those are left out. It ends with more.
func Environ(sqs, dynamodb string, more ...string) []string {
	own := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "TRIBUTARY_") || strings.HasPrefix(v, "OTEL_")
	})
	return slices.Concat(own, []string{
		"AWS_ENDPOINT_URL_SQS=" + sqs, "AWS_ENDPOINT_URL_DYNAMODB=" + dynamodb, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}, more)
}

// Config leads the SDK's clients to an endpoint. Its HTTP client loses no answer: a send that is tried again for a lost
// one would be there twice.
func Config(endpoint string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		HTTPClient: awsclient.OwnBody(awshttp.NewBuildableClient()),
	}
}

// Listening reads a line of a worker's log (--log-format json): one of them says at which addresses its query API and
// its admin server listen, so that a worker can be told port 0. Both are empty where the line says nothing of it.
func Listening(line []byte) (query, admin string) {
	var facts struct{ Query, Admin string }
	_ = json.Unmarshal(line, &facts) // not every line is JSON
	return facts.Query, strings.TrimPrefix(facts.Admin, "http://")
}

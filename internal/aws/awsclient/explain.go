package awsclient

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// credentialsTimeout bounds the search for credentials: its last resort, the instance's metadata service, does
// not answer everywhere.
const credentialsTimeout = 15 * time.Second

// ConfigurationError says that the AWS settings can't be used: nothing was asked of AWS.
type ConfigurationError struct {
	Problem string // one sentence, with what to do
	Err     error  // the cause, or nil
}

func (e *ConfigurationError) Error() string { return e.Problem }

func (e *ConfigurationError) Unwrap() error { return e.Err }

// Check says, before the first call, whether region, credentials and endpoints can be used: the SDK itself notices
// late, in words that need explaining. The error is a *ConfigurationError.
func Check(ctx context.Context, cfg aws.Config) error {
	if err := checkEndpoints(); err != nil {
		return err
	}
	if cfg.Region == "" {
		return &ConfigurationError{Problem: "no AWS region: set AWS_REGION, or AWS_PROFILE to a profile that has one"}
	}
	if cfg.Credentials == nil {
		return &ConfigurationError{Problem: noCredentials}
	}
	within, cancel := context.WithTimeout(ctx, credentialsTimeout)
	defer cancel()
	found, err := cfg.Credentials.Retrieve(within)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &ConfigurationError{Problem: noCredentials, Err: err}
	}
	return checkSecret(found, fips140.Enforced())
}

// minFIPSSecret is the shortest secret key that a signature can be made of where FIPS 140 is enforced: HMAC's key, which is
// "AWS4" and the secret, must have 112 bits (NIST SP 800-131A). With a shorter one Go panics.
const minFIPSSecret = 112/8 - len("AWS4")

func checkSecret(c aws.Credentials, fips bool) error {
	if n := len(c.SecretAccessKey); fips && n < minFIPSSecret {
		return &ConfigurationError{Problem: fmt.Sprintf("the AWS secret access key has %d characters: GODEBUG=fips140=only wants at least %d "+
			"(AWS's own have 40; for a local emulator make one up that is longer)", n, minFIPSSecret)}
	}
	return nil
}

// endpointVariables make the SDK call other hosts than those of AWS ("Service-specific endpoints").
var endpointVariables = []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_STS"}

func checkEndpoints() error {
	if strings.EqualFold(os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		return nil
	}
	for _, name := range endpointVariables {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return &ConfigurationError{Problem: fmt.Sprintf("%s %q is not an endpoint: write it like http://127.0.0.1:4566 or https://example.com", name, text), Err: err}
		}
	}
	return nil
}

const noCredentials = "no AWS credentials: set AWS_PROFILE, sign in (aws sso login), or set AWS_ACCESS_KEY_ID and " +
	"AWS_SECRET_ACCESS_KEY (local emulators take any)"

// explained is an error whose text was shortened; the error that it came from is kept.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }

func (e *explained) Unwrap() error { return e.err }

// Explain shortens the text of an error that came from an SDK call to what a person can act on, keeping what was
// wrapped around it and, for errors.Is and errors.As, the error itself. Other errors, those that have put it in
// their own words, and nil are returned as they are.
func Explain(err error) error {
	operation, ok := errors.AsType[*smithy.OperationError](err)
	if !ok {
		return err
	}
	around, found := strings.CutSuffix(err.Error(), operation.Error())
	if !found {
		return err // it already rewords the error of the SDK
	}
	return &explained{text: around + explain(operation), err: err}
}

func explain(operation *smithy.OperationError) string {
	call := operation.Service() + " " + operation.Operation()
	if api, ok := errors.AsType[smithy.APIError](operation); ok {
		switch code := api.ErrorCode(); code {
		case "AccessDenied", "AccessDeniedException":
			return fmt.Sprintf("%s is not allowed for these credentials: %s", call, api.ErrorMessage())
		case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
			"ExpiredToken", "ExpiredTokenException", "MissingAuthenticationToken", "IncompleteSignature":
			return fmt.Sprintf("%s: AWS refuses the credentials (%s): %s", call, code, api.ErrorMessage())
		default:
			return fmt.Sprintf("%s: %s: %s", call, code, api.ErrorMessage())
		}
	}
	if errors.Is(operation, context.Canceled) {
		return call + ": interrupted"
	}
	if sent, ok := errors.AsType[*url.Error](operation); ok {
		where := sent.URL
		if u, err := url.Parse(sent.URL); err == nil {
			where = u.Scheme + "://" + u.Host
		}
		cause := sent.Err
		if dial, ok := errors.AsType[*net.OpError](cause); ok && dial.Err != nil {
			cause = dial.Err
		}
		return fmt.Sprintf("%s: no answer from %s: %v (AWS_REGION, AWS_ENDPOINT_URL and the network decide who is asked)", call, where, cause)
	}
	return operation.Error()
}

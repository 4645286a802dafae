// Package awsjson makes the calls of a command's path: ReceiveMessage, DeleteMessageBatch and
// ChangeMessageVisibilityBatch of SQS, BatchWriteItem and PutItem of DynamoDB. It speaks AWS's JSON protocol itself,
// with a codec that appends requests and scans answers, because the SDK's operation stack costs several times what
// the calls' work does (docs/performance.md has the figures). Credentials, endpoint rules, signatures and error types
// are the SDK's own, and tests hold requests and answers against the SDK's.
//
// The only retry here is for a connection that the service had already closed. All other failures are returned, because only
// the consumer and the writer know what they mean for a command.
package awsjson

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	smithyendpoints "github.com/aws/smithy-go/endpoints"

	"tributary/internal/base/version"
)

// Observer receives the outcome of every call: "ok", "condition" (a conditional write whose condition is false), "throttled",
// "refused" (any other 4xx), "failed" (5xx) or "error" (no answer, or one that can't be used).
type Observer func(service, operation, outcome string, took time.Duration)

// client makes calls to one service.
type client struct {
	service     string // as metrics name it
	target      string // prefix of X-Amz-Target
	signingName string
	region      string
	credentials aws.CredentialsProvider
	endpoint    func(context.Context, aws.Credentials) (smithyendpoints.Endpoint, error)
	signer      *v4.Signer
	wire        wire
	observe     Observer

	resolved atomic.Pointer[resolved]
	skew     atomic.Int64 // nanoseconds that AWS's clock is ahead of ours; 0 until AWS refuses a signature for its time
}

// resolved is the endpoint for the credentials of one account.
type resolved struct {
	account string
	url     *url.URL
}

var userAgent = []string{"tributary/" + version.String() + " " + aws.SDKName + "/" + aws.SDKVersion}

var contentType = []string{"application/x-amz-json-1.0"}

// call sends a request and hands the answer's body to read. The call counts as ok only if read accepts the answer. call owns the
// request's body.
func (c *client) call(ctx context.Context, operation string, body []byte, read func(answer string) error) error {
	start := time.Now()
	answer, err := c.try(ctx, operation, body)
	if err == nil {
		if err = read(answer); err != nil {
			err = fmt.Errorf("read answer: %w", err)
		}
	}
	outcome := "ok"
	if err != nil {
		outcome = outcomeOf(err)
		err = fmt.Errorf("%s %s: %w", c.service, operation, err)
	}
	c.observe(c.service, operation, outcome, time.Since(start))
	return err
}

func (c *client) try(ctx context.Context, operation string, body []byte) (string, error) {
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return "", fmt.Errorf("retrieve credentials: %w", err)
	}
	to, err := c.resolve(ctx, credentials)
	if err != nil {
		return "", err
	}
	url := *to.url // the signer writes to it
	r := &http.Request{
		Method: http.MethodPost, URL: &url, Host: url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Content-Type": contentType,
			"X-Amz-Target": {c.target + operation},
			"User-Agent":   userAgent,
		},
		ContentLength: int64(len(body)),
	}
	sum := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), c.signingName, c.region, c.now().UTC()); err != nil {
		return "", fmt.Errorf("sign request: %w", err)
	}
	a, err := c.wire.send(ctx, r, body)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		return "", c.failure(a)
	}
	if want := a.header.Get("X-Amz-Crc32"); want != "" {
		if got := strconv.FormatUint(uint64(crc32.Checksum([]byte(a.body), crc32.IEEETable)), 10); got != want {
			return "", fmt.Errorf("read answer: its CRC32 is %s, not %s as its header says", got, want)
		}
	}
	return a.body, nil
}

// resolve evaluates the SDK's endpoint rules. It does so once for each account.
func (c *client) resolve(ctx context.Context, credentials aws.Credentials) (*resolved, error) {
	if r := c.resolved.Load(); r != nil && r.account == credentials.AccountID {
		return r, nil
	}
	e, err := c.endpoint(ctx, credentials)
	if err != nil {
		return nil, fmt.Errorf("resolve endpoint: %w", err)
	}
	u := e.URI
	if u.Path == "" {
		u.Path = "/"
	}
	r := &resolved{account: credentials.AccountID, url: &u}
	c.resolved.Store(r)
	return r, nil
}

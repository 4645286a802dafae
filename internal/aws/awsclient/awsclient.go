// Package awsclient loads the AWS configuration that every program here shares: the SDK's own chain of
// settings, and a transport that is fit for a few hosts and many small requests.
package awsclient

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"tributary/internal/base/version"
)

// Load reads the SDK's chain (environment, shared files, roles). Connections is how many requests to one host
// may be under way at once without opening connections anew.
func Load(ctx context.Context, connections int) (aws.Config, error) {
	base := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = 4 * connections
		t.MaxIdleConnsPerHost = connections
		t.IdleConnTimeout = 60 * time.Second
		t.DisableCompression = true
		t.WriteBufferSize = 8 << 10 // a batch of 25 commands goes in one write
		t.MaxResponseHeaderBytes = 256 << 10
	})
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(base),
		config.WithAppID("tributary/"+version.String()))
	if err != nil {
		return aws.Config{}, fmt.Errorf("load AWS configuration: %w", err)
	}
	// LoadDefaultConfig has put AWS_CA_BUNDLE into the client by now, so it is wrapped last.
	cfg.HTTPClient = OwnBody(cfg.HTTPClient)
	return cfg, nil
}

// Open is Load for a program that makes calls now: it refuses settings that can't work, as a *ConfigurationError. region is
// used where the settings name none; it may be empty. The SDK logs nothing: it also returns every problem as an error.
func Open(ctx context.Context, connections int, region string) (aws.Config, error) {
	cfg, err := Load(ctx, connections)
	if err != nil {
		return aws.Config{}, &ConfigurationError{Problem: err.Error(), Err: err}
	}
	if cfg.Region == "" {
		cfg.Region = region
	}
	if err := Check(ctx, cfg); err != nil {
		return aws.Config{}, err
	}
	cfg.Logger = logging.Nop{}
	return cfg, nil
}

// OwnBody returns a client that gives net/http a request body of its own. The SDK closes the body that it made as soon as it has an
// answer; when a fast server has answered before net/http is done with the body, net/http then drops the
// connection and the answer is lost: a received message stays invisible, a sent one is sent twice.
func OwnBody(client aws.HTTPClient) aws.HTTPClient { return ownedBody{client} }

type ownedBody struct{ next aws.HTTPClient }

func (c ownedBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return c.next.Do(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read request body: %w", err)
	}
	own := r.Clone(r.Context())
	own.Body = io.NopCloser(bytes.NewReader(body))
	own.ContentLength = int64(len(body))
	own.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return c.next.Do(own)
}

// Transport returns a transport with the settings of a configuration that Load made, and connections of its own, for
// calls that don't go through the SDK's clients.
func Transport(cfg aws.Config) http.RoundTripper {
	own, ok := cfg.HTTPClient.(ownedBody)
	if !ok {
		return http.DefaultTransport
	}
	buildable, ok := own.next.(*awshttp.BuildableClient)
	if !ok {
		return http.DefaultTransport
	}
	return buildable.GetTransport()
}

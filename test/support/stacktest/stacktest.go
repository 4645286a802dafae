// Package stacktest gives tests AWS clients that lead straight into an embedded stack, without a network: in a
// synctest bubble, waiting costs no time.
package stacktest

import (
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Config leads the SDK's clients to a handler that speaks AWS's protocols. A request is not tried again.
func Config(handler http.Handler) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("local", "local", ""),
		BaseEndpoint: aws.String("http://stack.test"),
		HTTPClient:   client{handler},
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

type client struct{ handler http.Handler }

// Do answers a request in the caller's goroutine. Like a real client it gives up when the request's context ends,
// and like a real server it dates its answers.
func (c client) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	c.handler.ServeHTTP(recorder, r)
	// What was done stays done, but its answer is lost.
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	response := recorder.Result()
	response.Request = r
	return response, nil
}

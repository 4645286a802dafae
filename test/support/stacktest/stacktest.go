// Package stacktest gives tests AWS clients that lead straight into an embedded stack, without a network: in a
// synctest bubble, waiting costs no time. faults.Over stands between the two where calls have to fail.
package stacktest

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"syscall"
	"testing/iotest"
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
		HTTPClient:   Transport{handler},
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// Transport is an http.RoundTripper that asks a handler in the caller's goroutine. Like a real client it gives up when
// the request's context ends, and like a real server it dates its answers.
type Transport struct{ Handler http.Handler }

// Do implements the SDK's HTTPClient.
func (t Transport) Do(r *http.Request) (*http.Response, error) { return t.RoundTrip(r) }

// RoundTrip implements http.RoundTripper. A handler that panics with http.ErrAbortHandler breaks the connection: before
// its answer, or in the midst of what it has flushed.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	asked := r.Clone(r.Context()) // a RoundTripper changes nothing of its request
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	if asked.Host == "" {
		asked.Host = r.URL.Host
	}
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	broken := t.serve(recorder, asked)
	if err := errors.Join(r.Context().Err(), asked.Body.Close()); err != nil {
		return nil, err // what was done stays done, but its answer is lost
	}
	if broken && !recorder.Flushed {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	response := recorder.Result()
	response.Request = r
	if length, err := strconv.Atoi(response.Header.Get("Content-Length")); err == nil {
		response.ContentLength = int64(length)
	}
	if broken {
		response.Body = io.NopCloser(io.MultiReader(response.Body, iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
	return response, nil
}

// serve says whether the handler broke the connection.
func (t Transport) serve(w http.ResponseWriter, r *http.Request) (broken bool) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // net/http compares so
			broken = true
		} else if p != nil {
			panic(p)
		}
	}()
	t.Handler.ServeHTTP(w, r)
	return false
}

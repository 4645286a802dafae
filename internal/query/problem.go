package query

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

func init() {
	// huma answers 422 to a parameter that it can't accept, and has no setting for it but this one. Here all that is
	// wrong with a request is 400, whoever finds it.
	huma.NewErrorWithContext = func(_ huma.Context, status int, detail string, errs ...error) huma.StatusError {
		if status == http.StatusUnprocessableEntity {
			status = http.StatusBadRequest
			detail = "The request has parameters that can't be accepted: see errors."
		}
		if status >= http.StatusInternalServerError {
			errs = nil // what went wrong inside is for the log
		}
		return huma.NewError(status, detail, errs...)
	}
}

// problem is an error whose answer is an RFC 9457 problem document.
type problem struct {
	huma.ErrorModel
	// retryAfter is sent as Retry-After, in whole seconds, when it is not 0.
	retryAfter time.Duration
	// cause is for the log, where the answer must not tell.
	cause error
}

func newProblem(status int, detail string) *problem {
	return &problem{ErrorModel: huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail}}
}

// retryLater is a problem that passes.
func retryLater(status int, detail string, after time.Duration, cause error) *problem {
	p := newProblem(status, detail)
	p.retryAfter, p.cause = after, cause
	return p
}

// badParameter says that a parameter can't be accepted.
func badParameter(where, value, message string) *problem {
	p := newProblem(http.StatusBadRequest, "The request has parameters that can't be accepted: see errors.")
	p.Errors = []*huma.ErrorDetail{{Message: message, Location: where, Value: value}}
	return p
}

func (p *problem) Unwrap() error { return p.cause }

// GetHeaders is how huma learns of Retry-After.
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	p.setHeaders(h)
	return h
}

func (p *problem) setHeaders(h http.Header) {
	if p.retryAfter > 0 {
		seconds := (p.retryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.Itoa(int(seconds)))
	}
}

// write answers with the problem document.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	p.setHeaders(h)
	h.Set("Content-Type", "application/problem+json")
	text, err := json.Marshal(&p.ErrorModel)
	if err != nil { // there is nothing in it that could fail
		panic(err)
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(text) // a client that is gone needs no answer
}

// asProblem makes of any error of a read what the client may see of it.
func asProblem(ctx context.Context, err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case isThrottle(err):
		p = newProblem(http.StatusServiceUnavailable, "The table is busy. Try again shortly.")
		p.retryAfter = time.Second
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled) && ctx.Err() != nil:
		p = newProblem(http.StatusServiceUnavailable, "The answer took too long. Try again, with a smaller limit where there is one.")
		p.retryAfter = time.Second
	case isUnavailable(err):
		p = newProblem(http.StatusServiceUnavailable, "The table can't be reached. Try again shortly.")
		p.retryAfter = 5 * time.Second
	default:
		p = newProblem(http.StatusInternalServerError, "Something went wrong here. The X-Request-Id of this answer finds it in the log.")
	}
	p.cause = err
	return p
}

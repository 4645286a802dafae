package query

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// problemBody is an RFC 9457 problem document.
type problemBody struct {
	Title  string          `json:"title"`
	Status int             `json:"status"`
	Detail string          `json:"detail"`
	Errors []problemDetail `json:"errors,omitempty"`
}

// problemDetail is one thing that is wrong with a request.
type problemDetail struct {
	Message  string `json:"message"`
	Location string `json:"location"`
	Value    any    `json:"value"`
}

// problem is an error whose answer is a problem document.
type problem struct {
	problemBody
	// retryAfter is sent as Retry-After, in whole seconds, when it is not 0.
	retryAfter time.Duration
	// cause is for the log, where the answer must not tell.
	cause error
}

func newProblem(status int, detail string) *problem {
	return &problem{problemBody: problemBody{Title: http.StatusText(status), Status: status, Detail: detail}}
}

// retryLater is a problem that passes.
func retryLater(status int, detail string, after time.Duration, cause error) *problem {
	p := newProblem(status, detail)
	p.retryAfter, p.cause = after, cause
	return p
}

// badParameter says that a parameter can't be accepted.
func badParameter(where, value, message string) *problem {
	return badParameters([]problemDetail{{message, where, value}})
}

func badParameters(wrong []problemDetail) *problem {
	p := newProblem(http.StatusBadRequest, "The request has parameters that can't be accepted: see errors.")
	p.Errors = wrong
	return p
}

func (p *problem) Error() string { return p.Detail }

func (p *problem) Unwrap() error { return p.cause }

// write answers with the problem document.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	if p.retryAfter > 0 {
		seconds := (p.retryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	h.Set("Content-Type", "application/problem+json")
	text := appendLine(nil, &p.problemBody)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(text) // a client that is gone needs no answer
}

// asProblem converts a read's error into the problem that the client may see.
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

package faults

import (
	"net/http"
	"time"

	"tributary/test/support/stacktest"
)

// Call is a call as a script sees it.
type Call struct {
	Operation string
	N         int // its number among the calls of its operation, from 0
	Body      []byte
}

// Plan is what goes wrong with one call, exactly. The zero Plan is nothing.
type Plan struct {
	// Wait is how long the call takes before the service sees it.
	Wait time.Duration
	// Fault is any that concerns the whole call, but Delay.
	Fault Fault
	// Refuse is the error code with which the service refuses the call.
	Refuse string
	// After says that the call took effect before it was refused.
	After bool
	// Left is asked of each write or entry of a batch call: a code leaves it undone. In an SQS batch that is the
	// entry's error; a BatchWriteItem gives the write back as unprocessed.
	Left func(i int) string
}

// Script says what goes wrong with a call. It may wait, and it may be asked by many goroutines at once.
type Script func(*Call) Plan

// Over makes a Front before a handler of this process. With stacktest.Config(front) the SDK's clients lead through it
// and to the handler without a network, so that waiting costs no time in a synctest bubble. A nil script passes all on.
func Over(handler http.Handler, script Script) *Front {
	const backend = "http://stack.test"
	return &Front{
		backends: Backends{DynamoDB: backend, SQS: backend}, now: time.Now, script: script,
		client: &http.Client{Transport: stacktest.Transport{Handler: handler}},
		counts: Counts{}, calls: map[string]uint64{}, buckets: map[string]*bucket{},
	}
}

// left says with which code a write or entry is left undone, if any, by the script or by chance.
func (c *call) left(i int, fault Fault, code string) string {
	if c.plan.Left != nil {
		if code := c.plan.Left(i); code != "" {
			return code
		}
	}
	if c.chance(fault) {
		return code
	}
	return ""
}

// pause waits, and says whether the client is still there.
func (c *call) pause(wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.request.Context().Done():
		return false
	}
}

// refuse words a refusal of the whole call that a script names.
func (s service) refuse(code string) *answer {
	kind := "com.amazonaws.dynamodb.v20120810#"
	if s == simpleQueue {
		kind = "com.amazonaws.sqs#"
	}
	a := newAnswer(http.StatusBadRequest, map[string]string{"__type": kind + code, "message": "refused by a script"})
	if s == simpleQueue {
		a.header.Set("X-Amzn-Query-Error", code+";Sender")
		a.header.Del("X-Amz-Crc32")
	}
	return a
}

// senderFault says whether SQS blames the sender for an entry that failed with this code.
func senderFault(code string) bool { return code != "InternalError" }

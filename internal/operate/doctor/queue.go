package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/aws/limits"
	"tributary/internal/aws/queues"
	"tributary/internal/operate/setup"
)

// The names of the checks of queue settings.
const (
	checkRedrive    = "redrive policy"
	checkAllow      = "dead-letter queue lets in"
	checkRetention  = "dead letters' retention"
	checkVisibility = "visibility timeout"
	checkLongPoll   = "long polling"
	checkSize       = "largest message"
	checkFIFO       = "FIFO throughput"
	checkBacklog    = "dead letters"
	checkOnward     = "dead letters stay"
)

const updateRemedy = "worker setup --update sets it"

// readQueue checks that a queue is there, and returns nil where it isn't.
func (d *Doctor) readQueue(ctx context.Context, kind, nameOrURL string) *queues.Attributes {
	q, err := queues.Read(ctx, d.Queues, nameOrURL)
	if err != nil {
		remedy := ""
		if missing, ok := errors.AsType[*queues.NotFoundError](err); ok {
			err, remedy = missing, "worker setup makes it; or name another, or use its owner's credentials and region"
		}
		d.add(failed(kind, err, remedy))
		return nil
	}
	d.add(Check{Name: kind, Status: OK, Found: fmt.Sprintf("%s: about %s waiting, %s in flight", q.Name,
		orZero(q.Get(types.QueueAttributeNameApproximateNumberOfMessages)), orZero(q.Get(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)))})
	return q
}

func orZero(count string) string {
	if count == "" {
		return "0"
	}
	return count
}

// queueSettings checks both queues' settings, as far as they are there.
func (d *Doctor) queueSettings(queue, letters *queues.Attributes) {
	const noQueue, noLetters = "the queue can't be looked at", "the dead-letter queue can't be looked at"
	if queue == nil {
		d.skip(noQueue, checkRedrive, checkVisibility, checkLongPoll, "encryption of queue")
	} else {
		d.add(redriveCheck(queue, letters))
		d.add(visibilityCheck(queue, d.DrainTimeout))
		d.add(longPollCheck(queue))
		d.add(encryptionCheck("encryption of queue", queue))
		if queues.IsFIFO(queue.Name) {
			d.add(fifoCheck(queue))
		}
	}
	if letters == nil {
		d.skip(noLetters, "encryption of dead letters", checkBacklog)
	} else {
		d.add(encryptionCheck("encryption of dead letters", letters))
		d.add(backlogCheck(letters))
		if letters.Get(types.QueueAttributeNameRedrivePolicy) != "" {
			d.add(Check{
				Name: checkOnward, Status: Warning,
				Found:  "the dead-letter queue has a redrive policy of its own: whoever looks at letters receives them, and moves them on",
				Remedy: "remove it: aws sqs set-queue-attributes --queue-url " + letters.URL + " --attributes RedrivePolicy=",
			})
		}
	}
	if queue == nil || letters == nil {
		d.skip("one of the queues can't be looked at", checkAllow, checkRetention, checkSize)
		return
	}
	d.add(allowCheck(queue, letters))
	d.add(retentionCheck(queue, letters))
	d.add(sizeCheck(queue, letters))
}

const (
	// receivesTooFew is the maxReceiveCount that workers being replaced use up by themselves.
	receivesTooFew  = 2
	receivesRemedy  = "worker setup --update sets 100: commands that can never be written are dead-lettered by the worker at once anyway"
	notReportedText = "not reported by this endpoint"
)

func redriveCheck(queue, letters *queues.Attributes) Check {
	c := Check{Name: checkRedrive, Status: OK}
	policy, err := queue.Redrive()
	switch {
	case err != nil:
		c.Status, c.Found, c.Remedy = Failed, "can't be read: "+queue.Get(types.QueueAttributeNameRedrivePolicy), updateRemedy
		return c
	case policy == nil:
		c.Status, c.Found = Failed, "none: a message that no worker can finish comes back until it expires, and is lost then"
		c.Remedy = updateRemedy
		return c
	}
	target := policy.Target()
	c.Found = fmt.Sprintf("to %s after %s receives", target, policy.MaxReceiveCount)
	if letters != nil && policy.DeadLetterTargetARN != letters.ARN() {
		c.Status = Failed
		c.Found += ", but this worker's dead-letter queue is " + letters.Name
		c.Remedy = "--dlq " + target + " uses that one, worker setup --update names " + letters.Name
		return c
	}
	if policy.Tight() {
		c.Status, c.Remedy = Warning, receivesRemedy
		if policy.MaxReceives() <= receivesTooFew {
			c.Status = Failed
		}
		c.Found += ": too tight, handing back for a throttled tenant uses them up"
	}
	return c
}

func allowCheck(queue, letters *queues.Attributes) Check {
	c := Check{Name: checkAllow, Status: OK, Found: "any queue of the account"}
	text := letters.Get(types.QueueAttributeNameRedriveAllowPolicy)
	if text == "" {
		return c
	}
	var policy setup.AllowPolicy
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		return Check{Name: checkAllow, Status: Failed, Found: "can't be read: " + text, Remedy: "write its RedriveAllowPolicy anew"}
	}
	switch {
	case !policy.Permits(queue.ARN()):
		c.Status, c.Found, c.Remedy = Failed, fmt.Sprintf("not %s: SQS can't move messages to it", queue.Name), "worker setup --update lets it in"
		if policy.Full() {
			c.Remedy = setup.AllowFull
		}
	case len(policy.SourceARNs) == 1:
		c.Found = "only " + queue.Name
	case len(policy.SourceARNs) > 1:
		c.Found = fmt.Sprintf("%s and %d other queues", queue.Name, len(policy.SourceARNs)-1)
	}
	return c
}

func retentionCheck(queue, letters *queues.Attributes) Check {
	c := Check{Name: checkRetention, Status: OK}
	source, ok1 := queue.Seconds(types.QueueAttributeNameMessageRetentionPeriod)
	target, ok2 := letters.Seconds(types.QueueAttributeNameMessageRetentionPeriod)
	if !ok1 || !ok2 {
		c.Status, c.Found = Skipped, notReportedText
		return c
	}
	c.Found = fmt.Sprintf("%s, the queue's is %s", secondsText(target), secondsText(source))
	switch {
	case target < source:
		c.Status = Failed
		c.Found += ": on a standard queue SQS counts from the first sending, so what it moves late is deleted at once"
	case target == source && target < setup.Retention:
		c.Status = Warning
		c.Found += ": what SQS moves late has little time left"
	}
	if c.Status != OK {
		c.Remedy = "worker setup --update sets 14 days for both, SQS's longest"
	}
	return c
}

func secondsText(d time.Duration) string { return setup.Seconds(strconv.Itoa(int(d / time.Second))) }

func visibilityCheck(queue *queues.Attributes, drain time.Duration) Check {
	c := Check{Name: checkVisibility, Status: OK}
	visibility, ok := queue.Seconds(types.QueueAttributeNameVisibilityTimeout)
	if !ok {
		c.Status, c.Found = Skipped, notReportedText
		return c
	}
	c.Found = fmt.Sprintf("%s, the drain timeout is %s", secondsText(visibility), secondsText(drain))
	if visibility <= drain {
		c.Status = Warning
		c.Found += ": what a stopping worker still writes may be received by another one"
		c.Remedy = "worker setup --update sets 60 s, or lower --drain-timeout"
	} else if drain <= limits.SQSLongPollMax {
		c.Status = Warning
		c.Found += ": shorter than one long poll (20 s), whose messages then wait for the visibility timeout"
		c.Remedy = "raise --drain-timeout"
	}
	return c
}

func longPollCheck(queue *queues.Attributes) Check {
	c := Check{Name: checkLongPoll, Status: OK}
	wait, ok := queue.Seconds(types.QueueAttributeNameReceiveMessageWaitTimeSeconds)
	if !ok {
		c.Status, c.Found = Skipped, notReportedText
		return c
	}
	c.Found = secondsText(wait)
	if wait == 0 {
		c.Status, c.Found = Warning, "off: the worker asks for it itself, other readers poll short, miss messages and pay for it"
		c.Remedy = updateRemedy
	}
	return c
}

func encryptionCheck(name string, queue *queues.Attributes) Check {
	c := Check{Name: name, Status: OK}
	key, managed := queue.Get(types.QueueAttributeNameKmsMasterKeyId), queue.Get(types.QueueAttributeNameSqsManagedSseEnabled)
	switch {
	case key != "":
		c.Found = "SSE-KMS, key " + key
	case managed == "true":
		c.Found = "SSE-SQS"
	case managed == "":
		c.Status, c.Found = Skipped, notReportedText
	default:
		c.Status, c.Found, c.Remedy = Warning, "off", "worker setup --update turns on SSE-SQS, which costs nothing"
	}
	return c
}

func fifoCheck(queue *queues.Attributes) Check {
	c := Check{Name: checkFIFO, Status: OK}
	limit := queue.Get(types.QueueAttributeNameFifoThroughputLimit)
	if limit == "" {
		c.Status, c.Found = Skipped, notReportedText
		return c
	}
	c.Found = limit + ", deduplication by " + queue.Get(types.QueueAttributeNameDeduplicationScope)
	if limit != "perMessageGroupId" {
		c.Status = Warning
		c.Found += ": 300 calls a second for all tenants together"
		c.Remedy = updateRemedy
	}
	return c
}

func backlogCheck(letters *queues.Attributes) Check {
	c := Check{Name: checkBacklog, Status: OK, Found: "none"}
	n := letters.Get(types.QueueAttributeNameApproximateNumberOfMessages)
	if n != "" && n != "0" {
		c.Status, c.Found, c.Remedy = Warning, "about "+n, "worker dlq list says why, worker dlq redrive sends them back"
	}
	return c
}

func sizeCheck(queue, letters *queues.Attributes) Check {
	c := Check{Name: checkSize, Status: OK}
	source, ok1 := queue.Int(types.QueueAttributeNameMaximumMessageSize)
	target, ok2 := letters.Int(types.QueueAttributeNameMaximumMessageSize)
	if !ok1 || !ok2 {
		c.Status, c.Found = Skipped, notReportedText
		return c
	}
	c.Found = fmt.Sprintf("%s, the dead-letter queue takes %s", setup.Bytes(source), setup.Bytes(target))
	if target < source {
		c.Status = Warning
		c.Found += ": a larger command can't be dead-lettered with its reason"
		c.Remedy = updateRemedy
	}
	return c
}

// madeUpReceipt is no message's: a permission that is there shows itself by SQS's refusal of it.
const madeUpReceipt = "doctor"

// queuePermissions tries what leaves no trace. To receive would count as a receive, to send would leave a letter:
// these two are not tried.
func (d *Doctor) queuePermissions(ctx context.Context, queue *queues.Attributes) {
	const deletes, extends = "may delete messages", "may change visibility"
	if queue == nil {
		d.skip("the queue can't be looked at", deletes, extends)
		return
	}
	_, err := d.Queues.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &queue.URL, Entries: []types.DeleteMessageBatchRequestEntry{
		{Id: aws.String("0"), ReceiptHandle: aws.String(madeUpReceipt)},
	}})
	d.add(permission(deletes, "a made-up receipt was turned down", "sqs:DeleteMessage", err))
	_, err = d.Queues.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &queue.URL, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
		{Id: aws.String("0"), ReceiptHandle: aws.String(madeUpReceipt), VisibilityTimeout: 0},
	}})
	d.add(permission(extends, "a made-up receipt was turned down", "sqs:ChangeMessageVisibility", err))
}

// permission makes a check of a harmless call: what is refused for another reason than a permission is allowed.
func permission(name, allowed, action string, err error) Check {
	api, refused := errors.AsType[smithy.APIError](err)
	throttled := retry.ThrottleErrorCode{Codes: retry.DefaultThrottleErrorCodes}
	switch {
	case throttled.IsErrorThrottle(err) == aws.TrueTernary:
		c := failed(name, err, "raise the table's capacity, or wait")
		c.Status = Warning
		return c
	case err == nil:
		return Check{Name: name, Status: OK, Found: allowed}
	case refused && (api.ErrorCode() == "AccessDenied" || api.ErrorCode() == "AccessDeniedException"):
		return failed(name, err, "allow "+action+" to these credentials")
	case refused && api.ErrorFault() == smithy.FaultClient && invalidReceipt(err):
		return Check{Name: name, Status: OK, Found: allowed}
	default:
		return failed(name, err, "")
	}
}

// invalidReceipt says that SQS refused the receipt, which some endpoints do for the whole call.
func invalidReceipt(err error) bool {
	_, a := errors.AsType[*types.ReceiptHandleIsInvalid](err)
	_, b := errors.AsType[*types.InvalidIdFormat](err)
	return a || b
}

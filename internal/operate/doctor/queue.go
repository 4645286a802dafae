package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	checkQueueEncryption   = "encryption of queue"
	checkLettersEncryption = "encryption of dead letters"
)

const updateRemedy = "worker setup --update sets it"

// readQueue checks that a queue exists. It returns nil if it could not be read.
func (d *Doctor) readQueue(ctx context.Context, kind, nameOrURL string) *queues.Attributes {
	q, err := queues.Read(ctx, d.Queues, nameOrURL)
	if err != nil {
		remedy := ""
		if missing, ok := errors.AsType[*queues.NotFoundError](err); ok {
			err, remedy = missing, "worker setup makes it. Or name another queue, or use the credentials and the region of its owner"
		}
		d.add(failed(kind, err, remedy))
		return nil
	}
	depth := q.Depth()
	d.add(Check{Name: kind, Status: OK, Found: fmt.Sprintf("%s: about %d waiting, %d in flight", q.Name, depth.Visible, depth.InFlight)})
	return q
}

// queueSettings checks the settings of both queues, as far as they could be read. A check is a difference from what setup makes, and
// how bad it is.
func (d *Doctor) queueSettings(queue, letters *queues.Attributes) {
	const noQueue, noLetters = "the queue can't be looked at", "the dead-letter queue can't be looked at"
	if queue == nil {
		d.skip(noQueue, checkRedrive, checkVisibility, checkLongPoll, checkQueueEncryption)
	} else {
		found := setup.CompareQueue(queue)
		d.add(redriveCheck(queue, letters))
		d.add(visibilityCheck(queue, d.DrainTimeout))
		d.add(settingCheck(checkLongPoll, queue, found, types.QueueAttributeNameReceiveMessageWaitTimeSeconds, pollsShort(queue)))
		d.add(encryptionCheck(checkQueueEncryption, queue, found))
		if queues.IsFIFO(queue.Name) {
			d.add(settingCheck(checkFIFO, queue, found, types.QueueAttributeNameFifoThroughputLimit, severity{Warning, "300 calls a second for all tenants together"}))
		}
	}
	if letters == nil {
		d.skip(noLetters, checkLettersEncryption, checkBacklog)
	} else {
		d.add(encryptionCheck(checkLettersEncryption, letters, setup.CompareLetters(letters)))
		d.add(backlogCheck(letters))
		if letters.Get(types.QueueAttributeNameRedrivePolicy) != "" {
			d.add(Check{
				Name: checkOnward, Status: Warning,
				Found:  "the dead-letter queue has a redrive policy itself: looking at letters receives them, and too many receives move them on",
				Remedy: "remove it: aws sqs set-queue-attributes --queue-url " + letters.URL + " --attributes RedrivePolicy=",
			})
		}
	}
	if queue == nil || letters == nil {
		d.skip("one of the queues can't be looked at", checkAllow, checkRetention, checkSize)
		return
	}
	found := setup.CompareLetters(letters)
	d.add(allowCheck(queue, letters))
	d.add(settingCheck(checkRetention, letters, found, types.QueueAttributeNameMessageRetentionPeriod, expiresEarly(queue, letters)))
	d.add(settingCheck(checkSize, letters, found, types.QueueAttributeNameMaximumMessageSize, tooSmall(queue, letters)))
}

// severity is how bad a difference from setup's settings is, and why. OK means that the worker does as well with it.
type severity struct {
	status Status
	why    string
}

var harmless = severity{status: OK}

// settingCheck makes a check of one setting. bad is the severity of a difference.
func settingCheck(name string, queue *queues.Attributes, differences []setup.Difference, attribute types.QueueAttributeName, bad severity) Check {
	is, reported := setup.Show(queue, attribute)
	if !reported {
		return Check{Name: name, Status: Skipped, Found: notReportedText}
	}
	c := Check{Name: name, Status: OK, Found: is}
	at := slices.IndexFunc(differences, func(d setup.Difference) bool { return d.Attribute == attribute })
	if at < 0 || bad.status == OK {
		return c
	}
	c.Status = bad.status
	if bad.status == Skipped {
		c.Found = bad.why
		return c
	}
	if bad.why != "" {
		c.Found += ": " + bad.why
	}
	c.Remedy = "worker setup --update sets " + differences[at].Want
	return c
}

func pollsShort(queue *queues.Attributes) severity {
	if wait, _ := queue.Seconds(types.QueueAttributeNameReceiveMessageWaitTimeSeconds); wait > 0 {
		return harmless
	}
	return severity{Warning, "off. The worker asks for long polling itself; other readers poll short, miss messages and pay for it"}
}

func expiresEarly(queue, letters *queues.Attributes) severity {
	source, known := queue.Seconds(types.QueueAttributeNameMessageRetentionPeriod)
	target, _ := letters.Seconds(types.QueueAttributeNameMessageRetentionPeriod)
	switch {
	case !known:
		return severity{Skipped, notReportedText}
	case target < source:
		return severity{Failed, "shorter than that of the queue, " + secondsText(source) + ". A standard queue counts from the first sending, so SQS deletes at once what it moves late"}
	case target == source:
		return severity{Warning, "as long as that of the queue. What SQS moves late has little time left"}
	}
	return harmless
}

func tooSmall(queue, letters *queues.Attributes) severity {
	source, known := queue.Int(types.QueueAttributeNameMaximumMessageSize)
	target, _ := letters.Int(types.QueueAttributeNameMaximumMessageSize)
	switch {
	case !known:
		return severity{Skipped, notReportedText}
	case target < source:
		return severity{Warning, "the queue takes " + setup.Bytes(source) + ". A larger command can't be dead-lettered with its reason"}
	}
	return harmless
}

func encryptionCheck(name string, queue *queues.Attributes, differences []setup.Difference) Check {
	if key := queue.Get(types.QueueAttributeNameKmsMasterKeyId); key != "" {
		return Check{Name: name, Status: OK, Found: "SSE-KMS, key " + key}
	}
	return settingCheck(name, queue, differences, types.QueueAttributeNameSqsManagedSseEnabled, severity{Warning, "SSE-SQS costs nothing"})
}

const (
	// maxLostReceives is the maxReceiveCount that replacing workers alone can use up.
	maxLostReceives = 2
	notReportedText = "not reported by this endpoint"
)

// redriveCheck judges the differences in the redrive policy. letters is nil if the dead-letter queue could not be read.
func redriveCheck(queue, letters *queues.Attributes) Check {
	c := Check{Name: checkRedrive, Status: OK}
	policy, err := queue.Redrive()
	switch {
	case err != nil:
		c.Status, c.Found, c.Remedy = Failed, "can't be read: "+queue.Get(types.QueueAttributeNameRedrivePolicy), updateRemedy
		return c
	case policy == nil:
		c.Status, c.Found, c.Remedy = Failed, "none: a message that no worker can finish comes back until it expires, and is lost then", updateRemedy
		return c
	}
	c.Found = fmt.Sprintf("to %s after %s receives", policy.Target(), policy.MaxReceiveCount)
	if letters == nil {
		letters = queues.NewAttributes(policy.Target(), map[string]string{string(types.QueueAttributeNameQueueArn): policy.DeadLetterTargetARN})
	}
	for _, d := range setup.CompareRedrive(queue, letters) {
		switch {
		case d.Setting == setup.SettingTarget:
			c.Status = Failed
			c.Found += ", but this worker's dead-letter queue is " + letters.Name
			c.Remedy = "--dlq " + policy.Target() + " uses that one, worker setup --update names " + letters.Name
			return c
		case policy.Tight():
			c.Status, c.Remedy = Warning, "worker setup --update sets "+d.Want+": the worker dead-letters commands that can never be written at once anyway"
			if policy.MaxReceives() <= maxLostReceives {
				c.Status = Failed
			}
			c.Found += ": too few, because each hand-back for a throttled tenant uses up one"
		}
	}
	return c
}

// allowCheck judges the difference in the queues that may use the dead-letter queue.
func allowCheck(queue, letters *queues.Attributes) Check {
	c := Check{Name: checkAllow, Status: OK, Found: queue.Name}
	d, permits, err := setup.CompareAllow(letters, queue.ARN(), false)
	switch {
	case err != nil:
		c.Status, c.Found, c.Remedy = Failed, "can't be read: "+letters.Get(types.QueueAttributeNameRedriveAllowPolicy), "write its RedriveAllowPolicy anew"
	case !permits:
		c.Status, c.Found, c.Remedy = Failed, fmt.Sprintf("not %s: SQS can't move messages to it", queue.Name), d.Remedy
		if c.Remedy == "" {
			c.Remedy = "worker setup --update lets it in"
		}
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
	} else if drain <= limits.SQSMaxLongPoll {
		c.Status = Warning
		c.Found += ": shorter than one long poll (20 s), whose messages then wait for the visibility timeout"
		c.Remedy = "raise --drain-timeout"
	}
	return c
}

func backlogCheck(letters *queues.Attributes) Check {
	c := Check{Name: checkBacklog, Status: OK, Found: "none"}
	if n := letters.Depth().Visible; n > 0 {
		c.Status, c.Found, c.Remedy = Warning, fmt.Sprintf("about %d", n), "worker dlq list says why, worker dlq redrive sends them back"
	}
	return c
}

// madeUpReceipt belongs to no message. SQS refuses it only if the permission is there.
const madeUpReceipt = "doctor"

// queuePermissions tries calls that leave no trace. Receiving would count as a receive, and sending would leave a letter, so these two
// are not tried.
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

// permission makes a check of a harmless call. A call that was refused for another reason than a missing permission is allowed.
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
	case isDenied(err):
		return failed(name, err, "allow "+action+" to these credentials")
	case refused && api.ErrorFault() == smithy.FaultClient && invalidReceipt(err):
		return Check{Name: name, Status: OK, Found: allowed}
	default:
		return failed(name, err, "")
	}
}

// isDenied reports whether a permission is missing.
func isDenied(err error) bool {
	api, refused := errors.AsType[smithy.APIError](err)
	return refused && (api.ErrorCode() == "AccessDenied" || api.ErrorCode() == "AccessDeniedException")
}

// invalidReceipt reports whether SQS refused the receipt. Some endpoints refuse the whole call for it.
func invalidReceipt(err error) bool {
	_, a := errors.AsType[*types.ReceiptHandleIsInvalid](err)
	_, b := errors.AsType[*types.InvalidIdFormat](err)
	return a || b
}

package queue

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/limits"
)

// settings are the attributes that can be set, as given and as used.
type settings struct {
	given map[string]string // with every default

	visibility                time.Duration
	retention                 time.Duration
	wait                      time.Duration
	delay                     time.Duration
	maximumMessageSize        int
	redrive                   *redrivePolicy
	contentBasedDeduplication bool
	deduplicationScope        string
}

// redrivePolicy says after how many receives a message moves, and where.
type redrivePolicy struct {
	DeadLetterTargetARN string `json:"deadLetterTargetArn"`
	MaxReceiveCount     int    `json:"maxReceiveCount"`
}

// ranges are the attributes that are whole numbers ("SetQueueAttributes").
var ranges = map[string]struct{ low, high, initial int }{
	"DelaySeconds":                  {0, 900, 0},
	"MaximumMessageSize":            {1024, limits.SQSMessageBytes, limits.SQSMessageBytes},
	"MessageRetentionPeriod":        {60, 1_209_600, 345_600},
	"ReceiveMessageWaitTimeSeconds": {0, 20, 0},
	"VisibilityTimeout":             {0, 43_200, 30},
	"KmsDataKeyReusePeriodSeconds":  {60, 86_400, 300},
}

// choices are the attributes that have a few values; those of FIFO queues only are in fifoOnly too.
var choices = map[string][]string{
	"SqsManagedSseEnabled":      {"true", "false"},
	"ContentBasedDeduplication": {"false", "true"},
	"DeduplicationScope":        {"queue", "messageGroup"},
	"FifoThroughputLimit":       {"perQueue", "perMessageGroupId"},
	"FifoQueue":                 {"true"},
}

var fifoOnly = []string{"ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit", "FifoQueue"}

// readOnly are the attributes that only GetQueueAttributes knows.
var readOnly = []string{
	"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible",
	"CreatedTimestamp", "LastModifiedTimestamp", "QueueArn",
}

func defaults(fifo bool) map[string]string {
	given := map[string]string{"SqsManagedSseEnabled": "true"}
	for name, r := range ranges {
		if name != "KmsDataKeyReusePeriodSeconds" {
			given[name] = strconv.Itoa(r.initial)
		}
	}
	if fifo {
		for _, name := range fifoOnly {
			given[name] = choices[name][0]
		}
	}
	return given
}

// apply returns the settings of the queue called name with changes checked and made.
func (s *Server) apply(name string, given, changes map[string]string) (settings, *apiError) {
	fifo := strings.HasSuffix(name, ".fifo")
	given = maps.Clone(given)
	for _, attribute := range slices.Sorted(maps.Keys(changes)) {
		value, err := s.normalized(name, attribute, changes[attribute], fifo)
		if err != nil {
			return settings{}, err
		}
		if value == "" {
			delete(given, attribute)
		} else {
			given[attribute] = value
		}
	}
	seconds := func(name string) time.Duration {
		n, _ := strconv.Atoi(given[name])
		return time.Duration(n) * time.Second
	}
	out := settings{
		given:                     given,
		visibility:                seconds("VisibilityTimeout"),
		retention:                 seconds("MessageRetentionPeriod"),
		wait:                      seconds("ReceiveMessageWaitTimeSeconds"),
		delay:                     seconds("DelaySeconds"),
		contentBasedDeduplication: given["ContentBasedDeduplication"] == "true",
		deduplicationScope:        given["DeduplicationScope"],
	}
	out.maximumMessageSize, _ = strconv.Atoi(given["MaximumMessageSize"])
	if policy := given["RedrivePolicy"]; policy != "" {
		out.redrive = &redrivePolicy{}
		_ = json.Unmarshal([]byte(policy), out.redrive) // normalized wrote it
	}
	return out, nil
}

// normalized checks one attribute's value and returns it as GetQueueAttributes shows it; empty unsets it.
func (s *Server) normalized(queue, name, value string, fifo bool) (string, *apiError) {
	if slices.Contains(fifoOnly, name) && !fifo {
		return "", fail("InvalidAttributeName", "InvalidAttributeName", "You can specify the %s only when FifoQueue is set to true.", name)
	}
	if r, ok := ranges[name]; ok {
		n, err := strconv.Atoi(value)
		if err != nil || n < r.low || n > r.high {
			return "", errAttributeValue(name)
		}
		return strconv.Itoa(n), nil
	}
	if allowed, ok := choices[name]; ok {
		for _, a := range allowed {
			if strings.EqualFold(a, value) {
				return a, nil
			}
		}
		return "", errAttributeValue(name)
	}
	switch name {
	case "KmsMasterKeyId":
		return value, nil
	case "Policy":
		if value != "" && !json.Valid([]byte(value)) {
			return "", errAttributeValue(name)
		}
		return value, nil
	case "RedriveAllowPolicy":
		return value, checkAllowPolicy(value)
	case "RedrivePolicy":
		return s.redrivePolicy(queue, value, fifo)
	}
	return "", fail("InvalidAttributeName", "InvalidAttributeName", "Unknown Attribute %s.", name)
}

func (s *Server) redrivePolicy(queue, value string, fifo bool) (string, *apiError) {
	if value == "" {
		return "", nil
	}
	var policy struct {
		DeadLetterTargetARN string          `json:"deadLetterTargetArn"`
		MaxReceiveCount     json.RawMessage `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(value), &policy); err != nil {
		return "", errValue("RedrivePolicy", value, "Redrive policy is not a valid JSON map.")
	}
	if policy.DeadLetterTargetARN == "" || policy.MaxReceiveCount == nil {
		return "", errValue("RedrivePolicy", value, "Redrive policy does not contain mandatory attributes: deadLetterTargetArn and maxReceiveCount.")
	}
	count, err := strconv.Atoi(strings.Trim(string(policy.MaxReceiveCount), `"`))
	if err != nil || count < 1 || count > 1000 {
		return "", errValue("RedrivePolicy", value, "Invalid value for maxReceiveCount, it must be between 1 and 1000, both inclusive.")
	}
	if policy.DeadLetterTargetARN == s.arn(queue) {
		return "", errValue("RedrivePolicy", value, "A queue can't be its own dead-letter queue.")
	}
	target := s.byARN(policy.DeadLetterTargetARN)
	if target == nil {
		return "", errValue("RedrivePolicy", value, "Dead letter target does not exist.")
	}
	if target.fifo != fifo {
		return "", errValue("RedrivePolicy", value, "Dead-letter queue must be of the same type as the source.")
	}
	if !redriveAllowed(target, s.arn(queue)) {
		return "", errValue("RedrivePolicy", value, "The dead-letter queue's redrive allow policy does not permit this source queue.")
	}
	b, _ := json.Marshal(redrivePolicy{policy.DeadLetterTargetARN, count}) //nolint:errchkjson // a string and a number
	return string(b), nil
}

// allowPolicy says which queues may name a queue in their redrive policies.
type allowPolicy struct {
	Permission string   `json:"redrivePermission"`
	Sources    []string `json:"sourceQueueArns"`
}

// checkAllowPolicy refuses a RedriveAllowPolicy that is none ("SetQueueAttributes"); an empty one unsets it.
func checkAllowPolicy(value string) *apiError {
	if value == "" {
		return nil
	}
	var allow allowPolicy
	if err := json.Unmarshal([]byte(value), &allow); err != nil {
		return errValue("RedriveAllowPolicy", value, "The redrive allow policy is not a JSON map of the fields that it has.")
	}
	switch n := len(allow.Sources); allow.Permission {
	case "allowAll", "denyAll":
		if n > 0 {
			return errValue("RedriveAllowPolicy", value, "Only the permission byQueue goes with sourceQueueArns.")
		}
	case "byQueue":
		if n < 1 || n > 10 {
			return errValue("RedriveAllowPolicy", value, "The permission byQueue needs 1 to 10 sourceQueueArns.")
		}
	default:
		return errValue("RedriveAllowPolicy", value, "redrivePermission must be allowAll, denyAll or byQueue.")
	}
	return nil
}

// attributes answers GetQueueAttributes.
func (q *queue) attributes(names []types.QueueAttributeName, now time.Time) (map[string]string, *apiError) {
	q.advance(now)
	q.sweep(now)
	all := maps.Clone(q.settings.given)
	shown, invisible, waiting := q.counts()
	all["ApproximateNumberOfMessages"] = strconv.Itoa(shown)
	all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(invisible)
	all["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(waiting)
	all["CreatedTimestamp"] = strconv.FormatInt(q.created.Unix(), 10)
	all["LastModifiedTimestamp"] = strconv.FormatInt(q.modified.Unix(), 10)
	all["QueueArn"] = q.arn
	if slices.Contains(names, types.QueueAttributeNameAll) {
		return all, nil
	}
	out := make(map[string]string)
	for _, n := range names {
		name := string(n)
		value, ok := all[name]
		if ok {
			out[name] = value
			continue
		}
		if !known(name) {
			return nil, fail("InvalidAttributeName", "InvalidAttributeName", "Unknown Attribute %s.", name)
		}
	}
	return out, nil
}

func known(name string) bool {
	_, number := ranges[name]
	_, choice := choices[name]
	return number || choice || slices.Contains(readOnly, name) ||
		slices.Contains([]string{"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"}, name)
}

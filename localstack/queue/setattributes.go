package queue

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// SetQueueAttributes.
//
// As AWS: every attribute that can be set, with its range; redrive policies and whether their target allows them.
// Differs: a change takes effect at once (AWS: within 60 seconds, and 15 minutes for the retention period).
// Missing: Policy, KmsMasterKeyId and their like are kept, not enforced. FifoThroughputLimit throttles nothing.

func (s *Server) setQueueAttributes(_ *call, in *sqs.SetQueueAttributesInput) (any, error) {
	return nil, s.with(in.QueueUrl, func(q *queue, now time.Time) error {
		if len(in.Attributes) == 0 {
			return errMissing("Attributes")
		}
		if _, given := in.Attributes["FifoQueue"]; given && !q.fifo {
			return fail("InvalidAttributeName", "InvalidAttributeName", "You can specify the FifoQueue only when FifoQueue is set to true.")
		}
		changed, err := s.apply(q.name, q.settings.Load().given, in.Attributes)
		if err != nil {
			return err
		}
		q.settings.Store(changed)
		q.modified = now
		q.save()
		// A long poll under way keeps its wait, and takes messages by the new settings.
		return nil
	})
}

// redriveAllowed says whether the redrive policy of the queue with ARN source may name target.
func redriveAllowed(target *queue, source string) bool {
	var allow allowPolicy
	if json.Unmarshal([]byte(target.settings.Load().given["RedriveAllowPolicy"]), &allow) != nil {
		return true
	}
	switch allow.Permission {
	case "denyAll":
		return false
	case "byQueue":
		return slices.Contains(allow.Sources, source)
	}
	return true
}

// settings are the attributes that can be set, as given and as used. They are never changed, only replaced.
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
	"DelaySeconds":                  {0, maxDelaySeconds, 0},
	"MaximumMessageSize":            {1024, maxMessageBytes, maxMessageBytes},
	"MessageRetentionPeriod":        {60, 1_209_600, 345_600},
	"ReceiveMessageWaitTimeSeconds": {0, maxWaitSeconds, 0},
	"VisibilityTimeout":             {0, maxVisibilitySeconds, 30},
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
func (s *Server) apply(name string, given, changes map[string]string) (*settings, *apiError) {
	fifo := strings.HasSuffix(name, ".fifo")
	given = maps.Clone(given)
	for _, attribute := range slices.Sorted(maps.Keys(changes)) {
		value, err := s.normalized(name, attribute, changes[attribute], fifo)
		if err != nil {
			return nil, err
		}
		if value == "" {
			delete(given, attribute)
		} else {
			given[attribute] = value
		}
	}
	return configure(given), nil
}

// configure reads attributes that normalized wrote.
func configure(given map[string]string) *settings {
	seconds := func(name string) time.Duration {
		n, _ := strconv.Atoi(given[name])
		return time.Duration(n) * time.Second
	}
	out := &settings{
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
	return out
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
	if err != nil || count < 1 || count > maxReceives {
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

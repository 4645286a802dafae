package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tributary/internal/queues"
)

// QueueAPI is what Setup asks of SQS.
type QueueAPI interface {
	CreateQueue(context.Context, *sqs.CreateQueueInput, ...func(*sqs.Options)) (*sqs.CreateQueueOutput, error)
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	SetQueueAttributes(context.Context, *sqs.SetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.SetQueueAttributesOutput, error)
}

// RedrivePolicy is a queue's attribute of that name.
type RedrivePolicy struct {
	DeadLetterTargetARN string      `json:"deadLetterTargetArn"`
	MaxReceiveCount     json.Number `json:"maxReceiveCount"` // SQS gives a number, some emulators a string
}

// AllowPolicy is a dead-letter queue's attribute RedriveAllowPolicy.
type AllowPolicy struct {
	Permission string   `json:"redrivePermission"`
	SourceARNs []string `json:"sourceQueueArns,omitempty"`
}

// Permits says whether a queue may name the dead-letter queue in its redrive policy.
func (p *AllowPolicy) Permits(sourceARN string) bool {
	switch p.Permission {
	case "", allowAll:
		return true
	case byQueue:
		return slices.Contains(p.SourceARNs, sourceARN)
	default:
		return false
	}
}

// The permissions of a RedriveAllowPolicy, and how many queues it may name ("CreateQueue").
const (
	allowAll          = "allowAll"
	byQueue           = "byQueue"
	allowedSourcesMax = 10
)

// queueState is a queue that was there before.
type queueState struct {
	url        string
	attributes map[string]string
}

func (q *queueState) arn() string { return q.attributes[string(types.QueueAttributeNameQueueArn)] }

// setting is one attribute that a queue should have.
type setting struct {
	attribute types.QueueAttributeName
	label     string
	want      string
	show      func(string) string
	unset     string // what it means where the service leaves it out
	satisfied func(attributes map[string]string) bool
}

func plain(text string) string { return text }

func bytesText(text string) string {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return text
	}
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	if n%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return text + " bytes"
}

// sharedSettings are those that both queues have.
func sharedSettings(fifo bool) []setting {
	settings := []setting{
		{
			attribute: types.QueueAttributeNameMessageRetentionPeriod, label: "retention",
			want: seconds(Retention), show: Seconds,
		},
		{
			attribute: types.QueueAttributeNameMaximumMessageSize, label: "largest message",
			want: strconv.Itoa(MessageBytes), show: bytesText,
		},
		{
			attribute: types.QueueAttributeNameSqsManagedSseEnabled, label: "encryption",
			want: "true", show: func(on string) string {
				if on == "true" {
					return "SSE-SQS"
				}
				return "off"
			},
			// A key of the user's own is encryption too.
			satisfied: func(attributes map[string]string) bool {
				return attributes[string(types.QueueAttributeNameKmsMasterKeyId)] != ""
			},
		},
	}
	if fifo {
		settings = append(settings,
			setting{
				attribute: types.QueueAttributeNameDeduplicationScope, label: "deduplication scope",
				want: "messageGroup", show: plain, unset: "queue",
			},
			setting{
				attribute: types.QueueAttributeNameFifoThroughputLimit, label: "FIFO throughput limit",
				want: "perMessageGroupId", show: plain, unset: "perQueue",
			})
	}
	return settings
}

func queueSettings(fifo bool) []setting {
	return append([]setting{
		{
			attribute: types.QueueAttributeNameVisibilityTimeout, label: "visibility timeout",
			want: seconds(VisibilityTimeout), show: Seconds,
		},
		{
			attribute: types.QueueAttributeNameReceiveMessageWaitTimeSeconds, label: "long polling",
			want: seconds(LongPoll), show: Seconds,
		},
	}, sharedSettings(fifo)...)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// compare lists the settings in which a queue differs, and the attributes that would mend them.
func compare(settings []setting, attributes map[string]string) ([]Difference, map[string]string) {
	var differences []Difference
	mend := map[string]string{}
	for _, s := range settings {
		is, known := attributes[string(s.attribute)]
		if !known {
			is = s.unset
		}
		// What a service doesn't report, and for which it documents no default, can't be compared.
		if is == s.want || is == "" || s.satisfied != nil && s.satisfied(attributes) {
			continue
		}
		differences = append(differences, Difference{Setting: s.label, Is: s.show(is), Want: s.show(s.want)})
		mend[string(s.attribute)] = s.want
	}
	return differences, mend
}

func createAttributes(settings []setting, fifo bool) map[string]string {
	attributes := map[string]string{}
	for _, s := range settings {
		attributes[string(s.attribute)] = s.want
	}
	if fifo {
		attributes[string(types.QueueAttributeNameFifoQueue)] = "true"
	}
	return attributes
}

func describe(settings []setting) string {
	parts := make([]string, 0, len(settings))
	for _, s := range settings {
		parts = append(parts, s.label+" "+s.show(s.want))
	}
	return strings.Join(parts, ", ")
}

// queues sees to both queues. The dead-letter queue comes first, because the queue's redrive policy names it;
// who may use it is set last, because that names the queue.
func (s *Setup) queues(ctx context.Context, plan *Plan) ([]Resource, error) {
	fifo := queues.IsFIFO(plan.Queue)
	letters, err := s.find(ctx, plan.DeadLetters)
	if err != nil {
		return nil, err
	}
	queue, err := s.find(ctx, plan.Queue)
	if err != nil {
		return nil, err
	}
	lettersMade, queueMade := letters == nil, queue == nil

	lettersAs := Resource{Kind: DeadLetters, Name: queues.Name(plan.DeadLetters), Outcome: Created, Settings: describe(sharedSettings(fifo))}
	if lettersMade {
		if letters, err = s.create(ctx, plan.DeadLetters, createAttributes(sharedSettings(fifo), fifo), 0); err != nil {
			return nil, err
		}
	}
	lettersAs.URL, lettersAs.ARN = letters.url, letters.arn()

	policy, err := json.Marshal(RedrivePolicy{DeadLetterTargetARN: letters.arn(), MaxReceiveCount: json.Number(strconv.Itoa(MaxReceiveCount))})
	if err != nil {
		return nil, fmt.Errorf("encode redrive policy: %w", err)
	}
	queueAs := Resource{Kind: Queue, Name: queues.Name(plan.Queue), Outcome: Created}
	if queueMade {
		queueAs.Settings = fmt.Sprintf("%s, to %s after %d receives", describe(queueSettings(fifo)), lettersAs.Name, MaxReceiveCount)
		attributes := createAttributes(queueSettings(fifo), fifo)
		attributes[string(types.QueueAttributeNameRedrivePolicy)] = string(policy)
		patience := time.Duration(0)
		if lettersMade {
			patience = newQueuePatience
		}
		if queue, err = s.create(ctx, plan.Queue, attributes, patience); err != nil {
			return []Resource{lettersAs}, err
		}
	}
	queueAs.URL, queueAs.ARN = queue.url, queue.arn()

	if !queueMade {
		differences, mend := compare(queueSettings(fifo), queue.attributes)
		more := compareRedrive(queue, letters.arn(), lettersAs.Name)
		if len(more) > 0 {
			differences = append(differences, more...)
			mend[string(types.QueueAttributeNameRedrivePolicy)] = string(policy)
		}
		queueAs.Differences, err = s.mend(ctx, plan, plan.Queue, queue.url, differences, mend)
		queueAs.settle()
		if err != nil {
			return []Resource{lettersAs, queueAs}, err
		}
	}

	allow, allowDifference, err := mendAllow(letters, queue.arn())
	if err != nil {
		return []Resource{lettersAs, queueAs}, err
	}
	if lettersMade {
		if allow != "" {
			err = s.set(ctx, plan.DeadLetters, letters.url, map[string]string{string(types.QueueAttributeNameRedriveAllowPolicy): allow})
		}
		return []Resource{lettersAs, queueAs}, err
	}
	differences, mend := compare(sharedSettings(fifo), letters.attributes)
	if allow != "" {
		differences = append(differences, *allowDifference)
		mend[string(types.QueueAttributeNameRedriveAllowPolicy)] = allow
	}
	lettersAs.Settings = ""
	lettersAs.Differences, err = s.mend(ctx, plan, plan.DeadLetters, letters.url, differences, mend)
	lettersAs.settle()
	return []Resource{lettersAs, queueAs}, err
}

// compareRedrive lists what differs in a queue's redrive policy.
func compareRedrive(queue *queueState, targetARN, target string) []Difference {
	text := queue.attributes[string(types.QueueAttributeNameRedrivePolicy)]
	if text == "" {
		return []Difference{{Setting: "dead-letter queue", Is: "none", Want: target}}
	}
	var policy RedrivePolicy
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		return []Difference{{Setting: "redrive policy", Is: text, Want: fmt.Sprintf("to %s after %d receives", target, MaxReceiveCount)}}
	}
	var differences []Difference
	if policy.DeadLetterTargetARN != targetARN {
		differences = append(differences, Difference{Setting: "dead-letter queue", Is: policy.DeadLetterTargetARN, Want: targetARN})
	}
	if is, want := policy.MaxReceiveCount.String(), strconv.Itoa(MaxReceiveCount); is != want {
		differences = append(differences, Difference{Setting: "receives before the dead-letter queue", Is: is, Want: want})
	}
	return differences
}

// mendAllow returns the RedriveAllowPolicy that a dead-letter queue should have, and how it differs; "" where it
// already lets in the queue, and only those that it names.
func mendAllow(letters *queueState, sourceARN string) (string, *Difference, error) {
	var policy AllowPolicy
	text := letters.attributes[string(types.QueueAttributeNameRedriveAllowPolicy)]
	if text != "" {
		if err := json.Unmarshal([]byte(text), &policy); err != nil {
			return "", nil, fmt.Errorf("decode RedriveAllowPolicy %q: %w", text, err)
		}
	}
	difference := &Difference{Setting: "queues that may use it", Want: "only those it names, with " + sourceARN}
	switch {
	case policy.Permission != byQueue:
		difference.Is = policy.Permission
		if policy.Permission == "" || policy.Permission == allowAll {
			difference.Is = "all of the account's"
		}
		policy = AllowPolicy{Permission: byQueue, SourceARNs: []string{sourceARN}}
	case slices.Contains(policy.SourceARNs, sourceARN):
		return "", nil, nil
	case len(policy.SourceARNs) == allowedSourcesMax:
		difference.Is = strings.Join(policy.SourceARNs, ", ")
		difference.Want = "all of the account's (ten are named already, SQS allows no more)"
		policy = AllowPolicy{Permission: allowAll}
	default:
		difference.Is = strings.Join(policy.SourceARNs, ", ")
		policy.SourceARNs = append(policy.SourceARNs, sourceARN)
	}
	encoded, err := json.Marshal(policy)
	if err != nil {
		return "", nil, fmt.Errorf("encode RedriveAllowPolicy: %w", err)
	}
	return string(encoded), difference, nil
}

// mend changes a queue's attributes where the plan asks for it, and returns the differences with what became of
// them.
func (s *Setup) mend(ctx context.Context, plan *Plan, name, url string, differences []Difference, attributes map[string]string) ([]Difference, error) {
	if !plan.Update || len(differences) == 0 {
		return differences, nil
	}
	if err := s.set(ctx, name, url, attributes); err != nil {
		return differences, err
	}
	for i := range differences {
		differences[i].Updated = true
	}
	return differences, nil
}

func (s *Setup) set(ctx context.Context, name, url string, attributes map[string]string) error {
	if _, err := s.Queues.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: attributes}); err != nil {
		return fmt.Errorf("set attributes of queue %s: %w", name, err)
	}
	return nil
}

// find returns a queue's state, or nil where there is none.
func (s *Setup) find(ctx context.Context, nameOrURL string) (*queueState, error) {
	url, err := queues.URL(ctx, s.Queues, nameOrURL)
	var state *queueState
	if err == nil {
		state, err = s.read(ctx, nameOrURL, url)
	}
	if _, missing := errors.AsType[*queues.NotFoundError](err); missing {
		return nil, nil
	}
	return state, err
}

func (s *Setup) read(ctx context.Context, nameOrURL, url string) (*queueState, error) {
	out, err := s.Queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	if err != nil {
		return nil, queues.Wrap(nameOrURL, fmt.Errorf("read attributes of queue %s: %w", nameOrURL, err))
	}
	return &queueState{url: url, attributes: out.Attributes}, nil
}

// newQueuePatience is how long a queue that was just created may take to be known to the rest of SQS.
const newQueuePatience = 10 * time.Second

// create makes a queue. What SQS refuses is tried again for as long as patience says.
func (s *Setup) create(ctx context.Context, nameOrURL string, attributes map[string]string, patience time.Duration) (*queueState, error) {
	name := queues.Name(nameOrURL)
	deadline := time.Now().Add(patience)
	for {
		out, err := s.Queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err == nil {
			made := aws.ToString(out.QueueUrl)
			if queues.IsURL(nameOrURL) && !samePath(made, nameOrURL) {
				return nil, fmt.Errorf("create queue %s: SQS made it at %s instead, where these settings lead: give its name, or the credentials of the account in the URL", nameOrURL, made)
			}
			return s.awaitQueue(ctx, nameOrURL, made)
		}
		if _, deleted := errors.AsType[*types.QueueDeletedRecently](err); deleted {
			return nil, fmt.Errorf("create queue %s: one of that name was deleted less than a minute ago, wait that long (SQS's rule): %w", name, err)
		}
		if _, refused := errors.AsType[smithy.APIError](err); !refused || time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("create queue %s: %w", name, err)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// awaitQueue reads the queue that was just created as soon as SQS knows it.
func (s *Setup) awaitQueue(ctx context.Context, nameOrURL, url string) (*queueState, error) {
	deadline := time.Now().Add(newQueuePatience)
	for {
		state, err := s.read(ctx, nameOrURL, url)
		if _, missing := errors.AsType[*queues.NotFoundError](err); !missing || time.Now().After(deadline) {
			return state, err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// samePath says whether two URLs name the same account and queue: hosts have several names.
func samePath(a, b string) bool {
	one, err1 := url.Parse(a)
	two, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && one.Path == two.Path
}

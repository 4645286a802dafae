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

	"tributary/internal/aws/queues"
)

// QueueAPI is the part of SQS that Setup calls.
type QueueAPI interface {
	CreateQueue(context.Context, *sqs.CreateQueueInput, ...func(*sqs.Options)) (*sqs.CreateQueueOutput, error)
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	SetQueueAttributes(context.Context, *sqs.SetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.SetQueueAttributesOutput, error)
}

// allowPolicy is a dead-letter queue's attribute RedriveAllowPolicy.
type allowPolicy struct {
	Permission string   `json:"redrivePermission"`
	SourceARNs []string `json:"sourceQueueArns,omitempty"`
}

// Permits says whether a queue may name the dead-letter queue in its redrive policy.
func (p *allowPolicy) permits(sourceARN string) bool {
	switch p.Permission {
	case "", allowAll:
		return true
	case byQueue:
		return slices.Contains(p.SourceARNs, sourceARN)
	default:
		return false
	}
}

// Full says that it can't be extended: it names as many queues as SQS lets it.
func (p *allowPolicy) full() bool {
	return p.Permission == byQueue && len(p.SourceARNs) >= maxAllowedSources
}

// The permissions of a RedriveAllowPolicy, and how many queues it may name ("CreateQueue").
const (
	allowAll          = "allowAll"
	byQueue           = "byQueue"
	maxAllowedSources = 10
)

// allowFull is the remedy for a RedriveAllowPolicy that is full and does not let in the queue.
const allowFull = "a RedriveAllowPolicy names at most 10 queues (SQS's limit): take one out of it, or name another dead-letter queue with --dlq"

// setting is one attribute that a queue should have.
type setting struct {
	attribute types.QueueAttributeName
	label     string
	want      string
	show      func(string) string
	satisfied func(*queues.Attributes) bool
}

func plain(text string) string { return text }

func bytesText(text string) string {
	n, err := strconv.Atoi(text)
	if err != nil {
		return text
	}
	return Bytes(n)
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
			// A key of the user encrypts too.
			satisfied: func(a *queues.Attributes) bool { return a.Get(types.QueueAttributeNameKmsMasterKeyId) != "" },
		},
	}
	if fifo {
		settings = append(settings,
			setting{
				attribute: types.QueueAttributeNameDeduplicationScope, label: "deduplication scope",
				want: "messageGroup", show: plain,
			},
			setting{
				attribute: types.QueueAttributeNameFifoThroughputLimit, label: "FIFO throughput limit",
				want: "perMessageGroupId", show: plain,
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

// CompareQueue lists the settings in which a queue of commands differs from what Setup makes, but for its redrive policy.
func CompareQueue(queue *queues.Attributes) []Difference {
	return compare(queueSettings(queues.IsFIFO(queue.Name)), queue)
}

// CompareLetters lists the settings in which a dead-letter queue differs from what Setup makes, but for the queues that may use it.
func CompareLetters(letters *queues.Attributes) []Difference {
	return compare(sharedSettings(queues.IsFIFO(letters.Name)), letters)
}

// Show writes a setting of a queue for people. ok is false if the endpoint does not report it.
func Show(a *queues.Attributes, attribute types.QueueAttributeName) (text string, ok bool) {
	for _, s := range queueSettings(true) {
		if s.attribute != attribute {
			continue
		}
		if is := a.Get(attribute); is != "" {
			return s.show(is), true
		}
		return "", s.satisfied != nil && s.satisfied(a)
	}
	return "", false
}

// compare lists the settings in which a queue differs.
func compare(settings []setting, a *queues.Attributes) []Difference {
	var differences []Difference
	for _, s := range settings {
		is := a.Get(s.attribute)
		// SQS reports all of these. An emulator does not know the settings that it leaves out.
		if is == s.want || is == "" || s.satisfied != nil && s.satisfied(a) {
			continue
		}
		differences = append(differences, Difference{
			Setting: s.label, Is: s.show(is), Want: s.show(s.want), Attribute: s.attribute, value: s.want,
		})
	}
	return differences
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

	lettersAs := Resource{Kind: DeadLetters, Name: queues.Name(plan.DeadLetters), Outcome: Created}
	if lettersMade {
		lettersAs.Settings = describe(sharedSettings(fifo))
		if letters, err = s.create(ctx, plan.DeadLetters, createAttributes(sharedSettings(fifo), fifo), 0); err != nil {
			return nil, err
		}
	}
	lettersAs.URL, lettersAs.ARN = letters.URL, letters.ARN()

	policy := redrivePolicy(letters)
	// The account and region of a queue are those of its dead-letter queue: its ARN is known before it exists.
	queueAs := Resource{Kind: Queue, Name: queues.Name(plan.Queue), Outcome: Created}
	sourceARN := letters.ARN()[:strings.LastIndexByte(letters.ARN(), ':')+1] + queueAs.Name
	allow, permits, err := CompareAllow(letters, sourceARN, lettersMade)
	if err != nil {
		return []Resource{lettersAs}, err
	}
	if !lettersMade {
		lettersAs.Differences = compare(sharedSettings(fifo), letters)
	}
	if allow != nil {
		lettersAs.Differences = append(lettersAs.Differences, *allow)
	}
	if !lettersMade {
		if plan.Update {
			err = s.mend(ctx, lettersAs.Name, letters.URL, lettersAs.Differences)
		}
		lettersAs.conclude()
		if err != nil {
			return []Resource{lettersAs}, err
		}
		switch {
		case permits:
		case allow.Remedy != "" && (queueMade || plan.Update):
			return []Resource{lettersAs}, fmt.Errorf("dead-letter queue %s lets in %s: %s", lettersAs.Name, allow.Is, allow.Remedy)
		case queueMade && !plan.Update:
			return []Resource{lettersAs}, fmt.Errorf("create queue %s: dead-letter queue %s lets in %s: setup --update lets in %s, --dlq names another",
				queueAs.Name, lettersAs.Name, allow.Is, queueAs.Name)
		}
	}

	if queueMade {
		queueAs.Settings = fmt.Sprintf("%s, to %s after %d receives", describe(queueSettings(fifo)), lettersAs.Name, MaxReceiveCount)
		attributes := createAttributes(queueSettings(fifo), fifo)
		attributes[string(types.QueueAttributeNameRedrivePolicy)] = policy
		patience := time.Duration(0)
		if lettersMade {
			patience = newQueuePatience
		}
		if queue, err = s.create(ctx, plan.Queue, attributes, patience); err != nil {
			return []Resource{lettersAs}, err
		}
	} else {
		queueAs.Differences = append(compare(queueSettings(fifo), queue),
			CompareRedrive(queue, letters)...)
		if plan.Update {
			err = s.mend(ctx, queueAs.Name, queue.URL, queueAs.Differences)
		}
		queueAs.conclude()
	}
	queueAs.URL, queueAs.ARN = queue.URL, queue.ARN()
	if err == nil && lettersMade {
		err = s.mend(ctx, lettersAs.Name, letters.URL, lettersAs.Differences)
		lettersAs.Differences = slices.DeleteFunc(lettersAs.Differences, func(d Difference) bool { return d.Updated })
	}
	return []Resource{lettersAs, queueAs}, err
}

// redrivePolicy is the policy that Setup gives a queue with this dead-letter queue.
func redrivePolicy(letters *queues.Attributes) string {
	arn, _ := json.Marshal(letters.ARN()) // a string has no error
	return fmt.Sprintf(`{"deadLetterTargetArn":%s,"maxReceiveCount":%d}`, arn, MaxReceiveCount)
}

// The settings of a redrive policy, as differences name them.
const (
	SettingRedrive = "redrive policy" // it can't be read
	SettingTarget  = "dead-letter queue"
	SettingReceive = "receives before the dead-letter queue"
)

// CompareRedrive lists the differences between the redrive policy of a queue and the one that Setup gives it.
func CompareRedrive(queue, letters *queues.Attributes) []Difference {
	mended, targetARN, target := redrivePolicy(letters), letters.ARN(), letters.Name
	difference := func(setting, is, want string) Difference {
		return Difference{Setting: setting, Is: is, Want: want, Attribute: types.QueueAttributeNameRedrivePolicy, value: mended}
	}
	policy, err := queue.Redrive()
	if err != nil {
		return []Difference{difference(SettingRedrive, queue.Get(types.QueueAttributeNameRedrivePolicy), fmt.Sprintf("to %s after %d receives", target, MaxReceiveCount))}
	}
	if policy == nil {
		return []Difference{difference(SettingTarget, "none", target)}
	}
	var differences []Difference
	if policy.DeadLetterTargetARN != targetARN {
		other := policy.Target()
		differences = append(differences, difference(SettingTarget, other+" (--dlq "+other+" keeps it)", target))
	}
	if is, want := policy.MaxReceiveCount.String(), strconv.Itoa(MaxReceiveCount); is != want {
		differences = append(differences, difference(SettingReceive, is, want))
	}
	return differences
}

// CompareAllow returns the difference in the RedriveAllowPolicy of a dead-letter queue, or nil, and whether the queue may use it. A
// dead-letter queue that Setup has made lets in only the queue. Other queues may use one that was there before: it must let in the
// queue, and keeps letting in the others.
func CompareAllow(letters *queues.Attributes, sourceARN string, made bool) (*Difference, bool, error) {
	var policy allowPolicy
	text := letters.Get(types.QueueAttributeNameRedriveAllowPolicy)
	if text != "" {
		if err := json.Unmarshal([]byte(text), &policy); err != nil {
			return nil, false, fmt.Errorf("decode RedriveAllowPolicy %q: %w", text, err)
		}
	}
	permits := policy.permits(sourceARN)
	if permits && !made {
		return nil, true, nil
	}
	source := sourceARN[strings.LastIndexByte(sourceARN, ':')+1:]
	d := &Difference{Setting: "queues that may use it", Attribute: types.QueueAttributeNameRedriveAllowPolicy}
	switch {
	case policy.full():
		d.Is = fmt.Sprintf("%d others", len(policy.SourceARNs))
		d.Want = source + " too"
		d.Remedy = allowFull
		return d, false, nil
	case policy.Permission == byQueue:
		d.Is = strings.Join(policy.SourceARNs, ", ")
		d.Want = source + " too"
		policy.SourceARNs = append(policy.SourceARNs, sourceARN)
	default:
		d.Is = "all of the account's"
		if !permits {
			d.Is = "none"
		}
		d.Want = "only " + source
		policy = allowPolicy{Permission: byQueue, SourceARNs: []string{sourceARN}}
	}
	encoded, err := json.Marshal(policy)
	if err != nil {
		return nil, permits, fmt.Errorf("encode RedriveAllowPolicy: %w", err)
	}
	d.value = string(encoded)
	return d, permits, nil
}

// mend changes the attributes of a queue and records the results in the differences. They go one by one, in
// order: an emulator that doesn't know one refuses the whole call.
func (s *Setup) mend(ctx context.Context, name, url string, differences []Difference) error {
	for i := range differences {
		d := &differences[i]
		if d.Remedy != "" {
			continue // not Setup's to change
		}
		err := s.set(ctx, name, url, map[string]string{string(d.Attribute): d.value})
		if _, unknown := errors.AsType[*types.InvalidAttributeName](err); unknown {
			d.Remedy = unknownHere
			continue
		}
		if err != nil {
			return err
		}
		d.Updated = true
	}
	return nil
}

// unknownHere is the remedy for a setting that an emulator lacks.
const unknownHere = "this endpoint does not know it (some emulators don't)"

func (s *Setup) set(ctx context.Context, name, url string, attributes map[string]string) error {
	if _, err := s.Queues.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: attributes}); err != nil {
		return fmt.Errorf("set attributes of queue %s: %w", name, err)
	}
	return nil
}

// find returns a queue that is there, or nil.
func (s *Setup) find(ctx context.Context, nameOrURL string) (*queues.Attributes, error) {
	found, err := queues.Read(ctx, s.Queues, nameOrURL)
	if _, missing := errors.AsType[*queues.NotFoundError](err); missing {
		return nil, nil
	}
	return found, err
}

// newQueuePatience is how long a queue that was just created may take to be known to the rest of SQS.
const newQueuePatience = 10 * time.Second

// create makes a queue. What SQS refuses is tried again for as long as patience says.
func (s *Setup) create(ctx context.Context, nameOrURL string, attributes map[string]string, patience time.Duration) (*queues.Attributes, error) {
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
			return nil, fmt.Errorf("create queue %s: one of that name was deleted less than a minute ago; SQS requires a minute between: %w", name, err)
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
func (s *Setup) awaitQueue(ctx context.Context, nameOrURL, url string) (*queues.Attributes, error) {
	deadline := time.Now().Add(newQueuePatience)
	for {
		state, err := queues.ReadURL(ctx, s.Queues, nameOrURL, url)
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

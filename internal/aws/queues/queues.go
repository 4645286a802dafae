// Package queues finds queues by name or URL, and reads their attributes.
package queues

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/aws/awsclient"
)

const (
	fifoSuffix       = ".fifo"
	deadLetterSuffix = "-dlq"
	// maxName is the longest name, ".fifo" included ("Amazon SQS standard queue quotas").
	maxName = 80
)

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.fifo)?$`)
	// regionForms finds the region in the host of a queue's URL: sqs.REGION.amazonaws.com, sqs-fips, the dualstack names
	// below api.aws, those of other partitions, VPC endpoints, and REGION.queue.amazonaws.com, the form that was used before
	// ("Amazon SQS endpoints and quotas").
	regionForms = regexp.MustCompile(`^(?:(?:vpce-[a-z0-9-]+\.)?sqs(?:-fips)?\.(` + regionForm + `)|(` + regionForm + `)\.queue)\.[a-z0-9.-]+$`)
)

const (
	regionForm = `[a-z]{2,5}(?:-[a-z]+)+-[0-9]+`
	// oldHost is the only host of queue URLs that names no region: it is that of us-east-1.
	oldHost, oldRegion = "queue.amazonaws.com", "us-east-1"
)

// NotFoundError says that SQS has no such queue for this account, region and endpoint, or does not show it.
type NotFoundError struct {
	Queue  string // as the user gave it
	Region string // the region that was called; "" if unknown
	Err    error
}

func (e *NotFoundError) Error() string {
	where := ""
	if e.Region != "" {
		where = " in " + e.Region
	}
	return fmt.Sprintf("queue %s does not exist%s, or these credentials may not see it", e.Queue, where)
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// IsURL reports whether a queue was given by its URL.
func IsURL(nameOrURL string) bool {
	return strings.HasPrefix(nameOrURL, "https://") || strings.HasPrefix(nameOrURL, "http://")
}

// Name is the queue's name: a URL's last segment, or the name itself.
func Name(nameOrURL string) string {
	if !IsURL(nameOrURL) {
		return nameOrURL
	}
	return nameOrURL[strings.LastIndexByte(nameOrURL, '/')+1:]
}

// Region is the AWS region in the URL of a queue. It is "" for a name, and for a URL without a region.
func Region(nameOrURL string) string {
	if !IsURL(nameOrURL) {
		return ""
	}
	u, err := url.Parse(nameOrURL)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if host == oldHost {
		return oldRegion
	}
	found := regionForms.FindStringSubmatch(host)
	if found == nil {
		return ""
	}
	return found[1] + found[2]
}

// Client makes a client for a queue. The region in the URL of a queue decides which region is called, because no other has the
// queue. A queue that is given by its name is in the region of cfg.
func Client(cfg aws.Config, nameOrURL string, options ...func(*sqs.Options)) *sqs.Client {
	return sqs.NewFromConfig(cfg, append([]func(*sqs.Options){func(o *sqs.Options) {
		if region := Region(nameOrURL); region != "" {
			o.Region = region
		}
		if fips140.Enforced() { // the SDK's checksums are MD5, which panics then
			o.DisableMessageChecksumValidation = true
		}
	}}, options...)...)
}

// IsFIFO says whether the name, which decides it, is that of a FIFO queue.
func IsFIFO(nameOrURL string) bool { return strings.HasSuffix(nameOrURL, fifoSuffix) }

// DeadLetters is the dead-letter queue of a queue for which none was named: its name, or its URL, with -dlq
// before any .fifo.
func DeadLetters(nameOrURL string) string {
	if base, fifo := strings.CutSuffix(nameOrURL, fifoSuffix); fifo {
		return base + deadLetterSuffix + fifoSuffix
	}
	return nameOrURL + deadLetterSuffix
}

// Check returns an error if SQS can't have a queue of this name or URL. It makes no call.
func Check(nameOrURL string) error {
	if IsURL(nameOrURL) {
		u, err := url.Parse(nameOrURL)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("queue %q is not a queue URL: it should look like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", nameOrURL)
		}
	}
	name := Name(nameOrURL)
	switch {
	case name == "":
		return fmt.Errorf("queue %q has no name", nameOrURL)
	case strings.HasPrefix(name, "arn:"):
		return fmt.Errorf("queue %q is an ARN: give the queue's name or its URL", nameOrURL)
	case len(name) > maxName:
		return fmt.Errorf("queue name %.20q… has %d characters: SQS allows %d", name, len(name), maxName)
	case !nameForm.MatchString(name):
		return fmt.Errorf("queue name %q: SQS allows letters, digits, - and _, and .fifo at the end", name)
	}
	return nil
}

// API is the part of SQS that finds a queue.
type API interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
}

// URL finds a queue's URL. A URL is returned as it is, unasked. The error is a *NotFoundError where there is no
// such queue.
func URL(ctx context.Context, api API, nameOrURL string) (string, error) {
	if IsURL(nameOrURL) {
		return nameOrURL, nil
	}
	out, err := api.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &nameOrURL})
	if err != nil {
		return "", wrap(api, nameOrURL, fmt.Errorf("find queue %s: %w", nameOrURL, err))
	}
	return aws.ToString(out.QueueUrl), nil
}

// Wrap turns an error from SQS about a missing queue into a *NotFoundError. It returns other errors, and nil, unchanged.
func Wrap(nameOrURL string, err error) error {
	if _, wrapped := errors.AsType[*NotFoundError](err); wrapped {
		return err
	}
	if _, missing := errors.AsType[*types.QueueDoesNotExist](err); missing {
		return &NotFoundError{Queue: nameOrURL, Err: err}
	}
	return err
}

// wrap is Wrap with the region of an SDK client.
func wrap(api any, nameOrURL string, err error) error {
	err = Wrap(nameOrURL, err)
	if missing, ok := errors.AsType[*NotFoundError](err); ok {
		if client, ok := api.(interface{ Options() sqs.Options }); ok {
			missing.Region = client.Options().Region
		}
	}
	return err
}

// Explain shortens an error of a command for a person. It adds remedy to the error of a queue that does not exist.
func Explain(err error, remedy string) error {
	if missing, ok := errors.AsType[*NotFoundError](err); ok {
		return fmt.Errorf("%w (%s)", missing, remedy)
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return awsclient.Explain(err)
}

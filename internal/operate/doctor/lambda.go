package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"tributary/internal/aws/queues"
)

// The names of the checks of a function.
const (
	checkFunction    = "function"
	checkSettings    = "function's settings"
	checkTimeout     = "function's time-out"
	checkMapping     = "event source mapping"
	checkPartial     = "partial answers"
	checkHidden      = "visibility for the function"
	checkBatches     = "batches"
	checkConcurrency = "concurrency"
)

// FunctionAPI is the part of Lambda that a doctor calls.
type FunctionAPI interface {
	GetFunctionConfiguration(context.Context, *lambda.GetFunctionConfigurationInput, ...func(*lambda.Options)) (*lambda.GetFunctionConfigurationOutput, error)
	GetFunctionConcurrency(context.Context, *lambda.GetFunctionConcurrencyInput, ...func(*lambda.Options)) (*lambda.GetFunctionConcurrencyOutput, error)
	ListEventSourceMappings(context.Context, *lambda.ListEventSourceMappingsInput, ...func(*lambda.Options)) (*lambda.ListEventSourceMappingsOutput, error)
}

// Function examines a Lambda function that runs `worker lambda`, and the mapping that feeds it.
type Function struct {
	API    FunctionAPI
	Queues queues.ReadAPI

	Name                      string // or its ARN
	Queue, DeadLetters, Table string
}

// Examine makes all checks.
func (f *Function) Examine(ctx context.Context) []Check {
	config, err := f.API.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &f.Name})
	if err != nil {
		remedy := "allow lambda:GetFunctionConfiguration to these credentials"
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			remedy = "deploy/cloudformation/lambda.yaml makes it"
		}
		return append([]Check{failed(checkFunction, err, remedy)}, skipped("the function can't be looked at",
			checkSettings, checkTimeout, checkMapping, checkPartial, checkHidden, checkBatches, checkConcurrency)...)
	}
	timeout := time.Duration(aws.ToInt32(config.Timeout)) * time.Second
	checks := []Check{functionCheck(config), f.settingsCheck(config), timeoutCheck(config, timeout)}
	queue, err := queues.Read(ctx, f.Queues, f.Queue)
	if err != nil {
		return append(checks, skipped("the queue can't be looked at", checkMapping, checkPartial, checkHidden, checkBatches, checkConcurrency)...)
	}
	mapping, c := f.mapping(ctx, queue)
	checks = append(checks, c)
	if mapping == nil {
		return append(checks, skipped("there is no mapping to look at", checkPartial, checkHidden, checkBatches, checkConcurrency)...)
	}
	return append(checks, partialCheck(mapping), hiddenCheck(queue, mapping, timeout), batchesCheck(mapping, timeout), f.concurrencyCheck(ctx, mapping))
}

func skipped(why string, names ...string) []Check {
	checks := make([]Check, len(names))
	for i, name := range names {
		checks[i] = Check{Name: name, Status: Skipped, Found: why}
	}
	return checks
}

func functionCheck(config *lambda.GetFunctionConfigurationOutput) Check {
	c := Check{Name: checkFunction, Status: OK}
	c.Found = fmt.Sprintf("%s: %s, %s, %d MiB", aws.ToString(config.FunctionName), config.Runtime, config.State, aws.ToInt32(config.MemorySize))
	if config.State != "" && config.State != types.StateActive && config.State != types.StateInactive {
		c.Status, c.Remedy = Failed, "see its StateReason: "+aws.ToString(config.StateReason)
	}
	return c
}

// settingsCheck compares the function's environment with the names that doctor was given.
func (f *Function) settingsCheck(config *lambda.GetFunctionConfigurationOutput) Check {
	c := Check{Name: checkSettings, Status: OK, Found: "queue, dead-letter queue and table are these"}
	variables := map[string]string{}
	if config.Environment != nil {
		variables = config.Environment.Variables
	}
	with := func(name, otherwise string) string {
		if v := variables[name]; v != "" {
			return v
		}
		return otherwise
	}
	queue := with("TRIBUTARY_QUEUE", "tributary-commands")
	for _, s := range []struct{ name, is, want string }{
		{"TRIBUTARY_QUEUE", queues.Name(queue), queues.Name(f.Queue)},
		{"TRIBUTARY_DLQ", queues.Name(with("TRIBUTARY_DLQ", queues.DeadLetters(queue))), queues.Name(f.DeadLetters)},
		{"TRIBUTARY_TABLE", with("TRIBUTARY_TABLE", "MultiTenantTable"), f.Table},
	} {
		if s.is != s.want {
			c.Status, c.Found = Failed, fmt.Sprintf("its %s is %s, not %s", s.name, s.is, s.want)
			c.Remedy = "set the variable " + s.name + " of the function, or give doctor the function's names"
			return c
		}
	}
	return c
}

// defaultMargin is that of `worker lambda`'s --deadline-margin.
const defaultMargin = 5 * time.Second

// timeoutCheck compares the time-out with the margin, of which a quarter of the time-out at most should be lost.
func timeoutCheck(config *lambda.GetFunctionConfigurationOutput, timeout time.Duration) Check {
	margin := defaultMargin
	if config.Environment != nil {
		if d, err := time.ParseDuration(config.Environment.Variables["TRIBUTARY_DEADLINE_MARGIN"]); err == nil {
			margin = d
		}
	}
	c := Check{Name: checkTimeout, Status: OK, Found: fmt.Sprintf("%v, the deadline margin is %v", timeout, margin)}
	if timeout < 4*margin {
		c.Status = Warning
		c.Found += ": too little time is left for work, and writes that hang may outlast the function"
		c.Remedy = fmt.Sprintf("a time-out of at least %v, or a smaller TRIBUTARY_DEADLINE_MARGIN", 4*margin)
	}
	return c
}

// mapping finds the mapping from the queue to the function.
func (f *Function) mapping(ctx context.Context, queue *queues.Attributes) (*types.EventSourceMappingConfiguration, Check) {
	arn := queue.ARN()
	out, err := f.API.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: &f.Name, EventSourceArn: &arn})
	if err != nil {
		return nil, failed(checkMapping, err, "allow lambda:ListEventSourceMappings to these credentials")
	}
	switch n := len(out.EventSourceMappings); {
	case n == 0:
		return nil, Check{Name: checkMapping, Status: Failed, Found: "none from " + queue.Name, Remedy: "deploy/cloudformation/lambda.yaml makes it"}
	case n > 1:
		return nil, Check{Name: checkMapping, Status: Failed, Found: fmt.Sprintf("%d from %s", n, queue.Name), Remedy: "delete all but one"}
	}
	m := &out.EventSourceMappings[0]
	c := Check{Name: checkMapping, Status: OK, Found: fmt.Sprintf("%s, from %s", aws.ToString(m.State), queue.Name)}
	if s := aws.ToString(m.State); s != "Enabled" && s != "Enabling" && s != "Creating" && s != "Updating" {
		c.Status, c.Remedy = Failed, "enable it: aws lambda update-event-source-mapping --enabled --uuid "+aws.ToString(m.UUID)
	}
	return m, c
}

// partialCheck: without ReportBatchItemFailures Lambda doesn't read the answer, and deletes what it reports.
func partialCheck(m *types.EventSourceMappingConfiguration) Check {
	if slices.Contains(m.FunctionResponseTypes, types.FunctionResponseTypeReportBatchItemFailures) {
		return Check{Name: checkPartial, Status: OK, Found: "ReportBatchItemFailures is on"}
	}
	return Check{
		Name: checkPartial, Status: Failed, Found: "ReportBatchItemFailures is off: Lambda deletes messages that the function reports as failed, and they are lost",
		Remedy: "aws lambda update-event-source-mapping --function-response-types ReportBatchItemFailures --uuid " + aws.ToString(m.UUID),
	}
}

// timeoutsHidden is how many time-outs of the function the queue should hide messages for, beside the batching window ("Configuring
// an Amazon SQS event source").
const timeoutsHidden = 6

func hiddenCheck(queue *queues.Attributes, m *types.EventSourceMappingConfiguration, timeout time.Duration) Check {
	visibility := queue.VisibilityTimeout()
	window := time.Duration(aws.ToInt32(m.MaximumBatchingWindowInSeconds)) * time.Second
	want := timeoutsHidden*timeout + window
	c := Check{Name: checkHidden, Status: OK, Found: fmt.Sprintf("%v, the function may take %v after a window of %v", visibility, timeout, window)}
	switch {
	case visibility < timeout+window:
		c.Status = Failed
		c.Found += ": messages are received again while the function still works on them"
	case visibility < want:
		c.Status = Warning
		c.Found += ": too short for Lambda to try again when it is throttled"
	default:
		return c
	}
	c.Remedy = fmt.Sprintf("a visibility timeout of %d s, six time-outs and the window", int(want.Seconds()))
	return c
}

// writesOfATenant is what one partition takes in a second ("Best practices for designing and using partition keys").
const writesOfATenant = 1000

func batchesCheck(m *types.EventSourceMappingConfiguration, timeout time.Duration) Check {
	size, window := aws.ToInt32(m.BatchSize), aws.ToInt32(m.MaximumBatchingWindowInSeconds)
	c := Check{Name: checkBatches, Status: OK, Found: fmt.Sprintf("up to %d messages, gathered for up to %d s", size, window)}
	if takes := time.Duration(size) * time.Second / writesOfATenant; takes >= timeout/2 {
		c.Status = Warning
		c.Found += fmt.Sprintf(": one tenant's partition takes about %d writes a second, so a batch of one tenant needs %v", writesOfATenant, takes)
		c.Remedy = "a smaller BatchSize, or a longer time-out"
	}
	return c
}

func (f *Function) concurrencyCheck(ctx context.Context, m *types.EventSourceMappingConfiguration) Check {
	c := Check{Name: checkConcurrency, Status: OK}
	if p := m.ProvisionedPollerConfig; p != nil && p.MaximumPollers != nil {
		c.Found = fmt.Sprintf("%d to %d provisioned pollers", aws.ToInt32(p.MinimumPollers), *p.MaximumPollers)
		return c
	}
	if m.ScalingConfig == nil || m.ScalingConfig.MaximumConcurrency == nil {
		c.Status, c.Found = Warning, "no maximum: a backlog may take all of the account's concurrency"
		c.Remedy = "set MaximumConcurrency of the mapping"
		return c
	}
	most := *m.ScalingConfig.MaximumConcurrency
	c.Found = fmt.Sprintf("at most %d invocations", most)
	reserved, err := f.API.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: &f.Name})
	if err != nil {
		return failed(checkConcurrency, err, "allow lambda:GetFunctionConcurrency to these credentials")
	}
	if r := reserved.ReservedConcurrentExecutions; r != nil && *r < most {
		c.Status = Warning
		c.Found += fmt.Sprintf(", but %d are reserved: Lambda is throttled, and that uses up receives", *r)
		c.Remedy = "a MaximumConcurrency of at most the function's reserved concurrency"
	}
	return c
}

package doctor

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// account is Lambda with one function and one mapping.
type account struct {
	function *lambda.GetFunctionConfigurationOutput
	mappings []types.EventSourceMappingConfiguration
	reserved *int32
	refusal  error
}

func (a *account) GetFunctionConfiguration(_ context.Context, in *lambda.GetFunctionConfigurationInput, _ ...func(*lambda.Options)) (*lambda.GetFunctionConfigurationOutput, error) {
	if a.function == nil || *in.FunctionName != *a.function.FunctionName {
		return nil, &types.ResourceNotFoundException{Message: aws.String("Function not found")}
	}
	return a.function, nil
}

func (a *account) GetFunctionConcurrency(context.Context, *lambda.GetFunctionConcurrencyInput, ...func(*lambda.Options)) (*lambda.GetFunctionConcurrencyOutput, error) {
	return &lambda.GetFunctionConcurrencyOutput{ReservedConcurrentExecutions: a.reserved}, nil
}

func (a *account) ListEventSourceMappings(_ context.Context, in *lambda.ListEventSourceMappingsInput, _ ...func(*lambda.Options)) (*lambda.ListEventSourceMappingsOutput, error) {
	if a.refusal != nil {
		return nil, a.refusal
	}
	var found []types.EventSourceMappingConfiguration
	for _, m := range a.mappings {
		if *m.EventSourceArn == *in.EventSourceArn {
			found = append(found, m)
		}
	}
	return &lambda.ListEventSourceMappingsOutput{EventSourceMappings: found}, nil
}

func TestFunction(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*account, *types.EventSourceMappingConfiguration)
		want   string
	}{
		"well": {func(*account, *types.EventSourceMappingConfiguration) {}, ""},
		"no function": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.function = nil },
			"function: failed, function's settings: skipped, function's time-out: skipped, event source mapping: skipped, partial answers: skipped, visibility for the function: skipped, batches: skipped, concurrency: skipped"},
		"a function that failed": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.function.State = types.StateFailed }, "function: failed"},
		"another queue": {func(a *account, _ *types.EventSourceMappingConfiguration) {
			a.function.Environment.Variables["TRIBUTARY_QUEUE"] = "others"
		}, "function's settings: failed"},
		"another dead-letter queue": {func(a *account, _ *types.EventSourceMappingConfiguration) {
			a.function.Environment.Variables["TRIBUTARY_DLQ"] = "others"
		}, "function's settings: failed"},
		"another table": {func(a *account, _ *types.EventSourceMappingConfiguration) {
			delete(a.function.Environment.Variables, "TRIBUTARY_TABLE")
		}, "function's settings: failed"},
		"a short time-out": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.function.Timeout = aws.Int32(9) }, "function's time-out: warning"},
		"a short time-out and a small margin": {func(a *account, _ *types.EventSourceMappingConfiguration) {
			a.function.Timeout = aws.Int32(9)
			a.function.Environment.Variables["TRIBUTARY_DEADLINE_MARGIN"] = "2s"
		}, ""},
		"no mapping": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.mappings = nil },
			"event source mapping: failed, partial answers: skipped, visibility for the function: skipped, batches: skipped, concurrency: skipped"},
		"two mappings": {func(a *account, m *types.EventSourceMappingConfiguration) { a.mappings = append(a.mappings, *m) },
			"event source mapping: failed, partial answers: skipped, visibility for the function: skipped, batches: skipped, concurrency: skipped"},
		"a refusal": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.refusal = errors.New("no") },
			"event source mapping: failed, partial answers: skipped, visibility for the function: skipped, batches: skipped, concurrency: skipped"},
		"a mapping that is off":          {func(_ *account, m *types.EventSourceMappingConfiguration) { m.State = aws.String("Disabled") }, "event source mapping: failed"},
		"no partial answers":             {func(_ *account, m *types.EventSourceMappingConfiguration) { m.FunctionResponseTypes = nil }, "partial answers: failed"},
		"visibility below six time-outs": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.function.Timeout = aws.Int32(20) }, ""},
		"visibility below six and a window": {func(a *account, m *types.EventSourceMappingConfiguration) {
			a.function.Timeout, m.MaximumBatchingWindowInSeconds = aws.Int32(20), aws.Int32(1)
		}, "visibility for the function: warning"},
		"visibility below a time-out": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.function.Timeout = aws.Int32(121) }, "visibility for the function: failed"},
		"large batches":               {func(_ *account, m *types.EventSourceMappingConfiguration) { m.BatchSize = aws.Int32(10_000) }, "batches: warning"},
		"no maximum":                  {func(_ *account, m *types.EventSourceMappingConfiguration) { m.ScalingConfig = nil }, "concurrency: warning"},
		"provisioned": {func(_ *account, m *types.EventSourceMappingConfiguration) {
			m.ScalingConfig, m.ProvisionedPollerConfig = nil, &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(2), MaximumPollers: aws.Int32(10)}
		}, ""},
		"fewer reserved":  {func(a *account, _ *types.EventSourceMappingConfiguration) { a.reserved = aws.Int32(9) }, "concurrency: warning"},
		"enough reserved": {func(a *account, _ *types.EventSourceMappingConfiguration) { a.reserved = aws.Int32(10) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				w.set("commands", "VisibilityTimeout", "120")
				a := &account{
					function: &lambda.GetFunctionConfigurationOutput{
						FunctionName: aws.String("tributary"), Timeout: aws.Int32(20), MemorySize: aws.Int32(512), State: types.StateActive, Runtime: types.RuntimeProvidedal2023,
						Environment: &types.EnvironmentResponse{Variables: map[string]string{"TRIBUTARY_QUEUE": "http://stack.test/000000000000/commands", "TRIBUTARY_TABLE": "Table"}},
					},
					mappings: []types.EventSourceMappingConfiguration{{
						UUID: aws.String("u"), State: aws.String("Enabled"), EventSourceArn: aws.String("arn:aws:sqs:us-east-1:000000000000:commands"),
						BatchSize: aws.Int32(100), MaximumBatchingWindowInSeconds: aws.Int32(0), ScalingConfig: &types.ScalingConfig{MaximumConcurrency: aws.Int32(10)},
						FunctionResponseTypes: []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures},
					}},
				}
				c.change(a, &a.mappings[0])
				f := Function{API: a, Queues: w.queues, Name: "tributary", Queue: "commands", DeadLetters: "commands-dlq", Table: "Table"}
				expect(t, "unwell", unwell(t, f.Examine(t.Context())), c.want)
			})
		})
	}
	within(t, func(t *testing.T, w *world) {
		f := Function{API: &account{function: &lambda.GetFunctionConfigurationOutput{FunctionName: aws.String("f"), Timeout: aws.Int32(60)}}, Queues: w.queues, Name: "f", Queue: "nowhere", DeadLetters: "commands-dlq", Table: "Table"}
		expect(t, "without a queue", unwell(t, f.Examine(t.Context())),
			"function's settings: failed, event source mapping: skipped, partial answers: skipped, visibility for the function: skipped, batches: skipped, concurrency: skipped")
	})
}

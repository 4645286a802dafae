package telemetry

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	api "go.opentelemetry.io/otel/trace"
)

// Instrument makes the SDK clients of a configuration trace their calls: one span a call, its retries included. Calls that
// do not use the SDK's operation stack (the worker's hot calls) have none: they show in the spans of Process and Write. No
// context goes into messages here: Inject decides what a message carries.
func (t *Tracing) Instrument(cfg *aws.Config) {
	if t == nil {
		return
	}
	cfg.APIOptions = append(cfg.APIOptions, func(stack *middleware.Stack) error {
		// The step's last, where the SDK's own has put the names of service and operation into the context.
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("tributary.Trace", t.call), middleware.After)
	})
}

// call is a middleware of the SDK around one call.
func (t *Tracing) call(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, about middleware.Metadata, err error,
) {
	service, operation := awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx)
	ctx, span := t.tracer.Start(ctx, service+"."+operation, api.WithSpanKind(api.SpanKindClient), api.WithAttributes(
		semconv.RPCSystemNameKey.String("aws-api"), semconv.RPCMethod(service+"/"+operation), semconv.CloudRegion(awsmiddleware.GetRegion(ctx))))
	defer span.End()
	out, about, err = next.HandleInitialize(ctx, in)
	if !span.IsRecording() {
		return out, about, err
	}
	if id, ok := awsmiddleware.GetRequestIDMetadata(about); ok {
		span.SetAttributes(semconv.AWSRequestID(id))
	}
	if answer, ok := awsmiddleware.GetRawResponse(about).(*smithyhttp.Response); ok {
		span.SetAttributes(semconv.HTTPResponseStatusCode(answer.StatusCode))
	}
	if err != nil {
		fail(span, errorType(err))
	}
	return out, about, err
}

// errorType is the AWS code of an error, or otherwise the type of its innermost cause. It is never the text, which names accounts
// and resources.
func errorType(err error) string {
	if refusal, ok := errors.AsType[smithy.APIError](err); ok {
		return refusal.ErrorCode()
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Sprintf("%T", err)
}

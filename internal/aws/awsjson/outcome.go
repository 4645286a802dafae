package awsjson

import (
	"errors"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// outcomeOf sorts a call's error for metrics.
func outcomeOf(err error) string {
	var response *awshttp.ResponseError
	if !errors.As(err, &response) {
		return "error"
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled", "OverLimit":
			return "throttled"
		case "ConditionalCheckFailedException":
			return "condition"
		}
	}
	if response.HTTPStatusCode() >= http.StatusInternalServerError {
		return "failed"
	}
	return "refused"
}

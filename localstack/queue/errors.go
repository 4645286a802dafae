package queue

import (
	"fmt"
	"net/http"
)

// apiError is an error as a client sees it: a shape of the service's model, or one of the protocol's own.
type apiError struct {
	shape   string // the __type of the answer
	code    string // its name in the older query protocol, sent in x-amzn-query-error
	message string
	status  int
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

const (
	modelled = "com.amazonaws.sqs#"
	coral    = "com.amazon.coral.service#"
	legacy   = "AWS.SimpleQueueService." // most modelled errors carry it in the query protocol
)

// fail makes a modelled error whose name in the query protocol is code.
func fail(shape, code, format string, args ...any) *apiError {
	return &apiError{shape: modelled + shape, code: code, message: fmt.Sprintf(format, args...), status: http.StatusBadRequest}
}

func errNoQueue() *apiError {
	return fail("QueueDoesNotExist", legacy+"NonExistentQueue", "The specified queue does not exist.")
}

// errParameter is what AWS answers to most wrong values: the model has no shape for it.
func errParameter(format string, args ...any) *apiError {
	return &apiError{
		shape: coral + "InvalidParameterValueException", code: "InvalidParameterValue",
		message: fmt.Sprintf(format, args...), status: http.StatusBadRequest,
	}
}

func errValue(parameter string, value any, reason string) *apiError {
	return errParameter("Value %v for parameter %s is invalid. Reason: %s", value, parameter, reason)
}

func errMissing(parameter string) *apiError {
	return &apiError{
		shape: coral + "MissingRequiredParameterException", code: "MissingParameter",
		message: "The request must contain the parameter " + parameter + ".", status: http.StatusBadRequest,
	}
}

func errHandle(handle string) *apiError {
	return fail("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", "The input receipt handle %q is not a valid receipt handle.", handle)
}

func errAttributeValue(name string) *apiError {
	return fail("InvalidAttributeValue", "InvalidAttributeValue", "Invalid value for the parameter %s.", name)
}

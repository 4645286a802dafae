package dynamo

import (
	"errors"
	"fmt"
	"net/http"
)

// apiError is an error as a client sees it.
type apiError struct {
	code    string
	message string
	status  int            // 400 where zero
	fields  map[string]any // beside __type and message
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// The shapes of the service's model have this prefix, those of the protocol the other.
const (
	modelled = "com.amazonaws.dynamodb.v20120810#"
	coral    = "com.amazon.coral.service#"
	validate = "com.amazon.coral.validate#"
)

func (e *apiError) shape() string {
	switch e.code {
	case "ValidationException":
		return validate + e.code
	case "SerializationException", "UnknownOperationException", "InternalFailure", "RequestEntityTooLargeException":
		return coral + e.code
	}
	return modelled + e.code
}

func errValidation(format string, args ...any) error {
	return &apiError{code: "ValidationException", message: fmt.Sprintf(format, args...)}
}

func errSerialization(format string, args ...any) error {
	return &apiError{code: "SerializationException", message: fmt.Sprintf(format, args...)}
}

func errNoTable() error {
	return &apiError{code: "ResourceNotFoundException", message: "Requested resource not found"}
}

func errNoTableNamed(name string) error {
	return &apiError{code: "ResourceNotFoundException", message: "Requested resource not found: Table: " + name + " not found"}
}

func errInUse(format string, args ...any) error {
	return &apiError{code: "ResourceInUseException", message: fmt.Sprintf(format, args...)}
}

func errCondition(old item, show bool) error {
	e := &apiError{code: "ConditionalCheckFailedException", message: "The conditional request failed"}
	if show && old != "" {
		e.fields = map[string]any{"Item": old}
	}
	return e
}

// errThrottled is the refusal of a whole call whose partition keys have no write units left.
func errThrottled(arn string) error {
	return &apiError{
		code:    "ProvisionedThroughputExceededException",
		message: "The level of configured provisioned throughput for one or more keys of the table was exceeded. Consider spreading the load over more partition keys.",
		fields: map[string]any{"ThrottlingReasons": []map[string]string{
			{"reason": "TableWriteKeyRangeThroughputExceeded", "resource": arn},
		}},
	}
}

// asAPIError gives an error of decoding its name on the wire; one that has a name keeps it.
func asAPIError(err error) error {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return errSerialization("%v", err)
}

func (e *apiError) httpStatus() int {
	if e.status == 0 {
		return http.StatusBadRequest
	}
	return e.status
}

package awsjson

import (
	"errors"
	"net/http"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tributary/internal/rawjson"
)

// failure makes the SDK's error of an answer that is not 200: the service's type where the SDK has one that somebody
// tells apart, else a smithy.GenericAPIError, within a ResponseError that has the status and the request id.
func (c *client) failure(a answer) error {
	f := scanFailure(a.body)
	code := f.code
	if code == "" {
		code = a.header.Get("X-Amzn-Errortype")
	}
	code, _, _ = strings.Cut(code, ":")
	code = code[strings.LastIndexByte(code, '#')+1:]
	if code == "" {
		code = http.StatusText(a.status)
	}
	c.minClock(code, a.header.Get("Date"))
	return &awshttp.ResponseError{
		RequestID: a.header.Get("X-Amzn-Requestid"),
		ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: a.status, Header: http.Header{}}},
			Err:      typed(code, f),
		},
	}
}

// failed is what the body of an error says.
type failed struct {
	code, message string
	reasons       []ddbtypes.ThrottlingReason
	version       string // of the item that refused a condition
}

func scanFailure(body string) (f failed) {
	s := rawjson.New(body)
	if s.Peek() != '{' {
		return f
	}
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "__type", "code":
			f.code = text(&s)
		case "message", "Message":
			f.message = text(&s)
		case "ThrottlingReasons", "throttlingReasons":
			f.reasons = scanReasons(&s)
		case "Item":
			f.version = scanVersion(&s)
		default:
			s.Skip()
		}
	}
	return f
}

func scanReasons(s *rawjson.Scanner) (reasons []ddbtypes.ThrottlingReason) {
	if s.Peek() != '[' {
		s.Skip()
		return nil
	}
	for s.Open('['); s.More(']'); {
		var r ddbtypes.ThrottlingReason
		for s.Open('{'); s.More('}'); {
			switch s.Name() {
			case "reason":
				v := text(s)
				r.Reason = &v
			case "resource":
				v := text(s)
				r.Resource = &v
			default:
				s.Skip()
			}
		}
		reasons = append(reasons, r)
	}
	return reasons
}

// scanVersion reads the number in {…,"version":{"N":"7"},…}.
func scanVersion(s *rawjson.Scanner) (version string) {
	if s.Peek() != '{' {
		s.Skip()
		return ""
	}
	for s.Open('{'); s.More('}'); {
		if s.Name() != "version" || s.Peek() != '{' {
			s.Skip()
			continue
		}
		for s.Open('{'); s.More('}'); {
			if s.Name() == "N" {
				version = text(s)
			} else {
				s.Skip()
			}
		}
	}
	return version
}

// text reads a string, or skips what is none and returns "".
func text(s *rawjson.Scanner) string {
	if s.Peek() != '"' {
		s.Skip()
		return ""
	}
	return s.String()
}

func typed(code string, f failed) error {
	switch code {
	case "ProvisionedThroughputExceededException":
		return &ddbtypes.ProvisionedThroughputExceededException{Message: &f.message, ThrottlingReasons: f.reasons}
	case "ThrottlingException":
		return &ddbtypes.ThrottlingException{Message: &f.message, ThrottlingReasons: f.reasons}
	case "RequestLimitExceeded":
		return &ddbtypes.RequestLimitExceeded{Message: &f.message, ThrottlingReasons: f.reasons}
	case "ConditionalCheckFailedException":
		e := &ddbtypes.ConditionalCheckFailedException{Message: &f.message}
		if f.version != "" {
			e.Item = map[string]ddbtypes.AttributeValue{"version": &ddbtypes.AttributeValueMemberN{Value: f.version}}
		}
		return e
	case "ItemCollectionSizeLimitExceededException":
		return &ddbtypes.ItemCollectionSizeLimitExceededException{Message: &f.message}
	case "ResourceNotFoundException":
		return &ddbtypes.ResourceNotFoundException{Message: &f.message}
	case "InternalServerError":
		return &ddbtypes.InternalServerError{Message: &f.message}
	case "QueueDoesNotExist":
		return &sqstypes.QueueDoesNotExist{Message: &f.message}
	case "OverLimit":
		return &sqstypes.OverLimit{Message: &f.message}
	case "ReceiptHandleIsInvalid":
		return &sqstypes.ReceiptHandleIsInvalid{Message: &f.message}
	case "RequestThrottled":
		return &sqstypes.RequestThrottled{Message: &f.message}
	}
	return &smithy.GenericAPIError{Code: code, Message: f.message}
}

// minClock follows AWS's clock when a signature was refused for its time.
func (c *client) minClock(code, date string) {
	switch code {
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture", "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure":
		if at, err := http.ParseTime(date); err == nil {
			if skew := time.Until(at); skew.Abs() > 4*time.Minute {
				c.skew.Store(int64(skew))
			}
		}
	}
}

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
		}
	}
	if response.HTTPStatusCode() >= http.StatusInternalServerError {
		return "failed"
	}
	return "refused"
}

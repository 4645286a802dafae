package awsjson

import (
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tributary/internal/base/rawjson"
	"tributary/internal/table"
)

// failure turns an answer that is not 200 into the SDK's error: a ResponseError with the status and the request id, which wraps
// the service's error type where callers tell it apart, and a smithy.GenericAPIError otherwise.
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
	c.adjustClock(code, a.header.Get("Date"))
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
	version       ddbtypes.AttributeValue // of the item that failed a condition; nil: none, or not reported
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

// scanVersion reads the attribute in {…,"version":{"N":"7"},…}. A version that is not a number gets an unknown type, because
// nothing reads its value.
func scanVersion(s *rawjson.Scanner) (version ddbtypes.AttributeValue) {
	if s.Peek() != '{' {
		s.Skip()
		return nil
	}
	for s.Open('{'); s.More('}'); {
		if s.Name() != table.VersionAttribute || s.Peek() != '{' {
			s.Skip()
			continue
		}
		for s.Open('{'); s.More('}'); {
			if kind := s.Name(); kind == "N" {
				version = &ddbtypes.AttributeValueMemberN{Value: text(s)}
			} else {
				version = &ddbtypes.UnknownUnionMember{Tag: strings.Clone(kind)}
				s.Skip()
			}
		}
	}
	return version
}

// text reads a string. It skips any other value and returns "".
func text(s *rawjson.Scanner) string {
	if s.Peek() != '"' {
		s.Skip()
		return ""
	}
	return s.String()
}

// ownText is text in memory of its own. It does not keep the far larger answer alive.
func ownText(s *rawjson.Scanner) string {
	if s.Peek() != '"' {
		s.Skip()
		return ""
	}
	return s.OwnString()
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
		if f.version != nil {
			e.Item = map[string]ddbtypes.AttributeValue{table.VersionAttribute: f.version}
		}
		return e
	case "TransactionConflictException":
		return &ddbtypes.TransactionConflictException{Message: &f.message}
	case "ReplicatedWriteConflictException":
		return &ddbtypes.ReplicatedWriteConflictException{Message: &f.message}
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

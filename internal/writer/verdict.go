package writer

import (
	"context"
	"errors"
	"strconv"
	"strings"

	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/internal/messages"
	"tributary/internal/table"
)

// verdict is what an answer of DynamoDB says about a call.
type verdict uint8

const (
	passed          verdict = iota // carried out, but for what was left over
	throttledTenant                // nothing was written, for the sake of somebody's key or key range, or it is not said whose
	throttledTable                 // nothing was written: the table or the account is at its limit
	trouble                        // 5xx, time-outs, the network, wrong permissions: anything may have been written
	invalid                        // nothing was written: some write of the call can never be
	stale                          // conditional: the table holds a newer version
	already                        // conditional: the table holds this very version
	spoiled                        // conditional: the table holds a version that is not a number, which no version is higher than
)

// failure is a stable code for a verdict that is one, "" for the others.
func (v verdict) failure() string {
	return [...]string{throttledTenant: "throttled", throttledTable: "table_throttled", trouble: "failed", invalid: "invalid", spoiled: "invalid"}[v]
}

// judge sorts an error of a call by the SDK's types and codes. It returns the refusal for the verdicts invalid and spoiled.
func judge(err error, version int64) (verdict, *messages.Error) {
	if err == nil {
		return passed, nil
	}
	var condition *ddbtypes.ConditionalCheckFailedException
	if errors.As(err, &condition) {
		switch v := condition.Item[table.VersionAttribute].(type) {
		case nil: // an endpoint that doesn't tell the item
			return stale, nil
		case *ddbtypes.AttributeValueMemberN:
			if v.Value == strconv.FormatInt(version, 10) {
				return already, nil
			}
			return stale, nil
		default:
			// No version is higher than what is no number: this was written by others, and would never be overwritten.
			return spoiled, &messages.Error{Reason: messages.ReasonRefused, Field: table.VersionAttribute, Detail: "the item in the table has a version that is not a number"}
		}
	}
	var transaction *ddbtypes.TransactionConflictException
	var replicated *ddbtypes.ReplicatedWriteConflictException
	if errors.As(err, &transaction) || errors.As(err, &replicated) {
		return throttledTenant, nil // somebody else is writing this very item
	}
	var provisioned *ddbtypes.ProvisionedThroughputExceededException
	if errors.As(err, &provisioned) {
		return throttleScope(provisioned.ThrottlingReasons), nil
	}
	var throttling *ddbtypes.ThrottlingException
	if errors.As(err, &throttling) {
		if len(throttling.ThrottlingReasons) == 0 {
			return throttledTable, nil // the table's control plane or on-demand growth
		}
		return throttleScope(throttling.ThrottlingReasons), nil
	}
	var account *ddbtypes.RequestLimitExceeded
	if errors.As(err, &account) {
		return throttledTable, nil
	}
	var size *ddbtypes.ItemCollectionSizeLimitExceededException
	var api smithy.APIError
	if errors.As(err, &size) || errors.As(err, &api) && (api.ErrorCode() == "ValidationException" || api.ErrorCode() == "RequestEntityTooLarge" || api.ErrorCode() == "SerializationException") {
		detail := err.Error()
		if errors.As(err, &api) {
			detail = api.ErrorMessage()
		}
		return invalid, &messages.Error{Reason: messages.ReasonRefused, Detail: detail}
	}
	return trouble, nil
}

// throttleScope reads the reasons of a throttling exception ("Diagnosing throttling" in the DynamoDB guide): a key
// range is a tenant's, a table's or an account's limit is everybody's. Old endpoints give no reason.
func throttleScope(reasons []ddbtypes.ThrottlingReason) verdict {
	shared := false
	for _, r := range reasons {
		if r.Reason == nil {
			continue
		}
		if strings.Contains(*r.Reason, "KeyRange") {
			return throttledTenant
		}
		shared = true
	}
	if shared {
		return throttledTable
	}
	return throttledTenant
}

// timedOut says that err is a call's own deadline, to tell it from the end of the program in logs.
func timedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) }

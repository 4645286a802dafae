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

// verdict is the meaning of DynamoDB's answer to a call.
type verdict uint8

const (
	passed          verdict = iota // carried out, except for the leftovers
	throttledTenant                // nothing was written: a key or key range is at its limit, or DynamoDB does not say what is
	throttledTable                 // nothing was written: the table or the account is at its limit
	trouble                        // 5xx, time-outs, the network, missing permissions: any of it may have been written
	invalid                        // nothing was written: the call has a write that can never be
	stale                          // conditional: the table holds a newer version
	already                        // conditional: the table holds this very version
	spoiled                        // conditional: the item's version is not a number, so no version is higher
)

// failure returns a stable code for traces, or "" if the verdict is not a failure.
func (v verdict) failure() string {
	return [...]string{throttledTenant: "throttled", throttledTable: "table_throttled", trouble: "failed", invalid: "invalid", spoiled: "invalid"}[v]
}

// judge classifies a call's error by the SDK's types and codes. For the verdicts invalid and spoiled it also returns the refusal.
func judge(err error, version int64) (verdict, *messages.Error) {
	if err == nil {
		return passed, nil
	}
	var condition *ddbtypes.ConditionalCheckFailedException
	if errors.As(err, &condition) {
		switch v := condition.Item[table.VersionAttribute].(type) {
		case nil: // the endpoint does not return the item
			return stale, nil
		case *ddbtypes.AttributeValueMemberN:
			if v.Value == strconv.FormatInt(version, 10) {
				return already, nil
			}
			return stale, nil
		default:
			// Another program wrote this item, and no version would ever overwrite it.
			return spoiled, &messages.Error{Reason: messages.ReasonRefused, Field: table.VersionAttribute, Detail: "the item in the table has a version that is not a number"}
		}
	}
	var transaction *ddbtypes.TransactionConflictException
	var replicated *ddbtypes.ReplicatedWriteConflictException
	if errors.As(err, &transaction) || errors.As(err, &replicated) {
		return throttledTenant, nil // another request is writing this very item
	}
	var provisioned *ddbtypes.ProvisionedThroughputExceededException
	if errors.As(err, &provisioned) {
		return throttleScope(provisioned.ThrottlingReasons), nil
	}
	var throttling *ddbtypes.ThrottlingException
	if errors.As(err, &throttling) {
		if len(throttling.ThrottlingReasons) == 0 {
			return throttledTable, nil // the control plane, or an on-demand table that is still growing
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

// throttleScope reads the reasons of a throttling exception ("Diagnosing throttling" in the DynamoDB guide). A key range
// concerns one tenant; the limit of a table or an account concerns all. Old endpoints give no reason.
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

// timedOut reports whether err is a call's own deadline, and not the end of the program.
func timedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) }

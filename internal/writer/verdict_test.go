package writer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/internal/messages"
)

func TestJudge(t *testing.T) {
	because := func(reasons ...string) (out []types.ThrottlingReason) {
		for _, r := range reasons {
			out = append(out, types.ThrottlingReason{Reason: aws.String(r)})
		}
		return out
	}
	version := func(n string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"version": &types.AttributeValueMemberN{Value: n}}
	}
	for _, test := range []struct {
		name string
		err  error
		want verdict
	}{
		{"success", nil, passed},
		{"throttled, no reason given", &types.ProvisionedThroughputExceededException{}, throttledTenant},
		{"key range", &types.ProvisionedThroughputExceededException{ThrottlingReasons: because("TableWriteKeyRangeThroughputExceeded")}, throttledTenant},
		{"index key range among others", &types.ThrottlingException{ThrottlingReasons: because("TableWriteProvisionedThroughputExceeded", "IndexWriteKeyRangeThroughputExceeded")}, throttledTenant},
		{"table", &types.ProvisionedThroughputExceededException{ThrottlingReasons: because("TableWriteProvisionedThroughputExceeded")}, throttledTable},
		{"on-demand maximum", &types.ThrottlingException{ThrottlingReasons: because("TableWriteMaxOnDemandThroughputExceeded")}, throttledTable},
		{"account", &types.RequestLimitExceeded{ThrottlingReasons: because("TableWriteAccountLimitExceeded")}, throttledTable},
		{"throttling exception without a reason", &types.ThrottlingException{}, throttledTable},
		{"validation", &smithy.GenericAPIError{Code: "ValidationException", Message: "no"}, invalid},
		{"too large", &smithy.GenericAPIError{Code: "RequestEntityTooLarge"}, invalid},
		{"collection", &types.ItemCollectionSizeLimitExceededException{}, invalid},
		{"server", &types.InternalServerError{}, trouble},
		{"permissions", &smithy.GenericAPIError{Code: "AccessDeniedException"}, trouble},
		{"no table", &types.ResourceNotFoundException{}, trouble},
		{"time-out", context.DeadlineExceeded, trouble},
		{"network", errors.New("connection reset by peer"), trouble},
		{"newer", &types.ConditionalCheckFailedException{Item: version("8")}, stale},
		{"same", &types.ConditionalCheckFailedException{Item: version("7")}, already},
		{"a version that is no number", &types.ConditionalCheckFailedException{Item: map[string]types.AttributeValue{"version": &types.UnknownUnionMember{Tag: "S"}}}, spoiled},
		{"in somebody's transaction", &types.TransactionConflictException{}, throttledTenant},
		{"written in another Region", &types.ReplicatedWriteConflictException{}, throttledTenant},
		{"item not told", &types.ConditionalCheckFailedException{}, stale},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.err
			if err != nil {
				err = fmt.Errorf("call: %w", err)
			}
			got, refusal := judge(err, 7)
			if got != test.want {
				t.Errorf("verdict %d, want %d", got, test.want)
			}
			if (got == invalid || got == spoiled) != (refusal != nil) || refusal != nil && refusal.Reason != messages.ReasonRefused {
				t.Errorf("refusal %v", refusal)
			}
		})
	}
}

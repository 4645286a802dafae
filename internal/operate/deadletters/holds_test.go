package deadletters

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tributary/internal/schema"
)

func TestHolds(t *testing.T) {
	const mine, others = `{"type":"delete_user","tenant_id":"acme","user_id":"u"}`, `{"type":"delete_user","tenant_id":"other","user_id":"u"}`
	for name, test := range map[string]struct {
		attributes map[string]string
		body       string
		want       Holding
	}{
		"the tenant's":                 {map[string]string{"reason": "r", "tenant_id": "acme"}, "x", HoldsAll},
		"another's":                    {map[string]string{"reason": "r", "tenant_id": "other"}, mine, HoldsNothing},
		"sent by another, for this":    {map[string]string{"reason": "r", "tenant_id": "other", "command_tenant_id": "acme"}, "x", HoldsAll},
		"moved":                        {nil, mine, HoldsAll},
		"moved, of another":            {nil, others, HoldsNothing},
		"moved, of both":               {nil, "[" + mine + "," + others + "]", HoldsSome},
		"moved, of this and unknown":   {nil, "[" + mine + "," + `{"type":"x"}` + "]", HoldsSome},
		"moved, unreadable":            {nil, "x", HoldsNothing},
		"moved, unreadable, and named": {map[string]string{"tenant_id": "acme"}, "x", HoldsAll},
		"moved, sent by another":       {map[string]string{"tenant_id": "other"}, mine, HoldsAll},
	} {
		m := &types.Message{MessageId: aws.String("m"), Body: aws.String(test.body), MessageAttributes: map[string]types.MessageAttributeValue{}}
		for k, v := range test.attributes {
			m.MessageAttributes[k] = text(v)
		}
		if got := newLetter(schema.Builtin(), m).Holds(schema.Builtin(), "acme"); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// A dead letter keeps the sender's tenant. Redriven, it is refused again, and its neighbours are not.
func TestARedriveOfAnothersCommandIsRefusedAgain(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		p := w.start()
		const command = `{"type":"put_user","tenant_id":"victim","user_id":"u%d","user_name":"HACKED","user_email":"e"}`
		const escaped = `{\"type\":\"put_user\",\"tenant_id\":\"victim\",\"user_id\":\"u%d\",\"user_name\":\"HACKED\",\"user_email\":\"e\"}`
		value := func(typ, text string, binary []byte) sqstypes.MessageAttributeValue {
			v := sqstypes.MessageAttributeValue{DataType: &typ, BinaryValue: binary}
			if binary == nil {
				v.StringValue = &text
			}
			return v
		}
		attacker := value("String", "attacker", nil)
		for i, m := range []struct {
			body   string
			tenant *sqstypes.MessageAttributeValue
		}{
			{command, &attacker},
			{command, new(value("Binary", "", []byte("attacker")))},
			{command, new(value("Number", "5", nil))},
			{`{"Type":"Notification","Message":"` + escaped + `","MessageAttributes":{"tenant_id":{"Type":"String","Value":"attacker"}}}`, nil},
			{`{"Type":"Notification","Message":"` + escaped + `","MessageAttributes":{"tenant_id":{"Type":"Binary","Value":"dmljdGlt"}}}`, nil},
			{`{"detail-type":"t","source":"s","detail":` + command + `}`, &attacker},
			{`{"specversion":"1.0","type":"t","data":` + command + `}`, &attacker},
		} {
			in := &sqs.SendMessageInput{QueueUrl: w.url(w.queue), MessageBody: aws.String(fmt.Sprintf(m.body, i)),
				MessageAttributes: map[string]sqstypes.MessageAttributeValue{"traceparent": value("String", "00-a-b-01", nil)}}
			if m.tenant != nil {
				in.MessageAttributes["tenant_id"] = *m.tenant
			}
			if _, err := w.sqs.SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		const all = 7
		for range 2 {
			eventually(t, 30*time.Second, "all are letters", func() bool { return w.depth(w.dlq()) == all && w.depth(w.queue) == 0 })
			export := ""
			eventually(t, 30*time.Second, "all letters are exported", func() bool { // one of the second in which it begins is not
				export = w.must("worker", "dlq", "export")
				return strings.Count(export, "\n") == all
			})
			if strings.Count(export, `"reason":"tenant_mismatch"`) != all || strings.Count(export, `"command_tenant_id":"victim"`) != all || strings.Count(export, `"traceparent":`) != all {
				t.Errorf("letters: %s", export)
			}
			w.must("worker", "dlq", "redrive")
		}
		eventually(t, 30*time.Second, "all are letters again", func() bool { return w.depth(w.dlq()) == all && w.depth(w.queue) == 0 })
		if items := w.items(); len(items) != 0 {
			t.Errorf("the table has %v", items)
		}
		p.stop()
	})
}

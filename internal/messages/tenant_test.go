package messages

import "testing"

// A tenant_id that can't be read is nobody's: it must not switch the check off.
func TestATenantThatIsNoTextIsAMismatch(t *testing.T) {
	const command = `{"type":"delete_user","tenant_id":"victim","user_id":"u"}`
	sns := func(attribute string) string {
		return `{"Type":"Notification","Message":"{\"type\":\"delete_user\",\"tenant_id\":\"victim\",\"user_id\":\"u\"}","MessageAttributes":{"tenant_id":` + attribute + `}}`
	}
	for name, test := range map[string]struct {
		body       string
		attributes Attributes
		refused    bool
	}{
		"the message's own":       {command, Attributes{TenantID: UnreadableTenant}, true},
		"SNS, binary":             {sns(`{"Type":"Binary","Value":"dmljdGlt"}`), Attributes{}, true},
		"SNS, binary of the name": {sns(`{"Type":"Binary","Value":"victim"}`), Attributes{}, true},
		"SNS, a number":           {sns(`{"Type":"Number","Value":"5"}`), Attributes{}, true},
		"SNS, empty":              {sns(`{"Type":"String","Value":""}`), Attributes{}, true},
		"SNS, without a value":    {sns(`{"Type":"String"}`), Attributes{}, true},
		"SNS, no object":          {sns(`5`), Attributes{}, true},
		"SNS, another tenant":     {sns(`{"Type":"String","Value":"other"}`), Attributes{}, true},
		"SNS, right":              {sns(`{"Type":"String","Value":"victim"}`), Attributes{}, false},
		"the message's own first": {sns(`{"Type":"Binary","Value":"eA=="}`), Attributes{TenantID: "victim"}, false},
	} {
		decoded, err := Decode(types, nil, test.body, &test.attributes)
		if err != nil || len(decoded) != 1 {
			t.Errorf("%s: %v, %v", name, decoded, err)
			continue
		}
		if refused := decoded[0].Err != nil && decoded[0].Err.Reason == ReasonTenantMismatch; refused != test.refused {
			t.Errorf("%s: %v", name, decoded[0].Err)
		}
	}
}
